//! A home with a key file that the harness made, and the program at it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use p2pchat_crypto::Seed;
use p2pchat_crypto::keyfile::{self, Passphrase};
use rand::Rng;
use tempfile::TempDir;

use crate::peer::{Outcome, Setup};
use crate::rows::{Lab, NotRun};
use crate::trace::Trace;

/// How long the program may take to open a key: Argon2 over 64 MiB, on a machine that is busy.
const OPENS: Duration = Duration::from_secs(60);
/// The passphrase of the key, where it has one.
pub(super) const RIGHT: &str = "correct horse battery staple";

/// A home whose seed the harness knows.
pub(super) struct Home {
    /// The seed in the key file.
    pub(super) seed: [u8; 32],
    key: PathBuf,
    passphrase: PathBuf,
    setup: Setup,
    root: TempDir,
}

impl Home {
    /// A key under [`RIGHT`].
    pub(super) fn locked(lab: &mut Lab) -> Result<Self, NotRun> {
        Self::new(Some(&Passphrase::new(RIGHT.to_owned())), lab)
    }

    /// A key without a passphrase.
    pub(super) fn open(lab: &mut Lab) -> Result<Self, NotRun> {
        Self::new(None, lab)
    }

    fn new(passphrase: Option<&Passphrase>, lab: &mut Lab) -> Result<Self, NotRun> {
        let root = tempfile::tempdir()?;
        let directory = root.path().join("home");
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        let mut seed = [0; 32];
        lab.rng.fill_bytes(&mut seed);
        let (key, file) = (directory.join("identity.key"), root.path().join("passphrase"));
        let content = keyfile::seal(&Seed::from_bytes(seed), passphrase, &mut lab.rng)?;
        private(&key, &content)?;
        private(&file, format!("{RIGHT}\n").as_bytes())?;
        let flags = ["--passphrase-file".to_owned(), file.display().to_string()];
        let setup = Setup::new("alice", &directory, &Trace::default()).plain().arguments(flags);
        Ok(Self { seed, key, passphrase: file, setup, root })
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        self.setup.home()
    }

    /// A directory above it, for what is not of the profile.
    pub(super) fn outside(&self) -> &Path {
        self.root.path()
    }

    /// The key file.
    pub(super) fn key(&self) -> &Path {
        &self.key
    }

    /// The file with the passphrase.
    pub(super) fn passphrase(&self) -> &Path {
        &self.passphrase
    }

    /// What the program says of who it is.
    pub(super) fn id(&self) -> Result<Outcome, NotRun> {
        Ok(self.setup.run(&["id"], OPENS)?)
    }
}

fn private(path: &Path, content: &[u8]) -> Result<(), NotRun> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(content)?)
}
