//! How a session renews its keys: when, and with which bodies on the control stream.

use p2pchat_proto::Moment;
use p2pchat_proto::frame::{CloseCode, StreamId};
use p2pchat_proto::rekey::RekeyBody;

use super::{Connection, Phase};
use crate::event::{EndReason, Misbehaviour, SessionEvent};

impl Connection {
    /// Renews the keys if that is due, and ends the session if it should have happened long ago; the
    /// last packets under a key are for saying so.
    pub(super) fn attend_keys(&mut self, now: Moment) {
        match self.phase {
            Phase::Confirming(_) | Phase::Up { .. } => {}
            Phase::Closing(_) | Phase::Draining { .. } | Phase::Over => return,
        }
        if self.epochs.are_spent(now) {
            self.events.push(SessionEvent::Ended(EndReason::KeysUsedUp));
            self.start_closing(CloseCode::KeysUsedUp, None, now);
        } else if let Phase::Up { .. } = self.phase
            && let Some(start) = self.epochs.attend(now)
        {
            self.say_rekey(&start);
        }
    }

    /// Takes a body of the session's own kinds.
    pub(super) fn take_rekey(&mut self, kind: u8, bytes: &[u8], now: Moment) -> Result<(), Misbehaviour> {
        let body = RekeyBody::from_bytes(kind, bytes).ok().flatten().ok_or(Misbehaviour::Rekey)?;
        match self.epochs.take(&body, now)? {
            Some(answer) => self.say_rekey(&answer),
            // Proves the new epoch to the responder, and makes it do the same.
            None => self.ping = true,
        }
        Ok(())
    }

    fn say_rekey(&mut self, body: &RekeyBody) {
        let (kind, bytes) = body.to_bytes();
        self.streams.write_own(StreamId::CONTROL, kind, &bytes);
    }
}
