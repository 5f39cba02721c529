//! A relay for datagrams.
//!
//! Each source gets a socket of its own towards the target, so that the target sees different
//! sources and its answers find their way back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::faults::{Counts, Faults, Path};
use super::{Direction, Recording, Target, lock};
use crate::process::Failure;

/// Most bytes of one UDP datagram over IPv4.
const DATAGRAM_MAX: usize = 65_507;
/// How often a thread that waits for datagrams looks whether the relay still exists.
const LOOK: Duration = Duration::from_millis(100);

/// A running relay; ends when it is dropped.
#[derive(Debug)]
pub struct UdpRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    ways: [Mutex<Way>; 2],
    ended: AtomicBool,
    later: Sender<Later>,
}

#[derive(Debug)]
struct Way {
    path: Path,
    recording: Recording,
}

#[derive(Debug)]
struct Later {
    due: Instant,
    bytes: Vec<u8>,
    from: Arc<UdpSocket>,
    to: SocketAddr,
}

impl UdpRelay {
    /// A relay on a free port of loopback, without faults and without a target.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn start(seed: u64) -> Result<Self, Failure> {
        let front = Arc::new(socket()?);
        let address = front.local_addr().map_err(Failure::system("ask for the relay's address"))?;
        let (later, waiting) = mpsc::channel();
        thread::spawn(move || send_when_due(&waiting));
        let way = |seed| Mutex::new(Way { path: Path::new(seed), recording: Recording::default() });
        let ways = [way(seed), way(seed.wrapping_add(1))];
        let shared =
            Arc::new(Shared { target: Target::default(), ways, ended: AtomicBool::new(false), later });
        let of_thread = shared.clone();
        thread::spawn(move || of_thread.take_from_front(&front));
        Ok(Self { address, shared })
    }

    /// The endpoint to announce.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names the endpoint to which everything goes.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.target.name(target);
    }

    /// Changes what happens to datagrams of one direction.
    pub fn set_faults(&self, direction: Direction, faults: Faults) {
        self.shared.way(direction).path.set(faults);
    }

    /// What happened to datagrams of one direction.
    pub fn counts(&self, direction: Direction) -> Counts {
        self.shared.way(direction).path.counts()
    }

    /// Everything that came in one direction, before anything was done to it.
    pub fn recording(&self, direction: Direction) -> Recording {
        self.shared.way(direction).recording.clone()
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn way(&self, direction: Direction) -> std::sync::MutexGuard<'_, Way> {
        let [inward, outward] = &self.ways;
        lock(match direction {
            Direction::In => inward,
            Direction::Out => outward,
        })
    }

    fn take_from_front(self: &Arc<Self>, front: &Arc<UdpSocket>) {
        let mut clients: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        self.take(front, |bytes, source| {
            let Some(target) = self.target.wait() else { return };
            let upstream = match clients.get(&source) {
                Some(known) => known.clone(),
                None => {
                    let Ok(new) = socket().map(Arc::new) else { return };
                    let (shared, front, upstream) = (self.clone(), front.clone(), new.clone());
                    thread::spawn(move || {
                        shared.take(&upstream, |bytes, _| shared.pass(Direction::Out, bytes, &front, source));
                    });
                    clients.insert(source, new.clone());
                    new
                }
            };
            self.pass(Direction::In, bytes, &upstream, target);
        });
    }

    fn take(&self, socket: &UdpSocket, mut each: impl FnMut(&[u8], SocketAddr)) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while !self.ended.load(Ordering::Relaxed) {
            // An error is the timeout, or an earlier datagram that found a closed port.
            let Ok((len, source)) = socket.recv_from(&mut buffer) else { continue };
            if let Some(bytes) = buffer.get(..len) {
                each(bytes, source);
            }
        }
    }

    fn pass(&self, direction: Direction, bytes: &[u8], from: &Arc<UdpSocket>, to: SocketAddr) {
        let copies = {
            let mut way = self.way(direction);
            way.recording.add(bytes);
            way.path.pass(bytes)
        };
        for (delay, bytes) in copies {
            if delay.is_zero() {
                // The network owes nobody a delivery.
                let _ = from.send_to(&bytes, to);
            } else {
                let _ = self.later.send(Later { due: Instant::now() + delay, bytes, from: from.clone(), to });
            }
        }
    }
}

fn socket() -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(Failure::system("bind a relay's socket"))?;
    socket.set_read_timeout(Some(LOOK)).map_err(Failure::system("set a relay's timeout"))?;
    Ok(socket)
}

/// Runs until the relay is gone.
fn send_when_due(waiting: &Receiver<Later>) {
    let mut held: BTreeMap<u64, Later> = BTreeMap::new();
    let mut order: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    for number in 0.. {
        let next = loop {
            let Some(&Reverse((due, first))) = order.peek() else { break waiting.recv().ok() };
            match waiting.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(later) => break Some(later),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {
                    order.pop();
                    if let Some(later) = held.remove(&first) {
                        let _ = later.from.send_to(&later.bytes, later.to);
                    }
                }
            }
        };
        let Some(later) = next else { return };
        order.push(Reverse((later.due, number)));
        held.insert(number, later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client and the target behind a relay.
    fn client_and_target() -> (UdpRelay, UdpSocket, UdpSocket) {
        let relay = UdpRelay::start(1).unwrap();
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        target.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        relay.set_target(target.local_addr().unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.connect(relay.address()).unwrap();
        (relay, client, target)
    }

    #[test]
    fn answers_come_back_to_each_of_two_clients() {
        let (relay, one, target) = client_and_target();
        let two = UdpSocket::bind("127.0.0.1:0").unwrap();
        two.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        two.connect(relay.address()).unwrap();
        one.send(b"one").unwrap();
        two.send(b"two").unwrap();
        let mut buffer = [0; 10];
        for _ in 0..2 {
            let (len, source) = target.recv_from(&mut buffer).unwrap();
            target.send_to(&buffer[..len], source).unwrap();
        }
        assert_eq!(one.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap(), b"one");
        assert_eq!(two.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap(), b"two");
        assert!(relay.recording(Direction::In).contains(b"one"));
        assert!(relay.recording(Direction::Out).contains(b"two"));
    }

    #[test]
    fn an_unprotected_datagram_arrives_with_the_turned_bit() {
        let (relay, client, target) = client_and_target();
        relay.set_faults(Direction::In, Faults { flip_nth: Some(0), ..Faults::default() });
        client.send(&[0; 64]).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(target.recv(&mut buffer).unwrap(), 64);
        assert_eq!(buffer.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }

    #[test]
    fn a_delayed_datagram_is_overtaken() {
        let (relay, client, target) = client_and_target();
        relay.set_faults(Direction::In, Faults { delay: Duration::from_millis(100), ..Faults::default() });
        client.send(b"first").unwrap();
        while relay.counts(Direction::In).came == 0 {
            thread::yield_now();
        }
        relay.set_faults(Direction::In, Faults::default());
        client.send(b"second").unwrap();
        let mut buffer = [0; 10];
        assert_eq!(target.recv(&mut buffer).unwrap(), b"second".len());
        assert_eq!(target.recv(&mut buffer).unwrap(), b"first".len());
    }
}
