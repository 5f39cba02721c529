//! What one step of one transfer may see and do.

use core::net::SocketAddr;
use core::ops::ControlFlow;
use core::time::Duration;
use std::collections::VecDeque;

use p2pchat_crypto::Suite;
use p2pchat_proto::transfer::{
    Attempt, FailureReason, FileCandidates, FileFailed, TcpCandidates, TransferBody,
};
use p2pchat_proto::{Moment, PeerId, TransferId};
use rand_chacha::ChaCha20Rng;

use super::pace::Pace;
use super::update::{Direction, Effect, State, TransferFailure, Update};
use crate::carrier::{CarrierFault, CarrierReport};
use crate::tree::Chunks;

/// A stall this long is shown (protocol section 7).
pub const STALL_SHOWN: Duration = Duration::from_secs(10);
/// A stall this long makes the receiver ask for another carrier (protocol section 7).
pub const STALL_REPLACED: Duration = Duration::from_secs(30);
/// How many attempts at a carrier may follow each other without one more chunk at the receiver.
/// An attempt that brings a chunk starts the count anew, so a long file arrives over a bad line.
pub const BARREN_ATTEMPTS_MAX: u32 = 5;
/// How long a sender waits for its carrier to move or for terms of another one: time for the
/// receiver to notice a stall, twice, and to say so.
pub const SENDER_PATIENCE: Duration = Duration::from_secs(90);
/// How long a receiver that has everything waits for the sender's hash.
pub const HASH_PATIENCE: Duration = Duration::from_secs(60);
/// How long a sender waits for the verdict: the receiver syncs the whole file first, and a slow
/// disk takes minutes for gigabytes.
pub const VERDICT_PATIENCE: Duration = Duration::from_secs(600);
/// How long a transfer whose carrier rests outlives its session.
pub const SESSION_PATIENCE: Duration = Duration::from_secs(60);

/// The next state, or the end.
pub(super) type Next<P> = ControlFlow<End, P>;

/// How a transfer ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) state: State,
    /// What the other side is told, now or when it asks again.
    pub(super) verdict: Option<TransferBody>,
}

impl End {
    pub(super) fn failed(transfer: TransferId, failure: TransferFailure, why: FailureReason) -> Self {
        Self { state: State::Failed(failure), verdict: Some(FileFailed { transfer, why }.into()) }
    }

    /// By something here that no other carrier mends.
    pub(super) fn fault(transfer: TransferId, fault: CarrierFault) -> Self {
        let why = match &fault {
            CarrierFault::SourceChanged => FailureReason::SourceChanged,
            CarrierFault::SourceUnreadable { .. } => FailureReason::NotReadable,
            CarrierFault::DiskFull { .. } => FailureReason::DiskFull,
            CarrierFault::NotWritable { .. } => FailureReason::NotWritable,
            CarrierFault::Corrupt => FailureReason::Corrupt,
        };
        Self::failed(transfer, TransferFailure::Here(fault), why)
    }

    /// Without a word to the other side, which said or knows it itself.
    pub(super) const fn silent(state: State) -> Self {
        Self { state, verdict: None }
    }
}

/// Everything that one transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// Show that nothing moves.
    ShowStall,
    /// Try another carrier.
    ReplaceCarrier,
    /// The other side had its time.
    NoWord,
    /// The session had its time to come back.
    NoSession,
}

/// What is known of a transfer in all of its states.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) transfer: TransferId,
    pub(super) peer: PeerId,
    pub(super) direction: Direction,
    pub(super) name: String,
    pub(super) total: u64,
    pub(super) tcp: Option<SocketAddr>,
    pub(super) pace: Pace,
    /// Where it stands among those that wait: lower goes first.
    pub(super) turn: u64,
}

impl Facts {
    pub(super) const fn chunks(&self) -> Chunks {
        Chunks::of(self.total)
    }

    pub(super) fn update(&self, state: State) -> Update {
        Update {
            transfer: self.transfer,
            peer: self.peer,
            direction: self.direction,
            state,
            name: self.name.clone(),
            bytes: self.pace.bytes(),
            total: self.total,
            rate: self.pace.rate(),
            tcp: self.tcp,
        }
    }
}

/// What goes out of the control plane.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) effects: VecDeque<Effect>,
    pub(super) updates: VecDeque<Update>,
}

impl Out {
    pub(super) fn send(&mut self, to: PeerId, body: &TransferBody) {
        #[expect(clippy::expect_used, reason = "bodies made here are cut to the caps of their kinds")]
        let (kind, body) = body.to_bytes().expect("a body within its cap");
        self.effects.push_back(Effect::Send { to, kind, body });
    }
}

/// See the module.
pub(super) struct Step<'a> {
    pub(super) facts: &'a mut Facts,
    /// Suite of the session with the peer, while there is one.
    pub(super) session: Option<Suite>,
    pub(super) now: Moment,
    pub(super) rng: &'a mut ChaCha20Rng,
    pub(super) out: &'a mut Out,
}

impl Step<'_> {
    /// Sends a body that is repeated by itself over the next session, if there is none.
    pub(super) fn send(&mut self, body: impl Into<TransferBody>) {
        if self.session.is_some() {
            self.out.send(self.facts.peer, &body.into());
        }
    }

    pub(super) fn send_candidates(&mut self, attempt: Attempt, list: TcpCandidates) {
        self.send(FileCandidates { transfer: self.facts.transfer, attempt, list });
    }

    pub(super) fn show(&mut self, state: State) {
        self.out.updates.push_back(self.facts.update(state));
    }

    /// The part of a report that means the same at both ends. What is left is handed back.
    pub(super) fn common(
        &mut self,
        attempt: Attempt,
        announced: &mut Option<TcpCandidates>,
        report: CarrierReport,
    ) -> Option<CarrierReport> {
        match report {
            CarrierReport::Listening { candidates, at } => {
                self.facts.tcp = at;
                self.send_candidates(attempt, candidates.clone());
                *announced = Some(candidates);
                self.show(State::Running);
            }
            CarrierReport::Connected => {
                self.facts.pace.restart(self.facts.pace.bytes(), self.now);
                self.facts.tcp = None;
                self.show(State::Running);
            }
            CarrierReport::Progress { bytes } => {
                if self.facts.pace.advance(bytes.min(self.facts.total), self.now) {
                    self.show(State::Running);
                }
            }
            report @ (CarrierReport::Sent { .. }
            | CarrierReport::Received
            | CarrierReport::Published { .. }
            | CarrierReport::Lost { .. }
            | CarrierReport::Failed(_)) => return Some(report),
        }
        None
    }

    pub(super) fn show_stall(&mut self) {
        self.facts.pace.show_stall();
        self.show(State::Running);
    }
}
