//! What the control plane asks of its surroundings, and what it lets people know.

use core::fmt;
use core::net::SocketAddr;

use p2pchat_proto::transfer::{Attempt, DeclineReason, FailureReason, TcpCandidates};
use p2pchat_proto::{PeerId, TransferId};

use crate::carrier::{CarrierFault, CarrierLoss, CarrierSpec};

/// Something to be done by whoever holds sessions, sockets and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a body on the control stream of the session with `to`.
    Send {
        /// To whom.
        to: PeerId,
        /// Its kind byte.
        kind: u8,
        /// Its bytes.
        body: Vec<u8>,
    },
    /// Make an attempt at a carrier.
    StartCarrier(CarrierSpec),
    /// Dial these as well.
    Candidates {
        /// For which transfer.
        transfer: TransferId,
        /// For which attempt.
        attempt: Attempt,
        /// Where the other side listens.
        list: TcpCandidates,
    },
    /// Everything came: compare with the sender's hash, and give the file its name.
    Publish {
        /// Which transfer.
        transfer: TransferId,
        /// What the sender says the content hashes to.
        hash: [u8; 32],
    },
    /// The transfer ended, well or not: close what belongs to it, remove what is unfinished.
    /// Emitted exactly once for every transfer.
    StopCarrier {
        /// Which transfer.
        transfer: TransferId,
    },
}

/// How a transfer is, whenever that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which transfer.
    pub transfer: TransferId,
    /// With whom.
    pub peer: PeerId,
    /// Which way the file goes.
    pub direction: Direction,
    /// How it is.
    pub state: State,
    /// The file's name as it came or was given: unsanitised.
    pub name: String,
    /// Bytes that passed.
    pub bytes: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes a second, lately; 0 in a stall.
    pub rate: Option<u64>,
    /// The TCP address that listens for this transfer.
    pub tcp: Option<SocketAddr>,
}

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To here.
    Incoming,
    /// From here.
    Outgoing,
}

/// See [`Update`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waits for the receiver's word.
    Offered,
    /// The receiver wants it.
    Accepted,
    /// The receiver does not. The end.
    Declined(DeclineReason),
    /// Content passes, or another carrier is being made.
    Running,
    /// All of the content passed; the hashes are compared.
    Verifying,
    /// Verified, and under its final name. The end.
    Done {
        /// At the receiver: where it lies.
        path: Option<String>,
        /// BLAKE3 of the content.
        hash: [u8; 32],
    },
    /// Ended without the file. The end.
    Failed(TransferFailure),
    /// Taken back. The end.
    Cancelled(Party),
}

impl State {
    /// Whether nothing comes after it.
    pub const fn is_end(&self) -> bool {
        match self {
            Self::Offered | Self::Accepted | Self::Running | Self::Verifying => false,
            Self::Declined(_) | Self::Done { .. } | Self::Failed(_) | Self::Cancelled(_) => true,
        }
    }
}

/// Whose act it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// This user's.
    Here,
    /// The other side's.
    Peer,
}

/// Why a transfer ended without the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferFailure {
    /// Something here: source, disk, or the comparison of the hashes.
    Here(CarrierFault),
    /// The other side says so.
    Peer(FailureReason),
    /// No attempt at a carrier got further; the last one ended so.
    NoCarrier(CarrierLoss),
    /// The other side fell silent although the session is up.
    NoWord,
    /// The session was lost and did not come back in time.
    SessionLost,
    /// The session was closed.
    SessionClosed,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nothing was heard any more: it may come back.
    Lost,
    /// One side wanted it so.
    Closed,
}

/// A body that could not be taken. The peer's act, except for kinds of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// None of the kinds of a transfer; to be ignored, it may be of a later version.
    UnknownKind(u8),
    /// Bytes that are no body of their kind.
    Malformed(p2pchat_proto::codec::DecodeError),
    /// A body that says what cannot be.
    Impossible(&'static str),
}

/// A command that could not be carried out. The user's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such transfer, or it ended.
    NoSuchTransfer,
    /// It does not wait for an answer from here.
    NotPending,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "unknown kind {kind:#04x}"),
            Self::Malformed(error) => error.fmt(f),
            Self::Impossible(what) => write!(f, "impossible {what}"),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchTransfer => "no such transfer",
            Self::NotPending => "the transfer does not wait for an answer",
        })
    }
}

impl core::error::Error for BodyError {}
impl core::error::Error for CommandError {}
