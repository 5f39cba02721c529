//! Round-trip time (RFC 9002 section 5).

use core::time::Duration;

use super::acks::ACK_DELAY;

/// Round-trip time before the first sample (RFC 9002 section 6.2.2).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);

/// Finest step of a timer (RFC 9002 section 6.1.2, kGranularity).
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// What is known of the path's round-trip time, in nanoseconds: it is reckoned with for every packet.
#[derive(Debug, Clone, Copy)]
pub struct RttEstimator {
    latest: u64,
    smoothed: Option<u64>,
    variation: u64,
    least: u64,
}

impl RttEstimator {
    pub(crate) fn new() -> Self {
        Self {
            latest: nanos(INITIAL_RTT),
            smoothed: None,
            variation: nanos(Duration::from_millis(166)),
            least: u64::MAX,
        }
    }

    /// The smoothed round-trip time, once there was a sample.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(Duration::from_nanos)
    }

    /// The smoothed round-trip time, or [`INITIAL_RTT`].
    pub fn assumed(&self) -> Duration {
        self.smoothed().unwrap_or(INITIAL_RTT)
    }

    /// The least round-trip time so far, once there was a sample.
    pub fn least(&self) -> Option<Duration> {
        self.smoothed.map(|_| Duration::from_nanos(self.least))
    }

    /// How far samples lie from the smoothed one, on average.
    pub const fn variation(&self) -> Duration {
        Duration::from_nanos(self.variation)
    }

    /// The least was of a path that is no more (RFC 9002 section 5.2).
    pub(crate) const fn forget_least(&mut self) {
        self.least = self.latest;
    }

    /// The larger of the smoothed and the latest: what loss by time is reckoned from.
    pub(crate) fn slower(&self) -> Duration {
        self.assumed().max(Duration::from_nanos(self.latest))
    }

    /// Probe timeout without backoff (RFC 9002 section 6.2.1).
    pub fn pto(&self) -> Duration {
        let assumed = self.smoothed.unwrap_or(nanos(INITIAL_RTT));
        let spread = self.variation.saturating_mul(4).max(nanos(GRANULARITY));
        Duration::from_nanos(assumed.saturating_add(spread).saturating_add(nanos(ACK_DELAY)))
    }

    /// Takes the time since the newest packet that was just acknowledged was sent, and how long
    /// the peer says that it held the acknowledgement back.
    pub(crate) fn on_sample(&mut self, sample: Duration, ack_delay: Duration) {
        let sample = nanos(sample);
        self.latest = sample;
        self.least = self.least.min(sample);
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = sample / 2;
            return;
        };
        let without_delay = sample.saturating_sub(nanos(ack_delay.min(ACK_DELAY)));
        let adjusted = if without_delay >= self.least { without_delay } else { sample };
        let deviation = smoothed.abs_diff(adjusted);
        self.variation = self.variation.saturating_mul(3).saturating_add(deviation) / 4;
        self.smoothed = Some(smoothed.saturating_mul(7).saturating_add(adjusted) / 8);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_first_sample_replaces_the_assumption() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.pto(), ms(333 + 4 * 166 + 25));
        rtt.on_sample(ms(100), ms(90));
        assert_eq!(rtt.smoothed(), Some(ms(100)));
        assert_eq!(rtt.pto(), ms(100 + 4 * 50 + 25));
    }

    #[test]
    fn later_samples_move_the_estimate_by_an_eighth_and_a_quarter() {
        let mut rtt = RttEstimator::new();
        rtt.on_sample(ms(100), ms(0));
        rtt.on_sample(ms(200), ms(20));
        assert_eq!(rtt.smoothed(), Some(ms(100) + ms(80) / 8));
        assert_eq!(rtt.variation(), (ms(50) * 3 + ms(80)) / 4);
    }

    #[test]
    fn a_peer_cannot_shrink_the_estimate_by_a_delay_that_it_did_not_make() {
        let mut rtt = RttEstimator::new();
        rtt.on_sample(ms(100), ms(0));
        rtt.on_sample(ms(100), Duration::from_secs(3600));
        assert_eq!(rtt.smoothed(), Some(ms(100)), "less than the least is not believed");
        rtt.on_sample(ms(200), Duration::from_secs(3600));
        assert_eq!(rtt.smoothed(), Some(ms(100) + ms(75) / 8), "no more than the largest delay counts");
    }
}
