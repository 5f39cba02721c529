//! Looking out for an answer that comes sooner than sleep.
//!
//! To fall asleep and to be woken costs tens of microseconds where the core sleeps as well. Where the other
//! side of a session is nearer than that, the driver stays awake for what it answers, and leaves its core
//! to whoever wants it meanwhile.

use std::thread;
use std::time::Duration;

use p2pchat_proto::Moment;

use super::sleep::Woken;
use super::waiting::turn_of_others;
use super::{Driver, Thread};

/// Longest that the driver stays awake for an answer, after which one must be due: about what two sleeps cost.
/// Whoever is reached through a network is further away, and keeps nobody awake.
const LOOK_OUT: Duration = Duration::from_micros(100);
/// In one of so many turns what else runs on this thread has its turn, and the system is asked what came for it.
const OTHERS_EVERY: usize = 16;

/// Until when to stay awake at `now` for an answer that is due at `answer`.
fn awake_until(now: Moment, answer: Option<Moment>) -> Option<Moment> {
    let longest = now + LOOK_OUT;
    answer.filter(|answer| (now..=longest).contains(answer)).map(|_| longest)
}

impl Driver {
    /// Stays awake for an answer that is due soon, until `due` at the latest; what came.
    pub(super) async fn stay_awake(&mut self, due: Moment) -> Option<Woken> {
        let free = self.unsent.is_none() && !self.stopping && self.is_listening();
        let until = awake_until(self.now.moment, self.engine.answer_due()).filter(|_| free)?;
        self.look_out(until.min(due)).await
    }

    async fn look_out(&mut self, until: Moment) -> Option<Woken> {
        if self.turn.is_multiple_of(OTHERS_EVERY) {
            tokio::task::yield_now().await;
        } else if self.thread == Thread::Shared {
            turn_of_others().await;
        }
        while !self.bell.is_rung() {
            // Whoever answers may need this core for it.
            thread::yield_now();
            let Self { sockets, batch, turn, .. } = self;
            // Each socket is the first in its turn, so that none is waited for without end.
            let order =
                if turn.is_multiple_of(2) { [&sockets.v4, &sockets.v6] } else { [&sockets.v6, &sockets.v4] };
            if order.into_iter().flatten().any(|udp| udp.look(batch)) {
                return Some(Woken::Answer);
            }
            if let Ok(request) = self.requests.try_recv() {
                return Some(Woken::Request(Some(request)));
            }
            if self.clock.left(until).is_zero() {
                break;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use p2pchat_engine::CommandId;

    use super::*;
    use crate::driver::sleep::tests::driver;
    use crate::driver::udp::Udp;
    use crate::request::Request;

    const FAR: Duration = Duration::from_secs(20);

    fn nobody() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 9).into()
    }

    fn far(driver: &Driver) -> Moment {
        driver.clock.now().moment + FAR
    }

    #[test]
    fn only_an_answer_that_is_due_before_a_sleep_would_end_keeps_awake() {
        let now = Moment::ZERO + FAR;
        for (due, stays) in [
            (None, false),
            (Some(now), true),
            (Some(now + LOOK_OUT), true),
            (Some(now + LOOK_OUT * 2), false),
            (Some(Moment::ZERO), false),
        ] {
            assert_eq!(awake_until(now, due), stays.then(|| now + LOOK_OUT), "{due:?}");
        }
    }

    #[tokio::test]
    async fn what_comes_meanwhile_is_taken_and_nothing_else_is_waited_for_longer_than_it_may_take() {
        let (mut driver, requests, _reader) = driver(nobody());
        // Everything was asked, and has nothing.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while driver.poll_woken(&mut context).is_ready() {}
        driver.turn = 1;
        let soon = driver.clock.now().moment + Duration::from_millis(20);
        assert!(driver.look_out(soon).await.is_none());
        assert!(driver.clock.now().moment >= soon);
        driver.turn = 1;
        let until = far(&driver);
        requests.send((CommandId(1), Request::Stop)).await.unwrap();
        assert!(matches!(driver.look_out(until).await, Some(Woken::Request(Some(_)))));
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        elsewhere.send_to(b"answer", driver.sockets.iter().next().unwrap().local()).unwrap();
        assert!(matches!(driver.look_out(until).await, Some(Woken::Answer)));
        assert_eq!(driver.batch.drain().map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>(), [b"answer"]);
        driver.bell.ask();
        assert!(driver.look_out(until).await.is_none());
        assert!(driver.clock.now().moment < until);
    }

    #[tokio::test]
    async fn a_datagram_comes_before_a_request_so_that_none_waits_for_requests_without_end() {
        let (mut driver, requests, _reader) = driver(nobody());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while driver.poll_woken(&mut context).is_ready() {}
        driver.turn = 1;
        let until = far(&driver);
        requests.send((CommandId(1), Request::Stop)).await.unwrap();
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        elsewhere.send_to(b"answer", driver.sockets.iter().next().unwrap().local()).unwrap();
        assert!(matches!(driver.look_out(until).await, Some(Woken::Answer)));
    }

    #[tokio::test]
    async fn what_comes_to_one_socket_does_not_wait_for_what_comes_to_the_other_without_end() {
        let (mut driver, _requests, _reader) = driver(nobody());
        let Ok(v6) = Udp::bind((Ipv6Addr::LOCALHOST, 0).into()) else { return };
        let places = [driver.sockets.v4.as_ref().unwrap().local(), v6.local()];
        driver.sockets.v6 = Some(v6);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while driver.poll_woken(&mut context).is_ready() {}
        let until = far(&driver);
        let elsewhere = places.map(|to| UdpSocket::bind((to.ip(), 0)).unwrap());
        let mut came = [0; 2];
        for turn in 1..9 {
            driver.turn = turn;
            for (from, to) in elsewhere.iter().zip(places) {
                from.send_to(b"answer", to).unwrap();
            }
            assert!(matches!(driver.look_out(until).await, Some(Woken::Answer)));
            driver.batch.drain().for_each(|(received, _)| came[usize::from(received.from.is_ipv6())] += 1);
        }
        assert!(came.iter().all(|count| *count > 0), "{came:?}");
    }

    #[tokio::test]
    async fn the_end_of_all_who_ask_is_seen_though_datagrams_come_without_end() {
        let (mut driver, requests, _reader) = driver(nobody());
        drop(requests);
        driver.take_requests();
        assert!(driver.stopping);
    }

    #[tokio::test]
    async fn answers_without_end_keep_nobody_else_from_the_thread() {
        let (mut driver, _requests, _reader) = driver(nobody());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while driver.poll_woken(&mut context).is_ready() {}
        let turns = Arc::new(AtomicUsize::new(0));
        let counter = turns.clone();
        tokio::spawn(async move {
            loop {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = driver.sockets.iter().next().unwrap().local();
        let until = far(&driver);
        for turn in 0..OTHERS_EVERY * 10 {
            driver.turn = turn;
            elsewhere.send_to(b"answer", here).unwrap();
            assert!(matches!(driver.look_out(until).await, Some(Woken::Answer)));
        }
        assert!(turns.load(Ordering::Relaxed) >= 10);
    }
}
