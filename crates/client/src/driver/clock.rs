//! The one place of the client where clocks are read.

use core::time::Duration;
#[cfg(not(target_os = "linux"))]
use std::time::Instant;

use p2pchat_engine::Now;
use p2pchat_proto::{Moment, WallTime};

/// Both clocks of this machine, the monotonic one counted from the start of the driver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: awake_or_not() }
    }

    pub(crate) fn now(self) -> Now {
        let millis = u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX);
        Now { moment: self.moment(), wall: WallTime(millis) }
    }

    fn moment(self) -> Moment {
        let since_start = awake_or_not().saturating_sub(self.start);
        Moment::from_nanos(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long it is until `moment`; nothing where it has passed.
    pub(crate) fn left(self, moment: Moment) -> Duration {
        moment.saturating_since(self.moment())
    }
}

/// A clock that goes on while the machine sleeps: what others took for lost meanwhile is lost for this
/// side, too, as soon as it wakes.
#[cfg(target_os = "linux")]
fn awake_or_not() -> Duration {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(since_boot).unwrap_or_default()
}

/// As of the last tick of the system, a few milliseconds ago at most: for what people read that is enough, and
/// it costs a tenth of the exact time (clock_gettime(2)).
#[cfg(target_os = "linux")]
fn since_epoch() -> Duration {
    let since_epoch = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Duration::try_from(since_epoch).unwrap_or_default()
}

/// The time that people read.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the driver is where time enters")]
fn since_epoch() -> Duration {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.unwrap_or_default()
}

/// A clock that may stand while the machine sleeps.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the driver is where time enters")]
fn awake_or_not() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_counts_the_sleep_of_the_machine_as_its_uptime_does() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let apart = (awake_or_not().as_secs_f64() - uptime).abs();
        assert!(apart < 60.0, "{apart} s from the uptime, which counts it (proc(5))");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_that_people_read_is_that_of_the_system() {
        let exact =
            || Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Realtime)).unwrap();
        let before = exact();
        let read = since_epoch();
        let apart = before.abs_diff(read).min(exact().abs_diff(read));
        assert!(apart < SECOND, "{apart:?}");
    }

    #[test]
    fn what_is_left_until_a_moment_is_its_distance_and_nothing_once_it_has_passed() {
        let clock = Clock::start();
        let now = Moment::ZERO + SECOND * 100;
        let clock = Clock { start: clock.start.saturating_sub(SECOND * 100) };
        let left = clock.left(now + SECOND * 10);
        assert!(left > SECOND * 8 && left <= SECOND * 10, "{left:?}");
        assert_eq!(clock.left(Moment::ZERO + SECOND * 90), Duration::ZERO);
    }
}
