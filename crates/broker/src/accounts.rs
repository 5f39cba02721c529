//! Names and the keys that they are bound to, in redb.
//!
//! One table, name to [`VALUE_LEN`] bytes: the 32 of the identity and one for the state. A second
//! one has the version of this layout, so that an older program refuses a newer file by itself. A third has
//! the statements of those who had a name before ([`Former`]), each as `identity [32] | length u16 | bytes`;
//! a file becomes one of layout 2 with the first of them.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use p2pchat_proto::succession::{KeptSuccession, SUCCESSIONS_MAX};
use p2pchat_proto::{Name, PeerId};
use p2pchat_registry::{Account, AccountState, Former};
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError,
    TableDefinition,
};

use crate::quiet::{Panicked, quietly};

/// Version of a layout without [`FORMER`].
const LAYOUT: u64 = 1;
/// Version of one with it.
const LAYOUT_WITH_FORMER: u64 = 2;
/// Bytes of an account's value.
const VALUE_LEN: usize = 33;
/// Memory for pages, in bytes: accounts are read once, at the start, and written one by one.
const CACHE: usize = 1 << 20;
const ACCOUNTS: TableDefinition<&str, [u8; VALUE_LEN]> = TableDefinition::new("accounts");
const FORMER: TableDefinition<&str, &[u8]> = TableDefinition::new("former");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const LAYOUT_KEY: &str = "layout";

/// Accounts that cannot be read or written. Local, and for the operator to mend.
#[derive(Debug)]
pub enum AccountsError {
    /// The file or its directory cannot be read or written.
    Io(PathBuf, io::Error),
    /// Another process has the file open.
    InUse(PathBuf),
    /// The content is not what was written.
    Damaged(PathBuf),
    /// Written by a later version of the program.
    Newer(PathBuf),
    /// A write failed; nothing of it is stored.
    Write(redb::Error),
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => {
                write!(
                    f,
                    "accounts {}: {error}; make the directory writable or choose another with --data",
                    path.display()
                )
            }
            Self::InUse(path) => {
                write!(
                    f,
                    "accounts {} are in use; stop the broker that runs with this directory",
                    path.display()
                )
            }
            Self::Damaged(path) => write!(
                f,
                "accounts {} are damaged and were left as they are; put your copy back, or move the file away to start without names",
                path.display()
            ),
            Self::Newer(path) => {
                write!(f, "accounts {} were written by a later version; use that version", path.display())
            }
            Self::Write(error) => {
                write!(f, "accounts cannot be written: {error}; check the disk")
            }
        }
    }
}

impl std::error::Error for AccountsError {}

/// The open file.
#[derive(Debug)]
pub struct Accounts {
    path: PathBuf,
    /// None after a write that failed: redb refuses everything from then on, also when the disk has
    /// room again, until the file is opened anew.
    database: Option<Database>,
}

impl Accounts {
    /// Opens the file at `path`, or makes it, and checks all of it. Gives every account, too, in
    /// the order of names.
    ///
    /// # Errors
    /// See [`AccountsError`]. A damaged file is left as it is.
    pub fn open(path: &Path) -> Result<(Self, Vec<Account>), AccountsError> {
        if !path.exists() {
            create(path)?;
        }
        let (database, accounts) = open_checked(path)?;
        Ok((Self { path: path.to_owned(), database: Some(database) }, accounts))
    }

    /// Stores all of `accounts` durably, or none.
    ///
    /// # Errors
    /// [`AccountsError::Write`]; the next write is tried on the file as it is then, and fails like
    /// [`Accounts::open`] where that does.
    pub fn store<'a>(
        &mut self,
        accounts: impl IntoIterator<Item = &'a Account>,
    ) -> Result<(), AccountsError> {
        self.write(|database| {
            let transaction = begin(database)?;
            let mut table = transaction.open_table(ACCOUNTS)?;
            for account in accounts {
                if !account.former.is_empty() {
                    transaction.open_table(META)?.insert(LAYOUT_KEY, LAYOUT_WITH_FORMER)?;
                    let former = former_bytes(&account.former);
                    transaction.open_table(FORMER)?.insert(account.name.as_str(), &*former)?;
                }
                let mut value = [0; VALUE_LEN];
                let (peer, state) = value.split_at_mut(32);
                peer.copy_from_slice(&account.peer.0);
                state.copy_from_slice(&[state_byte(account.state)]);
                table.insert(account.name.as_str(), value)?;
            }
            drop(table);
            Ok(transaction.commit()?)
        })
    }

    /// Frees `name` for everybody. Whether there was such an account.
    ///
    /// # Errors
    /// As [`Accounts::store`].
    pub fn remove(&mut self, name: &Name) -> Result<bool, AccountsError> {
        self.write(|database| {
            let transaction = begin(database)?;
            let found = transaction.open_table(ACCOUNTS)?.remove(name.as_str())?.is_some();
            if has_former(database)? {
                transaction.open_table(FORMER)?.remove(name.as_str())?;
            }
            transaction.commit()?;
            Ok(found)
        })
    }

    fn write<T>(
        &mut self,
        write: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, AccountsError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_checked(&self.path)?.0,
        };
        let outcome = write(&database).map_err(AccountsError::Write)?;
        self.database = Some(database);
        Ok(outcome)
    }
}

fn open_checked(path: &Path) -> Result<(Database, Vec<Account>), AccountsError> {
    quietly(|| {
        let accounts = read_copy(path)?;
        let database = builder().open(path).map_err(|error| opening(path, error))?;
        Ok((database, accounts))
    })
    .unwrap_or_else(|Panicked| Err(AccountsError::Damaged(path.to_owned())))
}

/// Checks and reads a copy in memory: redb writes to whatever it opens, damaged or not.
fn read_copy(path: &Path) -> Result<Vec<Account>, AccountsError> {
    let damaged = || AccountsError::Damaged(path.to_owned());
    let bytes = fs::read(path).map_err(|error| AccountsError::Io(path.to_owned(), error))?;
    if bytes.is_empty() {
        // redb would take it for a new one.
        return Err(damaged());
    }
    let copy = in_memory(&bytes).map_err(|error| AccountsError::Io(path.to_owned(), error))?;
    let mut database = builder().create_with_backend(copy).map_err(|error| opening(path, error))?;
    if !database.check_integrity().map_err(|error| opening(path, error))? {
        return Err(damaged());
    }
    match layout(&database).map_err(|error| reading(path, error))? {
        Some(LAYOUT | LAYOUT_WITH_FORMER) => {}
        Some(0) | None => return Err(damaged()),
        Some(_) => return Err(AccountsError::Newer(path.to_owned())),
    }
    let rows = rows(&database).map_err(|error| reading(path, error))?;
    rows.into_iter().map(account).collect::<Option<_>>().ok_or_else(damaged)
}

/// Whether a name ever changed hands in this file.
fn has_former(database: &Database) -> Result<bool, redb::Error> {
    Ok(layout(database)? == Some(LAYOUT_WITH_FORMER))
}

fn former_bytes(former: &[Former]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Former { peer, succession } in former {
        let statement = succession.as_slice();
        bytes.extend(peer.0);
        bytes.extend(u16::try_from(statement.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(statement);
    }
    bytes
}

fn former_from(mut bytes: &[u8]) -> Option<Vec<Former>> {
    let mut former = Vec::new();
    while !bytes.is_empty() && former.len() < SUCCESSIONS_MAX {
        let (peer, rest) = bytes.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (statement, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let succession = KeptSuccession::new(statement.to_vec())?;
        former.push(Former { peer: PeerId(*peer), succession });
        bytes = rest;
    }
    bytes.is_empty().then_some(former)
}

fn in_memory(bytes: &[u8]) -> io::Result<InMemoryBackend> {
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, bytes)?;
    Ok(copy)
}

fn layout(database: &Database) -> Result<Option<u64>, redb::Error> {
    let table = database.begin_read()?.open_table(META)?;
    Ok(table.get(LAYOUT_KEY)?.map(|value| value.value()))
}

type Row = (String, [u8; VALUE_LEN], Vec<u8>);

fn rows(database: &Database) -> Result<Vec<Row>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(ACCOUNTS)?;
    let former = if has_former(database)? { Some(transaction.open_table(FORMER)?) } else { None };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (name, value) = row?;
        let stated = former.as_ref().map(|former| former.get(name.value())).transpose()?.flatten();
        let stated = stated.map(|stated| stated.value().to_vec()).unwrap_or_default();
        rows.push((name.value().to_owned(), value.value(), stated));
    }
    Ok(rows)
}

fn account((name, value, former): Row) -> Option<Account> {
    let (peer, &[state]) = value.split_first_chunk::<32>()? else { return None };
    let (name, peer) = (name.parse::<Name>().ok()?, PeerId(*peer));
    Some(Account { name, peer, state: state_from(state)?, former: former_from(&former)? })
}

/// A file under its final name always has its tables.
fn create(path: &Path) -> Result<(), AccountsError> {
    let draft = path.with_extension("new");
    let failed = |error| AccountsError::Io(path.to_owned(), error);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let file = options.create_new(true).read(true).write(true).mode(0o600).open(&draft).map_err(failed)?;
    let database = builder().create_file(file).map_err(|error| opening(path, error))?;
    let fill = || {
        let transaction = begin(&database)?;
        transaction.open_table(META)?.insert(LAYOUT_KEY, LAYOUT)?;
        transaction.open_table(ACCOUNTS)?;
        Ok(transaction.commit()?)
    };
    fill().map_err(AccountsError::Write)?;
    drop(database);
    fs::rename(&draft, path).map_err(failed)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    // Every commit leaves what a start after a crash needs, so a file that wants more is damaged;
    // a repair would go back to an older state and lose names in silence.
    builder.set_repair_callback(|repair| repair.abort());
    builder
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of others, and open")]
fn opening(path: &Path, error: DatabaseError) -> AccountsError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => AccountsError::InUse(path),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            AccountsError::Io(path, error)
        }
        _ => AccountsError::Damaged(path),
    }
}

/// Reading fails for the disk's sake, or because what was read is not what was written.
fn reading(path: &Path, error: redb::Error) -> AccountsError {
    let path = path.to_owned();
    if let redb::Error::Io(error) = error {
        AccountsError::Io(path, error)
    } else {
        AccountsError::Damaged(path)
    }
}

fn state_byte(state: AccountState) -> u8 {
    match state {
        AccountState::Held => 1,
        AccountState::Reserved => 2,
    }
}

fn state_from(byte: u8) -> Option<AccountState> {
    match byte {
        1 => Some(AccountState::Held),
        2 => Some(AccountState::Reserved),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn account(name: &str, peer: u8, state: AccountState) -> Account {
        Account { name: name.parse().unwrap(), peer: PeerId([peer; 32]), state, former: Vec::new() }
    }

    fn rotated(name: &str, peers: &[u8]) -> Account {
        let (last, before) = peers.split_last().unwrap();
        let former = before.iter().map(|peer| Former {
            peer: PeerId([*peer; 32]),
            succession: KeptSuccession::new(vec![*peer; 200]).unwrap(),
        });
        Account { former: former.collect(), ..account(name, *last, AccountState::Held) }
    }

    #[test]
    fn who_had_a_name_before_is_kept_with_it_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        let layout_of = |path: &Path| layout(&builder().open(path).unwrap()).unwrap();
        let all = vec![rotated("alice", &[1, 2, 3]), account("bob", 9, AccountState::Held)];
        Accounts::open(&path).unwrap().0.store(&all[1..]).unwrap();
        assert_eq!(layout_of(&path), Some(LAYOUT), "as before where nobody changed a key");
        Accounts::open(&path).unwrap().0.store(&all).unwrap();
        assert_eq!(layout_of(&path), Some(LAYOUT_WITH_FORMER), "an older program refuses it");
        let (mut accounts, loaded) = Accounts::open(&path).unwrap();
        assert_eq!(loaded, all);
        assert!(accounts.remove(&all[0].name).unwrap());
        accounts.store([&account("alice", 7, AccountState::Held)]).unwrap();
        drop(accounts);
        let loaded = Accounts::open(&path).unwrap().1;
        assert_eq!(loaded, [account("alice", 7, AccountState::Held), all[1].clone()]);
    }

    #[test]
    fn no_bytes_make_the_reader_of_statements_panic() {
        let whole = former_bytes(&rotated("alice", &[1, 2, 3]).former);
        assert_eq!(former_from(&whole).unwrap().len(), 2);
        for length in 0..whole.len() {
            assert!(former_from(&whole[..length]).is_none_or(|former| former.len() < 2), "{length}");
        }
        let many = former_bytes(&rotated("alice", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).former);
        assert!(former_from(&many).is_none(), "more than are kept");
    }

    fn filled(path: &Path) -> Vec<Account> {
        let accounts: Vec<_> =
            (0..200u8).map(|n| account(&format!("user-{n:03}"), n, AccountState::Held)).collect();
        Accounts::open(path).unwrap().0.store(&accounts).unwrap();
        accounts
    }

    #[test]
    fn what_was_stored_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        let mut all = vec![account("alice", 1, AccountState::Held), account("bob", 2, AccountState::Held)];
        Accounts::open(&path).unwrap().0.store(&all).unwrap();
        let (mut accounts, loaded) = Accounts::open(&path).unwrap();
        assert_eq!(loaded, all);
        all[1].state = AccountState::Reserved;
        accounts.store([&all[1]]).unwrap();
        assert!(accounts.remove(&all[0].name).unwrap());
        assert!(!accounts.remove(&all[0].name).unwrap());
        assert!(matches!(Accounts::open(&path), Err(AccountsError::InUse(_))));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(accounts);
        assert_eq!(Accounts::open(&path).unwrap().1, all[1..]);
    }

    #[test]
    fn a_copy_made_while_it_was_open_as_after_a_crash_has_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        let (mut accounts, _) = Accounts::open(&path).unwrap();
        let mut all = Vec::new();
        for n in 0..30u8 {
            all.push(account(&format!("user-{n:03}"), n, AccountState::Held));
            accounts.store(all.last()).unwrap();
            let copy = dir.path().join(format!("crash-{n}"));
            fs::copy(&path, &copy).unwrap();
            assert_eq!(Accounts::open(&copy).unwrap().1, all);
        }
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        for content in [&b""[..], b"hello", &[0; 4096], &[0xff; 100_000]] {
            fs::write(&path, content).unwrap();
            assert!(
                matches!(Accounts::open(&path), Err(AccountsError::Damaged(_))),
                "{} bytes",
                content.len()
            );
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_damaged_file_is_found_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        let all = filled(&path);
        let good = fs::read(&path).unwrap();
        let mut found = 0;
        for at in (0..good.len()).step_by(good.len() / 400) {
            let mut bad = good.clone();
            bad[at] ^= 0x5a;
            fs::write(&path, &bad).unwrap();
            match Accounts::open(&path) {
                Ok((_, loaded)) => assert_eq!(loaded, all, "byte {at}"),
                Err(error) => {
                    assert!(matches!(error, AccountsError::Damaged(_)), "byte {at}: {error}");
                    assert_eq!(fs::read(&path).unwrap(), bad, "byte {at} and more");
                    found += 1;
                }
            }
        }
        assert!(found > 0);
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(matches!(Accounts::open(&path), Err(AccountsError::Damaged(_))));
    }

    /// A disk without room.
    #[derive(Debug, Default)]
    struct Full {
        disk: InMemoryBackend,
        full: Arc<AtomicBool>,
    }

    impl StorageBackend for Full {
        fn len(&self) -> io::Result<u64> {
            self.disk.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.disk.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.disk.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.disk.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.disk.write(offset, data)
        }
    }

    #[test]
    fn after_a_full_disk_the_next_write_goes_to_the_file_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        let (alice, bob) = (account("alice", 1, AccountState::Held), account("bob", 2, AccountState::Held));
        Accounts::open(&path).unwrap().0.store([&alice]).unwrap();
        let disk = Full::default();
        let full = Arc::clone(&disk.full);
        let database = builder().create_with_backend(disk).unwrap();
        full.store(true, Ordering::Relaxed);
        let mut accounts = Accounts { path: path.clone(), database: Some(database) };
        assert!(matches!(accounts.store([&bob]), Err(AccountsError::Write(_))));
        accounts.store([&bob]).unwrap();
        drop(accounts);
        assert_eq!(Accounts::open(&path).unwrap().1, [alice, bob]);
    }

    #[test]
    fn a_file_of_a_later_layout_is_refused_by_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.redb");
        let (accounts, _) = Accounts::open(&path).unwrap();
        let transaction = begin(accounts.database.as_ref().unwrap()).unwrap();
        transaction.open_table(META).unwrap().insert(LAYOUT_KEY, LAYOUT_WITH_FORMER + 1).unwrap();
        transaction.commit().unwrap();
        drop(accounts);
        assert!(matches!(Accounts::open(&path), Err(AccountsError::Newer(_))));
    }
}
