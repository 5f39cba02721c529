//! `status`, `visibility` and `policy` in a profile whose chat is open.

use p2pchat_client::desk::{Action, Desk, Local, Status};
use p2pchat_client::event::{BrokerEvent, SessionReport, Sought};
use p2pchat_client::history::{Recalled, Talk};
use p2pchat_client::store::Recall;
use p2pchat_client::{Command, CommandId, Event, Failure, Request};
use p2pchat_proto::StandingChange;
use tokio::time::{Duration, Instant};

use super::task::{Step, Task, ask, failed, unanswered};

/// How long the answer may take: the store has to be asked, too.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Stand {
    change: StandingChange,
    broker: Option<BrokerEvent>,
    /// The address of the broker, until it is heard of.
    address: String,
    stand: Option<CommandId>,
    info: Option<CommandId>,
    talks: Option<CommandId>,
    sessions: Option<(Vec<SessionReport>, Vec<Sought>)>,
    waiting: Option<Vec<Talk>>,
    until: Instant,
}

impl Stand {
    /// Changes that, and shows how everything is then.
    pub fn new(change: StandingChange, address: &str, now: Instant) -> Self {
        Self {
            change,
            broker: None,
            address: address.to_owned(),
            stand: None,
            info: None,
            talks: None,
            sessions: None,
            waiting: None,
            until: now + ANSWER_WAIT,
        }
    }

    fn look(&mut self, desk: &mut Desk) -> Vec<Step> {
        let (info, talks) = (desk.next_id(), desk.next_id());
        (self.info, self.talks) = (Some(info), Some(talks));
        let request = Request::Recall(Recall::Talks);
        vec![ask(info, Command::Info), Step::Do(Action::Ask { id: talks, request })]
    }

    fn show(&mut self, desk: &Desk) -> Vec<Step> {
        let (Some(me), Some((sessions, sought)), Some(waiting)) = (desk.me(), &self.sessions, &self.waiting)
        else {
            return Vec::new();
        };
        let broker = self.broker.as_ref();
        let status = Status {
            peer: me.peer,
            name: me.name.clone(),
            standing: desk.standing(),
            broker: broker.map_or_else(|| self.address.clone(), |broker| broker.address.clone()),
            broker_key: broker.and_then(|broker| broker.key),
            link: Some(broker.map_or(p2pchat_client::event::BrokerState::Connecting, |broker| broker.state)),
            reason: broker.and_then(|broker| broker.reason.as_ref()).map(Failure::message),
            sessions: sessions.clone(),
            sought: sought.clone(),
            waiting: waiting.clone(),
        };
        vec![Step::Do(Action::Show(Local::Status(Box::new(status)))), Step::Stop(None)]
    }
}

impl Task for Stand {
    fn event(&mut self, event: &Event, desk: &mut Desk, _: Instant) -> Vec<Step> {
        if let Event::Broker(event) = event {
            self.broker = Some(event.clone());
            Vec::new()
        } else if matches!(event, Event::Ready(_)) && self.stand.is_none() && self.info.is_none() {
            if self.change == StandingChange::default() {
                return self.look(desk);
            }
            let id = desk.next_id();
            self.stand = Some(id);
            vec![ask(id, Command::Stand { change: self.change })]
        } else if let Event::Done { id, .. } = event
            && Some(*id) == self.stand
        {
            self.look(desk)
        } else if let Event::Info { id, sessions, sought, .. } = event
            && Some(*id) == self.info
        {
            self.sessions = Some((sessions.clone(), sought.clone()));
            self.show(desk)
        } else if let Event::Recalled { id, answer: Recalled::Talks(talks) } = event
            && Some(*id) == self.talks
        {
            self.waiting = Some(talks.iter().filter(|talk| talk.waiting > 0).cloned().collect());
            self.show(desk)
        } else {
            failed(event, [self.stand, self.info, self.talks].into_iter().flatten())
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
