//! ML-KEM-768 (FIPS 203) through aws-lc-rs, which draws its randomness from the system itself.
//!
//! So the live exchange is a value: [`KemKeys`] for the one who asks, [`Encapsulated`] for the one
//! who accepts. What is done with them does not know where they came from, and a recorded
//! exchange can take their place.

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use p2pchat_proto::offer::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN};
use zeroize::Zeroizing;

/// The library refused: a key that is none, a ciphertext of a wrong length, or no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KemFailed;

/// A key pair for one request.
pub(crate) struct KemKeys {
    decapsulation: DecapsulationKey,
    encapsulation: Vec<u8>,
}

/// A secret and the ciphertext that carries it.
pub(crate) struct Encapsulated {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) secret: Zeroizing<[u8; 32]>,
}

impl KemKeys {
    pub(crate) fn generate() -> Result<Self, KemFailed> {
        let decapsulation = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| KemFailed)?;
        let key = decapsulation.encapsulation_key().map_err(|_| KemFailed)?;
        let encapsulation = key.key_bytes().map_err(|_| KemFailed)?.as_ref().to_vec();
        Ok(Self { decapsulation, encapsulation })
    }

    /// The public half, [`KEM_KEY_LEN`] bytes.
    pub(crate) fn encapsulation_key(&self) -> &[u8] {
        &self.encapsulation
    }

    /// The secret in `ciphertext`. A damaged one of the right length gives another secret and no
    /// error (FIPS 203 section 6.3): that shows when the peer's endpoints do not open.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<[u8; 32]>, KemFailed> {
        if ciphertext.len() != KEM_CIPHERTEXT_LEN {
            return Err(KemFailed);
        }
        let secret = self.decapsulation.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| KemFailed)?;
        shared(secret.as_ref())
    }
}

impl Encapsulated {
    /// A fresh secret for the holder of `key`.
    pub(crate) fn to(key: &[u8]) -> Result<Self, KemFailed> {
        if key.len() != KEM_KEY_LEN {
            return Err(KemFailed);
        }
        let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| KemFailed)?;
        let (ciphertext, secret) = key.encapsulate().map_err(|_| KemFailed)?;
        Ok(Self { ciphertext: ciphertext.as_ref().to_vec(), secret: shared(secret.as_ref())? })
    }
}

fn shared(secret: &[u8]) -> Result<Zeroizing<[u8; 32]>, KemFailed> {
    secret.try_into().map(Zeroizing::new).map_err(|_| KemFailed)
}
