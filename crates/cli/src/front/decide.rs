//! What `contacts` changes in a profile whose chat is open.

use std::sync::Arc;

use p2pchat_client::desk::{Action, Desk, Local};
use p2pchat_client::profile::{Decision, Home, Papers};
use p2pchat_client::{CommandId, Event, Failure, Identity, Request};
use tokio::time::{Duration, Instant};

use super::task::{Step, Task};

/// How long the profile may take.
const KEEP_WAIT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Decide {
    decision: Decision,
    home: Home,
    me: Arc<Identity>,
    command: Option<CommandId>,
    until: Instant,
}

impl Decide {
    /// That decision, in that profile.
    pub fn new(decision: Decision, home: Home, me: Arc<Identity>, now: Instant) -> Self {
        Self { decision, home, me, command: None, until: now + KEEP_WAIT }
    }

    /// Who it was about, as they are known by now.
    fn kept(&self) -> Vec<Step> {
        match Papers::look(&self.home, &self.me) {
            Ok(papers) => {
                let person = Box::new(papers.of(self.decision.peer()));
                vec![Step::Do(Action::Show(Local::Contact(person))), Step::Stop(None)]
            }
            Err(failure) => vec![Step::Stop(Some(failure))],
        }
    }
}

impl Task for Decide {
    fn event(&mut self, event: &Event, desk: &mut Desk, _: Instant) -> Vec<Step> {
        match event {
            Event::Ready(_) if self.command.is_none() => {
                let id = desk.next_id();
                self.command = Some(id);
                vec![Step::Do(Action::Ask { id, request: Request::Decide(self.decision.clone()) })]
            }
            Event::Done { id, .. } if Some(*id) == self.command => self.kept(),
            Event::Failed { id, failure } if Some(*id) == self.command => {
                vec![Step::Stop(Some(failure.clone()))]
            }
            Event::Ready(_)
            | Event::Broker(_)
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

    fn deadline(&self) -> Option<Instant> {
        Some(self.until)
    }

    fn timeout(&mut self, _: &mut Desk, _: Instant) -> Vec<Step> {
        vec![Step::Stop(Some(Failure::Local {
            what: "keep it".to_owned(),
            reason: "the running p2pchat does not answer".to_owned(),
        }))]
    }

    fn input_ended(&mut self, _: Instant) -> bool {
        false
    }

    fn settled(&mut self, _: &Desk) -> Option<Step> {
        None
    }

    fn waits_for_broker(&self) -> bool {
        false
    }

    fn shown(&self, _: Event) -> Option<Event> {
        None
    }
}
