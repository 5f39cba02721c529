//! Introductions that a seed replays, for the tests of other crates in virtual time.
//!
//! They go through the same offers as live ones; only the ML-KEM exchange is a recorded one, as
//! the library takes its randomness from the system. What comes out protects nothing.

use p2pchat_proto::offer::{Addressee, Purpose, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, RequestId, WallTime};
use rand::CryptoRng;

use crate::identity::Identity;
use crate::kem;
use crate::noise::Resolver;
use crate::offer::{
    AcceptTerms, Accepted, Expected, OfferError, PendingRequest, RequestTerms, VerifiedRequest,
};

/// What is said and offered when two people meet.
#[derive(Debug, Clone, Copy)]
pub struct Meeting {
    /// The request's id.
    pub request: RequestId,
    /// The broker that both are at.
    pub broker_key: BrokerKey,
    /// When, by both clocks.
    pub made: WallTime,
    /// What the asker can seal with.
    pub asker: Suites,
    /// What the accepter can seal with.
    pub accepter: Suites,
}

/// Everything that a meeting left.
#[derive(Debug)]
pub struct Met {
    /// The asker's offer.
    pub request: SignedOffer,
    /// The accepter's offer.
    pub accept: SignedOffer,
    /// What the asker holds.
    pub asker: Accepted,
    /// What the accepter holds.
    pub accepter: Accepted,
}

/// What asker and accepter hold after a request that was accepted.
///
/// # Errors
/// [`OfferError::Own`] for one identity on both sides, [`OfferError::Suites`] for suites without
/// ChaCha20-Poly1305.
pub fn introduce(
    asker: &Identity,
    accepter: &Identity,
    suites: Suites,
    rng: &mut dyn CryptoRng,
) -> Result<(Accepted, Accepted), OfferError> {
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    let meeting = Meeting {
        request: RequestId(id),
        broker_key: BrokerKey([0; 32]),
        made: WallTime(0),
        asker: suites,
        accepter: suites,
    };
    let met = meet(asker, accepter, &meeting, rng)?;
    Ok((met.asker, met.accepter))
}

/// A request and its acceptance, with the asker's ephemeral key and then the accepter's from `rng`.
///
/// # Errors
/// As [`introduce`].
pub fn meet(
    asker: &Identity,
    accepter: &Identity,
    meeting: &Meeting,
    rng: &mut dyn CryptoRng,
) -> Result<Met, OfferError> {
    let Meeting { request, broker_key, made, .. } = *meeting;
    let terms = RequestTerms {
        request,
        to: Addressee::Peer(accepter.peer_id()),
        broker_key,
        made,
        purpose: Purpose::Chat,
        suites: meeting.asker,
    };
    let pending = PendingRequest::with_kem(asker, terms, kem::recorded::keys(), rng)?;
    let expected = Expected {
        me: accepter.peer_id(),
        my_name: None,
        from: asker.peer_id(),
        pin: None,
        request,
        broker_key,
        now: made,
    };
    let request = pending.offer().clone();
    let verified = VerifiedRequest::verify(request.clone(), expected)?;
    let terms = AcceptTerms { made, suites: meeting.accepter };
    let (accept, accepters) = verified.accept_with(accepter, terms, kem::recorded::encapsulated(), rng)?;
    let askers = pending.accepted(asker, &accept, accepter.peer_id(), broker_key, made)?;
    Ok(Met { request, accept, asker: askers, accepter: accepters })
}

/// The primitives that every handshake runs on, for published vectors and for attackers who say
/// what no honest side would.
pub fn resolver(rng: &mut dyn CryptoRng) -> Box<dyn snow::resolvers::CryptoResolver + Send> {
    Box::new(Resolver::new(rng))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BOTH_SUITES, identity, rng};

    #[test]
    fn the_same_seed_introduces_in_the_same_way() {
        let (alice, bob) = (identity(1), identity(2));
        let ticket = |seed| {
            let (bobs, alices) = introduce(&bob, &alice, BOTH_SUITES, &mut rng(seed)).unwrap();
            assert_eq!(bobs.introduction.my_ticket(), alices.introduction.peer_ticket());
            bobs.introduction.my_ticket()
        };
        assert_eq!(ticket(1), ticket(1));
        assert_ne!(ticket(1), ticket(2));
        let own = introduce(&bob, &bob, BOTH_SUITES, &mut rng(1));
        assert_eq!(own.unwrap_err(), OfferError::Own);
    }
}
