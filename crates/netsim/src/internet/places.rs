//! What an internet is made of.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::fault::Sleep;
use crate::line::Line;
use crate::link::LinkConfig;
use crate::nat::Nat;

/// First port that a socket bound to port 0 gets (RFC 6335, section 6).
pub(super) const FIRST_EPHEMERAL: u16 = 49_152;

/// A net: the public one, or one behind a NAT. On a net everybody reaches everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetId(pub(super) usize);

/// A host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(super) usize);

/// An interface of a host, or the outer one of a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub(super) usize);

/// A NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(pub(super) usize);

/// A bound socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(super) u32);

impl HostId {
    /// Hosts are numbered from 0 in the order in which they were made.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A way of an interface's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From the interface to its net.
    Up,
    /// From its net to the interface.
    Down,
}

impl Way {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];
}

/// The line by which an interface reaches its net. A path goes up one such line and down another,
/// and over those of the NATs between; a net itself delays and loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Access {
    /// From the interface to its net.
    pub up: LinkConfig,
    /// From its net to the interface.
    pub down: LinkConfig,
    /// Largest datagram that the interface takes from its host, bytes of UDP payload. A larger one
    /// is refused with an error, while one that is too large for the line is swallowed.
    pub mtu: Option<usize>,
}

impl Access {
    /// Both ways alike.
    pub const fn both(config: LinkConfig) -> Self {
        Self { up: config, down: config, mtu: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct Net {
    /// By address, the latest last.
    holders: BTreeMap<IpAddr, Vec<InterfaceId>>,
    pub(super) gateway: Option<NatId>,
}

impl Net {
    pub(super) const fn behind(nat: NatId) -> Self {
        Self { holders: BTreeMap::new(), gateway: Some(nat) }
    }

    /// Who gets what is sent to this address.
    pub(super) fn holder(&self, ip: IpAddr) -> Option<InterfaceId> {
        self.holders.get(&ip).and_then(|holders| holders.last()).copied()
    }

    pub(super) fn take(&mut self, ip: IpAddr, interface: InterfaceId) {
        self.holders.entry(ip).or_default().push(interface);
    }

    pub(super) fn leave(&mut self, ip: IpAddr, interface: InterfaceId) {
        if let Some(holders) = self.holders.get_mut(&ip) {
            holders.retain(|holder| *holder != interface);
            if holders.is_empty() {
                self.holders.remove(&ip);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Host(HostId),
    Nat(NatId),
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) owner: Owner,
    pub(super) net: NetId,
    pub(super) ip: IpAddr,
    pub(super) plugged: bool,
    pub(super) mtu: Option<usize>,
    /// How often it had another address: what is under way to an earlier one is lost.
    pub(super) moves: u32,
    pub(super) up: Line,
    pub(super) down: Line,
}

impl Interface {
    pub(super) const fn line(&self, way: Way) -> &Line {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    pub(super) const fn line_mut(&mut self, way: Way) -> &mut Line {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

#[derive(Debug)]
pub(super) struct Router {
    pub(super) nat: Nat,
    pub(super) outer: InterfaceId,
    pub(super) inside: NetId,
    pub(super) counters: Counters,
}

#[derive(Debug)]
pub(super) struct Host {
    /// The preferred one first.
    pub(super) interfaces: Vec<InterfaceId>,
    pub(super) clock: Clock,
    pub(super) asleep: Option<Asleep>,
    pub(super) bound: BTreeMap<SocketAddr, SocketId>,
    /// Where the search for an ephemeral port goes on.
    pub(super) next_port: u16,
}

/// A datagram at its host, before a socket hears it.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) at: u64,
    pub(super) host: HostId,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Asleep {
    pub(super) sleep: Sleep,
    pub(super) kept: VecDeque<Letter>,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) host: HostId,
    pub(super) address: SocketAddr,
}

impl Host {
    pub(super) const fn new(clock: Clock) -> Self {
        Self {
            interfaces: Vec::new(),
            clock,
            asleep: None,
            bound: BTreeMap::new(),
            next_port: FIRST_EPHEMERAL,
        }
    }
}
