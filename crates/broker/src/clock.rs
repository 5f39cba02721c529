//! The one place where the broker reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use p2pchat_proto::{Moment, WallTime};
use tokio::time::Instant;

/// The monotonic clock, as moments since it was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Moment {
        Moment::ZERO + self.start.elapsed()
    }

    pub(crate) fn instant(self, moment: Moment) -> Instant {
        self.start + moment.saturating_since(Moment::ZERO)
    }
}

/// What the system's clock shows; the epoch itself if it stands before.
#[expect(clippy::disallowed_methods, reason = "the shell is where the clock is read")]
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
