//! The store as a bag of equal, sealed pages under names that tell nothing.
//!
//! Whoever reads the file sees how many pages there are, and so how large it is, and no more: not what
//! a page is, nor which belong together, nor how many conversations or contacts there are.
//!
//! ```text
//! name [16] -> nonce [24] | sealed: length u16, content, zeros to CONTENT_MAX | tag [16]
//! ```
//!
//! A page opens under its own name only. What is longer than a page lies in several, by number.

use std::sync::Arc;

use p2pchat_crypto::rest::{NAME_LEN, SEAL_LEN};
use p2pchat_crypto::{Identity, StoreNames};
use p2pchat_proto::PeerId;
use p2pchat_proto::codec::{self, Body};
use rand::CryptoRng;
use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition};
use zeroize::Zeroizing;

use super::error::StoreError;

/// Most bytes of content of one page: with its name and what sealing adds, it fills one page of redb
/// (4,096 bytes with a header of 4, redb's `docs/design.md`).
pub(super) const CONTENT_MAX: usize = 4_032;
const LENGTH_LEN: usize = 2;
const SEALED_LEN: usize = LENGTH_LEN + CONTENT_MAX + SEAL_LEN;

type PageName = &'static [u8; NAME_LEN];
type SealedPage = &'static [u8; SEALED_LEN];

/// A table of pages that can be read.
pub(super) trait Readable: ReadableTable<PageName, SealedPage> {}
impl<T: ReadableTable<PageName, SealedPage>> Readable for T {}
/// The table of pages as one transaction found it.
pub(super) type Still = ReadOnlyTable<PageName, SealedPage>;
/// The table of pages in a transaction that writes.
pub(super) type Writable<'t> = Table<'t, PageName, SealedPage>;

pub(super) const PAGES: TableDefinition<'static, PageName, SealedPage> = TableDefinition::new("pages");

/// Something that rests in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    /// Who this installation is.
    Installation,
    /// With whom there are conversations.
    Directory,
    /// The head of a conversation.
    Head(PeerId),
    /// The messages of a conversation.
    Log(PeerId),
}

impl Thing {
    fn label(self) -> Vec<u8> {
        match self {
            Self::Installation => b"installation".to_vec(),
            Self::Directory => b"directory".to_vec(),
            Self::Head(peer) => [b"head ".as_slice(), &peer.0].concat(),
            Self::Log(peer) => [b"log ".as_slice(), &peer.0].concat(),
        }
    }
}

/// What names and seals pages.
pub(super) struct Keys {
    identity: Arc<Identity>,
    names: StoreNames,
}

impl Keys {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { names: identity.store().names(), identity }
    }

    /// Whose they are.
    pub(super) fn me(&self) -> PeerId {
        self.identity.peer_id()
    }

    fn seal(
        &self,
        name: &[u8; NAME_LEN],
        content: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<[u8; SEALED_LEN], StoreError> {
        let padding = CONTENT_MAX.checked_sub(content.len()).ok_or(StoreError::TooLarge)?;
        let length = u16::try_from(content.len()).map_err(|_| StoreError::TooLarge)?;
        let zeros = [0; CONTENT_MAX];
        let parts = [&length.to_be_bytes()[..], content, zeros.get(..padding).unwrap_or_default()];
        let sealed = self.identity.store().seal(name, &parts, rng).map_err(|_| StoreError::Randomness)?;
        sealed.try_into().map_err(|_| StoreError::TooLarge)
    }

    fn open(&self, name: &[u8; NAME_LEN], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let mut page = self.identity.store().open(name, sealed).map_err(|_| StoreError::Damaged)?;
        let length = page.first_chunk::<LENGTH_LEN>().map(|length| u16::from_be_bytes(*length));
        let length = usize::from(length.ok_or(StoreError::Damaged)?);
        if length > CONTENT_MAX {
            return Err(StoreError::Damaged);
        }
        page.copy_within(LENGTH_LEN..LENGTH_LEN + length, 0);
        page.truncate(length);
        Ok(page)
    }
}

/// The pages of one transaction.
pub(super) struct Pages<'a, T> {
    pub(super) table: T,
    pub(super) keys: &'a Keys,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl<T: Readable> Pages<'_, T> {
    /// Whether there is no page at all.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.table.first().map_err(StoreError::reading)?.is_none())
    }

    /// The content of one page; `None` where there is none.
    pub(super) fn page(&self, thing: Thing, number: u64) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let name = self.keys.names.name(&thing.label(), number);
        let page = self.table.get(&name).map_err(StoreError::reading)?;
        page.map(|page| self.keys.open(&name, page.value())).transpose()
    }

    /// A page that must be there.
    pub(super) fn page_of(&self, thing: Thing, number: u64) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.page(thing, number)?.ok_or(StoreError::Damaged)
    }

    /// Something that was put as a whole.
    pub(super) fn whole<B: Body>(&self, thing: Thing) -> Result<Option<B>, StoreError> {
        let mut bytes = Zeroizing::new(Vec::new());
        for number in 0..pages_of(B::MAX_LEN) {
            let Some(page) = self.page(thing, number)? else {
                // A multiple of a page's length ends with an empty one, so only nothing has none.
                return if number == 0 { Ok(None) } else { Err(StoreError::Damaged) };
            };
            bytes.extend_from_slice(&page);
            if page.len() < CONTENT_MAX {
                return codec::decode(&bytes).map(Some).map_err(|_| StoreError::Damaged);
            }
        }
        Err(StoreError::Damaged)
    }
}

impl Pages<'_, Writable<'_>> {
    /// Puts one page in the place of what was there.
    pub(super) fn put_page(
        &mut self,
        thing: Thing,
        number: u64,
        content: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(), StoreError> {
        let name = self.keys.names.name(&thing.label(), number);
        let sealed = self.keys.seal(&name, content, rng)?;
        self.table.insert(&name, &sealed).map_err(StoreError::writing)?;
        Ok(())
    }

    /// Removes one page. Whether it was there.
    pub(super) fn remove_page(&mut self, thing: Thing, number: u64) -> Result<bool, StoreError> {
        let name = self.keys.names.name(&thing.label(), number);
        Ok(self.table.remove(&name).map_err(StoreError::writing)?.is_some())
    }

    /// Puts something as a whole, in the place of what was there.
    pub(super) fn put_whole<B: Body>(
        &mut self,
        thing: Thing,
        body: &B,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), StoreError> {
        let bytes = Zeroizing::new(codec::encode(body).map_err(|_| StoreError::TooLarge)?);
        let mut number = 0;
        let mut rest = bytes.as_slice();
        loop {
            let (content, after) = rest.split_at(rest.len().min(CONTENT_MAX));
            self.put_page(thing, number, content, rng)?;
            number += 1;
            rest = after;
            if content.len() < CONTENT_MAX {
                break;
            }
        }
        self.remove_from(thing, number)
    }

    /// Removes the pages of something from one on.
    pub(super) fn remove_from(&mut self, thing: Thing, mut number: u64) -> Result<(), StoreError> {
        while self.remove_page(thing, number)? {
            number += 1;
        }
        Ok(())
    }
}

/// Pages of something of at most `len` bytes, the last of which is not full.
const fn pages_of(len: usize) -> u64 {
    (len / CONTENT_MAX) as u64 + 1
}
