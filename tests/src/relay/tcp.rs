//! A relay for connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Direction, Recording, Target, lock};
use crate::process::Failure;

/// Bytes that are passed on at once.
const PIECE: usize = 16 * 1024;
/// How long the target may take to answer a connection on the same machine.
const CONNECT: Duration = Duration::from_secs(5);

/// Turns one bit of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// Of which direction.
    pub direction: Direction,
    /// Of which byte, counted from 0 on each connection.
    pub offset: u64,
    /// Which bit.
    pub bit: u8,
}

/// A running relay; ends with its connections when it is dropped.
#[derive(Debug)]
pub struct TcpRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    target: Target,
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    flips: Vec<Flip>,
    flipped: u64,
    closed: bool,
    connections: usize,
    open: Vec<TcpStream>,
    recordings: [Recording; 2],
}

impl TcpRelay {
    /// A relay on a free port of loopback, without faults and without a target.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Failure::system("bind a relay's port"))?;
        let address = listener.local_addr().map_err(Failure::system("ask for the relay's address"))?;
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        thread::spawn(move || of_thread.accept(&listener));
        Ok(Self { address, shared })
    }

    /// A relay before something that already listens.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn before(target: SocketAddr) -> Result<Self, Failure> {
        let relay = Self::start()?;
        relay.set_target(target);
        Ok(relay)
    }

    /// The endpoint to announce.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names the endpoint to which every connection goes.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.target.name(target);
    }

    /// Turns these bits on every connection from now on, and no others.
    pub fn set_flips(&self, flips: Vec<Flip>) {
        lock(&self.shared.state).flips = flips;
    }

    /// How many bits were turned.
    pub fn flipped(&self) -> u64 {
        lock(&self.shared.state).flipped
    }

    /// Whether new connections are closed without a byte.
    pub fn set_closed(&self, closed: bool) {
        lock(&self.shared.state).closed = closed;
    }

    /// Ends every open connection.
    pub fn cut(&self) {
        for stream in lock(&self.shared.state).open.drain(..) {
            // Ended by itself is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        lock(&self.shared.state).connections
    }

    /// Everything that came in one direction, before anything was done to it.
    pub fn recording(&self, direction: Direction) -> Recording {
        let [inward, outward] = &lock(&self.shared.state).recordings;
        match direction {
            Direction::In => inward.clone(),
            Direction::Out => outward.clone(),
        }
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let Ok(client) = client else { continue };
            let closed = {
                let mut state = lock(&self.state);
                state.connections += 1;
                state.closed
            };
            if !closed {
                let shared = self.clone();
                thread::spawn(move || shared.join(client));
            }
        }
    }

    fn join(self: Arc<Self>, client: TcpStream) -> Option<()> {
        let target = TcpStream::connect_timeout(&self.target.wait()?, CONNECT).ok()?;
        for stream in [&client, &target] {
            stream.set_nodelay(true).ok()?;
            lock(&self.state).open.push(stream.try_clone().ok()?);
        }
        let back = (self.clone(), target.try_clone().ok()?, client.try_clone().ok()?);
        thread::spawn(move || back.0.pump(Direction::Out, back.1, back.2));
        self.pump(Direction::In, client, target);
        Some(())
    }

    fn pump(&self, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let Some(piece) = buffer.get_mut(..len) else { break };
            self.record_and_flip(direction, offset, piece);
            offset += piece.len() as u64;
            if to.write_all(piece).is_err() {
                break;
            }
        }
        // The end of one direction is passed on; the other one may go on.
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }

    fn record_and_flip(&self, direction: Direction, offset: u64, piece: &mut [u8]) {
        let mut state = lock(&self.state);
        if let Some(recording) = state.recordings.get_mut(direction.index()) {
            recording.add(piece);
        }
        let mut flipped = 0;
        for flip in state.flips.iter().filter(|flip| flip.direction == direction) {
            let at = flip.offset.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = at.and_then(|at| piece.get_mut(at)) {
                *byte ^= 1 << (flip.bit % 8);
                flipped += 1;
            }
        }
        state.flipped += flipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut back = stream.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut stream, &mut back));
            }
        });
        address
    }

    fn say(relay: &TcpRelay, what: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        stream.write_all(what).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn an_unprotected_stream_shows_the_turned_bit_and_the_recording_the_text() {
        let relay = TcpRelay::before(echo()).unwrap();
        assert_eq!(say(&relay, b"in clear"), b"in clear");
        relay.set_flips(vec![Flip { direction: Direction::In, offset: 3, bit: 0 }]);
        assert_eq!(say(&relay, b"in clear"), b"in blear");
        assert_eq!((relay.flipped(), relay.connections()), (1, 2));
        assert!(relay.recording(Direction::In).contains(b"in clear"));
        assert!(relay.recording(Direction::Out).contains(b"in blear"));
    }

    #[test]
    fn a_closed_relay_ends_connections_without_a_byte() {
        let relay = TcpRelay::before(echo()).unwrap();
        relay.set_closed(true);
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        assert!(!matches!(stream.read(&mut [0; 8]), Ok(1..)));
    }
}
