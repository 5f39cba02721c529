//! From one epoch of a session to the next: `Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s` with empty
//! payloads, both messages inside the session that they renew.
//!
//! Each side knows the other's static key from the session's handshake, and the psk comes from the
//! secret of the epoch that is left: a rekey takes the statics, fresh ephemerals and everything that
//! came before. The session's initiator begins it, always; [`respond`] is the whole part of the
//! other. The secret of the new epoch says nothing of the old one, which is wiped when its
//! [`SessionKeys`] are dropped.

use core::fmt;

use rand::CryptoRng;

use crate::data::SessionKeys;
use crate::handshake::{self, HandshakeError};
use crate::identity::Identity;
use crate::noise::{Finished, Noise, Setup};
use crate::schedule::{self, Psk};
use crate::secret::{RandomnessFailed, redacted};

pub(crate) const PATTERN: &str = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
/// Position of the psk in the pattern: before the first message.
pub(crate) const PSK_POSITION: u8 = 0;
const PROLOGUE_LABEL: &[u8] = b"p2pchat 1 rekey";

/// Length of each of the two messages: an ephemeral key and a tag.
pub const MESSAGE_LEN: usize = 48;

/// Why a rekey failed. The peer's act, as its message came inside the session, unless it says
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekeyError {
    /// The message does not open: other keys, another session or epoch, or damage.
    Unauthentic,
    /// A public key of low order or not in its canonical form.
    WeakKey,
    /// The message is for another epoch than the one after the current.
    OtherEpoch,
    /// There is no epoch after the current one. Nobody's fault.
    LastEpoch,
    /// The source of randomness gave nothing but zeros. A local error.
    Randomness,
}

impl fmt::Display for RekeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "rekey message does not open",
            Self::WeakKey => "rekey message with a weak key",
            Self::OtherEpoch => "rekey message for another epoch",
            Self::LastEpoch => "the last epoch of the session",
            Self::Randomness => return RandomnessFailed.fmt(f),
        })
    }
}

impl core::error::Error for RekeyError {}

/// Sent the first message, waits for the second.
pub struct Initiator {
    noise: Noise,
    target: u32,
}

redacted!(Initiator);

impl Initiator {
    /// Begins: the state and message 1. Both belong to the epoch after `current`.
    ///
    /// # Errors
    /// [`RekeyError::LastEpoch`] and [`RekeyError::Randomness`].
    pub fn start(
        current: &SessionKeys,
        me: &Identity,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, [u8; MESSAGE_LEN]), RekeyError> {
        let target = next(current)?;
        let start = Start::of(current, target);
        let mut noise = Noise::initiator(&start.setup(current, me), rng).map_err(refused)?;
        let message = noise.write().map_err(refused)?;
        Ok((Self { noise, target }, message))
    }

    /// Takes message 2, which names `target`: the keys of the next epoch. `current` are those that
    /// it was started with.
    ///
    /// # Errors
    /// See [`RekeyError`].
    pub fn finish(
        mut self,
        current: &SessionKeys,
        target: u32,
        message: &[u8; MESSAGE_LEN],
    ) -> Result<SessionKeys, RekeyError> {
        if target != self.target || next(current)? != target {
            return Err(RekeyError::OtherEpoch);
        }
        self.noise.read(message).map_err(refused)?;
        next_keys(current, target, self.noise)
    }
}

/// Takes message 1, which names `target`: the keys of the next epoch, and message 2.
///
/// # Errors
/// See [`RekeyError`].
pub fn respond(
    current: &SessionKeys,
    me: &Identity,
    target: u32,
    message: &[u8; MESSAGE_LEN],
    rng: &mut dyn CryptoRng,
) -> Result<(SessionKeys, [u8; MESSAGE_LEN]), RekeyError> {
    if next(current)? != target {
        return Err(RekeyError::OtherEpoch);
    }
    let start = Start::of(current, target);
    let mut noise = Noise::responder(&start.setup(current, me), rng).map_err(refused)?;
    noise.read(message).map_err(refused)?;
    let answer = noise.write().map_err(refused)?;
    Ok((next_keys(current, target, noise)?, answer))
}

/// What both sides begin with, from the epoch that is left.
struct Start {
    prologue: Vec<u8>,
    psk: Psk,
}

impl Start {
    fn of(current: &SessionKeys, target: u32) -> Self {
        let psk = schedule::rekey_psk(&current.secret);
        Self { prologue: prologue(&current.session.hash, target), psk }
    }

    fn setup<'a>(&'a self, current: &'a SessionKeys, me: &'a Identity) -> Setup<'a> {
        Setup {
            pattern: PATTERN,
            prologue: &self.prologue,
            local: Some(me.noise_secret()),
            remote: Some(&current.session.peer_noise),
            psk: Some((PSK_POSITION, self.psk.as_bytes())),
        }
    }
}

/// Label, hash of the session's handshake and epoch, each of a fixed length (protocol section 5).
fn prologue(session: &[u8; 32], target: u32) -> Vec<u8> {
    [PROLOGUE_LABEL, session, &target.to_be_bytes()].concat()
}

fn next(current: &SessionKeys) -> Result<u32, RekeyError> {
    current.epoch.checked_add(1).ok_or(RekeyError::LastEpoch)
}

fn next_keys(current: &SessionKeys, target: u32, noise: Noise) -> Result<SessionKeys, RekeyError> {
    let Finished { split: [first, second], hash, .. } = noise.finish().ok_or(RekeyError::Unauthentic)?;
    let secret = schedule::next_epoch(&current.secret, [&first, &second], &hash, target);
    Ok(SessionKeys { secret, epoch: target, session: current.session })
}

fn refused(error: snow::Error) -> RekeyError {
    match handshake::refused(error) {
        HandshakeError::Unauthentic | HandshakeError::OtherStatic => RekeyError::Unauthentic,
        HandshakeError::WeakKey => RekeyError::WeakKey,
        HandshakeError::Randomness => RekeyError::Randomness,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Epoch;
    use crate::handshake::Responder;
    use crate::testing::{Pair, Recorded, identity, rng, say_something_each_of_its_own};

    /// Both sides' keys of epoch 0; bob asked.
    fn met(pair: &Pair) -> [SessionKeys; 2] {
        let (bobs, alices) = pair.introduced();
        let (initiator, first) = handshake::Initiator::start(&bobs.introduction, &pair.bob, &mut rng(20));
        let (responder, second) =
            Responder::respond(&alices.introduction, &pair.alice, &first, &mut rng(21)).unwrap();
        let (bobs, third) = initiator.read_response(&second).unwrap();
        [bobs, responder.finish(&third).unwrap()]
    }

    fn begun(pair: &Pair, bobs: &SessionKeys) -> (Initiator, [u8; MESSAGE_LEN]) {
        Initiator::start(bobs, &pair.bob, &mut rng(30)).unwrap()
    }

    fn answered(
        pair: &Pair,
        alices: &SessionKeys,
        target: u32,
        message: &[u8; MESSAGE_LEN],
    ) -> Result<(SessionKeys, [u8; MESSAGE_LEN]), RekeyError> {
        respond(alices, &pair.alice, target, message, &mut rng(31))
    }

    fn rekeyed(pair: &Pair, [bobs, alices]: &[SessionKeys; 2]) -> Result<[SessionKeys; 2], RekeyError> {
        let target = bobs.epoch() + 1;
        let (initiator, first) = begun(pair, bobs);
        let (alices, second) = answered(pair, alices, target, &first)?;
        Ok([initiator.finish(bobs, target, &second)?, alices])
    }

    fn reads(from: &Epoch, to: &Epoch) -> bool {
        let mut buffer = b"hello".to_vec();
        let tag = from.seal.seal_in_place(7, b"header", &mut buffer);
        buffer.extend(tag);
        to.open.open_in_place(7, b"header", &mut buffer).is_some_and(|text| text == b"hello")
    }

    fn flips(message: [u8; MESSAGE_LEN]) -> impl Iterator<Item = [u8; MESSAGE_LEN]> {
        (0..MESSAGE_LEN * 8).map(move |bit| {
            let mut flipped = message;
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
    }

    #[test]
    fn each_epoch_has_keys_of_its_own_that_both_sides_share() {
        let pair = Pair::new();
        let mut epochs = vec![met(&pair)];
        for number in 1..=4 {
            let both = rekeyed(&pair, epochs.last().unwrap()).unwrap();
            assert!(both.iter().all(|keys| keys.epoch() == number));
            epochs.push(both);
        }
        let keys: Vec<_> = epochs.iter().map(|both| [both[0].keys(), both[1].keys()]).collect();
        for (one, [bobs, alices]) in keys.iter().enumerate() {
            for (other, [others_bobs, others_alices]) in keys.iter().enumerate() {
                assert_eq!(reads(bobs, others_alices), one == other, "{one} to {other}");
                assert_eq!(reads(alices, others_bobs), one == other, "{one} to {other}");
            }
            assert!(!reads(bobs, bobs) && !reads(alices, alices), "reflected");
        }
        let resumption = |keys: &SessionKeys| *keys.resumption().expose();
        assert!(epochs.iter().all(|[bobs, alices]| resumption(bobs) == resumption(alices)));
        let secrets: std::collections::BTreeSet<_> =
            epochs.iter().map(|[bobs, _]| resumption(bobs)).collect();
        assert_eq!(secrets.len(), epochs.len());
    }

    #[test]
    fn the_prologue_binds_the_session_and_the_epoch() {
        assert_eq!(prologue(&[7; 32], 0x0102), [&b"p2pchat 1 rekey"[..], &[7; 32], &[0, 0, 1, 2]].concat());
        let pair = Pair::new();
        let [bobs, alices] = met(&pair);
        let (_, first) = begun(&pair, &bobs);
        let mut other = met(&pair)[1].session;
        other.hash[31] ^= 1;
        let secret = schedule::SessionSecret::new(*alices.secret.as_bytes());
        let elsewhere = SessionKeys { secret, epoch: 0, session: other };
        assert_eq!(answered(&pair, &elsewhere, 1, &first).unwrap_err(), RekeyError::Unauthentic);
        // The same secret in another epoch: message and receiver agree on the number, the prologue not.
        let secret = schedule::SessionSecret::new(*alices.secret.as_bytes());
        let later = SessionKeys { secret, epoch: 8, session: alices.session };
        assert_eq!(answered(&pair, &later, 9, &first).unwrap_err(), RekeyError::Unauthentic);
        assert!(answered(&pair, &alices, 1, &first).is_ok());
    }

    #[test]
    fn a_message_that_names_another_epoch_than_the_next_is_refused() {
        let pair = Pair::new();
        let [bobs, alices] = met(&pair);
        let (_, first) = begun(&pair, &bobs);
        for target in [0, 2, 257, u32::MAX] {
            assert_eq!(answered(&pair, &alices, target, &first).unwrap_err(), RekeyError::OtherEpoch);
            let (initiator, first) = begun(&pair, &bobs);
            let (_, second) = answered(&pair, &alices, 1, &first).unwrap();
            let finished = initiator.finish(&bobs, target, &second);
            assert_eq!(finished.unwrap_err(), RekeyError::OtherEpoch);
        }
    }

    #[test]
    fn the_secret_of_another_epoch_is_another_psk_and_fails_at_the_first_message() {
        let pair = Pair::new();
        let [bobs, mut alices] = met(&pair);
        let (_, first) = begun(&pair, &bobs);
        alices.secret = schedule::SessionSecret::new([9; 32]);
        assert_eq!(answered(&pair, &alices, 1, &first).unwrap_err(), RekeyError::Unauthentic);
    }

    #[test]
    fn whoever_lacks_one_of_the_static_keys_of_the_session_is_refused() {
        let pair = Pair::new();
        let [mut bobs, mut alices] = met(&pair);
        let (_, first) = Initiator::start(&bobs, &identity(50), &mut rng(30)).unwrap();
        assert_eq!(answered(&pair, &alices, 1, &first).unwrap_err(), RekeyError::Unauthentic);
        let (_, first) = begun(&pair, &bobs);
        let refused = respond(&alices, &identity(50), 1, &first, &mut rng(31));
        assert_eq!(refused.unwrap_err(), RekeyError::Unauthentic);
        alices.session.peer_noise = identity(50).noise_public();
        assert_eq!(answered(&pair, &alices, 1, &first).unwrap_err(), RekeyError::Unauthentic);
        bobs.session.peer_noise = identity(50).noise_public();
        let (_, first) = begun(&pair, &bobs);
        assert_eq!(answered(&pair, &met(&pair)[1], 1, &first).unwrap_err(), RekeyError::Unauthentic);
    }

    #[test]
    fn no_flipped_bit_of_either_message_passes_and_the_original_does() {
        let pair = Pair::new();
        let [bobs, alices] = met(&pair);
        let (initiator, first) = begun(&pair, &bobs);
        for flipped in flips(first) {
            assert!(answered(&pair, &alices, 1, &flipped).is_err());
        }
        let (_, second) = answered(&pair, &alices, 1, &first).unwrap();
        for flipped in flips(second) {
            assert!(begun(&pair, &bobs).0.finish(&bobs, 1, &flipped).is_err());
        }
        assert!(initiator.finish(&bobs, 1, &second).is_ok());
    }

    #[test]
    fn reflected_messages_and_those_of_another_rekey_are_refused() {
        let pair = Pair::new();
        let [bobs, alices] = met(&pair);
        let (initiator, first) = begun(&pair, &bobs);
        assert_eq!(initiator.finish(&bobs, 1, &first).unwrap_err(), RekeyError::Unauthentic);
        let reflected = respond(&bobs, &pair.bob, 1, &first, &mut rng(31));
        assert_eq!(reflected.unwrap_err(), RekeyError::Unauthentic);
        let (_, second) = answered(&pair, &alices, 1, &first).unwrap();
        let (other, _) = Initiator::start(&bobs, &pair.bob, &mut rng(40)).unwrap();
        assert_eq!(other.finish(&bobs, 1, &second).unwrap_err(), RekeyError::Unauthentic);
    }

    #[test]
    fn ephemeral_keys_of_low_order_are_refused_on_both_sides() {
        let pair = Pair::new();
        let [bobs, alices] = met(&pair);
        let (initiator, mut first) = begun(&pair, &bobs);
        let (_, mut second) = answered(&pair, &alices, 1, &first).unwrap();
        first[..32].fill(0);
        assert_eq!(answered(&pair, &alices, 1, &first).unwrap_err(), RekeyError::WeakKey);
        second[..32].fill(0);
        assert_eq!(initiator.finish(&bobs, 1, &second).unwrap_err(), RekeyError::WeakKey);
    }

    #[test]
    fn no_side_goes_on_with_an_ephemeral_key_of_zeros() {
        let pair = Pair::new();
        let [bobs, alices] = met(&pair);
        let zeros = || Recorded(vec![0; 32]);
        let begun_with_zeros = Initiator::start(&bobs, &pair.bob, &mut zeros());
        assert_eq!(begun_with_zeros.unwrap_err(), RekeyError::Randomness);
        let (_, first) = begun(&pair, &bobs);
        let answer = respond(&alices, &pair.alice, 1, &first, &mut zeros());
        assert_eq!(answer.unwrap_err(), RekeyError::Randomness);
    }

    #[test]
    fn there_is_no_epoch_after_the_last() {
        let pair = Pair::new();
        let [mut bobs, mut alices] = met(&pair);
        (bobs.epoch, alices.epoch) = (u32::MAX - 1, u32::MAX - 1);
        let last = rekeyed(&pair, &[bobs, alices]).unwrap();
        assert!(last.iter().all(|keys| keys.epoch() == u32::MAX));
        let begun = Initiator::start(&last[0], &pair.bob, &mut rng(30));
        assert_eq!(begun.unwrap_err(), RekeyError::LastEpoch);
        let answer = answered(&pair, &last[1], 0, &[7; MESSAGE_LEN]);
        assert_eq!(answer.unwrap_err(), RekeyError::LastEpoch);
    }

    #[test]
    fn every_refusal_has_words_of_its_own() {
        use RekeyError::{LastEpoch, OtherEpoch, Randomness, Unauthentic, WeakKey};
        say_something_each_of_its_own(&[&Unauthentic, &WeakKey, &OtherEpoch, &LastEpoch, &Randomness]);
    }
}
