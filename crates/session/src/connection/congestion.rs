//! How much may be on its way (RFC 9002 section 7).

mod cubic;
mod hystart;

use core::fmt;
use core::time::Duration;

use p2pchat_proto::Moment;

use super::rtt::RttEstimator;

pub(crate) use self::cubic::Cubic;

/// Cap of the initial window, in bytes (RFC 9002 section 7.2).
const INITIAL_WINDOW_MAX: u64 = 14_720;
/// Datagrams of the initial window (RFC 9002 section 7.2).
const INITIAL_WINDOW_DATAGRAMS: u64 = 10;
/// Datagrams of the least window (RFC 9002 section 7.2).
const LEAST_WINDOW_DATAGRAMS: u64 = 2;
/// The pace, in windows a round trip: more than one, so that it is the window that holds back (RFC
/// 9002 section 7.7).
const PACE: (u64, u64) = (5, 4);

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

    /// The network marked a packet sent at `sent` instead of dropping it (RFC 9002 section 7.1). No
    /// acknowledgement of version 1 tells of it.
    fn on_congestion_experienced(&mut self, sent: Moment, now: Moment);

    /// Datagrams may be this large from now on.
    fn on_datagram_size(&mut self, bytes: u64);

    /// Bytes that may be in flight.
    fn window(&self) -> u64;

    /// Bytes of the window above which it grows with care; `None` before the first time that it was
    /// too large.
    fn threshold(&self) -> Option<u64>;

    /// How often the window was reduced, and stayed so.
    fn reductions(&self) -> u64;

    /// Bytes a second at which to send, where the controller knows better than the window and the
    /// round-trip time say.
    fn pacing_rate(&self, rtt: Duration) -> Option<u64>;
}

/// Bytes a second at which a controller wants to send.
pub(crate) fn pace(controller: &dyn Controller, rtt: Duration) -> u64 {
    let (times, of) = PACE;
    let usual = || per_second(controller.window().saturating_mul(times), rtt).checked_div(of).unwrap_or(0);
    controller.pacing_rate(rtt).unwrap_or_else(usual)
}

/// So many bytes a round trip, in bytes a second.
fn per_second(bytes: u64, rtt: Duration) -> u64 {
    let nanos = Duration::from_secs(1).as_nanos().saturating_mul(u128::from(bytes));
    u64::try_from(nanos.checked_div(rtt.as_nanos()).unwrap_or(u128::MAX)).unwrap_or(u64::MAX)
}

fn initial_window(datagram: u64) -> u64 {
    datagram.saturating_mul(INITIAL_WINDOW_DATAGRAMS).min(INITIAL_WINDOW_MAX)
}

const fn least_window(datagram: u64) -> u64 {
    datagram.saturating_mul(LEAST_WINDOW_DATAGRAMS)
}
