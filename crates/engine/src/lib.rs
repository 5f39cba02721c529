//! Composes session, transfer, conversation and the client's side of the broker link.
//!
//! [`Command`] goes in, [`Event`] comes out.

pub mod command;
pub mod event;
pub mod failure;

pub use command::{Command, Target};
pub use event::{CommandId, Event, TransferNumber};
pub use failure::Failure;
