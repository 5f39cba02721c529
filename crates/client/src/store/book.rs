//! What is kept of all conversations, called in place: [`Book::apply`] and reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p2pchat_conversation::{HeldRow, Marks, Numbering, OutboxRow, Rows, Write};
use p2pchat_crypto::Identity;
use p2pchat_engine::event::Delivery;
use p2pchat_engine::history::KeptMessage;
use p2pchat_engine::{Failure, Kept};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::kept::{Directory, Entry, EpochMarks, FormerHead, Head, Installation, SUM_LEN};
use p2pchat_proto::{PeerId, WallTime};
use rand::{CryptoRng, RngExt};
use redb::{Database, ReadableDatabase};

use crate::profile::Home;
use crate::random::system_rng;

use super::changes::{self, renumber};
use super::error::StoreError;
use super::file::{Layout, begin, installation_mark, open, reopen, say_layout, set_aside};
use super::log::{Placed, Reader, page_at, place_before, remove_before};
use super::pages::{Keys, PAGES, Pages, Readable, Still, Thing, Writable};

/// Bytes of a log that are read at once on the way back, about 200 lines of a chat.
const BACKWARDS: u64 = 32 * 1024;

/// A conversation, as a list of them shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// With whom.
    pub peer: PeerId,
    /// Messages in it.
    pub messages: u64,
    /// This user's messages that the other side does not store.
    pub waiting: u64,
    /// When the first of those was written.
    pub since: Option<WallTime>,
}

/// See the module.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    pub(super) keys: Keys,
    epoch: DeviceEpoch,
    /// None after a write that failed: redb refuses everything from then on, also when the disk has
    /// room again, until the file is opened anew.
    database: Option<Database>,
}

impl Book {
    /// Opens the file at `path`, which is made where there is none, after all of it was checked.
    /// `mark` is what this installation knows its machine and file by: with another one than last
    /// time, this is a copy or a backup, and a new epoch begins.
    ///
    /// # Errors
    /// See [`StoreError`]; the file is as it was.
    pub fn open(
        path: &Path,
        me: Arc<Identity>,
        mark: impl FnOnce(&Path) -> std::io::Result<[u8; 32]>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, StoreError> {
        let keys = Keys::new(me);
        let (database, layout, known) = open(path, &keys)?;
        let database = Some(database);
        let mut book = Self { path: path.to_owned(), keys, epoch: DeviceEpoch(0), database };
        let mark = mark(path)?;
        if layout != Layout::Present {
            book.upgrade(known, rng)?;
        }
        book.epoch = match known {
            Some(installation) if installation.mark == mark => installation.epoch,
            Some(_) | None => {
                let epoch = DeviceEpoch(rng.random());
                let sum = known.map_or([0; SUM_LEN], |known| known.sum);
                book.renew(Installation { epoch, mark, sum }, rng)?;
                epoch
            }
        };
        Ok(book)
    }

    /// The store of a profile; `None` if that is kept nowhere. A damaged one is set aside.
    ///
    /// # Errors
    /// [`Failure::StoreDamaged`], [`Failure::AlreadyRunning`], [`Failure::DiskFull`], [`Failure::Local`].
    pub fn of(home: &Home, me: Arc<Identity>) -> Result<Option<Self>, Failure> {
        let Some(path) = home.store() else { return Ok(None) };
        let mut rng = system_rng()?;
        match Self::open(&path, me, installation_mark, &mut rng) {
            Ok(book) => Ok(Some(book)),
            Err(StoreError::Damaged) => {
                let aside = set_aside(&path).ok().map(|aside| aside.display().to_string());
                Err(Failure::StoreDamaged { path: path.display().to_string(), aside })
            }
            Err(error) => Err(error.failure(&path)),
        }
    }

    /// The epoch of this installation's numbers.
    pub const fn epoch(&self) -> DeviceEpoch {
        self.epoch
    }

    /// What the user reads of an error of this file.
    pub fn failure(&self, error: StoreError) -> Failure {
        error.failure(&self.path)
    }

    /// Makes all writes of all batches durable, or none.
    ///
    /// # Errors
    /// See [`StoreError`]. The next write is tried on the file as it is then.
    pub fn apply<'w>(
        &mut self,
        writes: impl IntoIterator<Item = &'w Write>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), StoreError> {
        let epoch = self.epoch;
        self.write(rng, |pages, rng| changes::apply(pages, epoch, writes, rng))
    }

    /// What a conversation needs to go on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rows(&mut self, peer: PeerId) -> Result<Rows, StoreError> {
        self.read(|pages| {
            let Some(head) = head_of(pages, peer)? else { return Ok(Rows::default()) };
            let held = |marks: &EpochMarks| HeldRow {
                epoch: marks.epoch,
                marks: Marks { stored: marks.stored, read: marks.read },
            };
            let marks = head.marks(head.epoch);
            let mut outbox = Vec::new();
            for_each_to_deliver(pages, &head, |Placed { entry, .. }| {
                let text = if entry.is_given_up() { "" } else { entry.text.as_str() };
                outbox.push(OutboxRow { seq: entry.seq, text: text.into(), sent_at: entry.sent_at });
            })?;
            let read = marks.map_or(0, |marks| marks.read);
            let held = head.held.iter().map(held).collect();
            Ok(Rows { held, outbox, read, handed: head.handed })
        })
    }

    /// What the next message is called by, for each peer to whom something was written.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn heads(&mut self) -> Result<BTreeMap<PeerId, Numbering>, StoreError> {
        let epoch = self.epoch;
        let mut heads = self.numberings()?;
        heads.retain(|_, numbering| numbering.next > 0 || numbering.epoch != epoch);
        Ok(heads)
    }

    /// The same for each peer with whom there is a conversation.
    fn numberings(&mut self) -> Result<BTreeMap<PeerId, Numbering>, StoreError> {
        let heads = self.read(all_heads)?.into_iter();
        Ok(heads.map(|head| (head.peer, Numbering { epoch: head.epoch, next: head.next })).collect())
    }

    /// What a client goes on with.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn kept(&mut self) -> Result<Kept, StoreError> {
        let waiting = self.summaries()?.into_iter().filter(|summary| summary.waiting > 0);
        let recipients = waiting.map(|summary| summary.peer).collect();
        Ok(Kept { epoch: self.epoch, heads: self.numberings()?, recipients })
    }

    /// Every conversation, in the order of their first messages.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn summaries(&mut self) -> Result<Vec<Summary>, StoreError> {
        self.read(|pages| {
            let summary = |head: Head| {
                let (mut waiting, mut since) = (0, None);
                for_each_to_deliver(pages, &head, |Placed { entry, .. }| {
                    if !entry.is_given_up() {
                        waiting += 1;
                        since.get_or_insert(entry.sent_at);
                    }
                })?;
                Ok(Summary { peer: head.peer, messages: head.messages, waiting, since })
            };
            all_heads(pages)?.into_iter().map(summary).collect()
        })
    }

    /// The last `limit` messages of one conversation, in its order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn last(&mut self, peer: PeerId, limit: usize) -> Result<Vec<KeptMessage>, StoreError> {
        let me = self.keys.me();
        self.read(|pages| {
            let Some(head) = head_of(pages, peer)? else { return Ok(Vec::new()) };
            let mut newest = Vec::new();
            let mut end = head.log_end;
            while newest.len() < limit && end > head.log_start {
                let mut reach = BACKWARDS;
                let mut from = place_before(pages, &head, end, reach)?;
                while from >= end {
                    reach = reach.saturating_mul(2);
                    from = place_before(pages, &head, end, reach)?;
                }
                let mut part = Vec::new();
                let mut reader = Reader::new(pages, &head, from);
                while let Some(placed) = reader.next()? {
                    if placed.at >= end {
                        break;
                    }
                    part.push(kept(me, &head, placed.entry));
                }
                newest.extend(part.into_iter().rev());
                end = from;
            }
            newest.truncate(limit);
            newest.reverse();
            Ok(newest)
        })
    }

    /// The last messages of others that were not shown, at most `max` of each conversation, in its order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn unread(&mut self, max: usize) -> Result<Vec<KeptMessage>, StoreError> {
        let mut unread = Vec::new();
        for head in self.read(all_heads)? {
            let not_shown =
                head.held.iter().map(|marks| marks.stored.saturating_sub(marks.read)).sum::<u64>();
            if not_shown == 0 {
                continue;
            }
            let is_unread = |kept: &KeptMessage| {
                let marks = head.held.iter().find(|marks| marks.epoch == kept.message.epoch);
                !kept.mine && marks.is_some_and(|marks| kept.message.seq >= marks.read)
            };
            // One's own lines stand between them, so twice as many are looked at.
            let last = self.last(head.peer, max.saturating_mul(2))?;
            unread.extend(last.into_iter().filter(is_unread));
        }
        Ok(unread)
    }

    /// Every message of one conversation, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`], and what `take` gives.
    pub fn each(&mut self, peer: PeerId, mut take: impl FnMut(KeptMessage)) -> Result<(), StoreError> {
        let me = self.keys.me();
        self.read(|pages| {
            let Some(head) = head_of(pages, peer)? else { return Ok(()) };
            let mut reader = Reader::new(pages, &head, head.log_start);
            while let Some(placed) = reader.next()? {
                take(kept(me, &head, placed.entry));
            }
            Ok(())
        })
    }

    /// Removes every message of one conversation, also those that wait, and gives the room back. What
    /// was received and sent stays known by its number, so that nothing of it comes again. How many
    /// messages there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn forget(&mut self, peer: PeerId, rng: &mut dyn CryptoRng) -> Result<u64, StoreError> {
        let removed = self.write(rng, |pages, rng| {
            let Some(head) = head_of(pages, peer)? else { return Ok(0) };
            pages.remove_from(Thing::Log(peer), page_at(head.log_start))?;
            let messages = head.messages;
            // The other side hears that the numbers of what waited were given up.
            let handed = head.next;
            let empty = Head { handed, log_start: 0, log_end: 0, outbox_start: 0, messages: 0, ..head };
            pages.put_whole(Thing::Head(peer), &empty, rng)?;
            Ok(messages)
        })?;
        self.compact()?;
        Ok(removed)
    }

    /// Removes the messages of one conversation that were kept before a moment, up to the first that waits,
    /// and gives the room back. How many there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn forget_before(
        &mut self,
        peer: PeerId,
        before: WallTime,
        rng: &mut dyn CryptoRng,
    ) -> Result<u64, StoreError> {
        let removed = self.remove_older(peer, before, rng)?;
        self.compact()?;
        Ok(removed)
    }

    pub(super) fn remove_older(
        &mut self,
        peer: PeerId,
        before: WallTime,
        rng: &mut dyn CryptoRng,
    ) -> Result<u64, StoreError> {
        self.write(rng, |pages, rng| {
            let Some(head) = head_of(pages, peer)? else { return Ok(0) };
            let (mut start, mut removed) = (head.log_end, 0);
            let mut reader = Reader::new(pages, &head, head.log_start);
            while let Some(Placed { at, entry }) = reader.next()? {
                if waits(&head, &entry) || entry.kept_at >= before {
                    start = at;
                    break;
                }
                removed += 1;
            }
            if removed > 0 {
                remove_before(pages, &head, start, rng)?;
                let (outbox_start, messages) =
                    (head.outbox_start.max(start), head.messages.saturating_sub(removed));
                let head = Head { log_start: start, outbox_start, messages, ..head };
                pages.put_whole(Thing::Head(peer), &head, rng)?;
            }
            Ok(removed)
        })
    }

    /// What is left in the file's free pages goes with them.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        let mut database = self.take()?;
        database.compact().map_err(StoreError::compacting)?;
        self.database = Some(database);
        Ok(())
    }

    /// Begins a new epoch: messages that still wait get numbers of it, so that none of them can be
    /// taken for another one that had its number.
    fn renew(&mut self, installation: Installation, rng: &mut dyn CryptoRng) -> Result<(), StoreError> {
        self.write(rng, |pages, rng| {
            for old in all_heads(pages)? {
                renumber(pages, old, installation.epoch, rng)?;
            }
            pages.put_whole(Thing::Installation, &installation, rng)
        })
    }

    /// Goes on in the present layout, in one transaction.
    fn upgrade(&mut self, known: Option<Installation>, rng: &mut dyn CryptoRng) -> Result<(), StoreError> {
        let database = self.take()?;
        let transaction = begin(&database)?;
        {
            let table = transaction.open_table(PAGES).map_err(StoreError::writing)?;
            let mut pages = Pages::new(table, &self.keys);
            if let Some(installation) = known {
                pages.put_whole(Thing::Installation, &installation, rng)?;
            }
            let directory: Directory = pages.whole(Thing::Directory)?.unwrap_or_default();
            for peer in directory.peers {
                let former: FormerHead = pages.whole(Thing::Head(peer))?.ok_or(StoreError::Damaged)?;
                pages.put_whole(Thing::Head(peer), &Head::from(former), rng)?;
            }
            pages.settle(rng)?;
        }
        say_layout(&transaction)?;
        transaction.commit().map_err(StoreError::writing)?;
        self.database = Some(database);
        Ok(())
    }

    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&Pages<'_, Still>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = self.take()?;
        let outcome = (|| {
            let transaction = database.begin_read().map_err(StoreError::reading)?;
            let table = transaction.open_table(PAGES).map_err(StoreError::reading)?;
            read(&Pages::new(table, &self.keys))
        })();
        // A read that failed changes nothing, and may succeed next time.
        self.database = Some(database);
        outcome
    }

    pub(super) fn write<T>(
        &mut self,
        rng: &mut dyn CryptoRng,
        write: impl FnOnce(&mut Pages<'_, Writable<'_>>, &mut dyn CryptoRng) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = self.take()?;
        let transaction = begin(&database)?;
        let table = transaction.open_table(PAGES).map_err(StoreError::writing)?;
        let mut pages = Pages::new(table, &self.keys);
        let outcome = write(&mut pages, rng)?;
        pages.settle(rng)?;
        drop(pages);
        transaction.commit().map_err(StoreError::writing)?;
        self.database = Some(database);
        Ok(outcome)
    }

    fn take(&mut self) -> Result<Database, StoreError> {
        self.database.take().map_or_else(|| reopen(&self.path), Ok)
    }
}

pub(super) fn head_of<T: Readable>(pages: &Pages<'_, T>, peer: PeerId) -> Result<Option<Head>, StoreError> {
    pages.whole(Thing::Head(peer))
}

fn all_heads<T: Readable>(pages: &Pages<'_, T>) -> Result<Vec<Head>, StoreError> {
    let directory: Directory = pages.whole(Thing::Directory)?.unwrap_or_default();
    let head = |peer| head_of(pages, peer)?.ok_or(StoreError::Damaged);
    directory.peers.into_iter().map(head).collect()
}

/// The messages that the other side does not store, in order, with those among them that are given up.
fn for_each_to_deliver<T: Readable>(
    pages: &Pages<'_, T>,
    head: &Head,
    mut take: impl FnMut(Placed),
) -> Result<(), StoreError> {
    let mut reader = Reader::new(pages, head, head.outbox_start);
    while let Some(placed) = reader.next()? {
        if is_to_deliver(head, &placed.entry) {
            take(placed);
        }
    }
    Ok(())
}

/// Whether it is to be delivered still.
pub(super) fn waits(head: &Head, entry: &Entry) -> bool {
    is_to_deliver(head, entry) && !entry.is_given_up()
}

fn is_to_deliver(head: &Head, entry: &Entry) -> bool {
    let stored = head.marks(head.epoch).map_or(0, |marks| marks.stored);
    entry.mine && entry.epoch == head.epoch && entry.seq >= stored
}

pub(super) fn kept(me: PeerId, head: &Head, entry: Entry) -> KeptMessage {
    let (author, to) = if entry.mine { (me, head.peer) } else { (head.peer, me) };
    let state = entry.mine.then(|| match head.marks(entry.epoch) {
        _ if entry.is_given_up() => Delivery::Failed,
        Some(marks) if entry.seq < marks.read => Delivery::Read,
        Some(marks) if entry.seq < marks.stored => Delivery::Stored,
        Some(_) => Delivery::Queued,
        // An epoch that made room for newer ones, or in which nothing has arrived yet.
        None if entry.epoch == head.epoch => Delivery::Queued,
        None => Delivery::Read,
    });
    let message = MessageId { author, to, epoch: entry.epoch, seq: entry.seq };
    let Entry { mine, text, sent_at, kept_at, .. } = entry;
    KeptMessage { peer: head.peer, message, mine, text, sent_at, kept_at, state }
}
