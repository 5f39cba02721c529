//! Messages that waited for longer than the user wants, and so are given up.

use core::time::Duration;

use p2pchat_proto::{Moment, PeerId, WallTime};

use super::Engine;
use crate::now::Now;

/// Longest time until the next look while something waits: messages have the time of the day, which may be set
/// while a timer runs.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Expiry {
    /// How long messages may wait; for ever where that is none.
    after: Option<Duration>,
    /// When the next look is due.
    pub(super) due: Moment,
}

impl Expiry {
    pub(super) const fn new(after: Option<Duration>) -> Self {
        Self { after, due: Moment::NEVER }
    }

    /// Until when messages were written that waited for too long by now.
    fn before(&self, now: Now) -> Option<WallTime> {
        let after = u64::try_from(self.after?.as_millis()).unwrap_or(u64::MAX);
        now.wall.0.checked_sub(after).map(WallTime)
    }
}

impl Engine {
    /// What waits for them is read, so that it is given up in time though nobody comes.
    pub(super) fn expect_expiry(&mut self, recipients: &[PeerId]) {
        if self.expiry.after.is_some() {
            recipients.iter().for_each(|peer| self.conversations.look_after(*peer));
        }
    }

    /// Looks again when the next message is due.
    pub(super) fn plan_expiry(&mut self, now: Now) {
        let Some(after) = self.expiry.after else { return };
        let due = self.conversations.oldest_waiting().map(|written| {
            let waited = Duration::from_millis(now.wall.0.saturating_sub(written.0));
            now.after(after.saturating_sub(waited).min(LOOK_EVERY))
        });
        self.expiry.due = due.unwrap_or(Moment::NEVER);
    }

    pub(super) fn expiry_due(&mut self, now: Now) {
        if now.reached(self.expiry.due)
            && let Some(before) = self.expiry.before(now)
        {
            self.conversations.expire(before);
        }
    }
}
