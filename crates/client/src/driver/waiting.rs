//! Events that wait for a front end: one queue behind a lock, between the driver and it.
//!
//! What a turn of the driver brought is handed on at once, and what waits is mostly taken at once. Both ends
//! exchange their queue for the one between them, so that three of them go round and serve again.

use core::task::{Context, Poll, Waker, ready};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2pchat_engine::Event;
use tokio::task::coop::poll_proceed;

/// Events that a front end takes at once at most, more than mostly come in a turn: beyond that each is moved
/// by itself. What it took counts as read. Memory for more than that is given back.
const TAKEN_AT_ONCE: usize = 512;
/// Events that may wait for a front end that does not read, each KiB of their texts counted as one more. Past
/// it other sides get no more credit for messages, and may use up what they have.
pub(super) const EVENTS_WAITING_HIGH: usize = 4096;
/// Bytes of text that weigh as much as an event without any.
const TEXT_WEIGHT: usize = 1024;

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// What was not handed on yet.
    new: VecDeque<Event>,
    /// Of these, see [`weight`].
    new_weight: usize,
    /// Of those that waited before, when they were looked at last.
    old_weight: usize,
    shared: Arc<Shared>,
}

/// The front end's end.
#[derive(Debug)]
pub(crate) struct Reader {
    taken: VecDeque<Event>,
    shared: Arc<Shared>,
}

/// Ends the queue with a last event when it is dropped.
#[derive(Debug)]
pub(crate) struct LastWord {
    event: Option<Event>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Nobody reads any more.
    unread: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    weight: usize,
    /// Nothing more comes.
    ended: bool,
    /// Waits for events.
    reader: Option<Waker>,
    /// Waits for the front end to read.
    driver: Option<Waker>,
}

/// How much of what may wait an event takes up.
fn weight(event: &Event) -> usize {
    let text = if let Event::Message(message) = event { message.text.len() } else { 0 };
    1 + text / TEXT_WEIGHT
}

/// A queue in which nothing waits. Unless there is something else to say, it ends with `last`.
pub(crate) fn queue(last: Event) -> (Waiting, LastWord, Reader) {
    let shared = Arc::<Shared>::default();
    let last = LastWord { event: Some(last), shared: shared.clone() };
    let reader = Reader { taken: VecDeque::new(), shared: shared.clone() };
    (Waiting { new: VecDeque::new(), new_weight: 0, old_weight: 0, shared }, last, reader)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Puts an event behind everything else.
    pub(super) fn push(&mut self, event: Event) {
        let _it = self.extend(|new| new.push_back(event));
    }

    /// Puts what `fill` appends behind everything else; these events.
    pub(super) fn extend(&mut self, fill: impl FnOnce(&mut VecDeque<Event>)) -> impl Iterator<Item = &Event> {
        let known = self.new.len();
        fill(&mut self.new);
        let new = self.new.range(known..);
        self.new_weight += new.clone().map(weight).sum::<usize>();
        new
    }

    /// How many events wait, each KiB of their texts counted as one more; not less than there are.
    pub(super) const fn weight(&self) -> usize {
        self.old_weight + self.new_weight
    }

    /// Whether so much waits that no more should come.
    pub(super) const fn is_much(&self) -> bool {
        self.weight() >= EVENTS_WAITING_HIGH
    }

    /// Hands on what was put here; whether that was anything.
    pub(super) fn hand_on(&mut self) -> bool {
        let something = !self.new.is_empty();
        if !something && !self.is_much() {
            return false;
        }
        let mut queue = self.shared.lock();
        if queue.events.is_empty() {
            core::mem::swap(&mut queue.events, &mut self.new);
        } else {
            queue.events.append(&mut self.new);
        }
        queue.weight += core::mem::take(&mut self.new_weight);
        self.old_weight = queue.weight;
        let reader = queue.reader.take_if(|_| something);
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        something
    }

    /// Whether nobody reads any more.
    pub(super) fn is_unread(&self) -> bool {
        self.shared.unread.load(Ordering::Acquire)
    }

    /// Ready when the front end has read, where much waited for it when something was handed on last.
    pub(super) fn poll_read(&self, context: &Context<'_>) -> Poll<()> {
        if !self.is_much() {
            return Poll::Pending;
        }
        let mut queue = self.shared.lock();
        if queue.weight < self.old_weight {
            return Poll::Ready(());
        }
        queue.driver = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Reader {
    /// The next event; none once the queue has ended.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.taken.is_empty() {
            ready!(self.poll_take(context));
        }
        Poll::Ready(self.taken.pop_front())
    }

    /// Ready when something was taken, or nothing more comes.
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Not even a front end that always finds something keeps its thread to itself.
        let turn = ready!(poll_proceed(context));
        if self.taken.capacity() > TAKEN_AT_ONCE {
            self.taken = VecDeque::new();
        }
        let mut queue = self.shared.lock();
        if queue.events.is_empty() && !queue.ended {
            queue.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if queue.events.len() <= TAKEN_AT_ONCE {
            core::mem::swap(&mut queue.events, &mut self.taken);
            queue.weight = 0;
        } else {
            self.taken.extend(queue.events.drain(..TAKEN_AT_ONCE));
            queue.weight -= self.taken.iter().map(weight).sum::<usize>();
        }
        let driver = queue.driver.take();
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
        turn.made_progress();
        Poll::Ready(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.unread.store(true, Ordering::Release);
        let mut queue = self.shared.lock();
        (queue.events, queue.weight) = (VecDeque::new(), 0);
        let driver = queue.driver.take();
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl LastWord {
    /// Ends with another event.
    pub(crate) fn say(mut self, event: Event) {
        self.event = Some(event);
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.events.extend(self.event.take());
        queue.ended = true;
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
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
    use core::future::poll_fn;
    use std::thread;

    use p2pchat_engine::CommandId;
    use p2pchat_engine::event::MessageEvent;
    use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
    use p2pchat_proto::{PeerId, WallTime};

    use super::*;

    fn event(id: usize) -> Event {
        let id = CommandId(id as u64);
        Event::Done { id, message: None, transfer: None, request: None }
    }

    fn end() -> Event {
        event(usize::MAX)
    }

    /// What can be read now.
    fn read(reader: &mut Reader, most: usize) -> Vec<Event> {
        let mut context = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        while read.len() < most
            && let Poll::Ready(Some(event)) = reader.poll_next(&mut context)
        {
            read.push(event);
        }
        read
    }

    #[test]
    fn events_come_out_in_order_however_many_wait() {
        let (mut waiting, _last, mut reader) = queue(end());
        assert!(!waiting.hand_on());
        let (mut came, mut pushed) = (Vec::new(), 0);
        for (count, most) in
            [(1, 9), (3 * TAKEN_AT_ONCE + 1, 5), (2, 200), (TAKEN_AT_ONCE, 4), (0, usize::MAX)]
        {
            let new = waiting.extend(|new| new.extend((pushed..pushed + count).map(event)));
            assert_eq!(
                new.cloned().collect::<Vec<_>>(),
                (pushed..pushed + count).map(event).collect::<Vec<_>>()
            );
            pushed += count;
            assert_eq!(waiting.hand_on(), count > 0);
            came.extend(read(&mut reader, most));
        }
        assert_eq!(came, (0..pushed).map(event).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_not_handed_on_is_not_read() {
        let (mut waiting, _last, mut reader) = queue(end());
        waiting.push(event(1));
        assert!(read(&mut reader, 9).is_empty());
        assert!(waiting.hand_on());
        assert_eq!(read(&mut reader, 9), [event(1)]);
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
        for (len, heavy) in [(0, 1), (1_023, 1), (1_024, 2), (65_536, 65)] {
            let (mut waiting, _last, _reader) = queue(end());
            waiting.push(message(len));
            assert_eq!(waiting.weight(), heavy);
        }
    }

    #[test]
    fn much_is_much_until_it_was_read_and_the_driver_hears_when_some_was() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut waiting, _last, mut reader) = queue(end());
        let mut left = EVENTS_WAITING_HIGH + 1;
        waiting.extend(|new| new.extend((0..left).map(event))).for_each(drop);
        assert!(waiting.hand_on() && waiting.is_much());
        while waiting.is_much() {
            assert!(waiting.poll_read(&context).is_pending());
            assert!(reader.poll_next(&mut context).is_ready());
            assert!(waiting.poll_read(&context).is_ready());
            assert!(!waiting.hand_on());
            left -= TAKEN_AT_ONCE;
            assert_eq!(waiting.weight(), left);
            // What it took already changes nothing more.
            assert_eq!(read(&mut reader, TAKEN_AT_ONCE - 1).len(), TAKEN_AT_ONCE - 1);
        }
        assert_eq!(left, EVENTS_WAITING_HIGH + 1 - TAKEN_AT_ONCE);
        assert!(waiting.poll_read(&context).is_pending());
    }

    #[test]
    fn a_queue_that_was_long_gives_its_memory_back() {
        let (mut waiting, _last, mut reader) = queue(end());
        waiting.extend(|new| new.extend((0..100 * TAKEN_AT_ONCE).map(event))).for_each(drop);
        waiting.hand_on();
        assert_eq!(read(&mut reader, usize::MAX).len(), 100 * TAKEN_AT_ONCE);
        for _ in 0..3 {
            waiting.push(event(1));
            waiting.hand_on();
            assert_eq!(read(&mut reader, 9).len(), 1);
        }
        for queue in [&waiting.new, &reader.taken, &waiting.shared.lock().events] {
            assert!(queue.capacity() <= TAKEN_AT_ONCE, "{}", queue.capacity());
        }
    }

    #[test]
    fn the_last_word_comes_last_and_nothing_comes_after_it() {
        let mut context = Context::from_waker(Waker::noop());
        for word in [Some(event(7)), None] {
            let (mut waiting, last, mut reader) = queue(end());
            waiting.push(event(1));
            waiting.hand_on();
            drop(waiting);
            match word.clone() {
                Some(word) => last.say(word),
                None => drop(last),
            }
            assert_eq!(read(&mut reader, 9), [event(1), word.unwrap_or_else(end)]);
            for _ in 0..2 {
                assert_eq!(reader.poll_next(&mut context), Poll::Ready(None));
            }
        }
    }

    #[test]
    fn a_front_end_that_is_gone_keeps_nothing_and_is_noticed() {
        let (mut waiting, _last, reader) = queue(end());
        waiting.push(event(1));
        waiting.hand_on();
        assert!(!waiting.is_unread());
        drop(reader);
        assert!(waiting.is_unread() && waiting.shared.lock().events.is_empty());
    }

    #[test]
    fn neither_end_on_its_own_thread_misses_the_other() {
        const COUNT: usize = 20 * EVENTS_WAITING_HIGH;
        let (mut waiting, last, mut reader) = queue(end());
        thread::scope(|scope| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for number in 0..COUNT {
                    waiting.push(event(number));
                    if number.is_multiple_of(7) {
                        waiting.hand_on();
                    }
                    while waiting.is_much() {
                        runtime.block_on(poll_fn(|context| waiting.poll_read(context)));
                        waiting.hand_on();
                    }
                }
                waiting.hand_on();
                drop(last);
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for number in 0..COUNT {
                assert_eq!(
                    runtime.block_on(poll_fn(|context| reader.poll_next(context))),
                    Some(event(number))
                );
            }
            assert_eq!(runtime.block_on(poll_fn(|context| reader.poll_next(context))), Some(end()));
        });
    }
}
