//! Frames inside a sealed DATA datagram (protocol section 5).
//!
//! A packet's content is frames one after another, each a kind byte and its fields; integers are
//! [`crate::varint`]s. Kinds below 0x20 are laid out here and an unknown one is an error; kinds from
//! 0x20 carry a length, so that a side which does not know one can skip it.
//!
//! | kind | frame | fields |
//! | --- | --- | --- |
//! | 0x00 | `Padding` | |
//! | 0x01 | `Ping` | |
//! | 0x02 | `Ack` | largest, delay in microseconds, further ranges, first range, then (gap, range) each |
//! | 0x03 | `MaxData` | limit |
//! | 0x04 | `MaxStreamData` | stream, limit |
//! | 0x05 | `Reset` | stream, code, final size |
//! | 0x06 | `Datagram` | kind u8, length, bytes |
//! | 0x07 | `PathChallenge` | token \[8\] |
//! | 0x08 | `PathResponse` | token \[8\], observed address |
//! | 0x09 | `Candidates` | 0 for UDP, or 1 and transfer \[16\] for TCP; count u8, addresses |
//! | 0x0a | `Close` | code |
//! | 0x0b | `MaxStreams` | limit |
//! | 0x10 | `Stream` | stream, offset, length, bytes |
//! | 0x11 | `Stream`, the last of its stream | stream, offset, length, bytes |
//!
//! An address is 4 or 6 as a byte, 4 or 16 bytes, port u16. The ranges of `Ack` are those of RFC
//! 9000 section 19.3.1.

pub mod ack;

use core::net::{IpAddr, SocketAddr};

pub use ack::Ack;

use crate::id::TransferId;
use crate::limits::ENDPOINTS_MAX;
use crate::varint::{self, Reader};

/// First kind that carries a length and is skipped where it is unknown.
pub const FIRST_SKIPPABLE: u8 = 0x20;

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const MAX_DATA: u8 = 0x03;
const MAX_STREAM_DATA: u8 = 0x04;
const RESET: u8 = 0x05;
const DATAGRAM: u8 = 0x06;
/// Kind of a [`Frame::Datagram`] without bytes: the sender's user is typing.
pub const TYPING: u8 = 0x01;
const PATH_CHALLENGE: u8 = 0x07;
const PATH_RESPONSE: u8 = 0x08;
const CANDIDATES: u8 = 0x09;
const CLOSE: u8 = 0x0a;
const MAX_STREAMS: u8 = 0x0b;
const STREAM: u8 = 0x10;
const STREAM_FIN: u8 = 0x11;

/// One stream of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// Control, there from the start.
    pub const CONTROL: Self = Self(0);
    /// The direct conversation, there from the start.
    pub const CONVERSATION: Self = Self(1);
}

/// Why a side closes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The user ended it (0).
    Done,
    /// The program stops (1).
    Leaving,
    /// A newer session with the same peer took its place (2).
    Replaced,
    /// The other side broke the protocol (3).
    Misbehaved,
    /// Its keys may not be used any longer, and no new ones were made in time (4).
    KeysUsedUp,
    /// A code of a later version.
    Other(u64),
}

impl CloseCode {
    /// The number on the wire.
    pub const fn to_wire(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Leaving => 1,
            Self::Replaced => 2,
            Self::Misbehaved => 3,
            Self::KeysUsedUp => 4,
            Self::Other(code) => code,
        }
    }

    /// The code that a number on the wire is.
    pub const fn from_wire(code: u64) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Leaving,
            2 => Self::Replaced,
            3 => Self::Misbehaved,
            4 => Self::KeysUsedUp,
            other => Self::Other(other),
        }
    }
}

/// One frame, borrowed from the opened packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Fills a packet.
    Padding,
    /// Asks for an acknowledgement.
    Ping,
    /// Packets that arrived.
    Ack(Ack<'a>),
    /// Credit of the session, in stream bytes since its start.
    MaxData {
        /// The limit.
        max: u64,
    },
    /// Credit of one stream, in bytes since its start.
    MaxStreamData {
        /// The stream.
        stream: StreamId,
        /// The limit.
        max: u64,
    },
    /// The sender of a stream gives it up, or its receiver wants no more of it.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why, as the stream's user says.
        code: u64,
        /// Bytes of the stream that whoever says this has sent: none from its receiver.
        final_size: u64,
    },
    /// Streams that the other side may open, since the start of the session.
    MaxStreams {
        /// The limit.
        max: u64,
    },
    /// Sent once and never repeated.
    Datagram {
        /// What it is.
        kind: u8,
        /// Its content.
        bytes: &'a [u8],
    },
    /// Asks for a [`Frame::PathResponse`] with the same token.
    PathChallenge {
        /// Drawn at random.
        token: [u8; 8],
    },
    /// Answers a [`Frame::PathChallenge`].
    PathResponse {
        /// The challenge's token.
        token: [u8; 8],
        /// Where the challenge came from.
        observed: SocketAddr,
    },
    /// Addresses at which the sender may be reached.
    Candidates {
        /// For UDP, or for the TCP carrier of a transfer.
        transfer: Option<TransferId>,
        /// At most [`ENDPOINTS_MAX`].
        list: Vec<SocketAddr>,
    },
    /// Ends the session.
    Close {
        /// Why.
        code: CloseCode,
    },
    /// A part of a stream.
    Stream {
        /// The stream.
        stream: StreamId,
        /// Where in the stream the bytes belong.
        offset: u64,
        /// Whether the stream ends with them.
        fin: bool,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A kind of a later version.
    Unknown {
        /// At least [`FIRST_SKIPPABLE`].
        kind: u8,
        /// Its content.
        bytes: &'a [u8],
    },
}

/// A packet's content that is not frames. The peer's act, as the packet was authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedFrame;

impl core::fmt::Display for MalformedFrame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed frame")
    }
}

impl core::error::Error for MalformedFrame {}

/// The frames of an opened packet, in order. After an error it ends.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// The frames that `content` consists of.
    pub const fn new(content: &'a [u8]) -> Self {
        Self { reader: Reader::new(content) }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, MalformedFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = decode(&mut self.reader);
        if frame.is_none() {
            self.reader = Reader::new(&[]);
        }
        Some(frame.ok_or(MalformedFrame))
    }
}

impl Frame<'_> {
    /// Whether the receiver has to acknowledge a packet with this frame (RFC 9002 section 2: all
    /// but acknowledgements, padding and the end of the session).
    pub const fn is_ack_eliciting(&self) -> bool {
        match self {
            Self::Padding | Self::Ack(_) | Self::Close { .. } => false,
            Self::Ping
            | Self::MaxData { .. }
            | Self::MaxStreamData { .. }
            | Self::Reset { .. }
            | Self::MaxStreams { .. }
            | Self::Datagram { .. }
            | Self::PathChallenge { .. }
            | Self::PathResponse { .. }
            | Self::Candidates { .. }
            | Self::Stream { .. }
            | Self::Unknown { .. } => true,
        }
    }

    /// Appends the bytes on the wire. Addresses beyond [`ENDPOINTS_MAX`] are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Padding => out.push(PADDING),
            Self::Ping => out.push(PING),
            Self::Ack(ack) => ack.encode(out),
            Self::MaxData { max } => {
                out.push(MAX_DATA);
                varint::write(*max, out);
            }
            Self::MaxStreamData { stream, max } => {
                out.push(MAX_STREAM_DATA);
                varint::write(stream.0, out);
                varint::write(*max, out);
            }
            Self::Reset { stream, code, final_size } => {
                out.push(RESET);
                varint::write(stream.0, out);
                varint::write(*code, out);
                varint::write(*final_size, out);
            }
            Self::MaxStreams { max } => {
                out.push(MAX_STREAMS);
                varint::write(*max, out);
            }
            Self::Datagram { kind, bytes } => {
                out.extend([DATAGRAM, *kind]);
                write_counted(bytes, out);
            }
            Self::PathChallenge { token } => {
                out.push(PATH_CHALLENGE);
                out.extend(token);
            }
            Self::PathResponse { token, observed } => {
                out.push(PATH_RESPONSE);
                out.extend(token);
                write_address(*observed, out);
            }
            Self::Candidates { transfer, list } => {
                out.push(CANDIDATES);
                out.push(transfer.is_some().into());
                if let Some(TransferId(transfer)) = transfer {
                    out.extend(transfer);
                }
                let count = u8::try_from(list.len().min(ENDPOINTS_MAX)).unwrap_or(u8::MAX);
                out.push(count);
                list.iter().take(count.into()).for_each(|address| write_address(*address, out));
            }
            Self::Close { code } => {
                out.push(CLOSE);
                varint::write(code.to_wire(), out);
            }
            Self::Stream { stream, offset, fin, bytes } => {
                StreamHeader { stream: *stream, offset: *offset, fin: *fin, len: bytes.len() }.encode(out);
                out.extend_from_slice(bytes);
            }
            Self::Unknown { kind, bytes } => {
                out.push(*kind);
                write_counted(bytes, out);
            }
        }
    }
}

/// A `Stream` frame up to its bytes, for a writer that copies them from where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHeader {
    /// The stream.
    pub stream: StreamId,
    /// Where in the stream the bytes belong.
    pub offset: u64,
    /// Whether the stream ends with them.
    pub fin: bool,
    /// How many bytes follow.
    pub len: usize,
}

impl StreamHeader {
    /// Appends the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.fin { STREAM_FIN } else { STREAM });
        varint::write(self.stream.0, out);
        varint::write(self.offset, out);
        varint::write(self.len as u64, out);
    }

    /// Bytes of the header.
    pub const fn encoded_len(&self) -> usize {
        1usize
            .saturating_add(varint::len(self.stream.0))
            .saturating_add(varint::len(self.offset))
            .saturating_add(varint::len(self.len as u64))
    }

    /// The longest `len`, up to `available`, with which header and bytes fit into `room` bytes.
    pub const fn fitted(self, available: usize, room: usize) -> Option<Self> {
        let most = Self { len: if available < room { available } else { room }, ..self };
        let Some(left) = room.checked_sub(most.encoded_len()) else {
            return None;
        };
        Some(Self { len: if available < left { available } else { left }, ..self })
    }
}

fn decode<'a>(reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    Some(match reader.u8()? {
        PADDING => Frame::Padding,
        PING => Frame::Ping,
        ACK => Frame::Ack(Ack::decode(reader)?),
        MAX_DATA => Frame::MaxData { max: reader.varint()? },
        MAX_STREAM_DATA => Frame::MaxStreamData { stream: StreamId(reader.varint()?), max: reader.varint()? },
        RESET => Frame::Reset {
            stream: StreamId(reader.varint()?),
            code: reader.varint()?,
            final_size: reader.varint()?,
        },
        DATAGRAM => Frame::Datagram { kind: reader.u8()?, bytes: reader.counted()? },
        PATH_CHALLENGE => Frame::PathChallenge { token: reader.array()? },
        PATH_RESPONSE => Frame::PathResponse { token: reader.array()?, observed: read_address(reader)? },
        CANDIDATES => decode_candidates(reader)?,
        CLOSE => Frame::Close { code: CloseCode::from_wire(reader.varint()?) },
        MAX_STREAMS => Frame::MaxStreams { max: reader.varint()? },
        kind @ (STREAM | STREAM_FIN) => decode_stream(reader, kind == STREAM_FIN)?,
        kind if kind >= FIRST_SKIPPABLE => Frame::Unknown { kind, bytes: reader.counted()? },
        _ => return None,
    })
}

fn decode_stream<'a>(reader: &mut Reader<'a>, fin: bool) -> Option<Frame<'a>> {
    let stream = StreamId(reader.varint()?);
    let offset = reader.varint()?;
    let bytes = reader.counted()?;
    // A stream's last byte has an offset that can be said (RFC 9000 section 19.8).
    let end = offset.checked_add(bytes.len() as u64)?;
    (end <= varint::MAX).then_some(Frame::Stream { stream, offset, fin, bytes })
}

fn decode_candidates<'a>(reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let transfer = match reader.u8()? {
        0 => None,
        1 => Some(TransferId(reader.array()?)),
        _ => return None,
    };
    let count = usize::from(reader.u8()?);
    if count > ENDPOINTS_MAX {
        return None;
    }
    let list = (0..count).map(|_| read_address(reader)).collect::<Option<_>>()?;
    Some(Frame::Candidates { transfer, list })
}

fn write_counted(bytes: &[u8], out: &mut Vec<u8>) {
    varint::write(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.extend(address.port().to_be_bytes());
}

fn read_address(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let ip = match reader.u8()? {
        4 => IpAddr::from(reader.array::<4>()?),
        6 => IpAddr::from(reader.array::<16>()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(reader.array()?)))
}

#[cfg(test)]
mod tests;
