//! The file of the store: made, checked, opened, set aside.

use core::ops::Range;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use p2pchat_proto::kept::Installation;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError, TableDefinition,
};

use super::error::StoreError;
use super::pages::{Keys, PAGES, Pages};
use super::quiet::{Panicked, quietly};

/// Version of the layout: in the first one, nothing told of a page that was left out or older than others, and
/// before the third one nothing told which messages had left.
const LAYOUT: u64 = 3;
const SECOND_LAYOUT: u64 = 2;
const FIRST_LAYOUT: u64 = 1;
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const LAYOUT_KEY: &str = "layout";
/// Memory for pages, in bytes. redb's own default is 1 GiB; reading a conversation of 100,000 messages once
/// needs no page twice.
const CACHE: usize = 4 << 20;
/// Where a system keeps its own name (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";
const MARK: &str = "p2pchat 1 installation";
/// How many names are tried for a damaged file.
const ASIDE_MAX: u32 = 1_000;

/// In which layout a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The first one, to be upgraded.
    First,
    /// The second one, likewise.
    Second,
    /// The one of this version.
    Present,
}

/// Opens the file, which is made where there is none, after all of it was checked.
pub(super) fn open(path: &Path, keys: &Keys) -> Result<(Database, Layout, Option<Installation>), StoreError> {
    if !path.exists() {
        create(path)?;
    }
    quietly(AssertUnwindSafe(|| {
        let (layout, known) = check(path, keys)?;
        Ok((builder().open(path).map_err(opening)?, layout, known))
    }))
    .unwrap_or(Err(StoreError::Damaged))
}

/// Opens the file again after a write has failed, without the check of the start.
pub(super) fn reopen(path: &Path) -> Result<Database, StoreError> {
    quietly(|| builder().open(path).map_err(opening)).unwrap_or_else(|Panicked| Err(StoreError::Damaged))
}

/// Gives a damaged file another name, which nothing uses, so that it can be looked at and nothing
/// overwrites it.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 0..ASIDE_MAX {
        let aside = path.with_extension(format!("damaged-{number}"));
        if aside.symlink_metadata().is_err() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What an installation knows its machine and its file by: a copy of the file, on this machine or on
/// another, has another one.
pub(super) fn installation_mark(path: &Path) -> io::Result<[u8; 32]> {
    // Not every system names itself; then the file has to do.
    let machine = fs::read(MACHINE_ID).unwrap_or_default();
    let mut hasher = blake3::Hasher::new_derive_key(MARK);
    hasher.update(&fs::metadata(path)?.ino().to_be_bytes()).update(&machine);
    Ok(*hasher.finalize().as_bytes())
}

/// A write transaction whose end survives a crash without a repair at the next start.
pub(super) fn begin(database: &Database) -> Result<redb::WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(StoreError::writing)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// From this transaction on, the file is in the present layout.
pub(super) fn say_layout(transaction: &redb::WriteTransaction) -> Result<(), StoreError> {
    let mut meta = transaction.open_table(META).map_err(StoreError::writing)?;
    meta.insert(LAYOUT_KEY, LAYOUT).map(drop).map_err(StoreError::writing)
}

/// Takes a file back to a former layout, but for its pages.
#[cfg(test)]
pub(super) fn say_former_layout(path: &Path, layout: Layout, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = builder().open(path).unwrap();
    let transaction = begin(&database).unwrap();
    let layout = match layout {
        Layout::First => FIRST_LAYOUT,
        Layout::Second => SECOND_LAYOUT,
        Layout::Present => LAYOUT,
    };
    transaction.open_table(META).unwrap().insert(LAYOUT_KEY, layout).map(drop).unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// A file under its final name always has its tables.
fn create(path: &Path) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let file = options.create_new(true).read(true).write(true).mode(0o600).open(&draft)?;
    let database = builder().create_file(file).map_err(opening)?;
    let transaction = begin(&database)?;
    say_layout(&transaction)?;
    transaction.open_table(PAGES).map(drop).map_err(StoreError::writing)?;
    transaction.commit().map_err(StoreError::writing)?;
    drop(database);
    fs::rename(&draft, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    Ok(File::open(directory)?.sync_all()?)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    // Every commit leaves what a start after a crash needs, so a file that wants more is damaged;
    // a repair would go back to an older state and lose messages in silence.
    builder.set_repair_callback(|repair| repair.abort());
    builder
}

/// Checks the file without changing it: redb writes to whatever it opens, damaged or not.
fn check(path: &Path, keys: &Keys) -> Result<(Layout, Option<Installation>), StoreError> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        // redb would take it for a new one.
        return Err(StoreError::Damaged);
    }
    let copy = Overlay { file, over: Mutex::default() };
    let mut database = builder().create_with_backend(copy).map_err(opening)?;
    if !database.check_integrity().map_err(opening)? {
        return Err(StoreError::Damaged);
    }
    let read = || -> Result<Option<u64>, redb::Error> {
        let table = database.begin_read()?.open_table(META)?;
        Ok(table.get(LAYOUT_KEY)?.map(|value| value.value()))
    };
    let layout = match read().map_err(StoreError::reading)? {
        Some(LAYOUT) => Layout::Present,
        Some(SECOND_LAYOUT) => Layout::Second,
        Some(FIRST_LAYOUT) => Layout::First,
        Some(0) | None => return Err(StoreError::Damaged),
        Some(_) => return Err(StoreError::Newer),
    };
    let transaction = database.begin_read().map_err(StoreError::reading)?;
    let table = transaction.open_table(PAGES).map_err(StoreError::reading)?;
    Ok((layout, Pages::new(table, keys).installation(layout)?))
}

/// Pages in a file, however it came to be.
#[cfg(test)]
pub(super) fn page_count(path: &Path) -> u64 {
    use redb::ReadableTableMetadata;
    let database = builder().open(path).unwrap();
    database.begin_read().unwrap().open_table(PAGES).unwrap().len().unwrap()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of others, and open")]
fn opening(error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            error.into()
        }
        _ => StoreError::Damaged,
    }
}

/// A file that is only read, and the blocks that were written over it, in memory.
#[derive(Debug)]
struct Overlay {
    file: File,
    over: Mutex<Over>,
}

#[derive(Debug, Default)]
struct Over {
    length: Option<u64>,
    blocks: BTreeMap<u64, Block>,
}

/// Bytes of a block: redb reads and writes pages of this size, or multiples of it.
const BLOCK: usize = 4_096;
type Block = Box<[u8; BLOCK]>;

/// The part of one block that a range of the file covers.
struct Part {
    number: u64,
    /// In the block.
    within: Range<usize>,
    /// In the range.
    of: Range<usize>,
}

impl Overlay {
    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as the file has it, with zeros behind the file's end.
    fn in_file(&self, number: u64) -> io::Result<Block> {
        let mut block = Box::new([0; BLOCK]);
        let start = number.saturating_mul(BLOCK as u64);
        let held = self.file.metadata()?.len().saturating_sub(start);
        let held = usize::try_from(held).unwrap_or(BLOCK).min(BLOCK);
        let (there, _) = block.split_at_mut(held);
        self.file.read_exact_at(there, start)?;
        Ok(block)
    }
}

fn parts(offset: u64, len: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = offset.checked_add(done as u64).filter(|_| done < len)?;
        let start = usize::try_from(at % BLOCK as u64).unwrap_or_default();
        let count = (BLOCK - start).min(len - done);
        let of = done..done + count;
        done += count;
        Some(Part { number: at / BLOCK as u64, within: start..start + count, of })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        let length = self.over().length;
        length.map_or_else(|| Ok(self.file.metadata()?.len()), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for Part { number, within, of } in parts(offset, out.len()) {
            let over = self.over();
            match over.blocks.get(&number) {
                Some(block) => out[of].copy_from_slice(&block[within]),
                None => out[of].copy_from_slice(&self.in_file(number)?[within]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.over().length = Some(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        for Part { number, within, of } in parts(offset, data.len()) {
            let mut over = self.over();
            let mut block = match over.blocks.remove(&number) {
                Some(block) => block,
                None => self.in_file(number)?,
            };
            block[within].copy_from_slice(&data[of]);
            over.blocks.insert(number, block);
        }
        Ok(())
    }
}
