//! Random plans of faults.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::fault::{Fault, Schedule, Sleep};
use crate::internet::{HostId, InterfaceId, Internet, NetId, Way};
use crate::link::{LinkConfig, Loss, Reordering};
use crate::{millis, seconds};

/// Least and most bytes that a narrowed line passes: below what a session needs at least, up to what
/// a common tunnel leaves.
const NARROW: core::ops::RangeInclusive<usize> = 1_100..=1_420;
/// Furthest that a wall clock is set, nanoseconds: an hour.
const JUMP_MAX: i64 = 3_600_000_000_000;
/// Most that a clock goes wrong in a storm, parts per million: worse than any crystal.
const SKEW_MAX: i64 = 500;
/// Least time that a trouble lasts, nanoseconds.
const SHORTEST: u64 = millis(10);

/// A kind of what goes wrong in a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// One way of a line loses in bursts, doubles and reorders for a while.
    Loss,
    /// One way of a line swallows large datagrams for a while.
    Mtu,
    /// One way of a line, or both, pass nothing for a while.
    Cut,
    /// An interface is unplugged for a while.
    Unplug,
    /// An interface gets another address on the net where it is, for good.
    Move,
    /// A host sleeps for a while, in one of the manners of [`Sleep`].
    Sleep,
    /// A wall clock is set up to an hour forward or back, for good.
    Jump,
    /// A host's clocks go wrong, for good.
    Skew,
    /// Some hosts are parted from all others for a while.
    Part,
    /// A NAT loses power for an instant.
    Reboot,
}

impl Trouble {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Loss,
        Self::Mtu,
        Self::Cut,
        Self::Unplug,
        Self::Move,
        Self::Sleep,
        Self::Jump,
        Self::Skew,
        Self::Part,
        Self::Reboot,
    ];
}

/// How rough a random plan is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storm {
    /// When it begins, nanoseconds.
    pub from: u64,
    /// When it is over. What lasts for a while is made good by then.
    pub until: u64,
    /// How many troubles; several may be at once.
    pub troubles: usize,
    /// How long one lasts at most, nanoseconds.
    pub longest: u64,
    /// Kinds to choose from, all equally likely.
    pub kinds: Vec<Trouble>,
}

impl Default for Storm {
    /// Ten troubles in ten minutes, of up to a minute each, of every kind.
    fn default() -> Self {
        Self {
            from: 0,
            until: seconds(600),
            troubles: 10,
            longest: seconds(60),
            kinds: Trouble::ALL.to_vec(),
        }
    }
}

impl Storm {
    /// The plan that follows from a seed, for an internet as it is now: lines are given back as they
    /// are configured at present. A kind that finds nobody to meet (a NAT where there is none)
    /// gives nothing.
    pub fn schedule(&self, seed: u64, internet: &Internet) -> Schedule {
        let mut weather = Weather {
            storm: self,
            internet,
            rng: ChaCha20Rng::seed_from_u64(seed),
            schedule: Schedule::new(),
            promised: BTreeSet::new(),
        };
        for _ in 0..self.troubles {
            let Some(kind) = weather.pick(&self.kinds) else { break };
            weather.trouble(kind);
        }
        weather.schedule
    }
}

struct Weather<'a> {
    storm: &'a Storm,
    internet: &'a Internet,
    rng: ChaCha20Rng,
    schedule: Schedule,
    /// Addresses that somebody will have.
    promised: BTreeSet<(NetId, IpAddr)>,
}

impl Weather<'_> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.rng.random_range(0..from.len())])
    }

    /// A beginning and a length within the storm.
    fn span(&mut self) -> (u64, u64) {
        let Storm { from, until, longest, .. } = *self.storm;
        let at = self.rng.random_range(from..=until.max(from));
        let left = until.saturating_sub(at);
        let most = longest.max(SHORTEST).min(left);
        (at, self.rng.random_range(SHORTEST.min(most)..=most))
    }

    fn interface(&mut self) -> Option<InterfaceId> {
        let all: Vec<_> = self.internet.interfaces().collect();
        self.pick(&all)
    }

    fn host(&mut self) -> Option<HostId> {
        let all: Vec<_> = self.internet.hosts().collect();
        self.pick(&all)
    }

    fn trouble(&mut self, kind: Trouble) {
        let (at, lasts) = self.span();
        match kind {
            Trouble::Loss => self.loss(at, lasts),
            Trouble::Mtu => self.narrow(at, lasts),
            Trouble::Cut => self.cut(at, lasts),
            Trouble::Unplug => {
                if let Some(interface) = self.interface() {
                    let (fault, remedy) = (Fault::Unplug { interface }, Fault::Plug { interface });
                    self.schedule.between(at, lasts, fault, remedy);
                }
            }
            Trouble::Move => self.relocate(at),
            Trouble::Sleep => {
                let manners = [Sleep::SUSPENDED, Sleep::STOPPED, Sleep::default()];
                if let (Some(host), Some(sleep)) = (self.host(), self.pick(&manners)) {
                    self.schedule.between(at, lasts, Fault::Sleep { host, sleep }, Fault::Wake { host });
                }
            }
            Trouble::Jump => {
                let by = self.rng.random_range(-JUMP_MAX..=JUMP_MAX);
                if let Some(host) = self.host() {
                    self.schedule.at(at, Fault::Jump { host, by });
                }
            }
            Trouble::Skew => {
                let parts_per_million = self.rng.random_range(-SKEW_MAX..=SKEW_MAX);
                if let Some(host) = self.host() {
                    self.schedule.at(at, Fault::Skew { host, parts_per_million });
                }
            }
            Trouble::Part => self.part(at, lasts),
            Trouble::Reboot => {
                let all: Vec<_> = self.internet.nats().collect();
                if let Some(nat) = self.pick(&all) {
                    self.schedule.at(at, Fault::Reboot { nat });
                }
            }
        }
    }

    fn loss(&mut self, at: u64, lasts: u64) {
        let (Some(interface), Some(way)) = (self.interface(), self.pick(&Way::BOTH)) else { return };
        let now = self.internet.line(interface, way);
        let rng = &mut self.rng;
        let config = LinkConfig {
            jitter: now.jitter.saturating_add(millis(rng.random_range(0..50))),
            loss: Loss::GilbertElliott {
                enter: rng.random_range(0.0..0.1),
                leave: rng.random_range(0.1..0.9),
                good: rng.random_range(0.0..0.05),
                bad: rng.random_range(0.3..1.0),
            },
            duplication: rng.random_range(0.0..0.1),
            reordering: Reordering {
                share: rng.random_range(0.0..0.2),
                hold: millis(rng.random_range(1..100)),
            },
            corruption: rng.random_range(0.0..0.01),
            ..now
        };
        let remedy = Fault::Line { interface, way, config: now };
        self.schedule.between(at, lasts, Fault::Line { interface, way, config }, remedy);
    }

    fn narrow(&mut self, at: u64, lasts: u64) {
        let (Some(interface), Some(way)) = (self.interface(), self.pick(&Way::BOTH)) else { return };
        let mtu = Some(self.rng.random_range(NARROW));
        let remedy = Fault::Mtu { interface, way, mtu: self.internet.line(interface, way).mtu };
        self.schedule.between(at, lasts, Fault::Mtu { interface, way, mtu }, remedy);
    }

    fn cut(&mut self, at: u64, lasts: u64) {
        let ways: [&[Way]; 3] = [&Way::BOTH, &[Way::Up], &[Way::Down]];
        let (Some(interface), Some(ways)) = (self.interface(), self.pick(&ways)) else { return };
        for way in ways.iter().copied() {
            let (fault, remedy) = (Fault::Cut { interface, way }, Fault::Mend { interface, way });
            self.schedule.between(at, lasts, fault, remedy);
        }
    }

    /// The next address of the net that nobody has and nobody was promised.
    fn relocate(&mut self, at: u64) {
        let Some(interface) = self.interface() else { return };
        let (net, mut ip) = self.internet.place(interface);
        while self.internet.is_taken(net, ip) || !self.promised.insert((net, ip)) {
            ip = next(ip);
        }
        self.schedule.at(at, Fault::Move { interface, net, ip });
    }

    fn part(&mut self, at: u64, lasts: u64) {
        let rng = &mut self.rng;
        let (these, those): (Vec<_>, Vec<_>) = self.internet.hosts().partition(|_| rng.random());
        if these.is_empty() || those.is_empty() {
            return;
        }
        let remedy = Fault::Join { these: these.clone(), those: those.clone() };
        self.schedule.between(at, lasts, Fault::Part { these, those }, remedy);
    }
}

const fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits().wrapping_add(1))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits().wrapping_add(1))),
    }
}
