//! The primitives under snow: x25519-dalek, chacha20poly1305 and blake2, one crypto stack in the
//! lock file, keys wiped, public keys of low order or in another spelling refused.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use rand::CryptoRng;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::aead::TAG_LEN;
use crate::curve::is_sound_x25519;
use crate::secret::random;

/// Length of a Curve25519 key and of a cipher key, in bytes (Noise sections 12.1 and 12.3).
const KEY_LEN: usize = 32;
/// BLAKE2s block and hash length, in bytes (Noise section 12.7).
const BLOCK_LEN: usize = 64;
const HASH_LEN: usize = 32;

/// Resolves `25519`, `ChaChaPoly` and `BLAKE2s`, nothing else.
pub(crate) struct Resolver {
    ephemeral: Option<Zeroizing<[u8; KEY_LEN]>>,
}

impl Resolver {
    /// Draws the one ephemeral key that a side of our handshakes needs. If it is nothing but zeros
    /// there is none, and the handshake ends where it is needed.
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        Self { ephemeral: random(rng).ok() }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneDraw(self.ephemeral.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<X25519>::default()),
            DHChoice::Curve448 => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::<Blake2s>::default()),
            HashChoice::Blake2b | HashChoice::SHA256 | HashChoice::SHA512 => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::<ChaChaPoly>::default()),
            CipherChoice::AESGCM => None,
        }
    }
}

/// Gives the ephemeral key once. A handshake that drew twice would not be one of ours.
struct OneDraw(Option<Zeroizing<[u8; KEY_LEN]>>);

impl Random for OneDraw {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.take().ok_or(Error::Rng)?;
        if dest.len() != bytes.len() {
            return Err(Error::Rng);
        }
        dest.copy_from_slice(&*bytes);
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    secret: Option<StaticSecret>,
    public: [u8; KEY_LEN],
}

impl X25519 {
    fn hold(&mut self, bytes: [u8; KEY_LEN]) {
        let secret = StaticSecret::from(bytes);
        self.public = PublicKey::from(&secret).to_bytes();
        self.secret = Some(secret);
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    /// Only 32 bytes can come (see `Setup`); with anything else no exchange succeeds.
    fn set(&mut self, privkey: &[u8]) {
        self.secret = None;
        if let Ok(bytes) = privkey.try_into() {
            self.hold(bytes);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(&mut *bytes)?;
        self.hold(*bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_ref().map_or(&[], |secret| secret.as_bytes())
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let (Some(secret), Some(public)) = (&self.secret, pubkey.first_chunk::<KEY_LEN>()) else {
            return Err(Error::Dh);
        };
        if !is_sound_x25519(public) {
            return Err(Error::Dh);
        }
        let shared = secret.diffie_hellman(&PublicKey::from(*public));
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        let out = out.first_chunk_mut::<KEY_LEN>().ok_or(Error::Dh)?;
        out.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

#[derive(Default)]
struct ChaChaPoly {
    key: Zeroizing<[u8; KEY_LEN]>,
}

impl ChaChaPoly {
    fn aead(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.key).into())
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        *self.key = *key;
    }

    #[expect(
        clippy::expect_used,
        reason = "snow has checked that a tag fits, and 64 KiB is its largest message"
    )]
    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (buffer, rest) = out.split_at_mut_checked(plaintext.len()).expect("room for the ciphertext");
        buffer.copy_from_slice(plaintext);
        #[cfg(any(test, feature = "simulation"))]
        crate::ledger::note(
            || crate::ledger::Fingerprint::of(&self.key),
            noise_nonce(nonce),
            authtext,
            plaintext,
        );
        let tag = self
            .aead()
            .encrypt_inout_detached(&Nonce::from(noise_nonce(nonce)), authtext, buffer.into())
            .expect("a message of at most 64 KiB");
        rest.first_chunk_mut::<TAG_LEN>().expect("room for the tag").copy_from_slice(&tag);
        plaintext.len().saturating_add(TAG_LEN)
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (body, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(Error::Decrypt)?;
        let buffer = out.get_mut(..body.len()).ok_or(Error::Decrypt)?;
        buffer.copy_from_slice(body);
        self.aead()
            .decrypt_inout_detached(
                &Nonce::from(noise_nonce(nonce)),
                authtext,
                (&mut *buffer).into(),
                &Tag::from(*tag),
            )
            .map_err(|_| Error::Decrypt)?;
        Ok(body.len())
    }
}

/// 32 bits of zeros and the counter, little-endian (Noise section 12.3).
pub(crate) const fn noise_nonce(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

#[derive(Default)]
struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn hash_len(&self) -> usize {
        HASH_LEN
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    #[expect(clippy::expect_used, reason = "snow hands over its buffers of MAXHASHLEN, 64 bytes")]
    fn result(&mut self, out: &mut [u8]) {
        let hash = core::mem::take(&mut self.0).finalize();
        out.first_chunk_mut::<HASH_LEN>().expect("room for the hash").copy_from_slice(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Recorded, rng};

    #[test]
    fn a_public_key_that_is_weak_or_misspelled_ends_the_exchange() {
        let mut dh = X25519::default();
        dh.set(&[7; 32]);
        let mut misspelled = [0xff; 32];
        misspelled[31] = 0x7f;
        let mut one = [0; 32];
        one[0] = 1;
        for key in [[0; 32], one, misspelled] {
            let mut out = [0xaa; 56];
            assert_eq!(dh.dh(&key, &mut out), Err(Error::Dh));
            assert_eq!(out, [0xaa; 56]);
        }
    }

    #[test]
    fn a_private_key_of_another_length_is_no_key() {
        let mut dh = X25519::default();
        for length in [0, 31, 33, 57] {
            dh.set(&vec![7; length]);
            assert_eq!(dh.dh(&[9; 32], &mut [0; 56]), Err(Error::Dh), "{length}");
        }
        dh.set(&[7; 32]);
        assert_eq!(dh.dh(&[9; 31], &mut [0; 56]), Err(Error::Dh));
        assert_eq!(dh.dh(&[9; 32], &mut [0; 56]), Ok(()));
    }

    #[test]
    fn an_ephemeral_key_is_given_once() {
        let mut random = Resolver::new(&mut rng(1)).resolve_rng().unwrap();
        let mut key = [0; 32];
        assert_eq!(random.try_fill_bytes(&mut key), Ok(()));
        assert_ne!(key, [0; 32]);
        assert_eq!(random.try_fill_bytes(&mut key), Err(Error::Rng));
    }

    #[test]
    fn an_ephemeral_key_of_zeros_is_never_given() {
        let mut random = Resolver::new(&mut Recorded(vec![0; 32])).resolve_rng().unwrap();
        let mut key = [7; 32];
        assert_eq!(random.try_fill_bytes(&mut key), Err(Error::Rng));
        assert_eq!(key, [7; 32]);
    }

    #[test]
    fn only_what_our_patterns_name_is_resolved() {
        let resolver = Resolver::new(&mut rng(1));
        assert!(resolver.resolve_dh(&DHChoice::Curve448).is_none());
        assert!(resolver.resolve_cipher(&CipherChoice::AESGCM).is_none());
        for hash in [HashChoice::Blake2b, HashChoice::SHA256, HashChoice::SHA512] {
            assert!(resolver.resolve_hash(&hash).is_none());
        }
    }

    #[test]
    fn each_primitive_has_the_name_and_the_lengths_that_noise_gives_it() {
        let mut dh = X25519::default();
        assert_eq!((dh.name(), dh.pub_len(), dh.priv_len()), ("25519", 32, 32));
        assert!(dh.privkey().is_empty(), "no key, and none is made up");
        dh.set(&[7; 32]);
        assert_eq!(dh.privkey(), [7; 32]);
        assert_eq!(dh.pubkey(), PublicKey::from(&StaticSecret::from([7; 32])).as_bytes());
        let hash = Blake2s::default();
        assert_eq!((hash.name(), hash.block_len(), hash.hash_len()), ("BLAKE2s", 64, 32));
        assert_eq!(ChaChaPoly::default().name(), "ChaChaPoly");
    }

    #[test]
    fn a_hash_that_is_reset_forgets_what_was_put_in() {
        let hash_of = |used: bool| {
            let mut hash = Blake2s::default();
            if used {
                hash.input(b"before");
                hash.reset();
            }
            hash.input(b"abc");
            let mut out = [0; 64];
            hash.result(&mut out);
            out
        };
        assert_eq!(hash_of(true), hash_of(false));
    }

    #[test]
    fn an_ephemeral_key_has_the_length_that_was_asked_for_or_is_not_given() {
        for length in [0, 31, 33] {
            let mut random = Resolver::new(&mut rng(1)).resolve_rng().unwrap();
            assert_eq!(random.try_fill_bytes(&mut vec![0; length]), Err(Error::Rng), "{length}");
        }
    }

    #[test]
    fn a_ciphertext_shorter_than_its_tag_or_than_its_room_is_refused() {
        let cipher = ChaChaPoly::default();
        assert_eq!(cipher.decrypt(0, &[], &[0; 15], &mut [0; 64]), Err(Error::Decrypt));
        let mut sealed = [0; 20];
        assert_eq!(cipher.encrypt(0, b"ad", b"four", &mut sealed), 20);
        assert_eq!(cipher.decrypt(0, b"ad", &sealed, &mut [0; 3]), Err(Error::Decrypt));
        assert_eq!(cipher.decrypt(1, b"ad", &sealed, &mut [0; 4]), Err(Error::Decrypt));
        let mut opened = [0; 4];
        assert_eq!(cipher.decrypt(0, b"ad", &sealed, &mut opened), Ok(4));
        assert_eq!(&opened, b"four");
    }
}
