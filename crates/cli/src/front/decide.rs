//! What `contacts` changes in a profile whose chat is open.

use std::sync::Arc;

use p2pchat_client::desk::{Action, Desk, Local};
use p2pchat_client::profile::{Decision, Home, Papers};
use p2pchat_client::{CommandId, Event, Identity, Request};
use tokio::time::{Duration, Instant};

use super::task::{Step, Task, failed, unanswered};

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
        if matches!(event, Event::Ready(_)) && self.command.is_none() {
            let id = desk.next_id();
            self.command = Some(id);
            vec![Step::Do(Action::Ask { id, request: Request::Decide(self.decision.clone()) })]
        } else if let Event::Done { id, .. } = event
            && Some(*id) == self.command
        {
            self.kept()
        } else {
            failed(event, self.command)
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.until)
    }

    fn timeout(&mut self, _: &mut Desk, _: Instant) -> Vec<Step> {
        unanswered()
    }

    fn shown(&self, _: Event) -> Option<Event> {
        None
    }
}
