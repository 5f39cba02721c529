//! How far later packets may run ahead before one counts as lost (RFC 9002 section 6.1), fitted to
//! what the path does (as RFC 8985 section 6.2 fits its window).

use core::time::Duration;

use p2pchat_proto::Moment;

use super::rtt::GRANULARITY;

/// Packets that may overtake one, at first and at least (RFC 9002 section 6.1.1, kPacketThreshold).
const PACKETS: u64 = 3;
/// And at most (protocol section 12).
const PACKETS_MAX: u64 = 64;
/// Eighths of a round-trip time that one may be late, at first and at least (RFC 9002 section 6.1.2,
/// kTimeThreshold: 9/8).
const EIGHTHS: u32 = 9;
/// And at most: two round-trip times.
const EIGHTHS_MAX: u32 = 16;
/// Round trips after which the thresholds go back to what was needed in them (as RFC 8985 section
/// 6.2, reo_wnd_persist).
const KEPT_ROUNDS: u32 = 16;

/// The thresholds, and what was seen of the path.
#[derive(Debug)]
pub(crate) struct Reordering {
    packets: u64,
    eighths: u32,
    /// The most that would have been needed since `since`.
    seen: (u64, u32),
    since: Moment,
}

impl Reordering {
    pub(crate) const fn new() -> Self {
        Self { packets: PACKETS, eighths: EIGHTHS, seen: (PACKETS, EIGHTHS), since: Moment::ZERO }
    }

    /// Packets that overtake one from which on it is lost.
    pub(crate) const fn packets(&self) -> u64 {
        self.packets
    }

    /// Time from which on a packet that was overtaken is lost.
    pub(crate) fn delay(&self, rtt: Duration) -> Duration {
        rtt.saturating_mul(self.eighths).checked_div(8).unwrap_or(rtt).max(GRANULARITY)
    }

    /// A packet arrived `after` it was sent, when one `ahead` numbers later had been acknowledged.
    /// `spurious` says that it counted as lost.
    pub(crate) fn on_late(&mut self, ahead: u64, after: Duration, rtt: Duration, spurious: bool) {
        let packets = ahead.saturating_add(1).min(PACKETS_MAX);
        let eighths = after.saturating_mul(8).as_nanos().checked_div(rtt.as_nanos()).unwrap_or(0);
        let eighths = u32::try_from(eighths).unwrap_or(u32::MAX).saturating_add(1).min(EIGHTHS_MAX);
        self.seen = (self.seen.0.max(packets), self.seen.1.max(eighths));
        if spurious {
            self.packets = self.packets.max(packets);
            self.eighths = self.eighths.max(eighths);
        }
    }

    /// Something was acknowledged.
    pub(crate) fn on_progress(&mut self, rtt: Duration, now: Moment) {
        if now.saturating_since(self.since) < rtt.saturating_mul(KEPT_ROUNDS) {
            return;
        }
        self.packets = self.packets.min(self.seen.0);
        self.eighths = self.eighths.min(self.seen.1);
        self.seen = (PACKETS, EIGHTHS);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn at(rounds: u32) -> Moment {
        Moment::ZERO + RTT * rounds
    }

    #[test]
    fn a_loss_that_proves_spurious_raises_what_was_too_small() {
        let mut reordering = Reordering::new();
        reordering.on_late(7, RTT, RTT, true);
        assert_eq!((reordering.packets(), reordering.delay(RTT)), (8, RTT * 9 / 8), "by packets");
        reordering.on_late(2, RTT * 5 / 4, RTT, true);
        assert_eq!((reordering.packets(), reordering.delay(RTT)), (8, RTT * 11 / 8), "by time");
        reordering.on_late(1_000_000, RTT * 100, RTT, true);
        assert_eq!((reordering.packets(), reordering.delay(RTT)), (PACKETS_MAX, RTT * 2));
    }

    #[test]
    fn a_late_packet_that_did_not_count_as_lost_raises_nothing() {
        let mut reordering = Reordering::new();
        reordering.on_late(40, RTT * 2, RTT, false);
        assert_eq!((reordering.packets(), reordering.delay(RTT)), (PACKETS, RTT * 9 / 8));
    }

    #[test]
    fn after_sixteen_round_trips_the_thresholds_fall_to_what_these_needed() {
        let mut reordering = Reordering::new();
        reordering.on_late(20, RTT * 2, RTT, true);
        // Since the last time that it was looked at.
        reordering.on_progress(RTT, at(16));
        assert_eq!(reordering.packets(), 21);
        reordering.on_late(9, RTT * 5 / 4, RTT, false);
        reordering.on_progress(RTT, at(31));
        assert_eq!(reordering.packets(), 21);
        reordering.on_progress(RTT, at(32));
        assert_eq!((reordering.packets(), reordering.delay(RTT)), (10, RTT * 11 / 8));
        reordering.on_progress(RTT, at(48));
        assert_eq!((reordering.packets(), reordering.delay(RTT)), (PACKETS, RTT * 9 / 8));
    }

    #[test]
    fn no_round_trip_time_is_a_division_by_nothing() {
        let mut reordering = Reordering::new();
        reordering.on_late(5, RTT, Duration::ZERO, true);
        assert!(reordering.delay(Duration::ZERO) >= GRANULARITY);
    }
}
