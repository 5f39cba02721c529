//! What bulk leaves to everything else, so that a line of a chat leaves at once (protocol section 5).
//!
//! Bulk stops short of the window and of the pacer's burst by [`BULK_RESERVE`]. Where the window has
//! just shrunk below what is in flight, there is no room to leave; then everything else may go beyond
//! it, by [`BULK_RESERVE`] a round trip. That is safe: it is the least window, which a sender has
//! however bad the congestion (RFC 9002 section 7.2), and what limited transmit has always let out
//! (RFC 3042 section 2); it counts as in flight, so bulk makes up for it.

use core::time::Duration;

use p2pchat_proto::Moment;

/// Datagrams that bulk leaves in every window and every burst, of the size in use (protocol section 5;
/// RFC 9002 section 7.2 for the least window).
pub(crate) const BULK_RESERVE: u64 = 2;
/// Most of a window that is left, as a divisor: bulk always gets a half.
const WINDOW_DIVISOR: u64 = 2;

/// What may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetOut {
    Nothing,
    /// Everything but bulk.
    Urgent,
    All,
}

/// Bytes that bulk leaves where datagrams have this many.
pub(crate) const fn of(datagram: u64) -> u64 {
    BULK_RESERVE.saturating_mul(datagram)
}

/// What bulk leaves in a window of this many bytes.
pub(crate) fn left_in(window: u64, datagram: u64) -> u64 {
    of(datagram).min(window / WINDOW_DIVISOR)
}

/// What may go beyond the window.
#[derive(Debug)]
pub(crate) struct Reserve {
    left: u64,
    /// When all of it was there.
    filled: Moment,
}

impl Reserve {
    pub(crate) const fn new() -> Self {
        Self { left: 0, filled: Moment::ZERO }
    }

    /// Takes so many bytes, if they are left in this round trip, where datagrams have so many.
    pub(crate) fn take(&mut self, bytes: u64, datagram: u64, rtt: Duration, now: Moment) -> bool {
        if now.saturating_since(self.filled) >= rtt {
            *self = Self { left: of(datagram), filled: now };
        }
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_datagrams_a_round_trip_may_go_beyond_the_window() {
        let mut reserve = Reserve::new();
        let rtt = Duration::from_millis(50);
        let start = Moment::from_nanos(1_000_000_000);
        for round in 0..3 {
            let now = start + rtt * round;
            assert!(reserve.take(1_452, 1_452, rtt, now) && reserve.take(1_452, 1_452, rtt, now));
            let late = now + rtt - Duration::from_nanos(1);
            assert!(!reserve.take(1, 1_452, rtt, late), "a third in one round trip");
        }
    }

    #[test]
    fn bulk_has_half_of_the_least_window_and_all_but_two_datagrams_of_a_large_one() {
        assert_eq!(left_in(2_400, 1_200), 1_200);
        assert_eq!(left_in(100_000, 1_200), 2_400);
        assert_eq!(left_in(100_000, 8_972), 17_944);
    }
}
