//! Bob, who asks, and alice, who accepts.

use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat_crypto::{Identity, Introduction, Seed, simulation};
use p2pchat_proto::offer::Suites;
use rand_chacha::ChaCha20Rng;

/// Both identities, the same for every seed: what differs is what they agree on.
#[derive(Debug, Clone)]
pub struct People {
    /// Who asks, and so begins the handshake.
    pub bob: Arc<Identity>,
    /// Who accepts.
    pub alice: Arc<Identity>,
}

impl Default for People {
    fn default() -> Self {
        let [bob, alice] = [2, 1].map(|seed| Arc::new(Identity::from_seed(&Seed::from_bytes([seed; 32]))));
        Self { bob, alice }
    }
}

impl People {
    /// A new introduction: bob's half, and alice's.
    ///
    /// # Panics
    /// Never: the two are different, and the suite is one that everybody has.
    pub fn introduce(&self, rng: &mut ChaCha20Rng) -> (Introduction, Introduction) {
        let suites = Suites::CHACHA20_POLY1305;
        let (bobs, alices) = simulation::introduce(&self.bob, &self.alice, suites, rng).unwrap();
        (bobs.introduction, alices.introduction)
    }
}

/// Where bob is.
pub const fn bobs_address() -> SocketAddr {
    address(2)
}

/// Where alice is.
pub const fn alices_address() -> SocketAddr {
    address(1)
}

const fn address(host: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, host)), 7000)
}
