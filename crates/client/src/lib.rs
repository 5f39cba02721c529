//! The client as a library: sockets, files, threads, Client and Events
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod desk;
mod endpoints;
pub mod files;
pub mod json;
pub mod language;
pub mod profile;
pub mod random;
pub mod request;
pub mod sanitise;

pub use config::{AcceptPolicy, BrokerAddress, Config};
pub use p2pchat_crypto::keyfile::Passphrase;
pub use p2pchat_crypto::{Identity, safety};
pub use p2pchat_engine::{Command, CommandId, Event, Failure, Target, TransferNumber};
pub use p2pchat_engine::{command, event, failure};
pub use request::Request;
