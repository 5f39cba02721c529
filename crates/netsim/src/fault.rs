//! What can go wrong with an internet, and plans of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::internet::{HostId, InterfaceId, NatId, NetId, Way};
use crate::link::LinkConfig;

/// Something that happens to an [`Internet`](crate::Internet), at one moment. Each is made good by
/// another one; none happens in halves, and one that changes nothing does no harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// One way of an interface's line behaves like this from now on. What is on it is not touched.
    Line {
        /// Whose line.
        interface: InterfaceId,
        /// Which way.
        way: Way,
        /// How it behaves.
        config: LinkConfig,
    },
    /// One way passes datagrams up to this size only, and swallows larger ones: a black hole.
    Mtu {
        /// Whose line.
        interface: InterfaceId,
        /// Which way.
        way: Way,
        /// Bytes of UDP payload; `None` is unlimited.
        mtu: Option<usize>,
    },
    /// One way passes nothing. Nobody is told. What is on it still arrives.
    Cut {
        /// Whose line.
        interface: InterfaceId,
        /// Which way.
        way: Way,
    },
    /// One way is no longer cut.
    Mend {
        /// Whose line.
        interface: InterfaceId,
        /// Which way.
        way: Way,
    },
    /// The interface loses its carrier. Its owner knows; what arrives meanwhile is lost.
    Unplug {
        /// Which.
        interface: InterfaceId,
    },
    /// The interface has its carrier again, and the address it had.
    Plug {
        /// Which.
        interface: InterfaceId,
    },
    /// The interface has another address, on this net or another. What is under way to the old
    /// one is lost; sockets bound to it can no longer send. A NAT whose outer address changes
    /// forgets its mappings.
    Move {
        /// Which.
        interface: InterfaceId,
        /// Where it is now.
        net: NetId,
        /// As whom. Of two with one address on one net, the one that came later gets everything.
        ip: IpAddr,
    },
    /// The host stops doing anything.
    Sleep {
        /// Which.
        host: HostId,
        /// How.
        sleep: Sleep,
    },
    /// The host goes on, and gets what was kept for it.
    Wake {
        /// Which.
        host: HostId,
    },
    /// Somebody sets the host's wall clock.
    Jump {
        /// Whose.
        host: HostId,
        /// Nanoseconds forward; below zero back.
        by: i64,
    },
    /// The host's clocks are fast from now on.
    Skew {
        /// Whose.
        host: HostId,
        /// By how much; below zero they are slow.
        parts_per_million: i64,
    },
    /// Between these hosts and those nothing passes, either way.
    Part {
        /// The one side.
        these: Vec<HostId>,
        /// The other.
        those: Vec<HostId>,
    },
    /// Between these hosts and those everything passes again, however often they were parted.
    Join {
        /// The one side.
        these: Vec<HostId>,
        /// The other.
        those: Vec<HostId>,
    },
    /// The NAT forgets its mappings.
    Reboot {
        /// Which.
        nat: NatId,
    },
}

/// How a host sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sleep {
    /// Most datagrams that wait for it; the others are dropped.
    pub keep: usize,
    /// Whether its monotonic clock stands meanwhile.
    pub clock_stops: bool,
}

impl Sleep {
    /// A machine that is suspended: its network is off, and Linux stops its monotonic clock.
    pub const SUSPENDED: Self = Self { keep: 0, clock_stops: true };

    /// A process that is stopped, by `kill -STOP` or a debugger: its clocks run and its socket
    /// buffer fills, which holds 92 datagrams (`net.core.rmem_default` of 212,992 bytes, charged
    /// with 2,304 for each of 1,200).
    pub const STOPPED: Self = Self { keep: 92, clock_stops: false };
}

/// Faults and when they happen: what a test makes from a seed, prints when it fails, and hands to
/// [`Internet::plan`](crate::Internet::plan). Times are nanoseconds of the network's time. Faults of
/// one moment happen in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schedule {
    faults: BTreeMap<u64, Vec<Fault>>,
}

impl Schedule {
    /// Nothing happens.
    pub const fn new() -> Self {
        Self { faults: BTreeMap::new() }
    }

    /// Adds a fault.
    pub fn at(&mut self, at: u64, fault: Fault) -> &mut Self {
        self.faults.entry(at).or_default().push(fault);
        self
    }

    /// Adds a fault and, after it lasted for a while, what makes it good.
    pub fn between(&mut self, at: u64, lasts: u64, fault: Fault, remedy: Fault) -> &mut Self {
        self.at(at, fault).at(at.saturating_add(lasts), remedy)
    }

    /// A link that flaps: unplugged `times` times from `at` on, for `down` nanoseconds and then
    /// plugged for `up`.
    pub fn flaps(&mut self, interface: InterfaceId, at: u64, down: u64, up: u64, times: u64) -> &mut Self {
        let period = down.saturating_add(up);
        for n in 0..times {
            let at = at.saturating_add(period.saturating_mul(n));
            self.between(at, down, Fault::Unplug { interface }, Fault::Plug { interface });
        }
        self
    }

    /// The faults in the order in which they happen.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Fault)> {
        self.faults.iter().flat_map(|(at, faults)| faults.iter().map(|fault| (*at, fault)))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.faults.values().map(Vec::len).sum()
    }

    /// Whether nothing happens.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// When the last one happens.
    pub fn end(&self) -> Option<u64> {
        self.faults.last_key_value().map(|(at, _)| *at)
    }
}

impl Extend<(u64, Fault)> for Schedule {
    fn extend<I: IntoIterator<Item = (u64, Fault)>>(&mut self, faults: I) {
        for (at, fault) in faults {
            self.at(at, fault);
        }
    }
}

impl FromIterator<(u64, Fault)> for Schedule {
    fn from_iter<I: IntoIterator<Item = (u64, Fault)>>(faults: I) -> Self {
        let mut schedule = Self::new();
        schedule.extend(faults);
        schedule
    }
}

/// One fault a line, behind its time in seconds.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.iter() {
            writeln!(f, "{:>6}.{:09} s  {fault:?}", at / 1_000_000_000, at % 1_000_000_000)?;
        }
        Ok(())
    }
}
