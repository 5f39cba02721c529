//! What a broker might change to get between two people.

use p2pchat_crypto::Identity;
use p2pchat_crypto::offer::{AcceptTerms, Expected, PendingRequest, RequestTerms, VerifiedRequest, suites};
use p2pchat_proto::broker::{AnswerBody, FromBroker, Opaque};
use p2pchat_proto::codec::{decode, encode};
use p2pchat_proto::offer::{Addressee, OfferBody, SignedOffer};
use p2pchat_proto::{Name, PeerId, UdpEndpoints};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::Lie;

/// Which of the two offers of a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// From the one who asks.
    Request,
    /// From the one who accepts.
    Accept,
}

/// Changes the body of an offer and leaves the signature as it was.
pub fn change_offer(leg: Leg, change: fn(&mut OfferBody)) -> Lie {
    Box::new(move |message| {
        let Some(offer) = offer_in(leg, message) else { return false };
        let Ok(mut body) = decode::<OfferBody>(&offer.body) else { return false };
        change(&mut body);
        let Ok(changed) = encode(&body) else { return false };
        offer.body = changed;
        true
    })
}

/// Turns one bit of the signature of an offer.
pub fn change_signature(leg: Leg) -> Lie {
    Box::new(move |message| match offer_in(leg, message) {
        Some(offer) => {
            offer.signature[40] ^= 1;
            true
        }
        None => false,
    })
}

/// Turns one bit in the sealed endpoints of an answer.
pub fn change_endpoints() -> Lie {
    change_sealed(|sealed| {
        if let Some(last) = sealed.last_mut() {
            *last ^= 1;
        }
    })
}

/// Puts endpoints of the broker's choice, not sealed by anybody, in place of those of an answer.
pub fn replace_endpoints(by: UdpEndpoints) -> Lie {
    change_sealed(move |sealed| {
        let counter = 1_u64.to_be_bytes();
        *sealed = [&counter[..], &encode(&by).unwrap_or_default(), &[0; 16]].concat();
    })
}

/// Puts a request of `mallory` in place of one that comes under a known name.
pub fn replace_asker(mallory: Identity, victim: Name) -> Lie {
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    Box::new(move |message| {
        let FromBroker::Incoming(incoming) = message else { return false };
        let Ok(body) = decode::<OfferBody>(&incoming.offer.body) else { return false };
        let terms = RequestTerms {
            request: incoming.request,
            to: Addressee::Name(victim.clone()),
            broker_key: body.broker_key,
            made: body.made,
            purpose: body.purpose,
            suites: suites(),
        };
        let Ok(request) = PendingRequest::new(&mallory, terms, &mut rng) else { return false };
        incoming.from = mallory.peer_id();
        incoming.offer = request.offer().clone();
        true
    })
}

/// Accepts in place of whoever was asked, as `mallory`. Whose login the answer claims to come from
/// is `claimed`: the asked person's, or mallory's own.
pub fn replace_accepter(mallory: Identity, claimed: Claim) -> Lie {
    let mut rng = ChaCha20Rng::seed_from_u64(14);
    let mut asked: Option<(SignedOffer, OfferBody)> = None;
    Box::new(move |message| {
        if let FromBroker::Incoming(incoming) = message {
            asked = decode(&incoming.offer.body).ok().map(|body| (incoming.offer.clone(), body));
        }
        let FromBroker::Answered(answered) = message else { return false };
        let Some((offer, body)) = asked.take() else { return false };
        let (me, my_name) = match &body.to {
            Addressee::Peer(peer) => (*peer, None),
            Addressee::Name(name) => (mallory.peer_id(), Some(name)),
        };
        let (from, request, broker_key, now) = (body.from, body.request, body.broker_key, body.made);
        let expected = Expected { me, my_name, from, pin: None, request, broker_key, now };
        let Ok(verified) = VerifiedRequest::verify(offer, expected) else { return false };
        let terms = AcceptTerms { made: body.made, suites: suites() };
        let Ok((offer, accepted)) = verified.accept(&mallory, terms, &mut rng) else { return false };
        let mut endpoints = accepted.endpoints;
        answered.answer = AnswerBody::Accept { offer, endpoints: endpoints.seal(&UdpEndpoints::default()) };
        if claimed == Claim::OwnLogin {
            answered.from = mallory.peer_id();
        }
        true
    })
}

/// Whose login an answer claims to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// That of the person who was asked.
    AskedPersonsLogin,
    /// That of the liar.
    OwnLogin,
}

/// Says that a message comes from somebody else's login.
pub fn change_login(leg: Leg, to: PeerId) -> Lie {
    Box::new(move |message| match (leg, message) {
        (Leg::Request, FromBroker::Incoming(incoming)) => {
            incoming.from = to;
            true
        }
        (Leg::Accept, FromBroker::Answered(answered)) => {
            answered.from = to;
            true
        }
        _ => false,
    })
}

fn change_sealed(change: impl Fn(&mut Vec<u8>) + Send + 'static) -> Lie {
    Box::new(move |message| {
        let FromBroker::Answered(answered) = message else { return false };
        let AnswerBody::Accept { endpoints, .. } = &mut answered.answer else { return false };
        let mut sealed = endpoints.as_slice().to_vec();
        change(&mut sealed);
        let Some(changed) = Opaque::new(sealed) else { return false };
        *endpoints = changed;
        true
    })
}

fn offer_in(leg: Leg, message: &mut FromBroker) -> Option<&mut SignedOffer> {
    match (leg, message) {
        (Leg::Request, FromBroker::Incoming(incoming)) => Some(&mut incoming.offer),
        (Leg::Accept, FromBroker::Answered(answered)) => match &mut answered.answer {
            AnswerBody::Accept { offer, .. } => Some(offer),
            AnswerBody::Decline { .. } => None,
        },
        _ => None,
    }
}
