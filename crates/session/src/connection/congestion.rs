//! How much may be on its way (RFC 9002 section 7).

use core::fmt;
use core::time::Duration;

use p2pchat_proto::Moment;

use super::rtt::RttEstimator;

/// Cap of the initial window, in bytes (RFC 9002 section 7.2).
const INITIAL_WINDOW_MAX: u64 = 14_720;
/// Datagrams of the initial window (RFC 9002 section 7.2).
const INITIAL_WINDOW_DATAGRAMS: u64 = 10;
/// Datagrams of the least window (RFC 9002 section 7.2).
const LEAST_WINDOW_DATAGRAMS: u64 = 2;
/// Share of the window that stays after a loss: a half (RFC 9002 appendix B.2).
const LOSS_REDUCTION_DIVISOR: u64 = 2;

/// A congestion controller.
///
/// The connection counts bytes in flight and paces; a controller only says how large the window is.
/// Times are of this side's clock and never go back.
pub trait Controller: fmt::Debug + Send {
    /// A packet left that counts as in flight, with `in_flight` bytes after it.
    fn on_sent(&mut self, bytes: u64, in_flight: u64, now: Moment);

    /// A packet of `bytes`, sent at `sent`, arrived. `app_limited` says that the window was not
    /// what held the sender back, so that it may not grow (RFC 9002 section 7.8).
    fn on_acked(&mut self, bytes: u64, sent: Moment, app_limited: bool, rtt: &RttEstimator, now: Moment);

    /// Packets were lost, `bytes` in all, the newest of them sent at `sent`. `persistent` says that
    /// everything over a long time was (RFC 9002 section 7.6).
    fn on_lost(&mut self, bytes: u64, sent: Moment, persistent: bool, now: Moment);

    /// A packet of `bytes`, sent at `sent`, was counted as lost and arrived after all.
    fn on_spurious_loss(&mut self, bytes: u64, sent: Moment, now: Moment);

    /// The network marked a packet sent at `sent` instead of dropping it (RFC 9002 section 7.1).
    fn on_congestion_experienced(&mut self, sent: Moment, now: Moment);

    /// Datagrams may be this large from now on.
    fn on_datagram_size(&mut self, bytes: u64);

    /// Bytes that may be in flight.
    fn window(&self) -> u64;

    /// Bytes a second at which to send, where the controller knows better than the window and the
    /// round-trip time say.
    fn pacing_rate(&self, rtt: Duration) -> Option<u64>;
}

/// NewReno as in RFC 9002 section 7.3 and appendix B.
#[derive(Debug)]
pub(crate) struct NewReno {
    datagram: u64,
    window: u64,
    /// Above it the window grows by one datagram a round trip.
    threshold: u64,
    /// When the last reduction was; packets sent before it cause no other.
    recovery_start: Option<Moment>,
    /// What to go back to if the losses behind the last reduction all prove spurious.
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    window: u64,
    threshold: u64,
    /// Bytes lost in this recovery that did not prove spurious.
    lost: u64,
}

impl NewReno {
    pub(crate) fn new(datagram: u64) -> Self {
        Self {
            datagram,
            window: datagram.saturating_mul(INITIAL_WINDOW_DATAGRAMS).min(INITIAL_WINDOW_MAX),
            threshold: u64::MAX,
            recovery_start: None,
            before: None,
        }
    }

    fn least(&self) -> u64 {
        self.datagram.saturating_mul(LEAST_WINDOW_DATAGRAMS)
    }

    fn is_in_recovery(&self, sent: Moment) -> bool {
        self.recovery_start.is_some_and(|start| sent <= start)
    }

    fn reduce(&mut self, now: Moment) {
        self.before = Some(Before { window: self.window, threshold: self.threshold, lost: 0 });
        self.recovery_start = Some(now);
        self.window = (self.window / LOSS_REDUCTION_DIVISOR).max(self.least());
        self.threshold = self.window;
    }
}

impl Controller for NewReno {
    fn on_sent(&mut self, _bytes: u64, _in_flight: u64, _now: Moment) {}

    fn on_acked(&mut self, bytes: u64, sent: Moment, app_limited: bool, _rtt: &RttEstimator, _now: Moment) {
        if app_limited || self.is_in_recovery(sent) {
            return;
        }
        let growth = if self.window < self.threshold {
            bytes
        } else {
            self.datagram.saturating_mul(bytes).checked_div(self.window).unwrap_or(0)
        };
        self.window = self.window.saturating_add(growth);
    }

    fn on_lost(&mut self, bytes: u64, sent: Moment, persistent: bool, now: Moment) {
        if !self.is_in_recovery(sent) {
            self.reduce(now);
        }
        if let Some(before) = &mut self.before {
            before.lost = before.lost.saturating_add(bytes);
        }
        if persistent {
            self.window = self.least();
            self.recovery_start = None;
            self.before = None;
        }
    }

    fn on_spurious_loss(&mut self, bytes: u64, sent: Moment, _now: Moment) {
        if !self.is_in_recovery(sent) {
            return;
        }
        let Some(before) = &mut self.before else {
            return;
        };
        before.lost = before.lost.saturating_sub(bytes);
        if before.lost == 0 {
            self.window = self.window.max(before.window);
            self.threshold = before.threshold;
            self.recovery_start = None;
            self.before = None;
        }
    }

    fn on_congestion_experienced(&mut self, sent: Moment, now: Moment) {
        if !self.is_in_recovery(sent) {
            self.reduce(now);
            self.before = None;
        }
    }

    fn on_datagram_size(&mut self, bytes: u64) {
        self.datagram = bytes;
        self.window = self.window.max(self.least());
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, _rtt: Duration) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: u64 = 1200;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    fn acked(reno: &mut NewReno, bytes: u64, sent: Moment) {
        reno.on_acked(bytes, sent, false, &RttEstimator::new(), at(1000));
    }

    #[test]
    fn the_first_window_is_ten_datagrams_or_the_cap() {
        assert_eq!(NewReno::new(1200).window(), 12_000);
        assert_eq!(NewReno::new(1500).window(), 14_720);
    }

    #[test]
    fn slow_start_grows_by_what_arrived_and_then_by_a_datagram_a_window() {
        let mut reno = NewReno::new(DATAGRAM);
        acked(&mut reno, 12_000, at(1));
        assert_eq!(reno.window(), 24_000);
        reno.on_lost(DATAGRAM, at(2), false, at(3));
        assert_eq!(reno.window(), 12_000);
        (0..10).for_each(|_| acked(&mut reno, DATAGRAM, at(4)));
        assert!((12_000 + 1000..=12_000 + DATAGRAM).contains(&reno.window()), "{}", reno.window());
    }

    #[test]
    fn one_round_of_losses_reduces_once_and_never_below_the_least() {
        let mut reno = NewReno::new(DATAGRAM);
        reno.on_lost(DATAGRAM, at(1), false, at(5));
        reno.on_lost(DATAGRAM, at(4), false, at(6));
        assert_eq!(reno.window(), 6_000);
        (10..30).for_each(|ms| reno.on_lost(DATAGRAM, at(ms), false, at(ms + 1)));
        assert_eq!(reno.window(), 2 * DATAGRAM);
    }

    #[test]
    fn what_was_sent_before_the_reduction_does_not_grow_the_window() {
        let mut reno = NewReno::new(DATAGRAM);
        reno.on_lost(DATAGRAM, at(1), false, at(5));
        acked(&mut reno, DATAGRAM, at(4));
        assert_eq!(reno.window(), 6_000);
    }

    #[test]
    fn persistent_congestion_starts_over_at_the_least_window() {
        let mut reno = NewReno::new(DATAGRAM);
        reno.on_lost(DATAGRAM, at(1), true, at(5));
        assert_eq!(reno.window(), 2 * DATAGRAM);
        acked(&mut reno, DATAGRAM, at(4));
        assert_eq!(reno.window(), 3 * DATAGRAM);
    }

    #[test]
    fn a_reduction_is_taken_back_when_every_loss_behind_it_proves_spurious() {
        let mut reno = NewReno::new(DATAGRAM);
        reno.on_lost(2 * DATAGRAM, at(1), false, at(5));
        reno.on_spurious_loss(DATAGRAM, at(1), at(6));
        assert_eq!(reno.window(), 6_000, "one of two may have been a loss");
        reno.on_spurious_loss(DATAGRAM, at(1), at(7));
        assert_eq!(reno.window(), 12_000);
    }

    #[test]
    fn a_sender_that_the_window_did_not_hold_back_does_not_widen_it() {
        let mut reno = NewReno::new(DATAGRAM);
        reno.on_acked(DATAGRAM, at(1), true, &RttEstimator::new(), at(2));
        assert_eq!(reno.window(), 12_000);
    }
}
