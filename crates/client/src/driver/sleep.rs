//! What the driver waits for.

use core::future::poll_fn;
use core::task::{Context, Poll};

use p2pchat_engine::CommandId;
use p2pchat_proto::TransferId;
use p2pchat_transfer::CarrierEvent;

use super::source::Source;
use super::tcp::Report;
use super::waiting::EVENTS_WAITING_HIGH;
use super::{Driver, udp};
use crate::request::Request;
use crate::store::Answer;

/// Past this nothing more is taken from the network until the front end reads, at the price of sessions.
const EVENTS_WAITING_MAX: usize = 4 * EVENTS_WAITING_HIGH;

/// What woke the driver.
#[derive(Debug)]
pub(super) enum Woken {
    Request(Option<(CommandId, Request)>),
    Broker(Report),
    Carrier(Option<(TransferId, CarrierEvent)>),
    Udp,
    /// Datagrams that are in the batch already.
    Answer,
    Writable,
    /// The front end has read.
    Read,
    Timeout,
    Store(Answer),
    Network,
}

impl Driver {
    /// Waits for the next thing to do.
    pub(super) async fn sleep(&mut self) -> Woken {
        let (due, clock) = (self.engine.poll_timeout().min(self.sweep_at), self.clock);
        if self.alarm.fire_by(due, || clock.left(due)) {
            self.bell.ask();
        }
        self.turn = self.turn.wrapping_add(1);
        if let Some(woken) = self.stay_awake(due).await {
            return woken;
        }
        let full = self.unsent.as_ref().and_then(|transmit| self.sockets.towards(transmit.to));
        let full = full.map(udp::Udp::writable);
        let woken = poll_fn(|context| self.poll_woken(context));
        let Some(room) = full else { return woken.await };
        tokio::select! {
            biased;
            woken = woken => woken,
            () = room => Woken::Writable,
        }
    }

    /// By hand, as this is done for each packet: what mostly wakes is looked at first.
    pub(super) fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<Woken> {
        let rings = self.bell.rings(context);
        let others_first = rings && Source::are_first(self.turn);
        if others_first && let Poll::Ready(woken) = self.poll_others() {
            return Poll::Ready(woken);
        }
        if self.is_listening() && self.sockets.poll_readable(context).is_ready() {
            return Poll::Ready(Woken::Udp);
        }
        if !self.stopping
            && let Poll::Ready(request) = self.requests.poll_recv(context)
        {
            return Poll::Ready(Woken::Request(request));
        }
        if self.waiting.poll_read(context).is_ready() {
            return Poll::Ready(Woken::Read);
        }
        if rings && !others_first { self.poll_others() } else { Poll::Pending }
    }

    /// What seldom has something.
    fn poll_others(&mut self) -> Poll<Woken> {
        let listening = self.is_listening();
        let Self { broker, carriers, alarm, store, network, turn, bell, .. } = self;
        let woken = bell.answer(|context| {
            for source in Source::all(*turn) {
                let woken = match source {
                    Source::Broker if listening => broker.poll_report(context).map(Woken::Broker),
                    Source::Broker => Poll::Pending,
                    Source::Carrier => carriers.poll_recv(context).map(Woken::Carrier),
                    Source::Timer => alarm.poll(context).map(|()| Woken::Timeout),
                    Source::Store => store.poll_answer(context).map(Woken::Store),
                    Source::Network => network.poll(context).map(|()| Woken::Network),
                };
                if woken.is_ready() {
                    return woken;
                }
            }
            Poll::Pending
        });
        if !listening {
            // The broker was not asked.
            bell.ask();
        }
        woken
    }

    /// Whether anything is taken from the network.
    pub(super) fn is_listening(&self) -> bool {
        self.waiting.weight() < EVENTS_WAITING_MAX
    }
}

#[cfg(test)]
pub(super) mod tests {
    use core::pin::pin;
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

    use p2pchat_crypto::{Identity, Seed};
    use p2pchat_engine::{Effect, Event, Failure};
    use p2pchat_proto::transfer::Attempt;
    use p2pchat_transfer::CarrierReport;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::{AcceptPolicy, Config};
    use crate::driver::Thread;
    use crate::driver::waiting::{Reader, queue};
    use crate::profile::Home;
    use crate::store::{Book, Recall, Store};

    /// After this whatever was waited for was missed.
    const PATIENCE: Duration = Duration::from_secs(20);

    type Requests = mpsc::Sender<(CommandId, Request)>;

    fn identity() -> Arc<Identity> {
        Arc::new(Identity::from_seed(&Seed::from_bytes([1; 32])))
    }

    pub(in crate::driver) fn driver(broker: SocketAddr) -> (Driver, Requests, Reader) {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            home: Home::nowhere(),
            identity: identity(),
            name: "ann".parse().unwrap(),
            broker: broker.to_string().parse().unwrap(),
            bind: vec![loopback],
            advertise: Vec::new(),
            bind_tcp: vec![loopback],
            advertise_tcp: Vec::new(),
            accept: AcceptPolicy::Everyone,
            require_verified: false,
            accept_files: AcceptPolicy::Everyone,
            read_receipts: true,
            expire: None,
            files_from_connected: true,
            download_dir: std::env::temp_dir(),
        };
        let (requests, to_do) = mpsc::channel(9);
        let (waiting, _last, reader) = queue(Event::Error(Failure::Usage("the end".to_owned())));
        (Driver::new(config, Thread::OfItsOwn, to_do, waiting).unwrap(), requests, reader)
    }

    /// Goes to sleep, lets it happen, and waits for what it wakes the driver with.
    async fn wakes(driver: &mut Driver, wanted: fn(&Woken) -> bool, happens: impl AsyncFnOnce()) {
        let mut happens = Some(happens);
        loop {
            let woken = {
                let mut sleep = pin!(driver.sleep());
                match poll_fn(|context| Poll::Ready(sleep.as_mut().poll(context))).await {
                    Poll::Ready(woken) => woken,
                    Poll::Pending => {
                        if let Some(happens) = happens.take() {
                            happens().await;
                        }
                        tokio::time::timeout(PATIENCE, sleep).await.unwrap()
                    }
                }
            };
            if happens.is_none() && wanted(&woken) {
                return;
            }
            // The engine has times of its own.
            assert!(matches!(woken, Woken::Timeout), "{woken:?}");
            driver.wake(woken);
        }
    }

    #[tokio::test]
    async fn everything_that_may_come_wakes_a_driver_that_sleeps() {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (mut driver, requests, _reader) = driver(broker.local_addr().unwrap());
        let udp = driver.sockets.iter().next().unwrap().local();
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut rng = crate::random::system_rng().unwrap();
        let book = Book::open(&home.path().join("store"), identity(), |_| Ok([0; 32]), &mut rng).unwrap();
        driver.store = Store::of(book).unwrap();
        let (carrier, carriers) = mpsc::channel(1);
        driver.carriers = carriers;
        // Another source is the first to be asked in each round.
        for round in 0..20_u64 {
            let id = CommandId(round);
            wakes(
                &mut driver,
                |woken| matches!(woken, Woken::Udp),
                async || {
                    elsewhere.send_to(b"x", udp).unwrap();
                },
            )
            .await;
            driver.receive();
            wakes(
                &mut driver,
                |woken| matches!(woken, Woken::Request(Some(_))),
                async || {
                    requests.send((id, Request::Stop)).await.unwrap();
                },
            )
            .await;
            driver.perform(Effect::DialBroker).unwrap();
            let mut stream = None;
            wakes(
                &mut driver,
                |woken| matches!(woken, Woken::Broker(Report::Opened { .. })),
                async || {
                    stream = Some(broker.accept().await.unwrap().0);
                },
            )
            .await;
            wakes(
                &mut driver,
                |woken| matches!(woken, Woken::Broker(Report::Bytes(_))),
                async || {
                    stream.as_mut().unwrap().write_all(b"x").await.unwrap();
                },
            )
            .await;
            wakes(
                &mut driver,
                |woken| matches!(woken, Woken::Carrier(Some(_))),
                async || {
                    let event = CarrierEvent { attempt: Attempt(0), report: CarrierReport::Connected };
                    carrier.send((TransferId([1; 16]), event)).await.unwrap();
                },
            )
            .await;
            driver.sweep_at = driver.clock.now().moment + Duration::from_millis(50);
            wakes(&mut driver, |woken| matches!(woken, Woken::Timeout), async || {}).await;
            driver.sweep_at = driver.clock.now().moment + PATIENCE * 10;
            driver.store.recall(id, Recall::Talks);
            let answer = tokio::time::timeout(PATIENCE, driver.sleep()).await;
            assert!(answer.is_ok_and(|woken| matches!(woken, Woken::Store(_))));
        }
    }

    #[tokio::test]
    async fn nothing_is_taken_from_the_network_while_too_much_waits_and_all_of_it_once_some_was_read() {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (mut driver, _requests, mut reader) = driver(broker.local_addr().unwrap());
        let udp = driver.sockets.iter().next().unwrap().local();
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        driver.perform(Effect::DialBroker).unwrap();
        let event = Event::Error(Failure::Usage("one of many".to_owned()));
        driver.waiting.extend(|new| new.resize(EVENTS_WAITING_MAX, event)).for_each(drop);
        assert!(driver.waiting.hand_on());
        wakes(
            &mut driver,
            |woken| matches!(woken, Woken::Read),
            async || {
                elsewhere.send_to(b"x", udp).unwrap();
                let (mut stream, _) = broker.accept().await.unwrap();
                stream.write_all(b"x").await.unwrap();
                // Both have come by now, as the runtime had its turn for the connection.
                tokio::task::yield_now().await;
                assert!(poll_fn(|context| reader.poll_next(context)).await.is_some());
            },
        )
        .await;
        assert!(!driver.waiting.hand_on());
        let (mut from_udp, mut from_broker) = (false, false);
        while !(from_udp && from_broker) {
            let woken = tokio::time::timeout(PATIENCE, driver.sleep()).await.unwrap();
            if matches!(woken, Woken::Udp) {
                driver.receive();
                from_udp = true;
            }
            from_broker |= matches!(woken, Woken::Broker(Report::Bytes(_)));
        }
    }
}
