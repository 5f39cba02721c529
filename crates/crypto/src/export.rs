//! How what a user takes elsewhere rests in a file.
//!
//! ```text
//! "p2pchat export" | version u8 | kind u8 | memory KiB u32 | passes u32 | lanes u32 | salt [16] | nonce [24]
//!   | sealed: length u32, content, zeros to a multiple of 4,096 | tag [16] | checksum [32]
//! ```
//!
//! Sealed with XChaCha20-Poly1305 under Argon2id of a passphrase, at the cost of a key file; everything
//! before it is authenticated. An identity's content is its seed and its name; in version 2, of one that took
//! the place of another, the key of its home stands between them. The checksum is BLAKE3 of all before it. Whoever changes a file can make it
//! anew, so it protects nothing; it tells a file that was damaged on its way from a wrong passphrase, before
//! anything is spent.

use core::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use p2pchat_proto::Name;
use p2pchat_proto::name::NAME_MAX_LEN;
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::aead::TAG_LEN;
use crate::identity::Seed;
use crate::keyfile::{Cost, KeyFileError, NEW_COST, Passphrase, argon2id};
use crate::secret::{RandomnessFailed, random};

const MAGIC: &[u8; 14] = b"p2pchat export";
const FORMAT: u8 = 1;
/// Version of an identity with its home's key.
const FORMAT_WITH_HOME: u8 = 2;
const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = MAGIC.len() + 2 + 12 + SALT_LEN + NONCE_LEN;
const LENGTH_LEN: usize = 4;
const CHECKSUM_LEN: usize = 32;
const SEED_LEN: usize = 32;
/// What is sealed is as long as a multiple of this, in bytes: a file tells about how much is in it.
const STEP: usize = 4096;

/// Most bytes that are exported: everybody whom a profile can know (6.7 million), and room.
pub const CONTENT_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of a file.
pub const EXPORT_MAX: usize = HEADER_LEN + CONTENT_MAX + STEP + TAG_LEN + CHECKSUM_LEN;

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A seed and the name that goes with it.
    Identity,
    /// Brokers and people.
    Contacts,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Identity, Self::Contacts];

    const fn byte(self) -> u8 {
        match self {
            Self::Identity => 1,
            Self::Contacts => 2,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "an identity",
            Self::Contacts => "contacts",
        })
    }
}

/// An export that does not give its content, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportError {
    /// Something else: wrong first bytes, or too short.
    NotAnExport,
    /// An export of a later version.
    Version(u8),
    /// An export of something else.
    Holds(Kind),
    /// It asks for more than may be spent on a key, or holds something unknown.
    Parameters,
    /// Not what was written.
    Damaged,
    /// The passphrase is wrong, or somebody changed the file on purpose: these cannot be told apart.
    WrongPassphrase,
    /// More than [`CONTENT_MAX`].
    TooLarge,
    /// Not enough memory for the passphrase's key.
    OutOfMemory,
    /// The system's randomness failed.
    Randomness,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnExport => "not an export of p2pchat",
            Self::Version(version) => return write!(f, "export of version {version}"),
            Self::Holds(kind) => return write!(f, "it holds {kind}"),
            Self::Parameters => "export with unknown or excessive parameters",
            Self::Damaged => "the export is damaged",
            Self::WrongPassphrase => "wrong passphrase",
            Self::TooLarge => "too much for an export",
            Self::OutOfMemory => "not enough memory to open the export",
            Self::Randomness => return RandomnessFailed.fmt(f),
        })
    }
}

impl core::error::Error for ExportError {}

impl From<KeyFileError> for ExportError {
    fn from(error: KeyFileError) -> Self {
        match error {
            KeyFileError::NotAKeyFile | KeyFileError::Damaged => Self::Damaged,
            KeyFileError::Version(_) | KeyFileError::Parameters => Self::Parameters,
            KeyFileError::Locked | KeyFileError::WrongPassphrase => Self::WrongPassphrase,
            KeyFileError::OutOfMemory => Self::OutOfMemory,
            KeyFileError::Randomness => Self::Randomness,
        }
    }
}

/// The bytes of an export.
///
/// # Errors
/// [`ExportError::TooLarge`], [`ExportError::OutOfMemory`], [`ExportError::Randomness`].
pub fn seal(
    kind: Kind,
    content: &[u8],
    passphrase: &Passphrase,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ExportError> {
    let failed = |RandomnessFailed| ExportError::Randomness;
    let (salt, nonce) = (*random(rng).map_err(failed)?, *random(rng).map_err(failed)?);
    seal_with(kind, content, passphrase, &Head { format: FORMAT, cost: NEW_COST, salt, nonce })
}

/// Whether this is an undamaged export of `kind`, which only its passphrase is needed for.
///
/// # Errors
/// See [`ExportError`].
pub fn check(kind: Kind, file: &[u8]) -> Result<(), ExportError> {
    parse(kind, file).map(drop)
}

/// What is in an export.
///
/// # Errors
/// See [`ExportError`].
pub fn open(kind: Kind, file: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, ExportError> {
    opened(parse(kind, file)?, passphrase)
}

fn opened(parsed: Parsed<'_>, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, ExportError> {
    let Parsed { head, header, sealed } = parsed;
    let key = argon2id(head.cost, &head.salt, passphrase)?;
    let mut content = Zeroizing::new(sealed.to_vec());
    XChaCha20Poly1305::new((&*key).into())
        .decrypt_in_place(&XNonce::from(head.nonce), header, &mut *content)
        .map_err(|_| ExportError::WrongPassphrase)?;
    let length = content.first_chunk::<LENGTH_LEN>().ok_or(ExportError::Damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| ExportError::Damaged)?;
    if length > content.len().saturating_sub(LENGTH_LEN) {
        return Err(ExportError::Damaged);
    }
    content.drain(..LENGTH_LEN);
    content.truncate(length);
    Ok(content)
}

/// The bytes of an export of an identity, with the name that it goes by.
///
/// # Errors
/// Those of [`seal`].
pub fn seal_identity(
    seed: &Seed,
    name: &Name,
    passphrase: &Passphrase,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ExportError> {
    // Whole from the start: growing would leave a copy of the seed behind.
    let mut content = Zeroizing::new(Vec::with_capacity(SEED_LEN + SEED_LEN + NAME_MAX_LEN));
    content.extend(seed.as_bytes());
    content.extend(seed.home().into_iter().flatten());
    content.extend(name.as_str().as_bytes());
    let failed = |RandomnessFailed| ExportError::Randomness;
    let (salt, nonce) = (*random(rng).map_err(failed)?, *random(rng).map_err(failed)?);
    let format = if seed.home().is_some() { FORMAT_WITH_HOME } else { FORMAT };
    seal_with(Kind::Identity, &content, passphrase, &Head { format, cost: NEW_COST, salt, nonce })
}

/// The identity in an export, and the name that it goes by.
///
/// # Errors
/// Those of [`open`].
pub fn open_identity(file: &[u8], passphrase: &Passphrase) -> Result<(Seed, Name), ExportError> {
    let parsed = parse(Kind::Identity, file)?;
    let format = parsed.head.format;
    let content = opened(parsed, passphrase)?;
    let (bytes, rest) = content.split_first_chunk::<SEED_LEN>().ok_or(ExportError::Damaged)?;
    let (seed, name) = if format == FORMAT_WITH_HOME {
        let (home, name) = rest.split_first_chunk::<SEED_LEN>().ok_or(ExportError::Damaged)?;
        (Seed::with_home(*bytes, *home), name)
    } else {
        (Seed::from_bytes(*bytes), rest)
    };
    let name = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
    Ok((seed, name.ok_or(ExportError::Damaged)?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    format: u8,
    cost: Cost,
    salt: [u8; SALT_LEN],
    nonce: [u8; NONCE_LEN],
}

impl Head {
    fn bytes(&self, kind: Kind) -> [u8; HEADER_LEN] {
        let parts: [&[u8]; 7] = [
            MAGIC,
            &[self.format, kind.byte()],
            &self.cost.memory_kib.to_be_bytes(),
            &self.cost.passes.to_be_bytes(),
            &self.cost.lanes.to_be_bytes(),
            &self.salt,
            &self.nonce,
        ];
        let mut header = [0; HEADER_LEN];
        header.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, byte)| *to = *byte);
        header
    }
}

struct Parsed<'a> {
    head: Head,
    header: &'a [u8; HEADER_LEN],
    sealed: &'a [u8],
}

fn seal_with(
    kind: Kind,
    content: &[u8],
    passphrase: &Passphrase,
    head: &Head,
) -> Result<Vec<u8>, ExportError> {
    let length = u32::try_from(content.len()).map_err(|_| ExportError::TooLarge)?;
    if content.len() > CONTENT_MAX {
        return Err(ExportError::TooLarge);
    }
    let header = head.bytes(kind);
    let padded = LENGTH_LEN.saturating_add(content.len()).next_multiple_of(STEP);
    // Whole from the start: growing would leave a copy of the content behind.
    let mut sealed = Zeroizing::new(Vec::with_capacity(padded.saturating_add(TAG_LEN)));
    sealed.extend(length.to_be_bytes());
    sealed.extend(content);
    sealed.resize(padded, 0);
    XChaCha20Poly1305::new((&*argon2id(head.cost, &head.salt, passphrase)?).into())
        .encrypt_in_place(&XNonce::from(head.nonce), &header, &mut *sealed)
        .map_err(|_| ExportError::TooLarge)?;
    let mut file = [&header[..], &sealed].concat();
    let checksum = blake3::hash(&file);
    file.extend(checksum.as_bytes());
    Ok(file)
}

/// The parts of a file. Its length, its checksum and its cost are looked at before anything is spent.
fn parse(kind: Kind, file: &[u8]) -> Result<Parsed<'_>, ExportError> {
    let mut rest = file.strip_prefix(MAGIC).ok_or(ExportError::NotAnExport)?;
    let [format, holds] = take(&mut rest)?;
    if format != FORMAT && (format, kind) != (FORMAT_WITH_HOME, Kind::Identity) {
        return Err(ExportError::Version(format));
    }
    if file.len() > EXPORT_MAX {
        return Err(ExportError::TooLarge);
    }
    let (content, checksum) = file.split_last_chunk::<CHECKSUM_LEN>().ok_or(ExportError::Damaged)?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*checksum) {
        return Err(ExportError::Damaged);
    }
    let cost = Cost {
        memory_kib: u32::from_be_bytes(take(&mut rest)?),
        passes: u32::from_be_bytes(take(&mut rest)?),
        lanes: u32::from_be_bytes(take(&mut rest)?),
    };
    let head = Head { format, cost, salt: take(&mut rest)?, nonce: take(&mut rest)? };
    let (header, sealed) = content.split_first_chunk::<HEADER_LEN>().ok_or(ExportError::Damaged)?;
    let found = Kind::ALL.into_iter().find(|kind| kind.byte() == holds).ok_or(ExportError::Parameters)?;
    if found != kind {
        return Err(ExportError::Holds(found));
    }
    if !head.cost.is_allowed() {
        return Err(ExportError::Parameters);
    }
    Ok(Parsed { head, header, sealed })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ExportError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(ExportError::Damaged)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::rng;

    /// Cheap enough to open a thousand times.
    const CHEAP: Head = Head {
        format: FORMAT,
        cost: Cost { memory_kib: 8, passes: 1, lanes: 1 },
        salt: [3; SALT_LEN],
        nonce: [4; NONCE_LEN],
    };
    const COST_AT: usize = 16;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    fn cheap(content: &[u8]) -> Vec<u8> {
        seal_with(Kind::Contacts, content, &passphrase("right"), &CHEAP).unwrap()
    }

    fn opened(file: &[u8], text: &str) -> Result<Vec<u8>, ExportError> {
        open(Kind::Contacts, file, &passphrase(text)).map(|content| content.to_vec())
    }

    /// The file with another checksum, as somebody makes it who changes it on purpose.
    fn summed_anew(mut file: Vec<u8>) -> Vec<u8> {
        file.truncate(file.len() - CHECKSUM_LEN);
        let checksum = blake3::hash(&file);
        file.extend(checksum.as_bytes());
        file
    }

    #[test]
    fn an_identity_comes_back_with_its_name_and_costs_what_a_key_file_costs() {
        let (seed, name) = (Seed::from_bytes([7; 32]), "alice".parse().unwrap());
        let file = seal_identity(&seed, &name, &passphrase("right"), &mut rng(1)).unwrap();
        assert_eq!(file[COST_AT..COST_AT + 12], [0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1]);
        assert!(!file.windows(8).any(|window| [7; 8] == window));
        let (opened, called) = open_identity(&file, &passphrase("right")).unwrap();
        assert_eq!((opened.as_bytes(), called), (seed.as_bytes(), name));
        let wrong = open_identity(&file, &passphrase("wrong")).map(drop);
        assert_eq!(wrong, Err(ExportError::WrongPassphrase));
        assert_eq!(check(Kind::Contacts, &file), Err(ExportError::Holds(Kind::Identity)));
    }

    #[test]
    fn an_identity_that_took_the_place_of_another_comes_back_with_the_key_of_its_home() {
        let name = "alice".parse().unwrap();
        let seed = Seed::from_bytes([7; 32]).successor(&mut rng(1)).unwrap();
        let file = seal_identity(&seed, &name, &passphrase("right"), &mut rng(2)).unwrap();
        assert_eq!(file[MAGIC.len()], FORMAT_WITH_HOME);
        let (opened, called) = open_identity(&file, &passphrase("right")).unwrap();
        assert_eq!((opened.as_bytes(), opened.home(), called), (seed.as_bytes(), seed.home(), name));
        assert_eq!(check(Kind::Contacts, &file), Err(ExportError::Version(FORMAT_WITH_HOME)));
    }

    #[test]
    fn the_size_tells_how_much_there_is_in_steps_only() {
        let lengths: Vec<usize> = [0, 1, 4092, 4093, 8188].map(|length| cheap(&vec![1; length]).len()).into();
        let one = HEADER_LEN + STEP + TAG_LEN + CHECKSUM_LEN;
        assert_eq!(lengths, [one, one, one, one + STEP, one + STEP]);
        assert_eq!(
            seal_with(Kind::Contacts, &vec![0; CONTENT_MAX + 1], &passphrase("x"), &CHEAP),
            Err(ExportError::TooLarge)
        );
        let most = cheap(&vec![1; CONTENT_MAX]);
        assert!(most.len() <= EXPORT_MAX && opened(&most, "right").unwrap().len() == CONTENT_MAX);
    }

    #[test]
    fn damage_is_told_from_a_wrong_passphrase_wherever_it_is() {
        let file = cheap(b"alice and bob");
        assert_eq!(opened(&file, "wrong"), Err(ExportError::WrongPassphrase));
        for byte in 0..file.len() {
            let mut flipped = file.clone();
            flipped[byte] ^= 1;
            let expected = match byte {
                0..14 => ExportError::NotAnExport,
                14 => ExportError::Version(0),
                _ => ExportError::Damaged,
            };
            assert_eq!(opened(&flipped, "right"), Err(expected), "byte {byte}");
            if byte >= 15 && byte < file.len() - CHECKSUM_LEN {
                assert!(opened(&summed_anew(flipped), "right").is_err(), "byte {byte}");
            }
        }
        for length in 0..file.len() {
            assert!(opened(&file[..length], "right").is_err(), "{length}");
        }
        assert_eq!(opened(&[&file[..], &[0]].concat(), "right"), Err(ExportError::Damaged));
    }

    #[test]
    fn a_file_that_asks_for_too_much_is_refused_before_anything_is_spent() {
        for cost in [[u32::MAX, 1, 1], [8, u32::MAX, 1], [64, 1, 5], [256 * 1024 + 1, 1, 1]] {
            let mut file = cheap(b"");
            file[COST_AT..COST_AT + 12].copy_from_slice(&cost.map(u32::to_be_bytes).concat());
            assert_eq!(opened(&summed_anew(file), "right"), Err(ExportError::Parameters), "{cost:?}");
        }
        let mut unknown = cheap(b"");
        unknown[15] = 3;
        assert_eq!(opened(&summed_anew(unknown), "right"), Err(ExportError::Parameters));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(content in proptest::collection::vec(any::<u8>(), 0..10_000)) {
            prop_assert_eq!(opened(&cheap(&content), "right"), Ok(content));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(opened(&bytes, "right").is_err());
            let with_head = [&MAGIC[..], &[1, 2], &bytes, &[0; CHECKSUM_LEN]].concat();
            prop_assert!(opened(&summed_anew(with_head), "right").is_err());
        }
    }
}
