//! Who somebody is: one seed, an Ed25519 key that signs and an X25519 key for Noise.

use ed25519_dalek::{Signature, Signer, SigningKey};
use p2pchat_proto::PeerId;
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::curve::verifying_key;
use crate::schedule::{self, StoreKey};
use crate::secret::{RandomnessFailed, random, redacted};

/// What an identity comes from; the only thing that is kept on disk. One that took the place of another
/// ([`Seed::successor`]) has with it what seals the home, which stays as it was.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed {
    bytes: [u8; 32],
    home: Option<[u8; 32]>,
}

redacted!(Seed, Identity);

impl Seed {
    /// A new seed.
    ///
    /// # Errors
    /// If the source of randomness gives nothing but zeros.
    pub fn generate(rng: &mut dyn CryptoRng) -> Result<Self, RandomnessFailed> {
        random(rng).map(|bytes| Self::from_bytes(*bytes))
    }

    /// A new seed for whoever has this one: another identity, for which everything that rests on this
    /// machine stays sealed as it is.
    ///
    /// # Errors
    /// If the source of randomness gives nothing but zeros.
    pub fn successor(&self, rng: &mut dyn CryptoRng) -> Result<Self, RandomnessFailed> {
        random(rng).map(|bytes| self.successor_from(*bytes))
    }

    /// The seed that these 32 bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, home: None }
    }

    /// The successor that these bytes are, as they were kept.
    pub fn successor_from(&self, bytes: [u8; 32]) -> Self {
        Self::with_home(bytes, *schedule::store_key(self).as_bytes())
    }

    /// The same with what seals its home.
    pub(crate) const fn with_home(bytes: [u8; 32], home: [u8; 32]) -> Self {
        Self { bytes, home: Some(home) }
    }

    /// The bytes of this seed, to be sealed before they are kept.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// What seals the home, where that does not come from the seed.
    pub(crate) const fn home(&self) -> Option<&[u8; 32]> {
        self.home.as_ref()
    }
}

/// A key pair that signs, with the static key pair for Noise that belongs to it.
pub struct Identity {
    signing: SigningKey,
    peer_id: PeerId,
    noise: StaticSecret,
    noise_public: [u8; 32],
    store: StoreKey,
}

impl Identity {
    /// The identity of a seed, always the same.
    pub fn from_seed(seed: &Seed) -> Self {
        let signing = SigningKey::from_bytes(schedule::identity_seed(seed).as_bytes());
        let noise = StaticSecret::from(*schedule::noise_static(seed).as_bytes());
        let peer_id = PeerId(signing.verifying_key().to_bytes());
        let noise_public = PublicKey::from(&noise).to_bytes();
        Self { signing, peer_id, noise, noise_public, store: schedule::store_key(seed) }
    }

    /// The public key by which others know it.
    pub const fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The X25519 public key for Noise. It travels only in signed offers.
    pub const fn noise_public(&self) -> [u8; 32] {
        self.noise_public
    }

    /// What seals everything of this identity that rests on a disk.
    pub const fn store(&self) -> &StoreKey {
        &self.store
    }

    pub(crate) const fn noise_secret(&self) -> &StaticSecret {
        &self.noise
    }

    /// Signs `body` under a label, so that what was signed for one purpose serves no other.
    pub(crate) fn sign(&self, label: Label, body: &[u8]) -> [u8; 64] {
        self.signing.sign(&labelled(label, body)).to_bytes()
    }
}

/// Whether `peer` can be anybody's identity: a canonical point of large order. To be asked where
/// one is typed in or imported.
pub fn is_possible(peer: PeerId) -> bool {
    verifying_key(peer).is_some()
}

/// What a signature is for (protocol section 13).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Label {
    /// The first message on a broker link.
    Hello,
    /// An offer to another identity.
    Offer,
    /// One identity takes the place of another.
    Rotate,
}

impl Label {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Hello => b"p2pchat 1 hello",
            Self::Offer => b"p2pchat 1 offer",
            Self::Rotate => b"p2pchat 1 rotate",
        }
    }
}

/// Whether `peer` signed `body` under `label` (strict verification, RFC 8032 section 5.1.7 without
/// the cofactor, keys and nonces of small order refused).
pub(crate) fn verify(peer: PeerId, label: Label, body: &[u8], signature: &[u8; 64]) -> bool {
    verify_bytes(peer, &labelled(label, body), signature)
}

/// The same for a message as it is.
pub(crate) fn verify_bytes(peer: PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
    let Some(key) = verifying_key(peer) else { return false };
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

/// `u8 length of label | label | body` (protocol section 2).
fn labelled(label: Label, body: &[u8]) -> Vec<u8> {
    let label = label.bytes();
    let length = u8::try_from(label.len()).unwrap_or(u8::MAX);
    [&[length], label, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Recorded, identity, rng};

    #[test]
    fn a_seed_always_gives_the_same_identity_and_another_seed_another() {
        let (one, again, two) = (identity(1), identity(1), identity(2));
        assert_eq!((one.peer_id(), one.noise_public()), (again.peer_id(), again.noise_public()));
        assert_ne!(one.peer_id(), two.peer_id());
        assert_ne!(one.noise_public(), two.noise_public());
        assert!(is_possible(one.peer_id()));
        assert!(!is_possible(PeerId([0; 32])));
    }

    #[test]
    fn a_successor_is_somebody_else_who_opens_the_same_home() {
        let seed = Seed::from_bytes([1; 32]);
        let next = seed.successor(&mut rng(1)).unwrap();
        let third = next.successor(&mut rng(2)).unwrap();
        let [old, new, newest] = [&seed, &next, &third].map(Identity::from_seed);
        assert!(old.peer_id() != new.peer_id() && new.peer_id() != newest.peer_id());
        assert_ne!(old.noise_public(), new.noise_public());
        assert_eq!(old.store().as_bytes(), newest.store().as_bytes());
        let alone = Identity::from_seed(&Seed::from_bytes(*next.expose()));
        assert_eq!(alone.peer_id(), new.peer_id());
        assert_ne!(alone.store().as_bytes(), new.store().as_bytes());
        assert!(seed.successor(&mut Recorded(vec![0; 32])).is_err());
    }

    #[test]
    fn a_source_of_nothing_but_zeros_makes_no_seed() {
        assert_eq!(Seed::generate(&mut Recorded(vec![0; 32])).unwrap_err(), RandomnessFailed);
        assert!(Seed::generate(&mut rng(1)).is_ok());
    }

    #[test]
    fn a_signature_is_of_one_signer_label_and_body() {
        let (one, two) = (identity(1), identity(2));
        let signature = one.sign(Label::Offer, b"body");
        assert!(verify(one.peer_id(), Label::Offer, b"body", &signature));
        assert!(!verify(two.peer_id(), Label::Offer, b"body", &signature));
        assert!(!verify(one.peer_id(), Label::Hello, b"body", &signature));
        assert!(!verify(one.peer_id(), Label::Offer, b"bodys", &signature));
        assert_eq!(labelled(Label::Offer, b"body"), b"\x0fp2pchat 1 offerbody");
    }
}
