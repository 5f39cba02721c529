//! The broker's rules, without a socket, a clock or a file.
//!
//! A broker lets people find each other and pass the two offers with which a session begins. This
//! crate is all that it decides:
//!
//! 1. A connection has [`limits::HELLO_WITHIN`] to say who it is. The shell proves the signature
//!    and hands the login in ([`Registry::login`]); the newest login of a key wins.
//! 2. A name belongs to the first key that registers it. It is reserved in memory at once and
//!    answered once the shell has stored it ([`Command::Persist`], [`Registry::persisted`]);
//!    nobody else waits for the disk.
//! 3. Who is logged in is online: watchers hear of it, and with a name one stands in the directory.
//! 4. A request is forwarded to somebody online, answered once, and forgotten: when it is declined,
//!    taken back, expired, when a side leaves, or a minute after it was accepted. Offers and sealed
//!    endpoints pass through and are never kept.
//!
//! How to drive it: call one of the methods that take `now`, then drain [`Registry::poll_command`],
//! then sleep until [`Registry::poll_timeout`] or the next input, whichever comes first.
//! After [`Command::Close`] nothing that the connection says counts any more; the shell reports
//! [`Registry::disconnected`] when the socket is gone.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod calls;
mod command;
mod connection;
pub mod limits;
mod names;
mod presence;
mod rate;
mod registry;
mod requests;
mod standing;

pub use address::Address;
pub use command::{CloseReason, Command, ConnId, StoreFailed, Ticket};
pub use limits::Config;
pub use names::{Account, AccountState, Conflict, Former};
pub use rate::Rate;
pub use registry::Registry;
