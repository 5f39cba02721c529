//! Streams of bodies with credit (protocol section 5).
//!
//! - [`send::SendStream`] keeps bytes until they are acknowledged.
//! - [`reassembly::Reassembly`] puts what arrived back into order.
//! - [`body`] cuts the ordered bytes into bodies.
//!
//! Control and the conversation exist from the start, in this order of priority, and last as long as
//! the session. Everything here goes by [`StreamId`]; further streams come with the features that
//! use them, and a peer that opens one before that breaks the protocol.

pub(crate) mod body;
pub(crate) mod reassembly;
pub(crate) mod send;

use std::collections::BTreeMap;

use p2pchat_proto::frame::{Frame, StreamHeader, StreamId};

use self::body::BodyReader;
use self::reassembly::{Reassembly, Taken};
use self::send::{Chunk, SendStream};
use crate::event::{Misbehaviour, SendError};

/// Credit of a stream: bytes that may be on their way beyond what was handed on, and so the most
/// that reassembly holds (protocol section 5).
pub(crate) const STREAM_WINDOW: u64 = 256 * 1024;
/// Credit of a session, over all streams (protocol section 5).
pub(crate) const SESSION_WINDOW: u64 = 1024 * 1024;
/// Share of a window that has to be used before more is granted: a half, so that a grant costs a
/// frame for every half window.
const GRANT_DIVISOR: u64 = 2;

/// Some bytes of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamRange {
    pub(crate) stream: StreamId,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl StreamRange {
    pub(crate) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len as u64)
    }
}

impl From<&StreamHeader> for StreamRange {
    fn from(header: &StreamHeader) -> Self {
        let len = u32::try_from(header.len).unwrap_or(u32::MAX);
        Self { stream: header.stream, offset: header.offset, len }
    }
}

/// The streams of one session.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: BTreeMap<StreamId, Stream>,
    /// What the peer may send in all.
    grant: Grant,
    /// Bytes that were sent for the first time.
    sent: u64,
    /// How many may be.
    max: u64,
}

#[derive(Debug)]
struct Stream {
    send: SendStream,
    reassembly: Reassembly,
    bodies: BodyReader,
    grant: Grant,
}

/// Credit that this side gives.
#[derive(Debug)]
struct Grant {
    window: u64,
    /// The limit that was granted last.
    max: u64,
    /// Bytes up to the highest that arrived.
    received: u64,
    /// Bytes that were handed on.
    used: u64,
    /// Whether the peer has to be told `max`.
    tell: bool,
}

impl Grant {
    const fn new(window: u64) -> Self {
        Self { window, max: window, received: 0, used: 0, tell: false }
    }

    fn on_used(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        let left = self.max.saturating_sub(self.used);
        if left <= self.window / GRANT_DIVISOR {
            self.max = self.used.saturating_add(self.window);
            self.tell = true;
        }
    }
}

impl Streams {
    pub(crate) fn new() -> Self {
        let stream = |id| {
            let stream = Stream {
                send: SendStream::new(id, STREAM_WINDOW),
                reassembly: Reassembly::default(),
                bodies: BodyReader::default(),
                grant: Grant::new(STREAM_WINDOW),
            };
            (id, stream)
        };
        Self {
            streams: [StreamId::CONTROL, StreamId::CONVERSATION].map(stream).into(),
            grant: Grant::new(SESSION_WINDOW),
            sent: 0,
            max: SESSION_WINDOW,
        }
    }

    /// Both halves of every stream, and its bodies.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&SendStream, &Reassembly, &BodyReader)> {
        self.streams.values().map(|stream| (&stream.send, &stream.reassembly, &stream.bodies))
    }

    /// Takes a body for sending.
    pub(crate) fn write(&mut self, id: StreamId, kind: u8, body: &[u8]) -> Result<(), SendError> {
        let stream = self.streams.get_mut(&id).ok_or(SendError::NoStream)?;
        let header = body::header(kind, body.len()).ok_or(SendError::TooLong)?;
        if !stream.send.has_room(header.len().saturating_add(body.len())) {
            return Err(SendError::Full);
        }
        stream.send.write(&header);
        stream.send.write(body);
        Ok(())
    }

    /// Takes a short body of the session's own, which no full stream may hold up. The session has at
    /// most one of them on its way.
    pub(crate) fn write_own<const N: usize>(&mut self, id: StreamId, kind: u8, body: &[u8; N]) {
        if let (Some(stream), Some(header)) = (self.streams.get_mut(&id), body::header(kind, N)) {
            stream.send.write(&header);
            stream.send.write(body);
        }
    }

    /// Bytes that could leave now if the window allowed it.
    pub(crate) fn sendable(&self) -> u64 {
        let (lost, fresh) = self.streams.values().fold((0u64, 0u64), |(lost, fresh), stream| {
            (lost.saturating_add(stream.send.lost_bytes()), fresh.saturating_add(stream.send.fresh_bytes()))
        });
        lost.saturating_add(fresh.min(self.max.saturating_sub(self.sent)))
    }

    /// Whether something is to be sent again.
    pub(crate) fn has_lost(&self) -> bool {
        self.streams.values().any(|stream| stream.send.lost_bytes() > 0)
    }

    /// Appends a `Stream` frame of at most `room` bytes, from the first stream by priority that has
    /// something to send.
    pub(crate) fn write_frame(&mut self, room: usize, out: &mut Vec<u8>) -> Option<Chunk> {
        let credit = self.max.saturating_sub(self.sent);
        for stream in self.streams.values_mut() {
            if let Some(chunk) = stream.send.next_chunk(room, credit) {
                chunk.header.encode(out);
                stream.send.copy(&chunk.header, out);
                if !chunk.again {
                    self.sent = self.sent.saturating_add(chunk.header.len as u64);
                }
                return Some(chunk);
            }
        }
        None
    }

    /// Whether the peer has to be told of credit.
    pub(crate) fn has_grants(&self) -> bool {
        self.grant.tell || self.streams.values().any(|stream| stream.grant.tell)
    }

    /// Appends what is to be told of credit, at most `room` bytes; answers whether it was anything.
    pub(crate) fn write_grants(&mut self, room: usize, out: &mut Vec<u8>) -> bool {
        /// Most bytes of a frame that grants credit: its kind and two integers.
        const GRANT_LEN: usize = 17;
        let before = out.len();
        let mut room = room;
        let mut tell = |grant: &mut Grant, frame: Frame<'_>, out: &mut Vec<u8>| {
            if grant.tell && room >= GRANT_LEN {
                room = room.saturating_sub(GRANT_LEN);
                frame.encode(out);
                grant.tell = false;
            }
        };
        let frame = Frame::MaxData { max: self.grant.max };
        tell(&mut self.grant, frame, out);
        for (id, stream) in &mut self.streams {
            let frame = Frame::MaxStreamData { stream: *id, max: stream.grant.max };
            tell(&mut stream.grant, frame, out);
        }
        out.len() > before
    }

    /// A packet that granted credit was lost: every limit beyond the first is told again.
    pub(crate) fn on_grants_lost(&mut self) {
        let grants = self.streams.values_mut().map(|stream| &mut stream.grant);
        for grant in grants.chain([&mut self.grant]) {
            grant.tell |= grant.max > grant.window;
        }
    }

    pub(crate) fn on_max_data(&mut self, max: u64) {
        self.max = self.max.max(max);
    }

    pub(crate) fn on_max_stream_data(&mut self, id: StreamId, max: u64) -> Result<(), Misbehaviour> {
        self.stream(id)?.send.on_credit(max);
        Ok(())
    }

    pub(crate) fn on_acked(&mut self, range: StreamRange) {
        if let Some(stream) = self.streams.get_mut(&range.stream) {
            stream.send.on_acked(range);
        }
    }

    pub(crate) fn on_lost(&mut self, range: StreamRange) {
        if let Some(stream) = self.streams.get_mut(&range.stream) {
            stream.send.on_lost(range);
        }
    }

    /// Takes a `Stream` frame and hands on the bodies that it completes.
    pub(crate) fn on_stream(
        &mut self,
        id: StreamId,
        offset: u64,
        fin: bool,
        bytes: &[u8],
        complete: &mut impl FnMut(u8, Vec<u8>),
    ) -> Result<Taken, Misbehaviour> {
        let stream = self.streams.get_mut(&id).ok_or(Misbehaviour::StreamNotAllowed)?;
        if fin {
            return Err(Misbehaviour::StreamEnded);
        }
        let received = stream.grant.received.max(offset.saturating_add(bytes.len() as u64));
        let in_all = self.grant.received.saturating_add(received.saturating_sub(stream.grant.received));
        if received > stream.grant.max || in_all > self.grant.max {
            return Err(Misbehaviour::CreditExceeded);
        }
        let before = stream.reassembly.next();
        let bodies = &mut stream.bodies;
        let taken = stream
            .reassembly
            .insert(offset, bytes, &mut |ready| bodies.feed(ready, complete))
            .map_err(|body::TooLong| Misbehaviour::BodyTooLong)?;
        if taken == Taken::Yes {
            stream.grant.received = received;
            self.grant.received = in_all;
        }
        let used = stream.reassembly.next().saturating_sub(before);
        stream.grant.on_used(used);
        self.grant.on_used(used);
        Ok(taken)
    }

    /// Takes a `Reset`: no stream of this version may be given up.
    pub(crate) fn on_reset(&mut self, id: StreamId) -> Result<(), Misbehaviour> {
        self.stream(id)?;
        Err(Misbehaviour::StreamEnded)
    }

    fn stream(&mut self, id: StreamId) -> Result<&mut Stream, Misbehaviour> {
        self.streams.get_mut(&id).ok_or(Misbehaviour::StreamNotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::frame::Frames;
    use p2pchat_proto::limits::BODY_MAX;

    fn receive(streams: &mut Streams, offset: u64, bytes: &[u8]) -> Result<Taken, Misbehaviour> {
        streams.on_stream(StreamId::CONVERSATION, offset, false, bytes, &mut |_, _| {})
    }

    /// Everything that `from` may send arrives at `to`; answers with the number of bodies.
    fn flush(from: &mut Streams, to: &mut Streams) -> usize {
        let mut bodies = 0;
        let mut out = Vec::new();
        while let Some(chunk) = from.write_frame(1168, &mut out) {
            for frame in Frames::new(&out) {
                let Ok(Frame::Stream { stream, offset, fin, bytes }) = frame else { panic!("{frame:?}") };
                to.on_stream(stream, offset, fin, bytes, &mut |_, _| bodies += 1).unwrap();
            }
            from.on_acked(StreamRange::from(&chunk.header));
            out.clear();
        }
        bodies
    }

    #[test]
    fn control_goes_before_the_conversation() {
        let mut streams = Streams::new();
        streams.write(StreamId::CONVERSATION, 1, b"later").unwrap();
        streams.write(StreamId::CONTROL, 1, b"first").unwrap();
        let mut order = vec![];
        while let Some(chunk) = streams.write_frame(1168, &mut Vec::new()) {
            order.push(chunk.header.stream);
        }
        assert_eq!(order, [StreamId::CONTROL, StreamId::CONVERSATION]);
    }

    #[test]
    fn credit_is_granted_while_it_is_used_and_the_stream_never_stands_still() {
        let (mut from, mut to) = (Streams::new(), Streams::new());
        let mut bodies = 0;
        for _ in 0..200 {
            from.write(StreamId::CONVERSATION, 1, &[7; 50_000]).unwrap();
            bodies += flush(&mut from, &mut to);
            let mut grants = Vec::new();
            to.write_grants(100, &mut grants);
            for frame in Frames::new(&grants) {
                if let Ok(Frame::MaxData { max }) = frame {
                    from.on_max_data(max);
                } else if let Ok(Frame::MaxStreamData { stream, max }) = frame {
                    from.on_max_stream_data(stream, max).unwrap();
                } else {
                    panic!("{frame:?}");
                }
            }
        }
        assert_eq!((bodies, from.sendable()), (200, 0));
    }

    #[test]
    fn without_a_grant_the_sender_stops_at_its_credit() {
        let (mut from, mut to) = (Streams::new(), Streams::new());
        (0..8).for_each(|_| from.write(StreamId::CONVERSATION, 1, &[7; 60_000]).unwrap());
        flush(&mut from, &mut to);
        assert_eq!((from.sent, from.sendable()), (STREAM_WINDOW, 0));
        assert!(to.has_grants());
    }

    #[test]
    fn a_lost_grant_is_told_again() {
        let (mut from, mut to) = (Streams::new(), Streams::new());
        (0..4).for_each(|_| from.write(StreamId::CONVERSATION, 1, &[7; 60_000]).unwrap());
        flush(&mut from, &mut to);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(to.write_grants(100, &mut first));
        assert!(!to.write_grants(100, &mut second));
        to.on_grants_lost();
        assert!(to.write_grants(100, &mut second));
        assert_eq!(first, second);
    }

    #[test]
    fn bytes_beyond_the_credit_are_the_peers_fault() {
        let mut streams = Streams::new();
        assert_eq!(receive(&mut streams, STREAM_WINDOW - 1, b"x"), Ok(Taken::Yes));
        assert_eq!(receive(&mut streams, STREAM_WINDOW, b"x"), Err(Misbehaviour::CreditExceeded));
        assert_eq!(receive(&mut streams, 1 << 61, b"x"), Err(Misbehaviour::CreditExceeded));
    }

    #[test]
    fn streams_that_nobody_opened_and_ends_of_lasting_ones_are_the_peers_fault() {
        let mut streams = Streams::new();
        let mut send = |id, fin| streams.on_stream(id, 0, fin, b"", &mut |_, _| panic!("a body"));
        assert_eq!(send(StreamId(2), false), Err(Misbehaviour::StreamNotAllowed));
        assert_eq!(send(StreamId::CONTROL, true), Err(Misbehaviour::StreamEnded));
        assert_eq!(streams.on_reset(StreamId::CONTROL), Err(Misbehaviour::StreamEnded));
        assert_eq!(streams.on_max_stream_data(StreamId(9), 1), Err(Misbehaviour::StreamNotAllowed));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_whole() {
        let mut streams = Streams::new();
        let id = StreamId::CONVERSATION;
        assert_eq!(streams.write(StreamId(2), 1, b""), Err(SendError::NoStream));
        assert_eq!(streams.write(id, 1, &vec![0; BODY_MAX + 1]), Err(SendError::TooLong));
        let taken = (0..100).take_while(|_| streams.write(id, 1, &[0; BODY_MAX]).is_ok()).count();
        assert_eq!(taken, send::SEND_BUFFER_MAX / (BODY_MAX + 5));
        assert_eq!(streams.write(id, 1, &[0; BODY_MAX]), Err(SendError::Full));
        streams.write(StreamId::CONTROL, 1, b"").unwrap();
    }
}
