//! The one place of the client where clocks are read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use p2pchat_engine::Now;
use p2pchat_proto::{Moment, WallTime};

/// Both clocks of this machine, the monotonic one counted from the start of the driver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the driver is where time enters")]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the driver is where time enters")]
    pub(crate) fn now(self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Now { moment: Moment::from_nanos(nanos), wall: WallTime(millis) }
    }

    /// `moment` on the runtime's clock; `None` where it lies out of reach.
    pub(crate) fn instant(self, moment: Moment) -> Option<tokio::time::Instant> {
        let since_start = moment.saturating_since(Moment::ZERO);
        self.start.checked_add(since_start).map(tokio::time::Instant::from_std)
    }
}
