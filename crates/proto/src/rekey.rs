//! Bodies on the control stream by which a session renews its keys.
//!
//! They are the session's own: it sends and takes them by itself and hands neither on.

use crate::codec::{self, Body, Decode, DecodeError, Encode};
use crate::frame::StreamId;

/// Length of the Noise message in each body, in bytes: an ephemeral key and a tag.
pub const REKEY_NOISE_LEN: usize = 48;

const START: u8 = 0x10;
const ANSWER: u8 = 0x11;

/// A rekey body: which of the two, the epoch that it makes, and its Noise message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyBody {
    /// Which message.
    pub step: RekeyStep,
    /// What it says.
    pub message: RekeyMessage,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekeyStep {
    /// The session's initiator begins.
    Start,
    /// The responder answers; it can open the new epoch from here on.
    Answer,
}

/// The epoch after the current one and a message of the handshake that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RekeyMessage {
    /// Number of the new epoch, from 1.
    pub epoch: u32,
    /// The Noise message.
    pub noise: [u8; REKEY_NOISE_LEN],
}

impl Body for RekeyMessage {
    const MAX_LEN: usize = 4 + REKEY_NOISE_LEN;
}

impl RekeyBody {
    /// Whether a body of this kind on this stream is one of these.
    pub const fn is_kind(stream: StreamId, kind: u8) -> bool {
        stream.0 == StreamId::CONTROL.0 && matches!(kind, START | ANSWER)
    }

    /// Kind byte and bytes of this body.
    pub fn to_bytes(&self) -> (u8, [u8; RekeyMessage::MAX_LEN]) {
        let RekeyMessage { epoch, noise } = self.message;
        let kind = match self.step {
            RekeyStep::Start => START,
            RekeyStep::Answer => ANSWER,
        };
        let mut bytes = [0; RekeyMessage::MAX_LEN];
        let from = epoch.to_be_bytes().into_iter().chain(noise);
        bytes.iter_mut().zip(from).for_each(|(to, byte)| *to = byte);
        (kind, bytes)
    }

    /// The body of kind `kind` in `bytes`; `None` for a kind that is none of these.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn from_bytes(kind: u8, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let step = match kind {
            START => RekeyStep::Start,
            ANSWER => RekeyStep::Answer,
            _ => return Ok(None),
        };
        codec::decode(bytes).map(|message| Some(Self { step, message }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::TransferBody;

    fn body(step: RekeyStep) -> RekeyBody {
        RekeyBody { step, message: RekeyMessage { epoch: 0x0102_0304, noise: [7; REKEY_NOISE_LEN] } }
    }

    #[test]
    fn both_messages_have_their_bytes() {
        for (step, kind) in [(RekeyStep::Start, 0x10), (RekeyStep::Answer, 0x11)] {
            let expected = [&[1, 2, 3, 4][..], &[7; 48]].concat();
            assert_eq!(body(step).to_bytes(), (kind, *expected.first_chunk().unwrap()));
            assert_eq!(codec::encode(&body(step).message).unwrap(), expected);
            assert_eq!(RekeyBody::from_bytes(kind, &expected).unwrap(), Some(body(step)));
        }
    }

    #[test]
    fn a_body_of_another_length_is_refused() {
        let (kind, bytes) = body(RekeyStep::Start).to_bytes();
        let longer = [&bytes[..], &[0]].concat();
        assert!(RekeyBody::from_bytes(kind, &longer).is_err());
        assert!((0..bytes.len()).all(|len| RekeyBody::from_bytes(kind, &bytes[..len]).is_err()));
    }

    #[test]
    fn no_other_kind_and_no_other_stream_is_the_sessions_own() {
        for kind in 0..=u8::MAX {
            let own = RekeyBody::is_kind(StreamId::CONTROL, kind);
            assert_eq!(own, [START, ANSWER].contains(&kind));
            assert_eq!(own, RekeyBody::from_bytes(kind, &[0; 52]).unwrap().is_some());
            assert!(!RekeyBody::is_kind(StreamId::CONVERSATION, kind));
            assert!(!own || TransferBody::from_bytes(kind, &[0; 52]).unwrap().is_none());
        }
    }
}
