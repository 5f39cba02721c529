//! Streams that either side opens (protocol section 5): one way each, with a head that says what for.
//!
//! - [`outgoing`]: those of this side, by priority, until the peer has all of them.
//! - [`incoming`]: those of the peer, until the user has taken all of them.
//!
//! The session's initiator numbers its streams 2, 4, 6 and so on, its responder 3, 5, 7. A side may
//! have [`OPEN_MAX`] open; one more for each that has ended at the other side. The number of a stream
//! opens all lower ones, so whatever is neither open nor to come has ended, and what still arrives of
//! it means nothing.

pub(crate) mod incoming;
pub(crate) mod outgoing;

use core::time::Duration;
use std::collections::VecDeque;

use p2pchat_crypto::Role;
use p2pchat_proto::Moment;
use p2pchat_proto::frame::{Frame, StreamId};
use p2pchat_proto::stream::StreamHead;

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use super::grant::Grant;
use super::reassembly::Taken;
use super::{Mark, StreamRange};
use crate::event::{Misbehaviour, StreamError, StreamEvent};

/// Streams of one side that are open (protocol section 5).
pub(crate) const OPEN_MAX: u64 = 64;
/// Largest credit of a bulk stream, and so the most that it holds (protocol section 5).
pub(crate) const BULK_WINDOW_MAX: u64 = 8 * 1024 * 1024;
/// Gaps of a bulk stream that are kept (protocol section 5).
pub(crate) const BULK_GAPS_MAX: usize = 1024;
/// Largest credit of a session, and so the most that all its streams hold (protocol section 5).
pub(crate) const SESSION_WINDOW_MAX: u64 = 16 * 1024 * 1024;
/// Number of the first stream that is opened.
const FIRST: u64 = 2;
/// Between the numbers of two streams of one side.
const STEP: u64 = 2;

/// What goes first (protocol section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Lines of a group.
    Group,
    /// Content of a transfer.
    Bulk,
}

impl From<&StreamHead> for Class {
    fn from(head: &StreamHead) -> Self {
        match head {
            StreamHead::Group(_) => Self::Group,
            StreamHead::Transfer { .. } => Self::Bulk,
        }
    }
}

/// Whether the peer knows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Due,
    Sent,
    Acked,
}

impl Told {
    /// What carried it was lost.
    const fn on_lost(&mut self) {
        if matches!(self, Self::Sent) {
            *self = Self::Due;
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What the numbers of this side's streams have in common: 0 or 1.
    ours: u64,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    events: VecDeque<StreamEvent>,
}

impl Opened {
    pub(crate) fn new(role: Role) -> Self {
        let (ours, theirs) = match role {
            Role::Initiator => (0, 1),
            Role::Responder => (1, 0),
        };
        Self {
            ours,
            outgoing: Outgoing::new(FIRST.saturating_add(ours)),
            incoming: Incoming::new(FIRST.saturating_add(theirs)),
            events: VecDeque::new(),
        }
    }

    const fn is_ours(&self, id: StreamId) -> bool {
        id.0 & 1 == self.ours
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// This side gives a stream up, or wants no more of the peer's.
    pub(crate) fn reset(&mut self, id: StreamId, code: u64, session: &mut Grant) -> Result<(), StreamError> {
        if self.is_ours(id) { self.outgoing.reset(id, code) } else { self.incoming.stop(id, code, session) }
    }

    /// The next bytes of a stream of the peer's.
    pub(crate) fn read(
        &mut self,
        id: StreamId,
        session: &mut Grant,
        rtt: Option<Duration>,
        now: Moment,
    ) -> Option<Vec<u8>> {
        self.incoming.read(id, session, &mut self.events, rtt, now)
    }

    pub(crate) fn on_stream(
        &mut self,
        range: StreamRange,
        bytes: &[u8],
        session: &mut Grant,
    ) -> Result<Taken, Misbehaviour> {
        if self.is_ours(range.stream) {
            return Err(Misbehaviour::StreamNotAllowed);
        }
        self.incoming.on_stream(range, bytes, session, &mut self.events)
    }

    pub(crate) fn on_reset(
        &mut self,
        id: StreamId,
        code: u64,
        final_size: u64,
        session: &mut Grant,
    ) -> Result<(), Misbehaviour> {
        if self.is_ours(id) {
            return self.outgoing.on_refused(id, code, final_size, &mut self.events);
        }
        self.incoming.on_reset(id, code, final_size, session, &mut self.events)
    }

    pub(crate) fn on_max_stream_data(&mut self, id: StreamId, max: u64) -> Result<(), Misbehaviour> {
        if !self.is_ours(id) {
            return Err(Misbehaviour::StreamNotAllowed);
        }
        self.outgoing.on_credit(id, max)
    }

    pub(crate) fn on_max_streams(&mut self, max: u64) {
        self.outgoing.on_max_streams(max, &mut self.events);
    }

    pub(crate) fn on_acked(&mut self, range: StreamRange) {
        if self.is_ours(range.stream) {
            self.outgoing.on_acked(range, &mut self.events);
        } else {
            self.incoming.on_stop_settled(range.stream, Told::Acked);
        }
    }

    pub(crate) fn on_lost(&mut self, range: StreamRange) {
        if self.is_ours(range.stream) {
            self.outgoing.on_lost(range);
        } else {
            self.incoming.on_stop_settled(range.stream, Told::Due);
        }
    }

    /// Whether the peer has to be told of credit, or that a stream is given up.
    pub(crate) fn has_news(&self) -> bool {
        self.incoming.has_news() || self.outgoing.has_resets()
    }

    /// Hands on every frame that grants credit, until one is refused for want of room.
    pub(crate) fn write_grants(&mut self, write: &mut impl FnMut(Frame<'_>) -> bool) {
        self.incoming.write_grants(write);
    }

    pub(crate) fn on_grants_lost(&mut self) {
        self.incoming.on_grants_lost();
    }

    /// Appends a `Reset` that is due, if it fits into `room` bytes.
    pub(crate) fn write_reset(&mut self, room: usize, out: &mut Vec<u8>) -> Option<StreamRange> {
        /// Most bytes of a `Reset`: its kind and three integers.
        const RESET_LEN: usize = 25;
        if room < RESET_LEN {
            return None;
        }
        let (stream, code, final_size) = self.outgoing.next_reset().or_else(|| self.incoming.next_stop())?;
        Frame::Reset { stream, code, final_size }.encode(out);
        Some(StreamRange { stream, offset: final_size, len: 0, mark: Mark::Reset })
    }
}

#[cfg(test)]
mod tests;
