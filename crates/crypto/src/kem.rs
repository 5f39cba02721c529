//! ML-KEM-768 (FIPS 203) through aws-lc-rs, which draws its randomness from the system itself.
//!
//! So the live exchange is a value: [`KemKeys`] for the one who asks, [`Encapsulated`] for the one
//! who accepts. What is done with them does not know where they came from, and a recorded
//! exchange can take their place.

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use p2pchat_proto::offer::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN};
use zeroize::Zeroizing;

/// The modulus of ML-KEM (FIPS 203 section 2.4).
const MODULUS: u16 = 3329;
/// Bytes of an encapsulation key that are coefficients of 12 bits; a seed of 32 bytes follows.
const COEFFICIENTS_LEN: usize = KEM_KEY_LEN - 32;

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

    /// A private key that somebody else made, without its public half.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn restore(key: &[u8]) -> Option<Self> {
        let decapsulation = DecapsulationKey::new(&ML_KEM_768, key).ok()?;
        Some(Self { decapsulation, encapsulation: Vec::new() })
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
        let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| KemFailed)?;
        let (ciphertext, secret) = key.encapsulate().map_err(|_| KemFailed)?;
        Ok(Self { ciphertext: ciphertext.as_ref().to_vec(), secret: shared(secret.as_ref())? })
    }
}

/// Whether `key` passes the type and modulus checks of an encapsulation key (FIPS 203 section
/// 7.2). The library makes the second one only when it encapsulates; here a person is asked only
/// about a request that can be accepted.
pub(crate) fn is_encapsulation_key(key: &[u8]) -> bool {
    let Some((coefficients, _seed)) = key.split_at_checked(COEFFICIENTS_LEN) else { return false };
    key.len() == KEM_KEY_LEN
        && coefficients.as_chunks::<3>().0.iter().all(|&[a, b, c]| {
            let first = u16::from(a) | u16::from(b & 0x0f) << 8;
            let second = u16::from(b >> 4) | u16::from(c) << 4;
            first < MODULUS && second < MODULUS
        })
}

fn shared(secret: &[u8]) -> Result<Zeroizing<[u8; 32]>, KemFailed> {
    secret.try_into().map(Zeroizing::new).map_err(|_| KemFailed)
}

/// One exchange that was recorded once, for golden vectors and for simulations that a seed replays.
#[cfg(any(test, feature = "simulation"))]
pub(crate) mod recorded {
    use super::*;
    use crate::vectors::Vectors;

    const EXCHANGE: &str = include_str!("../tests/vectors/kem.txt");

    #[expect(clippy::expect_used, reason = "the recorded key is part of the source")]
    pub(crate) fn keys() -> KemKeys {
        let exchange = Vectors::parse(EXCHANGE);
        let decapsulation = DecapsulationKey::new(&ML_KEM_768, exchange.bytes("decapsulation_key"));
        KemKeys {
            decapsulation: decapsulation.expect("a recorded key"),
            encapsulation: exchange.bytes("encapsulation_key").to_vec(),
        }
    }

    #[expect(clippy::expect_used, reason = "the recorded secret is part of the source")]
    pub(crate) fn encapsulated() -> Encapsulated {
        let exchange = Vectors::parse(EXCHANGE);
        Encapsulated {
            ciphertext: exchange.bytes("ciphertext").to_vec(),
            secret: shared(exchange.bytes("secret")).expect("a recorded secret"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_exchange_gives_its_secret() {
        let secret = recorded::keys().decapsulate(&recorded::encapsulated().ciphertext).unwrap();
        assert_eq!(secret, recorded::encapsulated().secret);
    }

    #[test]
    fn a_live_exchange_gives_both_sides_one_secret_of_its_own() {
        let keys = KemKeys::generate().unwrap();
        let one = Encapsulated::to(keys.encapsulation_key()).unwrap();
        let two = Encapsulated::to(keys.encapsulation_key()).unwrap();
        assert_eq!(keys.decapsulate(&one.ciphertext).unwrap(), one.secret);
        assert_ne!(one.secret, two.secret);
    }

    #[test]
    fn a_damaged_ciphertext_gives_another_secret_and_no_error() {
        let mut damaged = recorded::encapsulated();
        damaged.ciphertext[0] ^= 1;
        assert_ne!(recorded::keys().decapsulate(&damaged.ciphertext).unwrap(), damaged.secret);
    }

    #[test]
    fn a_ciphertext_of_another_length_is_refused() {
        for length in [0, 1, KEM_CIPHERTEXT_LEN - 1, KEM_CIPHERTEXT_LEN + 1] {
            assert_eq!(recorded::keys().decapsulate(&vec![7; length]), Err(KemFailed), "{length}");
        }
    }

    #[test]
    fn our_check_of_keys_agrees_with_the_library_on_every_coefficient() {
        let good = KemKeys::generate().unwrap().encapsulation_key().to_vec();
        assert!(is_encapsulation_key(&good));
        for length in [0, KEM_KEY_LEN - 1, KEM_KEY_LEN + 1] {
            assert!(!is_encapsulation_key(&vec![0; length]), "{length}");
            assert!(Encapsulated::to(&vec![0; length]).is_err(), "{length}");
        }
        assert!(!is_encapsulation_key(&[0xff; KEM_KEY_LEN]));
        assert!(Encapsulated::to(&[0xff; KEM_KEY_LEN]).is_err());
        // The first coefficient of a triple, then the second: one below the modulus, then at it.
        let triples = [
            ([0x00, 0x0d, 0x00], true),
            ([0x01, 0x0d, 0x00], false),
            ([0, 0, 0xd0], true),
            ([0, 0x10, 0xd0], false),
        ];
        for at in [0, 3, COEFFICIENTS_LEN - 3] {
            for (triple, allowed) in triples {
                let mut key = good.clone();
                key[at..at + 3].copy_from_slice(&triple);
                assert_eq!(is_encapsulation_key(&key), allowed, "{triple:?} at {at}");
                assert_eq!(Encapsulated::to(&key).is_ok(), allowed, "{triple:?} at {at}");
            }
        }
    }
}
