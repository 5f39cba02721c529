//! The messages of one conversation: a stream of bytes, cut into pages.
//!
//! ```text
//! page:  where the first entry begins in it u16 (NONE: in none), bytes of the stream
//! entry: length u32, Entry
//! ```
//!
//! Writing appends to the last page; nothing before it changes. So a commit writes one page, or as many
//! as its messages fill, however long the conversation is.

use p2pchat_proto::codec;
use p2pchat_proto::codec::Body;
use p2pchat_proto::kept::{Entry, Head};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::error::StoreError;
use super::pages::{CONTENT_MAX, Pages, Readable, Thing, Writable};

const FIRST_LEN: usize = 2;
const NONE: u16 = u16::MAX;
/// Bytes of the stream in one page.
const PAGE: u64 = (CONTENT_MAX - FIRST_LEN) as u64;
const LENGTH_LEN: usize = 4;

/// An entry, and where in the stream it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) at: u64,
    pub(super) entry: Entry,
}

/// One page of the stream.
struct Page {
    first: u16,
    bytes: Zeroizing<Vec<u8>>,
}

impl Page {
    fn parse(content: &[u8]) -> Result<Self, StoreError> {
        let (first, bytes) = content.split_first_chunk::<FIRST_LEN>().ok_or(StoreError::Damaged)?;
        Ok(Self { first: u16::from_be_bytes(*first), bytes: Zeroizing::new(bytes.to_vec()) })
    }

    fn content(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&self.first.to_be_bytes()[..], &self.bytes].concat())
    }
}

/// Reads entries one after the other.
pub(super) struct Reader<'p, T> {
    pages: &'p Pages<'p, T>,
    thing: Thing,
    end: u64,
    /// Where in the stream `bytes[used]` is.
    at: u64,
    bytes: Zeroizing<Vec<u8>>,
    used: usize,
}

impl<'p, T: Readable> Reader<'p, T> {
    /// From an entry's beginning on; from the first one where that was removed.
    pub(super) fn new(pages: &'p Pages<'p, T>, head: &Head, from: u64) -> Self {
        let at = from.clamp(head.log_start, head.log_end);
        Self {
            pages,
            thing: Thing::Log(head.peer),
            end: head.log_end,
            at,
            bytes: Zeroizing::default(),
            used: 0,
        }
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Placed>, StoreError> {
        if self.at == self.end {
            return Ok(None);
        }
        let at = self.at;
        let length = self.take(LENGTH_LEN)?;
        let length = u32::from_be_bytes(length.as_slice().try_into().map_err(|_| StoreError::Damaged)?);
        let length = usize::try_from(length).map_err(|_| StoreError::Damaged)?;
        if length > Entry::MAX_LEN {
            return Err(StoreError::Damaged);
        }
        let entry = self.take(length)?;
        let entry = codec::decode(&entry).map_err(|_| StoreError::Damaged)?;
        Ok(Some(Placed { at, entry }))
    }

    fn take(&mut self, count: usize) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        while self.bytes.len() - self.used < count {
            self.bytes.drain(..self.used);
            self.used = 0;
            let next = self.at + self.bytes.len() as u64;
            if next >= self.end {
                return Err(StoreError::Damaged);
            }
            let page = Page::parse(&self.pages.page_of(self.thing, next / PAGE)?)?;
            let within = usize::try_from(next % PAGE).unwrap_or(usize::MAX);
            let fresh = page.bytes.get(within..).filter(|fresh| !fresh.is_empty());
            self.bytes.extend_from_slice(fresh.ok_or(StoreError::Damaged)?);
        }
        let taken = self.bytes.get(self.used..self.used + count).ok_or(StoreError::Damaged)?;
        let taken = Zeroizing::new(taken.to_vec());
        self.used += count;
        self.at += count as u64;
        Ok(taken)
    }
}

/// Says of one's own entries, by where they begin, that they are given up. Nothing else of them changes, and no
/// place of another.
pub(super) fn give_up(
    pages: &mut Pages<'_, Writable<'_>>,
    head: &Head,
    places: &[u64],
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    let thing = Thing::Log(head.peer);
    let flags = places.iter().map(|place| place + (LENGTH_LEN + Entry::LATE_AT) as u64);
    for flags in flags.collect::<Vec<_>>().chunk_by(|a, b| a / PAGE == b / PAGE) {
        let Some(number) = flags.first().map(|flag| flag / PAGE) else { continue };
        let mut page = Page::parse(&pages.page_of(thing, number)?)?;
        for flag in flags {
            let within = usize::try_from(flag % PAGE).unwrap_or(usize::MAX);
            *page.bytes.get_mut(within).ok_or(StoreError::Damaged)? = u8::from(true);
        }
        pages.put_page(thing, number, &page.content(), rng)?;
    }
    Ok(())
}

/// Removes everything before a place, an entry's beginning or the log's end: whole pages, and in the page
/// that stays the bytes before it.
pub(super) fn remove_before(
    pages: &mut Pages<'_, Writable<'_>>,
    head: &Head,
    place: u64,
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    let thing = Thing::Log(head.peer);
    for number in head.log_start / PAGE..place / PAGE {
        pages.remove_page(thing, number)?;
    }
    let within = usize::try_from(place % PAGE).unwrap_or(usize::MAX);
    if within > 0 {
        let mut page = Page::parse(&pages.page_of(thing, place / PAGE)?)?;
        page.bytes.get_mut(..within).ok_or(StoreError::Damaged)?.fill(0);
        page.first = match u16::try_from(within) {
            Ok(first) if place < head.log_end => first,
            Ok(_) | Err(_) => NONE,
        };
        pages.put_page(thing, place / PAGE, &page.content(), rng)?;
    }
    Ok(())
}

/// The entries that begin in the pages from `from` to before `to`, in their order. Pages are counted and
/// not bytes, so that no number that somebody names leads into the middle of an entry.
pub(super) fn entries_in<T: Readable>(
    pages: &Pages<'_, T>,
    head: &Head,
    from: u64,
    to: u64,
    mut take: impl FnMut(Entry),
) -> Result<(), StoreError> {
    let end = to.saturating_mul(PAGE).min(head.log_end);
    let mut number = from;
    let start = loop {
        let begin = number.saturating_mul(PAGE);
        if begin >= end {
            return Ok(());
        }
        if begin <= head.log_start {
            break head.log_start;
        }
        let page = Page::parse(&pages.page_of(Thing::Log(head.peer), number)?)?;
        if page.first != NONE {
            break begin + u64::from(page.first);
        }
        number += 1;
    };
    let mut reader = Reader::new(pages, head, start);
    while reader.at < end
        && let Some(placed) = reader.next()?
    {
        take(placed.entry);
    }
    Ok(())
}

/// A place from which at most about `bytes` of the log's end can be read, an entry's beginning; the
/// log's own where none is nearer.
pub(super) fn place_before<T: Readable>(
    pages: &Pages<'_, T>,
    head: &Head,
    end: u64,
    bytes: u64,
) -> Result<u64, StoreError> {
    let mut number = end.saturating_sub(bytes) / PAGE;
    while number * PAGE > head.log_start {
        let page = Page::parse(&pages.page_of(Thing::Log(head.peer), number)?)?;
        if page.first != NONE {
            return Ok((number * PAGE + u64::from(page.first)).max(head.log_start));
        }
        number -= 1;
    }
    Ok(head.log_start)
}

/// Appends to the stream of one conversation: what is written stays here until [`Writer::finish`].
pub(super) struct Writer {
    number: u64,
    page: Page,
    /// Full pages, and those which follow each other without being so.
    full: Vec<(u64, Page)>,
}

impl Writer {
    /// At the end of the log of `head`, in the place of what may follow there.
    pub(super) fn new<T: Readable>(pages: &Pages<'_, T>, head: &Head) -> Result<Self, StoreError> {
        let number = head.log_end / PAGE;
        let within = usize::try_from(head.log_end % PAGE).unwrap_or(usize::MAX);
        let mut page = Page { first: NONE, bytes: Zeroizing::default() };
        if within > 0 {
            page = Page::parse(&pages.page_of(Thing::Log(head.peer), number)?)?;
            if page.bytes.len() < within {
                return Err(StoreError::Damaged);
            }
            page.bytes.truncate(within);
            if usize::from(page.first) >= within {
                page.first = NONE;
            }
        }
        Ok(Self { number, page, full: Vec::new() })
    }

    /// Appends an entry and moves the head's end behind it.
    pub(super) fn append(&mut self, head: &mut Head, entry: &Entry) -> Result<(), StoreError> {
        let bytes = Zeroizing::new(codec::encode(entry).map_err(|_| StoreError::TooLarge)?);
        let length = u32::try_from(bytes.len()).map_err(|_| StoreError::TooLarge)?;
        if self.page.first == NONE {
            self.page.first = u16::try_from(self.page.bytes.len()).map_err(|_| StoreError::TooLarge)?;
        }
        self.write(&length.to_be_bytes());
        self.write(&bytes);
        head.log_end = self.number * PAGE + self.page.bytes.len() as u64;
        head.messages += 1;
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CONTENT_MAX - FIRST_LEN - self.page.bytes.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.page.bytes.extend_from_slice(now);
            bytes = later;
            if self.page.bytes.len() as u64 == PAGE {
                let next = Page { first: NONE, bytes: Zeroizing::default() };
                self.full.push((self.number, core::mem::replace(&mut self.page, next)));
                self.number += 1;
            }
        }
    }

    /// Puts what was written into the transaction.
    pub(super) fn finish(
        self,
        pages: &mut Pages<'_, Writable<'_>>,
        head: &Head,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), StoreError> {
        let thing = Thing::Log(head.peer);
        for (number, page) in &self.full {
            pages.put_page(thing, *number, &page.content(), rng)?;
        }
        if !self.page.bytes.is_empty() {
            pages.put_page(thing, self.number, &self.page.content(), rng)?;
        }
        Ok(())
    }
}

/// The number of the page in which a place lies.
pub(super) const fn page_at(place: u64) -> u64 {
    place / PAGE
}

/// The number after that of the last page of a log that ends at a place.
pub(super) const fn page_after(end: u64) -> u64 {
    end.div_ceil(PAGE)
}
