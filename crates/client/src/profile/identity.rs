//! The identity on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use p2pchat_crypto::keyfile::{self, KEY_FILE_MAX, KeyFileError, Passphrase};
use p2pchat_crypto::{Identity, Seed, export};
use p2pchat_engine::Failure;
use p2pchat_proto::{Name, PeerId};
use rand::CryptoRng;

use super::disk::{self, FileError, OTHERS_ANYTHING, quoted};
use super::exported;
use super::home::{Home, IDENTITY};
use super::papers::{self, Papers};

impl Home {
    /// Whether there is a key file, of whatever kind.
    pub fn has_identity(&self) -> bool {
        self.path(IDENTITY).is_some_and(|path| path.symlink_metadata().is_ok())
    }

    /// Whether the key file needs a passphrase.
    ///
    /// # Errors
    /// [`Failure::KeyFile`] if there is none, or if it cannot be used.
    pub fn identity_is_locked(&self) -> Result<bool, Failure> {
        let (path, content) = self.read_identity()?;
        keyfile::is_locked(&content).map_err(|error| key_failure(&path, error))
    }

    /// The identity in the key file. A passphrase that is not needed is not looked at.
    ///
    /// # Errors
    /// [`Failure::Locked`] if a passphrase is needed and was not given, or is wrong;
    /// [`Failure::KeyFile`] if there is no key file, if others than its owner may do anything with it,
    /// or if it is damaged.
    pub fn identity(&self, passphrase: Option<&Passphrase>) -> Result<Identity, Failure> {
        Ok(Identity::from_seed(&self.seed(passphrase)?))
    }

    /// Where that identity comes from.
    ///
    /// # Errors
    /// Those of [`Home::identity`].
    pub fn seed(&self, passphrase: Option<&Passphrase>) -> Result<Seed, Failure> {
        let (path, content) = self.read_identity()?;
        keyfile::open(&content, passphrase).map_err(|error| key_failure(&path, error))
    }

    /// Puts another seed in the place of the one in the key file, under the passphrase of that. A crash leaves
    /// the old file or the new one.
    ///
    /// # Errors
    /// Those of [`Home::identity`]; [`Failure::Local`] and [`Failure::DiskFull`] if it cannot be written.
    pub fn replace_seed(
        &self,
        seed: &Seed,
        passphrase: Option<&Passphrase>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Failure> {
        let (path, content) = self.read_identity()?;
        let failed = |error| key_failure(&path, error);
        let locked = keyfile::is_locked(&content).map_err(failed)?;
        // Whoever replaces it has opened it.
        keyfile::open(&content, passphrase).map_err(failed)?;
        let content = keyfile::seal(seed, passphrase.filter(|_| locked), rng).map_err(failed)?;
        disk::replace(&path, &content).map_err(|error| error.failure("write", &path))
    }

    /// Makes an identity and its key file. A home that is nowhere gets no file.
    ///
    /// # Errors
    /// [`Failure::KeyFile`] if there is a key file: an identity is never replaced.
    /// [`Failure::Local`] and [`Failure::DiskFull`] if it cannot be written.
    pub fn create_identity(
        &self,
        passphrase: Option<&Passphrase>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Identity, Failure> {
        let randomness = |_| Failure::Local {
            what: "make an identity".into(),
            reason: "the system's randomness failed".into(),
        };
        let seed = Seed::generate(rng).map_err(randomness)?;
        self.check_not_orphaned()?;
        self.write_identity(&seed, passphrase, rng)
    }

    /// Whether a key may be made here: not where the one is gone that sealed what is here.
    ///
    /// # Errors
    /// [`Failure::KeyFile`], with what to do, if it is.
    pub fn check_not_orphaned(&self) -> Result<(), Failure> {
        let sealed = self.sealed_files().into_iter().find(|file| file.exists());
        match sealed.filter(|_| !self.has_identity()) {
            Some(file) => {
                Err(self.without_its_key(&format!("{} was sealed by one that is gone", file.display())))
            }
            None => Ok(()),
        }
    }

    /// Files that nothing but the key opens.
    fn sealed_files(&self) -> Vec<PathBuf> {
        self.path(papers::FILE).into_iter().chain(self.store()).collect()
    }

    /// Another key would make what is here unreadable for good, as nobody would look for the right one.
    fn without_its_key(&self, reason: &str) -> Failure {
        let home = self.directory().unwrap_or(Path::new("")).display().to_string();
        Failure::KeyFile {
            path: self.path(IDENTITY).unwrap_or_default().display().to_string(),
            reason: reason.to_owned(),
            hint: format!(
                "put back the key file, or take it from an export of it with `p2pchat id import`; to start \
                 anew, move {home} away"
            ),
        }
    }

    /// Makes the key file of an identity that was made elsewhere.
    ///
    /// # Errors
    /// Those of [`Home::create_identity`]; [`Failure::KeyFile`] as well if the home holds what another one
    /// sealed.
    pub fn import_identity(
        &self,
        seed: &Seed,
        passphrase: Option<&Passphrase>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Identity, Failure> {
        if !self.has_identity()
            && let Err(failure) = Papers::look(self, &Arc::new(Identity::from_seed(seed)))
        {
            return Err(self.without_its_key(&failure.message()));
        }
        self.write_identity(seed, passphrase, rng)
    }

    fn write_identity(
        &self,
        seed: &Seed,
        passphrase: Option<&Passphrase>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Identity, Failure> {
        let Some(path) = self.path(IDENTITY) else { return Ok(Identity::from_seed(seed)) };
        let content = keyfile::seal(seed, passphrase, rng).map_err(|error| key_failure(&path, error))?;
        match disk::create(&path, &content) {
            Ok(()) => Ok(Identity::from_seed(seed)),
            Err(FileError::System(error)) => Err(disk::system_failure("write", &path, &error)),
            Err(error) => Err(file_failure(&path, error)),
        }
    }

    /// Seals the key file anew, under another passphrase or under none. A crash leaves the old file or
    /// the new one.
    ///
    /// # Errors
    /// Those of [`Home::identity`]; [`Failure::Local`] and [`Failure::DiskFull`] if it cannot be written.
    pub fn change_passphrase(
        &self,
        current: Option<&Passphrase>,
        new: Option<&Passphrase>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Failure> {
        let (path, content) = self.read_identity()?;
        let failed = |error| key_failure(&path, error);
        let seed = keyfile::open(&content, current).map_err(failed)?;
        let content = keyfile::seal(&seed, new, rng).map_err(failed)?;
        disk::replace(&path, &content).map_err(|error| error.failure("write", &path))
    }

    /// Seals the identity, and the name that it goes by, under a passphrase into a new file at `to`; who it is.
    ///
    /// # Errors
    /// Those of [`Home::identity`]; [`Failure::Export`] if there is a file already; [`Failure::Local`] and
    /// [`Failure::DiskFull`] if it cannot be written.
    pub fn export_identity(
        &self,
        current: Option<&Passphrase>,
        name: &Name,
        to: &Path,
        passphrase: &Passphrase,
        rng: &mut dyn CryptoRng,
    ) -> Result<PeerId, Failure> {
        let (path, content) = self.read_identity()?;
        let seed = keyfile::open(&content, current).map_err(|error| key_failure(&path, error))?;
        exported::write(to, export::seal_identity(&seed, name, passphrase, rng))?;
        Ok(Identity::from_seed(&seed).peer_id())
    }

    fn read_identity(&self) -> Result<(PathBuf, Vec<u8>), Failure> {
        let Some(path) = self.path(IDENTITY) else {
            return Err(file_failure(Path::new(IDENTITY), FileError::Missing));
        };
        let content =
            disk::read(&path, KEY_FILE_MAX, OTHERS_ANYTHING).map_err(|error| file_failure(&path, error))?;
        Ok((path, content))
    }
}

/// What is the matter with the file.
fn file_failure(path: &Path, error: FileError) -> Failure {
    let at = quoted(path);
    let look = format!("look at it: ls -l {at}");
    let (reason, hint) = match error {
        FileError::Missing => ("it is not there".into(), "make one: p2pchat init".into()),
        FileError::Exists => {
            ("it is there already".into(), format!("to keep it as a copy: mv -i {at} {at}.old"))
        }
        FileError::NotAFile => ("it is not a regular file".into(), look),
        FileError::TooLarge => ("it is too large for a key file".into(), look),
        FileError::Permissions { mode } => {
            (format!("others can read or change it (mode {mode:03o})"), format!("run: chmod 600 {at}"))
        }
        FileError::Owner => ("it belongs to another user".into(), look),
        FileError::System(error) => (error.to_string(), look),
    };
    Failure::KeyFile { path: path.display().to_string(), reason, hint }
}

/// What is the matter with its content.
fn key_failure(path: &Path, error: KeyFileError) -> Failure {
    let at = path.display().to_string();
    let home = quoted(path.parent().unwrap_or(path));
    let restore = || format!("restore it from a copy, or move {home} away to start anew");
    let failure = |hint: String| Failure::KeyFile { path: at.clone(), reason: error.to_string(), hint };
    match error {
        KeyFileError::NotAKeyFile | KeyFileError::Parameters | KeyFileError::Damaged => failure(restore()),
        KeyFileError::Version(_) => failure("use the version of p2pchat that made it, or a later one".into()),
        KeyFileError::OutOfMemory | KeyFileError::Randomness => failure("try again".into()),
        KeyFileError::Locked => Failure::Locked { path: at, reason: "it needs a passphrase".into() },
        KeyFileError::WrongPassphrase => Failure::Locked { path: at, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    fn home() -> (tempfile::TempDir, Home, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let path = directory.path().join(IDENTITY);
        (directory, home, path)
    }

    fn hint(failure: &Failure) -> &str {
        let Failure::KeyFile { hint, .. } = failure else { panic!("{failure:?}") };
        hint
    }

    #[test]
    fn an_identity_is_made_once_and_found_again() {
        let (_directory, home, path) = home();
        assert!(!home.has_identity());
        let made = home.create_identity(None, &mut rng()).unwrap();
        assert!(home.has_identity());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!home.identity_is_locked().unwrap());
        assert_eq!(home.identity(None).unwrap().peer_id(), made.peer_id());
        let again = home.create_identity(None, &mut rng()).map(drop).unwrap_err();
        assert!(hint(&again).contains("mv "), "{again:?}");
        assert_eq!(home.identity(None).unwrap().peer_id(), made.peer_id());
    }

    #[test]
    fn a_home_that_another_key_sealed_gets_no_new_one_and_takes_its_own_back() {
        let (directory, home, path) = home();
        let seed = Seed::from_bytes([7; 32]);
        let me = Arc::new(home.import_identity(&seed, None, &mut rng()).unwrap());
        Papers::open(&home, &me).unwrap().set_name("alice".parse().unwrap()).unwrap();
        fs::remove_file(&path).unwrap();
        let foreign = home.import_identity(&Seed::from_bytes([8; 32]), None, &mut rng()).map(drop);
        for refused in [home.create_identity(None, &mut rng()).map(drop), foreign] {
            let refused = refused.unwrap_err();
            assert!(hint(&refused).contains("put back the key file"), "{refused:?}");
            assert!(!home.has_identity(), "{refused:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "papers, as they were");
        home.import_identity(&seed, None, &mut rng()).unwrap();
        assert!(Papers::open(&home, &me).unwrap().name().is_some());
    }

    #[test]
    fn a_key_file_with_a_passphrase_opens_with_that_one_only() {
        let (_directory, home, _) = home();
        let passphrase = |text: &str| Passphrase::new(text.into());
        let made = home.create_identity(Some(&passphrase("right")), &mut rng()).unwrap();
        assert!(home.identity_is_locked().unwrap());
        assert!(matches!(home.identity(None).map(drop), Err(Failure::Locked { .. })));
        let wrong = home.identity(Some(&passphrase("wrong"))).map(drop);
        assert!(matches!(wrong, Err(Failure::Locked { .. })));
        assert_eq!(home.identity(Some(&passphrase("right"))).unwrap().peer_id(), made.peer_id());
    }

    #[test]
    fn a_changed_passphrase_opens_the_same_identity_and_the_old_one_opens_nothing() {
        let (directory, home, path) = home();
        let [old, new] = ["old", "new"].map(|text| Passphrase::new(text.into()));
        let made = home.create_identity(None, &mut rng()).unwrap();
        home.change_passphrase(None, Some(&old), &mut rng()).unwrap();
        home.change_passphrase(Some(&old), Some(&new), &mut rng()).unwrap();
        assert_eq!(home.identity(Some(&new)).unwrap().peer_id(), made.peer_id());
        let content = fs::read(&path).unwrap();
        for wrong in [None, Some(&old)] {
            let refused = home.change_passphrase(wrong, None, &mut rng()).unwrap_err();
            assert!(matches!(refused, Failure::Locked { .. }), "{refused:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), content, "nothing was written");
        home.change_passphrase(Some(&new), None, &mut rng()).unwrap();
        assert!(!home.identity_is_locked().unwrap());
        assert_eq!(home.identity(None).unwrap().peer_id(), made.peer_id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_mending_command() {
        let (_directory, home, path) = home();
        home.create_identity(None, &mut rng()).unwrap();
        for mode in [0o640, 0o604, 0o644, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = home.identity(None).map(drop).unwrap_err();
            assert_eq!(hint(&refused), format!("run: chmod 600 {}", path.display()));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(home.identity(None).is_ok());
    }

    #[test]
    fn a_link_a_directory_and_nothing_are_no_key_files() {
        let (directory, home, path) = home();
        assert!(hint(&home.identity(None).map(drop).unwrap_err()).contains("p2pchat init"));
        home.create_identity(None, &mut rng()).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(home.has_identity());
        assert!(matches!(home.identity(None).map(drop), Err(Failure::KeyFile { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(home.identity(None).map(drop), Err(Failure::KeyFile { .. })));
    }

    #[test]
    fn a_damaged_key_file_is_refused_wherever_the_damage_is() {
        let (_directory, home, path) = home();
        home.create_identity(None, &mut rng()).unwrap();
        let good = fs::read(&path).unwrap();
        let mut bad = vec![Vec::new(), good[1..].to_vec(), [&good[..], b"x"].concat()];
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            bad.push(flipped);
        }
        for content in bad {
            fs::write(&path, content).unwrap();
            let refused = home.identity(None).map(drop).unwrap_err();
            assert!(matches!(refused, Failure::KeyFile { .. } | Failure::Locked { .. }), "{refused:?}");
            assert_eq!(refused.exit(), 1);
        }
    }

    #[test]
    fn a_home_that_is_nowhere_makes_an_identity_and_keeps_none() {
        let home = Home::nowhere();
        assert!(home.create_identity(None, &mut rng()).is_ok());
        assert!(!home.has_identity());
        assert!(matches!(home.identity(None).map(drop), Err(Failure::KeyFile { .. })));
    }
}
