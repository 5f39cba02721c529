//! What a user takes to another machine: sealed files, made and read wherever the user says.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use p2pchat_crypto::Seed;
use p2pchat_crypto::export::{self, EXPORT_MAX, ExportError, Kind};
use p2pchat_crypto::keyfile::Passphrase;
use p2pchat_engine::Failure;
use p2pchat_proto::Name;
use zeroize::Zeroizing;

use super::disk::{self, FileError};

/// A file that was exported, which is whole; only its passphrase is missing.
#[derive(Debug)]
pub struct Exported {
    path: PathBuf,
    kind: Kind,
    file: Vec<u8>,
}

impl Exported {
    /// An identity's file. It may belong to anybody: what is in it is sealed.
    ///
    /// # Errors
    /// [`Failure::Export`] if there is none, or it is damaged or something else.
    pub fn identity(path: &Path) -> Result<Self, Failure> {
        Self::read(path, Kind::Identity)
    }

    /// The same of contacts.
    ///
    /// # Errors
    /// As for [`Self::identity`].
    pub fn contacts(path: &Path) -> Result<Self, Failure> {
        Self::read(path, Kind::Contacts)
    }

    /// The seed in it, and the name that it goes by.
    ///
    /// # Errors
    /// [`Failure::Export`] if the passphrase is wrong.
    pub fn open_identity(&self, passphrase: &Passphrase) -> Result<(Seed, Name), Failure> {
        export::open_identity(&self.file, passphrase).map_err(|error| failure(&self.path, error))
    }

    fn read(path: &Path, kind: Kind) -> Result<Self, Failure> {
        let unreadable = |reason: String| Failure::Export {
            path: path.display().to_string(),
            reason,
            hint: "check its name and mode",
        };
        let failed = |error: std::io::Error| unreadable(error.to_string());
        // A pipe in its place would be waited for.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        let mut file = Vec::new();
        let opened = File::open(path).map_err(failed)?;
        opened.take(EXPORT_MAX as u64 + 1).read_to_end(&mut file).map_err(failed)?;
        export::check(kind, &file).map_err(|error| failure(path, error))?;
        Ok(Self { path: path.to_owned(), kind, file })
    }

    /// What to say of content that no version of this program writes.
    pub(super) fn not_contacts(&self) -> Failure {
        failure(&self.path, ExportError::Damaged)
    }

    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, Failure> {
        export::open(self.kind, &self.file, passphrase).map_err(|error| failure(&self.path, error))
    }
}

/// Writes what was sealed to a new file, which only its owner may read.
pub(super) fn write(path: &Path, sealed: Result<Vec<u8>, ExportError>) -> Result<(), Failure> {
    let sealed = sealed.map_err(|error| failure(path, error))?;
    // A name alone has no directory that could be synced.
    let whole = if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) };
    disk::create(&whole, &sealed).map_err(|error| {
        if matches!(error, FileError::Exists) {
            Failure::Export {
                path: path.display().to_string(),
                reason: "it is there already".to_owned(),
                hint: "nothing was written; name another file",
            }
        } else {
            error.failure("write", path)
        }
    })
}

fn failure(path: &Path, error: ExportError) -> Failure {
    let hint = match error {
        ExportError::NotAnExport => "`p2pchat id export` and `p2pchat contacts export` make one",
        ExportError::Version(_) | ExportError::Parameters => {
            "use the version of p2pchat that made it, or a later one"
        }
        ExportError::Holds(Kind::Identity) => "`p2pchat id import` takes that",
        ExportError::Holds(Kind::Contacts) => "`p2pchat contacts import` takes that",
        ExportError::Damaged => "copy it again, or export again",
        ExportError::WrongPassphrase => "it is the one that was given when it was exported",
        ExportError::TooLarge => "remove people who are not needed",
        ExportError::OutOfMemory | ExportError::Randomness => "try again",
    };
    Failure::Export { path: path.display().to_string(), reason: error.to_string(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Home;
    use p2pchat_crypto::Identity;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::os::unix::fs::MetadataExt;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    fn reason(result: Result<impl Sized, Failure>) -> String {
        let Err(Failure::Export { reason, .. }) = result else { panic!("no such failure") };
        reason
    }

    /// A home with an identity under a passphrase of its own, and its export under another one.
    fn exported() -> (tempfile::TempDir, Home, Identity, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(&directory.path().join("old")).unwrap();
        let me = home.create_identity(Some(&passphrase("mine")), &mut rng()).unwrap();
        let path = directory.path().join("alice.export");
        let name = "alice".parse().unwrap();
        home.export_identity(Some(&passphrase("mine")), &name, &path, &passphrase("travels"), &mut rng())
            .unwrap();
        (directory, home, me, path)
    }

    #[test]
    fn an_exported_identity_is_the_same_elsewhere_and_never_replaces_another() {
        let (directory, home, me, path) = exported();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let found = Exported::identity(&path).unwrap();
        let (seed, name) = found.open_identity(&passphrase("travels")).unwrap();
        assert_eq!(name.as_str(), "alice");
        let new = Home::open(&directory.path().join("new")).unwrap();
        let taken = new.import_identity(&seed, None, &mut rng()).unwrap();
        assert_eq!((taken.peer_id(), new.identity(None).unwrap().peer_id()), (me.peer_id(), me.peer_id()));
        for home in [&new, &home] {
            let again = home.import_identity(&seed, None, &mut rng()).map(drop);
            assert!(matches!(again, Err(Failure::KeyFile { .. })), "{again:?}");
        }
        assert!(home.identity(Some(&passphrase("mine"))).is_ok(), "as it was");
    }

    #[test]
    fn an_export_needs_the_keys_passphrase_and_overwrites_nothing() {
        let (directory, home, _, path) = exported();
        let before = fs::read(&path).unwrap();
        let export = |current: &str, path: &Path| {
            let name = "alice".parse().unwrap();
            home.export_identity(Some(&passphrase(current)), &name, path, &passphrase("other"), &mut rng())
        };
        assert_eq!(reason(export("mine", &path)), "it is there already");
        let locked = export("wrong", &directory.path().join("none"));
        assert!(matches!(locked, Err(Failure::Locked { .. })), "{locked:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(export("mine", &directory.path().join("no such directory/x")).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing half is left");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let (directory, _, _, path) = exported();
        let found = Exported::identity(&path).unwrap();
        assert_eq!(reason(found.open_identity(&passphrase("mine"))), "wrong passphrase");
        assert_eq!(reason(Exported::contacts(&path)), "it holds an identity");
        assert_eq!(reason(Exported::identity(directory.path())), "it is not a regular file");
        let mut damaged = fs::read(&path).unwrap();
        damaged[200] ^= 1;
        for (content, says) in
            [(&damaged[..], "damaged"), (b"", "not an export"), (&damaged[..100], "damaged")]
        {
            fs::write(&path, content).unwrap();
            assert!(reason(Exported::identity(&path)).contains(says), "{says}");
        }
        // A file without an end is not read without one.
        let endless = File::create(&path).unwrap();
        endless.set_len(1 << 40).unwrap();
        assert!(reason(Exported::identity(&path)).contains("not an export"));
        fs::remove_file(&path).unwrap();
        assert!(reason(Exported::identity(&path)).contains("No such file"));
    }
}
