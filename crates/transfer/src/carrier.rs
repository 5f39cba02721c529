//! What the control plane and a driver say to each other about carriers.

use core::fmt;
use core::net::SocketAddr;

use p2pchat_crypto::Suite;
use p2pchat_proto::TransferId;
use p2pchat_proto::transfer::{Attempt, SecretBytes, TcpCandidates};

use crate::name::SafeName;

/// One attempt at a carrier, to be made by the driver: listen, dial what comes, pass the content.
///
/// A later attempt of the same transfer takes the place of an earlier one, and keeps what that
/// one hashed and wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierSpec {
    /// Which transfer.
    pub transfer: TransferId,
    /// Which attempt.
    pub attempt: Attempt,
    /// Which end of it this is.
    pub end: CarrierEnd,
    /// What seals the records: the suite of the session.
    pub suite: Suite,
    /// Both sides' secret for this attempt.
    pub secret: SecretBytes,
    /// Bytes of the file.
    pub total: u64,
    /// Chunks that the receiver holds, from the start; the first one to be sent.
    pub have: u64,
}

/// Which end of a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierEnd {
    /// The file comes from here.
    Sender,
    /// The file goes here, under this name or a numbered one.
    Receiver {
        /// The name to be published under.
        name: SafeName,
    },
}

/// What a driver reports of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierEvent {
    /// Which attempt; what an earlier one reports late is ignored.
    pub attempt: Attempt,
    /// What happened.
    pub report: CarrierReport,
}

/// See [`CarrierEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierReport {
    /// The driver listens, or could not and dials only.
    Listening {
        /// Where the other side may dial.
        candidates: TcpCandidates,
        /// Where the socket is bound.
        at: Option<SocketAddr>,
    },
    /// A connection was proven and chosen; content passes from now on.
    Connected,
    /// Content passed.
    Progress {
        /// Bytes of the file that passed, those of earlier attempts included.
        bytes: u64,
    },
    /// At the sender: the last record was written.
    Sent {
        /// BLAKE3 of the whole file.
        hash: [u8; 32],
    },
    /// At the receiver: every byte was opened, hashed and written to the partial file.
    Received,
    /// At the receiver, answering [`crate::Effect::Publish`]: the hash was right and the file has its name.
    Published {
        /// Where it lies.
        path: String,
    },
    /// The carrier is gone; another attempt may go on where this one ended.
    Lost {
        /// Why.
        why: CarrierLoss,
        /// At the receiver: chunks held now, from the start. At the sender 0.
        have: u64,
    },
    /// The transfer cannot go on.
    Failed(CarrierFault),
}

/// Why a carrier is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarrierLoss {
    /// No connection could be made and proven in time.
    Unreachable,
    /// The connection ended before the last record.
    Broken,
    /// A record came that the sender cannot have sealed.
    Damaged,
    /// Nothing came for so long that it is given up.
    Stalled,
}

/// Why a driver cannot go on with a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierFault {
    /// The source is not what was offered any more.
    SourceChanged,
    /// The source could not be read.
    SourceUnreadable {
        /// What the system said.
        reason: String,
    },
    /// No room left.
    DiskFull {
        /// Where.
        path: String,
    },
    /// The download directory or a file in it could not be made or written.
    NotWritable {
        /// Where.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The hash of what came is not the one that the sender stated.
    Corrupt,
}

impl fmt::Display for CarrierLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "no TCP connection could be made",
            Self::Broken => "the TCP connection broke",
            Self::Damaged => "the content was damaged on its way",
            Self::Stalled => "no content came any more",
        })
    }
}
