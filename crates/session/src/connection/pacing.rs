//! How fast a window leaves (RFC 9002 section 7.7): a bucket of bytes that fills at the pace.
//!
//! While less than a burst was sent since it was full, nothing waits: that is all that a chat ever
//! does. What is in the bucket is reckoned when it is empty, and else no more often than a timer could
//! fire, so that packets in quick succession cost a comparison each.

use core::time::Duration;

use p2pchat_proto::Moment;

/// Datagrams that may leave at once, whatever the pace (RFC 9002 section 7.7; protocol section 12).
const BURST_DATAGRAMS: u64 = 10;
/// Time whose bytes may leave at once, where these are more: a late timer then costs no pace, and a
/// fast path gets as many segments in one system call as it takes (our choice).
const BURST_TIME: Duration = Duration::from_millis(4);
/// Least time between two wake-ups: the step of the timers of the systems that this runs on (our
/// choice).
const STEP: Duration = Duration::from_millis(1);
/// Round-trip time below which nothing is paced: no timer is fine enough (our choice).
pub(crate) const PACED_RTT_MIN: Duration = STEP;
/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// The bucket.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes of a datagram.
    datagram: u64,
    /// Bytes that may leave.
    tokens: u64,
    /// When they were reckoned.
    filled: Moment,
    /// Until when the last one who asked has to wait.
    until: Option<Moment>,
}

impl Pacer {
    pub(crate) const fn new(datagram: u64) -> Self {
        Self { datagram, tokens: datagram.saturating_mul(BURST_DATAGRAMS), filled: Moment::ZERO, until: None }
    }

    /// Whether a datagram may leave now that leaves `reserve` bytes for others, at the pace that `rate`
    /// tells in bytes a second when it is needed.
    pub(crate) fn lets_out(
        &mut self,
        reserve: u64,
        rtt: Option<Duration>,
        rate: impl FnOnce() -> u64,
        now: Moment,
    ) -> bool {
        self.until = None;
        if rtt.is_none_or(|rtt| rtt < PACED_RTT_MIN) {
            return true;
        }
        let least = self.datagram.saturating_add(reserve);
        if self.tokens >= least && now.saturating_since(self.filled) < STEP {
            return true;
        }
        let rate = rate().max(1);
        self.fill(rate, now);
        if self.tokens >= least {
            return true;
        }
        let wanted = bytes_in(STEP, rate).saturating_add(reserve).clamp(least, self.capacity(rate));
        let missing = u128::from(wanted.saturating_sub(self.tokens));
        let nanos = missing.saturating_mul(SECOND).div_ceil(u128::from(rate));
        self.until = Some(now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        false
    }

    /// Datagrams have this many bytes from now on.
    pub(crate) const fn on_datagram_size(&mut self, bytes: u64) {
        self.datagram = bytes;
    }

    /// So many bytes left.
    pub(crate) const fn on_sent(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// Nothing waits any more.
    pub(crate) const fn stop(&mut self) {
        self.until = None;
    }

    /// When something that waits may leave.
    pub(crate) const fn deadline(&self) -> Option<Moment> {
        self.until
    }

    fn fill(&mut self, rate: u64, now: Moment) {
        let gained = bytes_in(now.saturating_since(self.filled), rate);
        // A gain of less than a byte is not lost, however often somebody asks.
        if gained > 0 {
            self.tokens = self.tokens.saturating_add(gained).min(self.capacity(rate));
            self.filled = now;
        }
    }

    fn capacity(&self, rate: u64) -> u64 {
        self.datagram.saturating_mul(BURST_DATAGRAMS).max(bytes_in(BURST_TIME, rate))
    }
}

/// Bytes that leave in this time.
fn bytes_in(time: Duration, rate: u64) -> u64 {
    let bytes = time.as_nanos().saturating_mul(u128::from(rate)).checked_div(SECOND).unwrap_or(0);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: u64 = 1200;
    /// 10 Mbit/s: a datagram takes 0.96 ms.
    const RATE: u64 = 1_250_000;
    const RTT: Option<Duration> = Some(Duration::from_millis(50));

    fn at(micros: u64) -> Moment {
        Moment::from_nanos(micros * 1000)
    }

    /// Sends as many datagrams as may leave.
    fn pour(pacer: &mut Pacer, rate: u64, now: Moment) -> u64 {
        let mut count = 0;
        while pacer.lets_out(0, RTT, || rate, now) {
            pacer.on_sent(DATAGRAM);
            count += 1;
            assert!(count < 1_000_000);
        }
        count
    }

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_pace() {
        let mut pacer = Pacer::new(DATAGRAM);
        let mut now = at(1);
        assert_eq!(pour(&mut pacer, RATE, now), BURST_DATAGRAMS);
        let (start, mut sent) = (now, 0);
        while sent < 1_000 {
            let next = pacer.deadline().unwrap();
            assert!(next > now && next.saturating_since(now) >= Duration::from_micros(900));
            now = next;
            let count = pour(&mut pacer, RATE, now);
            assert!((1..=2).contains(&count), "{count} at once");
            sent += count;
        }
        let took = now.saturating_since(start).as_secs_f64();
        assert!((0.955..0.965).contains(&took), "{took} s for a thousand datagrams");
    }

    #[test]
    fn a_fast_path_wakes_up_once_a_millisecond_for_many_datagrams() {
        let mut pacer = Pacer::new(DATAGRAM);
        // 1.2 GB/s: 1,000 datagrams a millisecond.
        let rate = DATAGRAM * 1_000_000;
        let mut now = at(1);
        pour(&mut pacer, rate, now);
        now = pacer.deadline().unwrap();
        assert_eq!(pour(&mut pacer, rate, now), 1_000);
        assert_eq!(pacer.deadline(), Some(now + STEP));
        // A timer that comes 3 ms late costs nothing.
        assert_eq!(pour(&mut pacer, rate, now + STEP * 4), 4_000);
        assert_eq!(
            pour(&mut pacer, rate, now + STEP * 40),
            4_000,
            "and an idle time gives no more than a burst"
        );
    }

    #[test]
    fn while_less_than_a_burst_is_used_the_pace_is_asked_for_once_a_millisecond() {
        let mut pacer = Pacer::new(DATAGRAM);
        let mut asked = 0;
        for micros in (10_000..20_000).step_by(10) {
            let rate = || {
                asked += 1;
                RATE
            };
            assert!(pacer.lets_out(0, RTT, rate, at(micros)));
            pacer.on_sent(12);
        }
        assert_eq!(asked, 10);
    }

    #[test]
    fn after_an_idle_time_a_burst_leaves_and_no_more() {
        let mut pacer = Pacer::new(DATAGRAM);
        assert_eq!(pour(&mut pacer, RATE, at(1)), BURST_DATAGRAMS);
        assert_eq!(pour(&mut pacer, RATE, at(6_000)), 6);
        pacer.lets_out(0, RTT, || RATE, at(11_000));
        assert_eq!(pour(&mut pacer, RATE, at(60_000_000)), BURST_DATAGRAMS);
    }

    #[test]
    fn nothing_is_paced_below_the_step_of_a_timer_or_before_the_first_sample() {
        for rtt in [None, Some(Duration::from_micros(999))] {
            let mut pacer = Pacer::new(DATAGRAM);
            pacer.on_sent(u64::MAX);
            assert!(pacer.lets_out(0, rtt, || panic!("reckoned"), at(1)));
            assert_eq!(pacer.deadline(), None);
        }
    }

    #[test]
    fn a_slow_path_that_is_asked_all_the_time_is_as_fast_as_its_pace() {
        let mut pacer = Pacer::new(DATAGRAM);
        pour(&mut pacer, 100_000, at(1));
        let sent: u64 = (1..=1_000_000).map(|micros| pour(&mut pacer, 100_000, at(micros))).sum();
        assert!((81..=84).contains(&sent), "{sent} datagrams in a second");
    }

    #[test]
    fn a_rate_of_nothing_waits_and_does_not_end() {
        let mut pacer = Pacer::new(DATAGRAM);
        pacer.on_sent(u64::MAX);
        assert!(!pacer.lets_out(0, RTT, || 0, at(1)));
        assert!(pacer.deadline().unwrap() > at(1));
    }
}
