//! Hosts with their interfaces, the nets they are on, and the NATs between those.

mod change;
mod places;
mod route;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::fault::{Fault, Schedule};
use crate::line::Line;
use crate::link::LinkConfig;
use crate::nat::{Nat, NatConfig};
use crate::trace::{Log, Step};

use places::{Host, Interface, Letter, Net, Owner, Router, Socket};
use route::Flight;

pub use places::{Access, HostId, InterfaceId, NatId, NetId, SocketId, Way};
pub use sockets::{BindError, SendError};

/// A small internet: the public one and the nets behind NATs, hosts on them, and a plan of what
/// goes wrong.
///
/// The order of calls is that of [`Network`](crate::Network): after every [`send`](Self::send)
/// the next event may have moved; sleep (in virtual time) until the earlier of
/// [`next_event`](Self::next_event) and one's own timers, then call [`deliver`](Self::deliver) until
/// it returns `None`, and [`poll_fault`](Self::poll_fault) where one's driver has to know. An event
/// may be nobody's business but the network's, so `None` at once is no mistake. Time never goes back:
/// an earlier `now` counts as the latest that was seen.
///
/// Ids belong to the internet that made them; those of another one may panic.
#[derive(Debug)]
pub struct Internet {
    seed: u64,
    /// Latest time that was seen.
    now: u64,
    nets: Vec<Net>,
    hosts: Vec<Host>,
    interfaces: Vec<Interface>,
    routers: Vec<Router>,
    sockets: BTreeMap<SocketId, Socket>,
    next_socket: u32,
    /// Pairs that are parted, both ways round.
    parted: BTreeSet<(HostId, HostId)>,
    /// By arrival at the next hop, then in the order of leaving the last.
    flights: BTreeMap<(u64, u64), Flight>,
    next_ticket: u64,
    /// At their hosts, not yet taken out.
    ready: VecDeque<Letter>,
    /// By time, then in the order of planning.
    plan: BTreeMap<(u64, u64), Fault>,
    applied: VecDeque<(u64, Fault)>,
    counters: Counters,
    log: Log,
}

/// A datagram at its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When it got there, or when its sleeping host woke up.
    pub at: u64,
    /// Whose.
    pub host: HostId,
    /// The socket that hears it.
    pub socket: SocketId,
    /// Who sent it, as the receiver sees it: an address of a NAT where one is between.
    pub from: SocketAddr,
    /// Where it arrived: the local address, also where the socket is bound to all.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
}

impl Internet {
    /// The net without a gateway that joins all others.
    pub const PUBLIC: NetId = NetId(0);

    /// An internet without hosts; everything random in it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: 0,
            nets: vec![Net::default()],
            hosts: Vec::new(),
            interfaces: Vec::new(),
            routers: Vec::new(),
            sockets: BTreeMap::new(),
            next_socket: 0,
            parted: BTreeSet::new(),
            flights: BTreeMap::new(),
            next_ticket: 0,
            ready: VecDeque::new(),
            plan: BTreeMap::new(),
            applied: VecDeque::new(),
            counters: Counters::default(),
            log: Log::new(),
        }
    }

    /// The seed, to be printed when a test fails.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Adds a host without an interface. It can talk to itself.
    pub fn host(&mut self, clock: Clock) -> HostId {
        let id = HostId(self.hosts.len());
        self.hosts.push(Host::new(clock));
        id
    }

    /// Gives a host one more interface, with one address. Where two lead to the same place, the one
    /// that was attached first is preferred.
    pub fn attach(&mut self, host: HostId, net: NetId, ip: IpAddr, access: Access) -> InterfaceId {
        let id = self.interface(Owner::Host(host), net, ip, access);
        self.hosts[host.0].interfaces.push(id);
        id
    }

    /// Puts a NAT on a net, known there by `ip`. Behind it is a new net, [`inside`](Self::inside),
    /// on which the NAT is the way out for everything of the address family of `ip`.
    pub fn nat(&mut self, net: NetId, ip: IpAddr, access: Access, config: NatConfig) -> NatId {
        let id = NatId(self.routers.len());
        let inside = NetId(self.nets.len());
        self.nets.push(Net::behind(id));
        let outer = self.interface(Owner::Nat(id), net, ip, access);
        let nat = Nat::new(config, self.seed, id.0 as u64);
        self.routers.push(Router { nat, outer, inside, counters: Counters::default() });
        id
    }

    /// The net behind a NAT.
    pub fn inside(&self, nat: NatId) -> NetId {
        self.routers[nat.0].inside
    }

    /// The interface of a NAT on the net outside.
    pub fn outer(&self, nat: NatId) -> InterfaceId {
        self.routers[nat.0].outer
    }

    /// Mappings of a NAT that live now.
    pub fn mappings(&self, nat: NatId) -> usize {
        self.routers[nat.0].nat.mappings(self.now)
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// All NATs.
    pub fn nats(&self) -> impl Iterator<Item = NatId> + use<> {
        (0..self.routers.len()).map(NatId)
    }

    /// All interfaces, those of NATs included.
    pub fn interfaces(&self) -> impl Iterator<Item = InterfaceId> + use<> {
        (0..self.interfaces.len()).map(InterfaceId)
    }

    /// The interfaces of a host, the preferred one first.
    pub fn interfaces_of(&self, host: HostId) -> &[InterfaceId] {
        &self.hosts[host.0].interfaces
    }

    /// The addresses that the host's system would list: those of its plugged interfaces.
    pub fn addresses(&self, host: HostId) -> Vec<IpAddr> {
        let interfaces = self.hosts[host.0].interfaces.iter().map(|id| &self.interfaces[id.0]);
        interfaces.filter(|interface| interface.plugged).map(|interface| interface.ip).collect()
    }

    /// Where an interface is, and as whom.
    pub fn place(&self, interface: InterfaceId) -> (NetId, IpAddr) {
        let interface = &self.interfaces[interface.0];
        (interface.net, interface.ip)
    }

    /// Whether somebody on this net has this address.
    pub fn is_taken(&self, net: NetId, ip: IpAddr) -> bool {
        self.nets[net.0].holder(ip).is_some()
    }

    /// Whether an interface has its carrier.
    pub fn is_plugged(&self, interface: InterfaceId) -> bool {
        self.interfaces[interface.0].plugged
    }

    /// How one way of an interface's line behaves at present.
    pub fn line(&self, interface: InterfaceId, way: Way) -> LinkConfig {
        self.interfaces[interface.0].line(way).direction.config
    }

    /// Whether a host sleeps. Whoever drives it does not call into it meanwhile.
    pub fn is_asleep(&self, host: HostId) -> bool {
        self.hosts[host.0].asleep.is_some()
    }

    /// Whether two hosts are parted.
    pub fn is_parted(&self, a: HostId, b: HostId) -> bool {
        self.parted.contains(&(a, b))
    }

    /// The clocks of a host.
    pub fn clock(&self, host: HostId) -> &Clock {
        &self.hosts[host.0].clock
    }

    /// Adds to what will happen. What lies in the past happens now, at the next call.
    pub fn plan(&mut self, schedule: Schedule) {
        for (at, fault) in schedule.iter() {
            self.plan.insert((at.max(self.now), self.next_ticket), fault.clone());
            self.next_ticket += 1;
        }
    }

    /// Faults that are still to happen.
    pub fn planned(&self) -> usize {
        self.plan.len()
    }

    /// Lets something happen now, after everything that was due before.
    pub fn apply(&mut self, now: u64, fault: Fault) {
        self.advance(now);
        self.change(self.now, fault);
    }

    /// A fault that has happened, in order, with its time; each is told once. Nobody has to ask.
    pub fn poll_fault(&mut self) -> Option<(u64, Fault)> {
        self.applied.pop_front()
    }

    /// When the next thing happens: a datagram reaches its receiver or a place on its way, or a
    /// planned fault comes. `None` when nothing is left to happen.
    pub fn next_event(&self) -> Option<u64> {
        let ready = self.ready.front().map(|letter| letter.at);
        let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
        let fault = self.plan.first_key_value().map(|((at, _), _)| *at);
        [ready, flight, fault].into_iter().flatten().min()
    }

    /// Takes out the earliest datagram that has arrived by `now`. `None`: none has, and whatever
    /// else was due has happened.
    pub fn deliver(&mut self, now: u64) -> Option<Arrival> {
        self.now = self.now.max(now);
        loop {
            while let Some(letter) = self.ready.pop_front() {
                if let Some(arrival) = self.hear(letter) {
                    return Some(arrival);
                }
            }
            if !self.turn() {
                return None;
            }
        }
    }

    /// Datagrams on their way, those included that wait for a sleeping host or to be taken out.
    pub fn in_flight(&self) -> usize {
        let kept = self.hosts.iter().filter_map(|host| host.asleep.as_ref()).map(|asleep| asleep.kept.len());
        self.flights.len() + self.ready.len() + kept.sum::<usize>()
    }

    /// What happened in the whole internet: `sent` by sockets, `delivered` to sockets.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What happened on one way of an interface's line. What left the line at its far end is
    /// `delivered`, whatever becomes of it there.
    pub fn line_counters(&self, interface: InterfaceId, way: Way) -> Counters {
        self.interfaces[interface.0].line(way).counters
    }

    /// What happened in a NAT: `sent` is what it had to translate, either way, and `delivered` what
    /// it did.
    pub fn nat_counters(&self, nat: NatId) -> Counters {
        self.routers[nat.0].counters
    }

    /// Fingerprint of everything so far: of each datagram where and when it was at each step of its
    /// way, what became of it there, its length, and its bytes at both ends; and of each fault. Two
    /// runs with the same seed and the same calls have the same, in any process.
    pub const fn trace_hash(&self) -> u64 {
        self.log.trace_hash()
    }

    /// The same without the bytes: for simulations in which something seals with keys that no seed gives.
    pub const fn shape_hash(&self) -> u64 {
        self.log.shape_hash()
    }

    /// Lets everything happen that is due.
    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while self.turn() {}
    }

    /// Lets the earliest thing happen that is due; a fault before the datagrams of its moment.
    fn turn(&mut self) -> bool {
        let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
        if let Some(entry) = self.plan.first_entry() {
            let (at, _) = *entry.key();
            if at <= self.now && flight.is_none_or(|flight| at <= flight) {
                let fault = entry.remove();
                self.change(at, fault);
                return true;
            }
        }
        let Some(entry) = self.flights.first_entry() else { return false };
        let (at, _) = *entry.key();
        if at > self.now {
            return false;
        }
        let flight = entry.remove();
        self.hop(at, flight);
        true
    }

    fn interface(&mut self, owner: Owner, net: NetId, ip: IpAddr, access: Access) -> InterfaceId {
        let id = InterfaceId(self.interfaces.len());
        let stream = 2 * id.0 as u64;
        self.interfaces.push(Interface {
            owner,
            net,
            ip,
            plugged: true,
            mtu: access.mtu,
            moves: 0,
            up: Line::new(access.up, self.seed, stream),
            down: Line::new(access.down, self.seed, stream + 1),
        });
        self.nets[net.0].take(ip, id);
        id
    }

    fn note(&mut self, at: u64, step: Step, from: SocketAddr, to: SocketAddr, len: usize) {
        self.log.step(at, step, from, to, len);
    }

    fn note_with_bytes(&mut self, at: u64, step: Step, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.log.step(at, step, from, to, bytes.len());
        self.log.content(bytes);
    }
}
