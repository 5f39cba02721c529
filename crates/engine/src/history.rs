//! What a store answers about conversations, as front ends see it.

use core::time::Duration;

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
        /// What is gone.
        removed: Removed,
        /// What the user calls them.
        name: Option<Name>,
        /// Whether that were all of them, those that wait included.
        all: bool,
    },
    /// How long messages of a conversation are kept.
    Kept {
        /// With whom.
        peer: PeerId,
        /// What the user calls them.
        name: Option<Name>,
        /// For so long; `None` for ever.
        after: Option<Duration>,
        /// Whether that was changed just now.
        changed: bool,
    },
}

/// What was removed of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// With whom.
    pub peer: PeerId,
    /// How many messages.
    pub messages: u64,
    /// How many of them a session had already taken, so that they may arrive all the same.
    pub under_way: u64,
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
    /// When that one is given up; `None` for never.
    pub expires: Option<WallTime>,
}

impl Talk {
    /// The same where messages are given up after so long.
    #[must_use]
    pub fn expiring_after(self, after: Option<Duration>) -> Self {
        let after = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let expires = self.since.zip(after).map(|(since, after)| WallTime(since.0.saturating_add(after)));
        Self { expires, ..self }
    }
}
