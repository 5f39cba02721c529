//! What can go wrong with the store, and what the user reads of it.

use std::io;
use std::path::Path;

use p2pchat_engine::Failure;
use redb::StorageError;

/// The store cannot be opened, read or written. A local error.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it open.
    InUse,
    /// What is there is not what was written.
    Damaged,
    /// Another identity's.
    NotOurs,
    /// Written by a later version of the program.
    Newer,
    /// The disk is full. Nothing of the write is stored.
    Full,
    /// The file cannot be read or written.
    Io(io::Error),
    /// More than the store takes.
    TooLarge,
    /// The system's randomness failed.
    Randomness,
}

impl StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of others, and open")]
    fn of(error: redb::Error, otherwise: Self) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::PreviousIo => Self::Io(io::Error::other("an earlier write failed")),
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            _ => otherwise,
        }
    }

    /// Reading fails for the disk's sake, or because what was read is not what was written.
    pub(super) fn reading(error: impl Into<redb::Error>) -> Self {
        Self::of(error.into(), Self::Damaged)
    }

    /// So does writing, which reads as well.
    pub(super) fn writing(error: impl Into<redb::Error>) -> Self {
        Self::of(error.into(), Self::Damaged)
    }

    /// And so does giving room back.
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of others, and open")]
    pub(super) fn compacting(error: redb::CompactionError) -> Self {
        match error {
            redb::CompactionError::Storage(error) => Self::reading(error),
            _ => Self::InUse,
        }
    }

    /// Whether trying again later may help.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Full | Self::Io(_) => true,
            Self::InUse | Self::Damaged | Self::NotOurs | Self::Newer | Self::TooLarge | Self::Randomness => {
                false
            }
        }
    }

    /// What the user reads.
    pub(super) fn failure(self, path: &Path) -> Failure {
        let local =
            |reason: String| Failure::Local { what: format!("use the store {}", path.display()), reason };
        match self {
            Self::InUse => {
                Failure::AlreadyRunning { home: path.parent().unwrap_or(path).display().to_string() }
            }
            Self::Damaged => Failure::StoreDamaged { path: path.display().to_string(), aside: None },
            Self::NotOurs => local(
                "it belongs to another identity; put the key file back that it was made with".to_owned(),
            ),
            Self::Newer => local("it was written by a later version; use that version".to_owned()),
            Self::Full => Failure::DiskFull { path: path.display().to_string() },
            Self::Io(error) => local(error.to_string()),
            Self::TooLarge => local("something in it is larger than it takes".to_owned()),
            Self::Randomness => Failure::Internal("the system's randomness failed".to_owned()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::Full
        } else {
            Self::Io(error)
        }
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        Self::reading(error)
    }
}
