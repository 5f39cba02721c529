//! Endpoints, sealed by one peer for the other, opaque to the broker that carries them.
//!
//! A box is `counter [12] | ciphertext | tag`: ChaCha20-Poly1305 under the sender's endpoint key,
//! the counter as nonce, the transcript as associated data (protocol section 2).

use core::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use p2pchat_proto::broker::SealedEndpoints;
use p2pchat_proto::{PeerId, UdpEndpoints, codec};

use crate::schedule::{self, EndpointKey, IntroductionSecret};
use crate::secret::redacted;

/// Length of the counter that is the nonce, in bytes (RFC 8439 section 2.8).
const COUNTER_LEN: usize = 12;

/// A box of endpoints that was not taken. The peer's act, or that of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointsError {
    /// It does not open: damaged, from another introduction, or the peer holds another secret.
    Unauthentic,
    /// Its counter did not grow: a repetition, or overtaken by a newer one.
    Stale,
    /// Authentic, but no list of endpoints.
    Malformed,
}

impl fmt::Display for EndpointsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "sealed endpoints do not open",
            Self::Stale => "sealed endpoints are not newer",
            Self::Malformed => "sealed endpoints are malformed",
        })
    }
}

impl core::error::Error for EndpointsError {}

/// Seals this side's endpoints and opens the peer's.
pub struct EndpointBox {
    mine: EndpointKey,
    theirs: EndpointKey,
    transcript: [u8; 32],
    sent: u64,
    received: Option<[u8; COUNTER_LEN]>,
}

redacted!(EndpointBox);

impl EndpointBox {
    pub(crate) fn new(secret: &IntroductionSecret, me: PeerId, peer: PeerId, transcript: [u8; 32]) -> Self {
        Self {
            mine: schedule::endpoint_key(secret, me),
            theirs: schedule::endpoint_key(secret, peer),
            transcript,
            sent: 0,
            received: None,
        }
    }

    /// Seals `endpoints`. Each call takes the next counter.
    #[expect(clippy::expect_used, reason = "a list of endpoints is bounded by its type, 184 bytes at most")]
    pub fn seal(&mut self, endpoints: &UdpEndpoints) -> SealedEndpoints {
        let counter = counter_bytes(self.sent);
        self.sent = self.sent.saturating_add(1);
        let mut body = codec::encode(endpoints).expect("a bounded list");
        ChaCha20Poly1305::new(self.mine.as_bytes().into())
            .encrypt_in_place(&Nonce::from(counter), &self.transcript, &mut body)
            .expect("a short body");
        SealedEndpoints::new([&counter[..], &body].concat()).expect("a box within its cap")
    }

    /// Opens what the peer sealed, if it is newer than all before.
    ///
    /// # Errors
    /// See [`EndpointsError`]. On the first box after an acceptance [`EndpointsError::Unauthentic`]
    /// says that the two do not hold the same secret: the request is to be aborted.
    pub fn open(&mut self, sealed: &SealedEndpoints) -> Result<UdpEndpoints, EndpointsError> {
        let (counter, body) =
            sealed.as_slice().split_first_chunk::<COUNTER_LEN>().ok_or(EndpointsError::Unauthentic)?;
        if self.received.is_some_and(|last| *counter <= last) {
            return Err(EndpointsError::Stale);
        }
        let mut body = body.to_vec();
        ChaCha20Poly1305::new(self.theirs.as_bytes().into())
            .decrypt_in_place(&Nonce::from(*counter), &self.transcript, &mut body)
            .map_err(|_| EndpointsError::Unauthentic)?;
        self.received = Some(*counter);
        codec::decode(&body).map_err(|_| EndpointsError::Malformed)
    }
}

/// The counter right-aligned, big-endian: so it compares byte by byte.
const fn counter_bytes(counter: u64) -> [u8; COUNTER_LEN] {
    let [a, b, c, d, e, f, g, h] = counter.to_be_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    #[test]
    fn a_damaged_kem_ciphertext_shows_when_the_endpoints_do_not_open() {
        let pair = Pair::new();
        let request = pair.request();
        let (accept, mut alices) = pair.accept(request.offer());
        let damaged = pair.resigned(&accept, |body| body.kem[17] ^= 1);
        let mut bobs = pair.accepted(request, &damaged).unwrap();
        let sealed = alices.endpoints.seal(&UdpEndpoints::default());
        assert_eq!(bobs.endpoints.open(&sealed), Err(EndpointsError::Unauthentic));
    }
}
