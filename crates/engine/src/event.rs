//! What the client says to whoever shows it: one enum for every front end.
//!
//! Plain mode, JSON mode, a control socket and tests are all functions of [`Event`]. Text in it is
//! as it came from outside; the sanitiser of each output makes it safe to show.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use p2pchat_proto::broker::Status;
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{BrokerKey, Name, PeerId, RequestId, Standing, WallTime};

use crate::failure::Failure;
use crate::history::Recalled;

/// Number of a command, drawn by the front end; its outcome carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Number of a transfer as people type it, from 1, unique in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferNumber(pub u32);

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The client runs; always first.
    Ready(Ready),
    /// The link to the broker changed.
    Broker(BrokerEvent),
    /// A pinned peer came or went.
    Presence(Person),
    /// Answer to [`crate::Command::People`].
    People {
        /// The command.
        id: CommandId,
        /// Who is there, in the order of names.
        list: Vec<Person>,
    },
    /// A chat request changed.
    Request(RequestEvent),
    /// A session changed.
    Session(SessionEvent),
    /// A message to show: somebody's, or one's own before its receipts.
    Message(MessageEvent),
    /// One's own message went a step further.
    Receipt(ReceiptEvent),
    /// A file transfer changed.
    File(Box<FileEvent>),
    /// Somebody types something for this user, or did within the last seconds. At most once a second.
    Typing {
        /// Who.
        peer: PeerId,
        /// What they are called, if anything.
        name: Option<Name>,
    },
    /// What is known of a peer's key changed, or a key does not fit.
    Trust(TrustEvent),
    /// How this user stands towards others: at the start where that is not the default, and whenever a
    /// command said it.
    Standing(Standing),
    /// Answer to [`crate::Command::Info`].
    Info {
        /// The command.
        id: CommandId,
        /// Every session there is.
        sessions: Vec<SessionReport>,
        /// Everybody who is looked for or asked and is not there yet.
        sought: Vec<Sought>,
        /// Counters of the UDP socket.
        socket: SocketReport,
    },
    /// Answer to a question about what is kept, which a driver asks its store.
    Recalled {
        /// The command.
        id: CommandId,
        /// The answer.
        answer: Recalled,
    },
    /// A command succeeded.
    Done {
        /// Which.
        id: CommandId,
        /// The message that came to be.
        message: Option<MessageId>,
        /// The transfer that came to be.
        transfer: Option<TransferNumber>,
        /// The request that came to be.
        request: Option<RequestId>,
    },
    /// A command failed.
    Failed {
        /// Which.
        id: CommandId,
        /// How.
        failure: Failure,
    },
    /// Something went wrong that no command asked for.
    Error(Failure),
    /// The client ended; always last, exactly once.
    Stopped(Stopped),
}

/// See [`Event::Ready`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// This user's identity.
    pub peer: PeerId,
    /// The name to be registered.
    pub name: Name,
    /// Bound IPv4 address.
    pub udp: Option<SocketAddr>,
    /// Bound IPv6 address.
    pub udp6: Option<SocketAddr>,
    /// Where other processes of the same user reach this one.
    pub control: Option<PathBuf>,
    /// Who is known at this broker from earlier, and by which name.
    pub known: Vec<(PeerId, Name)>,
}

/// See [`Event::Broker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerEvent {
    /// How the link is.
    pub state: BrokerState,
    /// `host:port` as configured.
    pub address: String,
    /// The broker's key, once known.
    pub key: Option<BrokerKey>,
    /// Why it was lost or refused.
    pub reason: Option<Failure>,
    /// By how many milliseconds this machine's clock is ahead of the broker's, where it is connected.
    pub clock_ahead_ms: Option<i64>,
}

/// How the link to the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    /// Being made; repeated for every try.
    Connecting,
    /// The name is registered, others can reach this user.
    Connected,
    /// Gone; it will be tried again.
    Lost,
    /// Refused for good; it will not be tried again.
    Refused,
}

/// What a user knows of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The identity.
    pub peer: PeerId,
    /// What the user calls it.
    pub name: Option<Name>,
    /// Whether it is there.
    pub status: PersonStatus,
    /// What is known of its key.
    pub trust: Trust,
}

/// Whether a person is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonStatus {
    /// Reachable.
    Online,
    /// Reachable, but not at the machine.
    Away,
    /// Reachable, and not to be disturbed.
    Busy,
    /// Not.
    Offline,
}

impl From<Status> for PersonStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Away => Self::Away,
            Status::Busy => Self::Busy,
            Status::Offline => Self::Offline,
        }
    }
}

/// What is known of a peer's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Never seen under this name.
    New,
    /// The same key as the first time.
    Pinned,
    /// Both have compared the safety number.
    Verified,
    /// The user wants nothing of them.
    Blocked,
}

/// Whose act it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Somebody else's.
    In,
    /// This user's.
    Out,
}

/// See [`Event::Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEvent {
    /// The request.
    pub request: RequestId,
    /// Who asks whom.
    pub direction: Direction,
    /// The other side, once known.
    pub peer: Option<PeerId>,
    /// What the user calls it, or what it calls itself.
    pub name: Option<Name>,
    /// What is known of its key.
    pub trust: Trust,
    /// How the request is.
    pub state: RequestState,
    /// What the one who declined said, as it came; or why it ended.
    pub reason: Option<String>,
}

/// How a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Waits for an answer.
    Open,
    /// Accepted; a session follows.
    Accepted,
    /// Declined.
    Declined,
    /// Taken back.
    Cancelled,
    /// Nobody answered in time.
    Expired,
}

/// See [`Event::Session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEvent {
    /// With whom.
    pub peer: PeerId,
    /// What the user calls it.
    pub name: Option<Name>,
    /// How the session is.
    pub state: SessionState,
    /// Where it runs, once it is up.
    pub link: Option<SessionLink>,
    /// What is known of the peer's key.
    pub trust: Trust,
    /// Why it ended.
    pub reason: Option<String>,
}

/// How a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Handshake under way.
    Connecting,
    /// Both sides hold the keys.
    Up,
    /// Nothing was heard for a while.
    Suspect,
    /// Nothing was heard for so long that it ended.
    Lost,
    /// One side closed it.
    Closed,
}

/// Where a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLink {
    /// What kind of path.
    pub path: PathKind,
    /// This side's endpoint, where known.
    pub local: Option<SocketAddr>,
    /// The other side's endpoint.
    pub remote: SocketAddr,
    /// Smoothed round-trip time, once measured.
    pub rtt: Option<Duration>,
    /// What seals the data, as users know it.
    pub cipher: &'static str,
}

/// What kind of path a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Over the internet.
    Direct,
    /// Within one network or machine.
    Lan,
}

/// See [`Event::Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEvent {
    /// The other side of the conversation.
    pub peer: PeerId,
    /// What the user calls it.
    pub name: Option<Name>,
    /// The message's id.
    pub message: MessageId,
    /// The id that [`Event::Done`] gave for it, where it has another one since.
    /// Seldom there, and so kept elsewhere: events go through many hands.
    pub was: Option<Box<MessageId>>,
    /// The text as it came.
    pub text: Arc<str>,
    /// When its author sent it, by the author's clock.
    pub sent_at: WallTime,
    /// Whether this user wrote it.
    pub mine: bool,
    /// Whether it had to wait for a session.
    pub late: bool,
}

/// See [`Event::Receipt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptEvent {
    /// The other side of the conversation.
    pub peer: PeerId,
    /// One's own message.
    pub message: MessageId,
    /// The id that it had until now, where it has another one from now on; its states begin again.
    pub was: Option<Box<MessageId>>,
    /// How far it got.
    pub state: Delivery,
}

/// How far a message got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// Kept here until there is a session.
    Queued,
    /// Handed to a session.
    Sent,
    /// The other side keeps it.
    Stored,
    /// The other side was shown it.
    Read,
    /// It will not be delivered.
    Failed,
}

/// See [`Event::File`].
#[derive(Debug, Clone, PartialEq)]
pub struct FileEvent {
    /// Its number here.
    pub transfer: TransferNumber,
    /// The other side.
    pub peer: PeerId,
    /// What the user calls it.
    pub peer_name: Option<Name>,
    /// Which way the file goes.
    pub direction: Direction,
    /// How the transfer is.
    pub state: FileState,
    /// The file's name, as it came.
    pub name: String,
    /// Bytes that passed.
    pub bytes: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes a second, lately.
    pub rate: Option<u64>,
    /// The TCP address that listens for this transfer.
    pub tcp: Option<SocketAddr>,
    /// Where the file lies in the end.
    pub path: Option<String>,
    /// BLAKE3 of the content, lowercase hexadecimal, once known.
    pub blake3: Option<String>,
    /// Why it ended otherwise.
    pub reason: Option<Failure>,
}

/// How a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// Waits for the receiver's word.
    Offered,
    /// The receiver wants it.
    Accepted,
    /// The receiver does not.
    Declined,
    /// Bytes pass.
    Running,
    /// All bytes are there; the hashes are compared.
    Verifying,
    /// Verified, and under its final name.
    Done,
    /// Ended without the file.
    Failed,
    /// One side took it back.
    Cancelled,
}

impl FileState {
    /// Whether nothing more comes after it.
    pub fn is_end(self) -> bool {
        match self {
            Self::Offered | Self::Accepted | Self::Running | Self::Verifying => false,
            Self::Declined | Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// See [`Event::Trust`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustEvent {
    /// The identity that came.
    pub peer: PeerId,
    /// The name that it came under.
    pub name: Option<Name>,
    /// What was known before.
    pub was: Trust,
    /// What is known now.
    pub is: Trust,
    /// The pinned identity that another one came instead of.
    pub pinned: Option<PeerId>,
    /// Whether both have signed that the one takes the place of the other, which it has done here.
    pub followed: bool,
    /// Safety words of both identities.
    pub safety: String,
}

/// One session in [`Event::Info`].
#[derive(Debug, Clone, PartialEq)]
pub struct SessionReport {
    /// With whom.
    pub peer: PeerId,
    /// What the user calls it.
    pub name: Option<Name>,
    /// How it is.
    pub state: SessionState,
    /// Where it runs.
    pub link: Option<SessionLink>,
    /// Share of packets declared lost, 0 to 1.
    pub loss: f64,
    /// How often the keys were renewed.
    pub key_epoch: u32,
    /// Age of the keys in use.
    pub key_age: Duration,
    /// What is known of the peer's key.
    pub trust: Trust,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets whose content went out again.
    pub retransmitted: u64,
    /// What is known of the path.
    pub path: PathReport,
    /// Until when this contact may come back without asking; `None` if it has to ask.
    pub may_return_until: Option<WallTime>,
}

/// What a session knows of its path, in [`SessionReport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathReport {
    /// Whether somebody at the other end has proven to receive there.
    pub validated: bool,
    /// How often the session went on along another path.
    pub moves: u64,
    /// Where the peer says that this side is, once it was asked.
    pub observed: Option<SocketAddr>,
    /// Bytes that a datagram may have.
    pub mtu: usize,
    /// How often larger datagrams than every path takes vanished.
    pub black_holes: u64,
    /// Least round-trip time, once measured.
    pub rtt_least: Option<Duration>,
    /// How far round-trip times lie from the smoothed one, on average.
    pub rtt_variation: Duration,
    /// After how long without an acknowledgement a probe goes out.
    pub pto: Duration,
    /// Bytes that may be in flight.
    pub window: u64,
    /// Bytes of the window above which it grows with care; `None` while it was never too large.
    pub threshold: Option<u64>,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes a second; `None` where nothing is paced.
    pub pace: Option<u64>,
    /// Times that the window was reduced because of losses, and stayed so.
    pub reductions: u64,
    /// Packets that counted as lost and arrived after all.
    pub spurious: u64,
    /// Times that probes went out because nothing was acknowledged.
    pub timeouts: u64,
}

/// Somebody who is looked for, in [`Event::Info`]: by identity, by name, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sought {
    /// What the user calls them.
    pub name: Option<Name>,
    /// Who they are, where that is known.
    pub peer: Option<PeerId>,
}

/// Counters of the UDP socket in [`Event::Info`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketReport {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams that were answered during a handshake.
    pub answered: u64,
    /// Datagrams whose MAC was wrong.
    pub mac_failed: u64,
    /// X25519 computations made because of a datagram.
    pub key_exchanges: u64,
    /// Authentic handshakes beyond the limits.
    pub limited: u64,
    /// Handshakes that were repeated, and answered from what is kept.
    pub repeated: u64,
    /// Datagrams dropped without a trace.
    pub dropped: u64,
}

/// See [`Event::Stopped`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Why; `None` where the user wanted it.
    pub failure: Option<Failure>,
}
