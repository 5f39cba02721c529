//! Somebody who was not introduced and sends to a peer's port all the same.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, Datagram, MAC_LEN, ReceiverId, TAG_LEN};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::process::Failure;

/// Most bytes of a datagram that the flood sends: what a session sends at first (protocol section 12).
const LENGTH_MAX: usize = 1200;
/// How long the stranger listens for a late answer.
const LAST_LISTEN: Duration = Duration::from_millis(500);

/// What a stranger sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Random bytes of random length.
    Random,
    /// The five kinds of datagrams as they should be, except that nobody knows their tickets and MACs.
    WellFormed,
}

/// A stranger with a socket of its own.
#[derive(Debug)]
pub struct Stranger {
    socket: UdpSocket,
    rng: ChaCha20Rng,
    sent: u64,
    answers: u64,
}

impl Stranger {
    /// A stranger to whoever is at `target`.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn at(target: SocketAddr, seed: u64) -> Result<Self, Failure> {
        let make = || {
            let socket = UdpSocket::bind(("127.0.0.1", 0))?;
            socket.connect(target)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = make().map_err(Failure::system("bind the stranger's socket"))?;
        Ok(Self { socket, rng: ChaCha20Rng::seed_from_u64(seed), sent: 0, answers: 0 })
    }

    /// Sends `count` datagrams as fast as the system takes them, and counts what comes back.
    pub fn flood(&mut self, flood: Flood, count: u64) {
        for _ in 0..count {
            let datagram = self.datagram(flood);
            // A full buffer loses a datagram, as a network would.
            self.send(&datagram);
        }
    }

    /// Sends this.
    pub fn send(&mut self, datagram: &[u8]) {
        if self.socket.send(datagram).is_ok() {
            self.sent += 1;
        }
        self.hear();
    }

    /// How many datagrams left.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many answers came, after listening for a while longer.
    ///
    /// # Errors
    /// If the system does not let the socket wait.
    pub fn answers(&mut self) -> Result<u64, Failure> {
        let wait =
            self.socket.set_nonblocking(false).and_then(|()| self.socket.set_read_timeout(Some(LAST_LISTEN)));
        wait.map_err(Failure::system("let the stranger wait"))?;
        self.hear();
        self.socket.set_nonblocking(true).map_err(Failure::system("let the stranger go on"))?;
        Ok(self.answers)
    }

    fn hear(&mut self) {
        while self.socket.recv(&mut [0; LENGTH_MAX]).is_ok() {
            self.answers += 1;
        }
    }

    fn datagram(&mut self, flood: Flood) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH_MAX);
        let tail = match flood {
            Flood::Random => self.rng.random_range(0..LENGTH_MAX),
            Flood::WellFormed => self.header(&mut bytes),
        };
        let header = bytes.len();
        bytes.resize(header + tail, 0);
        if let Some(tail) = bytes.get_mut(header..) {
            self.rng.fill_bytes(tail);
        }
        bytes
    }

    /// Writes everything of a datagram but its MAC or ciphertext; how long that is.
    fn header(&mut self, bytes: &mut Vec<u8>) -> usize {
        let rng = &mut self.rng;
        let (sender, receiver) = (ReceiverId(rng.random()), ReceiverId(rng.random()));
        let (datagram, tail) = match rng.random_range(0..5) {
            0 => (Datagram::Init { sender, ticket: rng.random(), noise: noise(rng) }, MAC_LEN),
            1 => (Datagram::Resp { sender, receiver, noise: noise(rng) }, MAC_LEN),
            2 => (Datagram::Fin { receiver, noise: noise(rng) }, MAC_LEN),
            3 => (Datagram::Punch { ticket: rng.random() }, MAC_LEN),
            _ => {
                // The first packets of a session have small numbers and the first epoch.
                let packet_number = rng.random_range(0..1000);
                let ciphertext = rng.random_range(TAG_LEN..LENGTH_MAX - DATA_HEADER_LEN);
                (Datagram::Data(DataHeader { epoch: 0, receiver, packet_number }), ciphertext)
            }
        };
        datagram.encode(bytes);
        tail
    }
}

fn noise<const LEN: usize>(rng: &mut ChaCha20Rng) -> [u8; LEN] {
    let mut message = [0; LEN];
    rng.fill_bytes(&mut message);
    message
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_is_counted() {
        let victim = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut stranger = Stranger::at(victim.local_addr().unwrap(), 1).unwrap();
        let answering = thread::spawn(move || {
            let (_, source) = victim.recv_from(&mut [0; LENGTH_MAX]).unwrap();
            victim.send_to(b"who are you?", source).unwrap();
        });
        stranger.flood(Flood::WellFormed, 1);
        assert_eq!((stranger.answers().unwrap(), stranger.sent()), (1, 1));
        answering.join().unwrap();
    }

    #[test]
    fn well_formed_datagrams_are_taken_apart_as_such() {
        let victim = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut stranger = Stranger::at(victim.local_addr().unwrap(), 1).unwrap();
        for _ in 0..1000 {
            let datagram = stranger.datagram(Flood::WellFormed);
            assert!(Datagram::decode(&datagram).is_some());
        }
    }
}
