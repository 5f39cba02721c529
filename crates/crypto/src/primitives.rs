//! The primitives with the checks that every part of this crate makes, one by one, for published
//! vectors. Nothing of the product calls these.

use p2pchat_proto::PeerId;

use crate::aead::Aead;
use crate::identity;
use crate::introduction::Suite;
use crate::kem::{self, Encapsulated, KemKeys};
use crate::schedule::SealingKey;

/// Whether `peer` signed `message`, as for offers and hellos, but without a label.
pub fn verify(peer: PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
    identity::verify_bytes(peer, message, signature)
}

/// Ciphertext and tag of `plaintext`, as for packets and records.
pub fn seal(suite: Suite, key: [u8; 32], nonce: [u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = plaintext.to_vec();
    let tag = Aead::new(suite, &SealingKey::new(key)).seal(nonce, aad, &mut sealed);
    sealed.extend(tag);
    sealed
}

/// The plaintext of `sealed`, ciphertext and tag, if it is authentic.
pub fn open(suite: Suite, key: [u8; 32], nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = sealed.to_vec();
    let opened = Aead::new(suite, &SealingKey::new(key)).open(nonce, aad, &mut buffer);
    opened.map(|plaintext| plaintext.to_vec())
}

/// Whether somebody would be asked about a request with this ML-KEM-768 key.
pub fn is_encapsulation_key(key: &[u8]) -> bool {
    kem::is_encapsulation_key(key)
}

/// A ciphertext for the holder of `key`, and the secret in it.
pub fn encapsulate(key: &[u8]) -> Option<(Vec<u8>, [u8; 32])> {
    Encapsulated::to(key).ok().map(|made| (made.ciphertext, *made.secret))
}

/// The secret in `ciphertext` for the private key `key`, in FIPS 203's expanded form.
pub fn decapsulate(key: &[u8], ciphertext: &[u8]) -> Option<[u8; 32]> {
    KemKeys::restore(key)?.decapsulate(ciphertext).ok().map(|secret| *secret)
}
