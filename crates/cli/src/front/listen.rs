//! `listen`: waits for people, for as long as it runs.

use std::collections::BTreeSet;

use p2pchat_client::desk::Desk;
use p2pchat_client::event::{BrokerState, SessionState};
use p2pchat_client::{Event, Failure};
use p2pchat_proto::PeerId;
use tokio::time::Instant;

use super::task::{BrokerWait, Step, Task};

/// See the module. A broker that is away does not end it; one that refuses does, once nobody is
/// connected any more.
#[derive(Debug)]
pub struct Listen {
    wait: BrokerWait,
    connected: BTreeSet<PeerId>,
    refused: Option<Failure>,
}

impl Listen {
    /// Waits at this broker.
    pub fn new(broker: &str, now: Instant) -> Self {
        Self { wait: BrokerWait::new(broker, now), connected: BTreeSet::new(), refused: None }
    }
}

impl Task for Listen {
    fn event(&mut self, event: &Event, _: &mut Desk, _: Instant) -> Vec<Step> {
        match event {
            Event::Broker(event) => {
                if event.state == BrokerState::Refused {
                    self.refused = Some(self.wait.refused(event));
                }
            }
            Event::Session(event) => match event.state {
                SessionState::Connecting | SessionState::Suspect => {}
                SessionState::Up => {
                    self.connected.insert(event.peer);
                }
                SessionState::Lost | SessionState::Closed => {
                    self.connected.remove(&event.peer);
                }
            },
            Event::Ready(_)
            | Event::Presence(_)
            | Event::People { .. }
            | Event::Request(_)
            | Event::Message(_)
            | Event::Receipt(_)
            | Event::File(_)
            | Event::Trust(_)
            | Event::Standing(_)
            | Event::Info { .. }
            | Event::Recalled { .. }
            | Event::Typing { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::Error(_)
            | Event::Stopped(_) => {}
        }
        Vec::new()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _: &mut Desk, _: Instant) -> Vec<Step> {
        Vec::new()
    }

    fn settled(&mut self, _: &Desk) -> Option<Step> {
        if !self.connected.is_empty() {
            return None;
        }
        self.refused.take().map(|failure| Step::Stop(Some(failure)))
    }
}
