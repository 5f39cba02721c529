//! What waits to be polled: effects, events and the open batch.

use std::collections::VecDeque;

use p2pchat_proto::PeerId;
use p2pchat_proto::codec::{Body, encode};

use crate::effect::{BatchId, Effect, Event, QueryId, Write};

/// Effects and events in the order in which they came to be, and the batch that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    loads: VecDeque<Effect>,
    sends: VecDeque<Effect>,
    events: VecDeque<Event>,
    writes: Vec<Write>,
    next_batch: u64,
    next_query: u64,
    /// Peers whose conversations wait for the open batch, in their order: mostly one, and a list costs less than
    /// a set.
    touched: Vec<PeerId>,
    /// Batches that are out, with the peers whose conversations wait for them.
    uncommitted: VecDeque<(BatchId, Vec<PeerId>)>,
}

impl Outputs {
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Puts a write into the open batch, whose number it returns. `peer` hears when it is durable.
    pub(crate) fn write(&mut self, peer: PeerId, write: Write) -> BatchId {
        self.writes.push(write);
        if let Err(place) = self.touched.binary_search(&peer) {
            self.touched.insert(place, peer);
        }
        self.open_batch()
    }

    /// The batch into which the next write goes.
    pub(crate) const fn open_batch(&self) -> BatchId {
        BatchId(self.next_batch)
    }

    pub(crate) fn load(&mut self, peer: PeerId) -> QueryId {
        let query = QueryId(self.next_query);
        self.next_query += 1;
        self.loads.push_back(Effect::Load { query, peer });
        query
    }

    pub(crate) fn send<B: Body>(&mut self, to: PeerId, kind: u8, body: &B) {
        #[expect(clippy::expect_used, reason = "bodies are bounded where they are made, below their caps")]
        let body = encode(body).expect("body within its cap");
        self.sends.push_back(Effect::Send { to, kind, body });
    }

    /// Drops what waits to be sent to `peer`, whose session is gone.
    pub(crate) fn drop_sends(&mut self, peer: PeerId) {
        self.sends.retain(|effect| match effect {
            Effect::Send { to, .. } => *to != peer,
            Effect::Commit { .. } | Effect::Load { .. } => true,
        });
    }

    /// Queries first, as their answers are to hold nothing of what is written after them; then the
    /// open batch, so that the store works while the rest is sent.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        if let Some(load) = self.loads.pop_front() {
            return Some(load);
        }
        if self.writes.is_empty() {
            return self.sends.pop_front();
        }
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        self.uncommitted.push_back((batch, core::mem::take(&mut self.touched)));
        Some(Effect::Commit { batch, writes: core::mem::take(&mut self.writes) })
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The peers that waited for `batch` or an earlier one.
    pub(crate) fn committed(&mut self, batch: BatchId) -> Vec<PeerId> {
        let mut peers = Vec::new();
        while self.uncommitted.front().is_some_and(|(out, _)| *out <= batch)
            && let Some((_, mut waiting)) = self.uncommitted.pop_front()
        {
            if peers.is_empty() {
                peers = waiting;
            } else {
                peers.append(&mut waiting);
            }
        }
        peers.sort_unstable();
        peers.dedup();
        peers
    }
}
