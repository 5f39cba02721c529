//! The command line `p2pchat`.
//!
//! Read it from the outside in:
//!
//! 1. [`args`] and [`settings`]: what the user wants, out of flags, environment and config file.
//! 2. [`profile`]: which identity that is for.
//! 3. [`commands`]: what each command does.
//! 4. [`front`]: a command while it runs; what it is after is a state machine without any I/O.
//! 5. [`control`]: the same for the commands of other processes that use its profile.
//! 6. [`input`] and [`output`]: lines in, lines out. Everything shown is a function of an event, and
//!    nothing reaches a screen, a log or a bar but through the one sanitiser of `p2pchat_client`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod args;
pub mod clock;
pub mod commands;
pub mod control;
pub mod front;
pub mod input;
pub mod log;
pub mod output;
pub mod profile;
pub mod settings;
pub mod signals;
pub mod span;
pub mod terminal;

pub use commands::run;
