//! What `history` asks of a chat that is open: one question, one answer.

use p2pchat_client::desk::{Action, Desk, Local};
use p2pchat_client::history::Recalled;
use p2pchat_client::json::TALKS_IN_LINE;
use p2pchat_client::store::Recall;
use p2pchat_client::{CommandId, Event, Failure, Request};
use tokio::time::{Duration, Instant};

use super::task::{Step, Task, failed};

/// How long the store may take: with a disk that takes nothing, what is to be written goes first.
const STORE_WAIT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Ask {
    question: Recall,
    command: Option<CommandId>,
    until: Instant,
}

impl Ask {
    /// That question.
    pub fn new(question: Recall, now: Instant) -> Self {
        Self { question, command: None, until: now + STORE_WAIT }
    }
}

impl Task for Ask {
    fn event(&mut self, event: &Event, desk: &mut Desk, _: Instant) -> Vec<Step> {
        if matches!(event, Event::Ready(_)) && self.command.is_none() {
            let id = desk.next_id();
            self.command = Some(id);
            vec![Step::Do(Action::Ask { id, request: Request::Recall(self.question.clone()) })]
        } else if let Event::Recalled { id, answer } = event
            && Some(*id) == self.command
        {
            let lines = lines(answer).into_iter().map(|local| Step::Do(Action::Show(local)));
            lines.chain([Step::Stop(None)]).collect()
        } else {
            failed(event, self.command)
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.until)
    }

    fn timeout(&mut self, _: &mut Desk, _: Instant) -> Vec<Step> {
        vec![Step::Stop(Some(Failure::Local {
            what: "read the history".to_owned(),
            reason: "the store of the running p2pchat does not answer; is its disk full?".to_owned(),
        }))]
    }

    fn shown(&self, _: Event) -> Option<Event> {
        None
    }
}

fn lines(answer: &Recalled) -> Vec<Local> {
    match answer {
        Recalled::Page(page) => vec![Local::History(page.clone())],
        Recalled::Talks(talks) => {
            talks.chunks(TALKS_IN_LINE).map(|talks| Local::Talks(talks.to_vec())).collect()
        }
        Recalled::Kept { peer, name, after, .. } => {
            vec![Local::Kept { peer: *peer, name: name.clone(), after: *after }]
        }
        Recalled::Forgotten { removed, .. } => vec![Local::Forgotten(removed.clone())],
    }
}
