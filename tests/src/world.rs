//! A broker, people, and their files, all in one temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::Broker;
use crate::event::{event, session};
use crate::peer::{Peer, Setup};
use crate::process::{Failure, PROMPT};
use crate::trace::Trace;

/// How long two people on one machine may take from the request to the session.
pub const MEETING: Duration = Duration::from_secs(20);

/// Everything of one test; what runs in it ends with it.
#[derive(Debug)]
pub struct World {
    /// The broker.
    pub broker: Broker,
    /// What everybody said.
    pub trace: Trace,
    // Last, so that the processes are gone when the directory goes.
    root: TempDir,
}

impl World {
    /// A broker on a free port, and nobody yet.
    ///
    /// # Errors
    /// If the programs are not built, or the broker does not come up.
    pub fn new() -> Result<Self, Failure> {
        let root = tempfile::tempdir().map_err(Failure::system("make a temporary directory"))?;
        let trace = Trace::default();
        let broker = Broker::start(&root.path().join("broker"), &trace)?;
        Ok(Self { broker, trace, root })
    }

    /// A directory of its own.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.root.path().join(name);
        fs::create_dir_all(&path).map_err(Failure::system("make a directory"))?;
        Ok(path)
    }

    /// Writes a file outside of everybody's home.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory("files")?.join(name);
        fs::write(&path, content).map_err(Failure::system("write a file"))?;
        Ok(path)
    }

    /// A person at this broker, not started yet.
    ///
    /// # Errors
    /// If the home cannot be made.
    pub fn person(&self, name: &str) -> Result<Setup, Failure> {
        Ok(self.stranger(name)?.broker(&self.broker.url()))
    }

    /// A person at no broker yet.
    ///
    /// # Errors
    /// If the home cannot be made.
    pub fn stranger(&self, name: &str) -> Result<Setup, Failure> {
        let home = self.directory(&format!("home-{name}"))?;
        Ok(Setup::new(name, &home, &self.trace))
    }

    /// Starts `listener` and `asker` and waits until their session is up.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn meet(&self, listener: &Setup, asker: &Setup) -> Result<(Peer, Peer), Failure> {
        let mut alice = listen(listener)?;
        let mut bob = asker.start(&["connect", "--to", alice.name()])?;
        bob.wait(&event("request").with("direction", "out").with("state", "accepted"), MEETING)?;
        alice.wait(&session("up"), MEETING)?;
        bob.wait(&session("up"), MEETING)?;
        Ok((alice, bob))
    }

    /// Where a session between two people begins most of the time: alice takes everything, bob asked.
    ///
    /// # Errors
    /// If they do not meet in time.
    pub fn alice_and_bob(&self) -> Result<(Peer, Peer), Failure> {
        self.meet(&self.person("alice")?.accept_everything(), &self.person("bob")?.accept_everything())
    }
}

/// Starts a person who listens, and waits until others can reach them.
///
/// # Errors
/// If that does not happen in time.
pub fn listen(setup: &Setup) -> Result<Peer, Failure> {
    let mut peer = setup.start(&["listen"])?;
    peer.wait(&event("broker").with("state", "connected"), PROMPT)?;
    Ok(peer)
}

/// The only file below a directory, partial ones not counted; None where there is none.
pub fn only_file(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files = entries.filter(|path| path.is_file() && path.extension().is_none_or(|e| e != "part"));
    let file = files.next()?;
    files.next().is_none().then_some(file)
}
