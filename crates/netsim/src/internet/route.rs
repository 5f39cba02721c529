//! The way between: lines, nets and NATs.

use std::net::{IpAddr, SocketAddr};

use super::places::{Letter, Owner};
use super::{HostId, InterfaceId, Internet, NatId, NetId, Way};
use crate::link::Passage;
use crate::nat::Refusal;
use crate::trace::Step;

/// A datagram on its way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    /// Who really sent it, whatever NATs have written over it.
    pub(super) origin: HostId,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) hop: Hop,
}

/// Where a datagram comes next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hop {
    /// To the host that sent it.
    Itself,
    /// Onto a net, up the line of `by`.
    Net { net: NetId, by: InterfaceId },
    /// To an interface, down its line, unless that has moved since.
    Interface { interface: InterfaceId, moves: u32 },
}

impl Internet {
    pub(super) fn enqueue(&mut self, at: u64, flight: Flight) {
        self.flights.insert((at, self.next_ticket), flight);
        self.next_ticket += 1;
    }

    /// A datagram comes to where its hop says.
    pub(super) fn hop(&mut self, at: u64, flight: Flight) {
        match flight.hop {
            Hop::Itself => self.land(at, flight.origin, flight),
            Hop::Net { net, by } => {
                self.interfaces[by.0].up.counters.end(Step::Delivered);
                self.on_net(at, net, flight, true);
            }
            Hop::Interface { interface, moves } => {
                let interface = &mut self.interfaces[interface.0];
                interface.down.counters.end(Step::Delivered);
                if !interface.plugged || interface.moves != moves {
                    self.give_up(at, Step::Vanished, &flight);
                    return;
                }
                match interface.owner {
                    Owner::Host(host) => self.land(at, host, flight),
                    Owner::Nat(nat) => self.inwards(at, nat, flight),
                }
            }
        }
    }

    /// Puts a datagram on a line.
    pub(super) fn enter(&mut self, at: u64, id: InterfaceId, way: Way, mut flight: Flight) {
        let interface = &mut self.interfaces[id.0];
        if way == Way::Up && !interface.plugged {
            self.give_up(at, Step::Vanished, &flight);
            return;
        }
        let (step, passage) = interface.line_mut(way).pass(at, flight.bytes.len());
        flight.hop = match way {
            Way::Up => Hop::Net { net: interface.net, by: id },
            Way::Down => Hop::Interface { interface: id, moves: interface.moves },
        };
        let Some(passage) = passage else {
            self.give_up(at, step, &flight);
            return;
        };
        self.note(at, step, flight.from, flight.to, flight.bytes.len());
        self.counters.passage(&passage);
        passage.damage(&mut flight.bytes);
        let Passage { at, copy_at, .. } = passage;
        if let Some(copy_at) = copy_at {
            self.enqueue(copy_at, flight.clone());
        }
        self.enqueue(at, flight);
    }

    /// Whether what nobody on this net has goes on somewhere else.
    pub(super) fn leads_out(&self, net: NetId, ip: IpAddr) -> bool {
        net == Self::PUBLIC || self.gateway(net, ip).is_some()
    }

    /// The NAT through which this net reaches such an address.
    fn gateway(&self, net: NetId, ip: IpAddr) -> Option<NatId> {
        let nat = self.nets[net.0].gateway?;
        (self.outer_ip(nat).is_ipv4() == ip.is_ipv4()).then_some(nat)
    }

    fn outer_ip(&self, nat: NatId) -> IpAddr {
        self.interfaces[self.routers[nat.0].outer.0].ip
    }

    /// A datagram on a net goes to who has the address, or else, if it `may_leave`, to the gateway.
    fn on_net(&mut self, at: u64, net: NetId, flight: Flight, may_leave: bool) {
        let to = flight.to.ip();
        if let Some(interface) = self.nets[net.0].holder(to) {
            if let Owner::Host(host) = self.interfaces[interface.0].owner
                && self.is_parted(flight.origin, host)
            {
                self.give_up(at, Step::Partitioned, &flight);
                return;
            }
            self.enter(at, interface, Way::Down, flight);
            return;
        }
        match self.gateway(net, to) {
            Some(nat) if may_leave => self.outwards(at, nat, flight),
            Some(_) | None => self.give_up(at, Step::Unroutable, &flight),
        }
    }

    /// A datagram comes to a NAT from inside.
    fn outwards(&mut self, at: u64, id: NatId, mut flight: Flight) {
        let outer_ip = self.outer_ip(id);
        let router = &mut self.routers[id.0];
        router.counters.sent += 1;
        let turns = flight.to.ip() == outer_ip;
        if turns && !router.nat.config.hairpin {
            self.refuse(at, id, Step::Unturned, &flight);
            return;
        }
        let Some(port) = router.nat.outbound(at, flight.from, flight.to) else {
            self.refuse(at, id, Step::Exhausted, &flight);
            return;
        };
        router.counters.end(Step::Delivered);
        let outer = router.outer;
        flight.from = SocketAddr::new(outer_ip, port);
        self.note(at, Step::Translated, flight.from, flight.to, flight.bytes.len());
        if turns {
            self.inwards(at, id, flight);
        } else {
            self.enter(at, outer, Way::Up, flight);
        }
    }

    /// A datagram comes to a NAT's outer address.
    fn inwards(&mut self, at: u64, id: NatId, mut flight: Flight) {
        let router = &mut self.routers[id.0];
        router.counters.sent += 1;
        match router.nat.inbound(at, flight.from, flight.to.port()) {
            Ok(inner) => {
                router.counters.end(Step::Delivered);
                let inside = router.inside;
                flight.to = inner;
                self.note(at, Step::Translated, flight.from, flight.to, flight.bytes.len());
                self.on_net(at, inside, flight, false);
            }
            Err(Refusal::Unmapped) => self.refuse(at, id, Step::Unmapped, &flight),
            Err(Refusal::Filtered) => self.refuse(at, id, Step::Filtered, &flight),
        }
    }

    fn refuse(&mut self, at: u64, nat: NatId, step: Step, flight: &Flight) {
        self.routers[nat.0].counters.end(step);
        self.give_up(at, step, flight);
    }

    fn give_up(&mut self, at: u64, step: Step, flight: &Flight) {
        self.counters.end(step);
        self.note(at, step, flight.from, flight.to, flight.bytes.len());
    }

    fn land(&mut self, at: u64, host: HostId, flight: Flight) {
        let Flight { from, to, bytes, .. } = flight;
        self.arrive(Letter { at, host, from, to, bytes });
    }
}
