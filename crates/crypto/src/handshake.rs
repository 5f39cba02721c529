//! The session's handshake over UDP: `Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s` with empty payloads.
//!
//! The datagrams around the messages, and the MAC that is checked before any of this runs, are
//! the session's. A message that came through the MAC and fails here was made by the peer itself.
//! After a failure the handshake is gone: the types consume themselves.

use core::fmt;

use rand::CryptoRng;

use crate::data::{Session, SessionKeys};
use crate::identity::Identity;
use crate::introduction::{Introduction, Role, Suite};
use crate::noise::{Finished, Noise, Setup};
use crate::schedule;
use crate::secret::{RandomnessFailed, redacted};

const PATTERN: &str = "Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s";
/// Position of the psk in the pattern: at the end of the third message.
const PSK_POSITION: u8 = 3;
const PROLOGUE_LABEL: &[u8] = b"p2pchat 1 session";

/// Length of the first message: an ephemeral key and a tag.
pub const MESSAGE_1_LEN: usize = 48;
/// Length of the second message: an ephemeral key and a tag.
pub const MESSAGE_2_LEN: usize = 48;
/// Length of the third message: a sealed static key and a tag.
pub const MESSAGE_3_LEN: usize = 64;

/// Why a handshake failed. The peer's act, as the MAC of the datagram was right, unless it says
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The message does not open: other keys, another psk, another introduction, or damage.
    Unauthentic,
    /// A public key of low order or not in its canonical form.
    WeakKey,
    /// The static key of message 3 is not the one in the signed offer.
    OtherStatic,
    /// The source of randomness gave nothing but zeros. A local error.
    Randomness,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "handshake message does not open",
            Self::WeakKey => "handshake message with a weak key",
            Self::OtherStatic => "static key is not the one that was offered",
            Self::Randomness => return RandomnessFailed.fmt(f),
        })
    }
}

impl core::error::Error for HandshakeError {}

/// Sent the first message, waits for the second.
pub struct Initiator {
    noise: Noise,
    suite: Suite,
    peer_noise: [u8; 32],
}

/// Sent the second message, waits for the third.
pub struct Responder {
    noise: Noise,
    suite: Suite,
    offered_static: [u8; 32],
}

redacted!(Initiator, Responder);

impl Initiator {
    /// Begins: the state and message 1. To be sent again as the same bytes.
    ///
    /// # Panics
    /// If `rng` gives 32 zeros: then it is no generator (see [`crate::generator`]), and nothing may
    /// go on with it.
    #[expect(
        clippy::expect_used,
        reason = "the pattern is a constant, keys are 32 bytes by type, and the offer's static key was checked to be contributory"
    )]
    pub fn start(
        introduction: &Introduction,
        me: &Identity,
        rng: &mut dyn CryptoRng,
    ) -> (Self, [u8; MESSAGE_1_LEN]) {
        let prologue = prologue(introduction);
        let setup = Setup { remote: Some(&introduction.peer_noise), ..setup(introduction, me, &prologue) };
        let mut noise = Noise::initiator(&setup, rng).expect("a valid setup");
        let message = noise.write().expect("a first message");
        (Self { noise, suite: introduction.suite(), peer_noise: introduction.peer_noise }, message)
    }

    /// Takes message 2 and gives the keys and message 3.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn read_response(
        mut self,
        message: &[u8; MESSAGE_2_LEN],
    ) -> Result<(SessionKeys, [u8; MESSAGE_3_LEN]), HandshakeError> {
        self.noise.read(message).map_err(refused)?;
        let last = self.noise.write().map_err(refused)?;
        let finished = self.noise.finish().ok_or(HandshakeError::Unauthentic)?;
        Ok((session_keys(&finished, Role::Initiator, self.suite, self.peer_noise), last))
    }
}

impl Responder {
    /// Takes message 1: the state and message 2. To be sent again as the same bytes.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn respond(
        introduction: &Introduction,
        me: &Identity,
        message: &[u8; MESSAGE_1_LEN],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, [u8; MESSAGE_2_LEN]), HandshakeError> {
        let prologue = prologue(introduction);
        let mut noise = Noise::responder(&setup(introduction, me, &prologue), rng).map_err(refused)?;
        noise.read(message).map_err(refused)?;
        let response = noise.write().map_err(refused)?;
        let offered_static = introduction.peer_noise;
        Ok((Self { noise, suite: introduction.suite(), offered_static }, response))
    }

    /// Takes message 3 and gives the keys, if its static key is the one that was offered.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn finish(mut self, message: &[u8; MESSAGE_3_LEN]) -> Result<SessionKeys, HandshakeError> {
        self.noise.read(message).map_err(refused)?;
        let finished = self.noise.finish().ok_or(HandshakeError::Unauthentic)?;
        if finished.remote_static != Some(self.offered_static) {
            return Err(HandshakeError::OtherStatic);
        }
        Ok(session_keys(&finished, Role::Responder, self.suite, self.offered_static))
    }
}

fn setup<'a>(introduction: &'a Introduction, me: &'a Identity, prologue: &'a [u8]) -> Setup<'a> {
    Setup {
        pattern: PATTERN,
        prologue,
        local: Some(me.noise_secret()),
        remote: None,
        psk: Some((PSK_POSITION, introduction.psk.as_bytes())),
    }
}

/// Label, transcript and the initiator's ticket, each of a fixed length (protocol section 4).
fn prologue(introduction: &Introduction) -> Vec<u8> {
    [PROLOGUE_LABEL, &introduction.transcript, &introduction.initiator_ticket().0].concat()
}

fn session_keys(finished: &Finished, role: Role, suite: Suite, peer_noise: [u8; 32]) -> SessionKeys {
    let [first, second] = &finished.split;
    let session = Session { role, suite, hash: finished.hash, peer_noise };
    SessionKeys { secret: schedule::session_secret([first, second], &finished.hash), epoch: 0, session }
}

pub(crate) fn refused(error: snow::Error) -> HandshakeError {
    if error == snow::Error::Dh {
        HandshakeError::WeakKey
    } else if error == snow::Error::Rng {
        HandshakeError::Randomness
    } else {
        HandshakeError::Unauthentic
    }
}

#[cfg(test)]
mod tests {
    use p2pchat_proto::offer::Suites;

    use super::*;
    use crate::data::Epoch;
    use crate::introduction::{Terms, Ticket};
    use crate::schedule::IntroductionSecret;
    use crate::testing::{BOTH_SUITES, Pair, Recorded, identity, rng, say_something_each_of_its_own};

    const TRANSCRIPT: [u8; 32] = [5; 32];

    /// Introductions of the pair from a secret that the test chooses.
    fn introductions(pair: &Pair, secrets: [u8; 2], transcripts: [[u8; 32]; 2]) -> [Introduction; 2] {
        let sides = [(&pair.bob, &pair.alice, Role::Initiator), (&pair.alice, &pair.bob, Role::Responder)];
        let mut inputs = sides.into_iter().zip(secrets).zip(transcripts);
        core::array::from_fn(|_| {
            let (((me, peer, role), secret), transcript) = inputs.next().unwrap();
            let terms = Terms {
                me: me.peer_id(),
                peer: peer.peer_id(),
                role,
                suite: Suite::ChaCha20Poly1305,
                peer_noise: peer.noise_public(),
                transcript,
            };
            Introduction::new(&terms, &IntroductionSecret::new([secret; 32]))
        })
    }

    fn equal_introductions(pair: &Pair) -> [Introduction; 2] {
        introductions(pair, [7; 2], [TRANSCRIPT; 2])
    }

    struct Messages {
        initiator: Initiator,
        responder: Responder,
        first: [u8; MESSAGE_1_LEN],
        second: [u8; MESSAGE_2_LEN],
    }

    fn two_messages(pair: &Pair, [bobs, alices]: &[Introduction; 2]) -> Messages {
        let (initiator, first) = Initiator::start(bobs, &pair.bob, &mut rng(20));
        let (responder, second) = Responder::respond(alices, &pair.alice, &first, &mut rng(21)).unwrap();
        Messages { initiator, responder, first, second }
    }

    fn run(pair: &Pair, introductions: &[Introduction; 2]) -> Result<[Epoch; 2], HandshakeError> {
        let [bobs, alices] = introductions;
        let (initiator, first) = Initiator::start(bobs, &pair.bob, &mut rng(20));
        let (responder, second) = Responder::respond(alices, &pair.alice, &first, &mut rng(21))?;
        let (bobs, third) = initiator.read_response(&second)?;
        Ok([bobs.into_epoch(), responder.finish(&third)?.into_epoch()])
    }

    fn flips<const N: usize>(message: [u8; N]) -> impl Iterator<Item = [u8; N]> {
        (0..N * 8).map(move |bit| {
            let mut flipped = message;
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
    }

    #[test]
    fn what_one_side_seals_the_other_opens_in_both_directions_and_suites() {
        let pair = Pair::new();
        for suites in [BOTH_SUITES, Suites::CHACHA20_POLY1305] {
            let (bobs, alices) = pair.introduced_with_suites(suites);
            let [bob, alice] = run(&pair, &[bobs.introduction, alices.introduction]).unwrap();
            for (from, to) in [(&bob, &alice), (&alice, &bob)] {
                let mut buffer = b"hello".to_vec();
                let tag = from.seal.seal_in_place(7, b"header", &mut buffer);
                buffer.extend(tag);
                let mut reflected = buffer.clone();
                assert_eq!(from.open.open_in_place(7, b"header", &mut reflected), None);
                assert_eq!(to.open.open_in_place(7, b"header", &mut buffer).unwrap(), b"hello");
            }
        }
    }

    #[test]
    fn another_psk_fails_at_the_third_message_and_no_later() {
        let pair = Pair::new();
        let [bobs, mut alices] = equal_introductions(&pair);
        let [_, other] = introductions(&pair, [7, 8], [TRANSCRIPT; 2]);
        // The prologue holds a ticket, which comes from the same secret: only the psk shall differ.
        alices.psk = other.psk;
        let messages = two_messages(&pair, &[bobs, alices]);
        let (_, third) = messages.initiator.read_response(&messages.second).unwrap();
        assert_eq!(messages.responder.finish(&third).unwrap_err(), HandshakeError::Unauthentic);
    }

    #[test]
    fn another_transcript_or_ticket_fails_at_the_first_message() {
        let pair = Pair::new();
        let first_of = |bobs: &Introduction| Initiator::start(bobs, &pair.bob, &mut rng(20)).1;
        let [bobs, alices] = introductions(&pair, [7; 2], [TRANSCRIPT, [6; 32]]);
        let refused = Responder::respond(&alices, &pair.alice, &first_of(&bobs), &mut rng(21));
        assert_eq!(refused.unwrap_err(), HandshakeError::Unauthentic);
        let [bobs, mut alices] = equal_introductions(&pair);
        alices.peer_ticket = Ticket([0; 8]);
        let refused = Responder::respond(&alices, &pair.alice, &first_of(&bobs), &mut rng(21));
        assert_eq!(refused.unwrap_err(), HandshakeError::Unauthentic);
    }

    #[test]
    fn no_two_introductions_have_one_prologue() {
        let pair = Pair::new();
        let [bobs, alices] = equal_introductions(&pair);
        assert_eq!(prologue(&bobs), prologue(&alices));
        assert_eq!(prologue(&bobs).len(), PROLOGUE_LABEL.len() + 32 + 8);
        // A byte that moves from the end of the transcript to the front of the ticket changes it.
        let with = |last: u8, first: u8| {
            let [mut bobs, _] = equal_introductions(&pair);
            bobs.transcript[31] = last;
            bobs.my_ticket = Ticket([first, 1, 1, 1, 1, 1, 1, 1]);
            prologue(&bobs)
        };
        assert_ne!(with(1, 2), with(2, 1));
        assert_ne!(with(1, 1), with(2, 1));
        assert_ne!(with(1, 1), with(1, 2));
    }

    #[test]
    fn a_peer_whose_static_key_is_not_the_offered_one_is_refused() {
        let pair = Pair::new();
        let [bobs, mut alices] = equal_introductions(&pair);
        alices.peer_noise = identity(50).noise_public();
        assert_eq!(run(&pair, &[bobs, alices]).unwrap_err(), HandshakeError::OtherStatic);
    }

    #[test]
    fn a_responder_without_the_offered_static_key_is_refused() {
        let pair = Pair::new();
        let [mut bobs, alices] = equal_introductions(&pair);
        bobs.peer_noise = identity(50).noise_public();
        assert_eq!(run(&pair, &[bobs, alices]).unwrap_err(), HandshakeError::Unauthentic);
    }

    #[test]
    fn no_flipped_bit_of_any_message_passes() {
        let pair = Pair::new();
        let both = equal_introductions(&pair);
        let [_, alices] = &both;
        let messages = two_messages(&pair, &both);
        for first in flips(messages.first) {
            assert!(Responder::respond(alices, &pair.alice, &first, &mut rng(21)).is_err());
        }
        for second in flips(messages.second) {
            assert!(two_messages(&pair, &both).initiator.read_response(&second).is_err());
        }
        let (_, third) = messages.initiator.read_response(&messages.second).unwrap();
        for third in flips(third) {
            assert!(two_messages(&pair, &both).responder.finish(&third).is_err());
        }
        assert!(two_messages(&pair, &both).responder.finish(&third).is_ok());
    }

    #[test]
    fn ephemeral_keys_of_low_order_are_refused_on_both_sides() {
        let pair = Pair::new();
        let both = equal_introductions(&pair);
        let [_, alices] = &both;
        let messages = two_messages(&pair, &both);
        let mut first = messages.first;
        first[..32].fill(0);
        let refused = Responder::respond(alices, &pair.alice, &first, &mut rng(21));
        assert_eq!(refused.unwrap_err(), HandshakeError::WeakKey);
        let mut second = messages.second;
        second[..32].fill(0);
        assert_eq!(messages.initiator.read_response(&second).unwrap_err(), HandshakeError::WeakKey);
    }

    #[test]
    fn no_side_goes_on_with_an_ephemeral_key_of_zeros() {
        let pair = Pair::new();
        let [bobs, alices] = equal_introductions(&pair);
        let (_, first) = Initiator::start(&bobs, &pair.bob, &mut rng(20));
        let zeros = || Recorded(vec![0; 32]);
        let answer = Responder::respond(&alices, &pair.alice, &first, &mut zeros());
        assert_eq!(answer.unwrap_err(), HandshakeError::Randomness);
        let begun = std::panic::catch_unwind(|| Initiator::start(&bobs, &pair.bob, &mut zeros()).1);
        assert!(begun.is_err());
    }

    #[test]
    fn messages_of_another_handshake_of_the_same_two_are_refused() {
        let pair = Pair::new();
        let both = equal_introductions(&pair);
        let [bobs, _] = &both;
        let messages = two_messages(&pair, &both);
        let (other, _) = Initiator::start(bobs, &pair.bob, &mut rng(40));
        assert_eq!(other.read_response(&messages.second).unwrap_err(), HandshakeError::Unauthentic);
    }

    #[test]
    fn every_refusal_has_words_of_its_own() {
        use HandshakeError::{OtherStatic, Unauthentic, WeakKey};
        say_something_each_of_its_own(&[&Unauthentic, &WeakKey, &OtherStatic]);
    }

    #[test]
    fn the_same_seed_gives_the_same_messages() {
        let pair = Pair::new();
        let both = equal_introductions(&pair);
        let (one, two) = (two_messages(&pair, &both), two_messages(&pair, &both));
        assert_eq!((one.first, one.second), (two.first, two.second));
    }
}
