//! Introductions that a seed replays, for the tests of other crates in virtual time.
//!
//! They go through the same offers as live ones; only the ML-KEM exchange is a recorded one, as
//! the library takes its randomness from the system. What comes out protects nothing.

use p2pchat_proto::offer::{Addressee, Purpose, Suites};
use p2pchat_proto::{BrokerKey, RequestId, WallTime};
use rand::CryptoRng;

use crate::identity::Identity;
use crate::kem;
use crate::offer::{
    AcceptTerms, Accepted, Expected, OfferError, PendingRequest, RequestTerms, VerifiedRequest,
};

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
    let (request, broker_key, now) = (RequestId(id), BrokerKey([0; 32]), WallTime(0));
    let terms = RequestTerms {
        request,
        to: Addressee::Peer(accepter.peer_id()),
        broker_key,
        made: now,
        purpose: Purpose::Chat,
        suites,
    };
    let pending = PendingRequest::with_kem(asker, terms, kem::recorded::keys(), rng)?;
    let expected = Expected {
        me: accepter.peer_id(),
        my_name: None,
        from: asker.peer_id(),
        pin: None,
        request,
        broker_key,
        now,
    };
    let verified = VerifiedRequest::verify(pending.offer().clone(), expected)?;
    let terms = AcceptTerms { made: now, suites };
    let (accept, accepters) = verified.accept_with(accepter, terms, kem::recorded::encapsulated(), rng)?;
    let askers = pending.accepted(asker, &accept, accepter.peer_id(), broker_key, now)?;
    Ok((askers, accepters))
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
