//! CUBIC (RFC 9438) with HyStart++ (RFC 9406).
//!
//! In binary64 with the four operations only, which give the same bits on every machine, so that a
//! seed replays a simulation anywhere.

use core::time::Duration;

use p2pchat_proto::Moment;

use super::hystart::{Growth, HyStart};
use super::{Controller, initial_window, least_window, per_second};
use crate::connection::rtt::RttEstimator;

/// C, datagrams a cubic second (RFC 9438 section 5.1).
const SCALE: f64 = 0.4;
/// Share of the window that stays after a loss (RFC 9438 section 4.6).
const BETA: f64 = 0.7;
/// Datagrams by which the estimate of Reno's window grows each round trip, until it has made good the
/// last reduction (RFC 9438 section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Share of a window that shrank since the last loss at which the next plateau lies (RFC 9438
/// section 4.7).
const FAST_CONVERGENCE: f64 = (1.0 + BETA) / 2.0;
/// What the window grows by at most in a round trip (RFC 9438 section 4.2).
const TARGET_MAX: f64 = 1.5;
/// The pace in slow start, in windows a round trip: as fast as the window itself may grow (protocol
/// section 12).
const SLOW_START_PACE: u64 = 2;
/// Steps of [`cube_root`]: each takes a third off a guess that is far too large, and doubles the right
/// digits of one that is near.
const ROOT_STEPS: u32 = 64;

/// CUBIC with fast convergence and the Reno-friendly region.
#[derive(Debug)]
pub(crate) struct Cubic {
    datagram: u64,
    state: State,
    /// What to go back to if the losses behind the last reduction all prove spurious.
    before: Option<Before>,
    /// Reductions that were not taken back.
    reductions: u64,
}

/// Everything that a reduction changes. Bytes, where nothing else is said.
#[derive(Debug, Clone, Copy)]
struct State {
    window: f64,
    /// Above it, slow start is over.
    threshold: f64,
    /// Of the first slow start only (RFC 9406 section 4.3).
    hystart: Option<HyStart>,
    /// W_max: the window before the last reduction, or less where it had shrunk.
    w_max: f64,
    /// When the last reduction was; packets sent before it cause no other.
    recovery_start: Option<Moment>,
    /// The stage of congestion avoidance; `None` until slow start is over.
    stage: Option<Stage>,
    /// Up to when [`Stage::clock`] has counted.
    counted: Moment,
}

/// A stage of congestion avoidance.
#[derive(Debug, Clone, Copy)]
struct Stage {
    /// Where the cubic function is flat.
    plateau: f64,
    /// Seconds until then: K.
    k: f64,
    /// Seconds in which the window was what held the sender back (RFC 9438 section 5.8).
    clock: f64,
    /// The window before the reduction: cwnd_prior.
    prior: f64,
    /// What Reno's window would be: W_est.
    reno: f64,
}

#[derive(Debug)]
struct Before {
    state: State,
    /// Bytes lost in this recovery that did not prove spurious.
    lost: u64,
}

impl Cubic {
    pub(crate) fn new(datagram: u64) -> Self {
        let state = State {
            window: initial_window(datagram) as f64,
            threshold: f64::INFINITY,
            hystart: Some(HyStart::new()),
            w_max: 0.0,
            recovery_start: None,
            stage: None,
            counted: Moment::ZERO,
        };
        Self { datagram, state, before: None, reductions: 0 }
    }

    fn least(&self) -> f64 {
        least_window(self.datagram) as f64
    }

    fn is_in_recovery(&self, sent: Moment) -> bool {
        self.state.recovery_start.is_some_and(|start| sent <= start)
    }

    fn is_in_slow_start(&self) -> bool {
        self.state.window < self.state.threshold
    }

    fn reduce(&mut self, now: Moment) {
        self.before = Some(Before { state: self.state, lost: 0 });
        self.reductions = self.reductions.saturating_add(1);
        let prior = self.state.window;
        let window = (prior * BETA).max(self.least());
        let w_max = if prior < self.state.w_max { prior * FAST_CONVERGENCE } else { prior };
        let plateau = w_max.max(window);
        let k = cube_root((plateau - window) / self.datagram as f64 / SCALE);
        self.state = State {
            window,
            threshold: window,
            hystart: None,
            w_max,
            recovery_start: Some(now),
            stage: Some(Stage { plateau, k, clock: 0.0, prior, reno: window }),
            counted: now,
        };
    }

    fn slow_start(&mut self, bytes: u64, sent: Moment, now: Moment) {
        let state = &mut self.state;
        let growth = state.hystart.as_mut().map_or(Growth::Full, |hystart| hystart.on_acked(sent, now));
        match growth {
            Growth::Full => state.window += bytes as f64,
            Growth::Slow { divisor } => state.window += bytes as f64 / f64::from(divisor),
            Growth::Over => {
                state.hystart = None;
                state.threshold = state.window;
            }
        }
    }

    fn avoid(&mut self, bytes: u64, sent: Moment, rtt: &RttEstimator, now: Moment) {
        let datagram = self.datagram as f64;
        let state = &mut self.state;
        // Left without a loss: the plateau is here (RFC 9438 sections 4.8 and 4.10).
        let stage = state.stage.get_or_insert(Stage {
            plateau: state.window,
            k: 0.0,
            clock: 0.0,
            prior: state.window,
            reno: state.window,
        });
        stage.clock += now.saturating_since(state.counted.max(sent)).as_secs_f64();
        let share = bytes as f64 / state.window;
        let alpha = if stage.reno < stage.prior { ALPHA } else { 1.0 };
        stage.reno += alpha * datagram * share;
        if stage.window(stage.clock, datagram) < stage.reno {
            state.window = state.window.max(stage.reno);
        } else {
            let ahead = stage.clock + rtt.assumed().as_secs_f64();
            let most = state.window * TARGET_MAX;
            let target = stage.window(ahead, datagram).max(state.window).min(most);
            state.window += (target - state.window) * share;
        }
    }
}

impl Stage {
    /// W_cubic: the window `clock` seconds into the stage (RFC 9438 section 4.2).
    fn window(&self, clock: f64, datagram: f64) -> f64 {
        let off = clock - self.k;
        SCALE * off * off * off * datagram + self.plateau
    }
}

impl Controller for Cubic {
    fn on_sent(&mut self, _bytes: u64, _in_flight: u64, _now: Moment) {}

    fn on_acked(&mut self, bytes: u64, sent: Moment, app_limited: bool, rtt: &RttEstimator, now: Moment) {
        if !app_limited && !self.is_in_recovery(sent) {
            if self.is_in_slow_start() {
                self.slow_start(bytes, sent, now);
            } else {
                self.avoid(bytes, sent, rtt, now);
            }
        }
        self.state.counted = now;
    }

    fn on_lost(&mut self, bytes: u64, sent: Moment, persistent: bool, now: Moment) {
        if !self.is_in_recovery(sent) {
            self.reduce(now);
        }
        if let Some(before) = &mut self.before {
            before.lost = before.lost.saturating_add(bytes);
        }
        if persistent {
            self.state.window = self.least();
            self.state.recovery_start = None;
            self.state.stage = None;
            self.before = None;
        }
    }

    fn on_spurious_loss(&mut self, bytes: u64, sent: Moment, now: Moment) {
        if !self.is_in_recovery(sent) {
            return;
        }
        // What was sent before the recovery before this one was not lost in this one.
        let own = |before: &&mut Before| before.state.recovery_start.is_none_or(|start| sent > start);
        let Some(before) = self.before.as_mut().filter(own) else {
            return;
        };
        before.lost = before.lost.saturating_sub(bytes);
        if before.lost == 0 {
            let window = self.state.window.max(before.state.window);
            self.state = State { window, counted: now, ..before.state };
            self.before = None;
            self.reductions = self.reductions.saturating_sub(1);
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
        self.state.window = self.state.window.max(self.least());
    }

    fn window(&self) -> u64 {
        self.state.window as u64
    }

    fn threshold(&self) -> Option<u64> {
        self.state.threshold.is_finite().then_some(self.state.threshold as u64)
    }

    fn reductions(&self) -> u64 {
        self.reductions
    }

    fn pacing_rate(&self, rtt: Duration) -> Option<u64> {
        let fast = || per_second(self.window().saturating_mul(SLOW_START_PACE), rtt);
        self.is_in_slow_start().then(fast)
    }
}

/// By Newton's method, from above.
fn cube_root(of: f64) -> f64 {
    if of <= 0.0 {
        return 0.0;
    }
    (0..ROOT_STEPS).fold(of.max(1.0), |root, _| (2.0 * root + of / (root * root)) / 3.0)
}

#[cfg(test)]
#[path = "cubic_tests.rs"]
mod tests;
