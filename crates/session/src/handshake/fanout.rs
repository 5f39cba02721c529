//! The same datagram to every endpoint of the peer, again and again for a while.

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_proto::limits::ENDPOINTS_MAX;
use p2pchat_proto::{Moment, UdpEndpoints};

use crate::allowance::Allowance;

use super::rates::{PerSecond, UNVALIDATED_PER_SECOND};

/// When the first tries are, in milliseconds after the start (protocol section 4).
const EARLY_TRIES_MS: [u64; 8] = [0, 50, 100, 150, 250, 450, 850, 1650];
/// Time between the later ones (protocol section 4).
const LATER_TRIES: Duration = Duration::from_secs(2);
/// Tries for each endpoint (protocol section 4).
const TRIES_MAX: u32 = 12;

/// The moments of INIT, PUNCH and FIN: close together at first, then every 2 s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Moment,
    tries: u32,
}

impl Schedule {
    pub(crate) const fn new(start: Moment) -> Self {
        Self { start, tries: 0 }
    }

    /// When the next try is.
    pub(crate) fn due(&self) -> Moment {
        let tries = usize::try_from(self.tries).unwrap_or(usize::MAX);
        if let Some(after) = EARLY_TRIES_MS.get(tries) {
            return self.start + Duration::from_millis(*after);
        }
        let [.., last] = EARLY_TRIES_MS;
        let later = self.tries.saturating_add(1).saturating_sub(EARLY_TRIES_MS.len() as u32);
        self.start + Duration::from_millis(last) + LATER_TRIES.saturating_mul(later)
    }

    /// A try was made.
    pub(crate) const fn advance(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }

    const fn is_over(&self) -> bool {
        self.tries >= TRIES_MAX
    }
}

/// The endpoints that are tried.
#[derive(Debug)]
pub(crate) struct Fanout {
    targets: Vec<Target>,
    /// Bytes of the datagram.
    bytes: u64,
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    schedule: Schedule,
    /// What may go there: anything on the schedule where the introduction names it, else what came
    /// from there allows.
    allowance: Allowance,
}

impl Fanout {
    /// A datagram of so many bytes to these endpoints.
    pub(crate) fn new(endpoints: &UdpEndpoints, bytes: usize, now: Moment) -> Self {
        let mut fanout = Self { targets: Vec::new(), bytes: bytes as u64 };
        fanout.add(endpoints, now);
        fanout
    }

    /// Tries these, too, as far as there is room.
    pub(crate) fn add(&mut self, endpoints: &UdpEndpoints, now: Moment) {
        for address in endpoints.as_slice() {
            if let Some(known) = self.target(*address) {
                known.allowance = Allowance::Validated;
            } else if self.targets.len() < ENDPOINTS_MAX {
                self.targets.push(Target::new(*address, Allowance::Validated, now));
            }
        }
    }

    /// Tries an address from which so many bytes of the peer came; where there is no room, instead of
    /// the last that was only announced.
    pub(crate) fn learn(&mut self, address: SocketAddr, bytes: u64, now: Moment) {
        if let Some(known) = self.target(address) {
            known.allowance.on_received(bytes);
            return;
        }
        if self.targets.len() >= ENDPOINTS_MAX {
            let Some(last) = self.targets.iter().rposition(|target| target.allowance == Allowance::Validated)
            else {
                return;
            };
            self.targets.remove(last);
        }
        self.targets.push(Target::new(address, Allowance::earned(bytes), now));
    }

    /// Whether the introduction names this address.
    pub(crate) fn names(&self, address: SocketAddr) -> bool {
        let named = |target: &Target| target.address == address && target.allowance == Allowance::Validated;
        self.targets.iter().any(named)
    }

    /// Where the datagram goes next, if one is due and `budget` allows it.
    pub(crate) fn take_due(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        now: Moment,
    ) -> Option<SocketAddr> {
        let bytes = self.bytes;
        let due = |target: &&mut Target| target.next(bytes).is_some_and(|due| due <= now);
        let target = self.targets.iter_mut().find(due)?;
        if !budget.take(now) {
            return None;
        }
        target.schedule.advance();
        target.allowance.take(bytes);
        Some(target.address)
    }

    /// When [`Self::take_due`] has something next.
    pub(crate) fn wakeup(&self, budget: &PerSecond<UNVALIDATED_PER_SECOND>) -> Option<Moment> {
        let due = self.targets.iter().filter_map(|target| target.next(self.bytes)).min()?;
        Some(due.max(budget.free_at()))
    }

    fn target(&mut self, address: SocketAddr) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| target.address == address)
    }
}

impl Target {
    const fn new(address: SocketAddr, allowance: Allowance, now: Moment) -> Self {
        Self { address, schedule: Schedule::new(now), allowance }
    }

    fn next(&self, bytes: u64) -> Option<Moment> {
        (!self.schedule.is_over() && self.allowance.room() >= bytes).then(|| self.schedule.due())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::datagram::{INIT_LEN, PUNCH_LEN};

    const PUNCH: u64 = PUNCH_LEN as u64;
    const START: Moment = Moment::from_nanos(1_000_000_000);

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn endpoints(numbers: impl Iterator<Item = u16>) -> UdpEndpoints {
        UdpEndpoints::new(numbers.map(address))
    }

    /// Everything that is sent, with its time in milliseconds.
    fn run(fanout: &mut Fanout) -> Vec<(u64, SocketAddr)> {
        let mut budget = PerSecond::new();
        let mut sent = vec![];
        while let Some(now) = fanout.wakeup(&budget) {
            while let Some(to) = fanout.take_due(&mut budget, now) {
                sent.push((now.saturating_since(START).as_millis() as u64, to));
            }
        }
        sent
    }

    #[test]
    fn an_endpoint_is_tried_twelve_times_on_the_schedule() {
        let sent = run(&mut Fanout::new(&endpoints(1..2), INIT_LEN, START));
        let times: Vec<_> = sent.into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [0, 50, 100, 150, 250, 450, 850, 1650, 3650, 5650, 7650, 9650]);
    }

    #[test]
    fn eight_endpoints_are_tried_at_once_and_a_ninth_is_not() {
        let mut fanout = Fanout::new(&endpoints(1..5), INIT_LEN, START);
        fanout.add(&endpoints(3..12), START);
        let sent = run(&mut fanout);
        assert_eq!(sent.len(), 8 * 12);
        assert!(sent.iter().all(|(_, to)| to.port() <= 8));
        assert_eq!(sent.iter().filter(|(at, _)| *at == 0).count(), 8);
    }

    #[test]
    fn an_address_that_was_heard_takes_the_place_of_one_that_was_only_announced() {
        let mut fanout = Fanout::new(&endpoints(1..9), INIT_LEN, START);
        fanout.learn(address(100), PUNCH, START);
        fanout.learn(address(100), PUNCH, START);
        assert_eq!(fanout.targets.len(), ENDPOINTS_MAX);
        assert!(
            [(100, true), (8, false), (7, true)]
                .map(|(n, there)| fanout.target(address(n)).is_some() == there)
                == [true; 3]
        );
        (101..200).for_each(|n| fanout.learn(address(n), PUNCH, START));
        assert_eq!(fanout.targets.len(), ENDPOINTS_MAX);
    }

    #[test]
    fn no_second_sees_more_datagrams_than_the_budget() {
        let mut budget = PerSecond::new();
        let mut fanouts: Vec<_> = (0..8).map(|_| Fanout::new(&endpoints(1..9), INIT_LEN, START)).collect();
        let mut sent = vec![];
        while let Some(now) = fanouts.iter().filter_map(|fanout| fanout.wakeup(&budget)).min() {
            for fanout in &mut fanouts {
                while fanout.take_due(&mut budget, now).is_some() {
                    sent.push(now);
                }
            }
        }
        assert_eq!(sent.len(), 8 * 8 * 12);
        for window in sent.windows(UNVALIDATED_PER_SECOND + 1) {
            assert!(window[UNVALIDATED_PER_SECOND].saturating_since(window[0]) >= Duration::from_secs(1));
        }
    }
}
