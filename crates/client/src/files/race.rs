//! Both sides listen and dial; the file's sender chooses the connection.
//!
//! A connection counts once its hello was right on both ends. The sender takes the first one that
//! does, and shows its choice by sending record 0; the receiver keeps every proven connection until
//! one of them brings a byte, and closes the others.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2pchat_proto::carrier::LISTENER_HELLO_LEN;
use p2pchat_proto::limits::ENDPOINTS_MAX;
use p2pchat_proto::transfer::{Attempt, TcpCandidates};
use p2pchat_transfer::hello::Hellos;
use p2pchat_transfer::{CarrierEnd, CarrierReport, CarrierSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::doors::{Arrival, Doors, HELLO_TIMEOUT, SharedHellos, lock, nonce};
use super::report::Reporter;
use super::worker::{Order, Places};

/// Time between two dials (protocol section 12; RFC 8305 section 8).
const DIAL_INTERVAL: Duration = Duration::from_millis(250);
/// How long an address that refused or failed is left alone before it is dialled again.
const REDIAL_PAUSE: Duration = Duration::from_secs(1);
/// How long a race lasts once the other side's candidates are known (protocol section 12).
const RACE: Duration = Duration::from_secs(5);
/// How long a side waits for candidates: the session repeats them as long as it lives, and a
/// packet that is lost four times in a row is back by then.
const CANDIDATES_WAIT: Duration = Duration::from_secs(15);

/// How a race ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With the connection that carries the file.
    Won(Arrival, SharedHellos),
    /// Nobody came and nobody could be reached.
    Nobody,
    /// A later attempt takes its place.
    Replaced(CarrierSpec),
    /// The transfer ended.
    Stopped,
}

/// Runs the race of one attempt.
pub(super) async fn run(
    spec: &CarrierSpec,
    doors: &Doors,
    places: &Places,
    orders: &mut mpsc::Receiver<Order>,
    reporter: &Reporter,
) -> Outcome {
    let hellos: SharedHellos = Arc::new(Mutex::new(Hellos::new(spec.transfer, &spec.secret)));
    let mut visit = doors.expect(spec.transfer, hellos.clone()).await;
    let candidates = TcpCandidates::new(places.announced(&visit.bound));
    reporter.tell(CarrierReport::Listening { candidates, at: visit.bound.first().copied() }).await;

    let mut dials = Dials::new(spec.attempt);
    let mut connections: JoinSet<(Option<SocketAddr>, Option<Arrival>)> = JoinSet::new();
    let receives = spec.end != CarrierEnd::Sender;
    let mut deadline = Instant::now() + CANDIDATES_WAIT;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return Outcome::Stopped,
                Some(Order::Start(spec)) => return Outcome::Replaced(spec),
                Some(Order::Candidates(attempt, list)) => {
                    let first = dials.is_empty();
                    dials.add(attempt, &list, |address| places.may_dial(address, &visit.bound));
                    if first && !dials.is_empty() {
                        // The sender may prove a connection at the last moment, and the receiver
                        // learns of it a little later.
                        deadline = Instant::now() + RACE + if receives { HELLO_TIMEOUT } else { Duration::ZERO };
                    }
                }
                Some(Order::Publish(_)) => {}
            },
            address = dials.next() => {
                let connection = chosen(dial(address, hellos.clone()), receives);
                connections.spawn(async move { (Some(address), connection.await) });
            }
            Some(arrival) = visit.arrivals.recv() => {
                let connection = chosen(async { Some(arrival) }, receives);
                connections.spawn(async move { (None, connection.await) });
            }
            Some(Ok((address, ended))) = connections.join_next() => match ended {
                Some(arrival) => return Outcome::Won(arrival, hellos),
                None => dials.again(address),
            },
            () = sleep_until(deadline) => return Outcome::Nobody,
        }
    }
}

/// Addresses to dial, one after the other, and again after a while.
struct Dials {
    attempt: Attempt,
    known: Vec<SocketAddr>,
    /// What to dial, and not before when, in the order in which it came.
    waiting: VecDeque<(SocketAddr, Instant)>,
    next: Instant,
}

impl Dials {
    fn new(attempt: Attempt) -> Self {
        Self { attempt, known: Vec::new(), waiting: VecDeque::new(), next: Instant::now() }
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes what is new, belongs to this attempt and may be dialled. A peer can make this side dial
    /// [`ENDPOINTS_MAX`] addresses in one attempt, however often it names others.
    fn add(&mut self, attempt: Attempt, list: &TcpCandidates, may_dial: impl Fn(SocketAddr) -> bool) {
        if attempt != self.attempt {
            return;
        }
        for address in list.as_slice() {
            if self.known.len() < ENDPOINTS_MAX && !self.known.contains(address) && may_dial(*address) {
                self.known.push(*address);
                self.waiting.push_back((*address, Instant::now()));
            }
        }
    }

    /// This one came to nothing; it may yet.
    fn again(&mut self, address: Option<SocketAddr>) {
        self.waiting.extend(address.map(|address| (address, Instant::now() + REDIAL_PAUSE)));
    }

    /// The next address, when its time has come; never, where there is none. May be cancelled.
    async fn next(&mut self) -> SocketAddr {
        let Some((address, ready)) = self.waiting.front().copied() else {
            return std::future::pending().await;
        };
        sleep_until(ready.max(self.next)).await;
        self.waiting.pop_front();
        self.next = Instant::now() + DIAL_INTERVAL;
        address
    }
}

async fn dial(address: SocketAddr, hellos: SharedHellos) -> Option<Arrival> {
    let mut socket = timeout(RACE, TcpStream::connect(address)).await.ok()?.ok()?;
    let nonce = nonce()?;
    let hello = lock(&hellos).dial(nonce).ok()?;
    let mut answer = [0; LISTENER_HELLO_LEN];
    timeout(HELLO_TIMEOUT, async {
        socket.write_all(&hello).await?;
        socket.read_exact(&mut answer).await
    })
    .await
    .ok()?
    .ok()?;
    let proven = lock(&hellos).dialed(nonce, &answer).ok()?;
    Some((socket, proven))
}

/// A proven connection, once the sender has chosen it.
async fn chosen(connection: impl Future<Output = Option<Arrival>>, receives: bool) -> Option<Arrival> {
    let (socket, proven) = connection.await?;
    if receives && socket.peek(&mut [0]).await.ok()? == 0 {
        return None;
    }
    Some((socket, proven))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt = Attempt(3);

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 9))
    }

    fn list(hosts: std::ops::RangeInclusive<u8>) -> TcpCandidates {
        TcpCandidates::new(hosts.map(address))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_makes_this_side_dial_eight_addresses_a_quarter_of_a_second_apart() {
        let mut dials = Dials::new(ATTEMPT);
        for hosts in [1..=5, 3..=10, 20..=27] {
            dials.add(ATTEMPT, &list(hosts), |_| true);
        }
        let start = Instant::now();
        for host in 1..=8u8 {
            assert_eq!(dials.next().await, address(host));
            assert_eq!(start.elapsed(), DIAL_INTERVAL * u32::from(host - 1));
        }
        assert!(timeout(Duration::from_secs(60), dials.next()).await.is_err(), "a ninth");
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_dialled_again_after_a_second() {
        let mut dials = Dials::new(ATTEMPT);
        dials.add(ATTEMPT, &list(1..=1), |_| true);
        let start = Instant::now();
        for seconds in 0..3u64 {
            assert_eq!(dials.next().await, address(1));
            assert_eq!(start.elapsed(), Duration::from_secs(seconds));
            dials.again(Some(address(1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn candidates_of_another_attempt_and_those_that_may_not_be_dialled_are_left_alone() {
        let mut dials = Dials::new(ATTEMPT);
        dials.add(Attempt(2), &list(1..=1), |_| true);
        dials.add(ATTEMPT, &list(2..=3), |candidate| candidate != address(2));
        assert_eq!(dials.next().await, address(3));
        assert!(timeout(Duration::from_secs(60), dials.next()).await.is_err());
    }
}
