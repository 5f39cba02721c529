//! One process a profile.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use p2pchat_engine::Failure;

use super::disk;

/// Holds a profile for this process. Given back when dropped, and by the system however the process
/// ends; the file stays.
#[derive(Debug)]
#[must_use = "the profile is given back when the lock is dropped"]
pub struct ProfileLock {
    /// `None` for a profile that is kept nowhere.
    _file: Option<File>,
}

impl ProfileLock {
    /// A lock on a profile that nobody else can see.
    pub(super) const fn on_nothing() -> Self {
        Self { _file: None }
    }

    /// Locks `directory`, and removes what crashes have left in it.
    pub(super) fn on(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|error| disk::system_failure("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::AlreadyRunning { home: directory.display().to_string() });
            }
            Err(TryLockError::Error(error)) => return Err(disk::system_failure("lock", &path, &error)),
        }
        disk::sweep(directory).map_err(|error| disk::system_failure("tidy", directory, &error))?;
        Ok(Self { _file: Some(file) })
    }
}
