//! Events that wait for a front end, in the batches in which it will get them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use p2pchat_engine::Event;

use crate::handle::EVENTS_IN_BATCH;

/// Batches that were read and are kept for the next events; none of those that had grown beyond twice what
/// mostly fills one.
const SPARE_MAX: usize = 4;

/// Bytes of text that weigh as much as an event without any.
const TEXT_WEIGHT: usize = 1024;

/// Events that are handed on at once.
pub(crate) type Batch = VecDeque<Event>;

/// Batches on their way back from the front end, so that their memory serves again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spare(Arc<Mutex<Vec<Batch>>>);

impl Spare {
    /// Gives back a batch that was read.
    pub(crate) fn put(&self, mut batch: Batch) {
        batch.clear();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX && (1..=2 * EVENTS_IN_BATCH).contains(&batch.capacity()) {
            spare.push(batch);
        }
    }

    fn take(&self) -> Batch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Batches that are full, the oldest first.
    full: VecDeque<Batch>,
    /// The one that is being filled.
    open: Batch,
    /// Of all of them, see [`weight`].
    weight: usize,
    spare: Spare,
}

/// How much of what may wait an event takes up.
fn weight(event: &Event) -> usize {
    let text = if let Event::Message(message) = event { message.text.len() } else { 0 };
    1 + text / TEXT_WEIGHT
}

impl Waiting {
    /// None wait; batches that were read come back by `spare`.
    pub(super) fn new(spare: Spare) -> Self {
        Self { full: VecDeque::new(), open: Batch::new(), weight: 0, spare }
    }

    /// Puts an event behind everything else.
    pub(super) fn push(&mut self, event: Event) {
        let _it = self.extend(|open| open.push_back(event));
    }

    /// Puts what `fill` appends behind everything else, in one piece; these events.
    pub(super) fn extend(&mut self, fill: impl FnOnce(&mut Batch)) -> impl Iterator<Item = &Event> {
        if self.open.len() >= EVENTS_IN_BATCH {
            self.full.push_back(core::mem::replace(&mut self.open, self.spare.take()));
        }
        let known = self.open.len();
        fill(&mut self.open);
        let new = self.open.range(known..);
        self.weight += new.clone().map(weight).sum::<usize>();
        new
    }

    /// How many events wait, each KiB of their texts counted as one more.
    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    /// The oldest events, as many as go at once; empty where none wait.
    pub(super) fn take(&mut self) -> Batch {
        let oldest = match self.full.pop_front() {
            Some(full) => full,
            None if self.open.is_empty() => Batch::new(),
            None => core::mem::replace(&mut self.open, self.spare.take()),
        };
        self.weight -= oldest.iter().map(weight).sum::<usize>();
        oldest
    }
}

/// Lets every task of this thread that can go on do so, once.
pub(super) async fn turn_of_others() {
    let mut had_it = false;
    core::future::poll_fn(|context| {
        if core::mem::replace(&mut had_it, true) {
            return core::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        core::task::Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use p2pchat_engine::CommandId;
    use p2pchat_engine::event::MessageEvent;
    use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
    use p2pchat_proto::{PeerId, WallTime};

    use super::*;

    fn event(id: u64) -> Event {
        Event::Done { id: CommandId(id), message: None, transfer: None, request: None }
    }

    #[test]
    fn events_come_out_in_order_and_no_more_at_once_than_a_batch_holds() {
        let spare = Spare::default();
        let mut waiting = Waiting::new(spare.clone());
        assert!(waiting.is_empty() && waiting.take().is_empty());
        let (mut came, mut pushed) = (Vec::new(), 0);
        for count in [1, EVENTS_IN_BATCH, 3 * EVENTS_IN_BATCH + 1, 2] {
            for _ in 0..count {
                pushed += 1;
                waiting.push(event(pushed));
            }
            assert_eq!(waiting.weight(), count);
            while !waiting.is_empty() {
                let batch = waiting.take();
                assert!((1..=EVENTS_IN_BATCH).contains(&batch.len()));
                came.extend(batch.iter().cloned());
                spare.put(batch);
            }
            assert_eq!(waiting.weight(), 0);
        }
        assert_eq!(came, (1..=pushed).map(event).collect::<Vec<_>>());
    }

    #[test]
    fn what_comes_at_once_stays_together_behind_what_came_before() {
        let mut waiting = Waiting::new(Spare::default());
        let mut came = Vec::new();
        for ids in [0..3, 3..3, 3..4 + EVENTS_IN_BATCH as u64, 4 + EVENTS_IN_BATCH as u64..200] {
            let new: Vec<Event> =
                waiting.extend(|open| open.extend(ids.clone().map(event))).cloned().collect();
            assert_eq!(new, ids.map(event).collect::<Vec<_>>());
        }
        assert_eq!(waiting.weight(), 200);
        while !waiting.is_empty() {
            came.push(waiting.take());
        }
        assert_eq!(
            came.iter().map(Batch::len).collect::<Vec<_>>(),
            [4 + EVENTS_IN_BATCH, 196 - EVENTS_IN_BATCH]
        );
        assert_eq!(came.into_iter().flatten().collect::<Vec<_>>(), (0..200).map(event).collect::<Vec<_>>());
        assert_eq!(waiting.weight(), 0);
    }

    #[test]
    fn long_texts_weigh_more() {
        let message = |len: usize| {
            let (me, peer) = (PeerId([1; 32]), PeerId([2; 32]));
            Event::Message(MessageEvent {
                peer,
                name: None,
                message: MessageId { author: peer, to: me, epoch: DeviceEpoch(1), seq: 0 },
                was: None,
                text: "x".repeat(len).into(),
                sent_at: WallTime(0),
                mine: false,
                late: false,
            })
        };
        let mut waiting = Waiting::new(Spare::default());
        for (len, heavy) in [(0, 1), (1_023, 1), (1_024, 2), (65_536, 65)] {
            waiting.push(message(len));
            assert_eq!(waiting.weight(), heavy);
            waiting.take();
            assert_eq!(waiting.weight(), 0);
        }
    }

    #[test]
    fn batches_that_were_read_serve_again_empty_and_few_are_kept() {
        let spare = Spare::default();
        for _ in 0..2 * SPARE_MAX {
            spare.put([event(1)].into());
        }
        assert_eq!(spare.0.lock().unwrap().len(), SPARE_MAX);
        let mut waiting = Waiting::new(spare.clone());
        for _ in 0..2 * SPARE_MAX {
            waiting.push(event(2));
            assert_eq!(waiting.take(), [event(2)]);
        }
        assert!(spare.0.lock().unwrap().is_empty());
    }
}
