//! Everything that p2pchat puts on a wire, and what it keeps, as pure data.
//!
//! Read it from the outside in:
//!
//! 1. [`id`] and [`name`]: who is meant.
//! 2. [`codec`]: how structured bodies become bytes, and every bound on the way back.
//! 3. [`broker`]: what a client and its broker say to each other over TCP, [`standing`] among it.
//! 4. [`offer`]: the signed statement with which two people begin.
//! 5. [`datagram`], [`frame`], [`varint`]: the UDP session, byte by byte.
//! 6. [`conversation`] and [`transfer`]: what travels inside a session. [`rekey`]: what the session
//!    says to itself there.
//! 7. [`carrier`]: the TCP connection over which a file travels, byte by byte.
//! 8. [`kept`]: what one machine keeps of conversations, which no wire ever sees.
//!
//! Nothing here reads a clock, opens a socket or draws a random number, and every decoder
//! takes hostile bytes: it answers with a value or a [`codec::DecodeError`], never with a panic,
//! and allocates no more than the cap of its kind.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod broker;
pub mod carrier;
pub mod codec;
pub mod conversation;
pub mod datagram;
pub mod endpoint;
pub mod frame;
pub mod id;
pub mod kept;
pub mod limits;
pub mod name;
pub mod offer;
pub mod rekey;
pub mod standing;
pub mod stream;
pub mod succession;
pub mod text;
pub mod time;
pub mod transfer;
pub mod varint;

pub use endpoint::UdpEndpoints;
pub use id::{BrokerKey, GroupId, PeerId, RequestId, TransferId};
pub use name::Name;
pub use standing::{Availability, ContactPolicy, Standing, StandingChange, Visibility};
pub use time::{Moment, WallTime};
