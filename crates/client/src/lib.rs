//! The client as a library.
//!
//! [`spawn`] starts one on a thread of its own and gives its two ends: a [`Client`] takes
//! [`Request`]s, [`Events`] gives what happens, ending with exactly one `Stopped`. [`prepare`] gives
//! the same to a program that runs the client on its own thread, which is faster for one that
//! answers by itself.
//!
//! Around them stands what every front end shares and none may do differently:
//!
//! - [`language`]: the lines that people and scripts type.
//! - [`desk`]: what those lines mean now: the current conversation, numbered requests and files.
//! - [`json`]: events as JSON lines. [`sanitise`]: text from outside made safe to show.
//! - [`invitation`]: one line that says where somebody is and who they are.
//! - [`profile`]: what one user keeps on this machine. [`rotation`]: another key in the place of theirs.
//! - [`store`]: what it keeps of conversations.
//! - [`files`]: sockets, threads and files of transfers.
//!
//! The rules of the protocol are elsewhere, in `p2pchat_engine` and below.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod beside;
pub mod config;
pub mod desk;
mod driver;
mod endpoints;
pub mod files;
mod handle;
pub mod invitation;
pub mod json;
pub mod language;
pub mod profile;
pub mod random;
pub mod request;
pub mod rotation;
pub mod sanitise;
pub mod store;

pub use config::{AcceptPolicy, BrokerAddress, Config};
pub use endpoints::announced_addresses;
pub use handle::{Client, Ended, Events, Prepared, prepare, spawn};
pub use invitation::Invitation;
pub use p2pchat_crypto::keyfile::Passphrase;
pub use p2pchat_crypto::{Identity, Seed, safety};
pub use p2pchat_engine::{Command, CommandId, Event, Failure, Target, TransferNumber};
pub use p2pchat_engine::{command, event, failure, history};
pub use request::Request;
