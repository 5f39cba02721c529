//! Everything that a session waits for, in one table.

use p2pchat_proto::Moment;

/// A reason to wake up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A packet counts as lost, or a probe is due.
    LossDetection,
    /// An acknowledgement has waited long enough.
    AckDelay,
    /// The pace lets out what waits.
    Pacing,
    /// Keys are to be renewed or dropped, or should have been.
    Keys,
    /// A path is to be challenged, or judged.
    Paths,
    /// A larger datagram is to be tried, or was lost.
    Mtu,
    /// The line was silent for so long that it needs a packet.
    KeepAlive,
    /// The peer was silent for so long that the session is lost.
    Lost,
    /// FIN goes out again.
    FinRepeat,
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
pub(crate) const ALL: [Timer; 13] = [
    Timer::LossDetection,
    Timer::AckDelay,
    Timer::Pacing,
    Timer::Keys,
    Timer::Paths,
    Timer::Mtu,
    Timer::KeepAlive,
    Timer::FinRepeat,
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
    pub(crate) fn next(&self) -> Option<Moment> {
        Some(self.0.iter().copied().fold(Moment::NEVER, Moment::min)).filter(|at| *at < Moment::NEVER)
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
            assert_eq!(timers.next(), Some(Moment::from_nanos(5)));
            assert!(ALL.iter().all(|other| *other == timer || !timers.expire(*other, Moment::from_nanos(9))));
            assert!(!timers.expire(timer, Moment::from_nanos(4)));
            assert!(timers.expire(timer, Moment::from_nanos(5)));
            assert_eq!(timers.next(), None);
        }
    }
}
