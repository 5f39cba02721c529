//! What an endpoint holds, in numbers, and the most that it may hold: what simulations compare.

use p2pchat_proto::limits::BODY_MAX;
use p2pchat_proto::stream::STREAM_HEAD_MAX;

use crate::connection::Connection;
use crate::connection::acks::RANGES_KEPT;
use crate::connection::recovery::SENT_KEPT_MAX;
use crate::endpoint::Endpoint;
use crate::streams::opened::outgoing::STREAMS_BUFFER_MAX;
use crate::streams::opened::{BULK_GAPS_MAX, OPEN_MAX, SESSION_WINDOW_MAX};
use crate::streams::pieces::BLOCK;
use crate::streams::reassembly::GAPS_MAX;
use crate::streams::send::SEND_BUFFER_MAX;
use crate::streams::{STREAM_WINDOW, Streams};

/// What all sessions of an endpoint hold at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Sessions, those that are still being made or closed included.
    pub sessions: usize,
    /// Streams of those that are up and that exist from the start.
    pub streams: usize,
    /// Streams that either side opened.
    pub opened: usize,
    /// Bytes that wait on those to be sent or acknowledged.
    pub opened_unacknowledged: usize,
    /// Memory for bytes on those that were not taken.
    pub opened_untaken: usize,
    /// Pieces into which these fall.
    pub opened_pieces: usize,
    /// Bytes that wait to be sent or acknowledged.
    pub unacknowledged: usize,
    /// Room for bytes that arrived before some that belong before them.
    pub out_of_order: usize,
    /// Bytes of bodies that have not come to their end.
    pub incomplete: usize,
    /// Packets that were sent and are not settled.
    pub packets: usize,
    /// Ranges of packets that arrived, and of bytes that are out of order.
    pub ranges: usize,
}

impl Held {
    /// The most that so many sessions with so many streams may hold.
    pub const fn most(self) -> Self {
        let Self { sessions, streams, .. } = self;
        let window = STREAM_WINDOW as usize;
        let open = OPEN_MAX as usize;
        // Beside the credit, the rest of the first and of the last block of each stream.
        let ends = open.saturating_mul(2).saturating_mul(BLOCK);
        let untaken = (SESSION_WINDOW_MAX as usize).saturating_add(ends);
        let heads = open.saturating_mul(STREAM_HEAD_MAX.saturating_add(1));
        let pieces = open.saturating_mul(BULK_GAPS_MAX.saturating_add(1));
        Self {
            sessions,
            streams,
            opened: sessions.saturating_mul(open.saturating_mul(2)),
            opened_unacknowledged: sessions.saturating_mul(STREAMS_BUFFER_MAX.saturating_add(heads)),
            opened_untaken: sessions.saturating_mul(untaken),
            opened_pieces: sessions.saturating_mul(pieces),
            unacknowledged: streams.saturating_mul(SEND_BUFFER_MAX),
            out_of_order: streams.saturating_mul(window),
            incomplete: streams.saturating_mul(BODY_MAX),
            packets: sessions.saturating_mul(SENT_KEPT_MAX),
            ranges: sessions.saturating_mul(RANGES_KEPT).saturating_add(streams.saturating_mul(GAPS_MAX)),
        }
    }

    /// Whether none of it is more than that.
    pub const fn is_within(self, most: Self) -> bool {
        self.sessions <= most.sessions
            && self.streams <= most.streams
            && self.opened <= most.opened
            && self.opened_unacknowledged <= most.opened_unacknowledged
            && self.opened_untaken <= most.opened_untaken
            && self.opened_pieces <= most.opened_pieces
            && self.unacknowledged <= most.unacknowledged
            && self.out_of_order <= most.out_of_order
            && self.incomplete <= most.incomplete
            && self.packets <= most.packets
            && self.ranges <= most.ranges
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(other.sessions),
            streams: self.streams.saturating_add(other.streams),
            opened: self.opened.saturating_add(other.opened),
            opened_unacknowledged: self.opened_unacknowledged.saturating_add(other.opened_unacknowledged),
            opened_untaken: self.opened_untaken.saturating_add(other.opened_untaken),
            opened_pieces: self.opened_pieces.saturating_add(other.opened_pieces),
            unacknowledged: self.unacknowledged.saturating_add(other.unacknowledged),
            out_of_order: self.out_of_order.saturating_add(other.out_of_order),
            incomplete: self.incomplete.saturating_add(other.incomplete),
            packets: self.packets.saturating_add(other.packets),
            ranges: self.ranges.saturating_add(other.ranges),
        }
    }
}

impl Endpoint {
    /// What all its sessions hold.
    pub fn held(&self) -> Held {
        let sessions = Held { sessions: self.len(), ..Held::default() };
        self.connections().map(Connection::held).fold(sessions, Held::plus)
    }
}

impl Connection {
    fn held(&self) -> Held {
        let held = self.streams().held();
        let ranges = held.ranges.saturating_add(self.acks().ranges());
        Held { packets: self.recovery().sent.len(), ranges, ..held }
    }
}

impl Streams {
    fn held(&self) -> Held {
        let (ours, opened_unacknowledged) = self.opened.outgoing.held();
        let (theirs, opened_untaken, opened_pieces) = self.opened.incoming.held();
        let opened = ours.saturating_add(theirs);
        let opened = Held { opened, opened_unacknowledged, opened_untaken, opened_pieces, ..Held::default() };
        self.each().fold(opened, |sum, (send, reassembly, bodies)| {
            sum.plus(Held {
                streams: 1,
                unacknowledged: send.len(),
                out_of_order: reassembly.room(),
                incomplete: bodies.len(),
                ranges: reassembly.gaps(),
                ..Held::default()
            })
        })
    }
}
