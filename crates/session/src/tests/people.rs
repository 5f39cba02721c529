//! Bob, who asks, and alice, who accepts.

use std::sync::Arc;

use p2pchat_crypto::simulation::{Meeting, meet};
use p2pchat_crypto::{Identity, Introduction, Seed};
use p2pchat_proto::offer::Suites;
use p2pchat_proto::{BrokerKey, RequestId, WallTime};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub(crate) fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Seed::from_bytes([seed; 32])))
}

/// What both hold after `asks` asked and `accepts` accepted, in this order. Everything follows from
/// `request`, so that a simulation can be replayed.
pub(crate) fn introduced(asks: &Identity, accepts: &Identity, request: u64) -> (Introduction, Introduction) {
    let meeting = Meeting {
        request: RequestId(u128::from(request).to_be_bytes()),
        broker_key: BrokerKey([9; 32]),
        made: WallTime(1_800_000_000_000),
        asker: Suites::CHACHA20_POLY1305,
        accepter: Suites::CHACHA20_POLY1305,
    };
    let met = meet(asks, accepts, &meeting, &mut ChaCha20Rng::seed_from_u64(request)).unwrap();
    (met.asker.introduction, met.accepter.introduction)
}
