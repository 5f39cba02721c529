//! A bell for what seldom has something to say.
//!
//! At every packet the driver looks for what may go on. The broker, file transfers, the timer, the store and
//! the network mostly have nothing, so that they are not asked: what has something rings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes its task when it is rung, and remembers it.
#[derive(Debug)]
pub(super) struct Bell {
    rope: Arc<Rope>,
    /// The rope as what is asked takes it.
    waker: Waker,
    /// Whom the rope wakes.
    task: Waker,
    /// Whether to ask though nothing rang.
    ask: bool,
}

#[derive(Debug)]
struct Rope {
    pulled: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: whom it wakes looks whether it was pulled.
        self.pulled.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

impl Bell {
    /// Asks at once, as nothing knows of the bell yet.
    pub(super) fn new() -> Self {
        let task = Waker::noop();
        let rope = Arc::new(Rope { pulled: AtomicBool::new(false), task: Mutex::new(task.clone()) });
        Self { waker: rope.clone().into(), rope, task: task.clone(), ask: true }
    }

    /// Has everything asked next time: it is not the same as before, or not all of it was.
    pub(super) const fn ask(&mut self) {
        self.ask = true;
    }

    /// Whether something is to be asked; if not, the task is woken once there is.
    pub(super) fn rings(&mut self, context: &Context<'_>) -> bool {
        if !self.task.will_wake(context.waker()) {
            self.task.clone_from(context.waker());
            self.rope.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.task);
        }
        self.is_rung()
    }

    /// Whether something is to be asked.
    pub(super) fn is_rung(&self) -> bool {
        self.ask || self.rope.pulled.load(Ordering::Acquire)
    }

    /// Asks everything, in an order of its own, until something is ready.
    pub(super) fn answer<T>(&mut self, asked: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        // Before it is asked: what comes meanwhile rings again.
        self.rope.pulled.swap(false, Ordering::Acquire);
        let answer = asked(&mut Context::from_waker(&self.waker));
        // What stands behind the one that is ready was not asked.
        self.ask = answer.is_ready();
        answer
    }
}

#[cfg(test)]
mod tests {
    use core::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use proptest::prelude::*;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn taken(&self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }

    /// What is asked only when the bell rings, and how often that was.
    struct Asked {
        bell: Bell,
        sources: Vec<UnboundedReceiver<u32>>,
        times: usize,
    }

    fn asked(count: usize) -> (Vec<UnboundedSender<u32>>, Asked) {
        let (senders, sources) = (0..count).map(|_| unbounded_channel()).unzip();
        (senders, Asked { bell: Bell::new(), sources, times: 0 })
    }

    impl Asked {
        fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, u32)> {
            if !self.bell.rings(context) {
                return Poll::Pending;
            }
            let Self { bell, sources, times } = self;
            *times += 1;
            bell.answer(|context| {
                for (number, source) in sources.iter_mut().enumerate() {
                    if let Poll::Ready(Some(value)) = source.poll_recv(context) {
                        return Poll::Ready((number, value));
                    }
                }
                Poll::Pending
            })
        }
    }

    #[test]
    fn what_has_nothing_is_asked_once_and_again_only_when_it_rang_or_is_to_be_asked() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let (senders, mut asked) = asked(3);
        for _ in 0..5 {
            assert!(asked.poll(&mut context).is_pending());
        }
        assert_eq!((asked.times, count.taken()), (1, 0));
        senders[2].send(7).unwrap();
        assert_eq!(count.taken(), 1);
        assert_eq!(asked.poll(&mut context), Poll::Ready((2, 7)));
        for _ in 0..5 {
            assert!(asked.poll(&mut context).is_pending());
        }
        // Once more, as those behind the one that was ready were not asked.
        assert_eq!(asked.times, 3);
        asked.bell.ask();
        for _ in 0..5 {
            assert!(asked.poll(&mut context).is_pending());
        }
        assert_eq!(asked.times, 4);
    }

    #[test]
    fn it_wakes_whoever_looked_last() {
        let [first, second] = [(); 2].map(|()| Arc::new(Count::default()));
        let (senders, mut asked) = asked(1);
        for (looks, other) in [(&first, &second), (&second, &first)] {
            let waker = Waker::from(looks.clone());
            let mut context = Context::from_waker(&waker);
            assert!(asked.poll(&mut context).is_pending());
            senders[0].send(1).unwrap();
            assert_eq!((looks.taken(), other.taken()), (1, 0));
            assert_eq!(asked.poll(&mut context), Poll::Ready((0, 1)));
            assert!(asked.poll(&mut context).is_pending());
        }
    }

    proptest! {
        /// Whatever comes when: nothing is left behind by one who looks only when woken.
        #[test]
        fn nothing_waits_without_a_wake_up(steps in prop::collection::vec((0..4_usize, any::<bool>(), any::<bool>()), 1..200)) {
            let mut tasks = [(); 2].map(|()| Arc::new(Count::default()));
            let (senders, mut asked) = asked(4);
            let (mut owed, mut must_look) = (0, true);
            for (source, looks, moves) in steps {
                senders[source].send(1).unwrap();
                owed += 1;
                if moves {
                    // Another task goes on with it, and looks at once.
                    tasks.swap(0, 1);
                    must_look = true;
                }
                must_look |= tasks[0].taken() > 0;
                let waker = Waker::from(tasks[0].clone());
                let mut context = Context::from_waker(&waker);
                while must_look && looks {
                    match asked.poll(&mut context) {
                        Poll::Ready(_) => owed -= 1,
                        Poll::Pending => must_look = false,
                    }
                }
                prop_assert!(must_look || owed == 0, "{owed} wait and nobody was woken");
            }
        }
    }

    #[test]
    fn nothing_from_other_threads_is_missed() {
        const EACH: u32 = 20_000;
        let (senders, mut asked) = asked(4);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut next = [0; 4];
        thread::scope(|scope| {
            for sender in &senders {
                scope.spawn(move || {
                    for value in 0..EACH {
                        sender.send(value).unwrap();
                        if value.is_multiple_of(3) {
                            thread::yield_now();
                        }
                    }
                });
            }
            while next.iter().any(|next| *next < EACH) {
                let (source, value) = runtime.block_on(poll_fn(|context| asked.poll(context)));
                assert_eq!(next[source], value);
                next[source] += 1;
            }
        });
    }
}
