//! Each thing that can be wrong with an offer has its own error, whoever made it so.

use core::time::Duration;

use p2pchat_proto::limits::OFFER_CLOCK_TOLERANCE;
use p2pchat_proto::offer::{
    Addressee, KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, OfferBody, OfferKind, Purpose, SignedOffer, Suites,
};
use p2pchat_proto::{BrokerKey, Name, PeerId, RequestId, WallTime, codec};
use proptest::prelude::*;

use super::*;
use crate::identity::{Identity, Label};
use crate::introduction::{Role, Suite};
use crate::testing::{
    BOTH_SUITES, BROKER, NOW, Pair, REQUEST, identity, resigned_by, rng, say_something_each_of_its_own,
};

/// A change that the signer itself made, and what the receiver makes of it.
type Case = (OfferError, fn(&mut OfferBody));

const MISSPELLED: [u8; 32] = [0xff; 32];
const OTHER_BROKER: BrokerKey = BrokerKey([8; 32]);
const TOO_OLD: u64 = NOW.0 - 600_001;
const TOO_NEW: u64 = NOW.0 + 600_001;
const BY_A_HAIR: OfferError = OfferError::Clocks { differ: Duration::from_millis(600_001) };

/// What either kind is refused for.
const EITHER: [Case; 14] = [
    (OfferError::Version(0), |b| b.version = 0),
    (OfferError::Version(2), |b| b.version = 2),
    (OfferError::Request, |b| b.request = RequestId([4; 16])),
    (OfferError::From, |b| b.from = PeerId([4; 32])),
    (OfferError::NoiseStatic, |b| b.noise_static = [0; 32]),
    (OfferError::NoiseStatic, |b| b.noise_static = MISSPELLED),
    (OfferError::Ephemeral, |b| b.eph_x25519 = [0; 32]),
    (OfferError::Ephemeral, |b| b.eph_x25519 = MISSPELLED),
    (OfferError::Kem, |b| b.kem.clear()),
    (OfferError::Suites, |b| b.suites = Suites::AES_256_GCM),
    (OfferError::Suites, |b| b.suites = Suites(0)),
    (OfferError::Broker, |b| b.broker_key = OTHER_BROKER),
    (BY_A_HAIR, |b| b.made = WallTime(TOO_OLD)),
    (BY_A_HAIR, |b| b.made = WallTime(TOO_NEW)),
];

const REQUESTS: [Case; 7] = [
    (OfferError::Kind, |b| b.kind = OfferKind::Accept),
    (OfferError::To, |b| b.to = Addressee::Peer(b.from)),
    (OfferError::To, |b| b.to = Addressee::Name("alice".parse().unwrap())),
    (OfferError::Answers, |b| b.answers = Some([0; 32])),
    (OfferError::Kem, |b| b.kem.truncate(KEM_CIPHERTEXT_LEN)),
    (OfferError::Kem, |b| b.kem.push(0)),
    (OfferError::Kem, |b| b.kem = vec![0xff; KEM_KEY_LEN]),
];

const ACCEPTS: [Case; 7] = [
    (OfferError::Kind, |b| b.kind = OfferKind::Request),
    (OfferError::To, |b| b.to = Addressee::Peer(b.from)),
    (OfferError::To, |b| b.to = Addressee::Name("bob".parse().unwrap())),
    (OfferError::Answers, |b| b.answers = None),
    (OfferError::Answers, |b| b.answers = Some([0; 32])),
    (OfferError::Kem, |b| b.kem.push(0)),
    (OfferError::Kem, |b| b.kem.truncate(KEM_CIPHERTEXT_LEN - 1)),
];

fn verify(pair: &Pair, offer: SignedOffer) -> Result<VerifiedRequest, OfferError> {
    VerifiedRequest::verify(offer, pair.expected())
}

#[test]
fn whatever_the_asker_changes_in_a_request_has_its_own_error() {
    let pair = Pair::new();
    let request = pair.request();
    for (number, (error, change)) in EITHER.iter().chain(&REQUESTS).enumerate() {
        let changed = resigned_by(&pair.bob, request.offer(), change);
        assert_eq!(verify(&pair, changed).unwrap_err(), *error, "case {number}");
    }
}

#[test]
fn whatever_the_accepter_changes_in_an_acceptance_has_its_own_error() {
    let pair = Pair::new();
    for (number, (error, change)) in EITHER.iter().chain(&ACCEPTS).enumerate() {
        let request = pair.request();
        let (accept, _) = pair.accept(request.offer());
        let changed = resigned_by(&pair.alice, &accept, change);
        assert_eq!(pair.accepted(request, &changed).unwrap_err(), *error, "case {number}");
    }
}

/// What a broker can do is to change fields under a signature that it cannot make, or to sign
/// with a key of its own.
#[test]
fn whatever_a_broker_swaps_in_either_offer_is_found_out() {
    let pair = Pair::new();
    let broker = identity(99);
    let swaps: [fn(&mut OfferBody); 11] = [
        |b| b.kind = if b.kind == OfferKind::Request { OfferKind::Accept } else { OfferKind::Request },
        |b| b.request = RequestId([4; 16]),
        |b| b.to = Addressee::Name("mallory".parse().unwrap()),
        |b| b.noise_static = identity(99).noise_public(),
        |b| b.eph_x25519 = identity(99).noise_public(),
        |b| b.kem[5] ^= 1,
        |b| b.suites = Suites::CHACHA20_POLY1305,
        |b| b.features = 1,
        |b| b.broker_key = OTHER_BROKER,
        |b| b.made = WallTime(NOW.0 + 1),
        |b| b.answers = Some([7; 32]),
    ];
    for (number, swap) in swaps.iter().enumerate() {
        let request = pair.request();
        let (accept, _) = pair.accept(request.offer());
        let with_signature = |changed: SignedOffer, signature| SignedOffer { signature, ..changed };
        let changed = resigned_by(&broker, request.offer(), swap);
        assert_eq!(verify(&pair, changed.clone()).unwrap_err(), OfferError::Signature, "request {number}");
        let kept = with_signature(changed, request.offer().signature);
        assert_eq!(verify(&pair, kept).unwrap_err(), OfferError::Signature, "request {number}");
        let changed = resigned_by(&broker, &accept, swap);
        let kept = with_signature(changed, accept.signature);
        assert_eq!(pair.accepted(request, &kept).unwrap_err(), OfferError::Signature, "accept {number}");
    }
}

#[test]
fn a_broker_that_puts_its_own_identity_into_an_offer_is_found_out() {
    let pair = Pair::new();
    let mallory = identity(99);
    let as_mallory = |b: &mut OfferBody| {
        b.from = mallory.peer_id();
        b.noise_static = mallory.noise_public();
    };

    let request = pair.request();
    let forged = resigned_by(&mallory, request.offer(), as_mallory);
    assert_eq!(verify(&pair, forged.clone()).unwrap_err(), OfferError::From);
    let expected = Expected { from: mallory.peer_id(), pin: Some(pair.bob.peer_id()), ..pair.expected() };
    assert_eq!(VerifiedRequest::verify(forged, expected).unwrap_err(), OfferError::Pin);

    let (accept, _) = pair.accept(request.offer());
    let forged = resigned_by(&mallory, &accept, as_mallory);
    let answer = request.accepted(&pair.bob, &forged, mallory.peer_id(), BROKER, NOW);
    assert_eq!(answer.unwrap_err(), OfferError::From, "asked for a pinned peer");
}

#[test]
fn each_thing_that_the_receiver_knows_by_itself_is_compared() {
    let pair = Pair::new();
    let request = pair.request();
    let base = pair.expected();
    let other = identity(50).peer_id();
    let late = WallTime(TOO_NEW);
    let cases = [
        (OfferError::To, Expected { me: other, ..base }),
        (OfferError::Own, Expected { me: pair.bob.peer_id(), ..base }),
        (OfferError::From, Expected { from: other, ..base }),
        (OfferError::Pin, Expected { pin: Some(other), ..base }),
        (OfferError::Request, Expected { request: RequestId([4; 16]), ..base }),
        (OfferError::Broker, Expected { broker_key: OTHER_BROKER, ..base }),
        (BY_A_HAIR, Expected { now: late, ..base }),
    ];
    for (error, expected) in cases {
        assert_eq!(VerifiedRequest::verify(request.offer().clone(), expected).unwrap_err(), error);
    }
    let pinned = Expected { pin: Some(pair.bob.peer_id()), ..base };
    assert!(VerifiedRequest::verify(request.offer().clone(), pinned).is_ok());
}

#[test]
fn clocks_may_differ_by_exactly_the_tolerance() {
    let pair = Pair::new();
    let request = pair.request();
    let tolerance = u64::try_from(OFFER_CLOCK_TOLERANCE.as_millis()).unwrap();
    for now in [WallTime(NOW.0 - tolerance), WallTime(NOW.0 + tolerance)] {
        let expected = Expected { now, ..pair.expected() };
        assert!(VerifiedRequest::verify(request.offer().clone(), expected).is_ok());
    }
    assert_eq!(BY_A_HAIR.to_string(), "clocks differ by 600 s");
}

#[test]
fn a_request_by_name_reaches_the_holder_of_that_name_and_nobody_else() {
    let pair = Pair::new();
    let name: Name = "alice".parse().unwrap();
    let other: Name = "alice2".parse().unwrap();
    let terms = RequestTerms { to: Addressee::Name(name.clone()), ..pair.terms() };
    let request = PendingRequest::new(&pair.bob, terms, &mut rng(1)).unwrap();
    let as_named = |my_name| Expected { my_name, ..pair.expected() };
    for wrong in [None, Some(&other)] {
        let refused = VerifiedRequest::verify(request.offer().clone(), as_named(wrong));
        assert_eq!(refused.unwrap_err(), OfferError::To);
    }
    let verified = VerifiedRequest::verify(request.offer().clone(), as_named(Some(&name))).unwrap();
    let said = (verified.from(), verified.request(), verified.purpose());
    assert_eq!(said, (pair.bob.peer_id(), REQUEST, Purpose::Chat));
    let terms = AcceptTerms { made: NOW, suites: BOTH_SUITES };
    let (accept, alices) = verified.accept(&pair.alice, terms, &mut rng(2)).unwrap();
    let bobs = pair.accepted(request, &accept).unwrap();
    assert_eq!(bobs.introduction.peer(), pair.alice.peer_id());
    assert_eq!(alices.introduction.peer(), pair.bob.peer_id());
}

#[test]
fn an_acceptance_of_an_earlier_request_with_the_same_id_is_refused() {
    let pair = Pair::new();
    let earlier = pair.request();
    let (accept, _) = pair.accept(earlier.offer());
    let later = PendingRequest::new(&pair.bob, pair.terms(), &mut rng(77)).unwrap();
    assert_eq!(pair.accepted(later, &accept).unwrap_err(), OfferError::Answers);
}

#[test]
fn the_answerer_by_login_must_be_the_signer() {
    let pair = Pair::new();
    let terms = RequestTerms { to: Addressee::Name("alice".parse().unwrap()), ..pair.terms() };
    let request = PendingRequest::new(&pair.bob, terms, &mut rng(1)).unwrap();
    let (accept, _) = pair.accept(pair.request().offer());
    let answer = request.accepted(&pair.bob, &accept, identity(50).peer_id(), BROKER, NOW);
    assert_eq!(answer.unwrap_err(), OfferError::From);
}

#[test]
fn an_acceptance_over_another_broker_or_out_of_time_is_refused() {
    let pair = Pair::new();
    let alice = pair.alice.peer_id();
    let cases = [(OTHER_BROKER, NOW, OfferError::Broker), (BROKER, WallTime(TOO_NEW), BY_A_HAIR)];
    for (broker, now, error) in cases {
        let request = pair.request();
        let (accept, _) = pair.accept(request.offer());
        assert_eq!(request.accepted(&pair.bob, &accept, alice, broker, now).unwrap_err(), error);
    }
}

#[test]
fn nobody_is_introduced_to_itself() {
    let pair = Pair::new();
    let terms = RequestTerms { to: Addressee::Peer(pair.bob.peer_id()), ..pair.terms() };
    let request = PendingRequest::new(&pair.bob, terms, &mut rng(1)).unwrap();
    let expected = Expected { me: pair.bob.peer_id(), ..pair.expected() };
    assert_eq!(VerifiedRequest::verify(request.offer().clone(), expected).unwrap_err(), OfferError::Own);
    let accept = request.offer().clone();
    let answer = request.accepted(&pair.bob, &accept, pair.bob.peer_id(), BROKER, NOW);
    assert_eq!(answer.unwrap_err(), OfferError::Own);
}

#[test]
fn an_identity_whose_signatures_fit_everything_is_refused() {
    let pair = Pair::new();
    // The neutral element as key: R = neutral, s = 0 satisfies the equation for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&neutral);
    let changed = resigned_by(&pair.bob, pair.request().offer(), |b| b.from = PeerId(neutral));
    let expected = Expected { from: PeerId(neutral), ..pair.expected() };
    let forged = SignedOffer { signature, ..changed };
    assert_eq!(VerifiedRequest::verify(forged, expected).unwrap_err(), OfferError::Signature);
}

#[test]
fn a_signature_serves_no_other_purpose() {
    let pair = Pair::new();
    let body = pair.request().offer().body.clone();
    let signature = pair.bob.sign(Label::Hello, &body);
    assert_eq!(verify(&pair, SignedOffer { body, signature }).unwrap_err(), OfferError::Signature);
}

#[test]
fn terms_without_the_common_suite_are_refused_before_anything_is_sent() {
    let pair = Pair::new();
    let only_aes = RequestTerms { suites: Suites::AES_256_GCM, ..pair.terms() };
    let refused = PendingRequest::new(&pair.bob, only_aes, &mut rng(1));
    assert_eq!(refused.unwrap_err(), OfferError::Suites);
    let verified = verify(&pair, pair.request().offer().clone()).unwrap();
    let terms = AcceptTerms { made: NOW, suites: Suites::AES_256_GCM };
    assert_eq!(verified.accept(&pair.alice, terms, &mut rng(1)).unwrap_err(), OfferError::Suites);
    assert!(suites().contains(Suites::CHACHA20_POLY1305));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        suites().contains(Suites::AES_256_GCM),
        is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq"),
    );
}

#[test]
fn the_suite_is_aes_only_where_both_list_it() {
    let pair = Pair::new();
    for (accepters, suite) in [
        (BOTH_SUITES, Suite::Aes256Gcm),
        (Suites::CHACHA20_POLY1305, Suite::ChaCha20Poly1305),
        (BOTH_SUITES.with(Suites(1 << 9)), Suite::Aes256Gcm),
    ] {
        let (bobs, alices) = pair.introduced_with_suites(accepters);
        assert_eq!((bobs.introduction.suite(), alices.introduction.suite()), (suite, suite));
    }
    assert_eq!(Suite::of(Suites::CHACHA20_POLY1305, BOTH_SUITES), Suite::ChaCha20Poly1305);
}

#[test]
fn the_two_sides_of_an_introduction_mirror_each_other() {
    let pair = Pair::new();
    let (bobs, alices) = pair.introduced();
    let (bobs, alices) = (bobs.introduction, alices.introduction);
    assert_eq!((bobs.role(), alices.role()), (Role::Initiator, Role::Responder));
    assert_eq!((bobs.my_ticket(), bobs.peer_ticket()), (alices.peer_ticket(), alices.my_ticket()));
    assert_ne!(bobs.my_ticket(), alices.my_ticket());
    assert!(alices.verify_mac(b"datagram", &bobs.mac(b"datagram")));
    assert!(bobs.verify_mac(b"datagram", &alices.mac(b"datagram")));
    assert!(!bobs.verify_mac(b"datagram", &bobs.mac(b"datagram")), "not one's own reflected");
    assert!(!bobs.verify_mac(b"datagrams", &alices.mac(b"datagram")));
    let tag = alices.mac(b"datagram");
    assert!(!bobs.verify_mac(b"datagram", &tag[..15]) && !bobs.verify_mac(b"datagram", &[]));
    for bit in 0..tag.len() * 8 {
        let mut flipped = tag;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!bobs.verify_mac(b"datagram", &flipped), "bit {bit}");
    }
}

/// Everything that can be wrong with an offer.
const WRONG: [OfferError; 16] = [
    OfferError::Malformed,
    OfferError::Version(2),
    OfferError::Kind,
    OfferError::Request,
    OfferError::From,
    OfferError::Signature,
    OfferError::Pin,
    OfferError::To,
    OfferError::Own,
    OfferError::NoiseStatic,
    OfferError::Ephemeral,
    OfferError::Kem,
    OfferError::Suites,
    OfferError::Broker,
    OfferError::Clocks { differ: Duration::from_secs(660) },
    OfferError::Answers,
];

#[test]
fn every_refusal_has_words_of_its_own() {
    let local = [OfferError::from(RandomnessFailed), kem_of_mine(KemFailed)];
    let all: Vec<&dyn core::fmt::Display> = WRONG.iter().chain(&local).map(|error| error as _).collect();
    say_something_each_of_its_own(&all);
    assert!(OfferError::Clocks { differ: Duration::from_secs(660) }.to_string().contains("660"));
}

#[test]
fn what_failed_here_is_told_from_what_the_other_side_did() {
    assert!(OfferError::from(RandomnessFailed).is_local());
    assert!(kem_of_mine(KemFailed).is_local());
    assert!(!kem_of_peer(KemFailed).is_local());
    assert!(WRONG.iter().all(|error| !error.is_local()));
}

#[test]
fn two_requests_of_the_same_two_share_nothing() {
    let pair = Pair::new();
    let (one, _) = pair.introduced();
    let (two, _) = pair.introduced();
    assert_ne!(one.introduction.my_ticket(), two.introduction.my_ticket());
    assert_ne!(one.introduction.mac(b"x"), two.introduction.mac(b"x"));
}

fn bob_offers(pair: &Pair) -> (SignedOffer, Expected<'static>) {
    (pair.request().offer().clone(), pair.expected())
}

fn sign_bytes(signer: &Identity, body: Vec<u8>) -> SignedOffer {
    let signature = signer.sign(Label::Offer, &body);
    SignedOffer { body, signature }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_flipped_bit_of_an_offer_passes(byte in 0_usize..1500, bit in 0_u8..8) {
        let pair = Pair::new();
        let (mut offer, expected) = bob_offers(&pair);
        let length = offer.body.len();
        match offer.body.get_mut(byte) {
            Some(byte) => *byte ^= 1 << bit,
            None => offer.signature[(byte - length) % 64] ^= 1 << bit,
        }
        prop_assert!(VerifiedRequest::verify(offer, expected).is_err());
    }

    #[test]
    fn no_signed_bytes_make_the_receiver_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let pair = Pair::new();
        let offer = sign_bytes(&pair.bob, bytes.clone());
        let error = VerifiedRequest::verify(offer, pair.expected()).unwrap_err();
        let expected = match bytes.first() {
            Some(&version) if version != 1 => OfferError::Version(version),
            Some(_) | None => OfferError::Malformed,
        };
        prop_assert_eq!(error, expected);
    }

    #[test]
    fn an_offer_with_bytes_behind_it_is_malformed(more in 1_usize..8) {
        let pair = Pair::new();
        let (offer, expected) = bob_offers(&pair);
        let body = [offer.body, vec![0; more]].concat();
        let offer = sign_bytes(&pair.bob, body);
        prop_assert!(codec::decode::<OfferBody>(&offer.body).is_err());
        prop_assert_eq!(VerifiedRequest::verify(offer, expected).unwrap_err(), OfferError::Malformed);
    }
}
