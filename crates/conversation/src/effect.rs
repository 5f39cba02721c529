//! What goes in and comes out: effects, events, writes, rows, errors.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use p2pchat_proto::codec::DecodeError;
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, WallTime};

/// Number of a batch of writes, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Number of a query to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// Something for the driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make these writes durable, all or none, after all earlier batches; then call
    /// [`Conversations::committed`](crate::Conversations::committed).
    Commit {
        /// The batch.
        batch: BatchId,
        /// What to write, in this order.
        writes: Vec<Write>,
    },
    /// Read what the store keeps of the conversation with `peer`, all earlier batches included and
    /// no later one; then call [`Conversations::loaded`](crate::Conversations::loaded).
    Load {
        /// The query.
        query: QueryId,
        /// With whom.
        peer: PeerId,
    },
}

/// A body for the conversation stream of the session with `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Whom.
    pub to: PeerId,
    /// Its kind.
    pub kind: u8,
    /// Its bytes.
    pub body: &'a [u8],
}

/// Something for the user to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message is stored: somebody's, or one's own.
    Message {
        /// The other side of the conversation.
        peer: PeerId,
        /// Its id.
        message: MessageId,
        /// The id under which one's own was taken, where it has another number since.
        was: Option<Box<MessageId>>,
        /// The text as it was written.
        text: Arc<str>,
        /// When it was written, by its author's clock.
        sent_at: WallTime,
        /// Whether this side wrote it.
        mine: bool,
        /// Whether it had to wait for a session.
        late: bool,
    },
    /// One's own message got further. States of one message only grow, and each comes once.
    Receipt {
        /// The other side of the conversation.
        peer: PeerId,
        /// One's own message.
        message: MessageId,
        /// The id that it had until now, where it has another number from now on; `state` begins again.
        was: Option<Box<MessageId>>,
        /// How far it got.
        state: Delivery,
    },
}

/// How far one's own message got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// Kept here; no session takes it at once. Left out for a message that is sent at once.
    Queued,
    /// Handed to a session.
    Sent,
    /// The other side keeps it.
    Stored,
    /// The other side was shown it.
    Read,
    /// It was given up here and will not be delivered.
    Failed,
}

/// How far messages of one epoch got at their receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// All messages with a smaller number are stored.
    pub stored: u64,
    /// All messages with a smaller number were shown.
    pub read: u64,
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// One's own message goes into the history and into the outbox.
    Composed {
        /// To whom.
        to: PeerId,
        /// Its id.
        message: MessageId,
        /// Its text.
        text: Arc<str>,
        /// When it was written.
        sent_at: WallTime,
    },
    /// One's own messages got further: those below `marks.stored` leave the outbox.
    Delivered {
        /// To whom.
        to: PeerId,
        /// In which epoch of one's own.
        epoch: DeviceEpoch,
        /// How far.
        marks: Marks,
    },
    /// One's own messages that waited are given up: they leave the outbox, and the history calls them failed.
    GivenUp {
        /// To whom they were.
        to: PeerId,
        /// In which epoch of one's own.
        epoch: DeviceEpoch,
        /// Their numbers.
        seqs: Range<u64>,
    },
    /// One's own messages with a smaller number may leave from now on, or are given up; none other ever did.
    Handed {
        /// To whom they are.
        to: PeerId,
        /// In which epoch of one's own; nothing is to be written where a newer one has begun.
        epoch: DeviceEpoch,
        /// All smaller numbers.
        upto: u64,
    },
    /// Somebody's message goes into the history.
    Arrived {
        /// Its id, with its author.
        message: MessageId,
        /// Its text.
        text: Arc<str>,
        /// When it was written, by its author's clock.
        sent_at: WallTime,
        /// When it came, by this side's clock.
        arrived_at: WallTime,
        /// Whether it had to wait for a session.
        late: bool,
    },
    /// One's own messages to somebody get numbers of another epoch: those that wait are numbered anew, from
    /// 0 and in their order, and every later one follows them. None of them has left.
    Renewed {
        /// To whom.
        to: PeerId,
        /// The epoch.
        epoch: DeviceEpoch,
    },
    /// What is held of a peer's epoch, in place of what was written of it before.
    Held {
        /// Whose messages.
        peer: PeerId,
        /// In which epoch of theirs.
        epoch: DeviceEpoch,
        /// How far.
        marks: Marks,
    },
    /// One identity has taken the place of another: all that is kept of the conversation with the old one
    /// is that with the new one, of which nothing was kept. A batch of its own.
    Succeeded {
        /// The identity until now.
        old: PeerId,
        /// The one from now on.
        new: PeerId,
    },
    /// A peer's epoch that is not kept apart any more.
    Forgotten {
        /// Whose.
        peer: PeerId,
        /// Which.
        epoch: DeviceEpoch,
    },
}

/// What one's own next message to somebody is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// The epoch in which it is numbered.
    pub epoch: DeviceEpoch,
    /// Its number.
    pub next: u64,
}

/// What the store keeps of one conversation. The default is a conversation that never was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// What is held of the peer's messages, the epoch that was written last at the end.
    pub held: Vec<HeldRow>,
    /// The outbox of the epoch in which one writes to the peer: every message that the peer does not store, in order.
    pub outbox: Vec<OutboxRow>,
    /// How far one's own messages were read.
    pub read: u64,
    /// No message of that outbox with this number or a larger one ever left.
    pub handed: u64,
}

/// See [`Rows::held`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldRow {
    /// The peer's epoch.
    pub epoch: DeviceEpoch,
    /// How far.
    pub marks: Marks,
}

/// See [`Rows::outbox`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The message's number.
    pub seq: u64,
    /// Its text; none where it was given up, and only its number goes out.
    pub text: Arc<str>,
    /// When it was written.
    pub sent_at: WallTime,
}

/// A message that was not taken. A local act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComposeError {
    /// Nothing stands in it; a text without a character holds the place of one that was given up.
    Empty,
    /// Longer than a message may be.
    TooLong {
        /// Its length, bytes.
        len: usize,
        /// The cap, bytes.
        max: usize,
    },
    /// Too much waits for this peer.
    OutboxFull {
        /// How many messages wait.
        waiting: usize,
    },
}

/// A body that no honest peer sends. The peer's act: the session is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Not the body that its kind says.
    Malformed(DecodeError),
    /// Something else before the exchange of syncs was over, or without a session.
    BeforeSync,
    /// A second sync in one session.
    SecondSync,
    /// A text of another epoch than its author's sync said, or a receipt for another than ours.
    ForeignEpoch,
    /// A mark beyond what was sent.
    NeverSent {
        /// What the mark claims.
        upto: u64,
        /// What was sent: all smaller numbers.
        sent: u64,
    },
    /// A text that is not the next one.
    Gap {
        /// The next one.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// More than may be in flight.
    WindowExceeded,
    /// The author's numbers are behind what is held of them.
    Rewound {
        /// What is held: all smaller numbers.
        held: u64,
        /// The author's next number, as it says.
        next: u64,
    },
    /// The last number that there is.
    NumbersExhausted,
    /// One epoch more than are kept, while the store has not caught up with the ones before.
    TooManyEpochs,
}

/// Rows that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadError {
    /// The store contradicts itself. A local error.
    Contradiction,
    /// What the peer had said while the store was read cannot be. The peer's act.
    Peer(PeerId, BodyError),
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a message without a text"),
            Self::TooLong { len, max } => write!(f, "{len} bytes where a message has at most {max}"),
            Self::OutboxFull { waiting } => write!(f, "{waiting} messages wait already"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::BeforeSync => f.write_str("a body before the sync"),
            Self::SecondSync => f.write_str("a second sync"),
            Self::ForeignEpoch => f.write_str("an epoch that the sync did not name"),
            Self::NeverSent { upto, sent } => write!(f, "a mark at {upto} where {sent} were sent"),
            Self::Gap { expected, came } => write!(f, "message {came} where {expected} is next"),
            Self::WindowExceeded => f.write_str("more messages than may be in flight"),
            Self::Rewound { held, next } => write!(f, "next message {next} where {held} are held"),
            Self::NumbersExhausted => f.write_str("the last message number"),
            Self::TooManyEpochs => f.write_str("too many device epochs at once"),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction => f.write_str("the store contradicts itself"),
            Self::Peer(peer, error) => write!(f, "{peer}: {error}"),
        }
    }
}

impl core::error::Error for ComposeError {}
impl core::error::Error for BodyError {}
impl core::error::Error for LoadError {}
