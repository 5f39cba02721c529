//! Signing, the checks that both kinds share, and what the two offers together give.

use p2pchat_proto::limits::{OFFER_CLOCK_TOLERANCE, PROTOCOL_VERSION};
use p2pchat_proto::offer::{OfferBody, OfferKind, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, WallTime, codec};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{Accepted, OfferError};
use crate::curve::is_sound_x25519;
use crate::endpoints::EndpointBox;
use crate::identity::{self, Identity, Label};
use crate::introduction::{Introduction, Role, Suite, Terms};
use crate::schedule;

/// What any offer is checked against.
pub(super) struct Common {
    pub(super) kind: OfferKind,
    pub(super) me: PeerId,
    pub(super) from: PeerId,
    pub(super) request: RequestId,
    pub(super) broker_key: BrokerKey,
    pub(super) now: WallTime,
}

/// The body of a signed offer, after every check that needs no knowledge of its kind. The
/// signature comes first among those that cost anything: what follows is said by the signer.
pub(super) fn open(offer: &SignedOffer, expected: &Common) -> Result<OfferBody, OfferError> {
    // The version is the first byte, so that a later one is told apart from noise.
    if let Some(&version) = offer.body.first().filter(|&&version| version != PROTOCOL_VERSION) {
        return Err(OfferError::Version(version));
    }
    let body: OfferBody = codec::decode(&offer.body).map_err(|_| OfferError::Malformed)?;
    if body.from != expected.from {
        return Err(OfferError::From);
    }
    if body.from == expected.me {
        return Err(OfferError::Own);
    }
    if !identity::verify(body.from, Label::Offer, &offer.body, &offer.signature) {
        return Err(OfferError::Signature);
    }
    if body.kind != expected.kind {
        return Err(OfferError::Kind);
    }
    if body.request != expected.request {
        return Err(OfferError::Request);
    }
    if body.broker_key != expected.broker_key {
        return Err(OfferError::Broker);
    }
    let differ = body.made.abs_diff(expected.now);
    if differ > OFFER_CLOCK_TOLERANCE {
        return Err(OfferError::Clocks { differ });
    }
    if !body.suites.contains(Suites::CHACHA20_POLY1305) {
        return Err(OfferError::Suites);
    }
    if !is_sound_x25519(&body.noise_static) {
        return Err(OfferError::NoiseStatic);
    }
    if !is_sound_x25519(&body.eph_x25519) {
        return Err(OfferError::Ephemeral);
    }
    Ok(body)
}

/// Encodes and signs.
pub(super) fn sign(me: &Identity, body: &OfferBody) -> Result<SignedOffer, OfferError> {
    if !body.suites.contains(Suites::CHACHA20_POLY1305) {
        return Err(OfferError::Suites);
    }
    let bytes = codec::encode(body).map_err(|_| OfferError::Malformed)?;
    let signature = me.sign(Label::Offer, &bytes);
    Ok(SignedOffer { body: bytes, signature })
}

/// BLAKE3 of an offer's bytes, body and signature: what an acceptance names as `answers`.
pub(super) fn digest(offer: &SignedOffer) -> [u8; 32] {
    *blake3::Hasher::new().update(&offer.body).update(&offer.signature).finalize().as_bytes()
}

/// The two halves of one exchange, seen from one side.
pub(super) struct Exchange<'a> {
    pub(super) role: Role,
    pub(super) me: PeerId,
    pub(super) my_suites: Suites,
    pub(super) ephemeral: &'a StaticSecret,
    pub(super) kem: &'a [u8; 32],
    pub(super) request: &'a SignedOffer,
    pub(super) accept: &'a SignedOffer,
    /// The peer's offer, checked by [`open`].
    pub(super) peer: &'a OfferBody,
}

/// Secret, introduction and endpoint box (protocol section 2).
pub(super) fn introduce(exchange: &Exchange<'_>) -> Result<Accepted, OfferError> {
    let shared = exchange.ephemeral.diffie_hellman(&PublicKey::from(exchange.peer.eph_x25519));
    if !shared.was_contributory() {
        return Err(OfferError::Ephemeral);
    }
    let transcript = transcript(exchange.request, exchange.accept);
    let secret = schedule::introduction_secret(shared.as_bytes(), exchange.kem, &transcript);
    let terms = Terms {
        me: exchange.me,
        peer: exchange.peer.from,
        role: exchange.role,
        suite: Suite::of(exchange.my_suites, exchange.peer.suites),
        peer_noise: exchange.peer.noise_static,
        transcript,
    };
    Ok(Accepted {
        introduction: Introduction::new(&terms, &secret),
        endpoints: EndpointBox::new(&secret, terms.me, terms.peer, transcript),
    })
}

/// `BLAKE3(u32 length | request offer | u32 length | accept offer)`, an offer being body and
/// signature.
fn transcript(request: &SignedOffer, accept: &SignedOffer) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for offer in [request, accept] {
        let length = offer.body.len().saturating_add(offer.signature.len());
        hasher.update(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(&offer.body).update(&offer.signature);
    }
    *hasher.finalize().as_bytes()
}
