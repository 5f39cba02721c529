//! Round-trip time (RFC 9002 section 5).

use core::time::Duration;

use super::acks::ACK_DELAY;

/// Round-trip time before the first sample (RFC 9002 section 6.2.2).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);

/// Finest step of a timer (RFC 9002 section 6.1.2, kGranularity).
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// What is known of the path's round-trip time.
#[derive(Debug, Clone, Copy)]
pub struct RttEstimator {
    latest: Duration,
    smoothed: Option<Duration>,
    variation: Duration,
    least: Duration,
}

impl RttEstimator {
    pub(crate) const fn new() -> Self {
        Self {
            latest: INITIAL_RTT,
            smoothed: None,
            variation: Duration::from_millis(166),
            least: Duration::MAX,
        }
    }

    /// The smoothed round-trip time, once there was a sample.
    pub const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smoothed round-trip time, or [`INITIAL_RTT`].
    pub fn assumed(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL_RTT)
    }

    /// The least round-trip time so far, once there was a sample.
    pub fn least(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.least)
    }

    /// How far samples lie from the smoothed one, on average.
    pub const fn variation(&self) -> Duration {
        self.variation
    }

    /// The least was of a path that is no more (RFC 9002 section 5.2).
    pub(crate) const fn forget_least(&mut self) {
        self.least = self.latest;
    }

    /// The larger of the smoothed and the latest: what loss by time is reckoned from.
    pub(crate) fn slower(&self) -> Duration {
        self.assumed().max(self.latest)
    }

    /// Probe timeout without backoff (RFC 9002 section 6.2.1).
    pub fn pto(&self) -> Duration {
        let spread = self.variation.saturating_mul(4).max(GRANULARITY);
        self.assumed().saturating_add(spread).saturating_add(ACK_DELAY)
    }

    /// Takes the time since the newest packet that was just acknowledged was sent, and how long
    /// the peer says that it held the acknowledgement back.
    pub(crate) fn on_sample(&mut self, sample: Duration, ack_delay: Duration) {
        self.latest = sample;
        self.least = self.least.min(sample);
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = halves(sample);
            return;
        };
        let without_delay = sample.saturating_sub(ack_delay.min(ACK_DELAY));
        let adjusted = if without_delay >= self.least { without_delay } else { sample };
        let deviation = smoothed.abs_diff(adjusted);
        self.variation = weighted(self.variation, deviation, 4);
        self.smoothed = Some(weighted(smoothed, adjusted, 8));
    }
}

fn halves(duration: Duration) -> Duration {
    weighted(duration, Duration::ZERO, 2)
}

/// `old` moved one `parts`-th of the way to `new`.
fn weighted(old: Duration, new: Duration, parts: u32) -> Duration {
    let sum = old.saturating_mul(parts.saturating_sub(1)).saturating_add(new);
    sum.checked_div(parts).unwrap_or(old)
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
        assert_eq!(rtt.variation, (ms(50) * 3 + ms(80)) / 4);
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
