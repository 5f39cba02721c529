//! Bob, who asks, and alice, who accepts.

use std::sync::Arc;

use p2pchat_crypto::offer::{AcceptTerms, Expected, PendingRequest, RequestTerms, VerifiedRequest};
use p2pchat_crypto::{Identity, Introduction, Seed};
use p2pchat_proto::offer::{Addressee, Purpose, Suites};
use p2pchat_proto::{BrokerKey, RequestId, WallTime};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const BROKER: BrokerKey = BrokerKey([9; 32]);
const NOW: WallTime = WallTime(1_800_000_000_000);

pub(super) fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Seed::from_bytes([seed; 32])))
}

/// What both hold after `asks` asked and `accepts` accepted, in this order.
pub(super) fn introduced(asks: &Identity, accepts: &Identity, request: u8) -> (Introduction, Introduction) {
    let mut rng = ChaCha20Rng::from_seed([request; 32]);
    let request = RequestId([request; 16]);
    let terms = RequestTerms {
        request,
        to: Addressee::Peer(accepts.peer_id()),
        broker_key: BROKER,
        made: NOW,
        purpose: Purpose::Chat,
        suites: Suites::CHACHA20_POLY1305,
    };
    let pending = PendingRequest::new(asks, terms, &mut rng).unwrap();
    let expected = Expected {
        me: accepts.peer_id(),
        my_name: None,
        from: asks.peer_id(),
        pin: None,
        request,
        broker_key: BROKER,
        now: NOW,
    };
    let verified = VerifiedRequest::verify(pending.offer().clone(), expected).unwrap();
    let terms = AcceptTerms { made: NOW, suites: Suites::CHACHA20_POLY1305 };
    let (accept, theirs) = verified.accept(accepts, terms, &mut rng).unwrap();
    let ours = pending.accepted(asks, &accept, accepts.peer_id(), BROKER, NOW).unwrap();
    (ours.introduction, theirs.introduction)
}
