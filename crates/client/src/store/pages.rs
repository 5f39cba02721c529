//! The store as a bag of equal, sealed pages under names that tell nothing.
//!
//! Whoever reads the file sees how many pages there are, and so how large it is, and no more: not what
//! a page is, nor which belong together, nor how many conversations or contacts there are.
//!
//! ```text
//! name [16] -> nonce [24] | sealed: length u16, content, zeros to CONTENT_MAX | tag [16]
//! ```
//!
//! A page opens under its own name only. What is longer than a page lies in several, by number. What all of
//! them come to stands in one of them, so that none can be left out or put in the place of a later one: a
//! store is as it was at one moment, or damaged.

use std::sync::Arc;

use p2pchat_crypto::rest::{NAME_LEN, SEAL_LEN};
use p2pchat_crypto::{Identity, StoreNames};
use p2pchat_proto::PeerId;
use p2pchat_proto::codec::{self, Body};
use p2pchat_proto::kept::{FormerInstallation, Installation, SUM_LEN};
use rand::CryptoRng;
use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition};
use zeroize::Zeroizing;

use super::error::StoreError;
use super::file::Layout;

/// Most bytes of content of one page: with its name and what sealing adds, it fills one page of redb
/// (4,096 bytes with a header of 4, redb's `docs/design.md`).
pub(super) const CONTENT_MAX: usize = 4_032;
const LENGTH_LEN: usize = 2;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = SEAL_LEN - NONCE_LEN;
/// Marks the share of a page in the sum of all.
const PAGE: &[u8] = b"page ";
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
    /// How long messages are kept.
    Retention,
}

impl Thing {
    fn label(self) -> Vec<u8> {
        match self {
            Self::Installation => b"installation".to_vec(),
            Self::Directory => b"directory".to_vec(),
            Self::Head(peer) => [b"head ".as_slice(), &peer.0].concat(),
            Self::Log(peer) => [b"log ".as_slice(), &peer.0].concat(),
            Self::Retention => b"retention".to_vec(),
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

    /// What one page adds to the sum of all, and takes from it when it goes. It needs the names' key, and a
    /// page has its nonce and its tag for itself, so nobody finds other pages that come to the same.
    fn share(&self, name: &[u8; NAME_LEN], sealed: &[u8; SEALED_LEN]) -> [u8; SUM_LEN] {
        let nonce = sealed.first_chunk::<NONCE_LEN>().map_or(&[][..], |nonce| nonce);
        let tag = sealed.last_chunk::<TAG_LEN>().map_or(&[][..], |tag| tag);
        self.names.name(&[PAGE, name, nonce, tag].concat(), 0)
    }

    fn installation(&self) -> [u8; NAME_LEN] {
        self.names.name(&Thing::Installation.label(), 0)
    }
}

/// The pages of one transaction.
pub(super) struct Pages<'a, T> {
    table: T,
    keys: &'a Keys,
    /// By what the sum of all pages changes with this transaction.
    change: [u8; SUM_LEN],
}

impl<'a, T> Pages<'a, T> {
    pub(super) fn new(table: T, keys: &'a Keys) -> Self {
        Self { table, keys, change: [0; SUM_LEN] }
    }
}

fn toggle(sum: &mut [u8; SUM_LEN], share: [u8; SUM_LEN]) {
    sum.iter_mut().zip(share).for_each(|(byte, share)| *byte ^= share);
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl<T: Readable> Pages<'_, T> {
    /// Whether there is no page at all.
    fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.table.first().map_err(StoreError::reading)?.is_none())
    }

    /// What the store says of itself; `None` in a new one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if its pages are not those of one moment.
    pub(super) fn installation(&self, layout: Layout) -> Result<Option<Installation>, StoreError> {
        let known = match layout {
            Layout::Present | Layout::Second => self.whole::<Installation>(Thing::Installation)?,
            Layout::First => match self.whole(Thing::Installation)? {
                Some(FormerInstallation { epoch, mark }) => {
                    Some(Installation { epoch, mark, sum: self.sum()? })
                }
                None => None,
            },
        };
        match known {
            Some(installation) if installation.sum == self.sum()? => Ok(known),
            Some(_) => Err(StoreError::Damaged),
            // Under another identity's names nothing is found.
            None if self.is_empty()? => Ok(None),
            None => Err(StoreError::NotOurs),
        }
    }

    /// What all pages come to, but for the one in which that stands.
    fn sum(&self) -> Result<[u8; SUM_LEN], StoreError> {
        let installation = self.keys.installation();
        let mut sum = [0; SUM_LEN];
        for row in self.table.iter().map_err(StoreError::reading)? {
            let (name, page) = row.map_err(StoreError::reading)?;
            if *name.value() != installation {
                toggle(&mut sum, self.keys.share(name.value(), page.value()));
            }
        }
        Ok(sum)
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
        let old = self.table.insert(&name, &sealed).map_err(StoreError::writing)?;
        if thing != Thing::Installation {
            old.iter().for_each(|old| toggle(&mut self.change, self.keys.share(&name, old.value())));
            toggle(&mut self.change, self.keys.share(&name, &sealed));
        }
        Ok(())
    }

    /// Says what all pages come to by now. The last thing of a transaction that changes any.
    pub(super) fn settle(&mut self, rng: &mut dyn CryptoRng) -> Result<(), StoreError> {
        let change = core::mem::take(&mut self.change);
        if change == [0; SUM_LEN] {
            return Ok(());
        }
        let mut installation: Installation = self.whole(Thing::Installation)?.ok_or(StoreError::Damaged)?;
        toggle(&mut installation.sum, change);
        self.put_whole(Thing::Installation, &installation, rng)
    }

    /// Removes one page. Whether it was there.
    pub(super) fn remove_page(&mut self, thing: Thing, number: u64) -> Result<bool, StoreError> {
        let name = self.keys.names.name(&thing.label(), number);
        let old = self.table.remove(&name).map_err(StoreError::writing)?;
        if thing != Thing::Installation {
            old.iter().for_each(|old| toggle(&mut self.change, self.keys.share(&name, old.value())));
        }
        Ok(old.is_some())
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
