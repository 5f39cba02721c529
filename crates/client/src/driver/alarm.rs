//! One wake-up at a time.
//!
//! Where the system has timers that can be watched like a socket, it is one of those: with one of the
//! runtime's, every sleep of the thread sets up a timer in the kernel and takes it down again, while this
//! one costs only its setting.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use p2pchat_proto::Moment;
use tokio::time::{Instant, Sleep};

#[cfg(target_os = "linux")]
use self::watched::TimerFd;

/// Longest that it is set for at once: the systems' timers end somewhere, and waking too early is allowed.
const FARTHEST: Duration = Duration::from_secs(86_400);

/// Wakes its task at a time or before it.
pub(super) struct Alarm {
    timer: Timer,
    /// For when it is set; `None` once it has fired.
    set: Option<Moment>,
}

enum Timer {
    #[cfg(target_os = "linux")]
    Watched(TimerFd),
    Slept(Pin<Box<Sleep>>),
}

impl Alarm {
    /// Runs inside a runtime's context.
    pub(super) fn new() -> Self {
        #[cfg(target_os = "linux")]
        // Where the system refuses, the runtime's timers do the same for more.
        if let Ok(timer) = TimerFd::new() {
            return Self { timer: Timer::Watched(timer), set: None };
        }
        Self { timer: slept(Duration::ZERO), set: None }
    }

    /// Lets it fire at `due` at the latest. As most times move away with every packet, it is set anew only
    /// to fire earlier; only then is `left` asked how long it is until then. Whether it was: then it wakes its
    /// task only once it was polled again.
    pub(super) fn fire_by(&mut self, due: Moment, left: impl FnOnce() -> Duration) -> bool {
        if due == Moment::NEVER || self.set.is_some_and(|set| set <= due) {
            return false;
        }
        self.set = Some(due);
        let left = left().min(FARTHEST);
        match &mut self.timer {
            #[cfg(target_os = "linux")]
            Timer::Watched(timer) => {
                if timer.set(left).is_err() {
                    self.timer = slept(left);
                }
            }
            Timer::Slept(sleep) => sleep.as_mut().reset(Instant::now() + left),
        }
        true
    }

    /// Ready once each time that it fires.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.set.is_none() {
            return Poll::Pending;
        }
        match &mut self.timer {
            #[cfg(target_os = "linux")]
            Timer::Watched(timer) => ready!(timer.poll(context)),
            Timer::Slept(sleep) => ready!(sleep.as_mut().poll(context)),
        }
        self.set = None;
        Poll::Ready(())
    }
}

fn slept(left: Duration) -> Timer {
    Timer::Slept(Box::pin(tokio::time::sleep(left)))
}

#[cfg(target_os = "linux")]
mod watched {
    use core::task::{Context, Poll, ready};
    use core::time::Duration;
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::driver::watch::watch;

    /// What is already due fires at once; zero would switch the timer off.
    const LEAST: Duration = Duration::from_nanos(1);

    /// A timer of Linux, which also fires when the machine wakes and the time has passed meanwhile.
    pub(super) struct TimerFd(AsyncFd<OwnedFd>);

    impl TimerFd {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
            Ok(Self(watch(timer, Interest::READABLE)?))
        }

        pub(super) fn set(&mut self, left: Duration) -> io::Result<()> {
            let left = left.max(LEAST);
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                },
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }

        pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
            loop {
                // An error of the watch wakes too early, which is always allowed.
                let Ok(mut fired) = ready!(self.0.poll_read_ready(context)) else { return Poll::Ready(()) };
                let times = fired.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; size_of::<u64>()])?));
                // What fired before it was set anew does not count.
                if times.is_ok() {
                    return Poll::Ready(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::future::poll_fn;

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(600);

    fn kinds() -> [Alarm; 2] {
        [Alarm::new(), Alarm { timer: slept(Duration::ZERO), set: None }]
    }

    #[tokio::test]
    async fn it_fires_once_at_its_time_and_not_before() {
        for mut alarm in kinds() {
            let start = Instant::now();
            alarm.fire_by(Moment::ZERO + SOON, || SOON);
            poll_fn(|context| alarm.poll(context)).await;
            assert!(start.elapsed() >= SOON);
            assert!(poll_fn(|context| Poll::Ready(alarm.poll(context))).await.is_pending());
        }
    }

    #[tokio::test]
    async fn it_is_set_anew_only_to_fire_earlier() {
        for mut alarm in kinds() {
            let start = Instant::now();
            assert!(!alarm.fire_by(Moment::NEVER, || panic!("it is never due")));
            assert!(alarm.fire_by(Moment::ZERO + LATE, || LATE));
            assert!(alarm.fire_by(Moment::ZERO + SOON, || SOON));
            assert!(!alarm.fire_by(Moment::ZERO + LATE, || panic!("it fires earlier anyhow")));
            poll_fn(|context| alarm.poll(context)).await;
            assert!(start.elapsed() < LATE);
        }
    }

    #[tokio::test]
    async fn what_is_due_already_fires_at_once() {
        for mut alarm in kinds() {
            alarm.fire_by(Moment::ZERO, || Duration::ZERO);
            poll_fn(|context| alarm.poll(context)).await;
        }
    }

    #[tokio::test]
    async fn it_can_be_set_again_after_it_fired() {
        for mut alarm in kinds() {
            for _ in 0..3 {
                let start = Instant::now();
                alarm.fire_by(Moment::ZERO + SOON, || SOON);
                poll_fn(|context| alarm.poll(context)).await;
                assert!(start.elapsed() >= SOON);
            }
        }
    }
}
