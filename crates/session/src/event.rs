//! What a session tells its user: that it is up, what arrived, how it ended and by whose act.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

pub use p2pchat_proto::frame::{CloseCode, StreamId};
pub use p2pchat_proto::stream::{StreamHead, TransferPurpose};

/// One session in one [`crate::Endpoint`], never used again after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The first authentic DATA arrived: both sides hold the keys, and [`crate::Endpoint::send`]
    /// works from here on.
    Up {
        /// Where the peer is.
        remote: SocketAddr,
        /// This side's address, where the system told it.
        local_ip: Option<IpAddr>,
    },
    /// A whole body arrived, exactly once and in the order of its stream.
    Body {
        /// On which stream.
        stream: StreamId,
        /// Its kind, known or not.
        kind: u8,
        /// Its bytes, at most [`p2pchat_proto::limits::BODY_MAX`].
        bytes: Vec<u8>,
    },
    /// The session goes on along another path: either side has another address, or another one is
    /// better.
    Moved {
        /// Where the peer is now.
        remote: SocketAddr,
        /// This side's address, where the system told it.
        local_ip: Option<IpAddr>,
    },
    /// Something happened to a stream beside the first two.
    Stream(StreamEvent),
    /// The peer hints at something, which is never repeated; at most once a second.
    Hint {
        /// At what, known or not; see [`p2pchat_proto::frame::TYPING`].
        kind: u8,
    },
    /// The peer has not answered several probes.
    Suspect,
    /// The peer is heard again.
    Recovered,
    /// The session is over. Always its last event, exactly once.
    Ended(EndReason),
}

/// Something happened to a stream that a side opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// The peer opened a stream.
    Opened {
        /// Which one.
        stream: StreamId,
        /// What for.
        head: StreamHead,
    },
    /// There is something to take where there was nothing, by [`crate::Endpoint::read`].
    Readable {
        /// Of which stream.
        stream: StreamId,
    },
    /// The peer's stream was taken to its end, or the peer has acknowledged all of this side's.
    Finished {
        /// Which one; there is no such stream any more.
        stream: StreamId,
    },
    /// The peer gave its stream up, or wants no more of this side's. What was not taken is gone.
    Reset {
        /// Which one; there is no such stream any more.
        stream: StreamId,
        /// Why, as the peer's program says.
        code: u64,
    },
    /// A chunk that was refused for want of room finds room now.
    Writable {
        /// On which stream.
        stream: StreamId,
    },
    /// A stream can be opened where that was refused because too many were open.
    MayOpen,
}

/// Why nothing was done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamError {
    /// There is no such session, it is not up, or it is ending.
    NotUp,
    /// There is no such stream that one could do that with, or it has ended.
    NoStream,
    /// As many streams are open as may be; [`StreamEvent::MayOpen`] tells when one can be opened.
    TooMany,
    /// The stream was finished or given up before.
    Ended,
    /// The chunk is longer than half of [`crate::STREAM_BUFFER_MAX`].
    TooLong,
    /// Too many bytes wait; [`StreamEvent::Writable`] tells when the chunk finds room.
    Full,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUp => "the session is not up",
            Self::NoStream => "no such stream",
            Self::TooMany => "too many streams are open",
            Self::Ended => "the stream has ended",
            Self::TooLong => "the chunk is too long",
            Self::Full => "too many bytes wait",
        })
    }
}

impl core::error::Error for StreamError {}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The peer said so, authenticated.
    ClosedByPeer(CloseCode),
    /// [`crate::Endpoint::close`] was called, and the peer knows or was told several times.
    ClosedHere,
    /// Nothing was heard for [`crate::LOST_AFTER`]. Whatever else may have happened out there looks
    /// the same from here.
    Lost,
    /// No handshake was completed within [`crate::HANDSHAKE_GIVE_UP`].
    HandshakeTimedOut,
    /// A side has sent [`crate::PACKETS_MAX`] packets under one key, or its keys should have been
    /// renewed [`crate::REKEY_OVERDUE`] ago.
    KeysUsedUp,
    /// The peer, and nobody else, broke the protocol.
    PeerMisbehaved(Misbehaviour),
}

/// How a peer broke the protocol, inside an authentic datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Its handshake message was authentic, but no message of this handshake, or it came from
    /// another identity than the introduced one.
    Handshake,
    /// Content that is not frames.
    MalformedFrame,
    /// It acknowledged a packet that was never sent.
    AckOfUnsent,
    /// It sent more than it had credit for.
    CreditExceeded,
    /// It used a stream that does not exist.
    StreamNotAllowed,
    /// It ended a stream that lasts as long as the session.
    StreamEnded,
    /// It opened more streams than it may.
    TooManyStreams,
    /// Its stream began with something that is no head, or ended before it.
    StreamHead,
    /// It said of a stream that it ends elsewhere than it said or sent before.
    FinalSize,
    /// It announced a body longer than [`p2pchat_proto::limits::BODY_MAX`].
    BodyTooLong,
    /// It renewed the keys out of turn, for another epoch than the next, too early, or with a message
    /// that does not open.
    Rekey,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer(_) => f.write_str("closed by the peer"),
            Self::ClosedHere => f.write_str("closed here"),
            Self::Lost => f.write_str("lost"),
            Self::HandshakeTimedOut => f.write_str("no handshake in time"),
            Self::KeysUsedUp => f.write_str("keys used up"),
            Self::PeerMisbehaved(how) => write!(f, "the peer broke the protocol: {how}"),
        }
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake message out of place",
            Self::MalformedFrame => "malformed frame",
            Self::AckOfUnsent => "acknowledged what was never sent",
            Self::CreditExceeded => "sent beyond its credit",
            Self::StreamNotAllowed => "used a stream that does not exist",
            Self::StreamEnded => "ended a stream that lasts",
            Self::TooManyStreams => "opened too many streams",
            Self::StreamHead => "began a stream without a head",
            Self::FinalSize => "said that a stream ends elsewhere",
            Self::BodyTooLong => "announced a body that is too long",
            Self::Rekey => "renewed the keys out of turn",
        })
    }
}

/// Why a body was not taken for sending. Nothing of it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// There is no such session, it is not up, or it is ending.
    NotUp,
    /// The session has no such stream.
    NoStream,
    /// The body is longer than [`p2pchat_proto::limits::BODY_MAX`].
    TooLong,
    /// More than [`crate::SEND_BUFFER_MAX`] bytes wait on this stream.
    Full,
    /// The kind is one by which the session renews its keys.
    Reserved,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUp => "the session is not up",
            Self::NoStream => "no such stream",
            Self::TooLong => "the body is too long",
            Self::Full => "too many bytes wait on this stream",
            Self::Reserved => "the kind is the session's own",
        })
    }
}

impl core::error::Error for SendError {}
