//! Everything that a session waits for: what was set, in one table, and what follows from other state,
//! which is reckoned when somebody asks.

use p2pchat_proto::Moment;

use super::mtu::DATAGRAM_SIZE;
use super::{Confirmation, Connection, Phase};
use crate::event::EndReason;

/// A reason to wake up that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The line was silent for so long that it needs a packet.
    KeepAlive,
    /// The peer was silent for so long that the session is lost.
    Lost,
    /// The handshake takes too long.
    HandshakeGiveUp,
    /// The introduction's keys are erased.
    IntroductionEnd,
    /// `Close` goes out again.
    CloseRepeat,
    /// The end of the session has been announced for long enough.
    LingerEnd,
}

/// In the order in which timers that expire at once are handled.
pub(crate) const ALL: [Timer; 6] = [
    Timer::KeepAlive,
    Timer::CloseRepeat,
    Timer::IntroductionEnd,
    Timer::Lost,
    Timer::HandshakeGiveUp,
    Timer::LingerEnd,
];

/// When each timer expires; [`Moment::NEVER`] where it is off.
#[derive(Debug, Clone)]
pub(crate) struct Timers([Moment; ALL.len()]);

impl Timers {
    pub(crate) const fn new() -> Self {
        Self([Moment::NEVER; ALL.len()])
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Option<Moment>) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = at.unwrap_or(Moment::NEVER);
        }
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::new();
    }

    /// Takes a timer that has expired: it is off from then on.
    pub(crate) fn expire(&mut self, timer: Timer, now: Moment) -> bool {
        match self.0.get_mut(timer as usize) {
            Some(slot) if *slot <= now => {
                *slot = Moment::NEVER;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The first to expire.
    pub(crate) fn next(&self) -> Moment {
        self.0.iter().copied().fold(Moment::NEVER, Moment::min)
    }
}

impl Connection {
    /// When [`Self::handle_timeout`] has something to do, or there may be something to send.
    pub(crate) fn wakeup(&self) -> Moment {
        let fin = match &self.phase {
            Phase::Confirming(Confirmation::Repeating(repeating)) => repeating.due(),
            Phase::Confirming(Confirmation::Awaiting { .. }) | Phase::Up { .. } => None,
            Phase::Closing(_) | Phase::Draining { .. } | Phase::Over => return self.timers.next(),
        };
        // What may not leave is no reason to wake up.
        let ack = self.acks.deadline().filter(|_| self.room(DATAGRAM_SIZE).is_some());
        let first = |before: Moment, at: Option<Moment>| before.min(at.unwrap_or(Moment::NEVER));
        let set = first(self.timers.next(), fin);
        let sent = first(first(first(set, self.recovery.deadline()), ack), self.recovery.pacer.deadline());
        first(first(first(sent, self.path_deadline()), self.mtu_deadline()), self.epochs.deadline())
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        if let Phase::Confirming(_) | Phase::Up { .. } = self.phase {
            if self.recovery.deadline().is_some_and(|at| at <= now) {
                self.on_loss_timer(now);
            }
            self.attend_keys(now);
            self.settle_path(now);
        }
        for timer in ALL {
            if self.timers.expire(timer, now) {
                self.on_timer(timer, now);
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, now: Moment) {
        match timer {
            Timer::KeepAlive => {
                self.keepalives = self.keepalives.saturating_add(1);
                self.ping = true;
            }
            Timer::Lost => self.on_silence(now),
            Timer::HandshakeGiveUp => self.finish(Some(EndReason::HandshakeTimedOut)),
            Timer::IntroductionEnd => {
                if let Phase::Up { introduction } = &mut self.phase {
                    *introduction = None;
                }
            }
            Timer::CloseRepeat => {
                if let Phase::Closing(closing) = &mut self.phase {
                    closing.due = true;
                }
            }
            Timer::LingerEnd => self.finish(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_has_its_own_place() {
        for timer in ALL {
            let mut timers = Timers::new();
            timers.set(timer, Some(Moment::from_nanos(5)));
            assert_eq!(timers.next(), Moment::from_nanos(5));
            assert!(ALL.iter().all(|other| *other == timer || !timers.expire(*other, Moment::from_nanos(9))));
            assert!(!timers.expire(timer, Moment::from_nanos(4)));
            assert!(timers.expire(timer, Moment::from_nanos(5)));
            assert_eq!(timers.next(), Moment::NEVER);
        }
    }
}
