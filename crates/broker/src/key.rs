//! The broker's key in its file: a line that says what it is, the secret, the public key.
//!
//! The public key stands there only to tell a damaged file from a good one; a damaged key would
//! make a broker that no client knows.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use p2pchat_crypto::generator;
use p2pchat_crypto::link::BrokerSecret;
use rand::CryptoRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// First line of a key file.
const MAGIC: &[u8; 21] = b"p2pchat broker key 1\n";
/// Length of a key: X25519, RFC 7748.
const KEY_LEN: usize = 32;
/// Length of a key file, in bytes.
const FILE_LEN: usize = MAGIC.len() + 2 * KEY_LEN;
/// Bits by which somebody else than the owner gets at a file.
const OTHERS: u32 = 0o077;

/// A key that cannot be used. Local, and for the operator to mend.
#[derive(Debug)]
pub enum KeyError {
    /// The file or its directory cannot be read or written.
    Io(PathBuf, io::Error),
    /// Others than the owner may read the file.
    Readable(PathBuf),
    /// The file is not a whole key file.
    Damaged(PathBuf),
    /// The system gave no randomness.
    Randomness,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(
                f,
                "key file {}: {error}; make its directory writable or choose another with --key",
                path.display()
            ),
            Self::Readable(path) => write!(
                f,
                "key file {} can be read by others; run `chmod 600 {}`, or move it away if others may have read it",
                path.display(),
                path.display()
            ),
            Self::Damaged(path) => write!(
                f,
                "key file {} is damaged; put your copy of it back, or move it away to get a new key that clients do not know",
                path.display()
            ),
            Self::Randomness => f.write_str("the system gave no randomness for a key; try again"),
        }
    }
}

impl std::error::Error for KeyError {}

/// A generator seeded by the system. A broker asks for one when it starts, whether or not it needs
/// a key: on a system without randomness its links would be open to everybody.
///
/// # Errors
/// [`KeyError::Randomness`] if the system gives none, or nothing but zeros.
pub fn system_rng() -> Result<impl CryptoRng, KeyError> {
    generator(&mut SysRng).map_err(|_| KeyError::Randomness)
}

/// The key in the file at `path`; a new one where there is no file.
///
/// # Errors
/// See [`KeyError`]. An existing file is never changed.
pub fn open_or_create(path: &Path, rng: &mut dyn CryptoRng) -> Result<BrokerSecret, KeyError> {
    match open(path) {
        Err(KeyError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => create(path, rng),
        other => other,
    }
}

/// The key in the file at `path`.
///
/// # Errors
/// See [`KeyError`].
pub fn open(path: &Path) -> Result<BrokerSecret, KeyError> {
    let failed = |error| KeyError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.mode() & OTHERS != 0 {
        return Err(KeyError::Readable(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN + 1));
    file.take(FILE_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    parse(&bytes).ok_or_else(|| KeyError::Damaged(path.to_owned()))
}

fn parse(bytes: &[u8]) -> Option<BrokerSecret> {
    let (secret, public) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<KEY_LEN>()?;
    let secret = BrokerSecret::from_bytes(*secret);
    (secret.public().0[..] == *public).then_some(secret)
}

/// A link makes the whole file appear under its name at once, and never over another.
fn create(path: &Path, rng: &mut dyn CryptoRng) -> Result<BrokerSecret, KeyError> {
    let failed = |error| KeyError::Io(path.to_owned(), error);
    let secret = BrokerSecret::generate(rng).map_err(|_| KeyError::Randomness)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&*secret.to_bytes());
    bytes.extend_from_slice(&secret.public().0);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let draft = dir.join(format!(".broker-key-{}", secret.public()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    let written =
        file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        // Another process was quicker: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return open(path),
        other => other.and(removed).map_err(failed)?,
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn made() -> (tempfile::TempDir, PathBuf, BrokerSecret) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/broker.key");
        let secret = open_or_create(&path, &mut rand::rng()).unwrap();
        (dir, path, secret)
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let (_dir, path, secret) = made();
        assert_eq!(open_or_create(&path, &mut rand::rng()).unwrap().public(), secret.public());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (_dir, path, _) = made();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = open_or_create(&path, &mut rand::rng()).unwrap_err();
        assert!(matches!(error, KeyError::Readable(_)));
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
    }

    #[test]
    fn any_damaged_byte_and_any_other_length_is_found_and_nothing_is_changed() {
        let (_dir, path, _) = made();
        let good = fs::read(&path).unwrap();
        let mut bad: Vec<Vec<u8>> =
            vec![Vec::new(), good[..FILE_LEN - 1].to_vec(), [&good[..], b"x"].concat()];
        for at in [0, 20, 53, 84] {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            bad.push(bytes);
        }
        for bytes in bad {
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(open_or_create(&path, &mut rand::rng()), Err(KeyError::Damaged(_))));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
