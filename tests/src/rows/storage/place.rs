//! A home with people and conversations in it, and what a reader of its files says.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use p2pchat_client::profile::{Home, Papers, Pin};
use p2pchat_client::store::Book;
use p2pchat_client::{Failure, Identity};
use p2pchat_conversation::Write;
use p2pchat_crypto::Seed;
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;

use crate::rows::NotRun;

pub(super) const PAPERS: &str = "papers";
pub(super) const BOOK: &str = "store.redb";
const BROKER: BrokerKey = BrokerKey([9; 32]);
/// Conversations that a home has at most.
const PARTNERS: u8 = 5;

/// One of the things that rest in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    /// Contacts and what was decided about them.
    Papers,
    /// Conversations.
    Book,
    /// The double: contacts as lines that nothing seals.
    Clear,
}

/// A home of its own.
pub(super) struct Place {
    pub(super) me: Arc<Identity>,
    pub(super) profile: Home,
    root: TempDir,
}

impl Place {
    /// Of the identity with that seed.
    pub(super) fn new(seed: u8) -> Result<Self, NotRun> {
        let root = tempfile::tempdir()?;
        let profile = Home::open(&root.path().join("home")).map_err(not_run)?;
        let me = Arc::new(Identity::from_seed(&Seed::from_bytes([seed; 32])));
        Ok(Self { me, profile, root })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("home").join(name)
    }

    pub(super) fn papers(&self) -> Result<Papers, Failure> {
        Papers::open(&self.profile, &self.me)
    }

    pub(super) fn book(&self) -> Result<Book, Failure> {
        match Book::of(&self.profile, Arc::clone(&self.me))? {
            Some(book) => Ok(book),
            None => Err(Failure::NoSuch { what: "directory" }),
        }
    }

    /// Puts people from `from` up to `to` into `thing`, or messages with those numbers.
    pub(super) fn fill(&self, thing: Thing, from: u8, to: u8, rng: &mut ChaCha20Rng) -> Result<(), NotRun> {
        match thing {
            Thing::Papers => {
                let mut papers = self.papers().map_err(not_run)?;
                for n in from..to {
                    let pin = Pin {
                        name: person(n)?,
                        peer: peer(n),
                        broker: BROKER,
                        since: WallTime(1_800_000_000_000),
                        may_reconnect: true,
                    };
                    papers.pin(pin).map_err(not_run)?;
                    papers.block(peer(n), n.is_multiple_of(2)).map_err(not_run)?;
                }
            }
            Thing::Book => {
                let mut book = self.book().map_err(not_run)?;
                for n in from..to {
                    let partner = peer(n % PARTNERS);
                    let message = MessageId {
                        author: self.me.peer_id(),
                        to: partner,
                        epoch: book.epoch(),
                        seq: u64::from(n / PARTNERS),
                    };
                    let text = format!("message {n} {}", "x".repeat(rng.next_u32() as usize % 3_000));
                    let sent_at = WallTime(1_800_000_000_000 + u64::from(n));
                    let write = Write::Composed { to: partner, message, text: text.into(), sent_at };
                    book.apply([&write], rng).map_err(|error| not_run(book.failure(error)))?;
                }
            }
            Thing::Clear => {
                // Every line changes with each state, as a page does.
                let mut lines = String::new();
                for n in 0..to {
                    lines.push_str(&format!("{} {} of {to}\n", person(n)?, peer(n)));
                }
                fs::write(self.file(PAPERS), lines)?;
            }
        }
        Ok(())
    }

    /// What a reader of it says now.
    pub(super) fn read(&self, thing: Thing) -> Result<String, Failure> {
        match thing {
            Thing::Papers => Ok(format!("{:?}", self.papers()?.list())),
            Thing::Book => {
                let mut book = self.book()?;
                let mut all = Vec::new();
                for n in 0..PARTNERS {
                    let read = book.each(peer(n), |kept| all.push((n, kept.text)));
                    read.map_err(|error| book.failure(error))?;
                }
                Ok(format!("{all:?}"))
            }
            Thing::Clear => {
                let bytes = fs::read(self.file(PAPERS)).unwrap_or_default();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }
}

impl Thing {
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Papers | Self::Clear => PAPERS,
            Self::Book => BOOK,
        }
    }
}

pub(super) fn peer(n: u8) -> PeerId {
    PeerId([n + 100; 32])
}

fn person(n: u8) -> Result<Name, NotRun> {
    format!("person-{n}").parse().map_err(|error| NotRun(format!("{error}")))
}

pub(super) fn not_run(failure: Failure) -> NotRun {
    NotRun(failure.to_string())
}
