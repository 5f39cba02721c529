//! What two people do most of the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::event::{Event, event, file, message, receipt};
use crate::peer::Peer;
use crate::process::{Failure, PROMPT};

/// How long a file of a few MiB may take on one machine, other carriers after a broken one included.
pub const TRANSFER: Duration = Duration::from_secs(60);

/// One says something, the other is shown it, and the first hears that it was stored and read.
///
/// # Errors
/// If any of it does not happen in time.
pub fn say(from: &mut Peer, to: &mut Peer, text: &str) -> Result<(), Failure> {
    from.send_line(text)?;
    let mine = from.wait(&event("message").with("text", text).with("mine", true), PROMPT)?;
    to.wait(&message(text), PROMPT)?;
    for state in ["stored", "read"] {
        from.wait(&receipt(mine.text("message"), state), PROMPT)?;
    }
    Ok(())
}

/// `/sendf`; the number that the transfer has for the sender.
///
/// # Errors
/// If nothing is offered.
pub fn offer_file(from: &mut Peer, path: &Path) -> Result<u64, Failure> {
    from.send_line(&format!("/sendf \"{}\"", path.display()))?;
    let offered = from.wait(&file("out", "offered"), PROMPT)?;
    Ok(offered.number("transfer").unwrap_or_default())
}

/// A file that arrived.
#[derive(Debug)]
pub struct Passed {
    /// Where the receiver put it.
    pub path: PathBuf,
    /// The sender's last event.
    pub sent: Event,
    /// The receiver's last event.
    pub received: Event,
}

/// One sends a file to another who takes every file; waits until both say that it is done.
///
/// # Errors
/// If it does not arrive in time.
pub fn pass_file(from: &mut Peer, to: &mut Peer, path: &Path) -> Result<Passed, Failure> {
    let number = offer_file(from, path)?;
    let received = to.wait(&file("in", "done"), TRANSFER)?;
    let sent = from.wait(&file("out", "done").with("transfer", number), TRANSFER)?;
    Ok(Passed { path: PathBuf::from(received.text("path")), sent, received })
}

impl Passed {
    /// Asserts that what lies there is `path`, byte by byte, and that both sides say so.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn assert_equal_to(&self, path: &Path) {
        let (sent, received) = (fs::read(path).unwrap(), fs::read(&self.path).unwrap());
        assert!(sent == received, "{} differs from {}", self.path.display(), path.display());
        let hash = blake3::hash(&sent).to_hex().to_string();
        assert_eq!((self.sent.text("blake3"), self.received.text("blake3")), (&*hash, &*hash));
    }
}

/// Bytes without any pattern, the same for a seed.
pub fn random_content(seed: u64, len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}
