//! The control plane: what becomes of every transfer with every peer.
//!
//! Commands, bodies, what the driver reports and the passing of time go in; [`Effect`]s and
//! [`Update`]s come out. After every call that changes something, drain both, then sleep until
//! [`Transfers::poll_timeout`].
//!
//! ```text
//! sender    Held ──turn──▶ Offered ──answer──▶ Sending ──sent──▶ Proving ──verified──▶ done
//!                                                 ◀──terms of another carrier──┘
//! receiver  Pending ──accept──▶ Queued ──turn──▶ Receiving ──received, hash──▶ Publishing ──▶ done
//!                                                └─lost: another carrier, in the same state
//! ```
//!
//! From every state but the end, a cancel or a failure of either side leads to the end. A session
//! may go and come back meanwhile; each side then repeats what the other may not have heard, and
//! who asks about a transfer that ended is told its verdict again.

mod incoming;
mod link;
mod outgoing;
mod pace;
mod phase;
mod step;
mod update;

#[cfg(test)]
mod tests;

use core::ops::ControlFlow;
use std::collections::BTreeMap;

use p2pchat_crypto::Suite;
use p2pchat_proto::transfer::{
    DeclineReason, FailureReason, FileAnswer, FileCancel, FileFailed, FileOffer, OfferAnswer, TOTAL_MAX,
    TransferBody,
};
use p2pchat_proto::{Moment, PeerId, TransferId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use self::incoming::{Incoming, OfferPending};
use self::link::Link;
use self::outgoing::Outgoing;
use self::pace::Pace;
pub use self::pace::SHOW_INTERVAL;
use self::phase::{Part, Phase, check};
pub use self::step::{
    BARREN_ATTEMPTS_MAX, HASH_PATIENCE, SENDER_PATIENCE, SESSION_PATIENCE, STALL_REPLACED, STALL_SHOWN,
    VERDICT_PATIENCE,
};
use self::step::{End, Facts, Next, Out, Step, Timer};
pub use self::update::{
    BodyError, CommandError, Direction, Effect, Party, SessionEnd, State, TransferFailure, Update,
};
use crate::carrier::CarrierEvent;
use crate::name::SafeName;

/// Most offers to or from one peer that wait for an answer. A sender holds further ones back; a
/// receiver declines them.
pub const PENDING_MAX: usize = 64;
/// Most files that come in from one peer at the same time: each has threads and sockets. Further
/// ones that were accepted wait for their turn.
pub const INCOMING_MAX: usize = 8;

/// A file to be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, without its directory.
    pub name: String,
    /// Its size in bytes, at most [`TOTAL_MAX`].
    pub size: u64,
}

/// All transfers with all peers. See the module.
#[derive(Debug)]
pub struct Transfers {
    rng: ChaCha20Rng,
    links: BTreeMap<PeerId, Link>,
    live: BTreeMap<TransferId, Live>,
    turns: u64,
    out: Out,
}

#[derive(Debug)]
struct Live {
    facts: Facts,
    phase: Phase,
}

impl Transfers {
    /// None yet. The seed gives ids and secrets, and must be random.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed(seed),
            links: BTreeMap::new(),
            live: BTreeMap::new(),
            turns: 0,
            out: Out::default(),
        }
    }

    /// Offers a file. Without a session the offer goes out over the next one, if that comes
    /// within [`SESSION_PATIENCE`].
    pub fn offer(&mut self, to: PeerId, source: Source, now: Moment) -> TransferId {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        let transfer = TransferId(id);
        let facts = self.facts(
            transfer,
            to,
            Direction::Outgoing,
            Source { name: source.name, size: source.size.min(TOTAL_MAX) },
            now,
        );
        self.out.updates.push_back(facts.update(State::Offered));
        self.run(Live { facts, phase: Phase::Outgoing(Outgoing::Held) }, now, |phase, _| {
            ControlFlow::Continue(phase)
        });
        transfer
    }

    /// Takes an offered file.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn accept(&mut self, transfer: TransferId, now: Moment) -> Result<(), CommandError> {
        self.pending(transfer)?;
        self.turns = self.turns.saturating_add(1);
        let turn = self.turns;
        self.with(transfer, now, |phase, step| match phase {
            Phase::Incoming(Incoming::Pending(offer)) => {
                step.facts.turn = turn;
                ControlFlow::Continue(Phase::Incoming(Incoming::Queued(offer.accept(step))))
            }
            phase @ (Phase::Incoming(_) | Phase::Outgoing(_)) => ControlFlow::Continue(phase),
        });
        Ok(())
    }

    /// Refuses an offered file.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn decline(
        &mut self,
        transfer: TransferId,
        why: DeclineReason,
        now: Moment,
    ) -> Result<(), CommandError> {
        self.pending(transfer)?;
        self.with(transfer, now, |phase, step| match phase {
            Phase::Incoming(Incoming::Pending(offer)) => ControlFlow::Break(offer.decline(why, step.facts)),
            phase @ (Phase::Incoming(_) | Phase::Outgoing(_)) => ControlFlow::Continue(phase),
        });
        Ok(())
    }

    /// Takes a transfer back, from either side and in any state.
    ///
    /// # Errors
    /// If there is no such transfer.
    pub fn cancel(&mut self, transfer: TransferId, now: Moment) -> Result<(), CommandError> {
        if !self.live.contains_key(&transfer) {
            return Err(CommandError::NoSuchTransfer);
        }
        let verdict = Some(FileCancel { transfer }.into());
        let end = End { state: State::Cancelled(Party::Here), verdict };
        self.with(transfer, now, |_, _| ControlFlow::Break(end));
        Ok(())
    }

    /// Takes a body that came on the control stream of the session with `from`.
    ///
    /// # Errors
    /// See [`BodyError`]; nothing changed then.
    pub fn handle_body(
        &mut self,
        from: PeerId,
        kind: u8,
        bytes: &[u8],
        now: Moment,
    ) -> Result<(), BodyError> {
        let body = TransferBody::from_bytes(kind, bytes)
            .map_err(BodyError::Malformed)?
            .ok_or(BodyError::UnknownKind(kind))?;
        if self.session(from).is_none() {
            return Err(BodyError::Impossible("body without a session"));
        }
        if let TransferBody::FileOffer(offer) = body {
            self.handle_offer(from, &offer, now);
            return Ok(());
        }
        let transfer = body.transfer();
        let Some(live) = self.live.get(&transfer).filter(|live| live.facts.peer == from) else {
            self.answer_stray(from, &body);
            return Ok(());
        };
        check(&live.facts, &body)?;
        self.with(transfer, now, |phase, step| phase.body(body, step));
        Ok(())
    }

    /// Takes what the driver reports of a carrier.
    pub fn carrier_event(&mut self, transfer: TransferId, event: CarrierEvent, now: Moment) {
        let CarrierEvent { attempt, report } = event;
        self.with(transfer, now, |phase, step| match phase {
            phase if phase.attempt() != Some(attempt) => ControlFlow::Continue(phase),
            Phase::Outgoing(outgoing) => outgoing.report(report, step).map_continue(Phase::Outgoing),
            Phase::Incoming(incoming) => incoming.report(report, step).map_continue(Phase::Incoming),
        });
    }

    /// A session with `peer` is up, for the first time or again.
    pub fn session_up(&mut self, peer: PeerId, suite: Suite, now: Moment) {
        let owed = self.links.entry(peer).or_default().up(suite);
        for body in owed {
            self.out.send(peer, &body);
        }
        for transfer in self.of_peer(peer) {
            self.with(transfer, now, Phase::restated);
        }
    }

    /// The session with `peer` is gone.
    pub fn session_down(&mut self, peer: PeerId, end: SessionEnd, now: Moment) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.down(now);
        match end {
            SessionEnd::Lost => {}
            SessionEnd::Closed => {
                for transfer in self.of_peer(peer) {
                    self.with(transfer, now, |phase, step| phase.closed(step));
                }
            }
        }
    }

    /// What there is to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.effects.pop_front()
    }

    /// What changed.
    pub fn poll_event(&mut self) -> Option<Update> {
        self.out.updates.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        if !self.out.effects.is_empty() || !self.out.updates.is_empty() {
            return Some(Moment::ZERO);
        }
        self.live.values().filter_map(|live| self.timer(live)).map(|(at, _)| at).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        let due = |(at, timer)| (at <= now).then_some(timer);
        while let Some((transfer, timer)) =
            self.live.iter().find_map(|(id, live)| Some((*id, self.timer(live).and_then(due)?)))
        {
            self.with(transfer, now, |phase, step| phase.timed_out(timer, step));
        }
    }
}

impl Transfers {
    fn session(&self, peer: PeerId) -> Option<Suite> {
        self.links.get(&peer).and_then(Link::suite)
    }

    fn of_peer(&self, peer: PeerId) -> Vec<TransferId> {
        self.live.iter().filter(|(_, live)| live.facts.peer == peer).map(|(id, _)| *id).collect()
    }

    fn count(&self, peer: PeerId, parts: &[Part]) -> usize {
        let counted = |live: &&Live| live.facts.peer == peer && parts.contains(&live.phase.part());
        self.live.values().filter(counted).count()
    }

    /// The transfer with `peer` that has waited longest in `part`.
    fn first(&self, peer: PeerId, part: Part) -> Option<TransferId> {
        let waiting = self.live.values().filter(|live| live.facts.peer == peer && live.phase.part() == part);
        waiting.min_by_key(|live| live.facts.turn).map(|live| live.facts.transfer)
    }

    /// Lets those go on who wait for others, as far as there is room now.
    fn take_turns(&mut self, peer: PeerId, now: Moment) {
        if self.count(peer, &[Part::Said]) < PENDING_MAX
            && let Some(held) = self.first(peer, Part::Held)
        {
            self.with(held, now, |_, step| Phase::Outgoing(Outgoing::Offered).restated(step));
        }
        if self.count(peer, &[Part::Receiving]) < INCOMING_MAX
            && let Some(queued) = self.first(peer, Part::Queued)
        {
            self.with(queued, now, |phase, step| match phase {
                Phase::Incoming(Incoming::Queued(offer)) => {
                    ControlFlow::Continue(Phase::Incoming(Incoming::Receiving(offer.begin(step))))
                }
                phase @ (Phase::Incoming(_) | Phase::Outgoing(_)) => ControlFlow::Continue(phase),
            });
        }
    }

    /// Refuses what does not wait for this user's word.
    fn pending(&self, transfer: TransferId) -> Result<(), CommandError> {
        let live = self.live.get(&transfer).ok_or(CommandError::NoSuchTransfer)?;
        match live.phase {
            Phase::Incoming(Incoming::Pending(_)) => Ok(()),
            Phase::Incoming(_) | Phase::Outgoing(_) => Err(CommandError::NotPending),
        }
    }

    fn handle_offer(&mut self, from: PeerId, offer: &FileOffer, now: Moment) {
        let transfer = offer.transfer;
        if let Some(live) = self.live.get(&transfer) {
            match live.phase {
                // Came again over a new session.
                Phase::Incoming(_) if live.facts.peer == from => self.with(transfer, now, Phase::restated),
                Phase::Incoming(_) | Phase::Outgoing(_) => {
                    self.decline_at_once(from, transfer, DeclineReason::Unsupported)
                }
            }
            return;
        }
        if let Some(verdict) = self.links.get(&from).and_then(|link| link.verdict(transfer)) {
            if let Some(verdict) = verdict {
                self.out.send(from, &verdict);
            }
            return;
        }
        let ([name], 1, None) = (offer.names.as_slice(), offer.count, offer.manifest) else {
            return self.decline_at_once(from, transfer, DeclineReason::Unsupported);
        };
        if self.count(from, &[Part::Pending, Part::Queued]) >= PENDING_MAX {
            return self.decline_at_once(from, transfer, DeclineReason::TooManyOffers);
        }
        let source = Source { name: name.as_str().to_owned(), size: offer.total };
        let facts = self.facts(transfer, from, Direction::Incoming, source, now);
        self.out.updates.push_back(facts.update(State::Offered));
        let offer = OfferPending::new(SafeName::parse_or_rename(name.as_str()));
        self.run(Live { facts, phase: Phase::Incoming(Incoming::Pending(offer)) }, now, |phase, _| {
            ControlFlow::Continue(phase)
        });
    }

    fn facts(
        &mut self,
        transfer: TransferId,
        peer: PeerId,
        direction: Direction,
        source: Source,
        now: Moment,
    ) -> Facts {
        self.turns = self.turns.saturating_add(1);
        let Source { name, size } = source;
        Facts {
            transfer,
            peer,
            direction,
            name,
            total: size,
            tcp: None,
            pace: Pace::new(now),
            turn: self.turns,
        }
    }

    fn decline_at_once(&mut self, from: PeerId, transfer: TransferId, why: DeclineReason) {
        self.out.send(from, &FileAnswer { transfer, answer: OfferAnswer::Decline { why } }.into());
    }

    /// A body of a transfer that ended, or that never was. At most one short body goes back, and
    /// none for one that ends a transfer, so two sides never answer each other without end.
    fn answer_stray(&mut self, from: PeerId, body: &TransferBody) {
        let transfer = body.transfer();
        let asks = match body {
            TransferBody::FileAnswer(FileAnswer { answer, .. }) => match answer {
                OfferAnswer::Accept { .. } => true,
                OfferAnswer::Decline { .. } => false,
            },
            TransferBody::FileCarrier(_) | TransferBody::FileCandidates(_) | TransferBody::FileDone(_) => {
                true
            }
            TransferBody::FileOffer(_)
            | TransferBody::FileVerified(_)
            | TransferBody::FileFailed(_)
            | TransferBody::FileCancel(_) => false,
        };
        if !asks {
            return;
        }
        let unknown = || Some(FileFailed { transfer, why: FailureReason::Unknown }.into());
        let verdict = self.links.get(&from).and_then(|link| link.verdict(transfer));
        if let Some(verdict) = verdict.unwrap_or_else(unknown) {
            self.out.send(from, &verdict);
        }
    }

    fn timer(&self, live: &Live) -> Option<(Moment, Timer)> {
        let session = self.session(live.facts.peer);
        let own = match &live.phase {
            Phase::Outgoing(outgoing) => outgoing.timer(&live.facts),
            Phase::Incoming(incoming) => incoming.timer(&live.facts, session),
        };
        // What is being published needs nobody any more.
        let needs_session = !matches!(live.phase, Phase::Incoming(Incoming::Publishing(_)));
        let down = self.links.get(&live.facts.peer).map_or(Moment::ZERO, Link::down_since);
        let gone = (session.is_none() && needs_session)
            .then(|| (live.facts.pace.advanced().max(down) + SESSION_PATIENCE, Timer::NoSession));
        own.into_iter().chain(gone).min_by_key(|(at, _)| *at)
    }

    /// Takes the transfer a step further; nothing happens if it is not live.
    fn with(
        &mut self,
        transfer: TransferId,
        now: Moment,
        go: impl FnOnce(Phase, &mut Step<'_>) -> Next<Phase>,
    ) {
        if let Some(live) = self.live.remove(&transfer) {
            self.run(live, now, go);
        }
    }

    fn run(&mut self, live: Live, now: Moment, go: impl FnOnce(Phase, &mut Step<'_>) -> Next<Phase>) {
        let Live { mut facts, phase } = live;
        let (peer, before) = (facts.peer, phase.part());
        let session = self.session(peer);
        let mut step = Step { facts: &mut facts, session, now, rng: &mut self.rng, out: &mut self.out };
        let after = match go(phase, &mut step) {
            ControlFlow::Continue(phase) => {
                let after = phase.part();
                self.live.insert(facts.transfer, Live { facts, phase });
                after
            }
            ControlFlow::Break(end) => {
                self.end(&facts, end);
                Part::Free
            }
        };
        if after != before || matches!(after, Part::Held) {
            self.take_turns(peer, now);
        }
    }

    fn end(&mut self, facts: &Facts, end: End) {
        self.out.updates.push_back(facts.update(end.state));
        self.out.effects.push_back(Effect::StopCarrier { transfer: facts.transfer });
        let link = self.links.entry(facts.peer).or_default();
        if let Some(verdict) = &end.verdict {
            if link.suite().is_some() {
                self.out.send(facts.peer, verdict);
            } else {
                link.owe(verdict.clone());
            }
        }
        link.ended(facts.transfer, end.verdict);
    }
}
