//! Which packets arrived, and when the peer is told (RFC 9000 section 13.2).

use core::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::frame::ack;

use crate::ranges::Ranges;

/// Longest time that an acknowledgement waits (protocol section 12).
pub const ACK_DELAY: Duration = Duration::from_millis(25);

/// Packets that ask for an acknowledgement before one leaves at once (protocol section 12).
const ACK_EVERY: u32 = 2;

/// Ranges that are kept; as many of the newest as fit go into one frame, at least 64 (protocol
/// section 5). A packet below the lowest is not acknowledged again, so its content comes anew.
pub(crate) const RANGES_KEPT: usize = 256;

/// Ranges from which on a packet that only acknowledges asks for an acknowledgement itself, so that
/// a side which only receives can forget ranges, too (RFC 9000 section 13.2.4).
const RANGES_TO_CONFIRM: usize = 32;

/// What is to be acknowledged.
#[derive(Debug, Default)]
pub(crate) struct AckTracker {
    received: Ranges,
    /// When the highest number arrived.
    largest_at: Moment,
    /// Packets that asked since the last acknowledgement.
    asked: u32,
    /// A gap or a late packet: the peer has to know now.
    at_once: bool,
    /// When the first of `asked` has waited long enough.
    deadline: Option<Moment>,
}

impl AckTracker {
    /// Notes a packet whose content was taken.
    pub(crate) fn on_received(&mut self, number: u64, asks: bool, now: Moment) {
        let expected = self.received.last().map_or(0, |last| last.end);
        if number >= expected {
            self.largest_at = now;
        }
        self.received.insert(number..number.saturating_add(1));
        if self.received.len() > RANGES_KEPT {
            self.received.pop_first();
        }
        if asks {
            self.asked = self.asked.saturating_add(1);
            self.at_once |= number != expected;
            self.deadline.get_or_insert(now + ACK_DELAY);
        }
    }

    /// The next acknowledgement does not wait.
    pub(crate) const fn hurry(&mut self) {
        self.at_once = true;
    }

    /// Ranges of packets that arrived.
    pub(crate) fn ranges(&self) -> usize {
        self.received.len()
    }

    /// Whether a packet has to leave for the acknowledgement alone.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.asked >= ACK_EVERY
            || (self.at_once && self.asked > 0)
            || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether a packet that leaves anyhow should carry an acknowledgement.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.asked > 0
    }

    /// When [`Self::is_due`] becomes true by time alone.
    pub(crate) const fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    /// Whether so many ranges wait that the peer should confirm an acknowledgement.
    pub(crate) fn wants_confirmation(&self) -> bool {
        self.received.len() >= RANGES_TO_CONFIRM
    }

    /// Appends the frame; answers with the highest number in it.
    pub(crate) fn write(&mut self, now: Moment, room: usize, out: &mut Vec<u8>) -> Option<u64> {
        let largest = self.received.last()?.end.checked_sub(1)?;
        let delay = now.saturating_since(self.largest_at);
        let newest_first = self.received.iter().rev().map(|range| range.start..=range.end.saturating_sub(1));
        if !ack::write(delay, newest_first, room, out) {
            return None;
        }
        self.asked = 0;
        self.at_once = false;
        self.deadline = None;
        Some(largest)
    }

    /// The peer has an acknowledgement that reached up to `largest`: what it told need not be told
    /// again.
    pub(crate) fn on_confirmed(&mut self, largest: u64) {
        // A late packet below `largest` may have come since and not be told.
        if self.asked == 0 {
            self.received.remove(0..largest.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::frame::{Frame, Frames};

    const START: Moment = Moment::from_nanos(1_000_000_000);

    fn told(acks: &mut AckTracker, now: Moment) -> Vec<core::ops::RangeInclusive<u64>> {
        let mut out = Vec::new();
        if acks.write(now, 1000, &mut out).is_none() {
            return vec![];
        }
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&out).next() else { panic!("{out:?}") };
        ack.ranges().collect()
    }

    #[test]
    fn one_packet_waits_for_its_delay_and_two_do_not() {
        let mut acks = AckTracker::default();
        acks.on_received(0, true, START);
        assert!(!acks.is_due(START) && acks.is_wanted());
        assert_eq!(acks.deadline(), Some(START + ACK_DELAY));
        assert!(acks.is_due(START + ACK_DELAY));
        acks.on_received(1, true, START);
        assert!(acks.is_due(START));
        assert_eq!(told(&mut acks, START), [0..=1]);
        assert!(!acks.is_due(Moment::NEVER) && acks.deadline().is_none());
    }

    #[test]
    fn a_gap_and_a_late_packet_are_told_at_once() {
        for numbers in [[0, 2], [1, 0]] {
            let mut acks = AckTracker::default();
            acks.on_received(numbers[0], false, START);
            acks.on_received(numbers[1], true, START);
            assert!(acks.is_due(START), "{numbers:?}");
        }
    }

    #[test]
    fn packets_that_ask_for_nothing_are_never_a_reason_to_send() {
        let mut acks = AckTracker::default();
        (0..100).for_each(|number| acks.on_received(number * 2, false, START));
        assert!(!acks.is_due(Moment::NEVER) && !acks.is_wanted() && acks.deadline().is_none());
    }

    #[test]
    fn the_newest_ranges_are_kept_and_their_number_is_bounded() {
        let mut acks = AckTracker::default();
        (0..10_000).for_each(|number| acks.on_received(number * 2, true, START));
        assert_eq!(acks.received.len(), RANGES_KEPT);
        let ranges = told(&mut acks, START);
        assert!(ranges.len() >= 64);
        assert_eq!(ranges[0], 19_998..=19_998);
    }

    #[test]
    fn what_the_peer_knows_is_told_no_more() {
        let mut acks = AckTracker::default();
        (0..5).for_each(|number| acks.on_received(number * 2, true, START));
        assert_eq!(told(&mut acks, START).len(), 5);
        acks.on_confirmed(6);
        acks.on_received(9, true, START);
        assert_eq!(told(&mut acks, START), [8..=9]);
    }

    #[test]
    fn a_late_packet_is_told_even_if_a_newer_acknowledgement_was_confirmed_meanwhile() {
        let mut acks = AckTracker::default();
        acks.on_received(3, true, START);
        assert_eq!(told(&mut acks, START), [3..=3]);
        acks.on_received(1, true, START);
        acks.on_confirmed(3);
        assert!(told(&mut acks, START).contains(&(1..=1)));
    }
}
