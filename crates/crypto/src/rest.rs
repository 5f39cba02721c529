//! Sealing of what rests on this machine, under a key that only the identity's seed gives.
//!
//! ```text
//! nonce [24] | ciphertext | tag [16]
//! ```
//!
//! XChaCha20-Poly1305, whose nonces are long enough to be drawn at random.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::aead::TAG_LEN;
use crate::schedule::{StoreKey, StoreNames, store_names};
use crate::secret::{RandomnessFailed, random};

const NONCE_LEN: usize = 24;

/// What sealing adds, in bytes.
pub const SEAL_LEN: usize = NONCE_LEN + TAG_LEN;

/// Bytes of a name: as many things of one store would have to rest in it before two share one as there
/// are blocks under one key of AES.
pub const NAME_LEN: usize = 16;

/// What was sealed does not open: it is damaged, or another identity's, or for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSealedHere;

impl core::fmt::Display for NotSealedHere {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("damaged, or sealed by another identity")
    }
}

impl core::error::Error for NotSealedHere {}

impl StoreKey {
    /// Seals the parts, one after the other, to be opened with the same `purpose` only.
    ///
    /// # Errors
    /// If the source of randomness gives nothing but zeros.
    pub fn seal(
        &self,
        purpose: &[u8],
        parts: &[&[u8]],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, RandomnessFailed> {
        let nonce = random::<NONCE_LEN>(rng)?;
        // Whole from the start: growing would leave a copy behind.
        let length = parts.iter().fold(TAG_LEN, |length, part| length.saturating_add(part.len()));
        let mut sealed = Zeroizing::new(Vec::with_capacity(length));
        parts.iter().for_each(|part| sealed.extend_from_slice(part));
        // Fails only past the 2^38 bytes that one nonce may seal.
        XChaCha20Poly1305::new(self.as_bytes().into())
            .encrypt_in_place(&XNonce::from(*nonce), purpose, &mut *sealed)
            .map_err(|_| RandomnessFailed)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The content of what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`NotSealedHere`].
    pub fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotSealedHere> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotSealedHere)?;
        let mut content = Zeroizing::new(sealed.to_vec());
        XChaCha20Poly1305::new(self.as_bytes().into())
            .decrypt_in_place(&XNonce::from(*nonce), purpose, &mut *content)
            .map_err(|_| NotSealedHere)?;
        Ok(content)
    }
}

impl StoreKey {
    /// The key of names, which are no secret in themselves, but tell nothing without it.
    pub fn names(&self) -> StoreNames {
        store_names(self)
    }
}

impl StoreNames {
    /// The name under which the part `number` of `what` rests.
    pub fn name(&self, what: &[u8], number: u64) -> [u8; NAME_LEN] {
        let mut hasher = blake3::Hasher::new_keyed(self.as_bytes());
        // Of fixed length at the end, so that the two can be read in one way only.
        hasher.update(what).update(&number.to_be_bytes());
        let mut name = [0; NAME_LEN];
        hasher.finalize_xof().fill(&mut name);
        hasher.zeroize();
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Recorded, identity, rng};

    #[test]
    fn what_was_sealed_opens_for_the_same_identity_and_purpose_only() {
        let (mine, other) = (identity(1), identity(2));
        let sealed = mine.store().seal(b"pins", &[b"con", b"tent"], &mut rng(1)).unwrap();
        assert_eq!(sealed.len(), 7 + SEAL_LEN);
        assert_eq!(**mine.store().open(b"pins", &sealed).unwrap(), *b"content");
        assert_eq!(mine.store().open(b"pin", &sealed).unwrap_err(), NotSealedHere);
        assert_eq!(other.store().open(b"pins", &sealed).unwrap_err(), NotSealedHere);
        let again = mine.store().seal(b"pins", &[b"con", b"tent"], &mut rng(2)).unwrap();
        assert_ne!(again, sealed);
    }

    #[test]
    fn no_flipped_bit_and_no_shorter_piece_opens() {
        let mine = identity(1);
        let sealed = mine.store().seal(b"pins", &[b"con", b"tent"], &mut rng(1)).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mine.store().open(b"pins", &flipped).unwrap_err(), NotSealedHere);
        }
        for length in 0..sealed.len() {
            assert_eq!(mine.store().open(b"pins", &sealed[..length]).unwrap_err(), NotSealedHere);
        }
    }

    #[test]
    fn nothing_is_sealed_with_a_nonce_of_zeros() {
        let sealed = identity(1).store().seal(b"pins", &[b"con", b"tent"], &mut Recorded(vec![0; 24]));
        assert_eq!(sealed.unwrap_err(), RandomnessFailed);
    }

    #[test]
    fn a_name_tells_the_identity_the_thing_and_its_number_apart() {
        let (mine, other) = (identity(1).store().names(), identity(2).store().names());
        let names = [
            mine.name(b"log", 0),
            mine.name(b"log", 1),
            mine.name(b"log\0\0\0\0\0\0\0\0", 0),
            mine.name(b"head", 0),
            other.name(b"log", 0),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{at}");
        }
        assert_eq!(identity(1).store().names().name(b"log", 1), names[1]);
    }
}
