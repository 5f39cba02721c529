//! K6: a system that gives no randomness, or nothing but zeros.
//!
//! The KEM takes its randomness from the system inside of the library, where no double can stand.

use std::panic::{AssertUnwindSafe, catch_unwind};

use p2pchat_crypto::carrier::CarrierSecret;
use p2pchat_crypto::handshake::{HandshakeError, Initiator, Responder};
use p2pchat_crypto::keyfile::{self, KeyFileError, Passphrase};
use p2pchat_crypto::link::{BrokerSecret, ClientHandshake, ServerHandshake};
use p2pchat_crypto::offer::{AcceptTerms, OfferError, PendingRequest, RequestTerms, VerifiedRequest};
use p2pchat_crypto::{Identity, Seed, generator};
use p2pchat_proto::WallTime;
use p2pchat_proto::offer::{Addressee, Purpose, Suites};
use p2pchat_proto::{BrokerKey, RequestId};
use rand::rngs::StdRng;
use rand::{CryptoRng, SeedableRng, TryCryptoRng, TryRng};

use crate::rows::handshake::people::Two;
use crate::rows::{Defence, Lab, NotRun, Seen};

/// A source that does not work.
struct Failing;

impl TryRng for Failing {
    type Error = std::io::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

impl TryCryptoRng for Failing {}

/// A source that says that it works.
struct Zeros;

impl TryRng for Zeros {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Self::Error> {
        dest.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for Zeros {}

pub(super) fn broken(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    if defence == Defence::Removed {
        return unlooked_at();
    }
    let mut went_on = Vec::new();
    let mut draws = 0;
    let mut check = |what: &'static str, aborted: bool| {
        draws += 1;
        if !aborted {
            went_on.push(what);
        }
    };
    check("a generator of a source that fails", generator(&mut Failing).is_err());
    check("a generator of zeros", generator(&mut Zeros).is_err());
    check("a seed", Seed::generate(&mut Zeros).is_err());
    check("a broker's key", BrokerSecret::generate(&mut Zeros).is_err());
    check("a carrier's secret", CarrierSecret::generate(&mut Zeros).is_err());
    let seed = Seed::from_bytes([7; 32]);
    let passphrase = Passphrase::new("passphrase".to_owned());
    for passphrase in [None, Some(&passphrase)] {
        let sealed = keyfile::seal(&seed, passphrase, &mut Zeros);
        check("a key file", sealed == Err(KeyFileError::Randomness));
    }
    let two = Two::draw(&mut lab.rng);
    let (alice, bob) = (&two.alice.identity, &two.bob.identity);
    let terms = RequestTerms {
        request: RequestId([1; 16]),
        to: Addressee::Peer(alice.peer_id()),
        broker_key: BrokerKey([9; 32]),
        made: WallTime(0),
        purpose: Purpose::Chat,
        suites: Suites::CHACHA20_POLY1305,
    };
    let asked = PendingRequest::new(bob, terms, &mut Zeros);
    check("a request", matches!(asked, Err(OfferError::Randomness)));
    let pending = two.request(&mut lab.rng)?;
    let verified = VerifiedRequest::verify(pending.offer().clone(), two.expected(pending.request()))?;
    let terms = AcceptTerms { made: WallTime(0), suites: Suites::CHACHA20_POLY1305 };
    let accepted = verified.accept(alice, terms, &mut Zeros);
    check("an acceptance", matches!(accepted, Err(OfferError::Randomness)));
    let (accept, alices) = two.accept(&pending.offer().clone(), &mut lab.rng)?;
    let bobs = two.accepted(pending, &accept, alice.peer_id())?;
    check("message 1", panics(|| Initiator::start(&bobs.introduction, bob, &mut Zeros)));
    let (_, first) = Initiator::start(&bobs.introduction, bob, &mut lab.rng);
    let answer = Responder::respond(&alices.introduction, alice, &first, &mut Zeros);
    check("message 2", matches!(answer, Err(HandshakeError::Randomness)));
    check("a client's hello to its broker", panics(|| ClientHandshake::start(&mut Zeros)));
    let (_, hello) = ClientHandshake::start(&mut lab.rng);
    let broker = BrokerSecret::from_bytes([7; 32]);
    check("a broker's answer", ServerHandshake::respond(&broker, &hello, &mut Zeros).is_err());
    let what = match went_on.as_slice() {
        [] => "no key, nonce or generator is made of it".to_owned(),
        went_on => format!("went on with {}", went_on.join(", ")),
    };
    Ok(Seen::when(went_on.is_empty(), what).figure(format!("{draws} draws")))
}

/// Whether it goes no further; what a sound generator never gives has no error of its own.
fn panics<T>(begin: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(begin)).is_err()
}

/// The double seeds a generator with whatever it is given: two people get one key, and nothing shows it.
fn unlooked_at() -> Result<Seen, NotRun> {
    let made = || -> Result<_, NotRun> {
        let mut rng: Box<dyn CryptoRng> = Box::new(StdRng::from_rng(&mut Zeros));
        Ok(Identity::from_seed(&Seed::generate(&mut *rng)?).peer_id())
    };
    let (alice, bob) = (made()?, made()?);
    Ok(Seen::when(alice != bob, "two people made one and the same key"))
}
