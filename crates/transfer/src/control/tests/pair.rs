//! Two control planes, joined by a session that may go and come, and by a driver that is a model:
//! carriers move a chunk at a time, break and stall when the test wants it.

use std::collections::{BTreeMap, VecDeque};

use core::time::Duration;
use p2pchat_proto::transfer::{Attempt, CHUNK_LEN, OfferedName, TcpCandidates};

use super::super::*;
use crate::carrier::{CarrierEnd, CarrierFault, CarrierLoss, CarrierReport, CarrierSpec};

pub(super) const ALICE: PeerId = PeerId([0xa; 32]);
pub(super) const BOB: PeerId = PeerId([0xb; 32]);
pub(super) const HASH: [u8; 32] = [7; 32];
pub(super) const SUITE: Suite = Suite::ChaCha20Poly1305;

/// One side with all that came out of it.
pub(super) struct Side {
    pub(super) transfers: Transfers,
    /// What the model driver holds: the present attempt of each transfer.
    pub(super) carriers: BTreeMap<TransferId, Carrier>,
    pub(super) publishing: Vec<(TransferId, [u8; 32])>,
    pub(super) candidates: Vec<(TransferId, Attempt)>,
    pub(super) updates: Vec<(Moment, Update)>,
    pub(super) stopped: Vec<TransferId>,
    pub(super) inbox: VecDeque<(u8, Vec<u8>)>,
    pub(super) outbox: Vec<(u8, Vec<u8>)>,
}

pub(super) struct Carrier {
    pub(super) spec: CarrierSpec,
    pub(super) connected: bool,
    /// Chunks that passed, those of earlier attempts included.
    pub(super) chunks: u64,
}

impl Side {
    pub(super) fn new(seed: u8) -> Self {
        Self {
            transfers: Transfers::new([seed; 32]),
            carriers: BTreeMap::new(),
            publishing: Vec::new(),
            candidates: Vec::new(),
            updates: Vec::new(),
            stopped: Vec::new(),
            inbox: VecDeque::new(),
            outbox: Vec::new(),
        }
    }

    pub(super) fn report(
        &mut self,
        transfer: TransferId,
        attempt: Attempt,
        report: CarrierReport,
        now: Moment,
    ) {
        self.transfers.carrier_event(transfer, CarrierEvent { attempt, report }, now);
    }

    pub(super) fn states(&self) -> Vec<&State> {
        let mut states: Vec<&State> = self.updates.iter().map(|(_, update)| &update.state).collect();
        states.dedup();
        states
    }

    pub(super) fn last(&self, transfer: TransferId) -> Option<&State> {
        let of = |(_, update): &&(Moment, Update)| update.transfer == transfer;
        self.updates.iter().rev().find(of).map(|(_, update)| &update.state)
    }
}

pub(super) struct Pair {
    pub(super) now: Moment,
    pub(super) up: bool,
    pub(super) alice: Side,
    pub(super) bob: Side,
}

impl Pair {
    pub(super) fn new() -> Self {
        let mut pair = Self { now: Moment::ZERO, up: false, alice: Side::new(1), bob: Side::new(2) };
        pair.raise();
        pair
    }

    pub(super) fn raise(&mut self) {
        self.up = true;
        self.alice.transfers.session_up(BOB, SUITE, self.now);
        self.bob.transfers.session_up(ALICE, SUITE, self.now);
        self.drain();
    }

    pub(super) fn drop_session(&mut self, end: SessionEnd) {
        self.up = false;
        self.alice.inbox.clear();
        self.bob.inbox.clear();
        self.alice.transfers.session_down(BOB, end, self.now);
        self.bob.transfers.session_down(ALICE, end, self.now);
        self.drain();
    }

    /// Takes what came out of both sides to where it belongs.
    pub(super) fn drain(&mut self) {
        for side in [&mut self.alice, &mut self.bob] {
            while let Some(effect) = side.transfers.poll_effect() {
                match effect {
                    Effect::Send { kind, body, .. } => {
                        assert!(self.up, "a body without a session");
                        side.outbox.push((kind, body));
                    }
                    Effect::StartCarrier(spec) => {
                        let (transfer, attempt) = (spec.transfer, spec.attempt);
                        let carrier = Carrier { connected: false, chunks: spec.have, spec };
                        side.carriers.insert(transfer, carrier);
                        let candidates = TcpCandidates::new(["10.0.0.1:7".parse().unwrap()]);
                        side.report(
                            transfer,
                            attempt,
                            CarrierReport::Listening { candidates, at: None },
                            self.now,
                        );
                    }
                    Effect::Candidates { transfer, attempt, .. } => side.candidates.push((transfer, attempt)),
                    Effect::Publish { transfer, hash } => side.publishing.push((transfer, hash)),
                    Effect::StopCarrier { transfer } => {
                        side.carriers.remove(&transfer);
                        side.publishing.retain(|(id, _)| *id != transfer);
                        assert!(!side.stopped.contains(&transfer), "stopped twice");
                        side.stopped.push(transfer);
                    }
                }
            }
            while let Some(update) = side.transfers.poll_event() {
                side.updates.push((self.now, update));
            }
        }
        self.bob.inbox.extend(self.alice.outbox.drain(..));
        self.alice.inbox.extend(self.bob.outbox.drain(..));
    }

    pub(super) fn deliver(&mut self, to_bob: bool) -> bool {
        let (side, from) = if to_bob { (&mut self.bob, ALICE) } else { (&mut self.alice, BOB) };
        let Some((kind, body)) = side.inbox.pop_front() else { return false };
        side.transfers.handle_body(from, kind, &body, self.now).unwrap();
        self.drain();
        true
    }

    /// Delivers until nobody has anything to say.
    pub(super) fn talk(&mut self) {
        while self.deliver(true) || self.deliver(false) {}
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let due = [&self.alice, &self.bob].into_iter().filter_map(|s| s.transfers.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.alice.transfers.handle_timeout(self.now);
            self.bob.transfers.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Transfers whose two ends are in the same attempt, sender first.
    pub(super) fn joined(&mut self) -> Vec<(&mut Side, &mut Side, TransferId)> {
        let found = self.alice.carriers.iter().find_map(|(id, mine)| {
            let theirs = self.bob.carriers.get(id)?;
            let same = mine.spec.attempt == theirs.spec.attempt && mine.spec.secret == theirs.spec.secret;
            same.then_some((*id, mine.spec.end == CarrierEnd::Sender))
        });
        match found {
            Some((id, true)) => vec![(&mut self.alice, &mut self.bob, id)],
            Some((id, false)) => vec![(&mut self.bob, &mut self.alice, id)],
            None => vec![],
        }
    }

    /// Moves the first joined carrier: connects it, passes a chunk, or ends it.
    pub(super) fn carry(&mut self) -> bool {
        let now = self.now;
        let mut moved = false;
        for (sender, receiver, id) in self.joined() {
            for (side, is_sender) in [(sender, true), (receiver, false)] {
                let Some(carrier) = side.carriers.get_mut(&id) else { continue };
                let attempt = carrier.spec.attempt;
                let chunks = crate::tree::Chunks::of(carrier.spec.total);
                let report = if !carrier.connected {
                    carrier.connected = true;
                    CarrierReport::Connected
                } else if carrier.chunks < chunks.count() {
                    carrier.chunks += 1;
                    CarrierReport::Progress { bytes: chunks.offset_of(carrier.chunks) }
                } else {
                    side.carriers.remove(&id);
                    if is_sender { CarrierReport::Sent { hash: HASH } } else { CarrierReport::Received }
                };
                side.report(id, attempt, report, now);
                moved = true;
            }
        }
        self.drain();
        moved
    }

    /// Ends every carrier at both sides; the receivers keep what they hold.
    pub(super) fn break_carriers(&mut self, why: CarrierLoss) {
        for side in [&mut self.alice, &mut self.bob] {
            for (id, carrier) in core::mem::take(&mut side.carriers) {
                let have = if carrier.spec.end == CarrierEnd::Sender { 0 } else { carrier.chunks };
                side.report(id, carrier.spec.attempt, CarrierReport::Lost { why, have }, self.now);
            }
        }
        self.drain();
    }

    pub(super) fn publish(&mut self) -> bool {
        let mut published = false;
        for side in [&mut self.alice, &mut self.bob] {
            for (id, hash) in core::mem::take(&mut side.publishing) {
                let report = if hash == HASH {
                    CarrierReport::Published { path: "song.mp3".into() }
                } else {
                    CarrierReport::Failed(CarrierFault::Corrupt)
                };
                let attempt = side.transfers.live.get(&id).and_then(|live| live.phase.attempt()).unwrap();
                side.report(id, attempt, report, self.now);
                published = true;
            }
        }
        self.drain();
        published
    }

    /// Lets everything happen that can happen without time.
    pub(super) fn settle(&mut self) {
        loop {
            self.talk();
            if !(self.carry() || self.publish()) {
                break;
            }
        }
    }

    pub(super) fn offer(&mut self, chunks: u64) -> TransferId {
        let source = Source { name: "song.mp3".into(), size: chunks * CHUNK_LEN as u64 };
        let id = self.alice.transfers.offer(BOB, source, self.now);
        self.drain();
        id
    }

    pub(super) fn running(chunks: u64) -> (Self, TransferId) {
        let mut pair = Self::new();
        let id = pair.offer(chunks);
        pair.talk();
        pair.bob.transfers.accept(id, pair.now).unwrap();
        pair.drain();
        pair.talk();
        (pair, id)
    }

    pub(super) fn inject(&mut self, to_bob: bool, body: impl Into<TransferBody>) -> Result<(), BodyError> {
        let (kind, bytes) = body.into().to_bytes().unwrap();
        let (side, from) = if to_bob { (&mut self.bob, ALICE) } else { (&mut self.alice, BOB) };
        let result = side.transfers.handle_body(from, kind, &bytes, self.now);
        self.drain();
        result
    }
}

pub(super) fn done(path: Option<&str>) -> State {
    State::Done { path: path.map(str::to_owned), hash: HASH }
}

pub(super) fn hostile_offer(transfer: TransferId) -> FileOffer {
    FileOffer { transfer, count: 1, total: 5, names: vec![OfferedName::new("x")], manifest: None }
}
