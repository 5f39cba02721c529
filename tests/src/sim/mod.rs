//! Sessions in virtual time, from their public interface alone.
//!
//! - [`people`]: two identities and their introductions, drawn from a seed.
//! - [`pair`]: two endpoints of the product with a network between them.
//! - [`hand`]: an introduced peer that is made by hand: it holds the keys, and sends what its owner
//!   wants under any number.
//! - [`epochs`]: how it renews the keys.
//! - [`contacts`]: two who meet again without a broker, and what their owner does about it.
//! - [`clocks`]: the same where clocks leap and machines sleep.
//! - [`target`]: whom it attacks, the product's endpoint ([`target::Product`]) or the double.
//! - [`careless`]: the double, a receiver with one of its defences left out; [`follow`]: where it believes
//!   its peer to be.
//! - [`courier`]: two in their handshake, and somebody who decides over each datagram.

pub mod careless;
pub mod clocks;
pub mod contacts;
pub mod courier;
pub mod epochs;
pub mod follow;
pub mod hand;
pub mod pair;
pub mod people;
pub mod target;

use p2pchat_proto::Moment;

/// When a simulation begins.
pub const START: Moment = Moment::from_nanos(1_000_000_000);
