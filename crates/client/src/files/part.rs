//! Files that come in: unfinished under a name of their own, then under the final one, without
//! following a link or replacing anything.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use p2pchat_proto::TransferId;
use p2pchat_transfer::{CarrierFault, SafeName, Verified};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// How many numbers are tried until a name is free.
const NUMBERS_MAX: u32 = 10_000;
/// What the name of an unfinished file begins with.
const PREFIX: &str = ".p2pchat-";
/// What it ends with; between the two stands the transfer's id.
const SUFFIX: &str = ".part";

/// An unfinished file. Dropped without [`Part::publish`], it is removed.
#[derive(Debug)]
pub(super) struct Part {
    dir: OwnedFd,
    /// For people; everything is done through `dir`.
    dir_path: PathBuf,
    name: String,
    file: File,
    published: bool,
}

impl Part {
    /// Creates the unfinished file of `transfer` in `dir`, which is made if there is none. A peer
    /// that chose the transfer's id can neither hit another file nor a link: the name begins with
    /// a dot, which no published one does, and must not exist.
    pub(super) fn create(dir: &Path, transfer: TransferId, total: u64) -> Result<Self, CarrierFault> {
        let dir_path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let fault = |error: io::Error| fault(&dir_path, &error);
        std::fs::create_dir_all(&dir_path).map_err(fault)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&dir_path, flags, Mode::empty()).map_err(|e| fault(e.into()))?;
        remove_leftovers(&handle);
        check_room(&handle, &dir_path, total)?;
        let name = format!("{PREFIX}{transfer}{SUFFIX}");
        let file = loop {
            if let Some(file) = create_locked(&handle, &name).map_err(|e| fault(e.into()))? {
                break file;
            }
        };
        Ok(Self { dir: handle, dir_path, name, file, published: false })
    }

    /// Writes `content` at `offset`.
    pub(super) fn write(&self, offset: u64, content: &[u8]) -> Result<(), CarrierFault> {
        self.file.write_all_at(content, offset).map_err(|error| fault(&self.dir_path, &error))
    }

    /// Syncs the content and gives it `name`, or the first numbered one that is free. Only a
    /// verified file has what this asks for.
    pub(super) fn publish(mut self, _: &Verified, name: &SafeName) -> Result<PathBuf, CarrierFault> {
        self.file.sync_all().map_err(|error| fault(&self.dir_path, &error))?;
        for number in 0..NUMBERS_MAX {
            let name = if number == 0 { name.clone() } else { name.numbered(number) };
            match self.rename(&name) {
                Ok(()) => {
                    self.published = true;
                    // The file is whole and has its name; that the name outlives a power cut is
                    // asked for where the file system can promise it.
                    if let Err(error) = rustix::fs::fsync(&self.dir) {
                        tracing::debug!(%error, "directory not synced");
                    }
                    return Ok(self.dir_path.join(name.as_str()));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(fault(&self.dir_path, &error.into())),
            }
        }
        Err(fault(&self.dir_path, &Errno::EXIST.into()))
    }

    fn rename(&self, name: &SafeName) -> Result<(), Errno> {
        let name = name.as_str();
        match rustix::fs::renameat_with(&self.dir, &self.name, &self.dir, name, RenameFlags::NOREPLACE) {
            // A file system that cannot rename without replacing: a link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.dir, &self.name, &self.dir, name, AtFlags::empty())?;
                rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty())
            }
            result => result,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        match rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(%error, name = self.name, "unfinished file not removed"),
        }
    }
}

/// Makes the unfinished file and locks it, so that it is no leftover to anybody. `None` where it was
/// taken for one in the moment between: there is no file of this name any more.
fn create_locked(dir: &OwnedFd, name: &str) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // For the owner only: what friends send is nobody else's to read.
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?);
    // Whoever holds the lock already removes the file as a leftover, and is soon done. A file system
    // without locks has only the moment between to fear.
    if let Err(error) = file.lock() {
        tracing::debug!(%error, "unfinished file not locked");
    }
    let still_there = rustix::fs::fstat(&file)?.st_nlink > 0;
    Ok(still_there.then_some(file))
}

/// Removes unfinished files whose process is gone: a crash leaves them, and nothing goes on with
/// them. Whoever still writes one holds its lock.
fn remove_leftovers(dir: &OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if id_of_unfinished(name).is_none() {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { continue };
        let file = File::from(file);
        // What another has removed meanwhile may have come anew under its name.
        if file.try_lock().is_ok()
            && rustix::fs::fstat(&file).is_ok_and(|file| file.st_nlink > 0)
            && let Err(error) = rustix::fs::unlinkat(dir, name, AtFlags::empty())
        {
            tracing::debug!(%error, name, "leftover not removed");
        }
    }
}

/// The transfer of which an unfinished file with this name is.
pub(super) fn id_of_unfinished(name: &str) -> Option<&str> {
    let id = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Refuses what cannot fit, before a byte of it came.
fn check_room(dir: &OwnedFd, path: &Path, total: u64) -> Result<(), CarrierFault> {
    let room = rustix::fs::fstatvfs(dir).map_err(|error| fault(path, &error.into()))?;
    // A file system without blocks does not say what it can hold.
    if room.f_blocks > 0 && total > room.f_bavail.saturating_mul(room.f_frsize) {
        return Err(CarrierFault::DiskFull { path: path.to_string_lossy().into_owned() });
    }
    Ok(())
}

fn fault(path: &Path, error: &io::Error) -> CarrierFault {
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG]
        .iter()
        .any(|full| error.raw_os_error() == Some(full.raw_os_error()));
    let path = path.to_string_lossy().into_owned();
    if full {
        CarrierFault::DiskFull { path }
    } else {
        CarrierFault::NotWritable { path, reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use p2pchat_crypto::Suite;
    use p2pchat_proto::carrier::{CarrierNonce, RecordHeader};
    use p2pchat_proto::transfer::SecretBytes;
    use p2pchat_transfer::hello::Hellos;
    use p2pchat_transfer::sender::Taken;
    use p2pchat_transfer::tree::TreeHasher;
    use p2pchat_transfer::{Receiver, Sender};

    use super::*;

    const TRANSFER: TransferId = TransferId([7; 16]);

    /// A proof takes a real transfer.
    fn verified(content: &[u8]) -> Verified {
        let total = content.len() as u64;
        let hellos = || Hellos::new(TRANSFER, &SecretBytes::new([1; 32]));
        let (mut dialer, mut listener) = (hellos(), hellos());
        let hello = dialer.dial(CarrierNonce([1; 16])).unwrap();
        let (_, proven) = listener.accept(&hello, CarrierNonce([2; 16])).unwrap();
        let suite = Suite::ChaCha20Poly1305;
        let mut sender = Sender::new(total, 0, TreeHasher::new(total), dialer.sealer(suite, &proven));
        let mut receiver = Receiver::new(total, 0, TreeHasher::new(total), listener.opener(suite, &proven));
        let Taken::Record { header, body } = sender.take(content.to_vec()).unwrap() else { panic!("hashed") };
        receiver.open(RecordHeader::from_bytes(header).unwrap(), body).unwrap();
        receiver.finish(blake3::hash(content).as_bytes()).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_crash_left_goes_and_what_somebody_still_writes_or_owns_stays() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = format!("{PREFIX}{}{SUFFIX}", TransferId([8; 16]));
        fs::write(dir.path().join(&leftover), b"half").unwrap();
        let others = [".p2pchat-notes.part", "p2pchat.part", ".p2pchat-0123.txt"];
        for name in others {
            fs::write(dir.path().join(name), b"mine").unwrap();
        }
        let first = Part::create(dir.path(), TRANSFER, 4).unwrap();
        let second = Part::create(dir.path(), TransferId([9; 16]), 4).unwrap();
        let mut expected: Vec<String> = others.map(str::to_owned).into();
        expected.extend([first.name.clone(), second.name.clone()]);
        expected.sort();
        assert_eq!(names(dir.path()), expected);
    }

    #[test]
    fn files_that_begin_at_the_same_moment_are_no_leftovers_to_each_other() {
        const WRITERS: u8 = 8;
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let start = std::sync::Barrier::new(WRITERS.into());
            let gone = std::sync::Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let (dir, start, gone) = (dir.path(), &start, &gone);
                    scope.spawn(move || {
                        start.wait();
                        let part = Part::create(dir, TransferId([writer; 16]), 4);
                        start.wait();
                        if !part.as_ref().is_ok_and(|part| dir.join(&part.name).exists()) {
                            gone.lock().unwrap().push(writer);
                        }
                        start.wait();
                    });
                }
            });
            assert!(gone.into_inner().unwrap().is_empty(), "in round {round} files of others are gone");
        }
    }

    #[test]
    fn a_file_has_its_name_only_when_it_was_published() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("made/at/need");
        let name = SafeName::parse_or_rename("song.mp3");
        let part = Part::create(&dir, TRANSFER, 7).unwrap();
        part.write(0, b"content").unwrap();
        assert_eq!(names(&dir), [format!(".p2pchat-{TRANSFER}.part")]);
        drop(part);
        assert!(names(&dir).is_empty());
        let part = Part::create(&dir, TRANSFER, 7).unwrap();
        part.write(3, b"tent").unwrap();
        part.write(0, b"con").unwrap();
        assert_eq!(part.publish(&verified(b"content"), &name).unwrap(), dir.join("song.mp3"));
        assert_eq!(fs::read(dir.join("song.mp3")).unwrap(), b"content");
        assert_eq!(names(&dir), ["song.mp3"]);
    }

    #[test]
    fn an_unfinished_file_neither_replaces_nor_follows_what_has_its_name() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = home.path().join("elsewhere");
        let dir = home.path().join("downloads");
        fs::create_dir(&dir).unwrap();
        symlink(&elsewhere, dir.join(format!(".p2pchat-{TRANSFER}.part"))).unwrap();
        assert!(matches!(Part::create(&dir, TRANSFER, 1), Err(CarrierFault::NotWritable { .. })));
        assert!(!elsewhere.exists());
    }

    #[test]
    fn a_directory_that_is_exchanged_for_a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (home.path().join("downloads"), home.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        let part = Part::create(&dir, TRANSFER, 1).unwrap();
        part.write(0, b"x").unwrap();
        fs::rename(&dir, home.path().join("moved")).unwrap();
        symlink(&elsewhere, &dir).unwrap();
        part.publish(&verified(b"x"), &SafeName::parse_or_rename("a")).unwrap();
        assert!(names(&elsewhere).is_empty());
        assert_eq!(names(&home.path().join("moved")), ["a"]);
    }

    #[test]
    fn somebody_who_races_for_the_name_loses_no_file_and_catches_none() {
        let home = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (home.path().join("downloads"), home.path().join("elsewhere"));
        fs::create_dir(&dir).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // Puts a link in place of the name whenever it is free.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if symlink(&elsewhere, dir.join("a")).is_ok() {
                        fs::remove_file(dir.join("a")).unwrap();
                    }
                }
            });
            let proof = verified(b"x");
            for _ in 0..500 {
                let part = Part::create(&dir, TRANSFER, 1).unwrap();
                part.write(0, b"x").unwrap();
                let path = part.publish(&proof, &SafeName::parse_or_rename("a")).unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"x");
                assert!(path.symlink_metadata().unwrap().is_file());
                fs::rename(&path, home.path().join("taken")).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(!elsewhere.exists());
    }

    #[test]
    fn what_cannot_fit_is_refused_before_it_comes() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(Part::create(home.path(), TRANSFER, u64::MAX), Err(CarrierFault::DiskFull { .. })));
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn a_full_disk_is_told_from_other_faults() {
        let path = Path::new("/downloads");
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(fault(path, &errno.into()), CarrierFault::DiskFull { .. }));
        }
        for errno in [Errno::ACCESS, Errno::IO, Errno::ROFS, Errno::NOENT] {
            assert!(matches!(fault(path, &errno.into()), CarrierFault::NotWritable { .. }));
        }
    }
}
