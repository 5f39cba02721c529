//! A seeded network for tests, and everything that goes wrong in one.
//!
//! No socket, no clock, no thread. A test owns the network, hands datagrams in, asks when the next
//! thing happens, moves its own virtual clock there and takes what is due. Time is a plain `u64` of
//! nanoseconds since an arbitrary start, so that any sans-IO core can be driven. There are two:
//!
//! * [`Network`]: addresses with a line between each two. For two or three parties, where the line is
//!   what matters.
//! * [`Internet`]: hosts with interfaces and sockets, NATs between nets, clocks, and a plan of faults.
//!   For a world.
//!
//! # Two parties on a line
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
//! # A small internet
//!
//! ```text
//!      home                     public net                        carrier
//!  +----------+                     |                          +-----------+
//!  | alice    |===== NAT ===========|========== NAT ===========| NAT ======| bob
//!  | 192.168. |    198.51.100.1     |      198.51.100.2        | 100.64.   | 192.168.
//!  |   1.2    |                     |                          |   0.2     |   1.2
//!  +----------+                     |=== carol 192.0.2.3       +-----------+
//! ```
//!
//! A **host** has **interfaces**, each with one address on one net and a line of its own to it
//! ([`Access`], a [`LinkConfig`] each way). A **net** joins everybody on it, without delay or loss; a
//! path from one host to another therefore goes up one line and down the next, and two conversations
//! over one line share its queue. A **NAT** ([`NatConfig`], in the words of RFC 4787) has an interface
//! on the net outside and is the way out of the net inside; one inside another is a carrier's.
//! **Sockets** are bound to an address or to all, and an [`Arrival`] tells which one it reached.
//!
//! ```
//! use p2pchat_netsim::{Access, Clock, Fault, Internet, LinkConfig, NatConfig, Schedule, millis, seconds};
//!
//! let mut internet = Internet::new(42);
//! let dsl = Access::both(LinkConfig { delay: millis(15), ..LinkConfig::default() });
//! let router = internet.nat(Internet::PUBLIC, "198.51.100.1".parse()?, dsl, NatConfig::HOME);
//! let (alice, carol) = (internet.host(Clock::default()), internet.host(Clock::default()));
//! internet.attach(alice, internet.inside(router), "192.168.1.2".parse()?, Access::default());
//! internet.attach(carol, Internet::PUBLIC, "192.0.2.3".parse()?, dsl);
//! let hers = internet.bind(alice, "0.0.0.0:7000".parse()?)?;
//! internet.bind(carol, "0.0.0.0:7000".parse()?)?;
//!
//! // The router loses power after a minute.
//! let mut plan = Schedule::new();
//! plan.at(seconds(60), Fault::Reboot { nat: router });
//! internet.plan(plan);
//!
//! internet.send(0, hers, None, "192.0.2.3:7000".parse()?, b"hello")?;
//! while let Some(now) = internet.next_event() {
//!     while let Some(arrival) = internet.deliver(now) {
//!         assert_eq!((arrival.host, arrival.at), (carol, millis(30)));
//!         assert_eq!(arrival.from, "198.51.100.1:7000".parse()?);
//!         assert_eq!(arrival.to, "192.0.2.3:7000".parse()?);
//!     }
//! }
//! assert_eq!((internet.counters().delivered, internet.mappings(router)), (1, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Fault`] is one thing that happens at one moment: a line changes, narrows, is cut; an interface
//! is unplugged or gets another address; a host sleeps, its clocks jump or go wrong; hosts are parted;
//! a NAT reboots. [`Internet::apply`] does it now, a [`Schedule`] at its time, and a [`Storm`] makes a
//! schedule from a seed. Each host has a [`Clock`]; the network's time is nobody's.
//!
//! # What a datagram goes through
//!
//! One direction of a line, in this order; each step counts what it does in [`Counters`]:
//!
//! 1. no link between the two hosts: *unroutable*;
//! 2. the link is partitioned, or cut: *partitioned*;
//! 3. larger than [`LinkConfig::mtu`]: *oversized*, as on a path that drops instead of fragmenting;
//! 4. the [`Rate`]'s queue has no room: *overflowed*; else it waits its turn there;
//! 5. [`Loss`]: *lost*, after it took its share of the rate, as on the far side of a bottleneck;
//! 6. [`LinkConfig::corruption`]: one bit is flipped, *corrupted*;
//! 7. delay and jitter. Jitter never reorders: a datagram waits behind the one before it;
//! 8. [`Reordering`]: it is held back so long that later ones overtake it, *reordered*;
//! 9. [`LinkConfig::duplication`]: a second copy follows, *duplicated*.
//!
//! In an [`Internet`] that happens on every line of the path, and between them:
//!
//! * on a net: nobody there has the address and there is no way out: *unroutable*; its sender and its
//!   receiver are parted: *partitioned*;
//! * in a NAT on the way out: its table is full: *exhausted*; to its own outer address, and it does
//!   not turn that around: *unturned*;
//! * in a NAT on the way in: no mapping: *unmapped*; not for this sender: *filtered*;
//! * at an interface that is unplugged or has moved since: *vanished*;
//! * at a host that sleeps: kept, or *asleep*; at one that is awake: heard by a socket, or *unheard*.
//!
//! # Replay
//!
//! Each direction of a line draws from a stream of its own, the same number of draws for each
//! datagram, and each NAT from another, so the fate of a direction's n-th datagram depends on the seed
//! and on nothing that happens elsewhere. The same calls with the same seed give the same trace;
//! [`Network::trace_hash`] and [`Internet::trace_hash`] are the proof of it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod clock;
mod counters;
mod fault;
mod internet;
mod line;
mod link;
mod nat;
mod network;
mod storm;
mod trace;

pub use clock::Clock;
pub use counters::Counters;
pub use fault::{Fault, Schedule, Sleep};
pub use internet::{
    Access, Arrival, BindError, HostId, InterfaceId, Internet, NatId, NetId, SendError, SocketId, Way,
};
pub use link::{LinkConfig, Loss, Rate, Reordering};
pub use nat::{Dependence, NatConfig, Ports};
pub use network::{Datagram, Network};
pub use storm::{Storm, Trouble};

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
