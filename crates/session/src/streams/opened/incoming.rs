//! The peer's streams: what of them is there, and how much more may come.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use p2pchat_proto::Moment;
use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_proto::stream::{MalformedHead, ReadHead, StreamHead, UNKNOWN_HEAD};

use super::{BULK_GAPS_MAX, BULK_WINDOW_MAX, Class, OPEN_MAX, SESSION_WINDOW_MAX, STEP, Told};
use crate::event::{Misbehaviour, StreamError, StreamEvent};
use crate::streams::grant::Grant;
use crate::streams::pieces::Pieces;
use crate::streams::reassembly::{GAPS_MAX, Taken};
use crate::streams::{Mark, STREAM_WINDOW, StreamRange};

/// Round trips within which a window has to be used up to grow (our choice: a window that lasts
/// longer holds nobody back).
const GROWS_WITHIN: u32 = 2;
/// Streams that the peer may still open below which it is told of more: a half of those that it may
/// have open.
const TELL_BELOW: u64 = OPEN_MAX / 2;

/// The peer's streams.
#[derive(Debug)]
pub(crate) struct Incoming {
    streams: BTreeMap<StreamId, Receiving>,
    /// Number of the next one.
    next: StreamId,
    opened: u64,
    ended: u64,
    /// How many it was told that it may open.
    max: u64,
    tell_max: bool,
    /// Whether it may have to be told something; nobody looks further where not.
    has_news: bool,
}

#[derive(Debug)]
struct Receiving {
    pieces: Pieces,
    grant: Grant,
    /// What it is, once its head is there.
    class: Option<Class>,
    /// Where it ends, once that is known.
    final_size: Option<u64>,
    /// Why no more of it is wanted, and whether the peer knows.
    stopped: Option<(u64, Told)>,
    /// Whether the user was told that there is something to take.
    readable: bool,
    /// Since when a window is being used up, and how many bytes were taken before.
    since: (Moment, u64),
}

impl Receiving {
    const fn new(pieces: Pieces) -> Self {
        Self {
            pieces,
            grant: Grant::new(STREAM_WINDOW),
            class: None,
            final_size: None,
            stopped: None,
            readable: false,
            since: (Moment::ZERO, 0),
        }
    }

    /// Whether it may end there, and more bytes than these may not come.
    fn check_end(&self, end: u64, fin: bool) -> Result<(), Misbehaviour> {
        let fits = match self.final_size {
            Some(last) => end <= last && (!fin || end == last),
            None => !fin || end >= self.grant.received,
        };
        if fits { Ok(()) } else { Err(Misbehaviour::FinalSize) }
    }

    /// Notes bytes up to `end`, as far as there is credit for them.
    fn check_credit(&self, end: u64, session: &Grant) -> Result<u64, Misbehaviour> {
        let more = end.saturating_sub(self.grant.received);
        if end > self.grant.max || session.received.saturating_add(more) > session.max {
            return Err(Misbehaviour::CreditExceeded);
        }
        Ok(more)
    }

    fn note(&mut self, more: u64, session: &mut Grant) {
        self.grant.received = self.grant.received.saturating_add(more);
        session.received = session.received.saturating_add(more);
        if self.stopped.is_some() {
            self.use_up(more, session);
        }
    }

    fn use_up(&mut self, bytes: u64, session: &mut Grant) {
        session.on_used(bytes);
        self.grant.on_used(bytes);
    }

    /// Nothing of it is wanted any more.
    fn stop(&mut self, code: u64, session: &mut Grant) {
        self.stopped = Some((code, Told::Due));
        self.drop_content(session);
    }

    fn drop_content(&mut self, session: &mut Grant) {
        self.use_up(self.grant.held(), session);
        self.pieces = Pieces::default();
    }

    /// Whether nothing more comes and nothing is held.
    fn is_over(&self) -> bool {
        self.final_size.is_some_and(|last| self.stopped.is_some() || last == self.pieces.taken())
    }

    const fn stop_is_due(&self) -> bool {
        matches!(self.stopped, Some((_, Told::Due)))
    }

    /// Whether the peer has to be told of credit. Where the end is known it needs no more.
    const fn credit_is_due(&self) -> bool {
        self.grant.tell && self.stopped.is_none() && self.final_size.is_none()
    }

    const fn gaps(&self) -> usize {
        match self.class {
            Some(Class::Bulk) => BULK_GAPS_MAX,
            Some(Class::Group) | None => GAPS_MAX,
        }
    }

    /// A window that was used up quickly is doubled, as far as stream and session may hold it.
    fn grow(&mut self, session: &mut Grant, rtt: Option<Duration>, now: Moment) {
        let (since, before) = self.since;
        let more = self.grant.window;
        if self.pieces.taken().saturating_sub(before) < more {
            return;
        }
        self.since = (now, self.pieces.taken());
        let within = rtt.map(|rtt| rtt.saturating_mul(GROWS_WITHIN));
        let quick = within.is_some_and(|within| now.saturating_since(since) < within);
        if quick
            && self.class == Some(Class::Bulk)
            && more < BULK_WINDOW_MAX
            && session.window.saturating_add(more) <= SESSION_WINDOW_MAX
        {
            session.window = session.window.saturating_add(more);
            self.grant.grow(more.saturating_mul(2));
            self.use_up(0, session);
        }
    }
}

impl Incoming {
    pub(super) const fn new(first: u64) -> Self {
        Self {
            streams: BTreeMap::new(),
            next: StreamId(first),
            opened: 0,
            ended: 0,
            max: OPEN_MAX,
            tell_max: false,
            has_news: false,
        }
    }

    /// How many are open, what memory their bytes take, and how many pieces these are.
    pub(crate) fn held(&self) -> (usize, usize, usize) {
        let streams = self.streams.values().map(|receiving| &receiving.pieces);
        let (memory, count) = streams.fold((0usize, 0usize), |(memory, count), pieces| {
            (memory.saturating_add(pieces.memory()), count.saturating_add(pieces.count()))
        });
        (self.streams.len(), memory, count)
    }

    /// The stream, which its number opens with all below it; `None` if it has ended.
    fn stream(&mut self, id: StreamId) -> Result<Option<&mut Receiving>, Misbehaviour> {
        if id >= self.next {
            let more = id.0.saturating_sub(self.next.0).checked_div(STEP).unwrap_or(0).saturating_add(1);
            if self.opened.saturating_add(more) > self.max {
                return Err(Misbehaviour::TooManyStreams);
            }
            for _ in 0..more {
                self.streams.insert(self.next, Receiving::new(Pieces::default()));
                self.next = StreamId(self.next.0.saturating_add(STEP));
            }
            self.opened = self.opened.saturating_add(more);
            self.renew_max();
        }
        Ok(self.streams.get_mut(&id))
    }

    pub(super) fn on_stream(
        &mut self,
        range: StreamRange,
        bytes: &[u8],
        session: &mut Grant,
        events: &mut VecDeque<StreamEvent>,
    ) -> Result<Taken, Misbehaviour> {
        let (id, end, fin) = (range.stream, range.end(), range.mark == Mark::Fin);
        let Some(receiving) = self.stream(id)? else { return Ok(Taken::Yes) };
        receiving.check_end(end, fin)?;
        let more = receiving.check_credit(end, session)?;
        if receiving.stopped.is_none()
            && receiving.pieces.insert(range.offset, bytes, receiving.gaps()) == Taken::No
        {
            return Ok(Taken::No);
        }
        receiving.note(more, session);
        if fin {
            receiving.final_size = Some(end);
        }
        if receiving.class.is_none() && receiving.stopped.is_none() {
            read_head(id, receiving, session, events)?;
        }
        if receiving.class.is_some() && !receiving.readable && receiving.pieces.ready() > 0 {
            receiving.readable = true;
            events.push_back(StreamEvent::Readable { stream: id });
        }
        self.has_news |= receiving.stop_is_due() || receiving.credit_is_due();
        self.end_if_over(id, session, events);
        Ok(Taken::Yes)
    }

    pub(super) fn on_reset(
        &mut self,
        id: StreamId,
        code: u64,
        final_size: u64,
        session: &mut Grant,
        events: &mut VecDeque<StreamEvent>,
    ) -> Result<(), Misbehaviour> {
        let Some(receiving) = self.stream(id)? else { return Ok(()) };
        receiving.check_end(final_size, true)?;
        let more = receiving.check_credit(final_size, session)?;
        receiving.note(more, session);
        if receiving.stopped.is_none() {
            receiving.drop_content(session);
            // Nobody was told of a stream without a head.
            events.extend(receiving.class.map(|_| StreamEvent::Reset { stream: id, code }));
        }
        self.remove(id, session);
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        id: StreamId,
        session: &mut Grant,
        events: &mut VecDeque<StreamEvent>,
        rtt: Option<Duration>,
        now: Moment,
    ) -> Option<Vec<u8>> {
        let receiving = self.streams.get_mut(&id).filter(|receiving| receiving.class.is_some())?;
        let piece = receiving.pieces.take()?;
        receiving.readable = receiving.pieces.ready() > 0;
        receiving.use_up(piece.len() as u64, session);
        receiving.grow(session, rtt, now);
        self.has_news |= receiving.credit_is_due();
        self.end_if_over(id, session, events);
        Some(piece)
    }

    pub(super) fn stop(&mut self, id: StreamId, code: u64, session: &mut Grant) -> Result<(), StreamError> {
        let receiving = self.streams.get_mut(&id).filter(|receiving| receiving.class.is_some());
        let receiving = receiving.ok_or(StreamError::NoStream)?;
        if receiving.stopped.is_some() {
            return Err(StreamError::Ended);
        }
        receiving.stop(code, session);
        self.has_news = true;
        if receiving.is_over() {
            self.remove(id, session);
        }
        Ok(())
    }

    pub(super) fn on_stop_settled(&mut self, id: StreamId, how: Told) {
        if let Some((_, told)) = self.streams.get_mut(&id).and_then(|receiving| receiving.stopped.as_mut())
            && *told == Told::Sent
        {
            *told = how;
            self.has_news |= how == Told::Due;
        }
    }

    /// The next `Reset` that is due: stream, code and what was sent on it.
    pub(super) fn next_stop(&mut self) -> Option<(StreamId, u64, u64)> {
        if !self.has_news {
            return None;
        }
        for (id, receiving) in &mut self.streams {
            if let Some((code, told @ Told::Due)) = &mut receiving.stopped {
                *told = Told::Sent;
                return Some((*id, *code, 0));
            }
        }
        None
    }

    /// Hands on what grants credit, until a frame is refused for want of room.
    pub(super) fn write_grants(&mut self, write: &mut impl FnMut(Frame<'_>) -> bool) {
        if !self.has_news {
            return;
        }
        if self.tell_max {
            self.tell_max = !write(Frame::MaxStreams { max: self.max });
        }
        for (stream, receiving) in &mut self.streams {
            if receiving.credit_is_due() {
                let frame = Frame::MaxStreamData { stream: *stream, max: receiving.grant.max };
                receiving.grant.tell = !write(frame);
            }
        }
        self.has_news = self.has_news();
    }

    /// Whether the peer has to be told something.
    pub(super) fn has_news(&self) -> bool {
        let due = |receiving: &Receiving| receiving.stop_is_due() || receiving.credit_is_due();
        self.has_news && (self.tell_max || self.streams.values().any(due))
    }

    pub(super) fn on_grants_lost(&mut self) {
        self.tell_max |= self.max > OPEN_MAX;
        self.streams.values_mut().for_each(|receiving| receiving.grant.on_lost());
        self.has_news = true;
    }

    fn end_if_over(&mut self, id: StreamId, session: &mut Grant, events: &mut VecDeque<StreamEvent>) {
        let Some(receiving) = self.streams.get(&id).filter(|receiving| receiving.is_over()) else { return };
        if receiving.stopped.is_none() {
            events.push_back(StreamEvent::Finished { stream: id });
        }
        self.remove(id, session);
    }

    /// A stream ended: the peer may open another.
    fn remove(&mut self, id: StreamId, session: &mut Grant) {
        let Some(receiving) = self.streams.remove(&id) else { return };
        let grown = receiving.grant.window.saturating_sub(STREAM_WINDOW);
        session.window = session.window.saturating_sub(grown);
        self.ended = self.ended.saturating_add(1);
        self.renew_max();
    }

    fn renew_max(&mut self) {
        let max = self.ended.saturating_add(OPEN_MAX);
        if max > self.max && self.max.saturating_sub(self.opened) <= TELL_BELOW {
            self.max = max;
            self.tell_max = true;
            self.has_news = true;
        }
    }
}

/// Reads the head once it is there. A stream of a kind that nobody here knows is refused.
fn read_head(
    id: StreamId,
    receiving: &mut Receiving,
    session: &mut Grant,
    events: &mut VecDeque<StreamEvent>,
) -> Result<(), Misbehaviour> {
    match StreamHead::read(receiving.pieces.peek()) {
        Ok(ReadHead::Whole(head, len)) => {
            receiving.pieces.skip(len as u64);
            receiving.use_up(len as u64, session);
            receiving.class = Some(Class::from(&head));
            events.push_back(StreamEvent::Opened { stream: id, head });
        }
        Ok(ReadHead::Unknown) => receiving.stop(UNKNOWN_HEAD, session),
        Ok(ReadHead::Partly) => {
            if receiving.final_size == Some(receiving.pieces.ready()) {
                return Err(Misbehaviour::StreamHead);
            }
        }
        Err(MalformedHead) => return Err(Misbehaviour::StreamHead),
    }
    Ok(())
}
