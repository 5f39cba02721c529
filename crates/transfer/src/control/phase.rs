//! The state of one transfer, whichever way the file goes, and what means the same both ways.

use core::ops::ControlFlow;

use p2pchat_proto::transfer::{
    Attempt, FailureReason, FileAnswer, FileCandidates, FileDone, FileFailed, Held, OfferAnswer, TransferBody,
};

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::step::{End, Facts, Next, Step, Timer};
use super::update::{BodyError, Effect, Party, State, TransferFailure};

/// See the module.
#[derive(Debug)]
pub(super) enum Phase {
    Outgoing(Outgoing),
    Incoming(Incoming),
}

/// What a transfer takes part in, where only so many may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Held back here.
    Held,
    /// Said, and not answered by the other side.
    Said,
    /// Not answered by this user.
    Pending,
    /// Accepted by this user.
    Queued,
    /// Coming in.
    Receiving,
    /// In none of these.
    Free,
}

impl Phase {
    pub(super) const fn part(&self) -> Part {
        match self {
            Self::Outgoing(Outgoing::Held) => Part::Held,
            Self::Outgoing(Outgoing::Offered) => Part::Said,
            Self::Incoming(Incoming::Pending(_)) => Part::Pending,
            Self::Incoming(Incoming::Queued(_)) => Part::Queued,
            Self::Incoming(Incoming::Receiving(_)) => Part::Receiving,
            Self::Outgoing(Outgoing::Sending(_) | Outgoing::Proving(_))
            | Self::Incoming(Incoming::Publishing(_)) => Part::Free,
        }
    }

    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Outgoing(outgoing) => outgoing.attempt(),
            Self::Incoming(incoming) => incoming.attempt(),
        }
    }

    pub(super) fn restated(mut self, step: &mut Step<'_>) -> Next<Self> {
        match &mut self {
            Self::Outgoing(outgoing) => outgoing.restate(step),
            Self::Incoming(incoming) => incoming.restate(step),
        }
        ControlFlow::Continue(self)
    }

    pub(super) fn body(self, body: TransferBody, step: &mut Step<'_>) -> Next<Self> {
        let transfer = step.facts.transfer;
        match body {
            TransferBody::FileCancel(_) => ControlFlow::Break(End::silent(State::Cancelled(Party::Peer))),
            TransferBody::FileFailed(FileFailed { why, .. }) => {
                ControlFlow::Break(End::silent(State::Failed(TransferFailure::Peer(why))))
            }
            TransferBody::FileCandidates(FileCandidates { attempt, list, .. }) => {
                if self.attempt() == Some(attempt) {
                    step.out.effects.push_back(Effect::Candidates { transfer, attempt, list });
                }
                ControlFlow::Continue(self)
            }
            body @ (TransferBody::FileOffer(_)
            | TransferBody::FileAnswer(_)
            | TransferBody::FileCarrier(_)
            | TransferBody::FileDone(_)
            | TransferBody::FileVerified(_)) => match self {
                Self::Outgoing(outgoing) => outgoing.body(body, step).map_continue(Self::Outgoing),
                Self::Incoming(incoming) => incoming.body(body, step).map_continue(Self::Incoming),
            },
        }
    }

    pub(super) fn timed_out(self, timer: Timer, step: &mut Step<'_>) -> Next<Self> {
        match (self, timer) {
            (_, Timer::NoSession) => ControlFlow::Break(End::failed(
                step.facts.transfer,
                TransferFailure::SessionLost,
                FailureReason::Broken,
            )),
            (Self::Outgoing(outgoing), timer) => outgoing.timed_out(timer, step).map_continue(Self::Outgoing),
            (Self::Incoming(incoming), timer) => incoming.timed_out(timer, step).map_continue(Self::Incoming),
        }
    }

    pub(super) fn closed(self, step: &Step<'_>) -> Next<Self> {
        match self {
            Self::Incoming(Incoming::Publishing(_)) => ControlFlow::Continue(self),
            Self::Incoming(Incoming::Pending(_) | Incoming::Queued(_) | Incoming::Receiving(_))
            | Self::Outgoing(_) => ControlFlow::Break(End::failed(
                step.facts.transfer,
                TransferFailure::SessionClosed,
                FailureReason::Broken,
            )),
        }
    }
}

/// Whether a body can be true of the transfer that it names.
pub(super) fn check(facts: &Facts, body: &TransferBody) -> Result<(), BodyError> {
    let terms = match body {
        TransferBody::FileAnswer(FileAnswer { answer, .. }) => match answer {
            OfferAnswer::Accept { carrier, .. } => Some(carrier),
            OfferAnswer::Decline { .. } => None,
        },
        TransferBody::FileCarrier(body) => Some(&body.carrier),
        TransferBody::FileDone(FileDone { first, hashes, .. }) => {
            if *first != 0 || hashes.len() != 1 {
                return Err(BodyError::Impossible("number of hashes"));
            }
            None
        }
        TransferBody::FileOffer(_)
        | TransferBody::FileCandidates(_)
        | TransferBody::FileVerified(_)
        | TransferBody::FileFailed(_)
        | TransferBody::FileCancel(_) => None,
    };
    match terms.map(|terms| terms.have) {
        Some(Held::Prefix(have)) if have > facts.chunks().count() => {
            Err(BodyError::Impossible("number of chunks held"))
        }
        Some(Held::Prefix(_)) | None => Ok(()),
    }
}
