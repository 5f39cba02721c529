//! How far a transfer is, how fast it goes, and when that is worth showing.

use std::collections::VecDeque;

use core::time::Duration;
use p2pchat_proto::Moment;

/// Shortest time between two `running` events of one transfer: at most 4 a second.
pub const SHOW_INTERVAL: Duration = Duration::from_millis(250);
/// Over how much of the past the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Progress of one transfer.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: u64,
    advanced: Moment,
    shown: Option<Moment>,
    stall_shown: bool,
    /// Readings of the last [`RATE_WINDOW`], one for each that was shown.
    readings: VecDeque<(Moment, u64)>,
}

impl Pace {
    pub(super) const fn new(now: Moment) -> Self {
        Self { bytes: 0, advanced: now, shown: None, stall_shown: false, readings: VecDeque::new() }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When content, or an attempt at a carrier, last moved on.
    pub(super) const fn advanced(&self) -> Moment {
        self.advanced
    }

    pub(super) const fn stall_shown(&self) -> bool {
        self.stall_shown
    }

    pub(super) const fn show_stall(&mut self) {
        self.stall_shown = true;
    }

    /// A new attempt begins, at `bytes`.
    pub(super) fn restart(&mut self, bytes: u64, now: Moment) {
        self.bytes = bytes;
        self.advanced = now;
        self.stall_shown = false;
        self.readings.clear();
        self.readings.push_back((now, bytes));
    }

    /// Content moved on to `bytes`. Whether that should be shown.
    pub(super) fn advance(&mut self, bytes: u64, now: Moment) -> bool {
        if bytes > self.bytes {
            self.bytes = bytes;
            self.advanced = now;
            self.stall_shown = false;
        }
        let due = self.shown.is_none_or(|shown| now.saturating_since(shown) >= SHOW_INTERVAL);
        if due {
            self.shown = Some(now);
            self.readings.push_back((now, self.bytes));
            // One reading older than the window stays, to measure from.
            while self.readings.get(1).is_some_and(|(at, _)| now.saturating_since(*at) >= RATE_WINDOW) {
                self.readings.pop_front();
            }
        }
        due
    }

    /// Bytes a second over the last [`RATE_WINDOW`]; `None` before there is anything to measure, 0
    /// in a stall.
    pub(super) fn rate(&self) -> Option<u64> {
        if self.stall_shown {
            return Some(0);
        }
        let ((start, from), (end, to)) = (self.readings.front()?, self.readings.back()?);
        let nanos = end.saturating_since(*start).as_nanos();
        let bytes = u128::from(to.saturating_sub(*from));
        let rate = (bytes * 1_000_000_000).checked_div(nanos)?;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn at_most_four_readings_a_second_are_shown() {
        let mut pace = Pace::new(at(0));
        pace.restart(0, at(0));
        let shown = (0..10_000).filter(|ms| pace.advance(*ms, at(*ms))).count();
        assert_eq!(shown, 40);
        assert!(pace.readings.len() <= 10);
    }

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let mut pace = Pace::new(at(0));
        pace.restart(0, at(0));
        assert_eq!(pace.rate(), None);
        for ms in (250..=10_000).step_by(250) {
            pace.advance(if ms <= 5_000 { ms * 1_000 } else { 5_000_000 + (ms - 5_000) * 10 }, at(ms));
        }
        assert_eq!(pace.rate(), Some(10_000));
        pace.show_stall();
        assert_eq!(pace.rate(), Some(0));
    }
}
