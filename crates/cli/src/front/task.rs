//! What one command is after: a state machine over events and time, without any I/O.

use core::time::Duration;

use p2pchat_client::desk::{Action, Desk, Local};
use p2pchat_client::event::BrokerEvent;
use p2pchat_client::{Command, CommandId, Event, Failure, Request};
use tokio::time::Instant;

/// How long a broker is tried before `connect`, `send` and `list` give up.
pub(super) const BROKER_WAIT: Duration = Duration::from_secs(15);

/// Something that a task wants.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// This.
    Do(Action),
    /// The end; with a failure where it is not what the user wanted.
    Stop(Option<Failure>),
}

/// See the module. The desk has observed an event before a task hears of it.
pub trait Task {
    /// Takes an event.
    fn event(&mut self, event: &Event, desk: &mut Desk, now: Instant) -> Vec<Step>;

    /// When [`Task::timeout`] is due.
    fn deadline(&self) -> Option<Instant>;

    /// Takes the deadline that has come.
    fn timeout(&mut self, desk: &mut Desk, now: Instant) -> Vec<Step>;

    /// Input has ended; whether it ends for that.
    fn input_ended(&mut self, _now: Instant) -> bool {
        false
    }

    /// Whether it is over, asked after everything else was done. Most say so where they come to know it.
    fn settled(&mut self, _desk: &Desk) -> Option<Step> {
        None
    }

    /// Whether signs of patience are due.
    fn waits_for_broker(&self) -> bool {
        false
    }

    /// What to show of an event; everything, unless the task says otherwise.
    fn shown(&self, event: Event) -> Option<Event> {
        Some(event)
    }

    /// What to show at the end.
    fn last_words(&self, _desk: &Desk) -> Vec<Local> {
        Vec::new()
    }
}

/// A command of the task's own.
pub(super) fn ask(id: CommandId, command: Command) -> Step {
    Step::Do(Action::Ask { id, request: Request::Engine(command) })
}

/// The end of a task one of whose commands failed by this event; nothing by any other.
pub(super) fn failed(event: &Event, commands: impl IntoIterator<Item = CommandId>) -> Vec<Step> {
    let Event::Failed { id, failure } = event else { return Vec::new() };
    let own = commands.into_iter().any(|command| command == *id);
    own.then(|| Step::Stop(Some(failure.clone()))).into_iter().collect()
}

/// The end of a task whose command the running client does not answer in time.
pub(super) fn unanswered() -> Vec<Step> {
    vec![Step::Stop(Some(Failure::InDoubt { reason: "it does not answer".to_owned() }))]
}

/// The wait for a broker.
#[derive(Debug, Clone)]
pub(super) struct BrokerWait {
    /// When it ends.
    pub(super) until: Instant,
    address: String,
    reason: Option<Failure>,
}

impl BrokerWait {
    /// A wait that begins.
    pub(super) fn new(address: &str, now: Instant) -> Self {
        Self { until: now + BROKER_WAIT, address: address.to_owned(), reason: None }
    }

    /// Remembers why a try failed.
    pub(super) fn note(&mut self, event: &BrokerEvent) {
        if event.reason.is_some() {
            self.reason.clone_from(&event.reason);
        }
    }

    /// The wait was in vain.
    pub(super) fn failure(&self) -> Failure {
        self.reason.clone().unwrap_or_else(|| Failure::BrokerUnreachable {
            address: self.address.clone(),
            reason: "no answer".to_owned(),
        })
    }

    /// Why the broker will not be tried again.
    pub(super) fn refused(&self, event: &BrokerEvent) -> Failure {
        event.reason.clone().unwrap_or_else(|| Failure::BrokerRefused {
            address: self.address.clone(),
            reason: "it ended the link".to_owned(),
        })
    }
}

/// Failures that no command asked for and after which no session comes.
pub(super) fn ends_the_attempt(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::KeyChanged { .. }
            | Failure::KeyReplaced { .. }
            | Failure::AnotherOfThatName { .. }
            | Failure::Tampered { .. }
            | Failure::NoPath { .. }
            | Failure::ClocksDiffer { .. }
            | Failure::Internal(_)
    )
}
