//! Hints: what is worth something now and nothing later, so that it is never repeated.

use core::time::Duration;

use p2pchat_proto::Moment;

/// Least time between two hints that are sent: a user who types on is as good as one who just began.
pub const HINT_INTERVAL: Duration = Duration::from_secs(3);
/// Least time between two of the peer's that are told: an honest one sends less, and what a network holds
/// back and lets go at once is one.
pub(super) const HEARD_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a hint on the wire: the frame's kind, the hint's, and the length of nothing.
pub(super) const HINT_LEN: usize = 3;

/// Both directions of one session.
#[derive(Debug, Default)]
pub(super) struct Hints {
    waiting: Option<u8>,
    sent: Option<Moment>,
    heard: Option<Moment>,
}

impl Hints {
    /// Something to hint at. Another one that waits gives way; one that comes too soon is none.
    pub(super) fn offer(&mut self, kind: u8, now: Moment) {
        if is_due(self.sent, HINT_INTERVAL, now) {
            self.waiting = Some(kind);
            self.sent = Some(now);
        }
    }

    pub(super) const fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// What goes into the next packet that has so much room.
    pub(super) fn take(&mut self, room: usize) -> Option<u8> {
        self.waiting.take_if(|_| room >= HINT_LEN)
    }

    /// The peer hinted at something; whether it is told.
    pub(super) fn hear(&mut self, now: Moment) -> bool {
        let told = is_due(self.heard, HEARD_INTERVAL, now);
        if told {
            self.heard = Some(now);
        }
        told
    }
}

fn is_due(last: Option<Moment>, interval: Duration, now: Moment) -> bool {
    last.is_none_or(|last| now >= last + interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Moment = Moment::ZERO;

    #[test]
    fn one_waits_at_a_time_and_goes_once_where_there_is_room() {
        let mut hints = Hints::default();
        hints.offer(1, AT);
        assert_eq!(hints.take(HINT_LEN - 1), None);
        assert_eq!(hints.take(HINT_LEN), Some(1));
        assert_eq!(hints.take(HINT_LEN), None);
    }

    #[test]
    fn whoever_types_all_the_time_says_so_every_three_seconds() {
        let mut hints = Hints::default();
        let mut sent = 0;
        for tenth in 0..100 {
            hints.offer(1, AT + Duration::from_millis(100) * tenth);
            sent += u32::from(hints.take(HINT_LEN).is_some());
        }
        assert_eq!(sent, 4);
    }

    #[test]
    fn a_peer_that_hints_without_end_is_told_once_a_second() {
        let mut hints = Hints::default();
        let told = (0..10_000).filter(|milli| hints.hear(AT + Duration::from_millis(*milli))).count();
        assert_eq!(told, 10);
    }
}
