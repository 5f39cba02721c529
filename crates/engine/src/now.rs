//! The two clocks that come in with every call.

use core::time::Duration;

use p2pchat_proto::{Moment, WallTime};

/// What both clocks of this machine show at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: every timer runs on it.
    pub moment: Moment,
    /// The clock that people read: times of messages, freshness of offers.
    pub wall: WallTime,
}

impl Now {
    /// Whether `deadline` has been reached.
    pub(crate) fn reached(self, deadline: Moment) -> bool {
        self.moment >= deadline
    }

    /// The moment after `wait`.
    pub(crate) fn after(self, wait: Duration) -> Moment {
        self.moment + wait
    }
}
