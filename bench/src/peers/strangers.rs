//! Datagrams of somebody who was never introduced.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, Datagram, MAC_LEN, ReceiverId, TAG_LEN};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::Result;
use crate::role::say;

/// Bytes of content in a datagram that looks like a packet of a session.
const CONTENT_LEN: usize = 64;
/// How many different ones are sent.
const DIFFERENT: u64 = 1024;

/// What a stranger sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first message of a handshake, with a ticket that nobody gave.
    Init,
    /// A packet of a session that does not exist.
    Data,
    /// Nothing of the protocol.
    Noise,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Init, Self::Data, Self::Noise];

    /// As an argument of a role.
    pub fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Data => "data",
            Self::Noise => "noise",
        }
    }

    /// As the page says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT with an unknown ticket",
            Self::Data => "DATA of no session",
            Self::Noise => "noise",
        }
    }

    fn datagram(self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Init => {
                let (mut ticket, mut noise, mut mac) = ([0; 8], [0; 48], [0; MAC_LEN]);
                rng.fill_bytes(&mut ticket);
                rng.fill_bytes(&mut noise);
                rng.fill_bytes(&mut mac);
                Datagram::Init { sender: ReceiverId(rng.next_u32()), ticket, noise }.encode(&mut out);
                out.extend(mac);
            }
            Self::Data => {
                let receiver = ReceiverId(rng.next_u32());
                out.extend(DataHeader { epoch: 0, receiver, packet_number: rng.next_u64() >> 40 }.encode());
                out.resize(DATA_HEADER_LEN + CONTENT_LEN + TAG_LEN, 0);
                rng.fill_bytes(&mut out[DATA_HEADER_LEN..]);
            }
            Self::Noise => {
                out.resize(DATA_HEADER_LEN + CONTENT_LEN + TAG_LEN, 0);
                rng.fill_bytes(&mut out);
                // No first byte of the protocol.
                out[0] |= 0x80;
            }
        }
        out
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> core::result::Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or(())
    }
}

/// Sends `count` datagrams of that kind as fast as one core can, and says so.
pub fn flood(to: SocketAddr, kind: Kind, count: usize) -> Result {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let datagrams: Vec<_> = (0..DIFFERENT).map(|_| kind.datagram(&mut rng)).collect();
    for datagram in datagrams.iter().cycle().take(count) {
        socket.send_to(datagram, to)?;
    }
    say("result", count)
}
