//! The directory of a profile, and all profiles of a user.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use directories::ProjectDirs;
use p2pchat_engine::Failure;
use p2pchat_proto::Name;

use super::disk::{self, FileError, OTHERS_WRITE};
use super::lock::ProfileLock;
use super::papers::Content;

/// Name of the key file.
pub(super) const IDENTITY: &str = "identity.key";
const STORE: &str = "store.redb";
const CONFIG: &str = "config.toml";

/// The profiles of the user who runs this process.
#[derive(Debug, Clone)]
pub struct Profiles {
    data: PathBuf,
    config: PathBuf,
}

/// Where one profile is kept: a directory, or nowhere.
#[derive(Debug, Clone)]
pub struct Home {
    directory: Option<PathBuf>,
    config: Option<PathBuf>,
    /// In place of a file, where there is no directory; clones share it.
    pub(super) memory: Arc<Mutex<Content>>,
}

impl Profiles {
    /// The profiles in the user's own directories, which need not be there.
    ///
    /// # Errors
    /// [`Failure::Local`] if the system knows no home directory of this user.
    pub fn of_user() -> Result<Self, Failure> {
        let directories = ProjectDirs::from("", "", "p2pchat").ok_or_else(|| Failure::Local {
            what: "find a home directory".into(),
            reason: "this user has none; name one with --home".into(),
        })?;
        Ok(Self::under(directories.data_dir(), directories.config_dir()))
    }

    /// The profiles below `data`, with their configuration in `config`.
    pub fn under(data: &Path, config: &Path) -> Self {
        Self { data: data.join("profiles"), config: config.join(CONFIG) }
    }

    /// The configuration that all profiles share; it need not be there.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// The profiles that have an identity, in the order of their names.
    ///
    /// # Errors
    /// [`Failure::Local`] if the directory cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, Failure> {
        let failure = |error: io::Error| disk::system_failure("read", &self.data, &error);
        let entries = match fs::read_dir(&self.data) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failure(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failure)?;
            let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(name) = name
                && entry.path().join(IDENTITY).symlink_metadata().is_ok()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The profile of that name, whose directory is made where it is not there.
    ///
    /// # Errors
    /// As for [`Home::open`].
    pub fn open(&self, name: &Name) -> Result<Home, Failure> {
        let home = Home::open(&self.data.join(name.as_str()))?;
        Ok(Home { config: Some(self.config.clone()), ..home })
    }
}

impl Home {
    /// A profile all of which is in `directory`, made with mode 0700 where it is not there.
    ///
    /// # Errors
    /// [`Failure::Local`] if it cannot be made, if it belongs to somebody else, or if others may
    /// write to it and so replace what is in it.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        disk::private_directory(directory).map_err(|error| error.failure("use", directory))?;
        let config = Some(directory.join(CONFIG));
        Ok(Self { directory: Some(directory.into()), config, memory: Arc::default() })
    }

    /// A profile that is kept nowhere: nothing is read, and what is written is gone with the last clone.
    pub fn nowhere() -> Self {
        Self { directory: None, config: None, memory: Arc::default() }
    }

    /// The directory, where there is one.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The configuration file of this profile; it need not be there.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Holds the profile for this process, until the lock is dropped.
    ///
    /// # Errors
    /// [`Failure::AlreadyRunning`] if another process holds it.
    pub fn lock(&self) -> Result<ProfileLock, Failure> {
        self.directory.as_deref().map_or(Ok(ProfileLock::on_nothing()), ProfileLock::on)
    }

    /// Where conversations are kept, if anywhere.
    pub(crate) fn store(&self) -> Option<PathBuf> {
        self.path(STORE)
    }

    /// The path of a file of this profile.
    pub(super) fn path(&self, file: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(file))
    }

    /// The text of a file with its path; `None` where there is none.
    pub(super) fn read_text(&self, file: &str, max: usize) -> Result<Option<(PathBuf, String)>, Failure> {
        let Some(path) = self.path(file) else { return Ok(None) };
        let content = match disk::read(&path, max, OTHERS_WRITE) {
            Ok(content) => content,
            Err(FileError::Missing) => return Ok(None),
            Err(error) => return Err(error.failure("read", &path)),
        };
        match String::from_utf8(content) {
            Ok(text) => Ok(Some((path, text))),
            Err(_) => Err(damaged(&path, "it is not UTF-8".into())),
        }
    }
}

/// A file whose content is not what it should be.
pub(super) fn damaged(path: &Path, reason: String) -> Failure {
    Failure::Local { what: format!("read {}", path.display()), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn nowhere_locks_nothing() {
        let home = Home::nowhere();
        let (_first, _second) = (home.lock().unwrap(), home.lock().unwrap());
    }

    #[test]
    fn a_home_that_others_may_write_to_is_refused_with_the_mending_command() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o770] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let Err(Failure::Local { reason, .. }) = Home::open(directory.path()) else { panic!("{mode:o}") };
            assert!(reason.contains(&format!("chmod go-w {}", directory.path().display())), "{reason}");
        }
    }

    #[test]
    fn profiles_are_the_directories_with_an_identity() {
        let root = tempfile::tempdir().unwrap();
        let profiles = Profiles::under(&root.path().join("data"), &root.path().join("config"));
        assert_eq!(profiles.names().unwrap(), []);
        for profile in ["bob", "alice", "empty"] {
            let home = profiles.open(&name(profile)).unwrap();
            assert_eq!(home.config_file(), Some(profiles.config_file()));
            if profile != "empty" {
                fs::write(home.path(IDENTITY).unwrap(), "key").unwrap();
            }
        }
        let stray = root.path().join("data/profiles/Not A Name");
        fs::create_dir(&stray).unwrap();
        fs::write(stray.join(IDENTITY), "key").unwrap();
        assert_eq!(profiles.names().unwrap(), [name("alice"), name("bob")]);
    }

    #[test]
    fn a_profile_is_held_once_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let lock = home.lock().unwrap();
        let again = home.lock().map(drop);
        assert_eq!(again, Err(Failure::AlreadyRunning { home: directory.path().display().to_string() }));
        drop(lock);
        drop(home.lock().unwrap());
    }

    /// Set in a process that this test starts of itself: the home that it is to try.
    const HELD: &str = "P2PCHAT_TEST_HELD_HOME";

    #[test]
    fn a_profile_is_held_against_other_processes() {
        if let Some(held) = std::env::var_os(HELD) {
            let refused = Home::open(Path::new(&held)).unwrap().lock().map(drop);
            assert!(matches!(refused, Err(Failure::AlreadyRunning { .. })), "{refused:?}");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let other = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let this = "profile::home::tests::a_profile_is_held_against_other_processes";
            command.args([this, "--exact"]).env(HELD, directory.path()).output().unwrap()
        };
        let lock = home.lock().unwrap();
        let refused = other();
        assert!(refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
        assert!(String::from_utf8_lossy(&refused.stdout).contains("1 passed"));
        drop(lock);
        assert!(!other().status.success(), "the lock was given back, so the other process gets it");
    }

    #[test]
    fn a_lock_removes_what_a_crash_left_and_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let left = directory.path().join("papers.1-0.tmp");
        fs::write(&left, "half").unwrap();
        drop(home.lock().unwrap());
        assert!(!left.exists());
        fs::remove_file(directory.path().join("lock")).unwrap();
        symlink("elsewhere", directory.path().join("lock")).unwrap();
        assert!(matches!(home.lock(), Err(Failure::Local { .. })));
        assert!(!directory.path().join("elsewhere").exists());
    }
}
