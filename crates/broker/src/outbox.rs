//! What waits for one client to read, bounded so that nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use p2pchat_registry::limits::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use tokio::sync::Notify;

/// Between the registry's task, which pushes and never waits, and the connection's.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

/// How a connection stands with what is sent to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// More may come.
    #[default]
    Open,
    /// What waits is the last.
    Closing,
    /// More came than may wait: the client does not read, and the connection ends at once.
    Overrun,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    standing: Standing,
}

impl Outbox {
    /// Puts the plaintext of a record behind the others and tells how the connection stands then.
    pub(crate) fn push(&self, record: Vec<u8>) -> Standing {
        let mut queue = self.lock();
        if queue.standing != Standing::Open {
            return queue.standing;
        }
        queue.bytes = queue.bytes.saturating_add(record.len());
        queue.records.push_back(record);
        if queue.records.len() > QUEUE_MESSAGES_MAX || queue.bytes > QUEUE_BYTES_MAX {
            *queue = Queue { standing: Standing::Overrun, ..Queue::default() };
        }
        self.changed.notify_one();
        queue.standing
    }

    /// Nothing comes after what waits.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        if queue.standing == Standing::Open {
            queue.standing = Standing::Closing;
        }
        self.changed.notify_one();
    }

    /// The next record.
    pub(crate) fn pop(&self) -> Option<Vec<u8>> {
        let mut queue = self.lock();
        let record = queue.records.pop_front();
        queue.bytes = queue.bytes.saturating_sub(record.as_ref().map_or(0, Vec::len));
        if queue.records.is_empty() {
            // An idle client keeps no memory for a queue.
            queue.records = VecDeque::new();
        }
        record
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().records.is_empty()
    }

    pub(crate) fn standing(&self) -> Standing {
        self.lock().standing
    }

    /// Waits for a push or a close. One that came before counts.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A panic elsewhere cannot leave a queue half changed.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_leave_in_their_order_and_the_last_empties_the_queue() {
        let outbox = Outbox::default();
        for n in 0..3 {
            assert_eq!(outbox.push(vec![n]), Standing::Open);
        }
        outbox.close();
        assert_eq!(outbox.push(vec![9]), Standing::Closing);
        assert_eq!([(); 4].map(|()| outbox.pop()), [Some(vec![0]), Some(vec![1]), Some(vec![2]), None]);
        assert_eq!(outbox.lock().records.capacity(), 0);
    }

    #[test]
    fn one_message_too_many_ends_it_and_frees_all() {
        let outbox = Outbox::default();
        for _ in 0..QUEUE_MESSAGES_MAX {
            assert_eq!(outbox.push(vec![0]), Standing::Open);
        }
        assert_eq!(outbox.push(vec![0]), Standing::Overrun);
        assert_eq!(outbox.pop(), None);
        outbox.close();
        assert_eq!(outbox.standing(), Standing::Overrun);
    }

    #[test]
    fn one_byte_too_many_ends_it_too() {
        let outbox = Outbox::default();
        for _ in 0..16 {
            assert_eq!(outbox.push(vec![0; QUEUE_BYTES_MAX / 16]), Standing::Open);
        }
        outbox.pop();
        assert_eq!(outbox.push(vec![0; QUEUE_BYTES_MAX / 16]), Standing::Open);
        assert_eq!(outbox.push(vec![0]), Standing::Overrun);
    }
}
