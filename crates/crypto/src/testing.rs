//! Two people for the tests of every module.

use std::sync::Arc;

use p2pchat_proto::offer::{Addressee, OfferBody, Purpose, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, RequestId, WallTime, codec};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::identity::Label;
use crate::offer::{AcceptTerms, Accepted, Expected, PendingRequest, RequestTerms, VerifiedRequest};
use crate::{Identity, Seed};

pub(crate) const BROKER: BrokerKey = BrokerKey([9; 32]);
pub(crate) const NOW: WallTime = WallTime(1_800_000_000_000);
pub(crate) const REQUEST: RequestId = RequestId([3; 16]);
pub(crate) const BOTH_SUITES: Suites = Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM);

pub(crate) fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub(crate) fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Seed::from_bytes([seed; 32])))
}

/// Errors that read alike would send whoever reads them the wrong way.
pub(crate) fn say_something_each_of_its_own(errors: &[&dyn core::fmt::Display]) {
    let words: std::collections::BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), errors.len(), "{words:?}");
    assert!(!words.contains(""), "{words:?}");
}

/// Gives out recorded bytes, and fails the test when they run out.
pub(crate) struct Recorded(pub(crate) Vec<u8>);

impl rand::TryRng for Recorded {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Self::Error> {
        let rest = self.0.split_off(dest.len());
        dest.copy_from_slice(&core::mem::replace(&mut self.0, rest));
        Ok(())
    }
}

impl rand::TryCryptoRng for Recorded {}

/// Bob, who asks, and alice, who accepts.
pub(crate) struct Pair {
    pub(crate) alice: Arc<Identity>,
    pub(crate) bob: Arc<Identity>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self { alice: identity(1), bob: identity(2) }
    }

    pub(crate) fn terms(&self) -> RequestTerms {
        RequestTerms {
            request: REQUEST,
            to: Addressee::Peer(self.alice.peer_id()),
            broker_key: BROKER,
            made: NOW,
            purpose: Purpose::Chat,
            suites: BOTH_SUITES,
        }
    }

    pub(crate) fn request(&self) -> PendingRequest {
        PendingRequest::new(&self.bob, self.terms(), &mut rng(10)).unwrap()
    }

    pub(crate) fn expected(&self) -> Expected<'static> {
        Expected {
            me: self.alice.peer_id(),
            my_name: None,
            from: self.bob.peer_id(),
            pin: None,
            request: REQUEST,
            broker_key: BROKER,
            now: NOW,
        }
    }

    pub(crate) fn accept(&self, offer: &SignedOffer) -> (SignedOffer, Accepted) {
        self.accept_with_suites(offer, BOTH_SUITES)
    }

    pub(crate) fn accept_with_suites(&self, offer: &SignedOffer, suites: Suites) -> (SignedOffer, Accepted) {
        let verified = VerifiedRequest::verify(offer.clone(), self.expected()).unwrap();
        verified.accept(&self.alice, AcceptTerms { made: NOW, suites }, &mut rng(11)).unwrap()
    }

    pub(crate) fn accepted(
        &self,
        request: PendingRequest,
        accept: &SignedOffer,
    ) -> Result<Accepted, crate::offer::OfferError> {
        request.accepted(&self.bob, accept, self.alice.peer_id(), BROKER, NOW)
    }

    /// An offer of alice with something in it changed, signed again by her.
    pub(crate) fn resigned(&self, offer: &SignedOffer, change: impl FnOnce(&mut OfferBody)) -> SignedOffer {
        resigned_by(&self.alice, offer, change)
    }

    /// What bob and alice hold after an acceptance.
    pub(crate) fn introduced(&self) -> (Accepted, Accepted) {
        self.introduced_with_suites(BOTH_SUITES)
    }

    pub(crate) fn introduced_with_suites(&self, suites: Suites) -> (Accepted, Accepted) {
        let request = self.request();
        let (accept, alices) = self.accept_with_suites(request.offer(), suites);
        (self.accepted(request, &accept).unwrap(), alices)
    }
}

pub(crate) fn resigned_by(
    signer: &Identity,
    offer: &SignedOffer,
    change: impl FnOnce(&mut OfferBody),
) -> SignedOffer {
    let mut body: OfferBody = codec::decode(&offer.body).unwrap();
    change(&mut body);
    let body = codec::encode(&body).unwrap();
    let signature = signer.sign(Label::Offer, &body);
    SignedOffer { body, signature }
}
