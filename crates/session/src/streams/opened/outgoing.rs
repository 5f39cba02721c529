//! This side's streams: what goes next, and what the peer may lack.

use std::collections::{BTreeMap, VecDeque};

use p2pchat_proto::frame::{StreamHeader, StreamId};
use p2pchat_proto::stream::StreamHead;

use super::{Class, OPEN_MAX, STEP, Told};
use crate::event::{Misbehaviour, StreamError, StreamEvent};
use crate::streams::chunks::Chunks;
use crate::streams::send::{Chunk, SendStream};
use crate::streams::{Mark, STREAM_WINDOW, StreamRange};

/// Bytes that wait on one stream, sent or not, until the peer has them (our choice: what a peer may
/// give credit for).
pub const STREAM_BUFFER_MAX: usize = 8 * 1024 * 1024;
/// Bytes that wait on all opened streams of a session together (our choice: the same).
pub const STREAMS_BUFFER_MAX: usize = 16 * 1024 * 1024;

/// This side's streams.
#[derive(Debug)]
pub(crate) struct Outgoing {
    streams: BTreeMap<StreamId, Sending>,
    /// Number of the next one.
    next: StreamId,
    opened: u64,
    /// How many may be opened.
    max: u64,
    /// Whether one more was wanted.
    wanted: bool,
    /// Whose turn it was last, among groups and among bulk.
    groups_turn: StreamId,
    bulk_turn: StreamId,
    /// Whether a `Reset` may be due; nobody looks further where not.
    has_resets: bool,
}

#[derive(Debug)]
struct Sending {
    stream: SendStream<Chunks>,
    class: Class,
    end: End,
    /// Bytes that were refused for want of room.
    wanted: usize,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not yet.
    Open,
    /// With its last byte.
    Fin(Told),
    /// Before it.
    Reset { code: u64, told: Told },
}

/// Bytes that could leave if the window and the session's credit allowed it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    /// Those that were sent before, and ends without a byte.
    pub(crate) lost: u64,
    /// Those that were not.
    pub(crate) fresh: u64,
}

impl Sending {
    fn waiting(&self) -> Waiting {
        let fin = match self.end {
            End::Open | End::Fin(Told::Sent | Told::Acked) => 0,
            End::Fin(Told::Due) => self.stream.is_all_sent().into(),
            End::Reset { .. } => return Waiting::default(),
        };
        let lost = self.stream.lost_bytes().saturating_add(fin);
        Waiting { lost, fresh: self.stream.fresh_bytes() }
    }

    fn next_chunk(&mut self, room: usize, credit: u64) -> Option<Chunk> {
        if let End::Reset { .. } = self.end {
            return None;
        }
        let Some(mut chunk) = self.stream.next_chunk(room, credit) else {
            return self.last_chunk(room);
        };
        let end = chunk.header.offset.saturating_add(chunk.header.len as u64);
        if end == self.stream.end() && self.end != End::Open {
            chunk.header.fin = true;
            self.end = End::Fin(Told::Sent);
        }
        Some(chunk)
    }

    /// The end without a byte, where all bytes are out.
    fn last_chunk(&mut self, room: usize) -> Option<Chunk> {
        let (stream, offset) = (self.stream.id(), self.stream.end());
        let header = StreamHeader { stream, offset, fin: true, len: 0 };
        let goes = self.end == End::Fin(Told::Due)
            && self.stream.is_all_sent()
            && self.stream.lost_bytes() == 0
            && header.encoded_len() <= room;
        if !goes {
            return None;
        }
        self.end = End::Fin(Told::Sent);
        Some(Chunk { header, again: false })
    }

    fn reset(&mut self, code: u64) {
        self.end = End::Reset { code, told: Told::Due };
        self.wanted = 0;
        self.stream.give_up();
    }
}

impl Outgoing {
    pub(super) const fn new(first: u64) -> Self {
        Self {
            streams: BTreeMap::new(),
            next: StreamId(first),
            opened: 0,
            max: OPEN_MAX,
            wanted: false,
            groups_turn: StreamId(0),
            bulk_turn: StreamId(0),
            has_resets: false,
        }
    }

    /// Whether nothing is open, so that nobody has to look further.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub(crate) fn open(&mut self, head: &StreamHead) -> Result<StreamId, StreamError> {
        self.wanted = !self.may_open();
        if self.wanted {
            return Err(StreamError::TooMany);
        }
        let id = self.next;
        self.next = StreamId(id.0.saturating_add(STEP));
        self.opened = self.opened.saturating_add(1);
        let mut stream = SendStream::new(id, STREAM_WINDOW);
        stream.push(head.to_bytes());
        self.streams.insert(id, Sending { stream, class: head.into(), end: End::Open, wanted: 0 });
        Ok(id)
    }

    /// Whether the peer lets one more be opened, and this side has not too many itself.
    fn may_open(&self) -> bool {
        self.opened < self.max && (self.streams.len() as u64) < OPEN_MAX
    }

    fn tell_may_open(&mut self, events: &mut VecDeque<StreamEvent>) {
        if self.wanted && self.may_open() {
            self.wanted = false;
            events.push_back(StreamEvent::MayOpen);
        }
    }

    /// Takes a chunk for sending, or gives it back.
    pub(crate) fn write(&mut self, id: StreamId, chunk: Vec<u8>) -> Result<(), (StreamError, Vec<u8>)> {
        let room = match self.room(id) {
            Ok(room) => room,
            Err(why) => return Err((why, chunk)),
        };
        let Some(sending) = self.streams.get_mut(&id) else { return Err((StreamError::NoStream, chunk)) };
        if chunk.len() > STREAM_BUFFER_MAX / 2 {
            return Err((StreamError::TooLong, chunk));
        }
        if chunk.len() > room {
            sending.wanted = chunk.len();
            return Err((StreamError::Full, chunk));
        }
        sending.wanted = 0;
        sending.stream.push(chunk);
        Ok(())
    }

    /// How many bytes a stream takes now.
    pub(crate) fn room(&self, id: StreamId) -> Result<usize, StreamError> {
        let sending = self.streams.get(&id).ok_or(StreamError::NoStream)?;
        if sending.end != End::Open {
            return Err(StreamError::Ended);
        }
        Ok(room(sending, self.buffered()))
    }

    fn buffered(&self) -> usize {
        self.streams.values().fold(0, |sum, sending| sum.saturating_add(sending.stream.len()))
    }

    /// The stream ends with what it was given so far.
    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), StreamError> {
        let sending = self.streams.get_mut(&id).ok_or(StreamError::NoStream)?;
        if sending.end != End::Open {
            return Err(StreamError::Ended);
        }
        sending.end = End::Fin(Told::Due);
        Ok(())
    }

    pub(super) fn reset(&mut self, id: StreamId, code: u64) -> Result<(), StreamError> {
        let sending = self.streams.get_mut(&id).ok_or(StreamError::NoStream)?;
        if let End::Reset { .. } = sending.end {
            return Err(StreamError::Ended);
        }
        sending.reset(code);
        self.has_resets = true;
        Ok(())
    }

    /// How many are open, and how many bytes wait on all.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.streams.len(), self.buffered())
    }

    /// Whether a stream goes before bulk.
    pub(crate) fn is_group(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|sending| sending.class == Class::Group)
    }

    /// What waits on groups, and on bulk.
    pub(crate) fn waiting(&self) -> (Waiting, Waiting) {
        let (mut groups, mut bulk) = (Waiting::default(), Waiting::default());
        for sending in self.streams.values() {
            let sum = match sending.class {
                Class::Group => &mut groups,
                Class::Bulk => &mut bulk,
            };
            let more = sending.waiting();
            sum.lost = sum.lost.saturating_add(more.lost);
            sum.fresh = sum.fresh.saturating_add(more.fresh);
        }
        (groups, bulk)
    }

    /// Appends a `Stream` frame of at most `room` bytes and `credit` fresh ones, from the class's
    /// next stream in turn.
    pub(crate) fn write_frame(
        &mut self,
        class: Class,
        room: usize,
        credit: u64,
        out: &mut Vec<u8>,
    ) -> Option<Chunk> {
        let turn = match class {
            Class::Group => &mut self.groups_turn,
            Class::Bulk => &mut self.bulk_turn,
        };
        let behind = StreamId(turn.0.saturating_add(1));
        let in_turn = |sending: &mut Sending| {
            let chunk = (sending.class == class).then(|| sending.next_chunk(room, credit)).flatten()?;
            chunk.header.encode(out);
            sending.stream.copy(&chunk.header, out);
            Some(chunk)
        };
        let mut in_turn = in_turn;
        let mut chunk = self.streams.range_mut(behind..).find_map(|(_, sending)| in_turn(sending));
        if chunk.is_none() {
            chunk = self.streams.range_mut(..behind).find_map(|(_, sending)| in_turn(sending));
        }
        *turn = chunk?.header.stream;
        chunk
    }

    /// Whether a `Reset` is due.
    pub(super) fn has_resets(&self) -> bool {
        let due = |sending: &Sending| matches!(sending.end, End::Reset { told: Told::Due, .. });
        self.has_resets && self.streams.values().any(due)
    }

    /// The next `Reset` that is due: stream, code and final size.
    pub(super) fn next_reset(&mut self) -> Option<(StreamId, u64, u64)> {
        if !self.has_resets {
            return None;
        }
        for (id, sending) in &mut self.streams {
            if let End::Reset { code, told: told @ Told::Due } = &mut sending.end {
                *told = Told::Sent;
                return Some((*id, *code, sending.stream.sent()));
            }
        }
        self.has_resets = false;
        None
    }

    pub(super) fn on_acked(&mut self, range: StreamRange, events: &mut VecDeque<StreamEvent>) {
        let Some(sending) = self.streams.get_mut(&range.stream) else { return };
        match (range.mark, &mut sending.end) {
            (Mark::Reset, End::Reset { .. }) => {
                self.streams.remove(&range.stream);
                self.tell_may_open(events);
                self.tell_room(events);
                return;
            }
            (_, End::Reset { .. }) | (Mark::Reset, End::Open | End::Fin(_)) => return,
            (Mark::Fin, End::Fin(told)) => *told = Told::Acked,
            (Mark::Fin, End::Open) | (Mark::None, End::Open | End::Fin(_)) => {}
        }
        let before = sending.stream.len();
        sending.stream.on_acked(range);
        let freed = sending.stream.len() < before;
        if sending.end == End::Fin(Told::Acked) && sending.stream.is_done() {
            self.streams.remove(&range.stream);
            events.push_back(StreamEvent::Finished { stream: range.stream });
            self.tell_may_open(events);
        }
        if freed {
            self.tell_room(events);
        }
    }

    pub(super) fn on_lost(&mut self, range: StreamRange) {
        let Some(sending) = self.streams.get_mut(&range.stream) else { return };
        match (range.mark, &mut sending.end) {
            (Mark::Reset, End::Reset { told, .. }) => {
                told.on_lost();
                self.has_resets = true;
            }
            (_, End::Reset { .. }) | (Mark::Reset, End::Open | End::Fin(_)) => {}
            (Mark::Fin, End::Fin(told)) => {
                told.on_lost();
                sending.stream.on_lost(range);
            }
            (Mark::Fin, End::Open) | (Mark::None, End::Open | End::Fin(_)) => sending.stream.on_lost(range),
        }
    }

    pub(super) fn on_credit(&mut self, id: StreamId, max: u64) -> Result<(), Misbehaviour> {
        self.check(id)?;
        if let Some(sending) = self.streams.get_mut(&id) {
            sending.stream.on_credit(max);
        }
        Ok(())
    }

    pub(super) fn on_max_streams(&mut self, max: u64, events: &mut VecDeque<StreamEvent>) {
        self.max = self.max.max(max);
        self.tell_may_open(events);
    }

    /// The peer wants no more of a stream. It is told where the stream ends.
    pub(super) fn on_refused(
        &mut self,
        id: StreamId,
        code: u64,
        final_size: u64,
        events: &mut VecDeque<StreamEvent>,
    ) -> Result<(), Misbehaviour> {
        self.check(id)?;
        if final_size != 0 {
            return Err(Misbehaviour::FinalSize);
        }
        if let Some(sending) = self.streams.get_mut(&id)
            && !matches!(sending.end, End::Reset { .. })
        {
            sending.reset(code);
            self.has_resets = true;
            events.push_back(StreamEvent::Reset { stream: id, code });
        }
        Ok(())
    }

    /// A stream that was never opened is not the peer's to speak of.
    fn check(&self, id: StreamId) -> Result<(), Misbehaviour> {
        if id < self.next { Ok(()) } else { Err(Misbehaviour::StreamNotAllowed) }
    }

    /// Tells everyone who waits for room that there is.
    fn tell_room(&mut self, events: &mut VecDeque<StreamEvent>) {
        let buffered = self.buffered();
        for (stream, sending) in &mut self.streams {
            if sending.wanted > 0 && room(sending, buffered) >= sending.wanted {
                sending.wanted = 0;
                events.push_back(StreamEvent::Writable { stream: *stream });
            }
        }
    }
}

fn room(sending: &Sending, buffered: usize) -> usize {
    STREAM_BUFFER_MAX.saturating_sub(sending.stream.len()).min(STREAMS_BUFFER_MAX.saturating_sub(buffered))
}
