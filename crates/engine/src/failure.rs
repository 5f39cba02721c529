//! What can go wrong for a user, with its code, its exit status and what to do about it.
//!
//! One table for every front end; `docs/json.md` publishes it.

use core::fmt;
use core::time::Duration;

use p2pchat_proto::{BrokerKey, Name, PeerId};

/// A failure that a user is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A command that cannot be understood.
    Usage(String),
    /// Text without anybody to send it to.
    NoConversation,
    /// No such command; the nearest one.
    UnknownCommand {
        /// What was typed.
        typed: String,
        /// The nearest command.
        nearest: Option<&'static str>,
    },
    /// No broker there.
    BrokerUnreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The broker does not speak this protocol, or ended the link on purpose.
    BrokerRefused {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// The broker has another key than the pinned one.
    BrokerKeyChanged {
        /// `host:port`.
        address: String,
        /// The pinned key.
        pinned: BrokerKey,
        /// The key that came.
        came: BrokerKey,
    },
    /// The clocks of two sides differ by too much.
    ClocksDiffer {
        /// By how much.
        by: Duration,
    },
    /// Nobody of that name.
    UnknownPeer {
        /// Who was meant.
        who: String,
    },
    /// Known, but not there.
    NotOnline {
        /// Who was meant.
        who: String,
    },
    /// The other side said no.
    Declined {
        /// Who was meant.
        who: String,
        /// What they said, as it came.
        reason: String,
    },
    /// Not allowed here or by the other side.
    NotAllowed {
        /// What is not allowed.
        what: String,
    },
    /// The name belongs to somebody else at this broker.
    NameTaken {
        /// The name.
        name: Name,
    },
    /// This identity holds another name at this broker.
    NameHeld {
        /// That name.
        name: Name,
    },
    /// No answer in time.
    NoAnswer {
        /// Who was meant.
        who: String,
    },
    /// The handshake over UDP did not succeed in time.
    NoPath {
        /// Who was meant.
        who: String,
    },
    /// A pinned name came with another key.
    KeyChanged {
        /// The name.
        name: Option<Name>,
        /// The pinned identity.
        pinned: PeerId,
        /// The one that came.
        came: PeerId,
    },
    /// An offer or an introduction that was tampered with on its way.
    Tampered {
        /// What did not fit.
        what: &'static str,
    },
    /// A message over the cap.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The cap.
        max: usize,
    },
    /// A line that is not UTF-8.
    NotUtf8,
    /// No such request, message or transfer.
    NoSuch {
        /// What kind of thing.
        what: &'static str,
    },
    /// The file is not there, or may not be read.
    FileMissing {
        /// Its path.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Not a regular file.
    FileKind {
        /// Its path.
        path: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// The other side does not want the file, or its name cannot be taken.
    FileRefused {
        /// The file's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The file changed while it was sent.
    FileChanged {
        /// The file's name.
        name: String,
    },
    /// The content that came is not the content that was sent.
    FileCorrupt {
        /// The file's name.
        name: String,
    },
    /// The transfer ended before the end of the file.
    FileBroken {
        /// The file's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// No room left.
    DiskFull {
        /// Where.
        path: String,
    },
    /// The system refused something here: a port, a directory, a file.
    Local {
        /// What was tried.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// The key file cannot be used.
    KeyFile {
        /// Its path.
        path: String,
        /// What is the matter.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The key file is sealed and no passphrase was given, or it was wrong.
    Locked {
        /// Its path.
        path: String,
        /// What is the matter.
        reason: String,
    },
    /// Another process uses this profile.
    AlreadyRunning {
        /// The profile's directory.
        home: String,
    },
    /// A newer login of the same identity took over.
    Replaced,
    /// Only part was delivered in time.
    NotDelivered {
        /// Messages that the other side does not keep yet.
        waiting: usize,
    },
    /// The session ended and could not be made again.
    SessionLost {
        /// With whom.
        who: String,
    },
    /// A signal.
    Interrupted,
    /// A signal.
    Terminated,
    /// A defect of this program.
    Internal(String),
}
