//! Sealing of everything that is sent in bulk: datagrams, file records, broker records.
//!
//! Through aws-lc-rs, which is 4 to 10 times as fast as the portable crates. The caller owns the
//! nonce and sees to it that none comes twice under one key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::introduction::Suite;
use crate::schedule::{IV_LEN, SealingKey};

/// Length of an AEAD tag, in bytes (RFC 8439 section 2.8; NIST SP 800-38D with its longest tag).
pub const TAG_LEN: usize = 16;

/// One key of one AEAD. aws-lc wipes it when it is dropped.
pub(crate) struct Aead {
    key: LessSafeKey,
    #[cfg(any(test, feature = "simulation"))]
    fingerprint: crate::ledger::Fingerprint,
}

impl Aead {
    #[expect(clippy::expect_used, reason = "fails only for a key that is not 32 bytes")]
    pub(crate) fn new(suite: Suite, key: &SealingKey) -> Self {
        let algorithm: &'static Algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key.as_bytes()).expect("a key of 32 bytes")),
            #[cfg(any(test, feature = "simulation"))]
            fingerprint: crate::ledger::Fingerprint::of(key.as_bytes()),
        }
    }

    /// Turns `buffer` into ciphertext and returns its tag.
    #[expect(clippy::expect_used, reason = "fails only past the 2^36 bytes that one nonce may seal")]
    pub(crate) fn seal(&self, nonce: [u8; IV_LEN], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        #[cfg(any(test, feature = "simulation"))]
        crate::ledger::note(|| self.fingerprint, nonce, aad, buffer);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
        let tag = sealed.expect("a buffer far below 64 GiB");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// The plaintext of `buffer`, ciphertext and tag, if it is authentic. Otherwise what is in
    /// `buffer` means nothing any more.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; IV_LEN],
        aad: &[u8],
        buffer: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), buffer).ok()
    }
}
