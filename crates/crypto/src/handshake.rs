//! The session's handshake over UDP: `Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s` with empty payloads.
//!
//! The datagrams around the messages, and the MAC that is checked before any of this runs, are
//! the session's. A message that came through the MAC and fails here was made by the peer itself.
//! After a failure the handshake is gone: the types consume themselves.

use core::fmt;

use rand::CryptoRng;

use crate::data::SessionKeys;
use crate::identity::Identity;
use crate::introduction::{Introduction, Role, Suite};
use crate::noise::{Finished, Noise, Setup};
use crate::schedule;
use crate::secret::redacted;

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

/// Why a handshake failed. The peer's act, as the MAC of the datagram was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The message does not open: other keys, another psk, another introduction, or damage.
    Unauthentic,
    /// A public key of low order or not in its canonical form.
    WeakKey,
    /// The static key of message 3 is not the one in the signed offer.
    OtherStatic,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "handshake message does not open",
            Self::WeakKey => "handshake message with a weak key",
            Self::OtherStatic => "static key is not the one that was offered",
        })
    }
}

impl core::error::Error for HandshakeError {}

/// Sent the first message, waits for the second.
pub struct Initiator {
    noise: Noise,
    suite: Suite,
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
        let setup = Setup { remote: Some(introduction.peer_noise()), ..setup(introduction, me, &prologue) };
        let mut noise = Noise::initiator(&setup, rng).expect("a valid setup");
        let message = noise.write().expect("a first message");
        (Self { noise, suite: introduction.suite() }, message)
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
        Ok((session_keys(&finished, Role::Initiator, self.suite), last))
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
        let offered_static = *introduction.peer_noise();
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
        Ok(session_keys(&finished, Role::Responder, self.suite))
    }
}

fn setup<'a>(introduction: &'a Introduction, me: &'a Identity, prologue: &'a [u8]) -> Setup<'a> {
    Setup {
        pattern: PATTERN,
        prologue,
        local: Some(me.noise_secret()),
        remote: None,
        psk: Some((PSK_POSITION, introduction.psk().as_bytes())),
    }
}

/// Label, transcript and the initiator's ticket, each of a fixed length (protocol section 4).
fn prologue(introduction: &Introduction) -> Vec<u8> {
    [PROLOGUE_LABEL, introduction.transcript(), &introduction.initiator_ticket().0].concat()
}

fn session_keys(finished: &Finished, role: Role, suite: Suite) -> SessionKeys {
    let [first, second] = &finished.split;
    SessionKeys::new(schedule::session_secret([first, second], &finished.hash), role, suite)
}

fn refused(error: snow::Error) -> HandshakeError {
    if error == snow::Error::Dh { HandshakeError::WeakKey } else { HandshakeError::Unauthentic }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Epoch;
    use crate::testing::{Pair, rng};

    fn run(pair: &Pair, bobs: &Introduction, alices: &Introduction) -> (Epoch, Epoch) {
        let (initiator, first) = Initiator::start(bobs, &pair.bob, &mut rng(20));
        let (responder, second) = Responder::respond(alices, &pair.alice, &first, &mut rng(21)).unwrap();
        let (bobs, third) = initiator.read_response(&second).unwrap();
        (bobs.into_epoch(), responder.finish(&third).unwrap().into_epoch())
    }

    #[test]
    fn what_one_side_seals_the_other_opens_in_both_directions() {
        let pair = Pair::new();
        let (bobs, alices) = pair.introduced();
        let (bob, alice) = run(&pair, &bobs.introduction, &alices.introduction);
        for (from, to) in [(&bob, &alice), (&alice, &bob)] {
            let mut buffer = b"hello".to_vec();
            let tag = from.seal.seal_in_place(7, b"header", &mut buffer);
            buffer.extend(tag);
            assert_eq!(to.open.open_in_place(7, b"header", &mut buffer).unwrap(), b"hello");
        }
    }
}
