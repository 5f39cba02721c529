//! Questions about what is kept, answered piece by piece: neither a long conversation nor whoever asks
//! again and again holds up what is written meanwhile, and no answer is larger than a line may be.

use core::time::Duration;
use std::collections::VecDeque;

use p2pchat_engine::history::{KeptMessage, Talk};
use p2pchat_proto::{PeerId, WallTime};

use super::book::{Book, Summary, head_of, kept};
use super::error::StoreError;
use super::log::{entries_in, page_after, page_at};

/// Pages that are read at once.
const PIECE: u64 = 4;
/// Text in an answer, bytes, from which no further piece is read for it.
const ENOUGH: usize = 32 * 1024;
/// Pages that are looked through for one answer: 1 MiB, a few milliseconds' work.
const REACH: u64 = 256;

/// What is asked of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    /// For messages of one conversation.
    Look(Look),
    /// For all conversations.
    Talks,
    /// To remove the messages of one conversation.
    Forget {
        /// With whom.
        peer: PeerId,
        /// Only those that were kept before this, and nothing that waits.
        before: Option<WallTime>,
    },
    /// How long messages of one conversation are kept.
    Keep {
        /// With whom.
        peer: PeerId,
        /// From now on for so long; where the inner one is none, for ever. Only asked without.
        change: Option<Option<Duration>>,
    },
}

impl Recall {
    /// Whether nothing is different afterwards.
    pub(crate) const fn only_reads(&self) -> bool {
        match self {
            Self::Look(_) | Self::Talks | Self::Keep { change: None, .. } => true,
            Self::Forget { .. } | Self::Keep { change: Some(_), .. } => false,
        }
    }
}

/// What to look for in one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// With whom.
    pub peer: PeerId,
    /// Words that stand in the text, whatever their case; every message without any.
    pub words: Vec<String>,
    /// From so many on, no more are looked for. An answer may have some more, or less: then it says where
    /// to go on.
    pub limit: usize,
    /// Where.
    pub place: Place,
}

/// A place in a conversation and which way to go from there; the numbers come from answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Back from the end.
    End,
    /// Back from there.
    Before(u64),
    /// On from there; from the beginning with 0.
    From(u64),
}

/// What was found, in the order of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The messages.
    pub messages: Vec<KeptMessage>,
    /// Where to look on the same way; `None` where nothing is left.
    pub next: Option<u64>,
}

impl Look {
    /// The same from where an answer ended.
    #[must_use]
    pub fn going_on(&self, next: u64) -> Self {
        let place = match self.place {
            Place::End | Place::Before(_) => Place::Before(next),
            Place::From(_) => Place::From(next),
        };
        Self { place, ..self.clone() }
    }
}

impl From<Summary> for Talk {
    fn from(summary: Summary) -> Self {
        let Summary { peer, messages, waiting, since } = summary;
        Self { peer, name: None, messages, waiting, since, expires: None }
    }
}

impl Book {
    /// Looks through one conversation.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn look(&mut self, look: &Look) -> Result<Found, StoreError> {
        let me = self.keys.me();
        let words: Vec<String> = look.words.iter().map(|word| word.to_lowercase()).collect();
        let fits = |text: &str| {
            words.is_empty() || {
                let text = text.to_lowercase();
                words.iter().all(|word| text.contains(word))
            }
        };
        self.read(|pages| {
            let Some(head) = head_of(pages, look.peer)? else { return Ok(Found::default()) };
            let (first, end) = (page_at(head.log_start), page_after(head.log_end));
            let (back, mut at) = match look.place {
                Place::End => (true, end),
                Place::Before(page) => (true, page.min(end)),
                Place::From(page) => (false, page.max(first)),
            };
            let mut pieces = VecDeque::new();
            let (mut count, mut bytes, mut reach) = (0, 0, 0);
            while count < look.limit.max(1) && bytes < ENOUGH && reach < REACH {
                let piece = if back {
                    at.saturating_sub(PIECE).max(first)..at
                } else {
                    at..(at.saturating_add(PIECE)).min(end)
                };
                if piece.is_empty() {
                    break;
                }
                let mut found = Vec::new();
                entries_in(pages, &head, piece.start, piece.end, |entry| {
                    if fits(&entry.text) {
                        bytes += entry.text.len();
                        found.push(kept(me, &head, entry));
                    }
                })?;
                count += found.len();
                reach += piece.end - piece.start;
                if back {
                    at = piece.start;
                    pieces.push_front(found);
                } else {
                    at = piece.end;
                    pieces.push_back(found);
                }
            }
            let next = if back { at > first } else { at < end }.then_some(at);
            Ok(Found { messages: pieces.into_iter().flatten().collect(), next })
        })
    }

    /// The newest messages that a question is for, at most as many as it says, in the order of the
    /// conversation.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn newest(&mut self, look: &Look) -> Result<Vec<KeptMessage>, StoreError> {
        let mut newest = Newest::new(look.limit);
        let mut look = Some(Look { place: Place::End, ..look.clone() });
        while let Some(asked) = look.take() {
            let found = self.look(&asked)?;
            look = newest.take(found.messages, found.next).map(|next| asked.going_on(next));
        }
        Ok(newest.into_messages())
    }
}

/// The newest messages out of answers that go back.
#[derive(Debug, Clone)]
pub struct Newest {
    limit: usize,
    bytes_left: usize,
    messages: VecDeque<KeptMessage>,
}

impl Newest {
    /// So many.
    pub const fn new(limit: usize) -> Self {
        Self { limit, bytes_left: usize::MAX, messages: VecDeque::new() }
    }

    /// And no more once their text has so many bytes.
    #[must_use]
    pub fn within(self, bytes: usize) -> Self {
        Self { bytes_left: bytes, ..self }
    }

    /// Takes an answer; where to look on, if more are wanted.
    pub fn take(&mut self, older: Vec<KeptMessage>, next: Option<u64>) -> Option<u64> {
        for kept in older.into_iter().rev() {
            if !self.has_room() {
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(kept.text.len());
            self.messages.push_front(kept);
        }
        next.filter(|_| self.has_room())
    }

    fn has_room(&self) -> bool {
        self.messages.len() < self.limit && self.bytes_left > 0
    }

    /// In the order of the conversation.
    pub fn into_messages(self) -> Vec<KeptMessage> {
        self.messages.into()
    }
}
