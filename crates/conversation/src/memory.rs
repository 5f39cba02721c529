//! A store that lasts as long as its process.

use std::collections::{BTreeMap, VecDeque};

use p2pchat_proto::PeerId;
use p2pchat_proto::conversation::EPOCHS_MAX;

use crate::effect::{HeldRow, Numbering, OutboxRow, Rows, Write};

/// Keeps what [`Effect::Load`](crate::Effect::Load) asks for, and no history.
///
/// For each peer it holds the outbox, which is bounded where it is filled, and the marks of at most
/// [`EPOCHS_MAX`] epochs.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    peers: BTreeMap<PeerId, Kept>,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    held: Vec<HeldRow>,
    outbox: VecDeque<OutboxRow>,
    read: u64,
    handed: u64,
    numbering: Option<Numbering>,
}

impl Memory {
    /// A store in which nothing is kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the writes of one batch.
    pub fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            self.apply_one(write);
        }
    }

    /// What is kept of the conversation with `peer`.
    pub fn rows(&self, peer: PeerId) -> Rows {
        let rows = |kept: &Kept| Rows {
            held: kept.held.clone(),
            outbox: kept.outbox.iter().cloned().collect(),
            read: kept.read,
            handed: kept.handed,
        };
        self.peers.get(&peer).map(rows).unwrap_or_default()
    }

    /// What the next message is called by, for each peer to whom something was written: for
    /// [`Conversations::resume`](crate::Conversations::resume).
    pub fn heads(&self) -> BTreeMap<PeerId, Numbering> {
        self.peers.iter().filter_map(|(peer, kept)| Some((*peer, kept.numbering?))).collect()
    }

    /// Whom messages wait for.
    pub fn recipients(&self) -> Vec<PeerId> {
        let waits = |kept: &Kept| kept.outbox.iter().any(|row| !row.text.is_empty());
        self.peers.iter().filter(|(_, kept)| waits(kept)).map(|(peer, _)| *peer).collect()
    }

    fn apply_one(&mut self, write: &Write) {
        match write {
            Write::Composed { to, message, text, sent_at } => {
                let kept = self.peers.entry(*to).or_default();
                let row = OutboxRow { seq: message.seq, text: text.clone(), sent_at: *sent_at };
                kept.outbox.push_back(row);
                kept.numbering = Some(Numbering { epoch: message.epoch, next: message.seq + 1 });
            }
            Write::Delivered { to, epoch: _, marks } => {
                let kept = self.peers.entry(*to).or_default();
                while kept.outbox.front().is_some_and(|row| row.seq < marks.stored) {
                    kept.outbox.pop_front();
                }
                kept.read = kept.read.max(marks.read);
            }
            Write::GivenUp { to, epoch: _, seqs } => {
                let Kept { outbox, read, .. } = self.peers.entry(*to).or_default();
                outbox.iter_mut().filter(|row| seqs.contains(&row.seq)).for_each(|row| row.text = "".into());
                while let Some(row) = outbox.front().filter(|row| row.text.is_empty()) {
                    *read += u64::from(*read == row.seq);
                    outbox.pop_front();
                }
            }
            Write::Renewed { to, epoch } => {
                let kept = self.peers.entry(*to).or_default();
                kept.outbox.retain(|row| !row.text.is_empty());
                kept.outbox.iter_mut().zip(0..).for_each(|(row, seq)| row.seq = seq);
                (kept.read, kept.handed) = (0, 0);
                kept.numbering = Some(Numbering { epoch: *epoch, next: kept.outbox.len() as u64 });
            }
            Write::Handed { to, epoch, upto } => {
                let kept = self.peers.entry(*to).or_default();
                if kept.numbering.is_some_and(|numbering| numbering.epoch == *epoch) {
                    kept.handed = kept.handed.max(*upto);
                }
            }
            Write::Arrived { .. } => {}
            Write::Held { peer, epoch, marks } => {
                let held = &mut self.peers.entry(*peer).or_default().held;
                held.retain(|row| row.epoch != *epoch);
                held.push(HeldRow { epoch: *epoch, marks: *marks });
                held.drain(..held.len().saturating_sub(EPOCHS_MAX));
            }
            Write::Succeeded { old, new } => {
                if !self.peers.contains_key(new)
                    && let Some(kept) = self.peers.remove(old)
                {
                    self.peers.insert(*new, kept);
                }
            }
            Write::Forgotten { peer, epoch } => {
                if let Some(kept) = self.peers.get_mut(peer) {
                    kept.held.retain(|row| row.epoch != *epoch);
                }
            }
        }
    }
}
