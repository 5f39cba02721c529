//! Identity, offers, introductions, handshakes, session keys and sealing.
//!
//! Read it in the order in which two people meet:
//!
//! 1. [`identity`]: one [`Seed`], from which the Ed25519 identity and the X25519 Noise static key
//!    come. [`keyfile`] is how a seed rests on disk, [`export`] how it
//!    travels; [`safety`] is what two people compare; [`succession`] how one identity takes the place of
//!    another.
//! 2. [`link`]: the way to a broker, Noise NX and sealed records.
//! 3. [`offer`]: two signed statements that go through the broker, each with a fresh X25519 key
//!    and one half of an ML-KEM-768 exchange. Together they make an [`Introduction`]: tickets, MAC
//!    keys, a psk and the peer's static key; and an [`EndpointBox`], so that the broker does not
//!    see where the two are.
//! 4. [`handshake`]: Noise XKpsk3 over UDP, each message behind the introduction's MAC, with the
//!    check that Noise leaves to its user: that the key in message 3 is the one that was offered.
//! 5. [`data`]: the keys of the session's packets, epoch by epoch. [`rekey`]: how the next epoch comes
//!    from the one before. [`carrier`]: keys for a file over TCP.
//! 6. [`resumption`]: an introduction from a secret that a session left, so that the two meet again
//!    without a broker. [`rest`]: how it is sealed until then.
//!
//! Every key comes out of one module, `schedule`, in the words of protocol section 13.
//!
//! No clock, file or socket is touched here. Randomness is an argument, except inside ML-KEM,
//! which takes it from the system. Whatever came from outside is answered with an error that
//! names what was wrong, never with a panic. Secrets are wiped when dropped and have no `Display`;
//! their `Debug` says their type and nothing else. What snow keeps inside of a handshake that
//! runs (chaining key and psk) is beyond our reach and is not wiped.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod carrier;
pub mod data;
pub mod endpoints;
pub mod export;
pub mod handshake;
pub mod identity;
pub mod introduction;
pub mod keyfile;
#[cfg(any(test, feature = "simulation"))]
pub mod ledger;
pub mod link;
pub mod offer;
#[cfg(any(test, feature = "simulation"))]
pub mod primitives;
pub mod rekey;
pub mod rest;
pub mod resumption;
pub mod safety;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
pub mod succession;

mod aead;
mod curve;
#[cfg(test)]
mod golden;
mod kem;
mod noise;
mod schedule;
mod secret;
#[cfg(test)]
mod testing;
#[cfg(any(test, feature = "simulation"))]
mod vectors;

pub use endpoints::{EndpointBox, EndpointsError};
pub use identity::{Identity, Seed};
pub use introduction::{Introduction, MAC_LEN, Role, Suite, TICKET_LEN, Ticket};
pub use resumption::{Resumption, ResumptionTerms, TICKET_WINDOW, TicketWindow};
pub use schedule::{ResumptionSecret, StoreKey, StoreNames};
pub use secret::{RandomnessFailed, generator};
