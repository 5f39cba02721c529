//! What is so by now, for whoever comes later.

use std::collections::BTreeMap;

use p2pchat_client::Event;
use p2pchat_client::event::{BrokerEvent, Ready, SessionEvent, SessionState};
use p2pchat_proto::{PeerId, Standing};

/// See the module. One session a person, as many as the engine has.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ready: Option<Ready>,
    broker: Option<BrokerEvent>,
    standing: Standing,
    sessions: BTreeMap<PeerId, SessionEvent>,
}

impl Seen {
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::Ready(event) = event {
            self.ready = Some(event.clone());
        } else if let Event::Standing(standing) = event {
            self.standing = *standing;
        } else if let Event::Broker(event) = event {
            self.broker = Some(event.clone());
        } else if let Event::Session(event) = event {
            match event.state {
                SessionState::Up | SessionState::Suspect => {
                    self.sessions.insert(event.peer, event.clone());
                }
                SessionState::Connecting | SessionState::Lost | SessionState::Closed => {
                    self.sessions.remove(&event.peer);
                }
            }
        }
    }

    pub(super) fn ready(&self) -> Option<&Ready> {
        self.ready.as_ref()
    }

    /// How the user stands where that is said, sessions, then who this is, then the broker.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        let sessions = self.sessions.values().cloned().map(Event::Session);
        let ready = self.ready.iter().cloned().map(Event::Ready);
        let standing = (!self.standing.is_default()).then_some(Event::Standing(self.standing));
        standing
            .into_iter()
            .chain(sessions)
            .chain(ready)
            .chain(self.broker.iter().cloned().map(Event::Broker))
    }
}
