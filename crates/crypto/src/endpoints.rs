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
        #[cfg(any(test, feature = "simulation"))]
        crate::ledger::note(
            || crate::ledger::Fingerprint::of(self.mine.as_bytes()),
            counter,
            &self.transcript,
            &body,
        );
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
    use crate::testing::{Pair, say_something_each_of_its_own};

    const SECRET: [u8; 32] = [1; 32];
    const TRANSCRIPT: [u8; 32] = [2; 32];
    const ALICE: PeerId = PeerId([3; 32]);
    const BOB: PeerId = PeerId([4; 32]);

    fn with(secret: [u8; 32], transcript: [u8; 32]) -> [EndpointBox; 2] {
        let secret = IntroductionSecret::new(secret);
        [EndpointBox::new(&secret, ALICE, BOB, transcript), EndpointBox::new(&secret, BOB, ALICE, transcript)]
    }

    fn boxes() -> [EndpointBox; 2] {
        with(SECRET, TRANSCRIPT)
    }

    fn list(port: u16) -> UdpEndpoints {
        UdpEndpoints::new([([10, 0, 0, 1], port).into(), ([0xfd00, 0, 0, 0, 0, 0, 0, 1], port).into()])
    }

    #[test]
    fn endpoints_arrive_as_they_were_sealed_in_both_directions() {
        let [mut alice, mut bob] = boxes();
        for port in 1..4 {
            assert_eq!(bob.open(&alice.seal(&list(port))), Ok(list(port)));
            assert_eq!(alice.open(&bob.seal(&list(port))), Ok(list(port)));
        }
    }

    #[test]
    fn a_counter_that_does_not_grow_is_dropped() {
        let [mut alice, mut bob] = boxes();
        let (one, two, three) = (alice.seal(&list(1)), alice.seal(&list(2)), alice.seal(&list(3)));
        assert_eq!(bob.open(&two), Ok(list(2)));
        assert_eq!(bob.open(&two), Err(EndpointsError::Stale));
        assert_eq!(bob.open(&one), Err(EndpointsError::Stale));
        assert_eq!(bob.open(&three), Ok(list(3)));
    }

    #[test]
    fn a_forged_high_counter_does_not_shut_the_true_ones_out() {
        let [mut alice, mut bob] = boxes();
        let sealed = alice.seal(&list(1));
        let mut forged = sealed.as_slice().to_vec();
        forged[..COUNTER_LEN].fill(0xff);
        let forged = SealedEndpoints::new(forged).unwrap();
        assert_eq!(bob.open(&forged), Err(EndpointsError::Unauthentic));
        assert_eq!(bob.open(&sealed), Ok(list(1)));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let [mut alice, _] = boxes();
        let sealed = alice.seal(&list(1)).as_slice().to_vec();
        let open = |bytes: Vec<u8>| boxes()[1].open(&SealedEndpoints::new(bytes).unwrap());
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(flipped), Err(EndpointsError::Unauthentic), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(sealed[..length].to_vec()), Err(EndpointsError::Unauthentic), "{length} bytes");
        }
        assert_eq!(open(sealed), Ok(list(1)));
    }

    #[test]
    fn a_box_of_another_secret_transcript_or_direction_does_not_open() {
        let [mut alice, mut bob] = boxes();
        let sealed = alice.seal(&list(1));
        assert_eq!(alice.open(&sealed), Err(EndpointsError::Unauthentic), "one's own reflected");
        for [_, mut other] in [with([9; 32], TRANSCRIPT), with(SECRET, [9; 32])] {
            assert_eq!(other.open(&sealed), Err(EndpointsError::Unauthentic));
        }
        assert_eq!(bob.open(&sealed), Ok(list(1)));
    }

    #[test]
    fn an_authentic_box_that_is_no_list_is_malformed() {
        let [alice, mut bob] = boxes();
        let mut body = b"no list".to_vec();
        ChaCha20Poly1305::new(alice.mine.as_bytes().into())
            .encrypt_in_place(&Nonce::from(counter_bytes(0)), &TRANSCRIPT, &mut body)
            .unwrap();
        let sealed = SealedEndpoints::new([&counter_bytes(0)[..], &body].concat()).unwrap();
        assert_eq!(bob.open(&sealed), Err(EndpointsError::Malformed));
    }

    #[test]
    fn every_refusal_has_words_of_its_own() {
        use EndpointsError::{Malformed, Stale, Unauthentic};
        say_something_each_of_its_own(&[&Unauthentic, &Stale, &Malformed]);
    }

    #[test]
    fn the_longest_list_fits_its_box() {
        let [mut alice, mut bob] = boxes();
        let full = UdpEndpoints::new((1..20).map(|port| ([0xfd00, 0, 0, 0, 0, 0, 0, 1], port).into()));
        assert_eq!(bob.open(&alice.seal(&full)), Ok(full));
    }

    #[test]
    fn a_damaged_kem_ciphertext_shows_when_the_endpoints_do_not_open() {
        let pair = Pair::new();
        let request = pair.request();
        let (accept, mut alices) = pair.accept(request.offer());
        // Whoever damages it can only be the accepter: the ciphertext is under its signature.
        let damaged = pair.resigned(&accept, |body| body.kem[17] ^= 1);
        let mut bobs = pair.accepted(request, &damaged).unwrap();
        assert_eq!(bobs.endpoints.open(&alices.endpoints.seal(&list(1))), Err(EndpointsError::Unauthentic));
    }

    #[test]
    fn two_who_accepted_each_other_open_each_others_endpoints() {
        let (mut bobs, mut alices) = Pair::new().introduced();
        assert_eq!(bobs.endpoints.open(&alices.endpoints.seal(&list(1))), Ok(list(1)));
        assert_eq!(alices.endpoints.open(&bobs.endpoints.seal(&list(2))), Ok(list(2)));
    }
}
