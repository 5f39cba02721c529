//! `transfers` in a profile whose chat is open.

use p2pchat_client::desk::{Action, Desk, Local};
use p2pchat_client::{Command, CommandId, Event, Failure, TransferNumber};
use tokio::time::{Duration, Instant};

use super::task::{Step, Task, ask};

/// How long the chat may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// See the module. The desk has observed what runs before the task begins.
#[derive(Debug)]
pub struct Running {
    cancel: Option<TransferNumber>,
    command: Option<CommandId>,
    until: Instant,
}

impl Running {
    /// Shows what runs, or cancels one of those.
    pub fn new(cancel: Option<TransferNumber>, now: Instant) -> Self {
        Self { cancel, command: None, until: now + ANSWER_WAIT }
    }
}

impl Task for Running {
    fn event(&mut self, event: &Event, desk: &mut Desk, _: Instant) -> Vec<Step> {
        match event {
            Event::Ready(_) if self.command.is_none() => match self.cancel {
                None => {
                    let files = desk.files().filter(|file| !file.state.is_end()).cloned().collect();
                    vec![Step::Do(Action::Show(Local::Files(files))), Step::Stop(None)]
                }
                Some(transfer) => {
                    let id = desk.next_id();
                    self.command = Some(id);
                    vec![ask(id, Command::CancelFile { transfer })]
                }
            },
            Event::Done { id, .. } if Some(*id) == self.command => {
                let file = desk.files().find(|file| Some(file.transfer) == self.cancel).cloned();
                let show = file.map(|file| Step::Do(Action::Show(Local::Files(vec![file]))));
                show.into_iter().chain([Step::Stop(None)]).collect()
            }
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
            what: "see to the transfers".to_owned(),
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
