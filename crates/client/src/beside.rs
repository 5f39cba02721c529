//! Two futures that talk to each other, as one task.
//!
//! Where one wakes the other, that one has its turn at once: by way of the runtime it would be put into a
//! queue, taken out again, and so would whoever wakes itself to let the other go first.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

/// Turns that both have before other tasks have theirs. An answer takes two, and a third to see that nobody
/// is woken any more.
const TURNS: usize = 4;

/// What both have in common.
#[derive(Debug)]
struct Task {
    /// Whether it has its turn: then it sees by itself which of them is woken.
    running: AtomicBool,
    waker: Mutex<Waker>,
}

/// One of the two.
#[derive(Debug)]
struct Seat {
    woken: AtomicBool,
    task: Arc<Task>,
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, and looked at in the other: one of the two sides sees what the other has written.
        self.woken.store(true, Ordering::SeqCst);
        if !self.task.running.load(Ordering::SeqCst) {
            let waker = self.task.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            waker.wake();
        }
    }
}

/// A future with its seat, until it has ended.
struct Seated<'f, F: Future> {
    future: Pin<&'f mut Option<F>>,
    seat: Arc<Seat>,
    waker: Waker,
    output: Option<F::Output>,
}

impl<'f, F: Future> Seated<'f, F> {
    fn new(future: Pin<&'f mut Option<F>>, task: &Arc<Task>) -> Self {
        let seat = Arc::new(Seat { woken: AtomicBool::new(true), task: task.clone() });
        Self { future, waker: seat.clone().into(), seat, output: None }
    }

    /// Lets it go on where it is woken; whether it was.
    fn turn(&mut self) -> bool {
        let woken = self.seat.woken.load(Ordering::SeqCst) && self.seat.woken.swap(false, Ordering::SeqCst);
        if woken
            && let Some(future) = self.future.as_mut().as_pin_mut()
            && let Poll::Ready(output) = future.poll(&mut Context::from_waker(&self.waker))
        {
            self.output = Some(output);
            // What it holds may be what the other waits for.
            self.future.set(None);
        }
        woken
    }
}

/// Runs both to their ends.
pub(crate) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let task = Arc::new(Task { running: AtomicBool::new(false), waker: Mutex::new(Waker::noop().clone()) });
    let (one, other) = (pin!(Some(one)), pin!(Some(other)));
    let (mut one, mut other) = (Seated::new(one, &task), Seated::new(other, &task));
    poll_fn(|context| {
        task.waker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(context.waker());
        for _ in 0..TURNS {
            task.running.store(true, Ordering::SeqCst);
            // Both, the one first.
            let woken = one.turn() | other.turn();
            if let (Some(_), Some(_)) = (&one.output, &other.output)
                && let Some(outputs) = one.output.take().zip(other.output.take())
            {
                return Poll::Ready(outputs);
            }
            task.running.store(false, Ordering::SeqCst);
            if !woken && ![&one.seat, &other.seat].iter().any(|seat| seat.woken.load(Ordering::SeqCst)) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use tokio::sync::mpsc::channel;
    use tokio::task::yield_now;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_answer_comes_without_a_turn_of_the_runtime() {
        let ((ask, mut asked), (answer, mut answered)) = (channel(1), channel(1));
        let count = Arc::new(Count::default());
        let asks = async move {
            ask.send(1).await.unwrap();
            answered.recv().await
        };
        let answers = async move {
            let number: i32 = asked.recv().await.unwrap();
            answer.send(number + 1).await.unwrap();
        };
        let mut both = pin!(both(answers, asks));
        let waker = Waker::from(count.clone());
        assert_eq!(both.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(((), Some(2))));
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn two_that_wake_themselves_without_end_keep_nobody_waiting() {
        let restless = || {
            poll_fn(|context| -> Poll<()> {
                context.waker().wake_by_ref();
                Poll::Pending
            })
        };
        runtime().block_on(async {
            tokio::select! {
                biased;
                _ended = both(restless(), restless()) => unreachable!("they have no end"),
                () = yield_now() => {}
            }
        });
    }

    #[test]
    fn what_one_held_is_gone_when_it_has_ended() {
        let (sender, mut receiver) = channel::<()>(1);
        let ended = runtime().block_on(both(async move { receiver.recv().await }, async move {
            yield_now().await;
            drop(sender);
        }));
        assert_eq!(ended, (None, ()));
    }

    #[test]
    fn no_wake_up_from_another_thread_is_missed() {
        const COUNT: usize = 50_000;
        let (to_one, mut one) = channel(1);
        let (to_other, mut other) = channel(1);
        thread::scope(|scope| {
            for sender in [to_one, to_other] {
                scope.spawn(move || {
                    for number in 0..COUNT {
                        sender.blocking_send(number).unwrap();
                    }
                });
            }
            let count = async |receiver: &mut tokio::sync::mpsc::Receiver<usize>| {
                let mut next = 0;
                while let Some(number) = receiver.recv().await {
                    assert_eq!(number, next);
                    next += 1;
                }
                next
            };
            let counts = runtime().block_on(both(count(&mut one), count(&mut other)));
            assert_eq!(counts, (COUNT, COUNT));
        });
    }
}
