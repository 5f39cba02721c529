//! How a seed rests on disk.
//!
//! ```text
//! "p2pchat identity" | version u8 | kdf u8 | 0 u16 | memory KiB u32 | passes u32 | lanes u32
//!   | salt [16] | nonce [24] | sealed: seed [32], in version 2 home key [32] | tag [16]
//! ```
//!
//! Version 1 is that of an identity whose seed seals the home, too. One that took the place of another has
//! the home's key beside it (version 2), so that the one write that replaces the seed leaves everything else
//! at rest as it is.
//!
//! The seed is sealed with XChaCha20-Poly1305, everything before it is authenticated. With a
//! passphrase the key is Argon2id of it (RFC 9106); without one (`kdf` 0) the key is 32 zero
//! bytes, which finds damage and hides nothing: then the file's mode is what protects it.

use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::aead::TAG_LEN;
use crate::identity::Seed;
use crate::secret::{RandomnessFailed, random, redacted};

const MAGIC: &[u8; 16] = b"p2pchat identity";
/// Version of a file that holds a seed alone.
const FORMAT: u8 = 1;
/// Version of one with the home's key.
const FORMAT_WITH_HOME: u8 = 2;
const SEED_LEN: usize = 32;
const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = MAGIC.len() + 4 + 12 + SALT_LEN + NONCE_LEN;

/// Length of a key file with a seed alone, in bytes.
pub const KEY_FILE_LEN: usize = HEADER_LEN + SEED_LEN + TAG_LEN;
/// Length of one with the home's key, in bytes. None is longer.
pub const KEY_FILE_MAX: usize = KEY_FILE_LEN + SEED_LEN;

/// What new files cost to open: 64 MiB, three passes, one lane (protocol section 1; RFC 9106
/// section 4, the second recommended option, with one lane as we compute on one).
pub(crate) const NEW_COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
/// Most that a file may ask for, four times of each: it comes from outside, and memory and time
/// are taken before anything in it can be authenticated.
const MAX_COST: Cost = Cost { memory_kib: 256 * 1024, passes: 12, lanes: 4 };

/// What protects a seed besides the file's mode.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(String);

redacted!(Passphrase);

impl Passphrase {
    /// A passphrase as it was typed.
    pub const fn new(text: String) -> Self {
        Self(text)
    }
}

/// A key file that does not give its seed, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileError {
    /// Something else: wrong first bytes or length.
    NotAKeyFile,
    /// A key file of a later version.
    Version(u8),
    /// It asks for another way to make a key, or for more than may be spent on one.
    Parameters,
    /// It needs a passphrase.
    Locked,
    /// The passphrase is wrong, or the file is damaged: these cannot be told apart.
    WrongPassphrase,
    /// Damaged. It has no passphrase.
    Damaged,
    /// Not enough memory for the passphrase's key.
    OutOfMemory,
    /// The system's randomness failed.
    Randomness,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAKeyFile => "not a key file",
            Self::Version(version) => return write!(f, "key file of version {version}"),
            Self::Parameters => "key file with unknown or excessive parameters",
            Self::Locked => "key file needs a passphrase",
            Self::WrongPassphrase => "wrong passphrase, or damaged key file",
            Self::Damaged => "damaged key file",
            Self::OutOfMemory => "not enough memory to open the key file",
            Self::Randomness => return RandomnessFailed.fmt(f),
        })
    }
}

impl core::error::Error for KeyFileError {}

/// The bytes of a key file for `seed`.
///
/// # Errors
/// [`KeyFileError::OutOfMemory`], [`KeyFileError::Randomness`].
pub fn seal(
    seed: &Seed,
    passphrase: Option<&Passphrase>,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, KeyFileError> {
    let randomness = |RandomnessFailed| KeyFileError::Randomness;
    let lock = match passphrase {
        Some(_) => Lock::Argon2id { cost: NEW_COST, salt: *random(rng).map_err(randomness)? },
        None => Lock::None,
    };
    seal_with(seed, &lock, &*random(rng).map_err(randomness)?, passphrase)
}

/// Whether a passphrase is needed to open this file.
///
/// # Errors
/// See [`KeyFileError`].
pub fn is_locked(file: &[u8]) -> Result<bool, KeyFileError> {
    match parse(file)?.lock {
        Lock::None => Ok(false),
        Lock::Argon2id { .. } => Ok(true),
    }
}

/// The seed in a key file. A passphrase that is not needed is not looked at.
///
/// # Errors
/// See [`KeyFileError`].
pub fn open(file: &[u8], passphrase: Option<&Passphrase>) -> Result<Seed, KeyFileError> {
    let parsed = parse(file)?;
    let mut sealed = Zeroizing::new(parsed.sealed.to_vec());
    XChaCha20Poly1305::new((&*key(&parsed.lock, passphrase)?).into())
        .decrypt_in_place(&XNonce::from(parsed.nonce), parsed.header, &mut *sealed)
        .map_err(|_| match parsed.lock {
            Lock::None => KeyFileError::Damaged,
            Lock::Argon2id { .. } => KeyFileError::WrongPassphrase,
        })?;
    let (seed, home) = sealed.split_first_chunk::<SEED_LEN>().ok_or(KeyFileError::Damaged)?;
    match <&[u8; SEED_LEN]>::try_from(home) {
        Ok(home) => Ok(Seed::with_home(*seed, *home)),
        Err(_) if home.is_empty() => Ok(Seed::from_bytes(*seed)),
        Err(_) => Err(KeyFileError::Damaged),
    }
}

fn seal_with(
    seed: &Seed,
    lock: &Lock,
    nonce: &[u8; NONCE_LEN],
    passphrase: Option<&Passphrase>,
) -> Result<Vec<u8>, KeyFileError> {
    let format = if seed.home().is_some() { FORMAT_WITH_HOME } else { FORMAT };
    let header = header(format, lock, nonce);
    // Whole from the start: growing would leave a copy of the seed behind.
    let mut sealed = Zeroizing::new(Vec::with_capacity(2 * SEED_LEN + TAG_LEN));
    sealed.extend(seed.as_bytes());
    sealed.extend(seed.home().into_iter().flatten());
    XChaCha20Poly1305::new((&*key(lock, passphrase)?).into())
        .encrypt_in_place(&XNonce::from(*nonce), &header, &mut *sealed)
        .map_err(|_| KeyFileError::OutOfMemory)?;
    Ok([&header[..], &sealed].concat())
}

/// What Argon2 is to cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl Cost {
    /// Whether a file may ask for it.
    pub(crate) const fn is_allowed(self) -> bool {
        let max = MAX_COST;
        self.memory_kib <= max.memory_kib && self.passes <= max.passes && self.lanes <= max.lanes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    None,
    Argon2id { cost: Cost, salt: [u8; SALT_LEN] },
}

impl Lock {
    const fn kind(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Argon2id { .. } => 1,
        }
    }
}

struct Parsed<'a> {
    lock: Lock,
    nonce: [u8; NONCE_LEN],
    header: &'a [u8; HEADER_LEN],
    sealed: &'a [u8],
}

fn header(format: u8, lock: &Lock, nonce: &[u8; NONCE_LEN]) -> [u8; HEADER_LEN] {
    let (cost, salt) = match lock {
        Lock::None => (Cost { memory_kib: 0, passes: 0, lanes: 0 }, [0; SALT_LEN]),
        Lock::Argon2id { cost, salt } => (*cost, *salt),
    };
    let parts: [&[u8]; 7] = [
        MAGIC,
        &[format, lock.kind(), 0, 0],
        &cost.memory_kib.to_be_bytes(),
        &cost.passes.to_be_bytes(),
        &cost.lanes.to_be_bytes(),
        &salt,
        nonce,
    ];
    let mut header = [0; HEADER_LEN];
    header.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, byte)| *to = *byte);
    header
}

/// The parts of a file. Its length is checked first and its cost before anything is spent.
fn parse(file: &[u8]) -> Result<Parsed<'_>, KeyFileError> {
    let mut rest = file;
    if take(&mut rest)? != *MAGIC {
        return Err(KeyFileError::NotAKeyFile);
    }
    let [format, kind, reserved @ ..]: [u8; 4] = take(&mut rest)?;
    let content_len = match format {
        FORMAT => SEED_LEN,
        FORMAT_WITH_HOME => 2 * SEED_LEN,
        later => return Err(KeyFileError::Version(later)),
    };
    let cost = Cost {
        memory_kib: u32::from_be_bytes(take(&mut rest)?),
        passes: u32::from_be_bytes(take(&mut rest)?),
        lanes: u32::from_be_bytes(take(&mut rest)?),
    };
    let salt = take(&mut rest)?;
    let nonce = take(&mut rest)?;
    let (header, sealed) = file.split_first_chunk::<HEADER_LEN>().ok_or(KeyFileError::NotAKeyFile)?;
    if sealed.len() != content_len.saturating_add(TAG_LEN) {
        return Err(KeyFileError::NotAKeyFile);
    }
    let lock = match kind {
        0 => Lock::None,
        1 if cost.is_allowed() => Lock::Argon2id { cost, salt },
        _ => return Err(KeyFileError::Parameters),
    };
    if reserved != [0; 2] {
        return Err(KeyFileError::Parameters);
    }
    Ok(Parsed { lock, nonce, header, sealed })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], KeyFileError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(KeyFileError::NotAKeyFile)?;
    *rest = after;
    Ok(*taken)
}

fn key(lock: &Lock, passphrase: Option<&Passphrase>) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    match lock {
        Lock::None => Ok(Zeroizing::new([0; 32])),
        Lock::Argon2id { cost, salt } => argon2id(*cost, salt, passphrase.ok_or(KeyFileError::Locked)?),
    }
}

/// The key that a passphrase makes, which costs as much as is said.
pub(crate) fn argon2id(
    cost: Cost,
    salt: &[u8; SALT_LEN],
    passphrase: &Passphrase,
) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(key.len()))
        .map_err(|_| KeyFileError::Parameters)?;
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(params.block_count()).map_err(|_| KeyFileError::OutOfMemory)?;
    memory.resize(params.block_count(), Block::default());
    let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        passphrase.0.as_bytes(),
        salt,
        &mut *key,
        &mut memory,
    );
    memory.zeroize();
    derived.map_err(|_| KeyFileError::Parameters)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::rng;

    const SEED: [u8; 32] = [7; 32];
    /// Where the three costs stand, for tests that change them.
    const COST_AT: usize = 20;
    /// Cheap enough to open a thousand times.
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    fn plain() -> Vec<u8> {
        seal(&Seed::from_bytes(SEED), None, &mut rng(1)).unwrap()
    }

    /// A file under `passphrase` that costs little, made by the functions that make all of them.
    fn cheap(text: &str) -> Vec<u8> {
        let lock = Lock::Argon2id { cost: CHEAP, salt: [3; SALT_LEN] };
        seal_with(&Seed::from_bytes(SEED), &lock, &[4; NONCE_LEN], Some(&passphrase(text))).unwrap()
    }

    /// The same of an identity that took the place of another.
    fn rotated(text: &str) -> Vec<u8> {
        let lock = Lock::Argon2id { cost: CHEAP, salt: [3; SALT_LEN] };
        let seed = Seed::with_home(SEED, [9; 32]);
        seal_with(&seed, &lock, &[4; NONCE_LEN], Some(&passphrase(text))).unwrap()
    }

    fn opened(file: &[u8], text: Option<&str>) -> Result<[u8; 32], KeyFileError> {
        open(file, text.map(passphrase).as_ref()).map(|seed| *seed.as_bytes())
    }

    #[test]
    fn a_file_without_a_passphrase_opens_without_one() {
        let file = plain();
        assert_eq!(file.len(), KEY_FILE_LEN);
        assert_eq!(is_locked(&file), Ok(false));
        assert_eq!(opened(&file, None), Ok(SEED));
        assert_eq!(opened(&file, Some("not needed")), Ok(SEED));
    }

    #[test]
    fn a_file_with_a_passphrase_costs_what_the_design_says_and_opens_with_it_only() {
        let file = seal(&Seed::from_bytes(SEED), Some(&passphrase("right")), &mut rng(1)).unwrap();
        assert_eq!(file.len(), KEY_FILE_LEN);
        assert_eq!(file[COST_AT..COST_AT + 12], [0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1]);
        assert_eq!(is_locked(&file), Ok(true));
        assert_eq!(opened(&file, None), Err(KeyFileError::Locked));
        assert_eq!(opened(&file, Some("right")), Ok(SEED));
        assert_eq!(opened(&file, Some("wrong")), Err(KeyFileError::WrongPassphrase));
        assert!(!file.windows(8).any(|window| SEED.starts_with(window)));
    }

    #[test]
    fn a_file_of_an_identity_that_took_the_place_of_another_opens_its_home_as_well() {
        let old = Seed::from_bytes([1; 32]);
        let new = old.successor(&mut rng(1)).unwrap();
        let file = seal(&new, None, &mut rng(2)).unwrap();
        assert_eq!((file.len(), file[16]), (KEY_FILE_MAX, 2));
        let found = open(&file, None).unwrap();
        assert_eq!((found.as_bytes(), found.home()), (new.as_bytes(), new.home()));
        let locked = rotated("right");
        assert_eq!((is_locked(&locked), locked.len()), (Ok(true), KEY_FILE_MAX));
        assert_eq!(opened(&locked, Some("right")), Ok(SEED));
        assert_eq!(opened(&locked, Some("wrong")), Err(KeyFileError::WrongPassphrase));
        assert_eq!(open(&locked, Some(&passphrase("right"))).unwrap().home(), Some(&[9; 32]));
    }

    #[test]
    fn a_wrong_passphrase_is_refused_however_close() {
        let file = cheap("right");
        assert_eq!(opened(&file, Some("right")), Ok(SEED));
        for wrong in ["", "righ", "right ", "Right", "right\0"] {
            assert_eq!(opened(&file, Some(wrong)), Err(KeyFileError::WrongPassphrase), "{wrong:?}");
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let files = [(plain(), None), (cheap("right"), Some("right")), (rotated("right"), Some("right"))];
        for (file, text) in files {
            for bit in 0..file.len() * 8 {
                let mut flipped = file.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(opened(&flipped, text).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn another_length_is_no_key_file() {
        for file in [plain(), cheap("right"), rotated("right")] {
            for length in 0..file.len() {
                assert_eq!(opened(&file[..length], None), Err(KeyFileError::NotAKeyFile), "{length}");
            }
            let longer = [&file[..], &[0]].concat();
            assert_eq!(opened(&longer, None), Err(KeyFileError::NotAKeyFile));
            assert_eq!(is_locked(&longer), Err(KeyFileError::NotAKeyFile));
        }
    }

    #[test]
    fn each_part_of_the_head_has_its_error() {
        let with = |at: usize, byte: u8| {
            let mut file = plain();
            file[at] = byte;
            opened(&file, None)
        };
        assert_eq!(with(0, b'P'), Err(KeyFileError::NotAKeyFile));
        assert_eq!(with(16, 2), Err(KeyFileError::NotAKeyFile), "too short for that version");
        assert_eq!(with(16, 3), Err(KeyFileError::Version(3)));
        assert_eq!(with(16, 0), Err(KeyFileError::Version(0)));
        assert_eq!(with(17, 2), Err(KeyFileError::Parameters));
        assert_eq!(with(18, 1), Err(KeyFileError::Parameters));
        assert_eq!(with(KEY_FILE_LEN - 1, 0), Err(KeyFileError::Damaged));
    }

    #[test]
    fn a_file_that_asks_for_too_much_is_refused_before_anything_is_spent() {
        let with = |cost: [u32; 3]| {
            let mut file = cheap("right");
            let bytes = cost.map(u32::to_be_bytes).concat();
            file[COST_AT..COST_AT + 12].copy_from_slice(&bytes);
            (is_locked(&file), opened(&file, Some("right")))
        };
        let refused = (Err(KeyFileError::Parameters), Err(KeyFileError::Parameters));
        for cost in [
            [MAX_COST.memory_kib + 1, 1, 1],
            [u32::MAX, 1, 1],
            [8, MAX_COST.passes + 1, 1],
            [8, u32::MAX, 1],
            [64, 1, MAX_COST.lanes + 1],
            [u32::MAX, u32::MAX, u32::MAX],
        ] {
            assert_eq!(with(cost), refused, "{cost:?}");
        }
        // Less than Argon2 can compute with: known only when it is asked to.
        for cost in [[0, 0, 0], [7, 1, 1], [8, 0, 1], [8, 1, 0], [8, 1, 2]] {
            assert_eq!(with(cost), (Ok(true), Err(KeyFileError::Parameters)), "{cost:?}");
        }
        assert_eq!(with([8, 1, 1]), (Ok(true), Ok(SEED)));
    }

    #[test]
    fn two_files_of_one_seed_look_different() {
        let seed = Seed::from_bytes(SEED);
        let sealed = |seed_of_rng| seal(&seed, None, &mut rng(seed_of_rng)).unwrap();
        assert_ne!(sealed(1)[HEADER_LEN..], sealed(2)[HEADER_LEN..]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&bytes, None).is_err());
            let with_head = [&MAGIC[..], &[1, 0, 0, 0], &bytes].concat();
            prop_assert!(open(&with_head, None).is_err());
            let with_head = [&MAGIC[..], &[2, 0, 0, 0], &bytes].concat();
            prop_assert!(open(&with_head, None).is_err());
        }
    }
}
