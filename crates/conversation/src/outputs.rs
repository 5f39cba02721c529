//! What waits to be polled: effects, events and the open batch.

use core::ops::Range;
use std::collections::VecDeque;

use p2pchat_proto::PeerId;
use p2pchat_proto::codec::{Body, encode_into};

use crate::effect::{BatchId, Effect, Event, Outgoing, QueryId, Write};

/// Bytes of the buffer of bodies that are kept for the next ones: those of some hundred lines.
const BODIES_KEPT: usize = 64 * 1024;
/// Writes that a batch has room for at most before it has any.
const WRITES_ROOM: usize = 64;

/// Effects and events in the order in which they came to be, and the batch that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    loads: VecDeque<Effect>,
    /// What comes before everything else, in this order.
    first: VecDeque<Effect>,
    sends: VecDeque<Waiting>,
    /// The bodies of `sends`, one behind the other, and before them those that were polled.
    bodies: Vec<u8>,
    events: VecDeque<Event>,
    writes: Vec<Write>,
    /// Marks that end the open batch. Each takes the place of those before, so many messages of one epoch
    /// are marked once.
    marks: Vec<Write>,
    /// Writes of the last batch: about as many are to come.
    last_batch: usize,
    next_batch: u64,
    next_query: u64,
    /// Peers whose conversations wait for the open batch, in their order: mostly one, and a list costs less than
    /// a set.
    touched: Vec<PeerId>,
    /// Whether nobody is told what was shown here.
    pub(crate) silent: bool,
    /// Peers with whom another epoch is needed.
    rewound: Vec<PeerId>,
    /// Batches that are out, with each peer whose conversation waits for them.
    uncommitted: VecDeque<(BatchId, PeerId)>,
}

/// A body that waits to be sent.
#[derive(Debug)]
struct Waiting {
    to: PeerId,
    kind: u8,
    /// Its place in [`Outputs::bodies`].
    body: Range<usize>,
}

impl Outputs {
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Puts a write into the open batch, whose number it returns. `peer` hears when it is durable.
    pub(crate) fn write(&mut self, peer: PeerId, write: Write) -> BatchId {
        if let Write::Held { .. } | Write::Handed { .. } = write {
            if self.marks.last_mut().is_some_and(|last| replaces(last, &write)) {
                return self.open_batch();
            }
            self.marks.push(write);
        } else {
            if self.writes.capacity() == 0 {
                self.writes.reserve_exact(self.last_batch.clamp(1, WRITES_ROOM));
            }
            self.writes.push(write);
        }
        if let Err(place) = self.touched.binary_search(&peer) {
            self.touched.insert(place, peer);
        }
        self.open_batch()
    }

    /// One conversation takes the place of another, in a batch of its own: what is asked of the store later
    /// finds it so, and what was written before is moved with it.
    pub(crate) fn succeeded(&mut self, old: PeerId, new: PeerId) {
        self.first.append(&mut self.loads);
        let before = self.close_batch();
        self.first.extend(before);
        self.write(new, Write::Succeeded { old, new });
        let moved = self.close_batch();
        self.first.extend(moved);
    }

    /// Whether writes about `peer` are not durable yet.
    pub(crate) fn is_writing(&self, peer: PeerId) -> bool {
        self.touched.contains(&peer) || self.uncommitted.iter().any(|(_, waiting)| *waiting == peer)
    }

    /// The batch into which the next write goes.
    pub(crate) const fn open_batch(&self) -> BatchId {
        BatchId(self.next_batch)
    }

    /// Whether there is nothing to poll.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.sends.is_empty()
            && self.events.is_empty()
            && self.writes.is_empty()
            && self.marks.is_empty()
            && self.loads.is_empty()
            && self.first.is_empty()
            && self.rewound.is_empty()
    }

    /// Another epoch is needed with `peer`.
    pub(crate) fn rewound(&mut self, peer: PeerId) {
        self.rewound.push(peer);
    }

    pub(crate) fn poll_rewound(&mut self) -> Option<PeerId> {
        self.rewound.pop()
    }

    pub(crate) fn load(&mut self, peer: PeerId) -> QueryId {
        let query = QueryId(self.next_query);
        self.next_query += 1;
        self.loads.push_back(Effect::Load { query, peer });
        query
    }

    pub(crate) fn send<B: Body>(&mut self, to: PeerId, kind: u8, body: &B) {
        self.forget_bodies();
        let start = self.bodies.len();
        #[expect(clippy::expect_used, reason = "bodies are bounded where they are made, below their caps")]
        encode_into(body, &mut self.bodies).expect("body within its cap");
        self.sends.push_back(Waiting { to, kind, body: start..self.bodies.len() });
    }

    /// Drops what waits to be sent to `peer`, whose session is gone.
    pub(crate) fn drop_sends(&mut self, peer: PeerId) {
        self.sends.retain(|waiting| waiting.to != peer);
        self.forget_bodies();
    }

    pub(crate) fn poll_send(&mut self) -> Option<Outgoing<'_>> {
        let Waiting { to, kind, body } = self.sends.pop_front()?;
        Some(Outgoing { to, kind, body: self.bodies.get(body).unwrap_or_default() })
    }

    /// Where none waits any more, their bytes are done with.
    fn forget_bodies(&mut self) {
        if self.sends.is_empty() {
            self.bodies.clear();
            self.bodies.shrink_to(BODIES_KEPT);
        }
    }

    /// Queries first, as their answers are to hold nothing of what is written after them; then the
    /// open batch.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.first.pop_front().or_else(|| self.loads.pop_front()).or_else(|| self.close_batch())
    }

    /// The open batch, if anything is in it; the next write goes into another one.
    fn close_batch(&mut self) -> Option<Effect> {
        if self.writes.is_empty() && self.marks.is_empty() {
            return None;
        }
        self.writes.append(&mut self.marks);
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        self.last_batch = self.writes.len();
        self.uncommitted.extend(self.touched.drain(..).map(|peer| (batch, peer)));
        Some(Effect::Commit { batch, writes: core::mem::take(&mut self.writes) })
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next one that waited for `batch` or an earlier one; to be called until there is none.
    pub(crate) fn committed(&mut self, batch: BatchId) -> Option<PeerId> {
        self.uncommitted.front().filter(|(out, _)| *out <= batch)?;
        self.uncommitted.pop_front().map(|(_, peer)| peer)
    }
}

/// Puts a mark into the place of one before it, if it is another one of the same. Whether it did.
fn replaces(last: &mut Write, with: &Write) -> bool {
    match (&mut *last, with) {
        (Write::Held { peer, epoch, .. }, Write::Held { peer: of, epoch: its, .. })
        | (Write::Handed { to: peer, epoch, .. }, Write::Handed { to: of, epoch: its, .. })
            if (&*peer, &*epoch) == (of, its) =>
        {
            *last = with.clone();
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use p2pchat_proto::WallTime;
    use p2pchat_proto::conversation::{DeviceEpoch, MessageId, Receipt, ReceiptState};

    use super::*;
    use crate::effect::Marks;

    const ANN: PeerId = PeerId([1; 32]);
    const BEN: PeerId = PeerId([2; 32]);

    fn committed(out: &mut Outputs, batch: BatchId) -> Vec<PeerId> {
        core::iter::from_fn(|| out.committed(batch)).collect()
    }

    fn held(peer: PeerId, epoch: u64, stored: u64) -> Write {
        Write::Held { peer, epoch: DeviceEpoch(epoch), marks: Marks { stored, read: 0 } }
    }

    #[test]
    fn marks_end_a_batch_and_those_of_one_epoch_in_a_row_are_written_once() {
        let mut out = Outputs::default();
        let gone = Write::Forgotten { peer: ANN, epoch: DeviceEpoch(9) };
        for write in [held(ANN, 1, 1), held(ANN, 1, 2), gone.clone(), held(ANN, 1, 3), held(ANN, 2, 1)] {
            assert_eq!(out.write(ANN, write), BatchId(0));
        }
        out.write(BEN, held(BEN, 2, 4));
        let writes = vec![gone, held(ANN, 1, 3), held(ANN, 2, 1), held(BEN, 2, 4)];
        assert_eq!(out.poll_effect(), Some(Effect::Commit { batch: BatchId(0), writes }));
        assert_eq!(committed(&mut out, BatchId(0)), [ANN, BEN]);
        assert_eq!(out.write(ANN, held(ANN, 2, 2)), BatchId(1));
        let writes = vec![held(ANN, 2, 2)];
        assert_eq!(out.poll_effect(), Some(Effect::Commit { batch: BatchId(1), writes }));
        assert_eq!(out.poll_effect(), None);
    }

    #[test]
    fn a_batch_says_once_how_far_ones_messages_may_leave_after_those_messages() {
        let mut out = Outputs::default();
        let epoch = DeviceEpoch(1);
        let composed = |seq| Write::Composed {
            to: BEN,
            message: MessageId { author: ANN, to: BEN, epoch, seq },
            text: "x".into(),
            sent_at: WallTime(0),
        };
        let handed = |upto| Write::Handed { to: BEN, epoch, upto };
        for seq in 0..2 {
            out.write(BEN, composed(seq));
            out.write(BEN, handed(seq + 1));
        }
        let writes = vec![composed(0), composed(1), handed(2)];
        assert_eq!(out.poll_effect(), Some(Effect::Commit { batch: BatchId(0), writes }));
    }

    #[test]
    fn a_conversation_takes_anothers_place_after_what_was_asked_and_written_before_and_before_the_rest() {
        let mut out = Outputs::default();
        out.write(ANN, held(ANN, 1, 1));
        let asked = out.load(ANN);
        out.succeeded(ANN, BEN);
        out.write(BEN, held(BEN, 1, 2));
        let later = out.load(BEN);
        let succeeded = Write::Succeeded { old: ANN, new: BEN };
        let commit = |batch, write| Some(Effect::Commit { batch: BatchId(batch), writes: vec![write] });
        assert_eq!(out.poll_effect(), Some(Effect::Load { query: asked, peer: ANN }));
        assert_eq!(out.poll_effect(), commit(0, held(ANN, 1, 1)));
        assert_eq!(out.poll_effect(), commit(1, succeeded));
        assert_eq!(out.poll_effect(), Some(Effect::Load { query: later, peer: BEN }));
        assert_eq!(out.poll_effect(), commit(2, held(BEN, 1, 2)));
        assert_eq!(out.poll_effect(), None);
        assert!(out.is_writing(ANN) && out.is_writing(BEN));
        assert_eq!(committed(&mut out, BatchId(2)), [ANN, BEN, BEN]);
        assert!(!out.is_writing(ANN) && !out.is_writing(BEN));
    }

    #[test]
    fn bodies_keep_their_bytes_when_others_are_dropped_and_their_buffer_does_not_grow_without_end() {
        let receipt = |upto| Receipt { state: ReceiptState::Stored, epoch: DeviceEpoch(3), upto };
        let mut out = Outputs::default();
        for round in 0..10_000 {
            for (to, upto) in [(ANN, round), (BEN, round + 1), (ANN, round + 2)] {
                out.send(to, Receipt::KIND, &receipt(upto));
            }
            out.drop_sends(ANN);
            assert!(!out.is_empty());
            let body = p2pchat_proto::codec::encode(&receipt(round + 1)).unwrap();
            assert_eq!(out.poll_send(), Some(Outgoing { to: BEN, kind: Receipt::KIND, body: &body }));
            assert_eq!(out.poll_send(), None);
            assert!(out.is_empty());
        }
        assert!(out.bodies.capacity() <= BODIES_KEPT);
    }
}
