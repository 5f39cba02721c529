//! `list`: asks the broker once who is there.

use p2pchat_client::desk::Desk;
use p2pchat_client::event::{BrokerState, PersonStatus};
use p2pchat_client::{Command, CommandId, Event};
use tokio::time::Instant;

use super::task::{BrokerWait, Step, Task, ask};

/// See the module.
#[derive(Debug)]
pub struct List {
    prefix: String,
    all: bool,
    wait: BrokerWait,
    command: Option<CommandId>,
}

impl List {
    /// Names that begin with `prefix`; those who are not there, too, with `all`.
    pub fn new(prefix: &str, all: bool, broker: &str, now: Instant) -> Self {
        Self { prefix: prefix.to_owned(), all, wait: BrokerWait::new(broker, now), command: None }
    }
}

impl Task for List {
    fn event(&mut self, event: &Event, desk: &mut Desk, _: Instant) -> Vec<Step> {
        match event {
            Event::Broker(event) => {
                self.wait.note(event);
                match event.state {
                    BrokerState::Connected if self.command.is_none() => {
                        let id = desk.next_id();
                        self.command = Some(id);
                        vec![ask(id, Command::People { prefix: self.prefix.clone() })]
                    }
                    BrokerState::Refused => vec![Step::Stop(Some(self.wait.refused(event)))],
                    BrokerState::Connecting | BrokerState::Connected | BrokerState::Lost => Vec::new(),
                }
            }
            Event::People { id, .. } if Some(*id) == self.command => vec![Step::Stop(None)],
            Event::Failed { id, failure } if Some(*id) == self.command => {
                vec![Step::Stop(Some(failure.clone()))]
            }
            Event::Ready(_)
            | Event::Presence(_)
            | Event::People { .. }
            | Event::Request(_)
            | Event::Session(_)
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
            | Event::Stopped(_) => Vec::new(),
        }
    }

    /// The whole answer has to come while the broker is waited for.
    fn deadline(&self) -> Option<Instant> {
        Some(self.wait.until)
    }

    fn timeout(&mut self, _: &mut Desk, _: Instant) -> Vec<Step> {
        vec![Step::Stop(Some(self.wait.failure()))]
    }

    fn waits_for_broker(&self) -> bool {
        self.command.is_none()
    }

    fn shown(&self, event: Event) -> Option<Event> {
        match event {
            Event::People { id, mut list } => {
                list.retain(|person| self.all || person.status != PersonStatus::Offline);
                Some(Event::People { id, list })
            }
            Event::Error(_) => Some(event),
            Event::Ready(_)
            | Event::Broker(_)
            | Event::Presence(_)
            | Event::Request(_)
            | Event::Session(_)
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
            | Event::Stopped(_) => None,
        }
    }
}
