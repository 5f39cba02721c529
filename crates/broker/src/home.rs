//! The data directory: one broker at a time, readable by its owner alone.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bit of a mode by which everybody may write. A group may be the operator's own.
const EVERYBODY_WRITES: u32 = 0o002;

/// A directory that cannot be used. Local, and for the operator to mend.
#[derive(Debug)]
pub enum HomeError {
    /// It cannot be made or written.
    Io(PathBuf, io::Error),
    /// Another broker runs with it.
    InUse(PathBuf),
    /// Everybody may put a key or accounts of their own into it.
    Writable(PathBuf),
}

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(
                f,
                "data directory {}: {error}; make it writable or choose another with --data",
                path.display()
            ),
            Self::InUse(path) => write!(
                f,
                "a broker already runs with the data directory {}; stop it or choose another with --data",
                path.display()
            ),
            Self::Writable(path) => write!(
                f,
                "data directory {0}: everybody may write to it; run `chmod o-w {0}`, and look whether its key is yours",
                path.display()
            ),
        }
    }
}

impl std::error::Error for HomeError {}

/// A data directory.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// As long as it lives, no other process gets the same directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// The directory `dir`, made if absent with access for its owner alone.
    ///
    /// # Errors
    /// [`HomeError::Io`], [`HomeError::Writable`].
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir).and_then(|()| dir.metadata());
        let meta = made.map_err(|error| HomeError::Io(dir.to_owned(), error))?;
        if meta.mode() & EVERYBODY_WRITES != 0 {
            return Err(HomeError::Writable(dir.to_owned()));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub fn lock(&self) -> Result<Lock, HomeError> {
        let failed = |error| HomeError::Io(self.dir.clone(), error);
        let path = self.dir.join("broker.lock");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(HomeError::InUse(self.dir.clone())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where the accounts are.
    pub fn accounts(&self) -> PathBuf {
        self.dir.join("accounts.redb")
    }

    /// Where the key is unless the operator says otherwise.
    pub fn key(&self) -> PathBuf {
        self.dir.join("broker.key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_made_for_its_owner_and_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("a/b")).unwrap();
        assert_eq!(std::fs::metadata(&home.dir).unwrap().mode() & 0o777, 0o700);
        let lock = home.lock().unwrap();
        assert!(matches!(home.lock(), Err(HomeError::InUse(_))));
        drop(lock);
        home.lock().unwrap();
    }

    #[test]
    fn a_directory_in_which_everybody_writes_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Home::open(dir.path()).unwrap_err();
        assert!(matches!(error, HomeError::Writable(_)));
        assert!(error.to_string().contains(&format!("chmod o-w {}", dir.path().display())), "{error}");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o775)).unwrap();
        assert!(Home::open(dir.path()).is_ok());
    }

    #[test]
    fn a_file_in_its_place_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let error = Home::open(&file.join("data")).unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
    }
}
