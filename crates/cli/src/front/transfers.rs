//! `transfers` in a profile whose chat is open.

use p2pchat_client::desk::{Action, Desk, Local};
use p2pchat_client::{Command, CommandId, Event, TransferNumber};
use tokio::time::{Duration, Instant};

use super::task::{Step, Task, ask, failed, unanswered};

/// How long the chat may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// See the module. The desk has observed what runs before the task begins.
#[derive(Debug)]
pub struct Running {
    cancel: Option<TransferNumber>,
    command: Option<CommandId>,
    /// It is to be cancelled, which it tells itself.
    cancels: bool,
    until: Instant,
}

impl Running {
    /// Shows what runs, or cancels one of those.
    pub fn new(cancel: Option<TransferNumber>, now: Instant) -> Self {
        Self { cancel, command: None, cancels: false, until: now + ANSWER_WAIT }
    }

    /// What was cancelled, once it is.
    fn cancelled(&self, desk: &Desk) -> Vec<Step> {
        let file = desk.files().find(|file| Some(file.transfer) == self.cancel);
        if file.is_some_and(|file| !file.state.is_end()) {
            return Vec::new();
        }
        let show = file.map(|file| Step::Do(Action::Show(Local::Files(vec![file.clone()]))));
        show.into_iter().chain([Step::Stop(None)]).collect()
    }
}

impl Task for Running {
    fn event(&mut self, event: &Event, desk: &mut Desk, _: Instant) -> Vec<Step> {
        if matches!(event, Event::Ready(_)) && self.command.is_none() {
            let Some(transfer) = self.cancel else {
                let files = desk.files().filter(|file| !file.state.is_end()).cloned().collect();
                return vec![Step::Do(Action::Show(Local::Files(files))), Step::Stop(None)];
            };
            let id = desk.next_id();
            self.command = Some(id);
            vec![ask(id, Command::CancelFile { transfer })]
        } else if let Event::Done { id, .. } = event
            && Some(*id) == self.command
        {
            self.cancels = true;
            self.cancelled(desk)
        } else if matches!(event, Event::File(_)) && self.cancels {
            self.cancelled(desk)
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
