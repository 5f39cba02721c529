//! A peer made by hand.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use p2pchat_crypto::data::{Epoch, SessionKeys};
use p2pchat_crypto::handshake::Initiator;
use p2pchat_crypto::{Identity, Introduction};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, Datagram, ReceiverId};
use p2pchat_proto::frame::{Frame, StreamId, ack};
use rand_chacha::ChaCha20Rng;

use super::people::bobs_address;
use super::target::Target;

/// Content of a packet that asks for nothing.
pub const PADDING: &[u8] = &[0];
/// Content of a packet that asks for an acknowledgement.
pub const PING: &[u8] = &[1];
/// Most bytes of an acknowledgement made here.
const ACK_ROOM: usize = 1000;

/// An introduced peer that went through the handshake, holds the keys, and seals what it is told to.
#[derive(Debug)]
pub struct Hand {
    session: SessionKeys,
    keys: Epoch,
    /// Whom its packets name.
    pub receiver: ReceiverId,
    /// The number of its next packet.
    pub next: u64,
    /// Where it sends from.
    pub address: SocketAddr,
    /// Its handshake datagrams, INIT and FIN.
    pub handshake: [Vec<u8>; 2],
}

/// The target gave no session.
#[derive(Debug)]
pub struct NoSession;

impl std::fmt::Display for NoSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the target did not answer an honest handshake")
    }
}

impl std::error::Error for NoSession {}

impl Hand {
    /// Goes through an honest handshake, and says hello in the first packet.
    ///
    /// # Errors
    /// If the target does not answer as it should.
    pub fn meet(
        target: &mut dyn Target,
        introduction: &Introduction,
        me: &Identity,
        rng: &mut ChaCha20Rng,
        now: Moment,
    ) -> Result<Self, NoSession> {
        let address = bobs_address();
        let (noise, init) = init(introduction, me, rng);
        target.take(address, &init, now);
        let resp = target.sent(now).into_iter().map(|(_, bytes)| bytes);
        let resp = resp.filter_map(|bytes| Datagram::decode(&bytes)).find_map(|datagram| match datagram {
            Datagram::Resp { sender, noise, .. } => Some((sender, noise)),
            Datagram::Init { .. } | Datagram::Fin { .. } | Datagram::Data(_) | Datagram::Punch { .. } => None,
        });
        let (receiver, message) = resp.ok_or(NoSession)?;
        let (keys, message) = noise.read_response(&message).map_err(|_| NoSession)?;
        let fin = with_mac(introduction, &Datagram::Fin { receiver, noise: message });
        target.take(address, &fin, now);
        let mut hand =
            Self { keys: keys.keys(), session: keys, receiver, next: 0, address, handshake: [init, fin] };
        let hello = hand.packet(PING);
        target.take(address, &hello, now);
        target.sent(now);
        Ok(hand)
    }

    /// The next packet.
    pub fn packet(&mut self, content: &[u8]) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        self.numbered(number, content)
    }

    /// A packet with a number of the caller's choice.
    pub fn numbered(&self, packet_number: u64, content: &[u8]) -> Vec<u8> {
        let [.., epoch] = self.session.epoch().to_be_bytes();
        let header = DataHeader { epoch, receiver: self.receiver, packet_number }.encode();
        let mut datagram = header.to_vec();
        let mut sealed = content.to_vec();
        let tag = self.keys.seal.seal_in_place(packet_number, &header, &mut sealed);
        datagram.extend(sealed);
        datagram.extend(tag);
        datagram
    }

    /// A packet with these frames.
    pub fn frames(&mut self, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut content = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut content));
        self.packet(&content)
    }

    /// A packet that acknowledges these.
    pub fn ack(&mut self, packets: RangeInclusive<u64>) -> Vec<u8> {
        let mut content = Vec::new();
        ack::write(Duration::ZERO, std::iter::once(packets), ACK_ROOM, &mut content);
        self.packet(&content)
    }

    /// What the target sealed: the packet's number and content.
    pub fn open(&self, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        let Some(Datagram::Data(header)) = Datagram::decode(datagram) else { return None };
        let (associated, sealed) = datagram.split_at_checked(DATA_HEADER_LEN)?;
        let mut sealed = sealed.to_vec();
        let content = self.keys.open.open_in_place(header.packet_number, associated, &mut sealed)?;
        Some((header.packet_number, content.to_vec()))
    }

    /// What it seals and opens with comes from here.
    pub const fn session(&self) -> &SessionKeys {
        &self.session
    }

    /// Seals and opens with other keys of the session from now on.
    pub fn enter(&mut self, session: SessionKeys) {
        self.keys = session.keys();
        self.session = session;
    }

    /// Gives its keys away.
    pub fn into_keys(self) -> Epoch {
        self.keys
    }
}

/// A new handshake: what waits for RESP, and INIT.
pub fn init(introduction: &Introduction, me: &Identity, rng: &mut ChaCha20Rng) -> (Initiator, Vec<u8>) {
    let (noise, message) = Initiator::start(introduction, me, rng);
    let ticket = introduction.my_ticket().0;
    (noise, with_mac(introduction, &Datagram::Init { sender: ReceiverId(9), ticket, noise: message }))
}

/// The bytes of a handshake datagram with this side's MAC.
pub fn with_mac(introduction: &Introduction, datagram: &Datagram) -> Vec<u8> {
    let mut bytes = Vec::new();
    datagram.encode(&mut bytes);
    bytes.extend(introduction.mac(&bytes));
    bytes
}

/// A body on the stream of the conversation, whole in one frame, at `offset`.
pub fn said(offset: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(body);
    let mut content = Vec::new();
    Frame::Stream { stream: StreamId::CONVERSATION, offset, fin: false, bytes: &bytes }.encode(&mut content);
    content
}

/// Bytes that [`said`] takes of the stream.
pub const fn said_len(body: &[u8]) -> u64 {
    body.len() as u64 + 5
}
