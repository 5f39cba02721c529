//! Where everybody is at the moment, and who can reach whom from there.

use std::net::{IpAddr, SocketAddr};

use p2pchat_netsim::{Fault, HostId, InterfaceId, Internet, NetId, SendError, Way};
use p2pchat_proto::UdpEndpoints;
use p2pchat_session::Transmit;

use crate::plan::{PORT, Plan, Seat};
use crate::trace::Happening;
use crate::world::World;

impl Plan {
    /// The nets that an interface is on, its own first and then each outside of the one before, with the
    /// interface that is there: its own, or that of a NAT.
    pub(crate) fn outwards(&self, internet: &Internet, interface: InterfaceId) -> Vec<(NetId, InterfaceId)> {
        let mut at = (internet.place(interface).0, interface);
        let mut nets = vec![at];
        while let Some(router) = self.routers.iter().find(|router| internet.inside(router.nat) == at.0) {
            let outer = internet.outer(router.nat);
            at = (internet.place(outer).0, outer);
            nets.push(at);
        }
        nets
    }

    /// Whether a session between two can be made at present: nobody announces what a NAT makes of its
    /// address, so one of them has to be where the other can write first: on its net, or on one outside
    /// of it.
    pub(crate) fn can_meet(&self, internet: &Internet, a: usize, b: usize) -> bool {
        let nets = |who: usize| {
            let interfaces = internet.interfaces_of(self.seats[who].host);
            interfaces.iter().map(|interface| self.outwards(internet, *interface)).collect::<Vec<_>>()
        };
        let (a, b) = (nets(a), nets(b));
        let reaches = |from: &[(NetId, InterfaceId)], to: &[(NetId, InterfaceId)]| {
            to.first().is_some_and(|(net, _)| from.iter().any(|(other, _)| net == other))
        };
        a.iter().any(|a| b.iter().any(|b| reaches(a, b) || reaches(b, a)))
    }
}

impl World {
    /// Whether a way leads from one to the other at present.
    pub(crate) fn can_meet(&self, a: usize, b: usize) -> bool {
        self.plan.can_meet(&self.internet, a, b)
    }

    /// Pairs between whom a way leads at present, the first with the smaller number.
    pub(crate) fn neighbours(&self) -> Vec<(usize, usize)> {
        self.plan.pairs().filter(|(a, b)| self.can_meet(*a, *b)).collect()
    }

    /// Notes between whom ways lead now.
    pub(crate) fn note_ways(&mut self) {
        let pairs = self.neighbours();
        self.ways.extend(pairs);
    }

    /// Whether a way has led from one to the other at some time: a session that began on one goes on,
    /// and comes back to, where it has been.
    pub(crate) fn could_meet(&self, a: usize, b: usize) -> bool {
        self.ways.contains(&(a.min(b), a.max(b)))
    }

    /// Takes notice of what the network did by itself.
    pub(crate) fn faults(&mut self) {
        while let Some((at, fault)) = self.internet.poll_fault() {
            self.trace.push(at, Happening::World(format!("{fault:?}")));
            self.stirred = true;
            match fault {
                Fault::Cut { interface, way } => {
                    self.cut.insert((interface, way));
                }
                Fault::Mend { interface, way } => {
                    self.cut.remove(&(interface, way));
                }
                Fault::Move { interface, .. } => {
                    let all = self.internet.interfaces_of(self.plan.broker.host).contains(&interface);
                    self.broker.strand(|door| all || door.contains(&interface));
                    self.note_ways();
                }
                Fault::Reboot { nat } => {
                    let outer = self.internet.outer(nat);
                    self.broker.strand(|door| door.contains(&outer));
                }
                Fault::Line { .. }
                | Fault::Mtu { .. }
                | Fault::Unplug { .. }
                | Fault::Plug { .. }
                | Fault::Sleep { .. }
                | Fault::Wake { .. }
                | Fault::Jump { .. }
                | Fault::Skew { .. }
                | Fault::Part { .. }
                | Fault::Join { .. } => {}
            }
        }
    }

    /// The interfaces over which a connection to the broker leaves now: one of the host's own that has
    /// its carrier, and those of the NATs before it.
    pub(crate) fn door_of(&self, seat: &Seat) -> Vec<InterfaceId> {
        let own = self.internet.interfaces_of(seat.host);
        let own = own.iter().find(|id| self.internet.is_plugged(**id)).or_else(|| own.first());
        let nets = own.map(|interface| self.plan.outwards(&self.internet, *interface));
        nets.into_iter().flatten().map(|(_, interface)| interface).collect()
    }

    /// Whether TCP gets through between a host and the broker, both ways, by these interfaces.
    pub(crate) fn is_open(&self, host: HostId, door: &[InterfaceId]) -> bool {
        let broker = self.plan.broker.host;
        let passes = |interface: &InterfaceId| {
            self.internet.is_plugged(*interface)
                && Way::BOTH.iter().all(|way| !self.cut.contains(&(*interface, *way)))
        };
        door.iter().chain(self.internet.interfaces_of(broker)).all(passes)
            && ![host, broker].iter().any(|host| self.internet.is_asleep(*host))
            && !self.internet.is_parted(host, broker)
    }

    /// Sends one datagram as a client does: where the address to send from is gone, from another one. The
    /// address that is, and whether it was too large.
    pub(crate) fn hand_over(&mut self, who: usize, transmit: &Transmit, segment: &[u8]) -> Refused {
        let Some(socket) = self.people[who].process.as_ref().map(|process| process.socket) else {
            return Refused::default();
        };
        let mut send = |local_ip| self.internet.send(self.now, socket, local_ip, transmit.to, segment);
        let from_elsewhere = match send(transmit.local_ip) {
            Err(SendError::NotAvailable | SendError::Unreachable) => transmit.local_ip,
            Err(SendError::TooLarge) => return Refused { too_large: true, gone: None },
            // What a system refuses otherwise is lost, like any other datagram.
            Ok(()) | Err(SendError::Closed | SendError::Asleep) => None,
        };
        let Some(gone) = from_elsewhere else { return Refused::default() };
        match send(None) {
            Ok(()) => Refused { too_large: false, gone: Some(gone) },
            Err(error) => Refused { too_large: error == SendError::TooLarge, gone: None },
        }
    }

    /// The addresses of somebody's machine, where they are others than its program was told, and its
    /// system tells.
    pub(crate) fn news_of_addresses(&mut self, who: usize) -> Option<Vec<IpAddr>> {
        let Seat { host, told, .. } = self.people[who].seat;
        if !told || self.internet.is_asleep(host) {
            return None;
        }
        let here = self.internet.addresses(host);
        let process = self.people[who].process.as_mut()?;
        (here != process.here).then(|| {
            process.here.clone_from(&here);
            here
        })
    }

    /// What a program says of its machine's addresses.
    pub(crate) fn announced_by(&mut self, who: usize) -> UdpEndpoints {
        let ips = self.internet.addresses(self.people[who].seat.host);
        let endpoints: Vec<SocketAddr> = ips.into_iter().map(|ip| (ip, PORT).into()).collect();
        self.named.extend(&endpoints);
        UdpEndpoints::new(endpoints)
    }
}

/// What a system did not take as it was meant.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Refused {
    /// The datagram is larger than the interface takes.
    pub(crate) too_large: bool,
    /// It left, and not from this address.
    pub(crate) gone: Option<IpAddr>,
}
