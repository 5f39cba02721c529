//! A seeded network for tests: hosts, links between them, and everything that goes wrong on a line.
//!
//! No socket, no clock, no thread. A test owns one [`Network`], hands datagrams in with
//! [`Network::send`], asks when something arrives with [`Network::next_arrival`], moves its own
//! virtual clock there and takes what is due with [`Network::deliver`]. Time is a plain `u64` of
//! nanoseconds since an arbitrary start, so that any sans-IO core can be driven.
//!
//! ```
//! use p2pchat_netsim::{LinkConfig, Loss, Network, millis};
//!
//! let (alice, bob) = ("10.0.0.1:7000".parse()?, "10.0.0.2:7000".parse()?);
//! let mut network = Network::new(42);
//! network.link(
//!     "10.0.0.1".parse()?,
//!     "10.0.0.2".parse()?,
//!     LinkConfig { delay: millis(20), loss: Loss::Independent { share: 0.1 }, ..LinkConfig::default() },
//! );
//! for n in 0..100u8 {
//!     network.send(0, alice, bob, &[n]);
//! }
//! while let Some(now) = network.next_arrival() {
//!     while let Some(datagram) = network.deliver(now) {
//!         assert_eq!((datagram.to, now), (bob, millis(20)));
//!     }
//! }
//! assert_eq!(network.counters().lost + network.counters().delivered, 100);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! # What a datagram goes through
//!
//! One direction of a link, in this order; each step counts what it does in [`Counters`]:
//!
//! 1. no link between the two hosts: *unroutable*;
//! 2. the link is partitioned: *partitioned*;
//! 3. larger than [`LinkConfig::mtu`]: *oversized*, as on a path that drops instead of fragmenting;
//! 4. the [`Rate`]'s queue has no room: *overflowed*; else it waits its turn there;
//! 5. [`Loss`]: *lost*, after it took its share of the rate, as on the far side of a bottleneck;
//! 6. [`LinkConfig::corruption`]: one bit is flipped, *corrupted*;
//! 7. delay and jitter. Jitter never reorders: a datagram waits behind the one before it;
//! 8. [`Reordering`]: it is held back so long that later ones overtake it, *reordered*;
//! 9. [`LinkConfig::duplication`]: a second copy follows, *duplicated*.
//!
//! # Replay
//!
//! Each direction draws from a stream of its own, the same number of draws for each datagram, so
//! the fate of a direction's n-th datagram depends on the seed and on nothing that happens in
//! another direction. The same calls with the same seed give the same trace, and
//! [`Network::trace_hash`] is the proof of it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod clock;
mod link;
mod network;
mod trace;

pub use clock::Clock;
pub use link::{LinkConfig, Loss, Rate, Reordering};
pub use network::{Counters, Datagram, Network};

/// `count` microseconds in the unit of this crate, nanoseconds.
pub const fn micros(count: u64) -> u64 {
    count.saturating_mul(1_000)
}

/// `count` milliseconds in the unit of this crate, nanoseconds.
pub const fn millis(count: u64) -> u64 {
    count.saturating_mul(1_000_000)
}

/// `count` seconds in the unit of this crate, nanoseconds.
pub const fn seconds(count: u64) -> u64 {
    count.saturating_mul(1_000_000_000)
}
