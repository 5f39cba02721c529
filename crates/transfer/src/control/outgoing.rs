//! A file that goes out: offered, sent, proven.

use core::ops::ControlFlow;

use p2pchat_crypto::Suite;
use p2pchat_proto::Moment;
use p2pchat_proto::transfer::{
    Attempt, CarrierTerms, FailureReason, FileAnswer, FileDone, FileOffer, Held, OfferAnswer, OfferedName,
    TcpCandidates, TransferBody,
};

use super::step::{
    BARREN_ATTEMPTS_MAX, End, Facts, Next, SENDER_PATIENCE, STALL_SHOWN, Step, Timer, VERDICT_PATIENCE,
};
use super::update::{Effect, State, TransferFailure};
use crate::carrier::{CarrierEnd, CarrierLoss, CarrierReport, CarrierSpec};

/// States of the sender.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Waits until fewer other offers wait for an answer of the receiver.
    Held,
    /// The receiver did not answer yet.
    Offered,
    /// Content passes, or would if there were a carrier.
    Sending(Sending),
    /// All content went out; the receiver compares hashes.
    Proving(Proving),
}

#[derive(Debug)]
pub(super) struct Sending {
    attempt: Attempt,
    /// Chunks that the receiver held when the attempt began.
    have: u64,
    /// Attempts before this one that brought nothing.
    barren: u32,
    announced: Option<TcpCandidates>,
    last_loss: CarrierLoss,
}

#[derive(Debug)]
pub(super) struct Proving {
    sent: Sending,
    hash: [u8; 32],
    since: Moment,
}

impl Outgoing {
    /// Says over a new session what the receiver may not have heard.
    pub(super) fn restate(&self, step: &mut Step<'_>) {
        match self {
            Self::Held => {}
            Self::Offered => {
                let offer = FileOffer {
                    transfer: step.facts.transfer,
                    count: 1,
                    total: step.facts.total,
                    names: vec![OfferedName::new(&step.facts.name)],
                    manifest: None,
                };
                step.send(offer);
            }
            Self::Sending(sending) => {
                if let Some(list) = sending.announced.clone() {
                    step.send_candidates(sending.attempt, list);
                }
            }
            Self::Proving(proving) => {
                step.send(FileDone { transfer: step.facts.transfer, first: 0, hashes: vec![proving.hash] });
            }
        }
    }

    pub(super) const fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Held | Self::Offered => None,
            Self::Sending(sending) => Some(sending.attempt),
            Self::Proving(proving) => Some(proving.sent.attempt),
        }
    }

    /// What the receiver says.
    pub(super) fn body(self, body: TransferBody, step: &mut Step<'_>) -> Next<Self> {
        match body {
            TransferBody::FileAnswer(FileAnswer { answer, .. }) => self.answer(answer, step),
            TransferBody::FileCarrier(body) => match self {
                Self::Held | Self::Offered => ControlFlow::Continue(self),
                Self::Sending(sending) => sending.renew(&body.carrier, step),
                Self::Proving(proving) => proving.renew(&body.carrier, step),
            },
            TransferBody::FileVerified(_) => match self {
                Self::Proving(Proving { hash, .. }) => {
                    ControlFlow::Break(End::silent(State::Done { path: None, hash }))
                }
                Self::Held | Self::Offered | Self::Sending(_) => ControlFlow::Continue(self),
            },
            // The rest is a sender's to say, or ends a transfer from either side.
            TransferBody::FileOffer(_)
            | TransferBody::FileDone(_)
            | TransferBody::FileCandidates(_)
            | TransferBody::FileFailed(_)
            | TransferBody::FileCancel(_) => ControlFlow::Continue(self),
        }
    }

    fn answer(self, answer: OfferAnswer, step: &mut Step<'_>) -> Next<Self> {
        match (self, answer) {
            // Not said, so it cannot be answered.
            (Self::Held, OfferAnswer::Accept { .. } | OfferAnswer::Decline { .. }) => {
                ControlFlow::Continue(Self::Held)
            }
            (Self::Offered, OfferAnswer::Accept { carrier, .. }) => {
                let Some(suite) = step.session else { return ControlFlow::Continue(Self::Offered) };
                step.show(State::Accepted);
                ControlFlow::Continue(Self::Sending(Sending::start(&carrier, suite, 0, step)))
            }
            (Self::Offered, OfferAnswer::Decline { why }) => {
                ControlFlow::Break(End::silent(State::Declined(why)))
            }
            (Self::Sending(sending), OfferAnswer::Accept { carrier, .. }) => sending.renew(&carrier, step),
            (Self::Proving(proving), OfferAnswer::Accept { carrier, .. }) => proving.renew(&carrier, step),
            (state @ (Self::Sending(_) | Self::Proving(_)), OfferAnswer::Decline { .. }) => {
                ControlFlow::Continue(state)
            }
        }
    }

    /// What the driver says of the present attempt.
    pub(super) fn report(self, report: CarrierReport, step: &mut Step<'_>) -> Next<Self> {
        let Self::Sending(mut sending) = self else { return ControlFlow::Continue(self) };
        let Some(report) = step.common(sending.attempt, &mut sending.announced, report) else {
            return ControlFlow::Continue(Self::Sending(sending));
        };
        match report {
            CarrierReport::Sent { hash } => {
                step.facts.pace.advance(step.facts.total, step.now);
                step.show(State::Verifying);
                let state = Self::Proving(Proving { sent: sending, hash, since: step.now });
                state.restate(step);
                ControlFlow::Continue(state)
            }
            CarrierReport::Lost { why, .. } => {
                // The receiver knows what it holds, so it is the one that asks for another carrier.
                sending.last_loss = why;
                ControlFlow::Continue(Self::Sending(sending))
            }
            CarrierReport::Failed(fault) => ControlFlow::Break(End::fault(step.facts.transfer, fault)),
            CarrierReport::Listening { .. }
            | CarrierReport::Connected
            | CarrierReport::Progress { .. }
            | CarrierReport::Received
            | CarrierReport::Published { .. } => ControlFlow::Continue(Self::Sending(sending)),
        }
    }

    /// The next thing that this state waits for, apart from the session.
    pub(super) fn timer(&self, facts: &Facts) -> Option<(Moment, Timer)> {
        match self {
            Self::Held | Self::Offered => None,
            Self::Sending(_) if facts.pace.stall_shown() => {
                Some((facts.pace.advanced() + SENDER_PATIENCE, Timer::NoWord))
            }
            Self::Sending(_) => Some((facts.pace.advanced() + STALL_SHOWN, Timer::ShowStall)),
            Self::Proving(proving) => Some((proving.since + VERDICT_PATIENCE, Timer::NoWord)),
        }
    }

    pub(super) fn timed_out(self, timer: Timer, step: &mut Step<'_>) -> Next<Self> {
        match (self, timer) {
            (state, Timer::ShowStall) => {
                step.show_stall();
                ControlFlow::Continue(state)
            }
            (Self::Sending(sending), Timer::NoWord) => ControlFlow::Break(sending.gives_up(step)),
            (Self::Held | Self::Offered | Self::Proving(_), Timer::NoWord) => ControlFlow::Break(
                End::failed(step.facts.transfer, TransferFailure::NoWord, FailureReason::Broken),
            ),
            (state, Timer::ReplaceCarrier | Timer::NoSession) => ControlFlow::Continue(state),
        }
    }
}

impl Sending {
    fn start(terms: &CarrierTerms, suite: Suite, barren: u32, step: &mut Step<'_>) -> Self {
        let Held::Prefix(have) = terms.have;
        step.facts.pace.restart(step.facts.chunks().offset_of(have), step.now);
        step.out.effects.push_back(Effect::StartCarrier(CarrierSpec {
            transfer: step.facts.transfer,
            attempt: terms.attempt,
            end: CarrierEnd::Sender,
            suite,
            secret: terms.secret.clone(),
            total: step.facts.total,
            have,
        }));
        Self { attempt: terms.attempt, have, barren, announced: None, last_loss: CarrierLoss::Broken }
    }

    fn renew(self, terms: &CarrierTerms, step: &mut Step<'_>) -> Next<Outgoing> {
        let Some(suite) = step.session.filter(|_| terms.attempt > self.attempt) else {
            return ControlFlow::Continue(Outgoing::Sending(self));
        };
        let Held::Prefix(have) = terms.have;
        let barren = if have > self.have { 0 } else { self.barren.saturating_add(1) };
        if barren >= BARREN_ATTEMPTS_MAX {
            return ControlFlow::Break(self.gives_up(step));
        }
        let sending = Self::start(terms, suite, barren, step);
        step.show(State::Running);
        ControlFlow::Continue(Outgoing::Sending(sending))
    }

    fn gives_up(self, step: &Step<'_>) -> End {
        End::failed(step.facts.transfer, TransferFailure::NoCarrier(self.last_loss), FailureReason::Broken)
    }
}

impl Proving {
    fn renew(self, terms: &CarrierTerms, step: &mut Step<'_>) -> Next<Outgoing> {
        if terms.attempt <= self.sent.attempt {
            return ControlFlow::Continue(Outgoing::Proving(self));
        }
        self.sent.renew(terms, step)
    }
}
