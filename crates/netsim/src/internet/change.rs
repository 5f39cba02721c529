//! What a fault does.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::places::{Asleep, Letter, Owner};
use super::{HostId, InterfaceId, Internet, NetId};
use crate::fault::{Fault, Sleep};

impl Internet {
    /// Lets a fault happen, and writes it down.
    pub(super) fn change(&mut self, at: u64, fault: Fault) {
        self.log.fault(at, &format!("{fault:?}"));
        match &fault {
            Fault::Line { interface, way, config } => {
                self.interfaces[interface.0].line_mut(*way).direction.config = *config;
            }
            Fault::Mtu { interface, way, mtu } => {
                self.interfaces[interface.0].line_mut(*way).direction.config.mtu = *mtu;
            }
            Fault::Cut { interface, way } => {
                self.interfaces[interface.0].line_mut(*way).direction.partitioned = true;
            }
            Fault::Mend { interface, way } => {
                self.interfaces[interface.0].line_mut(*way).direction.partitioned = false;
            }
            Fault::Unplug { interface } => self.interfaces[interface.0].plugged = false,
            Fault::Plug { interface } => self.interfaces[interface.0].plugged = true,
            Fault::Move { interface, net, ip } => self.relocate(*interface, *net, *ip),
            Fault::Sleep { host, sleep } => self.sleep(at, *host, *sleep),
            Fault::Wake { host } => self.wake(at, *host),
            Fault::Jump { host, by } => self.hosts[host.0].clock.jump(at, *by),
            Fault::Skew { host, parts_per_million } => {
                self.hosts[host.0].clock.skew(at, *parts_per_million);
            }
            Fault::Part { these, those } => {
                for (a, b) in pairs(these, those) {
                    self.parted.insert((a, b));
                }
            }
            Fault::Join { these, those } => {
                for pair in pairs(these, those) {
                    self.parted.remove(&pair);
                }
            }
            Fault::Reboot { nat } => self.routers[nat.0].nat.reboot(),
        }
        self.applied.push_back((at, fault));
    }

    fn relocate(&mut self, id: InterfaceId, net: NetId, ip: IpAddr) {
        let interface = &mut self.interfaces[id.0];
        if (interface.net, interface.ip) == (net, ip) {
            return;
        }
        self.nets[interface.net.0].leave(interface.ip, id);
        self.nets[net.0].take(ip, id);
        (interface.net, interface.ip) = (net, ip);
        interface.moves += 1;
        if let Owner::Nat(nat) = interface.owner {
            self.routers[nat.0].nat.reboot();
        }
    }

    /// A host that sleeps already goes on as it does.
    fn sleep(&mut self, at: u64, host: HostId, sleep: Sleep) {
        let host = &mut self.hosts[host.0];
        if host.asleep.is_none() {
            host.asleep = Some(Asleep { sleep, kept: VecDeque::new() });
            if sleep.clock_stops {
                host.clock.stop(at);
            }
        }
    }

    fn wake(&mut self, at: u64, id: HostId) {
        let host = &mut self.hosts[id.0];
        if let Some(Asleep { kept, .. }) = host.asleep.take() {
            host.clock.start(at);
            self.ready.extend(kept.into_iter().map(|letter| Letter { at, ..letter }));
        }
    }
}

/// Each of these with each of those, both ways round. Nobody is parted from itself.
fn pairs(these: &[HostId], those: &[HostId]) -> impl Iterator<Item = (HostId, HostId)> {
    let ways = these.iter().flat_map(|a| those.iter().flat_map(|b| [(*a, *b), (*b, *a)]));
    ways.filter(|(a, b)| a != b)
}
