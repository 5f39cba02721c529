//! A file that comes in: offered, received, published.

use core::ops::ControlFlow;

use p2pchat_crypto::Suite;
use p2pchat_proto::Moment;
use p2pchat_proto::transfer::{
    Attempt, CarrierTerms, DeclineReason, Entries, FailureReason, FileAnswer, FileCarrier, FileDone,
    FileVerified, Held, OfferAnswer, SecretBytes, TcpCandidates, TransferBody,
};
use rand::Rng;

use super::step::{
    BARREN_ATTEMPTS_MAX, End, Facts, HASH_PATIENCE, Next, STALL_REPLACED, STALL_SHOWN, Step, Timer,
};
use super::update::{Effect, State, TransferFailure};
use crate::carrier::{CarrierEnd, CarrierLoss, CarrierReport, CarrierSpec};
use crate::name::SafeName;
use crate::tree::Chunks;

/// States of the receiver.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Waits for this user's word. Nothing is open and nothing is written.
    Pending(OfferPending),
    /// Accepted, and waits until fewer others run.
    Queued(Queued),
    /// Content passes, or would if there were a carrier.
    Receiving(Receiving),
    /// All content came, and the driver compares, syncs and names it.
    Publishing(Publishing),
}

/// An offer that was neither accepted nor declined.
#[derive(Debug)]
pub(super) struct OfferPending {
    name: SafeName,
}

/// An offer that was accepted and not answered yet.
#[derive(Debug)]
pub(super) struct Queued {
    name: SafeName,
}

#[derive(Debug)]
pub(super) struct Receiving {
    name: SafeName,
    /// Number of the next attempt.
    next: u32,
    /// The attempt that runs; none while there is no session to agree on one.
    carrier: Option<Carrier>,
    /// Chunks held, from the start, when the present attempt began.
    have: u64,
    /// Attempts in a row that brought no chunk.
    barren: u32,
    /// When everything was there.
    received: Option<Moment>,
    /// What the sender says that the content hashes to.
    hash: Option<[u8; 32]>,
}

#[derive(Debug)]
struct Carrier {
    terms: CarrierTerms,
    announced: Option<TcpCandidates>,
}

#[derive(Debug)]
pub(super) struct Publishing {
    attempt: Attempt,
    hash: [u8; 32],
}

/// How the sender is told of a new attempt.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// As the answer to its offer: it may not have heard one.
    ByAnswer,
    /// As a further attempt.
    ByCarrier,
}

impl OfferPending {
    pub(super) const fn new(name: SafeName) -> Self {
        Self { name }
    }

    /// Takes the file, when its turn comes.
    pub(super) fn accept(self, step: &mut Step<'_>) -> Queued {
        step.show(State::Accepted);
        Queued { name: self.name }
    }

    /// Refuses the file.
    pub(super) fn decline(self, why: DeclineReason, facts: &Facts) -> End {
        let answer = OfferAnswer::Decline { why: why.clone() };
        End {
            state: State::Declined(why),
            verdict: Some(FileAnswer { transfer: facts.transfer, answer }.into()),
        }
    }
}

impl Queued {
    /// Answers the offer and begins.
    pub(super) fn begin(self, step: &mut Step<'_>) -> Receiving {
        let mut receiving = Receiving {
            name: self.name,
            next: 0,
            carrier: None,
            have: 0,
            barren: 0,
            received: None,
            hash: None,
        };
        receiving.begin(Told::ByAnswer, step);
        receiving
    }
}

impl Incoming {
    /// Says over a new session what the sender may not have heard.
    pub(super) fn restate(&mut self, step: &mut Step<'_>) {
        match self {
            Self::Pending(_) | Self::Queued(_) | Self::Publishing(_) => {}
            Self::Receiving(receiving) => receiving.restate(step),
        }
    }

    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Pending(_) | Self::Queued(_) => None,
            Self::Receiving(receiving) => receiving.carrier.as_ref().map(|carrier| carrier.terms.attempt),
            Self::Publishing(publishing) => Some(publishing.attempt),
        }
    }

    /// What the sender says.
    pub(super) fn body(self, body: TransferBody, step: &mut Step<'_>) -> Next<Self> {
        match (self, body) {
            (Self::Receiving(mut receiving), TransferBody::FileDone(FileDone { hashes, .. })) => {
                receiving.hash = hashes.first().copied();
                ControlFlow::Continue(receiving.publish_if_whole(step))
            }
            // The rest is a receiver's to say, or ends a transfer from either side.
            (
                state,
                TransferBody::FileOffer(_)
                | TransferBody::FileAnswer(_)
                | TransferBody::FileCandidates(_)
                | TransferBody::FileCarrier(_)
                | TransferBody::FileDone(_)
                | TransferBody::FileVerified(_)
                | TransferBody::FileFailed(_)
                | TransferBody::FileCancel(_),
            ) => ControlFlow::Continue(state),
        }
    }

    /// What the driver says of the present attempt.
    pub(super) fn report(self, report: CarrierReport, step: &mut Step<'_>) -> Next<Self> {
        match self {
            Self::Pending(_) | Self::Queued(_) => ControlFlow::Continue(self),
            Self::Receiving(receiving) => receiving.report(report, step),
            Self::Publishing(publishing) => publishing.report(report, step),
        }
    }

    /// The next thing that this state waits for, apart from the session coming back.
    pub(super) fn timer(&self, facts: &Facts, session: Option<Suite>) -> Option<(Moment, Timer)> {
        let Self::Receiving(receiving) = self else { return None };
        if let Some(received) = receiving.received {
            return Some((received + HASH_PATIENCE, Timer::NoWord));
        }
        receiving.carrier.as_ref()?;
        if !facts.pace.stall_shown() {
            return Some((facts.pace.advanced() + STALL_SHOWN, Timer::ShowStall));
        }
        // Another carrier needs a session to agree on it.
        session.map(|_| (facts.pace.advanced() + STALL_REPLACED, Timer::ReplaceCarrier))
    }

    pub(super) fn timed_out(self, timer: Timer, step: &mut Step<'_>) -> Next<Self> {
        match (self, timer) {
            (state, Timer::ShowStall) => {
                step.show_stall();
                ControlFlow::Continue(state)
            }
            (Self::Receiving(receiving), Timer::ReplaceCarrier) => {
                let have = step.facts.chunks().whole_in(step.facts.pace.bytes());
                receiving.lost(CarrierLoss::Stalled, have, step)
            }
            (_, Timer::NoWord) => ControlFlow::Break(End::failed(
                step.facts.transfer,
                TransferFailure::NoWord,
                FailureReason::Broken,
            )),
            (state, Timer::ReplaceCarrier | Timer::NoSession) => ControlFlow::Continue(state),
        }
    }
}

impl Receiving {
    fn restate(&mut self, step: &mut Step<'_>) {
        if self.received.is_some() {
            // The sender repeats its hash by itself.
            return;
        }
        let Some(carrier) = &self.carrier else {
            self.begin(Told::ByAnswer, step);
            return;
        };
        let answer = OfferAnswer::Accept { entries: Entries::All, carrier: carrier.terms.clone() };
        let announced = carrier.announced.clone().map(|list| (carrier.terms.attempt, list));
        step.send(FileAnswer { transfer: step.facts.transfer, answer });
        if let Some((attempt, list)) = announced {
            step.send_candidates(attempt, list);
        }
    }

    /// Agrees on a new attempt and starts it; without a session it waits for one.
    fn begin(&mut self, told: Told, step: &mut Step<'_>) {
        let transfer = step.facts.transfer;
        let Some(suite) = step.session else {
            self.carrier = None;
            return;
        };
        let mut secret = [0; 32];
        step.rng.fill_bytes(&mut secret);
        let terms = CarrierTerms {
            attempt: Attempt(self.next),
            have: Held::Prefix(self.have),
            secret: SecretBytes::new(secret),
        };
        self.next = self.next.saturating_add(1);
        step.facts.pace.restart(step.facts.chunks().offset_of(self.have), step.now);
        match told {
            Told::ByAnswer => {
                let answer = OfferAnswer::Accept { entries: Entries::All, carrier: terms.clone() };
                step.send(FileAnswer { transfer, answer });
            }
            Told::ByCarrier => step.send(FileCarrier { transfer, carrier: terms.clone() }),
        }
        step.out.effects.push_back(Effect::StartCarrier(CarrierSpec {
            transfer,
            attempt: terms.attempt,
            end: CarrierEnd::Receiver { name: self.name.clone() },
            suite,
            secret: terms.secret.clone(),
            total: step.facts.total,
            have: self.have,
        }));
        self.carrier = Some(Carrier { terms, announced: None });
    }

    fn report(mut self, report: CarrierReport, step: &mut Step<'_>) -> Next<Incoming> {
        let Some(carrier) = self.carrier.as_mut() else {
            return ControlFlow::Continue(Incoming::Receiving(self));
        };
        let Some(report) = step.common(carrier.terms.attempt, &mut carrier.announced, report) else {
            return ControlFlow::Continue(Incoming::Receiving(self));
        };
        match report {
            CarrierReport::Received => {
                step.facts.pace.advance(step.facts.total, step.now);
                step.show(State::Verifying);
                self.received = Some(step.now);
                ControlFlow::Continue(self.publish_if_whole(step))
            }
            CarrierReport::Lost { why, have } => self.lost(why, have, step),
            CarrierReport::Failed(fault) => ControlFlow::Break(End::fault(step.facts.transfer, fault)),
            CarrierReport::Listening { .. }
            | CarrierReport::Connected
            | CarrierReport::Progress { .. }
            | CarrierReport::Sent { .. }
            | CarrierReport::Published { .. } => ControlFlow::Continue(Incoming::Receiving(self)),
        }
    }

    fn lost(mut self, why: CarrierLoss, have: u64, step: &mut Step<'_>) -> Next<Incoming> {
        let have = have.min(step.facts.chunks().count());
        self.barren = if have > self.have { 0 } else { self.barren.saturating_add(1) };
        self.have = self.have.max(have);
        if self.barren >= BARREN_ATTEMPTS_MAX {
            let failure = TransferFailure::NoCarrier(why);
            return ControlFlow::Break(End::failed(step.facts.transfer, failure, FailureReason::Broken));
        }
        self.begin(Told::ByCarrier, step);
        step.show(State::Running);
        ControlFlow::Continue(Incoming::Receiving(self))
    }

    fn publish_if_whole(self, step: &mut Step<'_>) -> Incoming {
        let (Some(hash), Some(_), Some(carrier)) = (self.hash, self.received, &self.carrier) else {
            return Incoming::Receiving(self);
        };
        step.out.effects.push_back(Effect::Publish { transfer: step.facts.transfer, hash });
        Incoming::Publishing(Publishing { attempt: carrier.terms.attempt, hash })
    }
}

impl Publishing {
    fn report(self, report: CarrierReport, step: &Step<'_>) -> Next<Incoming> {
        let transfer = step.facts.transfer;
        match report {
            CarrierReport::Published { path } => ControlFlow::Break(End {
                state: State::Done { path: Some(path), hash: self.hash },
                verdict: Some(FileVerified { transfer }.into()),
            }),
            CarrierReport::Failed(fault) => ControlFlow::Break(End::fault(transfer, fault)),
            CarrierReport::Listening { .. }
            | CarrierReport::Connected
            | CarrierReport::Progress { .. }
            | CarrierReport::Sent { .. }
            | CarrierReport::Received
            | CarrierReport::Lost { .. } => ControlFlow::Continue(Incoming::Publishing(self)),
        }
    }
}

impl Chunks {
    /// How many chunks lie wholly within the first `bytes`.
    pub(super) const fn whole_in(self, bytes: u64) -> u64 {
        if bytes >= self.total() { self.count() } else { bytes / p2pchat_proto::transfer::CHUNK_LEN as u64 }
    }
}
