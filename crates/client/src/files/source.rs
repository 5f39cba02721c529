//! Files that go out: opened once, read through that handle, watched for changes.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use p2pchat_engine::Failure;
use p2pchat_transfer::{CarrierFault, Source};
use rustix::fs::{Mode, OFlags};

/// A regular file that stays open from the offer to the end of its transfer, so that what is sent is
/// what was named, even if the name goes to another file.
#[derive(Debug)]
pub struct OpenSource {
    file: File,
    stamp: Stamp,
}

/// What changes when somebody writes to a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

/// Opens `path` for sending: a regular file, never through a link, and without waiting for anybody.
///
/// # Errors
/// [`Failure::FileMissing`] and [`Failure::FileKind`].
pub fn open_source(path: &Path) -> Result<(Source, OpenSource), Failure> {
    let shown = || path.to_string_lossy().into_owned();
    let missing = |error: io::Error| Failure::FileMissing { path: shown(), reason: error.to_string() };
    // Asked before the opening, which means something to a device, and again after it, because the
    // name may have gone to another file meanwhile.
    check_kind(path, &path.symlink_metadata().map_err(missing)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| missing(error.into()))?;
    let file = File::from(file);
    check_kind(path, &file.metadata().map_err(missing)?)?;
    let stamp = Stamp::of(&file).map_err(missing)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((Source { name, size: stamp.size }, OpenSource { file, stamp }))
}

fn check_kind(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Failure> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let kind = if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(Failure::FileKind { path: path.to_string_lossy().into_owned(), kind })
}

impl OpenSource {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`CarrierFault::SourceChanged`] if the file is not what it was when it was opened, or
    /// [`CarrierFault::SourceUnreadable`].
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CarrierFault> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => self.check_unchanged(),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(CarrierFault::SourceChanged),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn check_unchanged(&self) -> Result<(), CarrierFault> {
        let now = Stamp::of(&self.file).map_err(|error| unreadable(&error))?;
        if now == self.stamp { Ok(()) } else { Err(CarrierFault::SourceChanged) }
    }
}

fn unreadable(error: &io::Error) -> CarrierFault {
    CarrierFault::SourceUnreadable { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    fn kind_of(path: &Path) -> &'static str {
        let Err(Failure::FileKind { kind, .. }) = open_source(path) else { panic!("{path:?} was taken") };
        kind
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        fs::write(path("file"), "x").unwrap();
        symlink(path("file"), path("link")).unwrap();
        assert_eq!(kind_of(dir.path()), "a directory");
        assert_eq!(kind_of(&path("fifo")), "a named pipe");
        assert_eq!(kind_of(&path("socket")), "a socket");
        assert_eq!(kind_of(&path("link")), "a symbolic link");
        assert_eq!(kind_of(Path::new("/dev/zero")), "a device");
        assert_eq!(kind_of(Path::new("/")), "a directory");
        assert!(matches!(open_source(&path("none")), Err(Failure::FileMissing { .. })));
        assert!(open_source(&path("file")).is_ok());
    }

    #[test]
    fn a_file_that_may_not_be_read_is_reported_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read everything.
        if !rustix::process::geteuid().is_root() {
            assert!(matches!(open_source(&path), Err(Failure::FileMissing { .. })));
        }
    }

    #[test]
    fn a_source_that_shrinks_grows_or_is_rewritten_is_noticed() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 3] = [
            ("shrinks", |path| File::options().write(true).open(path).unwrap().set_len(3).unwrap()),
            ("grows", |path| {
                File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
            }),
            ("is rewritten", |path| {
                let file = File::options().write(true).open(path).unwrap();
                (&file).write_all(b"CONTENT").unwrap();
                let later = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(1);
                file.set_modified(later).unwrap();
            }),
        ];
        for (what, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            fs::write(&path, "content").unwrap();
            let (source, open) = open_source(&path).unwrap();
            assert_eq!((source.name.as_str(), source.size), ("file", 7));
            open.read(0, &mut [0; 7]).unwrap();
            change(&path);
            assert_eq!(open.read(0, &mut [0; 7]), Err(CarrierFault::SourceChanged), "{what}");
        }
    }

    #[test]
    fn a_name_that_goes_to_another_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        let (_, open) = open_source(&path).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, "other").unwrap();
        let mut buffer = [0; 7];
        open.read(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"content");
    }
}
