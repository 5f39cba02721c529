//! When slow start has gone far enough: HyStart++ (RFC 9406), for a sender that paces.

use core::time::Duration;

use p2pchat_proto::Moment;

/// Samples of a round trip that are looked at together (RFC 9406 section 4.3, N_RTT_SAMPLE).
const SAMPLES: u32 = 8;
/// Growth of the round-trip time that means a queue, at least (RFC 9406 section 4.3, MIN_RTT_THRESH).
const THRESHOLD_MIN: Duration = Duration::from_millis(4);
/// And at most (RFC 9406 section 4.3, MAX_RTT_THRESH).
const THRESHOLD_MAX: Duration = Duration::from_millis(16);
/// Share of the round-trip time that it is in between (RFC 9406 section 4.3, MIN_RTT_DIVISOR).
const THRESHOLD_DIVISOR: u32 = 8;
/// How much slower the window grows then (RFC 9406 section 4.3, CSS_GROWTH_DIVISOR).
const SLOW_DIVISOR: u32 = 4;
/// Round trips of that before slow start is over (RFC 9406 section 4.3, CSS_ROUNDS).
const SLOW_ROUNDS: u32 = 5;

/// How an acknowledgement in slow start makes the window grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// By what arrived.
    Full,
    /// By a part of it.
    Slow { divisor: u32 },
    /// No more: the queue of the path is filling.
    Over,
}

/// Rounds of slow start, each as long as it takes until something sent in it is acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct HyStart {
    round_start: Moment,
    /// Least round-trip time of the round before.
    last: Option<Duration>,
    /// Least of this one.
    least: Duration,
    samples: u32,
    slow: Option<Slow>,
}

/// Conservative slow start.
#[derive(Debug, Clone, Copy)]
struct Slow {
    /// What the round-trip time must not fall below, or the queue was none.
    baseline: Duration,
    rounds: u32,
}

impl HyStart {
    pub(super) const fn new() -> Self {
        Self { round_start: Moment::ZERO, last: None, least: Duration::MAX, samples: 0, slow: None }
    }

    /// A packet that was sent at `sent` was acknowledged.
    pub(super) fn on_acked(&mut self, sent: Moment, now: Moment) -> Growth {
        if sent > self.round_start && self.end_round(now) {
            return Growth::Over;
        }
        self.least = self.least.min(now.saturating_since(sent));
        self.samples = self.samples.saturating_add(1);
        if self.samples >= SAMPLES {
            self.look();
        }
        match self.slow {
            Some(_) => Growth::Slow { divisor: SLOW_DIVISOR },
            None => Growth::Full,
        }
    }

    /// Begins the next round. Whether slow start is over.
    fn end_round(&mut self, now: Moment) -> bool {
        self.round_start = now;
        self.last = (self.samples > 0).then_some(self.least);
        self.least = Duration::MAX;
        self.samples = 0;
        self.slow.as_mut().is_some_and(|slow| {
            slow.rounds = slow.rounds.saturating_add(1);
            slow.rounds >= SLOW_ROUNDS
        })
    }

    fn look(&mut self) {
        match &self.slow {
            Some(slow) if self.least < slow.baseline => self.slow = None,
            Some(_) => {}
            None => {
                let Some(last) = self.last else { return };
                let part = last.checked_div(THRESHOLD_DIVISOR).unwrap_or(last);
                let threshold = part.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
                if self.least >= last.saturating_add(threshold) {
                    self.slow = Some(Slow { baseline: self.least, rounds: 0 });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Rounds with these round-trip times, of eight packets each; answers with the growth at the end
    /// of each.
    fn rounds(times: &[u64]) -> Vec<Growth> {
        let mut hystart = HyStart::new();
        let mut now = Moment::ZERO;
        let mut round = |took: &u64| {
            let sent = now + ms(1);
            now = sent + ms(*took);
            let last = (0..SAMPLES).map(|_| hystart.on_acked(sent, now)).take_while(|g| *g != Growth::Over);
            let grown: Vec<_> = last.collect();
            if grown.len() < SAMPLES as usize { Growth::Over } else { grown[grown.len() - 1] }
        };
        times.iter().map(&mut round).collect()
    }

    #[test]
    fn a_path_without_a_queue_stays_in_slow_start() {
        assert_eq!(rounds(&[100, 101, 103, 100, 111, 112]), [Growth::Full; 6]);
    }

    #[test]
    fn a_queue_slows_it_for_five_rounds_and_then_ends_it() {
        let grown = rounds(&[100, 113, 113, 114, 115, 116, 117]);
        let slow = Growth::Slow { divisor: SLOW_DIVISOR };
        assert_eq!(grown, [Growth::Full, slow, slow, slow, slow, slow, Growth::Over]);
    }

    #[test]
    fn a_queue_that_was_none_is_forgotten() {
        let slow = Growth::Slow { divisor: SLOW_DIVISOR };
        assert_eq!(rounds(&[100, 113, 112, 100]), [Growth::Full, slow, Growth::Full, Growth::Full]);
    }

    #[test]
    fn the_threshold_lies_between_four_and_sixteen_milliseconds() {
        let slow = Growth::Slow { divisor: SLOW_DIVISOR };
        assert_eq!(rounds(&[8, 11]), [Growth::Full; 2]);
        assert_eq!(rounds(&[8, 12]), [Growth::Full, slow]);
        assert_eq!(rounds(&[800, 815]), [Growth::Full; 2]);
        assert_eq!(rounds(&[800, 816]), [Growth::Full, slow]);
    }
}
