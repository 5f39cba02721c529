//! The TCP port for files: open while a carrier is being made, shared by all that are, silent to
//! everybody who cannot prove to be one's peer.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p2pchat_proto::TransferId;
use p2pchat_proto::carrier::{CarrierNonce, DIALER_HELLO_LEN, DialerHello};
use p2pchat_transfer::hello::{Hellos, Proven};
use rand::TryRng;
use rand::rngs::SysRng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// How long a hello may take, from the first byte of the connection (protocol section 7).
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// Most connections at a time that have proven nothing (protocol section 7). A further one takes
/// the place of the oldest, so that strangers who say nothing keep nobody out: a peer says
/// its hello at once.
const UNPROVEN_MAX: usize = 8;
/// How long to wait where the system has no socket left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 64;
/// Proven connections that wait for their race.
const ARRIVALS: usize = 8;
/// A port that was closed a moment ago is asked for again, so often and after so long.
const BIND_TRIES: u32 = 10;
/// See [`BIND_TRIES`].
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// The hellos of one attempt, shared by who dials and who listens.
pub(super) type SharedHellos = Arc<Mutex<Hellos>>;

/// A connection that was proven, with what makes its keys.
pub(super) type Arrival = (TcpStream, Proven);

/// See the module. Clones are the same doors.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    bind: Vec<SocketAddr>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    expected: BTreeMap<TransferId, Expected>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Expected {
    hellos: SharedHellos,
    arrivals: mpsc::Sender<Arrival>,
}

#[derive(Debug)]
struct Open {
    bound: Vec<SocketAddr>,
    porter: JoinHandle<()>,
}

/// One attempt at the doors. Dropped, nobody is expected for it any more; the last one closes them.
#[derive(Debug)]
pub(super) struct Visit {
    state: Arc<Mutex<State>>,
    transfer: TransferId,
    /// Where the sockets are bound; none where the system had no port.
    pub(super) bound: Vec<SocketAddr>,
    /// Who came and proved to be the peer.
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

impl Doors {
    /// Listens, when the time comes, at `bind`, or on all interfaces at a port of the system's choice.
    pub(super) fn new(bind: Vec<SocketAddr>) -> Self {
        let everywhere = || vec![(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
        Self { bind: if bind.is_empty() { everywhere() } else { bind }, state: Arc::default() }
    }

    /// Opens the doors, if they are not open, for the peer of `transfer`.
    pub(super) async fn expect(&self, transfer: TransferId, hellos: SharedHellos) -> Visit {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS);
        let mut tries = 0;
        loop {
            let missing = {
                let mut state = lock(&self.state);
                state
                    .expected
                    .insert(transfer, Expected { hellos: hellos.clone(), arrivals: arrivals.clone() });
                self.open(&mut state)
            };
            tries += 1;
            if !missing || tries == BIND_TRIES {
                break;
            }
            sleep(BIND_PAUSE).await;
        }
        let bound = lock(&self.state).open.as_ref().map(|open| open.bound.clone()).unwrap_or_default();
        Visit { state: self.state.clone(), transfer, bound, arrivals: receiver }
    }

    /// Whether a listener is missing that may come with another try.
    fn open(&self, state: &mut State) -> bool {
        if state.open.is_some() {
            return false;
        }
        let mut in_use = false;
        let mut listeners = Vec::new();
        for address in &self.bind {
            match listen(*address) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    tracing::debug!(%address, %error, "no port for files");
                    in_use |= error.kind() == io::ErrorKind::AddrInUse;
                }
            }
        }
        if listeners.is_empty() {
            return in_use;
        }
        let bound = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let porter = tokio::spawn(keep(listeners, self.state.clone()));
        state.open = Some(Open { bound, porter });
        false
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.expected.remove(&self.transfer);
        if state.expected.is_empty()
            && let Some(open) = state.open.take()
        {
            open.porter.abort();
        }
    }
}

/// Nothing that holds a lock here can leave half a change behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A nonce from the system. `None` where it gives none, or nothing but zeros: no hello then.
pub(super) fn nonce() -> Option<CarrierNonce> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).ok()?;
    (bytes != [0; 16]).then_some(CarrierNonce(bytes))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier carrier that still die must not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(StdListener::from(socket))
}

/// Accepts until it is aborted.
async fn keep(listeners: Vec<TcpListener>, state: Arc<Mutex<State>>) {
    let mut guests = JoinSet::new();
    let mut unproven: VecDeque<AbortHandle> = VecDeque::new();
    let (proven, mut arrivals) = mpsc::channel(ARRIVALS);
    loop {
        tokio::select! {
            accepted = accept(&listeners) => match accepted {
                Ok(socket) => {
                    unproven.retain(|guest| !guest.is_finished());
                    if unproven.len() >= UNPROVEN_MAX
                        && let Some(oldest) = unproven.pop_front()
                    {
                        oldest.abort();
                    }
                    unproven.push_back(guests.spawn(greet(socket, state.clone(), proven.clone())));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some((transfer, arrival)) = arrivals.recv() => {
                let expected = lock(&state).expected.get(&transfer).map(|expected| expected.arrivals.clone());
                if let Some(expected) = expected {
                    // More than a race can take are more than an honest peer dials.
                    let _too_many = expected.try_send(arrival);
                }
            }
            Some(_) = guests.join_next() => {}
        }
    }
}

async fn accept(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    std::future::poll_fn(|context| {
        for listener in listeners {
            if let std::task::Poll::Ready(accepted) = listener.poll_accept(context) {
                return std::task::Poll::Ready(accepted.map(|(socket, _)| socket));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Hears one hello. Who is wrong, late or a stranger is closed without a byte.
async fn greet(socket: TcpStream, state: Arc<Mutex<State>>, proven: mpsc::Sender<(TransferId, Arrival)>) {
    if let Ok(Some(arrival)) = timeout(HELLO_TIMEOUT, prove(socket, &state)).await {
        let _closed_meanwhile = proven.send(arrival).await;
    }
}

async fn prove(mut socket: TcpStream, state: &Mutex<State>) -> Option<(TransferId, Arrival)> {
    let mut hello = [0; DIALER_HELLO_LEN];
    socket.read_exact(&mut hello).await.ok()?;
    let transfer = DialerHello::from_bytes(&hello)?.transfer;
    let hellos = lock(state).expected.get(&transfer)?.hellos.clone();
    let (answer, proven) = lock(&hellos).accept(&hello, nonce()?).ok()?;
    socket.write_all(&answer).await.ok()?;
    Some((transfer, (socket, proven)))
}

#[cfg(test)]
mod tests {
    use p2pchat_proto::carrier::LISTENER_HELLO_LEN;
    use p2pchat_proto::transfer::SecretBytes;

    use super::*;

    const TRANSFER: TransferId = TransferId([1; 16]);

    fn hellos(secret: u8) -> SharedHellos {
        Arc::new(Mutex::new(Hellos::new(TRANSFER, &SecretBytes::new([secret; 32]))))
    }

    async fn opened() -> (Visit, SocketAddr) {
        let doors = Doors::new(vec!["127.0.0.1:0".parse().unwrap()]);
        let visit = doors.expect(TRANSFER, hellos(1)).await;
        let address = visit.bound[0];
        (visit, address)
    }

    /// What a listener answers to `hello`, until it closes.
    async fn answer(address: SocketAddr, hello: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        let _end_or_reset = socket.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_peer_is_answered_and_everybody_else_is_closed_without_a_byte() {
        let (mut visit, address) = opened().await;
        let other_attempt = lock(&hellos(2)).dial(CarrierNonce([1; 16])).unwrap();
        assert_eq!(answer(address, &other_attempt).await, b"");
        assert_eq!(answer(address, &[0; 600]).await, b"");
        let right = lock(&hellos(1)).dial(CarrierNonce([1; 16])).unwrap();
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(&right).await.unwrap();
        socket.read_exact(&mut [0; LISTENER_HELLO_LEN]).await.unwrap();
        assert!(visit.arrivals.recv().await.is_some());
        assert_eq!(answer(address, &right).await, b"", "a replay");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_says_too_little_is_closed_after_3_s() {
        let (_visit, address) = opened().await;
        let start = tokio::time::Instant::now();
        assert_eq!(answer(address, b"D").await, b"");
        assert!((HELLO_TIMEOUT..HELLO_TIMEOUT * 2).contains(&start.elapsed()));
    }

    #[tokio::test]
    async fn the_ninth_silent_stranger_costs_the_first_its_place() {
        let (_visit, address) = opened().await;
        let mut strangers = Vec::new();
        for _ in 0..=UNPROVEN_MAX {
            strangers.push(TcpStream::connect(address).await.unwrap());
        }
        let closed = timeout(HELLO_TIMEOUT / 2, strangers[0].read(&mut [0])).await;
        assert_eq!(closed.expect("it keeps its place").unwrap(), 0);
        let (mut last, mut byte) = (strangers.pop().unwrap(), [0]);
        let open = timeout(Duration::from_millis(100), last.read(&mut byte)).await;
        assert!(open.is_err(), "the newest keeps its place");
    }

    #[tokio::test]
    async fn one_port_serves_all_transfers_and_closes_with_the_last() {
        let doors = Doors::new(vec!["127.0.0.1:0".parse().unwrap()]);
        let first = doors.expect(TransferId([1; 16]), hellos(1)).await;
        let second = doors.expect(TransferId([2; 16]), hellos(1)).await;
        let address = first.bound[0];
        assert_eq!(second.bound, [address]);
        drop(first);
        assert!(TcpStream::connect(address).await.is_ok());
        drop(second);
        // The same port again, although the task that held it may not have ended yet.
        let again = Doors::new(vec![address]).expect(TRANSFER, hellos(1)).await;
        assert_eq!(again.bound, [address]);
    }
}
