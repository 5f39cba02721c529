//! Private directories and files: checked when read, replaced in one step when written.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use p2pchat_engine::Failure;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Mode of directories: the owner only.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of files: the owner only.
const FILE_MODE: u32 = 0o600;
/// Bits of a mode by which others than the owner may write.
pub(super) const OTHERS_WRITE: u32 = 0o022;
/// Bits of a mode by which others than the owner may do anything.
pub(super) const OTHERS_ANYTHING: u32 = 0o077;
/// End of the name of a file whose content is not whole yet.
const UNFINISHED: &str = ".tmp";
/// Most tries for the name of such a file, of which a crash may have left some.
const UNFINISHED_TRIES: u32 = 100;

/// Why a file cannot be trusted or used.
#[derive(Debug)]
pub(super) enum FileError {
    /// It is not there.
    Missing,
    /// It is there, and should not be.
    Exists,
    /// A symbolic link, a directory, a device.
    NotAFile,
    /// More than was asked for.
    TooLarge,
    /// Others may do what only the owner should.
    Permissions { mode: u32 },
    /// Somebody else's.
    Owner,
    /// The system refused.
    System(io::Error),
}

impl FileError {
    /// What a user is told about it, for a file that is no key.
    pub(super) fn failure(self, what: &str, path: &Path) -> Failure {
        let failure = |reason: String| Failure::Local { what: format!("{what} {}", path.display()), reason };
        match self {
            Self::Missing => failure("it is not there".into()),
            Self::Exists => failure("it is there already".into()),
            Self::NotAFile => failure("it is not a regular file".into()),
            Self::TooLarge => failure("it is too large".into()),
            Self::Permissions { mode } => {
                failure(format!("others may write to it (mode {mode:03o}); run: chmod go-w {}", quoted(path)))
            }
            Self::Owner => failure("it belongs to another user".into()),
            Self::System(error) => system_failure(what, path, &error),
        }
    }
}

/// What a user is told when the system refuses something.
pub(super) fn system_failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Failure::DiskFull { path: path.display().to_string() };
    }
    Failure::Local { what: format!("{what} {}", path.display()), reason: error.to_string() }
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Makes a directory with what is above it, where it is not there, and checks that nobody else can
/// put a file into it.
pub(super) fn private_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(FileError::System)?;
    check_owner(&fs::metadata(path).map_err(FileError::System)?, OTHERS_WRITE)
}

/// The content of a file of at most `max` bytes on which others have none of the bits `forbidden`.
pub(super) fn read(path: &Path, max: usize, forbidden: u32) -> Result<Vec<u8>, FileError> {
    // Without blocking, so that a pipe in its place is an answer and not a wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(FileError::Missing),
        Err(Errno::LOOP) => return Err(FileError::NotAFile),
        Err(error) => return Err(FileError::System(error.into())),
    };
    let metadata = file.metadata().map_err(FileError::System)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile);
    }
    check_owner(&metadata, forbidden)?;
    let mut content = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut content).map_err(FileError::System)?;
    if content.len() > max { Err(FileError::TooLarge) } else { Ok(content) }
}

/// Puts `content` in the place of what is at `path`, if anything.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    publish(path, content, |unfinished| fs::rename(unfinished, path))
}

/// Puts `content` at `path`, where nothing may be.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), FileError> {
    publish(path, content, |unfinished| {
        match rustix::fs::renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
            // A file system that cannot: a second name for the same file is refused as well where
            // one is there.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(unfinished, path)?;
                fs::remove_file(unfinished)
            }
            done => done.map_err(io::Error::from),
        }
    })
}

/// Removes what crashes have left in `directory`.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let unfinished = entry.file_name().to_str().is_some_and(|name| name.ends_with(UNFINISHED));
        if unfinished && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn check_owner(metadata: &Metadata, forbidden: u32) -> Result<(), FileError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(FileError::Owner);
    }
    let mode = metadata.mode() & 0o777;
    if mode & forbidden != 0 { Err(FileError::Permissions { mode }) } else { Ok(()) }
}

fn publish(
    path: &Path,
    content: &[u8],
    rename: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), FileError> {
    let (mut file, unfinished) = unfinished(path).map_err(FileError::System)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let published = written.and_then(|()| rename(&unfinished)).and_then(|()| sync_directory(path));
    published.map_err(|error| {
        // What is left is swept with the next lock in any case; the error that counts is the first.
        let _ = fs::remove_file(&unfinished);
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        if exists { FileError::Exists } else { FileError::System(error) }
    })
}

/// A new file beside `path`, under a name that nothing else has.
fn unfinished(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut tries = 0;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{tries}{UNFINISHED}", std::process::id()));
        let unfinished = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&unfinished) {
            Ok(file) => return Ok((file, unfinished)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < UNFINISHED_TRIES => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A new name is durable once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_private_and_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pins");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(read(&path, 3, OTHERS_ANYTHING).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        assert_eq!(names(home.path()), ["pins"]);
    }

    #[test]
    fn what_is_there_is_never_created_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("identity.key");
        create(&path, b"first").unwrap();
        assert!(matches!(create(&path, b"second"), Err(FileError::Exists)));
        symlink("elsewhere", home.path().join("link")).unwrap();
        assert!(matches!(create(&home.path().join("link"), b"second"), Err(FileError::Exists)));
        assert_eq!(read(&path, 100, OTHERS_ANYTHING).unwrap(), b"first");
        assert_eq!(names(home.path()), ["identity.key", "link"]);
    }

    #[test]
    fn what_a_crash_left_is_in_nobodys_way_and_is_swept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pins");
        let (_, left) = unfinished(&path).unwrap();
        replace(&path, b"new").unwrap();
        assert!(left.exists());
        sweep(home.path()).unwrap();
        assert_eq!(names(home.path()), ["pins"]);
    }

    #[test]
    fn links_directories_and_pipes_are_no_files() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        replace(&file, b"x").unwrap();
        let link = home.path().join("link");
        symlink(&file, &link).unwrap();
        let pipe = home.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, &pipe, kind, Mode::from_raw_mode(FILE_MODE), 0).unwrap();
        for path in [&link, &pipe, &home.path().to_path_buf()] {
            assert!(matches!(read(path, 10, 0), Err(FileError::NotAFile)), "{}", path.display());
        }
        assert!(matches!(read(&home.path().join("none"), 10, 0), Err(FileError::Missing)));
        assert!(matches!(read(&file, 0, 0), Err(FileError::TooLarge)));
    }

    #[test]
    fn what_others_may_change_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        replace(&file, b"x").unwrap();
        for (mode, forbidden) in [(0o640, OTHERS_ANYTHING), (0o604, OTHERS_ANYTHING), (0o620, OTHERS_WRITE)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let seen = read(&file, 10, forbidden);
            assert!(matches!(seen, Err(FileError::Permissions { mode: m }) if m == mode), "{seen:?}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&file, 10, OTHERS_WRITE).is_ok());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(private_directory(home.path()), Err(FileError::Permissions { mode: 0o777 })));
    }

    #[test]
    fn directories_are_made_for_their_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("a/b");
        private_directory(&deep).unwrap();
        for path in [deep.parent().unwrap(), &deep] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, DIRECTORY_MODE);
        }
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(quoted(Path::new("/home/a-b/x.key")), "/home/a-b/x.key");
        assert_eq!(quoted(Path::new("/my files/it's")), r"'/my files/it'\''s'");
    }
}
