//! What goes into the next packet, and several packets into one system call.

use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, TAG_LEN};
use p2pchat_proto::frame::{CloseCode, Frame};

use super::mtu::DATAGRAM_SIZE;
use super::packets::Content;
use super::reserve::LetOut;
use super::timers::Timer;
use super::{Confirmation, Connection, Phase, settle};
use crate::connection::recovery::Outcome;
use crate::handshake::rates::{PerSecond, UNVALIDATED_PER_SECOND};
use crate::wire::Transmit;

/// Bytes that leave in one system call at most: what fits one UDP datagram over IPv4, of which the
/// system cuts the segments (RFC 768).
const BATCH_MAX: usize = 65_507;

/// Bytes that a packet with something to acknowledge has at most besides stream bytes: what the
/// window has to have room for. A short acknowledgement and the header of a `Stream`.
const FRAMES_OVERHEAD: u64 = 40;

/// Bytes in which every `Stream` can say one more: where they are left, none waits.
const STREAM_ROOM: usize = 26;

/// What made it into a packet.
#[derive(Debug, Default)]
struct Written {
    content: Content,
    /// Whether the peer has to acknowledge it.
    asks: bool,
    /// Whether stream bytes are in it.
    streams: bool,
    /// Whether some of them were sent before.
    again: bool,
}

impl Connection {
    /// Appends the datagrams that leave next, all of one size but the last.
    pub(crate) fn poll_transmit(
        &mut self,
        max_segments: usize,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        out: &mut Vec<u8>,
        now: Moment,
    ) -> Option<Transmit> {
        self.attend_keys(now);
        let segment_size = match &mut self.phase {
            Phase::Confirming(Confirmation::Repeating(repeating)) => {
                return repeating.take_due(budget, now).map(|(path, fin)| {
                    out.extend_from_slice(fin);
                    path.transmit()
                });
            }
            Phase::Up { .. } if self.paths.deadline() <= now => {
                if let Some(transmit) = self.write_sally(budget, out, now) {
                    return Some(transmit);
                }
                self.write_packets(max_segments, out, now)?
            }
            Phase::Up { .. } if self.recovery.mtu.deadline().is_some_and(|at| at <= now) => {
                if let Some(transmit) = self.write_mtu_probe(out, now) {
                    return Some(transmit);
                }
                self.write_packets(max_segments, out, now)?
            }
            Phase::Confirming(_) | Phase::Up { .. } => self.write_packets(max_segments, out, now)?,
            Phase::Closing(closing) => {
                let code = closing.code;
                if !closing.take_due() || !self.write_close(code, out) {
                    return None;
                }
                self.timers.set(Timer::CloseRepeat, Some(now + self.close_interval()));
                None
            }
            Phase::Draining { due, .. } => {
                if !core::mem::replace(due, false) || !self.write_close(CloseCode::Done, out) {
                    return None;
                }
                None
            }
            Phase::Over => return None,
        };
        Some(Transmit { segment_size, ..self.paths.current().transmit() })
    }

    /// Whether [`Self::poll_transmit`] may have something after it had; seldom wrong, and then only where it
    /// says so.
    pub(crate) fn may_send_more(&self, now: Moment) -> bool {
        !matches!(self.phase, Phase::Up { .. })
            || self.epochs.are_spent(now)
            || self.ping
            || self.recovery.probes > 0
            || self.hints.waits()
            || self.streams.has_grants()
            || self.streams.sendable().total() > 0
            || self.acks.is_due(now)
            || self.paths.deadline() <= now
            || self.recovery.mtu.deadline().is_some_and(|at| at <= now)
    }

    /// Appends packets; `None` if there is nothing to say, else the size of a segment where there
    /// are several.
    fn write_packets(
        &mut self,
        max_segments: usize,
        out: &mut Vec<u8>,
        now: Moment,
    ) -> Option<Option<usize>> {
        let mut count = 0usize;
        let datagram = self.datagram_size();
        let segments = max_segments.min(BATCH_MAX.checked_div(datagram).unwrap_or(1)).max(1);
        while count < segments {
            let start = out.len();
            // Black holes end here: what is sent again while nothing is heard has a size that passes.
            if self.datagram_size() != datagram {
                break;
            }
            let Some(most) = self.room(datagram) else {
                self.recovery.nothing_waits();
                break;
            };
            if !self.write_packet(most, out, now) {
                break;
            }
            count = count.saturating_add(1);
            // A shorter one can only be the last segment.
            if out.len().saturating_sub(start) < datagram {
                break;
            }
            self.recovery.mtu.on_full(now);
        }
        match count {
            0 => None,
            1 => Some(None),
            _ => Some(Some(datagram)),
        }
    }

    /// Appends the next packet, of `most` bytes at most, if there is one to send now.
    fn write_packet(&mut self, most: usize, out: &mut Vec<u8>, now: Moment) -> bool {
        if self.epochs.are_spent(now) {
            return false;
        }
        let streams = &mut self.streams;
        self.recovery.make_room(now, &mut |outcome, content| settle(streams, outcome, content));
        let probing = self.recovery.probes > 0;
        let mut sendable = self.streams.sendable();
        // A probe has something to carry, and what is said for the first time while the peer does not
        // answer takes along what it may not have.
        let said_unanswered =
            self.recovery.is_backing_off() && sendable.total() > 0 && !self.streams.has_lost();
        if (probing && sendable.urgent == 0) || said_unanswered {
            self.repeat_oldest();
            sendable = self.streams.sendable();
        }
        let other = self.ping || self.hints.waits() || self.streams.has_grants();
        let wants = sendable.total() > 0 || other;
        let needed = |bytes: u64| bytes.saturating_add(FRAMES_OVERHEAD).min(most as u64);
        let may = if probing || !wants {
            self.recovery.nothing_waits();
            if probing { LetOut::All } else { LetOut::Nothing }
        } else if sendable.bulk > 0 {
            let urgent = (sendable.urgent > 0 || other).then(|| needed(sendable.urgent));
            let total = sendable.total();
            self.recovery.lets_out_beside_bulk(urgent, needed(total), total, now)
        } else if self.recovery.lets_out(needed(sendable.urgent), sendable.urgent, now) {
            LetOut::All
        } else {
            LetOut::Nothing
        };
        if may == LetOut::Nothing && !self.acks.is_due(now) {
            return false;
        }
        let start = out.len();
        self.begin_packet(out);
        let end = start.saturating_add(most).saturating_sub(TAG_LEN);
        let written = self.write_frames(may, end, out, now);
        if out.len().saturating_sub(start) == DATA_HEADER_LEN {
            out.truncate(start);
            return false;
        }
        if written.streams {
            self.keepalives = 0;
            self.epochs.on_traffic();
            // What waits may not fit into the last bytes; segments have one size.
            let waits = || {
                let sendable = self.streams.sendable();
                if may == LetOut::All { sendable.total() } else { sendable.urgent }
            };
            if end.saturating_sub(out.len()) < STREAM_ROOM && waits() > 0 && self.paths.is_validated() {
                out.resize(end, 0);
            }
        }
        self.seal_packet(start, out);
        let size = out.len().saturating_sub(start) as u64;
        self.counters.retransmitted = self.counters.retransmitted.saturating_add(written.again.into());
        self.recovery.on_sent(size, written.asks, written.content, now);
        self.paths.take(size);
        self.on_activity(now);
        true
    }

    /// Appends what a packet has to say, up to `end`.
    fn write_frames(&mut self, may: LetOut, end: usize, out: &mut Vec<u8>, now: Moment) -> Written {
        let mut written = Written::default();
        let room = |out: &Vec<u8>| end.saturating_sub(out.len());
        if self.acks.is_wanted() {
            written.content.acked_up_to = self.acks.write(now, room(out), out);
        }
        if may == LetOut::Nothing {
            // A side that only receives asks now and then, to be able to forget.
            if self.acks.wants_confirmation() && self.recovery.sent.in_flight == 0 && room(out) > 0 {
                Frame::Ping.encode(out);
                written.asks = true;
            }
            return written;
        }
        while let Some(range) = self.streams.opened.write_reset(room(out), out) {
            written.content.push(range);
            written.asks = true;
        }
        written.content.credit = self.streams.write_grants(room(out), out);
        while let Some(chunk) = self.streams.write_frame(room(out), may == LetOut::All, out) {
            written.content.push((&chunk.header).into());
            written.streams = true;
            written.again |= chunk.again;
        }
        written.asks |= written.content.credit || written.streams;
        if let Some(kind) = self.hints.take(room(out)) {
            Frame::Datagram { kind, bytes: &[] }.encode(out);
            written.asks = true;
        }
        if !written.asks && room(out) > 0 {
            Frame::Ping.encode(out);
            written.asks = true;
        }
        self.ping = false;
        written
    }

    /// What waits for an acknowledgement goes again, from the oldest on, as far as a packet has room
    /// beside what is to be sent anyhow.
    fn repeat_oldest(&mut self) {
        let enough = DATAGRAM_SIZE as u64;
        for content in self.recovery.oldest_in_flight() {
            let sendable = self.streams.sendable();
            if sendable.urgent >= enough {
                break;
            }
            // Bulk that waits is as good as bulk that is on its way; a line is not.
            let is_urgent = content.streams().any(|range| self.streams.is_urgent(range.stream));
            if is_urgent || sendable.total() < enough {
                settle(&mut self.streams, Outcome::Lost, content);
            }
        }
    }

    fn write_close(&mut self, code: CloseCode, out: &mut Vec<u8>) -> bool {
        if self.epochs.are_exhausted() || self.room(DATAGRAM_SIZE).is_none() {
            return false;
        }
        let start = out.len();
        self.begin_packet(out);
        Frame::Close { code }.encode(out);
        self.seal_packet(start, out);
        let size = out.len().saturating_sub(start) as u64;
        self.recovery.sent.push_unasked(size);
        self.paths.take(size);
        true
    }

    #[cfg(test)]
    pub(crate) fn sealed_for_test(&mut self, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.begin_packet(&mut out);
        out.extend_from_slice(content);
        self.seal_packet(0, &mut out);
        self.recovery.sent.push_unasked(out.len() as u64);
        out
    }

    pub(super) fn next_number(&self) -> u64 {
        self.recovery.sent.next_number()
    }

    pub(super) fn begin_packet(&self, out: &mut Vec<u8>) {
        out.reserve(self.recovery.mtu.size());
        let header = DataHeader {
            epoch: self.epochs.header_byte(),
            receiver: self.link.receiver,
            packet_number: self.next_number(),
        };
        out.extend(header.encode());
    }

    /// Seals what follows the header at `start`, in place, and appends the tag.
    pub(super) fn seal_packet(&mut self, start: usize, out: &mut Vec<u8>) {
        let number = self.next_number();
        let packet = out.get_mut(start..).and_then(|packet| packet.split_at_mut_checked(DATA_HEADER_LEN));
        let Some((header, content)) = packet else {
            return;
        };
        let tag = self.epochs.seal(number, header, content);
        out.extend(tag);
        self.counters.sent = self.counters.sent.saturating_add(1);
    }
}
