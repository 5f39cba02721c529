//! The streams that each of the two opens, and what has to become of them.

use p2pchat_proto::{GroupId, TransferId};
use p2pchat_session::{STREAM_BUFFER_MAX, StreamError, StreamEvent, StreamHead, StreamId, TransferPurpose};

use super::{Pair, Side};
use crate::input::Input;

/// Bytes that one side writes to streams in one run, so that a run takes milliseconds.
pub(super) const WRITTEN_MAX: usize = 1 << 19;
/// Memory for bytes of both sides' streams: written, and at the receiver in blocks of 16 KiB, of which
/// each of 64 streams may have begun two.
pub(super) const MEMORY_MAX: usize = 2 * (2 * WRITTEN_MAX + 64 * 2 * 16 * 1024);
/// Streams that a side may have open (protocol section 5).
const OPEN_MAX: usize = 64;
/// The last but one is more than the credit that a stream begins with (256 KiB).
const LENGTHS: [usize; 9] = [0, 1, 100, 1_161, 5_000, 16_384, 60_000, 300_000, STREAM_BUFFER_MAX / 2 + 1];

/// The streams of one side.
#[derive(Default)]
pub(super) struct Streams {
    list: Vec<Stream>,
    written: usize,
    /// Whether one more was refused.
    wants_more: bool,
}

struct Stream {
    id: StreamId,
    head: StreamHead,
    written: u64,
    finished: bool,
    given_up: Option<u64>,
    /// Whether its opener was told that it is over.
    told: bool,
    /// Whether a chunk was refused for want of room.
    wants_room: bool,
    /// Whether the other side was told of it.
    seen: bool,
    taken: u64,
    /// With what the other side wanted no more of it.
    refused: Option<u64>,
    /// Whether the other side was told that it is over.
    over: bool,
}

/// The byte of a stream at an offset.
const fn content(stream: StreamId, at: u64) -> u8 {
    (stream.0 * 31 + at + (at >> 8) * 7) as u8
}

impl Streams {
    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.list.iter_mut().find(|stream| stream.id == id).expect("a stream that nobody opened")
    }

    /// Whether everything was taken or given up, and both sides know.
    pub(super) fn is_settled(&self) -> bool {
        self.list.iter().all(|stream| {
            let here = stream.told || stream.given_up.is_some();
            let there =
                stream.over || stream.refused.is_some() || (stream.given_up.is_some() && !stream.seen);
            here && there
        })
    }
}

impl Stream {
    const fn is_open(&self) -> bool {
        !self.finished && self.given_up.is_none() && !self.told
    }

    /// Whether an operation of the opener's may fail this way.
    fn explains(&self, error: StreamError, is_live: bool) -> bool {
        match error {
            StreamError::NotUp => !is_live,
            StreamError::NoStream => self.told || self.given_up.is_some(),
            StreamError::Ended => !self.is_open(),
            StreamError::TooMany | StreamError::TooLong | StreamError::Full => false,
        }
    }
}

impl Side {
    fn is_live(&self) -> bool {
        self.up && !self.closed && self.ended.is_none()
    }
}

impl Pair {
    /// One operation on streams.
    pub(super) fn on_streams(&mut self, operation: u8, input: &mut Input<'_>) {
        let who = usize::from(input.byte() & 1);
        match operation % 10 {
            0 | 1 => self.open(who, input.byte()),
            8 => {
                let (kind, count) = (input.byte(), input.byte());
                (0..count).for_each(|_| self.open(who, kind));
            }
            9 => {
                let len = LENGTHS[usize::from(input.byte()) % LENGTHS.len()];
                for index in 0..self.sides[who].streams.list.len() {
                    if self.sides[who].streams.list[index].is_open() {
                        self.write(who, index, len);
                        self.finish(who, index);
                    }
                }
            }
            2 | 3 => {
                if let Some(index) = input.index(self.sides[who].streams.list.len()) {
                    self.write(who, index, LENGTHS[usize::from(input.byte()) % LENGTHS.len()]);
                }
            }
            4 => {
                if let Some(index) = input.index(self.sides[1 - who].streams.list.len()) {
                    (0..input.byte()).all(|_| self.read(who, index));
                }
            }
            5 => {
                if let Some(index) = input.index(self.sides[who].streams.list.len()) {
                    self.finish(who, index);
                }
            }
            6 => {
                if let Some(index) = input.index(self.sides[who].streams.list.len()) {
                    self.give_up(who, index, input.byte().into());
                }
            }
            _ => {
                if let Some(index) = input.index(self.sides[1 - who].streams.list.len()) {
                    self.refuse(who, index, input.byte().into());
                }
            }
        }
    }

    fn open(&mut self, who: usize, kind: u8) {
        let side = &mut self.sides[who];
        let (number, is_live) = (side.streams.list.len(), side.is_live());
        let purposes = [TransferPurpose::Manifest, TransferPurpose::Held, TransferPurpose::Content];
        let transfer = TransferId([number as u8; 16]);
        let head = match purposes.get(usize::from(kind % 4)) {
            Some(purpose) => StreamHead::Transfer { transfer, purpose: *purpose },
            None => StreamHead::Group(GroupId([number as u8; 16])),
        };
        match side.endpoint.open(side.session, &head, self.now) {
            Ok(id) => {
                let streams = &mut side.streams;
                let open = streams.list.iter().filter(|stream| !stream.told && stream.given_up.is_none());
                assert!(is_live && open.count() < OPEN_MAX);
                assert_eq!(id, StreamId((2 + who + 2 * number) as u64));
                streams.wants_more = false;
                streams.list.push(Stream {
                    id,
                    head,
                    written: 0,
                    finished: false,
                    given_up: None,
                    told: false,
                    wants_room: false,
                    seen: false,
                    taken: 0,
                    refused: None,
                    over: false,
                });
            }
            Err(StreamError::NotUp) => assert!(!is_live),
            Err(StreamError::TooMany) => {
                assert!(is_live && number >= OPEN_MAX);
                side.streams.wants_more = true;
            }
            Err(why) => panic!("{why}"),
        }
    }

    fn write(&mut self, who: usize, index: usize, len: usize) {
        let side = &mut self.sides[who];
        let is_live = side.is_live();
        if len <= STREAM_BUFFER_MAX / 2 && side.streams.written + len > WRITTEN_MAX {
            return;
        }
        let stream = &mut side.streams.list[index];
        let chunk: Vec<u8> = (0..len as u64).map(|n| content(stream.id, stream.written + n)).collect();
        match side.endpoint.write(side.session, stream.id, chunk, self.now) {
            Ok(()) => {
                assert!(is_live && stream.is_open() && len <= STREAM_BUFFER_MAX / 2);
                stream.written += len as u64;
                stream.wants_room = false;
                side.streams.written += len;
            }
            Err((StreamError::TooLong, chunk)) => assert!(chunk.len() > STREAM_BUFFER_MAX / 2),
            Err((StreamError::Full, chunk)) => {
                assert!(stream.written as usize + chunk.len() > STREAM_BUFFER_MAX);
                stream.wants_room = true;
            }
            Err((why, chunk)) => {
                assert!(chunk.len() == len && stream.explains(why, is_live), "{why}");
            }
        }
    }

    /// Takes a piece of one of the other side's streams, if there is one.
    fn read(&mut self, who: usize, index: usize) -> bool {
        let [bob, alice] = &mut self.sides;
        let (me, other) = if who == 0 { (bob, alice) } else { (alice, bob) };
        let stream = &mut other.streams.list[index];
        let Some(piece) = me.endpoint.read(me.session, stream.id, self.now) else { return false };
        assert!(me.is_live() && stream.seen && !stream.over && stream.refused.is_none());
        assert!(!piece.is_empty() && stream.taken + piece.len() as u64 <= stream.written);
        let is_right = piece.iter().zip(stream.taken..).all(|(byte, at)| *byte == content(stream.id, at));
        assert!(is_right, "other bytes than were written");
        stream.taken += piece.len() as u64;
        true
    }

    fn finish(&mut self, who: usize, index: usize) {
        let side = &mut self.sides[who];
        let is_live = side.is_live();
        let stream = &mut side.streams.list[index];
        match side.endpoint.finish(side.session, stream.id, self.now) {
            Ok(()) => {
                assert!(is_live && stream.is_open());
                stream.finished = true;
            }
            Err(why) => assert!(stream.explains(why, is_live), "{why}"),
        }
    }

    fn give_up(&mut self, who: usize, index: usize, code: u64) {
        let side = &mut self.sides[who];
        let is_live = side.is_live();
        let stream = &mut side.streams.list[index];
        match side.endpoint.reset(side.session, stream.id, code, self.now) {
            Ok(()) => {
                assert!(is_live && !stream.told && stream.given_up.is_none());
                stream.given_up = Some(code);
            }
            Err(why) => assert!(stream.explains(why, is_live), "{why}"),
        }
    }

    /// One side wants no more of one of the other's streams.
    fn refuse(&mut self, who: usize, index: usize, code: u64) {
        let [bob, alice] = &mut self.sides;
        let (me, other) = if who == 0 { (bob, alice) } else { (alice, bob) };
        let is_live = me.is_live();
        let stream = &mut other.streams.list[index];
        match me.endpoint.reset(me.session, stream.id, code, self.now) {
            Ok(()) => {
                assert!(is_live && stream.seen && !stream.over && stream.refused.is_none());
                stream.refused = Some(code);
            }
            Err(StreamError::NotUp) => assert!(!is_live),
            Err(StreamError::NoStream) => assert!(!stream.seen || stream.over || stream.refused.is_some()),
            Err(StreamError::Ended) => assert!(stream.refused.is_some()),
            Err(why) => panic!("{why}"),
        }
    }

    /// What a side is told of a stream.
    pub(super) fn hear_of_stream(&mut self, who: usize, event: StreamEvent) {
        let [bob, alice] = &mut self.sides;
        let (me, other) = if who == 0 { (bob, alice) } else { (alice, bob) };
        assert!(me.is_live());
        let is_mine = |id: StreamId| id.0 % 2 == who as u64;
        match event {
            StreamEvent::Opened { stream, head } => {
                let stream = other.streams.stream(stream);
                assert!(!stream.seen && !stream.over && stream.head == head);
                stream.seen = true;
            }
            StreamEvent::Readable { stream } => {
                let stream = other.streams.stream(stream);
                assert!(stream.seen && !stream.over && stream.taken < stream.written);
            }
            StreamEvent::Finished { stream } if is_mine(stream) => {
                let stream = me.streams.stream(stream);
                assert!(stream.finished && stream.given_up.is_none() && !stream.told);
                stream.told = true;
            }
            StreamEvent::Finished { stream } => {
                let stream = other.streams.stream(stream);
                assert!(stream.finished && stream.seen && !stream.over && stream.refused.is_none());
                assert_eq!(stream.taken, stream.written, "an end before the end");
                stream.over = true;
            }
            StreamEvent::Reset { stream, code } if is_mine(stream) => {
                let stream = me.streams.stream(stream);
                assert!(!stream.told && stream.refused == Some(code));
                stream.told = true;
            }
            StreamEvent::Reset { stream, code } => {
                let stream = other.streams.stream(stream);
                assert!(stream.seen && !stream.over && stream.refused.is_none());
                assert_eq!(stream.given_up, Some(code));
                stream.over = true;
            }
            StreamEvent::Writable { stream } => {
                let wanted = core::mem::take(&mut me.streams.stream(stream).wants_room);
                assert!(wanted, "nobody wanted room");
            }
            StreamEvent::MayOpen => {
                assert!(core::mem::take(&mut me.streams.wants_more), "nobody wanted to open more");
            }
        }
    }

    /// Every stream ends behind what was written to it, unless it is refused: that its opener has to hear.
    pub(super) fn finish_all(&mut self) {
        for who in 0..2 {
            for index in 0..self.sides[who].streams.list.len() {
                let stream = &self.sides[who].streams.list[index];
                if self.sides[who].is_live() && stream.is_open() && stream.refused.is_none() {
                    self.finish(who, index);
                }
            }
        }
    }

    /// Both take whatever is there.
    pub(super) fn take_all(&mut self) {
        for who in 0..2 {
            for index in 0..self.sides[1 - who].streams.list.len() {
                while self.read(who, index) {}
            }
        }
        self.drain();
    }
}
