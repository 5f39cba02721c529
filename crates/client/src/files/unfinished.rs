//! Unfinished files that a process left which could not clean up: a crash, or a machine that went off.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use p2pchat_engine::Failure;
use p2pchat_proto::WallTime;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::part::id_of_unfinished;

/// Most of them that are looked at in one directory: more than there ever were transfers at a time.
const UNFINISHED_MAX: usize = 10_000;

/// One of them. What it would have become, and who sent it, stands nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The id of its transfer, 32 hexadecimal digits.
    pub transfer: String,
    /// Where it is.
    pub path: PathBuf,
    /// How many bytes of it there are.
    pub bytes: u64,
    /// When it was written last.
    pub since: WallTime,
    /// A process writes it.
    pub in_use: bool,
}

/// Those in `dir`, the oldest first. None where there is no such directory.
///
/// # Errors
/// [`Failure::Local`] if the directory cannot be read.
pub fn unfinished(dir: &Path) -> Result<Vec<Unfinished>, Failure> {
    let Some(handle) = open(dir)? else { return Ok(Vec::new()) };
    let mut found: Vec<_> = each(&handle, dir)?.into_iter().map(|(one, _)| one).collect();
    found.sort_by(|a, b| (a.since, &a.path).cmp(&(b.since, &b.path)));
    Ok(found)
}

/// Removes those in `dir` that nobody writes and that were written last before `before`; which.
///
/// # Errors
/// [`Failure::Local`] if the directory cannot be read, or one cannot be removed.
pub fn remove_unfinished(dir: &Path, before: WallTime) -> Result<Vec<Unfinished>, Failure> {
    let Some(handle) = open(dir)? else { return Ok(Vec::new()) };
    let mut removed = Vec::new();
    // Each is locked until it is gone, so that nobody takes it up meanwhile.
    for (one, _locked) in each(&handle, dir)? {
        if one.in_use || one.since >= before {
            continue;
        }
        let name = one.path.file_name().unwrap_or_default();
        match rustix::fs::unlinkat(&handle, name, AtFlags::empty()) {
            Ok(()) => removed.push(one),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("remove", &one.path, &error.into())),
        }
    }
    Ok(removed)
}

fn open(dir: &Path) -> Result<Option<OwnedFd>, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("read", dir, &error.into())),
    }
}

fn each(handle: &OwnedFd, dir: &Path) -> Result<Vec<(Unfinished, File)>, Failure> {
    let entries = rustix::fs::Dir::read_from(handle).map_err(|error| failed("read", dir, &error.into()))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().ok().map(str::to_owned) else { continue };
        let Some(id) = id_of_unfinished(&name) else { continue };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // One that is gone by now, and what is no file of this program's.
        let Ok(file) = rustix::fs::openat(handle, name.as_str(), flags, Mode::empty()) else { continue };
        let file = File::from(file);
        let Ok(metadata) = file.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let written = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let one = Unfinished {
            transfer: id.to_owned(),
            path: dir.join(&name),
            bytes: metadata.len(),
            since: WallTime(written.and_then(|at| u64::try_from(at.as_millis()).ok()).unwrap_or(0)),
            in_use: file.try_lock().is_err(),
        };
        found.push((one, file));
        if found.len() == UNFINISHED_MAX {
            break;
        }
    }
    Ok(found)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Local { what: format!("{what} {}", path.display()), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const LATE: WallTime = WallTime(u64::MAX);

    fn name(digit: char) -> String {
        format!(".p2pchat-{}.part", String::from(digit).repeat(32))
    }

    #[test]
    fn what_a_crash_left_is_found_and_removed_and_what_is_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name('a')), "half").unwrap();
        fs::write(dir.path().join(name('b')), "halves").unwrap();
        fs::write(dir.path().join("song.mp3"), "whole").unwrap();
        fs::write(dir.path().join(".p2pchat-a.part"), "not ours").unwrap();
        symlink(dir.path().join("song.mp3"), dir.path().join(name('c'))).unwrap();
        let writer = File::options().write(true).open(dir.path().join(name('b'))).unwrap();
        writer.try_lock().unwrap();
        let found = unfinished(dir.path()).unwrap();
        let mut all: Vec<_> = found.iter().map(|one| (one.bytes, one.in_use)).collect();
        all.sort();
        assert_eq!(all, [(4, false), (6, true)]);
        assert_eq!(remove_unfinished(dir.path(), WallTime(1)).unwrap(), [], "all of them are younger");
        let removed = remove_unfinished(dir.path(), LATE).unwrap();
        assert_eq!(removed.iter().map(|one| one.transfer.as_str()).collect::<Vec<_>>(), ["a".repeat(32)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        drop(writer);
        assert_eq!(remove_unfinished(dir.path(), LATE).unwrap().len(), 1);
    }

    #[test]
    fn where_there_is_no_directory_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        assert_eq!(unfinished(&none), Ok(Vec::new()));
        assert_eq!(remove_unfinished(&none, LATE), Ok(Vec::new()));
        fs::write(&none, "a file").unwrap();
        assert!(matches!(unfinished(&none), Err(Failure::Local { .. })));
    }
}
