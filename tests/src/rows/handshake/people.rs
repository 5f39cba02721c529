//! Introductions through the product, for attacks on what comes after them.

use p2pchat_crypto::offer::{
    AcceptTerms, Accepted, Expected, OfferError, PendingRequest, RequestTerms, VerifiedRequest,
};
use p2pchat_crypto::simulation;
use p2pchat_proto::codec::decode;
use p2pchat_proto::offer::{Addressee, OfferBody, Purpose, SignedOffer};
use p2pchat_proto::{PeerId, RequestId};
use rand_chacha::ChaCha20Rng;

use super::second::{BROKER, NOW, Person, SUITES, bytes};
use crate::rows::NotRun;

/// Bob, who asks, and alice, who accepts.
pub(crate) struct Two {
    /// Accepts.
    pub(crate) alice: Person,
    /// Asks.
    pub(crate) bob: Person,
}

impl Two {
    /// Two new people.
    pub(crate) fn draw(rng: &mut ChaCha20Rng) -> Self {
        Self { alice: Person::draw(rng), bob: Person::draw(rng) }
    }

    /// What the two hold after an acceptance: bob's, alice's.
    pub(crate) fn introduced(&self, rng: &mut ChaCha20Rng) -> Result<(Accepted, Accepted), NotRun> {
        Ok(simulation::introduce(&self.bob.identity, &self.alice.identity, SUITES, rng)?)
    }

    /// Bob's request to alice.
    pub(crate) fn request(&self, rng: &mut ChaCha20Rng) -> Result<PendingRequest, NotRun> {
        let terms = RequestTerms {
            request: RequestId(bytes(rng)),
            to: Addressee::Peer(self.alice.peer_id()),
            broker_key: BROKER,
            made: NOW,
            purpose: Purpose::Chat,
            suites: SUITES,
        };
        Ok(PendingRequest::new(&self.bob.identity, terms, rng)?)
    }

    /// What alice checks an offer of bob's against; the request's id is the one in the offer.
    pub(crate) fn expected(&self, request: RequestId) -> Expected<'static> {
        Expected {
            me: self.alice.peer_id(),
            my_name: None,
            from: self.bob.peer_id(),
            pin: None,
            request,
            broker_key: BROKER,
            now: NOW,
        }
    }

    /// Alice takes an offer of bob's, as the broker delivered it under this request's id.
    pub(crate) fn verify(
        &self,
        offer: &SignedOffer,
        request: RequestId,
    ) -> Result<VerifiedRequest, OfferError> {
        VerifiedRequest::verify(offer.clone(), self.expected(request))
    }

    /// Alice accepts an offer of bob's.
    pub(crate) fn accept(
        &self,
        offer: &SignedOffer,
        rng: &mut ChaCha20Rng,
    ) -> Result<(SignedOffer, Accepted), NotRun> {
        let request = decode::<OfferBody>(&offer.body)?.request;
        let terms = AcceptTerms { made: NOW, suites: SUITES };
        Ok(self.verify(offer, request)?.accept(&self.alice.identity, terms, rng)?)
    }

    /// Bob takes an accept, as the broker delivered it under the login of `from`.
    pub(crate) fn accepted(
        &self,
        request: PendingRequest,
        accept: &SignedOffer,
        from: PeerId,
    ) -> Result<Accepted, OfferError> {
        request.accepted(&self.bob.identity, accept, from, BROKER, NOW)
    }
}
