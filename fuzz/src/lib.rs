//! Sequences of operations that an input spells, and what has to hold after each of them.
//!
//! Targets for decoders are whole in their own file; what takes more than a call is here:
//!
//! - [`pair`]: two endpoints of the session, and everything that a line may do.
//! - [`peer`]: an endpoint, and an introduced peer that says anything under the right keys.
//! - [`broker`]: the broker's registry, and clients who do anything.
//! - [`client`]: three clients' engines and a broker that lies, with commands and bytes in any order.
//! - [`receiver`]: the receiver of a file, and records in any order and shape.
//!
//! Where the tests of a crate have what is needed, it is taken from there as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod broker;
pub mod client;
pub mod input;
pub mod meter;
pub mod pair;
pub mod peer;
pub mod receiver;

/// The harness's sessions in virtual time.
#[path = "../../tests/src/sim/mod.rs"]
pub mod sim;
