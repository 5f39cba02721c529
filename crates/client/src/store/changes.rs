//! Writes as conversations make them, put into pages: heads, logs and the directory.

use core::ops::Range;
use std::collections::BTreeMap;
use std::collections::btree_map;

use p2pchat_conversation::{Marks, Write};
use p2pchat_proto::PeerId;
use p2pchat_proto::conversation::{DeviceEpoch, EPOCHS_MAX};
use p2pchat_proto::kept::{CONVERSATIONS_MAX, Directory, Entry, EpochMarks, Head, OWN_EPOCHS_MAX, Retention};
use rand::CryptoRng;

use super::book::head_of;
use super::error::StoreError;
use super::log::{self, Placed, Reader, Writer, page_after, page_at};
use super::pages::{Pages, Thing, Writable};

/// Makes `writes` in their order; a conversation without a head begins in `epoch`.
pub(super) fn apply<'w>(
    pages: &mut Pages<'_, Writable<'_>>,
    epoch: DeviceEpoch,
    writes: impl IntoIterator<Item = &'w Write>,
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    let mut changes = Changes::new(epoch);
    for write in writes {
        if let Write::Succeeded { old, new } = write {
            core::mem::replace(&mut changes, Changes::new(epoch)).finish(pages, rng)?;
            succeed(pages, *old, *new, rng)?;
            continue;
        }
        // These two change what is written already, so everything before them is put there first.
        let (Write::Renewed { to, .. } | Write::GivenUp { to, .. }) = write else {
            changes.apply(pages, write)?;
            continue;
        };
        if !changes.knows(pages, *to)? {
            changes.apply(pages, write)?;
            continue;
        }
        core::mem::replace(&mut changes, Changes::new(epoch)).finish(pages, rng)?;
        let head = head_of(pages, *to)?.ok_or(StoreError::Damaged)?;
        if let Write::Renewed { epoch, .. } = write {
            renumber(pages, head, *epoch, rng)?;
        } else if let Write::GivenUp { epoch, seqs, .. } = write {
            give_up(pages, head, *epoch, seqs, rng)?;
        }
    }
    changes.finish(pages, rng)
}

/// Conversations as one transaction changes them.
struct Changes {
    epoch: DeviceEpoch,
    directory: Option<Directory>,
    conversations: BTreeMap<PeerId, Changed>,
}

struct Changed {
    head: Head,
    writer: Option<Writer>,
    /// Whether it is in the directory.
    listed: bool,
}

impl Changes {
    const fn new(epoch: DeviceEpoch) -> Self {
        Self { epoch, directory: None, conversations: BTreeMap::new() }
    }

    fn knows(&self, pages: &Pages<'_, Writable<'_>>, peer: PeerId) -> Result<bool, StoreError> {
        Ok(self.conversations.contains_key(&peer) || head_of(pages, peer)?.is_some())
    }

    fn apply(&mut self, pages: &Pages<'_, Writable<'_>>, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Composed { to, message, text, sent_at } => {
                let changed = self.conversation(pages, *to)?;
                changed.head.epoch = message.epoch;
                changed.head.next = message.seq + 1;
                let entry = Entry {
                    mine: true,
                    epoch: message.epoch,
                    seq: message.seq,
                    sent_at: *sent_at,
                    kept_at: *sent_at,
                    late: false,
                    text: text.to_string(),
                };
                changed.append(pages, &entry)
            }
            Write::Delivered { to, epoch, marks } => {
                let head = &mut self.conversation(pages, *to)?.head;
                // What was given up counts there already.
                let known = head.marks(*epoch).map_or_else(Marks::default, marks_of);
                let (stored, read) = (marks.stored.max(known.stored), marks.read.max(known.read));
                note(&mut head.sent, *epoch, Marks { stored, read }, OWN_EPOCHS_MAX);
                if head.epoch == *epoch && marks.stored >= head.next {
                    head.outbox_start = head.log_end;
                }
                Ok(())
            }
            Write::Handed { to, epoch, upto } => {
                let head = &mut self.conversation(pages, *to)?.head;
                if head.epoch == *epoch {
                    head.handed = head.handed.max(*upto).min(head.next);
                }
                Ok(())
            }
            // Of one that is known the messages that wait are numbered anew, see [`apply`].
            Write::Renewed { to, epoch } => {
                self.conversation(pages, *to)?.head.epoch = *epoch;
                Ok(())
            }
            // Where nothing was ever said, nothing waits; else see [`apply`].
            Write::GivenUp { .. } => Ok(()),
            Write::Arrived { message, text, sent_at, arrived_at, late } => {
                let entry = Entry {
                    mine: false,
                    epoch: message.epoch,
                    seq: message.seq,
                    sent_at: *sent_at,
                    kept_at: *arrived_at,
                    late: *late,
                    text: text.to_string(),
                };
                let changed = self.conversation(pages, message.author)?;
                let nothing_waits = changed.head.outbox_start == changed.head.log_end;
                changed.append(pages, &entry)?;
                if nothing_waits {
                    changed.head.outbox_start = changed.head.log_end;
                }
                Ok(())
            }
            Write::Held { peer, epoch, marks } => {
                note(&mut self.conversation(pages, *peer)?.head.held, *epoch, *marks, EPOCHS_MAX);
                Ok(())
            }
            // Between two changes, see [`apply`].
            Write::Succeeded { .. } => Ok(()),
            Write::Forgotten { peer, epoch } => {
                self.conversation(pages, *peer)?.head.held.retain(|marks| marks.epoch != *epoch);
                Ok(())
            }
        }
    }

    fn conversation(
        &mut self,
        pages: &Pages<'_, Writable<'_>>,
        peer: PeerId,
    ) -> Result<&mut Changed, StoreError> {
        match self.conversations.entry(peer) {
            btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            btree_map::Entry::Vacant(entry) => {
                let head = head_of(pages, peer)?;
                let listed = head.is_some();
                let head = head.unwrap_or_else(|| Head::new(peer, self.epoch));
                Ok(entry.insert(Changed { head, writer: None, listed }))
            }
        }
    }

    fn finish(self, pages: &mut Pages<'_, Writable<'_>>, rng: &mut dyn CryptoRng) -> Result<(), StoreError> {
        let Self { directory, conversations, .. } = self;
        let mut directory = directory;
        for Changed { head, writer, listed } in conversations.into_values() {
            if let Some(writer) = writer {
                writer.finish(pages, &head, rng)?;
            }
            pages.put_whole(Thing::Head(head.peer), &head, rng)?;
            if !listed {
                let directory = match &mut directory {
                    Some(directory) => directory,
                    None => directory.insert(pages.whole(Thing::Directory)?.unwrap_or_default()),
                };
                if directory.peers.len() >= CONVERSATIONS_MAX {
                    return Err(StoreError::TooLarge);
                }
                directory.peers.push(head.peer);
            }
        }
        match directory {
            Some(directory) => pages.put_whole(Thing::Directory, &directory, rng),
            None => Ok(()),
        }
    }
}

impl Changed {
    fn append(&mut self, pages: &Pages<'_, Writable<'_>>, entry: &Entry) -> Result<(), StoreError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(Writer::new(pages, &self.head)?),
        };
        writer.append(&mut self.head, entry)
    }
}

/// Puts marks in the place of older ones, at the end of the list.
fn note(list: &mut Vec<EpochMarks>, epoch: DeviceEpoch, marks: Marks, max: usize) {
    list.retain(|marks| marks.epoch != epoch);
    list.push(EpochMarks { epoch, stored: marks.stored, read: marks.read });
    list.drain(..list.len().saturating_sub(max));
}

fn marks_of(marks: EpochMarks) -> Marks {
    Marks { stored: marks.stored, read: marks.read }
}

/// Says of messages that wait that they are given up. Those before which nothing waits count as if they had
/// arrived, so that nothing more is said of them.
fn give_up(
    pages: &mut Pages<'_, Writable<'_>>,
    mut head: Head,
    epoch: DeviceEpoch,
    seqs: &Range<u64>,
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    if head.epoch != epoch {
        return Ok(());
    }
    let (mut places, mut first_waiting) = (Vec::new(), None);
    let mut marks = head.marks(epoch).map_or_else(Marks::default, marks_of);
    let mut reader = Reader::new(pages, &head, head.outbox_start);
    while let Some(Placed { at, entry }) = reader.next()? {
        if !entry.mine || entry.epoch != epoch || entry.seq < marks.stored {
            continue;
        }
        let given_up = entry.is_given_up() || seqs.contains(&entry.seq);
        if given_up && !entry.is_given_up() {
            places.push(at);
        }
        if !given_up {
            first_waiting.get_or_insert(at);
        } else if entry.seq == marks.stored {
            marks.read += u64::from(marks.read == marks.stored);
            marks.stored += 1;
        }
    }
    log::give_up(pages, &head, &places, rng)?;
    head.outbox_start = first_waiting.unwrap_or(head.log_end);
    note(&mut head.sent, epoch, marks, OWN_EPOCHS_MAX);
    pages.put_whole(Thing::Head(head.peer), &head, rng)
}

/// Puts the conversation with `old` where that with `new` will be looked for. Where there is one already both
/// stay as they are, and where there is none with `old` nothing is done: it was moved before.
pub(super) fn succeed(
    pages: &mut Pages<'_, Writable<'_>>,
    old: PeerId,
    new: PeerId,
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    if head_of(pages, new)?.is_some() {
        return Ok(());
    }
    if let Some(mut retention) = pages.whole::<Retention>(Thing::Retention)?
        && let Some(limit) = retention.limits.iter_mut().find(|limit| limit.peer == old)
    {
        limit.peer = new;
        pages.put_whole(Thing::Retention, &retention, rng)?;
    }
    let Some(head) = head_of(pages, old)? else { return Ok(()) };
    for number in page_at(head.log_start)..page_after(head.log_end) {
        let page = pages.page_of(Thing::Log(old), number)?;
        pages.put_page(Thing::Log(new), number, &page, rng)?;
        pages.remove_page(Thing::Log(old), number)?;
    }
    pages.remove_from(Thing::Head(old), 0)?;
    pages.put_whole(Thing::Head(new), &Head { peer: new, ..head }, rng)?;
    let mut directory: Directory = pages.whole(Thing::Directory)?.ok_or(StoreError::Damaged)?;
    directory.peers.iter_mut().filter(|peer| **peer == old).for_each(|peer| *peer = new);
    pages.put_whole(Thing::Directory, &directory, rng)
}

/// Gives the messages that wait the numbers of a new epoch.
pub(super) fn renumber(
    pages: &mut Pages<'_, Writable<'_>>,
    old: Head,
    epoch: DeviceEpoch,
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    let mut tail = Vec::new();
    let mut reader = Reader::new(pages, &old, old.outbox_start);
    while let Some(Placed { entry, .. }) = reader.next()? {
        tail.push(entry);
    }
    let stored = old.marks(old.epoch).map_or(0, |marks| marks.stored);
    let mut head = Head { epoch, next: 0, handed: 0, log_end: old.outbox_start, ..old.clone() };
    head.messages -= (tail.len() as u64).min(head.messages);
    let mut writer = Writer::new(pages, &head)?;
    for mut entry in tail {
        if entry.mine && entry.epoch == old.epoch && entry.seq >= stored && !entry.is_given_up() {
            (entry.epoch, entry.seq) = (epoch, head.next);
            head.next += 1;
        }
        writer.append(&mut head, &entry)?;
    }
    writer.finish(pages, &head, rng)?;
    pages.put_whole(Thing::Head(head.peer), &head, rng)
}
