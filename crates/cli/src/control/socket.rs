//! The socket as a file: who may use it, and where it is.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// Name of the socket in the profile's directory.
const SOCKET: &str = "control.sock";
/// Its name until only its owner may use it.
const UNFINISHED: &str = "control.tmp";
/// Most bytes of a socket's path with the NUL behind it: `sun_path` of macOS; Linux has 108 (unix(7)).
const PATH_MAX: usize = 104;
/// Only the owner.
const OWNER_ONLY: u32 = 0o600;

/// A directory under a path that is short enough, as long as this lives.
struct Directory {
    path: PathBuf,
    _open: Option<File>,
}

impl Directory {
    /// By its own path, or by that of this process's handle on it.
    fn reach(directory: &Path) -> io::Result<Self> {
        let longest = directory.join(SOCKET);
        if longest.as_os_str().len() < PATH_MAX {
            return Ok(Self { path: directory.to_owned(), _open: None });
        }
        let open = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        if path.is_dir() {
            Ok(Self { path, _open: Some(open) })
        } else {
            let what = format!("its path is longer than {} bytes", PATH_MAX - 1);
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    }
}

/// Where it is in the directory of a profile.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Waits for connections in the directory of a profile that this process holds: a socket that is there
/// is that of a process that has ended, and is replaced. Anything else of that name stays.
///
/// # Errors
///
/// If the system lets no socket be made there.
pub fn listen(directory: &Path) -> io::Result<UnixListener> {
    let short = Directory::reach(directory)?;
    let (unfinished, socket) = (short.path.join(UNFINISHED), short.path.join(SOCKET));
    remove_socket(&unfinished)?;
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(OWNER_ONLY))?;
    if socket.symlink_metadata().is_ok_and(|there| !there.file_type().is_socket()) {
        remove_socket(&unfinished)?;
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has its name"));
    }
    fs::rename(&unfinished, &socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the socket away, where it is still one.
///
/// # Errors
///
/// If the system does not let it.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    remove_socket(&Directory::reach(directory)?.path.join(SOCKET))
}

/// Connects to the process that holds the profile in a directory.
///
/// # Errors
///
/// If none listens there.
pub async fn connect(directory: &Path) -> io::Result<UnixStream> {
    let short = Directory::reach(directory)?;
    UnixStream::connect(short.path.join(SOCKET)).await
}

fn remove_socket(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has its name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_replaces_that_of_a_dead_process() {
        let home = tempfile::tempdir().unwrap();
        drop(listen(home.path()).unwrap());
        assert!(connect(home.path()).await.is_err(), "nobody listens on what was left");
        let _listener = listen(home.path()).unwrap();
        assert_eq!(mode(&home.path().join(SOCKET)), 0o600);
        connect(home.path()).await.unwrap();
        remove(home.path()).unwrap();
        assert!(!home.path().join(SOCKET).exists());
    }

    #[tokio::test]
    async fn a_home_with_a_long_path_has_one_as_well() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("d".repeat(120));
        fs::create_dir(&home).unwrap();
        let _listener = listen(&home).unwrap();
        assert_eq!(mode(&home.join(SOCKET)), 0o600);
        connect(&home).await.unwrap();
    }

    #[test]
    fn what_is_no_socket_stays() {
        for name in [SOCKET, UNFINISHED] {
            let home = tempfile::tempdir().unwrap();
            fs::write(home.path().join(name), "mine").unwrap();
            assert!(listen(home.path()).is_err(), "{name}");
            assert_eq!(fs::read_to_string(home.path().join(name)).unwrap(), "mine");
        }
    }
}
