//! The double: a receiver without one of its defences.
//!
//! It speaks the handshake and opens packets with the product's keys, so that an attack meets the
//! same thing as at the product. What it does with an opened packet is its own and as simple as it
//! can be: every frame with a whole body is shown at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2pchat_crypto::data::{Epoch, OpenKey, SessionKeys};
use p2pchat_crypto::handshake::Responder;
use p2pchat_crypto::{Identity, Introduction, rekey};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, Datagram, ReceiverId, TAG_LEN};
use p2pchat_proto::frame::{Frame, Frames, StreamId, ack};
use p2pchat_proto::rekey::{RekeyBody, RekeyMessage, RekeyStep};
use p2pchat_session::{LOST_AFTER, PACKETS_MAX, REPLAY_WINDOW};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::epochs::{in_frame, on_control};
use super::follow::{Follow, PathRule};
use super::hand::with_mac;
use super::target::{Sent, Target};

/// Most bytes of an acknowledgement made here.
const ACK_ROOM: usize = 1000;
/// Length of a packet with `Close` and nothing else.
const CLOSE_LEN: usize = DATA_HEADER_LEN + 2 + TAG_LEN;
/// What it answers to whoever asks.
const RECEIVER: ReceiverId = ReceiverId(0x5151_5151);

/// The defence that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Packet numbers are not remembered.
    ReplayWindow,
    /// Only packets above the highest number are taken.
    WindowBelowHighest,
    /// A number is marked before the packet has opened.
    OpenFirst,
    /// Any key that it ever had opens any packet.
    KeySeparation,
    /// Numbers have no bound, and the one after the last is 0.
    NumberBound,
    /// What comes too early is kept, whatever it is.
    ReassemblyBound,
    /// The same on the streams that the peer opens.
    BulkBound,
    /// Acknowledgements are believed.
    AckCheck,
    /// A kind that is not known is an error.
    Skipping,
    /// A key is gone at once when the next one is proven.
    LateKeys,
    /// Keys open for as long as the session lasts, and it lasts whatever their age.
    KeyAge,
    /// What is lost does not go again. No double sends anything again.
    Resending,
    /// The byte of the epoch is taken for the epoch: one that is smaller is old.
    EpochByte,
    /// What comes after the end is taken.
    End,
    /// Silence is taken for the end that the peer announced.
    Silence,
    /// An end need not open.
    EndTag,
    /// What came of a body is shown as one.
    WholeBodies,
    /// A rule about where the peer is.
    Path(PathRule),
}

/// See the module.
#[derive(Debug)]
pub struct Careless {
    introduction: Introduction,
    me: Arc<Identity>,
    rng: ChaCha20Rng,
    missing: Missing,
    pending: Option<(Responder, ReceiverId)>,
    session: Option<SessionKeys>,
    keys: Option<Epoch>,
    /// Of the epoch after, which is not proven.
    next_keys: Option<(SessionKeys, Epoch)>,
    /// Of the epochs before.
    old: Vec<OpenKey>,
    /// For [`Missing::KeySeparation`]: keys of other sessions and of the other direction.
    ring: Vec<OpenKey>,
    window: Window,
    peer: ReceiverId,
    next: u64,
    accepted: u64,
    bodies: Vec<Vec<u8>>,
    early: BTreeMap<(StreamId, u64), Vec<u8>>,
    ended: bool,
    /// It takes the session for closed by its peer.
    closed: bool,
    heard: Moment,
    follow: Follow,
    out: Vec<Sent>,
}

impl Careless {
    /// One who was just introduced.
    pub fn new(me: &Arc<Identity>, introduction: Introduction, missing: Missing) -> Self {
        Self {
            introduction,
            me: me.clone(),
            rng: ChaCha20Rng::from_seed([7; 32]),
            missing,
            pending: None,
            session: None,
            keys: None,
            next_keys: None,
            old: Vec::new(),
            ring: Vec::new(),
            window: Window::default(),
            peer: ReceiverId(0),
            next: 0,
            accepted: 0,
            bodies: Vec::new(),
            early: BTreeMap::new(),
            ended: false,
            closed: false,
            heard: Moment::ZERO,
            follow: Follow::default(),
            out: Vec::new(),
        }
    }

    /// Gives it a further key.
    pub fn learn(&mut self, key: OpenKey) {
        self.ring.push(key);
    }

    fn respond(&mut self, from: SocketAddr, sender: ReceiverId, noise: &[u8; 48]) {
        let answer = Responder::respond(&self.introduction, &self.me, noise, &mut self.rng);
        let Ok((responder, message)) = answer else { return };
        self.pending = Some((responder, sender));
        let resp = Datagram::Resp { sender: RECEIVER, receiver: sender, noise: message };
        self.out.push((from, with_mac(&self.introduction, &resp)));
    }

    fn finish(&mut self, from: SocketAddr, noise: &[u8; 64]) {
        let Some((responder, sender)) = self.pending.take() else { return };
        // What comes again does not fit the new responder, and the session goes on as it was.
        let Ok(keys) = responder.finish(noise) else { return };
        (self.peer, self.keys, self.session) = (sender, Some(keys.keys()), Some(keys));
        self.follow.go(from);
        self.send(&[1]);
    }

    /// Which rule about paths is left out.
    const fn lacks(&self) -> Option<PathRule> {
        if let Missing::Path(rule) = self.missing { Some(rule) } else { None }
    }

    fn send(&mut self, content: &[u8]) {
        if let Some(path) = self.follow.path() {
            self.send_to(path, content);
        }
    }

    fn send_to(&mut self, to: SocketAddr, content: &[u8]) {
        let Some(keys) = &self.keys else { return };
        let header =
            DataHeader { epoch: self.epoch_byte(), receiver: self.peer, packet_number: self.next }.encode();
        let mut sealed = content.to_vec();
        let tag = keys.seal.seal_in_place(self.next, &header, &mut sealed);
        self.next += 1;
        self.out.push((to, [&header[..], &sealed, &tag].concat()));
    }

    fn open(&mut self, number: u64, datagram: &[u8]) -> Option<Vec<u8>> {
        let (header, sealed) = datagram.split_at_checked(DATA_HEADER_LEN)?;
        let opens = |key: &OpenKey| {
            key.open_in_place(number, header, &mut sealed.to_vec()).map(|content| content.to_vec())
        };
        let own = self.keys.as_ref().map(|keys| &keys.open);
        let others = self.ring.iter().filter(|_| self.missing == Missing::KeySeparation);
        let opened = own.into_iter().chain(&self.old).chain(others).find_map(opens);
        if opened.is_some() {
            return opened;
        }
        let opened = opens(&self.next_keys.as_ref()?.1.open)?;
        let (session, keys) = self.next_keys.take()?;
        let old = self.keys.replace(keys);
        self.old.extend(old.map(|old| old.open).filter(|_| self.missing != Missing::LateKeys));
        self.session = Some(session);
        Some(opened)
    }

    fn epoch_byte(&self) -> u8 {
        let [.., byte] = self.session.as_ref().map_or(0, SessionKeys::epoch).to_be_bytes();
        byte
    }

    /// The answer to the first message of a rekey.
    fn rekey(&mut self, body: &RekeyBody) -> Option<Vec<u8>> {
        let RekeyMessage { epoch, noise } = body.message;
        let answer = rekey::respond(self.session.as_ref()?, &self.me, epoch, &noise, &mut self.rng);
        let (next, noise) = answer.ok()?;
        let keys = next.keys();
        self.next_keys = Some((next, keys));
        let message = RekeyMessage { epoch, noise };
        Some(on_control(0, &RekeyBody { step: RekeyStep::Answer, message }))
    }

    fn data(&mut self, from: SocketAddr, header: DataHeader, datagram: &[u8], now: Moment) {
        let number = header.packet_number;
        if self.ended && self.missing != Missing::End {
            return;
        }
        let late = self.missing == Missing::EpochByte && header.epoch < self.epoch_byte();
        if late || !self.window.is_fresh(number, self.missing) {
            if self.lacks() == Some(PathRule::Fresh) && self.open(number, datagram).is_some() {
                self.follow.go(from);
            }
            return;
        }
        if self.lacks() == Some(PathRule::Opened) {
            self.follow.go(from);
        }
        if self.missing == Missing::OpenFirst {
            self.window.mark(number, self.missing);
        }
        let Some(content) = self.open(number, datagram) else {
            self.closed |= self.missing == Missing::EndTag && datagram.len() == CLOSE_LEN;
            self.ended |= self.closed;
            return;
        };
        let newest = self.window.is_newest(number);
        self.window.mark(number, self.missing);
        self.accepted += 1;
        self.heard = now;
        let challenges = self.follow.on_packet(from, newest, self.lacks(), now, &mut self.rng);
        for (to, token) in challenges {
            let mut content = Vec::new();
            Frame::PathChallenge { token }.encode(&mut content);
            self.send_to(to, &content);
        }
        let mut asks = false;
        for frame in Frames::new(&content) {
            let Ok(frame) = frame else { return };
            asks |= frame.is_ack_eliciting();
            let answer = in_frame(&frame).and_then(|body| self.rekey(&body));
            answer.into_iter().for_each(|content| self.send(&content));
            self.frame(&frame);
        }
        if asks {
            let mut content = Vec::new();
            let ranges = self.window.seen.iter().rev().take(1).map(|number| *number..=*number);
            ack::write(Duration::ZERO, ranges, ACK_ROOM, &mut content);
            self.send(&content);
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        if let Frame::Unknown { .. } = frame {
            self.ended |= self.missing == Missing::Skipping;
        }
        if let Frame::Close { .. } = frame {
            (self.ended, self.closed) = (true, true);
        }
        if let Frame::PathResponse { token, .. } = frame {
            self.follow.on_response(*token, self.lacks());
        }
        let Frame::Stream { stream, offset, bytes, .. } = frame else { return };
        let keeps = match *stream {
            StreamId::CONTROL => return,
            StreamId::CONVERSATION => self.missing == Missing::ReassemblyBound,
            StreamId(_) => self.missing == Missing::BulkBound,
        };
        if keeps {
            self.early.insert((*stream, *offset), bytes.to_vec());
            return;
        }
        if *stream != StreamId::CONVERSATION {
            return;
        }
        // A body of a kind that nobody knows is an error to one who skips nothing.
        self.ended |= self.missing == Missing::Skipping && bytes.first() != Some(&1);
        let body = bytes.split_at_checked(5).filter(|(header, body)| {
            let whole = header.get(1..)
                == u32::try_from(body.len()).ok().map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice);
            whole || self.missing == Missing::WholeBodies
        });
        self.bodies.extend(body.map(|(_, body)| body.to_vec()));
    }
}

impl Target for Careless {
    fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Moment) {
        match Datagram::decode(datagram) {
            Some(Datagram::Init { sender, noise, .. }) => self.respond(from, sender, &noise),
            Some(Datagram::Fin { noise, .. }) => self.finish(from, &noise),
            Some(Datagram::Data(header)) => self.data(from, header, datagram, now),
            Some(Datagram::Resp { .. } | Datagram::Punch { .. }) | None => {}
        }
    }

    fn sent(&mut self, _: Moment) -> Vec<Sent> {
        std::mem::take(&mut self.out)
    }

    fn wait(&mut self, now: Moment) {
        self.follow.settle(now);
        if self.missing == Missing::Silence && self.session.is_some() && now >= self.heard + LOST_AFTER {
            (self.ended, self.closed) = (true, true);
        }
    }

    fn bodies(&self) -> &[Vec<u8>] {
        &self.bodies
    }

    fn accepted(&self, _: Moment) -> u64 {
        self.accepted
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn was_closed(&self) -> bool {
        self.closed
    }

    fn path(&self, _: Moment) -> Option<SocketAddr> {
        self.follow.path()
    }
}

/// What the product's replay window has to decide, said with a set.
#[derive(Debug, Default)]
pub struct Model(Window);

impl Model {
    /// Whether a packet with this number is taken, and takes it.
    pub fn takes(&mut self, number: u64) -> bool {
        let nothing = Missing::Skipping;
        let fresh = self.0.is_fresh(number, nothing);
        if fresh {
            self.0.mark(number, nothing);
        }
        fresh
    }
}

#[derive(Debug, Default)]
struct Window {
    /// One above the highest number.
    end: u64,
    seen: BTreeSet<u64>,
}

impl Window {
    fn is_fresh(&self, number: u64, missing: Missing) -> bool {
        if missing == Missing::ReplayWindow {
            return true;
        }
        if number >= self.end {
            return number < PACKETS_MAX || missing == Missing::NumberBound;
        }
        let old = self.end - number > REPLAY_WINDOW || missing == Missing::WindowBelowHighest;
        !old && !self.seen.contains(&number)
    }

    const fn is_newest(&self, number: u64) -> bool {
        number >= self.end
    }

    fn mark(&mut self, number: u64, missing: Missing) {
        self.seen.insert(number);
        if number >= self.end {
            self.end = number.wrapping_add(1);
            if missing == Missing::NumberBound {
                self.seen.retain(|seen| number.wrapping_sub(*seen) < REPLAY_WINDOW);
            }
        }
        // What is too old anyhow need not be remembered: rows measure what else is kept.
        let is_old = |seen: &u64| self.end.saturating_sub(*seen) > REPLAY_WINDOW;
        while missing != Missing::NumberBound && self.seen.first().is_some_and(is_old) {
            self.seen.pop_first();
        }
    }
}
