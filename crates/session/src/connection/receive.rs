//! An opened packet and its frames.

use p2pchat_proto::Moment;
use p2pchat_proto::datagram::DataHeader;
use p2pchat_proto::frame::{Ack, CloseCode, Frame, Frames, MalformedFrame};
use p2pchat_proto::rekey::RekeyBody;

use super::epochs::Refused;
use super::path::{Arrival, Token};
use super::timers::Timer;
use super::{Closing, Connection, LOST_AFTER, Phase, settle};
use crate::connection::recovery::AckOfUnsent;
use crate::event::{Misbehaviour, SessionEvent};
use crate::handshake::Path;
use crate::streams::reassembly::Taken;

/// What became of a DATA datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is the peer's, and new.
    Yes,
    /// Its number was used, is too old or too high, or no key is there for its epoch.
    Stale,
    /// Its tag is wrong.
    Forged,
}

/// What the frames of a packet ask for together.
#[derive(Debug, Default)]
struct Reading {
    /// An acknowledgement.
    asks: bool,
    /// That none is given: something in it could not be taken.
    refused: bool,
    close: Option<CloseCode>,
    /// One challenge of a packet is answered, so that no answer is longer than what it answers.
    challenge: Option<Token>,
}

impl Connection {
    /// Opens a DATA datagram in place and takes what is in it.
    pub(crate) fn handle_packet(
        &mut self,
        header: DataHeader,
        header_bytes: &[u8],
        sealed: &mut [u8],
        from: Path,
        now: Moment,
    ) -> Opened {
        let number = header.packet_number;
        let bytes = header_bytes.len().saturating_add(sealed.len()) as u64;
        if !self.replay.is_fresh(number) {
            return Opened::Stale;
        }
        let rtt = &self.recovery.rtt;
        let content = match self.epochs.open(header, header_bytes, sealed, || rtt.pto(), now) {
            Ok(content) => content,
            Err(Refused::NoKey) => return Opened::Stale,
            Err(Refused::Forged) => return Opened::Forged,
        };
        let newest = self.replay.is_highest(number);
        self.replay.mark(number);
        self.counters.received = self.counters.received.saturating_add(1);
        match &mut self.phase {
            Phase::Confirming(_) => {
                self.confirm(from, bytes, now);
                self.take(number, content, from, bytes, now);
            }
            Phase::Up { .. } => {
                if self.paths.is_news(from) {
                    let arrival = Arrival { bytes, newest, asks_only: asks_for_paths_only(content) };
                    self.on_path(from, arrival, now);
                }
                self.take(number, content, from, bytes, now);
                self.settle_path(now);
            }
            Phase::Closing(_) => {
                if has_close(content) {
                    self.finish(None);
                }
            }
            Phase::Draining { echoes, due } => {
                if *echoes > 0 && has_close(content) {
                    *echoes = echoes.saturating_sub(1);
                    *due = true;
                }
            }
            Phase::Over => {}
        }
        Opened::Yes
    }

    fn take(&mut self, number: u64, content: &[u8], from: Path, bytes: u64, now: Moment) {
        self.timers.set(Timer::Lost, Some(now + LOST_AFTER));
        self.unheard = 0;
        if self.suspect {
            self.suspect = false;
            self.events.push(SessionEvent::Recovered);
        }
        let mut reading = Reading::default();
        for frame in Frames::new(content) {
            let taken = match &frame {
                Ok(frame) => {
                    reading.asks |= frame.is_ack_eliciting();
                    self.take_frame(frame, &mut reading, from, now)
                }
                Err(MalformedFrame) => Err(Misbehaviour::MalformedFrame),
            };
            if let Err(how) = taken {
                self.misbehaved(how, now);
                return;
            }
        }
        if let Some(token) = reading.challenge {
            self.paths.on_challenge(token, from, bytes, now);
        }
        if let Some(code) = reading.close {
            self.start_draining(code, now);
            return;
        }
        if !reading.refused {
            self.acks.on_received(number, reading.asks, now);
        }
        self.on_activity(now);
    }

    fn take_frame(
        &mut self,
        frame: &Frame<'_>,
        reading: &mut Reading,
        from: Path,
        now: Moment,
    ) -> Result<(), Misbehaviour> {
        match frame {
            Frame::Stream { stream, offset, fin, bytes } => {
                let (id, events) = (*stream, &mut self.events);
                let mut own = Vec::new();
                let complete = &mut |kind, bytes| {
                    if RekeyBody::is_kind(id, kind) {
                        own.push((kind, bytes));
                    } else {
                        events.push(SessionEvent::Body { stream: id, kind, bytes });
                    }
                };
                match self.streams.on_stream(id, *offset, *fin, bytes, complete)? {
                    Taken::Yes => {}
                    Taken::No => reading.refused = true,
                }
                self.keepalives = 0;
                self.epochs.on_traffic();
                for (kind, bytes) in own {
                    self.take_rekey(kind, &bytes, now)?;
                }
            }
            Frame::Ack(ack) => self.take_ack(ack, now)?,
            Frame::MaxData { max } => self.streams.on_max_data(*max),
            Frame::MaxStreamData { stream, max } => self.streams.on_max_stream_data(*stream, *max)?,
            Frame::MaxStreams { max } => self.streams.opened.on_max_streams(*max),
            Frame::Reset { stream, code, final_size } => {
                self.streams.on_reset(*stream, *code, *final_size)?;
            }
            Frame::PathChallenge { token } => reading.challenge = Some(*token),
            Frame::PathResponse { token, observed } => {
                let before = self.paths.is_validated();
                let known = self.paths.on_response(*token, *observed, from, now);
                self.found |= known && !before && self.paths.is_validated();
            }
            Frame::Close { code } => reading.close = Some(*code),
            Frame::Datagram { kind, bytes: [] } => {
                if self.hints.hear(now) {
                    self.events.push(SessionEvent::Hint { kind: *kind });
                }
            }
            // Known by layout; what they bring is for peers that said they understand it.
            Frame::Padding
            | Frame::Ping
            | Frame::Datagram { .. }
            | Frame::Candidates { .. }
            | Frame::Unknown { .. } => {}
        }
        Ok(())
    }

    fn take_ack(&mut self, ack: &Ack<'_>, now: Moment) -> Result<(), Misbehaviour> {
        let (streams, acks) = (&mut self.streams, &mut self.acks);
        let taken = self.recovery.on_ack(ack, now, &mut |outcome, content| {
            settle(streams, outcome, content);
            if let (super::Outcome::Acked, Some(largest)) = (outcome, content.acked_up_to) {
                acks.on_confirmed(largest);
            }
        });
        taken.map_err(|AckOfUnsent| Misbehaviour::AckOfUnsent)
    }
}

impl Closing {
    /// Whether `Close` is to be sent; not again until it is due again.
    pub(super) const fn take_due(&mut self) -> bool {
        core::mem::replace(&mut self.due, false)
    }
}

/// Whether nothing is in a packet but what paths are asked and answered with (RFC 9000 section 9.1).
fn asks_for_paths_only(content: &[u8]) -> bool {
    Frames::new(content).all(|frame| {
        matches!(frame, Ok(Frame::PathChallenge { .. } | Frame::PathResponse { .. } | Frame::Padding))
    })
}

fn has_close(content: &[u8]) -> bool {
    Frames::new(content).any(|frame| matches!(frame, Ok(Frame::Close { .. })))
}
