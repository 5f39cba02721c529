//! Secrets as types: wiped when dropped, silent when printed.

use core::fmt;

use rand::rngs::StdRng;
use rand::{CryptoRng, SeedableRng, TryCryptoRng};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Implements a `Debug` that tells the type and nothing of the value.
macro_rules! redacted {
    ($($secret:ident),* $(,)?) => {
        $(impl core::fmt::Debug for $secret {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($secret), "(..)"))
            }
        })*
    };
}
pub(crate) use redacted;

/// A secret of 32 bytes for one purpose. It stays in one place: what moves, into a map or out of a
/// function, leaves its bytes behind where it was.
macro_rules! secret {
    ($(#[$doc:meta])* $vis:vis struct $name:ident;) => {
        $(#[$doc])*
        $vis struct $name(Box<[u8; 32]>);

        impl $name {
            #[allow(dead_code, reason = "some are only derived")]
            pub(crate) fn new(mut bytes: [u8; 32]) -> Self {
                let secret = Self(Box::new(bytes));
                zeroize::Zeroize::zeroize(&mut bytes);
                secret
            }

            #[allow(dead_code, reason = "some are only made of bytes")]
            pub(crate) const fn boxed(bytes: Box<[u8; 32]>) -> Self {
                Self(bytes)
            }

            pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl zeroize::Zeroize for $name {
            fn zeroize(&mut self) {
                self.0.as_mut_slice().zeroize();
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                zeroize::Zeroize::zeroize(self);
            }
        }

        impl zeroize::ZeroizeOnDrop for $name {}

        $crate::secret::redacted!($name);
    };
}
pub(crate) use secret;

/// The source of randomness gave nothing but zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomnessFailed;

impl fmt::Display for RandomnessFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's randomness failed")
    }
}

impl core::error::Error for RandomnessFailed {}

/// `N` random bytes, at least 16 of which cannot all be zero by chance.
pub(crate) fn random<const N: usize>(
    rng: &mut dyn CryptoRng,
) -> Result<Zeroizing<[u8; N]>, RandomnessFailed> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.fill_bytes(&mut *bytes);
    if is_zero(&bytes) { Err(RandomnessFailed) } else { Ok(bytes) }
}

/// Whether there is nothing but zeros, in a time that says nothing of where others are.
fn is_zero<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.ct_eq(&[0; N]).into()
}

/// A generator seeded by 32 bytes of `source`, the system's randomness. What a generator gives looks
/// random whatever its seed was, so here is the last place where a source that is broken can be
/// told.
///
/// # Errors
/// If the source fails or gives nothing but zeros.
pub fn generator<R: TryCryptoRng + ?Sized>(
    source: &mut R,
) -> Result<impl CryptoRng + use<R>, RandomnessFailed> {
    let mut seed = Zeroizing::new([0; 32]);
    source.try_fill_bytes(&mut *seed).map_err(|_| RandomnessFailed)?;
    if is_zero(&seed) { Err(RandomnessFailed) } else { Ok(StdRng::from_seed(*seed)) }
}

#[cfg(test)]
mod tests {
    use core::fmt::Debug;

    use super::{generator, random};
    use crate::carrier::{CarrierSecret, RecordOpener, RecordSealer};
    use crate::handshake::{Initiator, Responder};
    use crate::keyfile::Passphrase;
    use crate::link::{BrokerSecret, ClientHandshake, ServerHandshake};
    use crate::schedule::{EndpointKey, IntroductionSecret, MacKey, Psk, SealingKey, SessionSecret};
    use crate::testing::{Pair, Recorded, rng};
    use crate::{Seed, Suite};

    fn says_only(value: &dyn Debug, name: &str) {
        for text in [format!("{value:?}"), format!("{value:#?}")] {
            assert_eq!(text, format!("{name}(..)"));
        }
    }

    #[test]
    fn a_secret_that_is_printed_says_its_type_and_nothing_else() {
        let bytes = [7; 32];
        says_only(&Seed::from_bytes(bytes), "Seed");
        says_only(&Passphrase::new("secret".into()), "Passphrase");
        says_only(&BrokerSecret::from_bytes(bytes), "BrokerSecret");
        says_only(&CarrierSecret::from_bytes(bytes), "CarrierSecret");
        says_only(&IntroductionSecret::new(bytes), "IntroductionSecret");
        says_only(&Psk::new(bytes), "Psk");
        says_only(&MacKey::new(bytes), "MacKey");
        says_only(&EndpointKey::new(bytes), "EndpointKey");
        says_only(&SessionSecret::new(bytes), "SessionSecret");
        says_only(&SealingKey::new(bytes), "SealingKey");

        let pair = Pair::new();
        says_only(&*pair.alice, "Identity");
        says_only(&pair.request(), "PendingRequest");
        let (bobs, alices) = pair.introduced();
        says_only(&bobs, "Accepted");
        says_only(&bobs.introduction, "Introduction");
        says_only(&bobs.endpoints, "EndpointBox");

        let (initiator, first) = Initiator::start(&bobs.introduction, &pair.bob, &mut rng(1));
        says_only(&initiator, "Initiator");
        let responder = Responder::respond(&alices.introduction, &pair.alice, &first, &mut rng(2));
        let (responder, second) = responder.unwrap();
        says_only(&responder, "Responder");
        let (keys, _) = initiator.read_response(&second).unwrap();
        says_only(&keys, "SessionKeys");
        says_only(&keys.resumption(), "ResumptionSecret");
        let terms = crate::ResumptionTerms {
            me: pair.bob.peer_id(),
            peer: pair.alice.peer_id(),
            suite: Suite::Aes256Gcm,
            peer_noise: pair.alice.noise_public(),
        };
        says_only(&crate::Resumption::new(terms, &keys.resumption()).unwrap(), "Resumption");
        says_only(pair.alice.store(), "StoreKey");
        says_only(&pair.alice.store().names(), "StoreNames");
        let (rekey, _) = crate::rekey::Initiator::start(&keys, &pair.bob, &mut rng(3)).unwrap();
        says_only(&rekey, "Initiator");
        let epoch = keys.into_epoch();
        says_only(&epoch, "Epoch");
        says_only(&epoch.seal, "SealKey");
        says_only(&epoch.open, "OpenKey");

        let (client, first) = ClientHandshake::start(&mut rng(1));
        says_only(&client, "ClientHandshake");
        let secret = BrokerSecret::from_bytes(bytes);
        let (sealer, opener, ..) = ServerHandshake::respond(&secret, &first, &mut rng(2)).unwrap();
        says_only(&sealer, "LinkSealer");
        says_only(&opener, "LinkOpener");

        let transfer = p2pchat_proto::TransferId([1; 16]);
        let carrier = CarrierSecret::from_bytes(bytes);
        let sealer = RecordSealer::new(Suite::Aes256Gcm, &carrier, transfer, &[1; 16], &[2; 16]);
        says_only(&sealer, "RecordSealer");
        let opener = RecordOpener::new(Suite::Aes256Gcm, &carrier, transfer, &[1; 16], &[2; 16]);
        says_only(&opener, "RecordOpener");
    }

    /// A source that fails, or gives one byte again and again.
    struct Source(Option<u8>);

    impl rand::TryRng for Source {
        type Error = core::fmt::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            self.0.map(|byte| u32::from_ne_bytes([byte; 4])).ok_or(core::fmt::Error)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            self.0.map(|byte| u64::from_ne_bytes([byte; 8])).ok_or(core::fmt::Error)
        }

        fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Self::Error> {
            self.0.map(|byte| dest.fill(byte)).ok_or(core::fmt::Error)
        }
    }

    impl rand::TryCryptoRng for Source {}

    #[test]
    fn a_source_that_fails_or_gives_zeros_seeds_no_generator() {
        assert!(generator(&mut Source(None)).is_err());
        assert!(generator(&mut Source(Some(0))).is_err());
        assert!(generator(&mut Source(Some(1))).is_ok());
    }

    #[test]
    fn one_byte_that_is_not_zero_is_enough_wherever_it_is() {
        assert!(random::<16>(&mut Recorded(vec![0; 16])).is_err());
        for at in 0..16 {
            let mut bytes = vec![0; 16];
            bytes[at] = 1;
            assert_eq!(*random::<16>(&mut Recorded(bytes.clone())).unwrap(), bytes[..]);
        }
    }

    #[test]
    fn a_wiped_secret_is_zeros() {
        use zeroize::Zeroize;
        let mut secret = SessionSecret::new([7; 32]);
        secret.zeroize();
        assert_eq!(secret.as_bytes(), &[0; 32]);
    }

    #[test]
    fn a_secret_that_moves_leaves_no_bytes_behind() {
        let secret = SessionSecret::new([7; 32]);
        let place = secret.as_bytes().as_ptr();
        let moved = Box::new(secret);
        assert_eq!(moved.as_bytes().as_ptr(), place);
    }

    #[test]
    fn every_secret_is_wiped_when_dropped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Seed>();
        wiped::<Passphrase>();
        wiped::<CarrierSecret>();
        wiped::<IntroductionSecret>();
        wiped::<Psk>();
        wiped::<MacKey>();
        wiped::<EndpointKey>();
        wiped::<SessionSecret>();
        wiped::<crate::ResumptionSecret>();
        wiped::<SealingKey>();
        wiped::<x25519_dalek::StaticSecret>();
        wiped::<ed25519_dalek::SigningKey>();
        wiped::<chacha20poly1305::ChaCha20Poly1305>();
    }
}
