//! How large a datagram may be on the path (RFC 8899, DPLPMTUD).
//!
//! ```text
//! base 1,200 --- a full datagram was sent ---> search: the largest first, then halves of what is left
//!   ^   ^                                        |  an answered probe raises the size at once
//!   |   '--- 3 large ones in a row are lost      v
//!   |        while small ones arrive           found: searched again after 600 s
//!   |------- another path                        ^
//!   v                                            |
//! least 548 <--- 8 in a row of the base are lost, while smaller ones arrive; searched again after 60 s
//! ```
//!
//! A session that only chats never sends a probe: nobody would use what it finds. A probe is a packet
//! of its own, counts for neither window nor loss, and at most one is out.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use p2pchat_proto::Moment;

/// Bytes that nearly every path takes: BASE_PLPMTU (RFC 8899 section 5.1.2; protocol section 12).
pub const DATAGRAM_SIZE: usize = 1200;
/// Bytes that are left of what every host takes (RFC 791 section 3.1: 576) beside the headers of IPv4 and
/// UDP; a tunnel in a tunnel may take less than the base.
pub const DATAGRAM_SIZE_LEAST: usize = 548;
/// The largest that is tried: an Ethernet frame over IPv6 (protocol section 12; RFC 8200).
pub const DATAGRAM_SIZE_MAX: usize = 1452;
/// And where the peer is near: a jumbo frame over IPv4 (protocol section 12).
pub const DATAGRAM_SIZE_NEAR: usize = 8972;

/// Probes of one size (RFC 8899 section 5.1.2, MAX_PROBES).
const PROBES_MAX: u32 = 3;
/// Probe timeouts until a probe counts as lost (our choice).
const PROBE_PTO: u32 = 2;
/// When a search is over that is this near to what is not possible (our choice).
const STEP: usize = 16;
/// Time until a larger size is tried again: PMTU_RAISE_TIMER (RFC 8899 section 5.1.1).
pub(crate) const RAISE_AFTER: Duration = Duration::from_secs(600);
/// Large datagrams lost in a row, while smaller ones arrive, that make a black hole (our choice).
const BLACK_HOLE_LOSSES: u32 = 3;
/// The same for those of the base, which seldom vanish by themselves: with a third of all lost, by chance
/// once in 6,500 times (our choice).
const BLACK_HOLE_LOSSES_AT_BASE: u32 = 8;
/// Time after one until larger sizes are tried again (our choice; a path that changed may change again).
const SEARCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The size in use and the search for a larger one.
#[derive(Debug)]
pub(crate) struct Mtu {
    size: usize,
    /// The largest that the path may take; what lies above was refused.
    ceiling: usize,
    /// The largest that is worth a try.
    target: usize,
    probe: Option<Probe>,
    failures: u32,
    /// From when on the next probe may leave; [`Moment::NEVER`] until something would use it.
    next: Moment,
    /// From when on something may ask for a search.
    rest_until: Moment,
    /// The newest of the largest packets that arrived: its number and bytes.
    large_arrived: Option<(u64, u64)>,
    /// Large ones that were lost since, and the bytes of the smallest of them.
    large_lost: u32,
    least_lost: u64,
    black_holes: u64,
}

/// The probe that is out.
#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    size: usize,
    lost_at: Moment,
}

impl Mtu {
    /// On a path to `remote` of which nothing is known.
    pub(crate) fn new(remote: SocketAddr) -> Self {
        let target = if is_near(remote.ip()) { DATAGRAM_SIZE_NEAR } else { DATAGRAM_SIZE_MAX };
        Self {
            size: DATAGRAM_SIZE,
            ceiling: target,
            target,
            probe: None,
            failures: 0,
            next: Moment::NEVER,
            rest_until: Moment::ZERO,
            large_arrived: None,
            large_lost: 0,
            least_lost: u64::MAX,
            black_holes: 0,
        }
    }

    /// Bytes that a datagram may have.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// How often large datagrams vanished.
    pub(crate) const fn black_holes(&self) -> u64 {
        self.black_holes
    }

    /// A datagram of the full size left: a larger one would have been of use.
    pub(crate) fn on_full(&mut self, now: Moment) {
        if self.next == Moment::NEVER && self.rest_until <= now && self.size < self.target {
            self.ceiling = self.target;
            self.failures = 0;
            self.next = now;
        }
    }

    /// When a probe leaves or counts as lost.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let at = self.probe.map_or(self.next, |probe| probe.lost_at);
        (at < Moment::NEVER).then_some(at)
    }

    /// The size of the probe that leaves now.
    pub(crate) fn probe_due(&mut self, now: Moment) -> Option<usize> {
        if self.probe.is_some_and(|probe| probe.lost_at <= now) {
            self.probe = None;
            self.failures = self.failures.saturating_add(1);
            if self.failures >= PROBES_MAX {
                self.refuse(now);
            }
        }
        (self.probe.is_none() && self.next <= now).then(|| self.candidate())
    }

    /// A probe left.
    pub(crate) fn on_probe(&mut self, number: u64, size: usize, pto: Duration, now: Moment) {
        let lost_at = now + pto.saturating_mul(PROBE_PTO);
        self.probe = Some(Probe { number, size, lost_at });
    }

    /// The number of the probe that is out.
    pub(crate) fn probe_number(&self) -> Option<u64> {
        self.probe.map(|probe| probe.number)
    }

    /// The probe arrived. The size is the probe's from now on.
    pub(crate) fn on_probe_arrived(&mut self, now: Moment) {
        if let Some(probe) = self.probe.take() {
            self.size = probe.size;
            self.failures = 0;
            self.forget_losses();
            self.large_arrived = Some((probe.number, probe.size as u64));
            self.go_on(now);
        }
    }

    /// The system refused to send a datagram of so many bytes. Whether the size is another one now.
    pub(crate) fn on_refused(&mut self, bytes: usize, now: Moment) -> bool {
        if self.probe.is_some_and(|probe| probe.size == bytes) {
            self.probe = None;
            self.refuse(now);
            return false;
        }
        // The interface takes less than before.
        bytes > self.below() && bytes <= self.size && self.fall_back(now)
    }

    /// Packet `number` of `bytes` arrived.
    pub(crate) fn on_arrived(&mut self, number: u64, bytes: u64) {
        if bytes >= self.least_lost {
            self.forget_losses();
        }
        if bytes > self.below() as u64 && self.large_arrived.is_none_or(|(_, largest)| bytes >= largest) {
            let newest = self.large_arrived.map_or(number, |(newest, _)| newest.max(number));
            self.large_arrived = Some((newest, bytes));
        }
    }

    /// Packet `number` of `bytes` was lost, while a later one arrived. Whether that makes a black hole,
    /// and the size is another one now.
    pub(crate) fn on_lost(&mut self, number: u64, bytes: u64, now: Moment) -> bool {
        let passed = self.large_arrived.is_some_and(|(newest, largest)| newest > number && largest >= bytes);
        if bytes <= self.below() as u64 || bytes > self.size as u64 || passed {
            return false;
        }
        self.least_lost = self.least_lost.min(bytes);
        self.large_lost = self.large_lost.saturating_add(1);
        let enough = if self.size > DATAGRAM_SIZE { BLACK_HOLE_LOSSES } else { BLACK_HOLE_LOSSES_AT_BASE };
        self.large_lost >= enough && self.fall_back(now)
    }

    /// What is used where the size does not pass any more; nothing that is as small counts for that.
    const fn below(&self) -> usize {
        if self.size > DATAGRAM_SIZE { DATAGRAM_SIZE } else { DATAGRAM_SIZE_LEAST }
    }

    const fn forget_losses(&mut self) {
        self.large_lost = 0;
        self.least_lost = u64::MAX;
    }

    fn fall_back(&mut self, now: Moment) -> bool {
        self.size = self.below();
        self.forget_losses();
        self.large_arrived = None;
        self.black_holes = self.black_holes.saturating_add(1);
        self.rest(now + SEARCH_AGAIN_AFTER);
        true
    }

    /// The size of the probe was too large.
    fn refuse(&mut self, now: Moment) {
        self.ceiling = self.candidate().saturating_sub(1);
        self.failures = 0;
        self.go_on(now);
    }

    fn go_on(&mut self, now: Moment) {
        if self.candidate() <= self.size || self.size.saturating_add(STEP) > self.ceiling {
            self.rest(now + RAISE_AFTER);
        } else {
            self.next = now;
        }
    }

    fn rest(&mut self, until: Moment) {
        self.probe = None;
        self.next = Moment::NEVER;
        self.rest_until = until;
    }

    /// What is tried next: the largest; where that is a jumbo frame and refused, an Ethernet frame, and
    /// nothing between the two, as few links lie there; below, half of what is left.
    const fn candidate(&self) -> usize {
        if self.ceiling == self.target {
            return self.target;
        }
        if self.ceiling >= DATAGRAM_SIZE_MAX {
            return DATAGRAM_SIZE_MAX;
        }
        let half = self.ceiling.saturating_sub(self.size).div_ceil(2);
        self.size.saturating_add(half)
    }
}

/// Whether a peer is certainly on this machine or on the same link, where larger frames may pass. A
/// private address may as well be at the other end of a tunnel.
fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_nanos(1_000_000_000);
    const PTO: Duration = Duration::from_millis(100);

    fn far() -> Mtu {
        Mtu::new("192.0.2.1:9".parse().unwrap())
    }

    fn near() -> Mtu {
        Mtu::new("169.254.1.1:9".parse().unwrap())
    }

    /// Searches on a path that takes `mtu` bytes: the sizes of all probes, and when it was over.
    fn search(mtu: &mut Mtu, path: usize) -> (Vec<usize>, Moment) {
        let (mut sizes, mut now) = (vec![], START);
        mtu.on_full(now);
        while let Some(at) = mtu.deadline() {
            now = now.max(at);
            let Some(size) = mtu.probe_due(now) else { continue };
            mtu.on_probe(sizes.len() as u64, size, PTO, now);
            sizes.push(size);
            assert!(sizes.len() < 100);
            if size <= path {
                now = now + PTO / 4;
                mtu.on_probe_arrived(now);
            }
        }
        (sizes, now)
    }

    #[test]
    fn the_largest_is_tried_first_and_found_with_one_probe() {
        for (mut mtu, largest) in [(far(), DATAGRAM_SIZE_MAX), (near(), DATAGRAM_SIZE_NEAR)] {
            assert_eq!((mtu.size(), mtu.deadline()), (DATAGRAM_SIZE, None), "nobody would use it");
            assert_eq!(search(&mut mtu, 65_000).0, [largest]);
            assert_eq!(mtu.size(), largest);
        }
    }

    #[test]
    fn every_path_between_base_and_largest_is_found_to_sixteen_bytes() {
        for path in DATAGRAM_SIZE..=DATAGRAM_SIZE_MAX {
            for mut mtu in [far(), near()] {
                let (sizes, over) = search(&mut mtu, path);
                let size = mtu.size();
                assert!(size <= path && size + STEP > path.min(DATAGRAM_SIZE_MAX), "{size} on {path}");
                let lost = sizes.iter().filter(|size| **size > path).count();
                assert!(lost <= 18 && over.saturating_since(START) < Duration::from_secs(5), "{sizes:?}");
            }
        }
    }

    #[test]
    fn a_near_peer_on_ethernet_costs_three_probes_that_are_lost() {
        let mut mtu = near();
        let [jumbo, ethernet] = [DATAGRAM_SIZE_NEAR, DATAGRAM_SIZE_MAX];
        assert_eq!(search(&mut mtu, 1472).0, [jumbo, jumbo, jumbo, ethernet]);
        assert_eq!(mtu.size(), ethernet);
    }

    #[test]
    fn what_the_system_refuses_is_not_tried_again() {
        let mut mtu = near();
        mtu.on_full(START);
        let size = mtu.probe_due(START).unwrap();
        mtu.on_probe(0, size, PTO, START);
        assert!(!mtu.on_refused(size, START));
        assert_eq!(mtu.probe_due(START), Some(DATAGRAM_SIZE_MAX));
    }

    #[test]
    fn it_is_searched_again_after_ten_minutes_and_only_for_somebody() {
        let mut mtu = far();
        let (_, over) = search(&mut mtu, 1300);
        mtu.on_full(over + RAISE_AFTER - Duration::from_nanos(1));
        assert_eq!(mtu.deadline(), None);
        mtu.on_full(over + RAISE_AFTER);
        assert_eq!(mtu.probe_due(over + RAISE_AFTER), Some(DATAGRAM_SIZE_MAX));
    }

    #[test]
    fn three_large_ones_lost_in_a_row_are_a_black_hole_and_small_ones_or_an_arrival_between_are_not() {
        let found = || {
            let mut mtu = far();
            search(&mut mtu, 9000);
            mtu
        };
        let large = DATAGRAM_SIZE_MAX as u64;
        let mut mtu = found();
        assert!((10..20).all(|number| !mtu.on_lost(number, DATAGRAM_SIZE as u64, START)));
        assert_eq!([10, 11, 12].map(|number| mtu.on_lost(number, large, START)), [false, false, true]);
        assert_eq!((mtu.size(), mtu.black_holes(), mtu.deadline()), (DATAGRAM_SIZE, 1, None));
        mtu.on_full(START + SEARCH_AGAIN_AFTER);
        assert_eq!(mtu.deadline(), Some(START + SEARCH_AGAIN_AFTER));
        let mut mtu = found();
        assert!(!mtu.on_lost(10, large, START) && !mtu.on_lost(11, large, START));
        mtu.on_arrived(12, large);
        assert!((8..12).all(|number| !mtu.on_lost(number, large, START)), "a burst before what arrived");
        assert!(!mtu.on_lost(13, large, START) && !mtu.on_lost(14, large, START));
        assert_eq!(mtu.size(), DATAGRAM_SIZE_MAX);
    }

    #[test]
    fn an_interface_that_takes_less_than_before_sends_it_back_to_the_base() {
        let mut mtu = far();
        search(&mut mtu, 9000);
        assert!(!mtu.on_refused(DATAGRAM_SIZE_MAX + 1, START) && !mtu.on_refused(DATAGRAM_SIZE, START));
        assert!(mtu.on_refused(DATAGRAM_SIZE_MAX, START));
        assert_eq!(mtu.size(), DATAGRAM_SIZE);
    }
}
