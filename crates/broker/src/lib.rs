//! The broker's shell: sockets, the encrypted link, accounts on disk.
//!
//! The rules are in `p2pchat-registry`; here is what moves bytes. From the outside in:
//!
//! 1. [`cli`]: the program `p2pchat-broker`, its lines and its errors.
//! 2. [`home`] and [`key`]: the data directory, one process at a time, and the key by which
//!    clients know this broker.
//! 3. [`server::run`]: accepts, drains, stops. One task owns the registry; each connection has one
//!    task, which holds no buffer while it is idle.
//! 4. [`accounts`]: names in redb, written by a thread of their own, so that no commit makes
//!    anybody wait but the one who registers.
//!
//! Nothing that a client sends is stored but the name and the key that it registers. Names and
//! addresses are logged at DEBUG only.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod accounts;
pub mod cli;
pub mod home;
pub mod key;
pub mod server;

mod clock;
mod connection;
mod console;
mod outbox;
mod quiet;
mod record;
mod switchboard;
mod writer;
