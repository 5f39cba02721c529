//! A peer made by hand that renews the keys, or does not.

use p2pchat_crypto::Identity;
use p2pchat_crypto::data::SessionKeys;
use p2pchat_crypto::rekey::{Initiator, RekeyError};
use p2pchat_proto::frame::{Frame, Frames, StreamId};
use p2pchat_proto::rekey::{RekeyBody, RekeyMessage, RekeyStep};
use rand_chacha::ChaCha20Rng;

use super::hand::Hand;

/// Bytes before a body on a stream.
const BODY_HEADER_LEN: usize = 5;

/// A rekey whose second message is not here.
#[derive(Debug)]
pub struct Asked {
    initiator: Initiator,
    /// The content of the packet that asks.
    pub content: Vec<u8>,
}

impl Asked {
    /// Asks for the epoch after that of `current`, as the first thing on the control stream.
    ///
    /// # Errors
    /// Never in a session that a test can make.
    pub fn new(current: &SessionKeys, me: &Identity, rng: &mut ChaCha20Rng) -> Result<Self, RekeyError> {
        Self::after(0, current, me, rng)
    }

    /// The same after so many others, which were all that the control stream carried.
    ///
    /// # Errors
    /// Never in a session that a test can make.
    pub fn after(
        others: u32,
        current: &SessionKeys,
        me: &Identity,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, RekeyError> {
        let (initiator, noise) = Initiator::start(current, me, rng)?;
        let message = RekeyMessage { epoch: current.epoch() + 1, noise };
        let body = RekeyBody { step: RekeyStep::Start, message };
        let len = BODY_HEADER_LEN + body.to_bytes().1.len();
        let content = on_control(u64::from(others).saturating_mul(len as u64), &body);
        Ok(Self { initiator, content })
    }

    /// Takes what the target said: the hand is in the next epoch.
    ///
    /// # Errors
    /// If the target's message is none.
    pub fn answered(self, hand: &mut Hand, answer: &RekeyMessage) -> Result<(), RekeyError> {
        let next = self.initiator.finish(hand.session(), answer.epoch, &answer.noise)?;
        hand.enter(next);
        Ok(())
    }
}

/// A rekey body on the control stream, whole in one frame, at `offset`.
pub fn on_control(offset: u64, body: &RekeyBody) -> Vec<u8> {
    let (kind, body) = body.to_bytes();
    let mut bytes = vec![kind];
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(body);
    let mut content = Vec::new();
    Frame::Stream { stream: StreamId::CONTROL, offset, fin: false, bytes: &bytes }.encode(&mut content);
    content
}

/// The rekey body in a frame, if it is one.
pub fn in_frame(frame: &Frame<'_>) -> Option<RekeyBody> {
    let Frame::Stream { stream: StreamId::CONTROL, bytes, .. } = frame else { return None };
    let body = bytes.get(BODY_HEADER_LEN..)?;
    RekeyBody::from_bytes(*bytes.first()?, body).ok().flatten()
}

/// The second message of a rekey in what the target sealed.
pub fn answer_in(content: &[u8]) -> Option<RekeyMessage> {
    let bodies = Frames::new(content).flatten().filter_map(|frame| in_frame(&frame));
    bodies.filter(|body| body.step == RekeyStep::Answer).map(|body| body.message).next()
}
