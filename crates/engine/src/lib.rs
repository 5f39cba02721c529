//! One client without its sockets, files and terminal.
//!
//! The engine composes the session ([`p2pchat_session`]), conversations ([`p2pchat_conversation`]),
//! file transfers ([`p2pchat_transfer`]) and the client's side of the broker link into one state
//! machine. A front end sees two of its types: [`Command`] goes in, [`Event`] comes out. The driver
//! sees the rest: bytes and datagrams in, [`Effect`]s and datagrams out, and one timeout.
//!
//! What happens between two people, in its order:
//!
//! 1. A *wish* to talk to somebody waits for the broker, then goes out as a signed request.
//! 2. The other side's engine checks the request and asks its user, or its policy.
//! 3. The answer makes an introduction on both sides, and a *meeting* begins: the session's handshake
//!    over UDP.
//! 4. When it is up, the conversation catches up with what was missed, and files can pass.
//! 5. A session that is lost becomes a wish again, on the side that asked; and both sides, where they are
//!    contacts, dial each other directly, with what they kept of the lost session.
//!
//! Rule for the driver: after every call do what [`Engine::poll_effect`] says, then drain
//! [`Engine::poll_transmit`] and [`Engine::poll_event`], then sleep until [`Engine::poll_timeout`] or the next input.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod command;
mod config;
mod effect;
mod engine;
pub mod event;
pub mod failure;
pub mod history;
mod link;
mod now;
mod people;
mod records;
pub mod replaced;
pub mod rotation;
mod sizes;
mod wish;

pub use command::{Command, Target};
pub use config::{AcceptPolicy, EngineConfig, Kept, Ports};
pub use effect::Effect;
pub use engine::Engine;
pub use event::{CommandId, Event, TransferNumber};
pub use failure::Failure;
pub use now::Now;
pub use people::{Mark, Pin};
pub use replaced::Replaced;
pub use sizes::Sizes;
