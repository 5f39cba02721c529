//! Streams with credit (protocol section 5).
//!
//! - [`send::SendStream`] keeps bytes until they are acknowledged, in [`chunks`].
//! - [`grant::Grant`] is the credit that the peer gets.
//! - [`reassembly::Reassembly`] puts what arrived back into order, and [`body`] cuts it into bodies:
//!   for control and the conversation, which exist from the start and last as long as the session.
//! - [`opened`]: the streams that either side opens beside them, whose bytes the user takes from
//!   [`pieces`].
//!
//! What waits goes out in this order: control, the conversation, groups in turn, bulk in turn.

pub(crate) mod body;
pub(crate) mod chunks;
pub(crate) mod grant;
pub(crate) mod opened;
pub(crate) mod pieces;
pub(crate) mod reassembly;
pub(crate) mod send;

use core::time::Duration;

use p2pchat_crypto::Role;
use p2pchat_proto::Moment;
use p2pchat_proto::frame::{Frame, StreamHeader, StreamId};

use self::body::BodyReader;
use self::grant::Grant;
use self::opened::outgoing::Waiting;
use self::opened::{Class, Opened};
use self::reassembly::{Reassembly, Taken};
use self::send::{Chunk, SendStream};
use crate::event::{Misbehaviour, SendError, StreamError};

/// Credit of a stream: bytes that may be on their way beyond what was handed on, and so the most
/// that reassembly holds (protocol section 5).
pub(crate) const STREAM_WINDOW: u64 = 256 * 1024;
/// Credit of a session, over all streams (protocol section 5).
pub(crate) const SESSION_WINDOW: u64 = 1024 * 1024;
/// Credit of the session that bulk leaves to everything else: a stream's, so that a transfer whose
/// content nobody takes holds up no line (our choice).
const CREDIT_RESERVE: u64 = STREAM_WINDOW;
/// Bytes of the session's credit that have to be used before more is granted: a half of what bulk
/// leaves, so that it is there again before it is used up.
const SESSION_STEP: u64 = CREDIT_RESERVE / 2;

/// Fewest bytes of a `Stream` frame that says anything: its kind, three integers, and an end without a
/// byte.
const FRAME_MIN: usize = 4;

/// Some bytes of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamRange {
    pub(crate) stream: StreamId,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) mark: Mark,
}

/// What a frame says beside bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    /// The stream ends with these bytes.
    Fin,
    /// No bytes: the stream was given up.
    Reset,
}

/// Bytes that could leave now if the window allowed it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sendable {
    /// Of control, the conversation and groups.
    pub(crate) urgent: u64,
    /// Of bulk.
    pub(crate) bulk: u64,
}

impl Sendable {
    pub(crate) const fn total(self) -> u64 {
        self.urgent.saturating_add(self.bulk)
    }
}

impl StreamRange {
    pub(crate) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len as u64)
    }
}

impl From<&StreamHeader> for StreamRange {
    fn from(header: &StreamHeader) -> Self {
        let len = u32::try_from(header.len).unwrap_or(u32::MAX);
        let mark = if header.fin { Mark::Fin } else { Mark::None };
        Self { stream: header.stream, offset: header.offset, len, mark }
    }
}

/// The streams of one session.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Those that exist from the start, by number, which is by priority.
    lasting: [Stream; 2],
    pub(crate) opened: Opened,
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

impl Streams {
    pub(crate) fn new(role: Role) -> Self {
        let stream = |id| Stream {
            send: SendStream::new(id, STREAM_WINDOW),
            reassembly: Reassembly::default(),
            bodies: BodyReader::default(),
            grant: Grant::new(STREAM_WINDOW),
        };
        Self {
            lasting: [StreamId::CONTROL, StreamId::CONVERSATION].map(stream),
            opened: Opened::new(role),
            grant: Grant::with_step(SESSION_WINDOW, SESSION_STEP),
            sent: 0,
            max: SESSION_WINDOW,
        }
    }

    /// Both halves of every stream, and its bodies.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&SendStream, &Reassembly, &BodyReader)> {
        self.lasting.iter().map(|stream| (&stream.send, &stream.reassembly, &stream.bodies))
    }

    /// Takes a body for sending.
    pub(crate) fn write(&mut self, id: StreamId, kind: u8, body: &[u8]) -> Result<(), SendError> {
        let stream = self.lasting.get_mut(place(id)).ok_or(SendError::NoStream)?;
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
        if let (Some(stream), Some(header)) = (self.lasting.get_mut(place(id)), body::header(kind, N)) {
            stream.send.write(&header);
            stream.send.write(body);
        }
    }

    /// Bytes that could leave now if the window allowed it.
    pub(crate) fn sendable(&self) -> Sendable {
        let (lost, fresh) = self.lasting.iter().fold((0u64, 0u64), |(lost, fresh), stream| {
            (lost.saturating_add(stream.send.lost_bytes()), fresh.saturating_add(stream.send.fresh_bytes()))
        });
        let credit = self.max.saturating_sub(self.sent);
        if self.opened.outgoing.is_empty() {
            return Sendable { urgent: lost.saturating_add(fresh.min(credit)), bulk: 0 };
        }
        let (groups, bulk) = self.opened.outgoing.waiting();
        let fresh = fresh.saturating_add(groups.fresh).min(credit);
        let left = credit.saturating_sub(fresh).saturating_sub(CREDIT_RESERVE);
        Sendable {
            urgent: lost.saturating_add(groups.lost).saturating_add(fresh),
            bulk: bulk.lost.saturating_add(bulk.fresh.min(left)),
        }
    }

    /// Whether something is to be sent again.
    pub(crate) fn has_lost(&self) -> bool {
        let opened = || {
            let (groups, bulk): (Waiting, Waiting) = self.opened.outgoing.waiting();
            groups.lost > 0 || bulk.lost > 0
        };
        self.lasting.iter().any(|stream| stream.send.lost_bytes() > 0)
            || (!self.opened.outgoing.is_empty() && opened())
    }

    /// Whether what is sent on a stream goes before bulk.
    pub(crate) fn is_urgent(&self, id: StreamId) -> bool {
        self.lasting.get(place(id)).is_some() || self.opened.outgoing.is_group(id)
    }

    /// Appends a `Stream` frame of at most `room` bytes, from the first stream by priority that has
    /// something to send; from bulk only if it may go.
    pub(crate) fn write_frame(&mut self, room: usize, bulk: bool, out: &mut Vec<u8>) -> Option<Chunk> {
        // A packet that is full is asked once more each time.
        if room < FRAME_MIN {
            return None;
        }
        let credit = self.max.saturating_sub(self.sent);
        for stream in &mut self.lasting {
            if let Some(chunk) = stream.send.next_chunk(room, credit) {
                chunk.header.encode(out);
                stream.send.copy(&chunk.header, out);
                if !chunk.again {
                    self.sent = self.sent.saturating_add(chunk.header.len as u64);
                }
                return Some(chunk);
            }
        }
        if self.opened.outgoing.is_empty() {
            return None;
        }
        let outgoing = &mut self.opened.outgoing;
        let mut chunk = outgoing.write_frame(Class::Group, room, credit, out);
        if chunk.is_none() && bulk {
            let credit = credit.saturating_sub(CREDIT_RESERVE);
            chunk = outgoing.write_frame(Class::Bulk, room, credit, out);
        }
        if let Some(chunk) = chunk.filter(|chunk| !chunk.again) {
            self.sent = self.sent.saturating_add(chunk.header.len as u64);
        }
        chunk
    }

    /// The peer gets no more credit for messages while this is so. Everything else flows: keys are
    /// renewed, receipts and files come and go.
    pub(crate) fn withhold_credit(&mut self, withheld: bool) {
        if let Some(stream) = self.lasting.get_mut(place(StreamId::CONVERSATION)) {
            stream.grant.withhold(withheld);
        }
    }

    /// Whether the peer has to be told of credit.
    pub(crate) fn has_grants(&self) -> bool {
        self.grant.tell || self.lasting.iter().any(|stream| stream.grant.tell) || self.opened.has_news()
    }

    /// Appends what is to be told of credit, at most `room` bytes; answers whether it was anything.
    pub(crate) fn write_grants(&mut self, room: usize, out: &mut Vec<u8>) -> bool {
        /// Most bytes of a frame that grants credit: its kind and two integers.
        const GRANT_LEN: usize = 17;
        let before = out.len();
        let mut room = room;
        let mut write = |frame: Frame<'_>| {
            let fits = room >= GRANT_LEN;
            if fits {
                room = room.saturating_sub(GRANT_LEN);
                frame.encode(out);
            }
            fits
        };
        if self.grant.tell {
            self.grant.tell = !write(Frame::MaxData { max: self.grant.max });
        }
        for stream in &mut self.lasting {
            if stream.grant.tell {
                stream.grant.tell =
                    !write(Frame::MaxStreamData { stream: stream.send.id(), max: stream.grant.max });
            }
        }
        self.opened.write_grants(&mut write);
        out.len() > before
    }

    /// A packet that granted credit was lost: every limit beyond the first is told again.
    pub(crate) fn on_grants_lost(&mut self) {
        self.grant.on_lost();
        self.lasting.iter_mut().for_each(|stream| stream.grant.on_lost());
        self.opened.on_grants_lost();
    }

    pub(crate) fn on_max_data(&mut self, max: u64) {
        self.max = self.max.max(max);
    }

    pub(crate) fn on_max_stream_data(&mut self, id: StreamId, max: u64) -> Result<(), Misbehaviour> {
        match self.lasting.get_mut(place(id)) {
            Some(stream) => stream.send.on_credit(max),
            None => self.opened.on_max_stream_data(id, max)?,
        }
        Ok(())
    }

    pub(crate) fn on_acked(&mut self, range: StreamRange) {
        match self.lasting.get_mut(place(range.stream)) {
            Some(stream) => stream.send.on_acked(range),
            None => self.opened.on_acked(range),
        }
    }

    pub(crate) fn on_lost(&mut self, range: StreamRange) {
        match self.lasting.get_mut(place(range.stream)) {
            Some(stream) => stream.send.on_lost(range),
            None => self.opened.on_lost(range),
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
        let Some(stream) = self.lasting.get_mut(place(id)) else {
            let mark = if fin { Mark::Fin } else { Mark::None };
            let range =
                StreamRange { stream: id, offset, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), mark };
            return self.opened.on_stream(range, bytes, &mut self.grant);
        };
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

    /// Takes a `Reset`; the streams that exist from the start cannot be given up.
    pub(crate) fn on_reset(&mut self, id: StreamId, code: u64, final_size: u64) -> Result<(), Misbehaviour> {
        if self.lasting.get(place(id)).is_some() {
            return Err(Misbehaviour::StreamEnded);
        }
        self.opened.on_reset(id, code, final_size, &mut self.grant)
    }

    /// The next bytes of a stream that the peer opened; taking them gives it credit.
    pub(crate) fn read(&mut self, id: StreamId, rtt: Option<Duration>, now: Moment) -> Option<Vec<u8>> {
        self.opened.read(id, &mut self.grant, rtt, now)
    }

    /// Gives up one of this side's streams, or refuses more of one of the peer's.
    pub(crate) fn reset(&mut self, id: StreamId, code: u64) -> Result<(), StreamError> {
        if self.lasting.get(place(id)).is_some() {
            return Err(StreamError::NoStream);
        }
        self.opened.reset(id, code, &mut self.grant)
    }
}

/// Where a stream stands among those that exist from the start, if it is one.
fn place(id: StreamId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::frame::Frames;
    use p2pchat_proto::limits::BODY_MAX;

    fn streams() -> Streams {
        Streams::new(Role::Initiator)
    }

    fn receive(streams: &mut Streams, offset: u64, bytes: &[u8]) -> Result<Taken, Misbehaviour> {
        streams.on_stream(StreamId::CONVERSATION, offset, false, bytes, &mut |_, _| {})
    }

    /// Everything that `from` may send arrives at `to`; answers with the number of bodies.
    fn flush(from: &mut Streams, to: &mut Streams) -> usize {
        let mut bodies = 0;
        let mut out = Vec::new();
        while let Some(chunk) = from.write_frame(1168, true, &mut out) {
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
        let mut streams = streams();
        streams.write(StreamId::CONVERSATION, 1, b"later").unwrap();
        streams.write(StreamId::CONTROL, 1, b"first").unwrap();
        let mut order = vec![];
        while let Some(chunk) = streams.write_frame(1168, true, &mut Vec::new()) {
            order.push(chunk.header.stream);
        }
        assert_eq!(order, [StreamId::CONTROL, StreamId::CONVERSATION]);
    }

    #[test]
    fn credit_is_granted_while_it_is_used_and_the_stream_never_stands_still() {
        let (mut from, mut to) = (streams(), streams());
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
        assert_eq!((bodies, from.sendable().total()), (200, 0));
    }

    #[test]
    fn without_a_grant_the_sender_stops_at_its_credit() {
        let (mut from, mut to) = (streams(), streams());
        (0..8).for_each(|_| from.write(StreamId::CONVERSATION, 1, &[7; 60_000]).unwrap());
        flush(&mut from, &mut to);
        assert_eq!((from.sent, from.sendable().total()), (STREAM_WINDOW, 0));
        assert!(to.has_grants());
    }

    #[test]
    fn a_lost_grant_is_told_again() {
        let (mut from, mut to) = (streams(), streams());
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
        let mut streams = streams();
        assert_eq!(receive(&mut streams, STREAM_WINDOW - 1, b"x"), Ok(Taken::Yes));
        assert_eq!(receive(&mut streams, STREAM_WINDOW, b"x"), Err(Misbehaviour::CreditExceeded));
        assert_eq!(receive(&mut streams, 1 << 61, b"x"), Err(Misbehaviour::CreditExceeded));
    }

    #[test]
    fn streams_that_nobody_opened_and_ends_of_lasting_ones_are_the_peers_fault() {
        let mut streams = streams();
        let mut send = |id, fin| streams.on_stream(id, 0, fin, b"", &mut |_, _| panic!("a body"));
        assert_eq!(send(StreamId(2), false), Err(Misbehaviour::StreamNotAllowed), "its own");
        assert_eq!(send(StreamId::CONTROL, true), Err(Misbehaviour::StreamEnded));
        assert_eq!(streams.on_reset(StreamId::CONTROL, 1, 0), Err(Misbehaviour::StreamEnded));
        assert_eq!(streams.on_max_stream_data(StreamId(9), 1), Err(Misbehaviour::StreamNotAllowed));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_whole() {
        let mut streams = streams();
        let id = StreamId::CONVERSATION;
        assert_eq!(streams.write(StreamId(2), 1, b""), Err(SendError::NoStream));
        assert_eq!(streams.write(id, 1, &vec![0; BODY_MAX + 1]), Err(SendError::TooLong));
        let taken = (0..100).take_while(|_| streams.write(id, 1, &[0; BODY_MAX]).is_ok()).count();
        assert_eq!(taken, send::SEND_BUFFER_MAX / (BODY_MAX + 5));
        assert_eq!(streams.write(id, 1, &[0; BODY_MAX]), Err(SendError::Full));
        streams.write(StreamId::CONTROL, 1, b"").unwrap();
    }
}
