//! What a host's clocks show.

/// Parts in a million, the unit of skew.
const MILLION: i128 = 1_000_000;

/// The two clocks of a host, as functions of the network's time: the monotonic one, by which timers
/// run, and the wall clock, which somebody may set.
///
/// The network's own time is nobody's clock. A driver hands [`monotonic`](Self::monotonic) and
/// [`wall`](Self::wall) to the core it runs, and turns the core's next deadline back into the
/// network's time with [`when`](Self::when).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Time of the network at which the two below were right.
    since: u64,
    monotonic: u64,
    wall: u64,
    skew: i64,
    stopped: bool,
}

impl Clock {
    /// Most that a clock may be fast or slow, parts per million.
    pub const SKEW_MAX: i64 = 500_000;

    /// Clocks that show these at the start of the network's time, in nanoseconds, and go right.
    pub const fn new(monotonic: u64, wall: u64) -> Self {
        Self { since: 0, monotonic, wall, skew: 0, stopped: false }
    }

    /// What the monotonic clock shows at `now`, nanoseconds. Never goes back, and stands while
    /// stopped.
    pub fn monotonic(&self, now: u64) -> u64 {
        if self.stopped { self.monotonic } else { self.monotonic.saturating_add(self.advance(now)) }
    }

    /// What the wall clock shows at `now`, nanoseconds since its own epoch.
    pub fn wall(&self, now: u64) -> u64 {
        self.wall.saturating_add(self.advance(now))
    }

    /// The earliest time of the network, from the last change on, at which the monotonic clock shows
    /// at least `monotonic`. `None` while it is stopped before that.
    pub fn when(&self, monotonic: u64) -> Option<u64> {
        let missing = i128::from(monotonic.saturating_sub(self.monotonic));
        if missing == 0 {
            return Some(self.since);
        }
        if self.stopped {
            return None;
        }
        let rate = MILLION + i128::from(self.skew);
        // Rounded up; both are positive.
        let takes = (missing * MILLION + rate - 1) / rate;
        Some(self.since.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX)))
    }

    /// Whether the monotonic clock stands.
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Makes both clocks fast (or slow, below zero) by this many parts per million from now on, at
    /// most [`SKEW_MAX`](Self::SKEW_MAX).
    pub fn skew(&mut self, now: u64, parts_per_million: i64) {
        self.settle(now);
        self.skew = parts_per_million.clamp(-Self::SKEW_MAX, Self::SKEW_MAX);
    }

    /// Stops the monotonic clock, as the suspension of a machine does on Linux. The wall clock goes on.
    pub fn stop(&mut self, now: u64) {
        self.settle(now);
        self.stopped = true;
    }

    /// Lets the monotonic clock go on from where it stands.
    pub fn start(&mut self, now: u64) {
        self.settle(now);
        self.stopped = false;
    }

    /// Sets the wall clock forward, or back, by this many nanoseconds; not below zero.
    pub fn jump(&mut self, now: u64, by: i64) {
        self.settle(now);
        self.wall = self.wall.saturating_add_signed(by);
    }

    /// What passed on this host since the last change.
    fn advance(&self, now: u64) -> u64 {
        let passed = i128::from(now.saturating_sub(self.since));
        u64::try_from(passed * (MILLION + i128::from(self.skew)) / MILLION).unwrap_or(u64::MAX)
    }

    fn settle(&mut self, now: u64) {
        (self.monotonic, self.wall) = (self.monotonic(now), self.wall(now));
        self.since = self.since.max(now);
    }
}

/// Right clocks: both show the network's own time.
impl Default for Clock {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{millis, seconds};
    use proptest::prelude::*;

    #[test]
    fn a_right_clock_shows_its_start_and_what_passed() {
        let clock = Clock::new(seconds(5), seconds(100));
        assert_eq!((clock.monotonic(seconds(2)), clock.wall(seconds(2))), (seconds(7), seconds(102)));
        assert_eq!(clock.when(seconds(7)), Some(seconds(2)));
        assert_eq!(clock.when(seconds(1)), Some(0), "what it showed before the start is due at once");
    }

    #[test]
    fn a_stopped_clock_stands_while_the_wall_clock_goes_on() {
        let mut clock = Clock::default();
        clock.stop(seconds(10));
        assert_eq!((clock.monotonic(seconds(60)), clock.wall(seconds(60))), (seconds(10), seconds(60)));
        assert_eq!((clock.when(seconds(10)), clock.when(seconds(11))), (Some(seconds(10)), None));
        clock.start(seconds(60));
        assert_eq!((clock.monotonic(seconds(61)), clock.wall(seconds(61))), (seconds(11), seconds(61)));
        assert_eq!(clock.when(seconds(11)), Some(seconds(61)));
    }

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let mut clock = Clock::new(0, seconds(7_200));
        clock.jump(seconds(1), -3_600_000_000_000);
        assert_eq!((clock.monotonic(seconds(2)), clock.wall(seconds(2))), (seconds(2), seconds(3_602)));
        clock.jump(seconds(2), i64::MIN);
        assert_eq!(clock.wall(seconds(2)), 0);
    }

    #[test]
    fn a_skewed_clock_is_fast_by_its_parts_per_million_and_no_clock_runs_backwards() {
        let mut clock = Clock::default();
        clock.skew(0, 100);
        assert_eq!(clock.monotonic(seconds(1_000)), seconds(1_000) + millis(100));
        clock.skew(seconds(1_000), i64::MIN);
        assert_eq!(clock.monotonic(seconds(1_002)), seconds(1_001) + millis(100));
    }

    proptest! {
        #[test]
        fn a_deadline_is_reached_when_the_clock_says_so_and_not_before(
            start: u32, changed: u32, ppm in -600_000..600_000i64, ahead in 0..u64::from(u32::MAX),
        ) {
            let mut clock = Clock::new(start.into(), 0);
            clock.skew(changed.into(), ppm);
            let deadline = clock.monotonic(changed.into()) + ahead;
            let when = clock.when(deadline).unwrap();
            prop_assert!(clock.monotonic(when) >= deadline);
            prop_assert!(when == u64::from(changed) || clock.monotonic(when - 1) < deadline);
        }

        #[test]
        fn the_monotonic_clock_never_goes_back(
            changes in proptest::collection::vec((0..4u8, 0..1_000_000_000u64, any::<i32>()), 0..50),
        ) {
            let (mut clock, mut now, mut last) = (Clock::default(), 0, 0);
            for (kind, passes, by) in changes {
                now += passes;
                prop_assert!(clock.monotonic(now) >= last);
                last = clock.monotonic(now);
                match kind {
                    0 => clock.stop(now),
                    1 => clock.start(now),
                    2 => clock.jump(now, by.into()),
                    _ => clock.skew(now, by.into()),
                }
                prop_assert_eq!(clock.monotonic(now), last);
            }
        }
    }
}
