//! What a store answers about conversations, as front ends see it.

use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{Name, PeerId, WallTime};

use crate::event::Delivery;

/// The answer to a question about what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// Messages of one conversation.
    Page(Page),
    /// Every conversation, in the order of their first messages.
    Talks(Vec<Talk>),
    /// A conversation was removed, or its older part.
    Forgotten {
        /// With whom.
        peer: PeerId,
        /// What the user calls them.
        name: Option<Name>,
        /// How many messages are gone.
        messages: u64,
        /// Whether that were all of them, those that wait included.
        all: bool,
    },
}

/// Some messages of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// With whom.
    pub peer: PeerId,
    /// What the user calls them.
    pub name: Option<Name>,
    /// In the order of the conversation.
    pub messages: Vec<KeptMessage>,
    /// Where to look on; `None` where nothing more can be found that way.
    pub next: Option<u64>,
}

/// One message as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMessage {
    /// With whom the conversation is.
    pub peer: PeerId,
    /// The message.
    pub message: MessageId,
    /// Whether this user wrote it.
    pub mine: bool,
    /// Its text.
    pub text: String,
    /// When it was written, by its author's clock.
    pub sent_at: WallTime,
    /// When it became durable here.
    pub kept_at: WallTime,
    /// How far it got, where this user wrote it.
    pub state: Option<Delivery>,
}

/// One conversation as a list of them shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// With whom.
    pub peer: PeerId,
    /// What the user calls them.
    pub name: Option<Name>,
    /// Messages in it.
    pub messages: u64,
    /// This user's messages that the other side does not store.
    pub waiting: u64,
    /// When the first of those was written.
    pub since: Option<WallTime>,
}
