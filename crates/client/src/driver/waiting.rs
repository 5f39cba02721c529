//! Events that wait for a front end, in the batches in which it will get them.

use std::collections::VecDeque;

use p2pchat_engine::Event;

use crate::handle::EVENTS_IN_BATCH;

/// Events that a batch has room for at least.
const BATCH_LEAST: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Batches that are full, the oldest first.
    full: VecDeque<Vec<Event>>,
    /// The one that is being filled.
    open: Vec<Event>,
}

impl Waiting {
    pub(super) fn push(&mut self, event: Event) {
        if self.open.len() >= EVENTS_IN_BATCH {
            self.close();
        }
        self.open.push(event);
    }

    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.full.len() * EVENTS_IN_BATCH + self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    /// The oldest events, as many as go at once; empty where none wait.
    pub(super) fn take(&mut self) -> Vec<Event> {
        if self.full.is_empty() {
            self.close();
        }
        self.full.pop_front().unwrap_or_default()
    }

    /// The next batch gets room for as many as came now, so that it need not grow while about as many come.
    fn close(&mut self) {
        let room = self.open.len().clamp(BATCH_LEAST, EVENTS_IN_BATCH);
        self.full.push_back(core::mem::replace(&mut self.open, Vec::with_capacity(room)));
    }
}

#[cfg(test)]
mod tests {
    use p2pchat_engine::CommandId;

    use super::*;

    fn event(id: u64) -> Event {
        Event::Done { id: CommandId(id), message: None, transfer: None, request: None }
    }

    #[test]
    fn events_come_out_in_order_and_no_more_at_once_than_a_batch_holds() {
        let mut waiting = Waiting::default();
        assert!(waiting.is_empty() && waiting.take().is_empty());
        let (mut came, mut pushed) = (Vec::new(), 0);
        for count in [1, EVENTS_IN_BATCH, 3 * EVENTS_IN_BATCH + 1, 2] {
            (0..count).for_each(|_| {
                waiting.push(event(pushed));
                pushed += 1;
            });
            assert_eq!(waiting.len(), count);
            while !waiting.is_empty() {
                let batch = waiting.take();
                assert!((1..=EVENTS_IN_BATCH).contains(&batch.len()));
                came.extend(batch);
            }
            assert_eq!(waiting.len(), 0);
        }
        assert_eq!(came, (0..pushed).map(event).collect::<Vec<_>>());
    }
}
