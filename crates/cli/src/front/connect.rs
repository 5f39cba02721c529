//! `connect`: asks one person, then talks until one side ends it.

use core::time::Duration;

use p2pchat_client::desk::Desk;
use p2pchat_client::event::{
    BrokerState, Direction, FileEvent, FileState, RequestEvent, RequestState, SessionEvent, SessionState,
};
use p2pchat_client::{Command, CommandId, Event, Failure, Target};
use p2pchat_proto::RequestId;
use tokio::time::Instant;

use super::task::{BrokerWait, Step, Task, ask, ends_the_attempt};

/// The engine gives up a handshake after 20 s (protocol section 12); this is past it.
const REACH_WAIT: Duration = Duration::from_secs(25);
/// What the engine's own end of the wait for an answer may be late.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Connect {
    to: Target,
    who: String,
    timeout: Duration,
    linger: Duration,
    wait: BrokerWait,
    stage: Stage,
    command: Option<CommandId>,
    request: Option<RequestId>,
    input_ended: bool,
    /// Why the first file that did not arrive did not.
    file_failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No broker yet.
    Broker,
    /// The request is out.
    Asking { until: Instant },
    /// Accepted; the handshake runs.
    Reaching { until: Instant },
    /// The session is, or was, up.
    Talking,
    /// Input has ended, and deliveries are waited for.
    Lingering { until: Instant },
}

impl Connect {
    /// `who` is what the user typed.
    pub fn new(
        to: Target,
        who: &str,
        broker: &str,
        timeout: Duration,
        linger: Duration,
        now: Instant,
    ) -> Self {
        Self {
            to,
            who: who.to_owned(),
            timeout,
            linger,
            wait: BrokerWait::new(broker, now),
            stage: Stage::Broker,
            command: None,
            request: None,
            input_ended: false,
            file_failure: None,
        }
    }

    /// Asks for the chat, once.
    fn connect(&mut self, desk: &mut Desk) -> Vec<Step> {
        if self.command.is_some() {
            return Vec::new();
        }
        let id = desk.next_id();
        self.command = Some(id);
        vec![ask(id, Command::Connect { to: self.to.clone(), wait: self.timeout })]
    }

    fn is_asking(&self) -> bool {
        match self.stage {
            Stage::Broker | Stage::Talking | Stage::Lingering { .. } => false,
            Stage::Asking { .. } | Stage::Reaching { .. } => true,
        }
    }

    fn request_changed(&mut self, event: &RequestEvent, desk: &Desk, now: Instant) -> Vec<Step> {
        let mine = event.direction == Direction::Out
            && (self.request == Some(event.request) || event.peer.is_some_and(|peer| desk.is_expected(peer)));
        if !mine || !self.is_asking() {
            return Vec::new();
        }
        let who = self.who.clone();
        match event.state {
            RequestState::Open => Vec::new(),
            // Taken back by the client where the other side's request crossed it.
            RequestState::Accepted | RequestState::Cancelled => {
                self.stage = Stage::Reaching { until: now + REACH_WAIT };
                Vec::new()
            }
            RequestState::Declined => {
                let reason = event.reason.clone().unwrap_or_default();
                vec![Step::Stop(Some(Failure::Declined { who, reason }))]
            }
            RequestState::Expired => vec![Step::Stop(Some(Failure::NoAnswer { who }))],
        }
    }

    fn session_changed(&mut self, event: &SessionEvent, desk: &Desk, now: Instant) -> Vec<Step> {
        if !desk.is_expected(event.peer) {
            return Vec::new();
        }
        match (event.state, self.stage) {
            (SessionState::Up, Stage::Talking | Stage::Lingering { .. }) => Vec::new(),
            (SessionState::Up, Stage::Broker | Stage::Asking { .. } | Stage::Reaching { .. }) => {
                self.stage = Stage::Talking;
                if self.input_ended {
                    self.stage = Stage::Lingering { until: now + self.linger };
                }
                Vec::new()
            }
            (SessionState::Closed, Stage::Talking | Stage::Lingering { .. }) => {
                vec![Step::Stop(self.end(desk))]
            }
            (SessionState::Lost | SessionState::Closed, Stage::Reaching { .. }) => {
                vec![Step::Stop(Some(Failure::NoPath { who: self.who.clone() }))]
            }
            (
                SessionState::Connecting | SessionState::Suspect | SessionState::Lost | SessionState::Closed,
                _,
            ) => Vec::new(),
        }
    }

    fn file_changed(&mut self, event: &FileEvent, now: Instant) {
        if let (Stage::Lingering { until }, FileState::Running) = (&mut self.stage, event.state) {
            *until = now + self.linger;
        }
        let failed = matches!(event.state, FileState::Declined | FileState::Failed | FileState::Cancelled);
        if event.direction == Direction::Out && failed && self.file_failure.is_none() {
            let name = event.name.clone();
            let reason = "the other side took it back".to_owned();
            let unexplained = || Failure::FileBroken { name, reason };
            self.file_failure = Some(event.reason.clone().unwrap_or_else(unexplained));
        }
    }

    /// How it ends: with what was not delivered, where nobody is left to see that.
    fn end(&self, desk: &Desk) -> Option<Failure> {
        if !self.input_ended {
            return None;
        }
        match desk.messages_under_way() + desk.transfers_under_way() {
            0 => self.file_failure.clone(),
            waiting => Some(Failure::NotDelivered { waiting }),
        }
    }
}

impl Task for Connect {
    fn event(&mut self, event: &Event, desk: &mut Desk, now: Instant) -> Vec<Step> {
        match event {
            Event::Broker(event) => {
                self.wait.note(event);
                match (event.state, self.stage) {
                    (BrokerState::Connected, Stage::Broker) => {
                        self.stage = Stage::Asking { until: now + self.timeout + ANSWER_GRACE };
                        self.connect(desk)
                    }
                    // A contact may be met without it.
                    (BrokerState::Lost, Stage::Broker) => self.connect(desk),
                    (BrokerState::Refused, Stage::Broker | Stage::Asking { .. }) => {
                        vec![Step::Stop(Some(self.wait.refused(event)))]
                    }
                    (
                        BrokerState::Connecting
                        | BrokerState::Connected
                        | BrokerState::Lost
                        | BrokerState::Refused,
                        _,
                    ) => Vec::new(),
                }
            }
            Event::Done { id, request, .. } if Some(*id) == self.command => {
                self.request = *request;
                Vec::new()
            }
            Event::Failed { id, failure } if Some(*id) == self.command => {
                vec![Step::Stop(Some(failure.clone()))]
            }
            Event::Request(event) => self.request_changed(event, desk, now),
            Event::Session(event) => self.session_changed(event, desk, now),
            Event::File(event) => {
                self.file_changed(event, now);
                Vec::new()
            }
            Event::Error(failure) if self.is_asking() && ends_the_attempt(failure) => {
                vec![Step::Stop(Some(failure.clone()))]
            }
            Event::Ready(_)
            | Event::Presence(_)
            | Event::People { .. }
            | Event::Message(_)
            | Event::Receipt(_)
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
        match self.stage {
            Stage::Broker => Some(self.wait.until),
            Stage::Asking { until } | Stage::Reaching { until } | Stage::Lingering { until } => Some(until),
            Stage::Talking => None,
        }
    }

    fn timeout(&mut self, desk: &mut Desk, _: Instant) -> Vec<Step> {
        let who = self.who.clone();
        match self.stage {
            Stage::Broker => vec![Step::Stop(Some(self.wait.failure()))],
            Stage::Asking { .. } => vec![Step::Stop(Some(Failure::NoAnswer { who }))],
            Stage::Reaching { .. } => vec![Step::Stop(Some(Failure::NoPath { who }))],
            Stage::Lingering { .. } => vec![Step::Stop(self.end(desk))],
            Stage::Talking => Vec::new(),
        }
    }

    fn input_ended(&mut self, now: Instant) -> bool {
        self.input_ended = true;
        if self.stage == Stage::Talking {
            self.stage = Stage::Lingering { until: now + self.linger };
        }
        true
    }

    fn settled(&mut self, desk: &Desk) -> Option<Step> {
        let lingers = matches!(self.stage, Stage::Lingering { .. });
        let settled = desk.messages_under_way() + desk.transfers_under_way() == 0;
        (lingers && settled).then(|| Step::Stop(self.end(desk)))
    }

    fn waits_for_broker(&self) -> bool {
        self.stage == Stage::Broker
    }
}

#[cfg(test)]
mod tests;
