//! One connection at the control socket: a front end of its own, with a desk, that says what it has to
//! say in lines. Pure but for the wall clock and the queue of lines that are to be written.

use std::collections::BTreeSet;

use p2pchat_client::desk::{Action, Desk, Local, Outcome};
use p2pchat_client::event::{Direction, MessageEvent, Ready, ReceiptEvent};
use p2pchat_client::{Command, CommandId, Event, Failure, Request, Target, TransferNumber, json};
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{PeerId, RequestId};
use tokio::time::Instant;

use super::seen::Seen;
use super::service::Service;
use crate::clock::wall_time;
use crate::control::{Call, Envelope, IDLE_MAX, Visitor, is_call, write};
use crate::front::{Step, Style, Task, said_by};
use crate::output::plain::Plain;
use crate::output::{Shown, TimeOfDay};

/// Most messages, transfers and requests of one connection that are told apart from those of others; the
/// oldest is forgotten first.
const OWN_MAX: usize = 1024;
/// How many numbers of commands each connection has: more than anybody gives.
const NUMBERS: u64 = 1 << 32;

/// Whose command a number is: 0 is the process's own front end.
pub(super) fn seat_of(id: CommandId) -> u64 {
    id.0 / NUMBERS
}

/// See the module.
pub(super) struct Guest {
    pub(super) visitor: Visitor,
    desk: Desk,
    task: Option<Box<dyn Task>>,
    style: Style,
    own: Own,
    /// The last failure that was shown, which need not be told again at the end.
    told: Option<Failure>,
    /// Has said nothing yet, or has nothing more to say: it may stay so long.
    until: Option<Instant>,
    leaves: bool,
    /// How the command ends, once what it said is kept.
    end: Option<Option<Failure>>,
    pub(super) spoke: bool,
    pub(super) over: bool,
}

/// What a connection has brought into being, and whom it is about.
#[derive(Debug, Default)]
struct Own {
    messages: BTreeSet<MessageId>,
    transfers: BTreeSet<TransferNumber>,
    requests: BTreeSet<RequestId>,
    peers: BTreeSet<PeerId>,
    targets: Vec<Target>,
}

impl Own {
    fn made(&mut self, event: &Event) {
        if let Event::Done { message, transfer, request, .. } = event {
            add(&mut self.messages, *message);
            add(&mut self.transfers, *transfer);
            add(&mut self.requests, *request);
        }
        if let Event::Message(MessageEvent { was: Some(was), message, .. })
        | Event::Receipt(ReceiptEvent { was: Some(was), message, .. }) = event
            && self.messages.remove(&**was)
        {
            add(&mut self.messages, Some(*message));
        }
    }
}

fn add<T: Ord>(all: &mut BTreeSet<T>, one: Option<T>) {
    all.extend(one);
    while all.len() > OWN_MAX {
        all.pop_first();
    }
}

/// What a guest wants of the client.
pub(super) type Asks = Vec<(CommandId, Request)>;

impl Guest {
    pub(super) fn new(visitor: Visitor, now: Instant) -> Self {
        let last = CommandId(u64::from(visitor.seat).saturating_mul(NUMBERS));
        Self {
            visitor,
            desk: Desk::new(None).numbered_above(last),
            task: None,
            style: Style::Json,
            own: Own::default(),
            told: None,
            until: Some(now + IDLE_MAX),
            leaves: false,
            end: None,
            spoke: false,
            over: false,
        }
    }

    /// Takes a line. `open` is what waits for the user's word.
    pub(super) fn line(
        &mut self,
        line: String,
        service: &Service,
        seen: &Seen,
        open: impl Iterator<Item = Event>,
        now: Instant,
    ) -> Asks {
        let mut asks = Vec::new();
        let first = !core::mem::replace(&mut self.spoke, true);
        self.until = None;
        if self.task.is_some() {
            self.refuse(Failure::Usage("one call is all that a connection has".to_owned()));
        } else if is_call(&line) && first {
            let begun = Envelope::parse(&line).and_then(|envelope| {
                self.begin(&envelope, service, now)?;
                Ok(matches!(envelope.call, Call::Transfers(_)))
            });
            match begun {
                Ok(about_files) => {
                    // What other commands wait for is theirs alone.
                    open.filter(|_| about_files).for_each(|event| drop(self.desk.observe(&event)));
                    self.catch_up(seen, core::iter::empty(), &mut asks, now);
                }
                // A call that cannot begin has ended.
                Err(failure) => self.finish(Some(failure)),
            }
        } else if self.desk.is_full() {
            self.refuse(Failure::NotAllowed { what: "another line while so many are under way".to_owned() });
        } else {
            if first {
                self.catch_up(seen, open, &mut asks, now);
                if self.over {
                    return asks;
                }
            }
            let actions = match json::parse(&line) {
                Ok(line) => self.desk.interpret(line),
                Err(error) => self.desk.reject(error),
            };
            self.act(actions, &mut asks);
        }
        asks
    }

    fn begin(&mut self, envelope: &Envelope, service: &Service, now: Instant) -> Result<(), Failure> {
        if envelope.plain {
            self.style = Style::Plain(Box::new(Plain::new(TimeOfDay::local(), envelope.verbose)));
        }
        let (task, targets) = service.task(&envelope.call, now)?;
        (self.task, self.own.targets) = (Some(task), targets);
        Ok(())
    }

    /// Tells what is so already. Sessions first, so that nobody is asked who is there.
    fn catch_up(&mut self, seen: &Seen, open: impl Iterator<Item = Event>, asks: &mut Asks, now: Instant) {
        if let Some(ready) = seen.ready() {
            // The other end hears that it is served before anything is done for it, so that it knows what nobody
            // has begun; and for whoever has gone, nothing is.
            self.greet(ready);
            if self.over {
                return;
            }
        }
        for event in seen.events().chain(open) {
            asks.extend(self.observe(&event, now));
        }
    }

    fn greet(&mut self, ready: &Ready) {
        let event = Event::Ready(ready.clone());
        let greeting = match &mut self.style {
            Style::Json => json::event(&event, wall_time()),
            Style::Plain(plain) => {
                let lines: Vec<_> = plain.event(&event, &self.desk).iter().map(write).collect();
                Some(lines.join("\n"))
            }
        };
        self.over |= greeting.is_some_and(|greeting| !self.visitor.greet(greeting));
    }

    /// The connection says nothing more. A command ends with it; what others asked for is answered.
    pub(super) fn gone(&mut self, failure: Option<Failure>, now: Instant) -> Asks {
        if let Some(failure) = failure {
            self.refuse(failure);
        }
        self.leaves = true;
        self.until = Some(now + IDLE_MAX);
        self.over |= self.task.is_some();
        self.settle(now);
        if !self.over {
            return Vec::new();
        }
        let under_way: Vec<_> =
            self.desk.open_transfers().filter(|transfer| self.own.transfers.contains(transfer)).collect();
        let cancel = |transfer| (self.desk.next_id(), Command::CancelFile { transfer }.into());
        under_way.into_iter().map(cancel).collect()
    }

    /// Takes an event of the client that is for everybody, or for this connection alone.
    pub(super) fn observe(&mut self, event: &Event, now: Instant) -> Asks {
        let mut asks = Vec::new();
        if self.over {
            return asks;
        }
        let actions = self.desk.observe(event);
        self.own.made(event);
        let steps = match &mut self.task {
            Some(task) if self.own.hears(event, &self.desk) => task.event(event, &mut self.desk, now),
            Some(_) | None => Vec::new(),
        };
        let wanted = match &self.task {
            Some(task) if self.own.wants(event, &self.desk) => task.shown(event.clone()),
            Some(_) => None,
            None => Some(event.clone()),
        };
        // Said already, by the greeting.
        if let Some(event) = wanted.filter(|event| !matches!(event, Event::Ready(_))) {
            self.show(&event);
        }
        self.act(actions, &mut asks);
        self.steps(steps, &mut asks, now);
        asks
    }

    /// Takes the time that has come.
    pub(super) fn timeout(&mut self, now: Instant) -> Asks {
        let mut asks = Vec::new();
        if self.until.is_some_and(|until| until <= now) {
            match self.end.take() {
                Some(_) => self.finish(Some(not_kept())),
                None => self.over = true,
            }
        }
        let steps = match &mut self.task {
            Some(task) if self.end.is_none() && task.deadline().is_some_and(|due| due <= now) => {
                task.timeout(&mut self.desk, now)
            }
            Some(_) | None => Vec::new(),
        };
        self.steps(steps, &mut asks, now);
        asks
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let task = self.task.as_ref().filter(|_| self.end.is_none()).and_then(|task| task.deadline());
        [self.until, task].into_iter().flatten().min()
    }

    /// The process ends.
    pub(super) fn close(&mut self) {
        let failure = match self.own.messages.len() {
            _ if self.desk.unkept() > 0 => self.lost(),
            0 => Failure::InDoubt { reason: "it has ended".to_owned() },
            waiting => Failure::NotDelivered { waiting },
        };
        self.finish(Some(failure));
    }

    /// What was said to a process that has ended without keeping it.
    fn lost(&self) -> Failure {
        let ended = || Failure::Local {
            what: "keep what was said".to_owned(),
            reason: "the running p2pchat has ended".to_owned(),
        };
        let full = self.told.clone().filter(|told| matches!(told, Failure::DiskFull { .. }));
        Failure::Unkept { messages: self.desk.unkept(), why: Box::new(full.unwrap_or_else(ended)) }
    }

    /// Whether what an event tells of came to be here.
    pub(super) fn owns(&self, event: &Event) -> bool {
        self.own.owns(event)
    }

    fn refuse(&mut self, failure: Failure) {
        if self.task.is_some() || !self.spoke || matches!(self.style, Style::Plain(_)) {
            self.finish(Some(failure));
        } else {
            self.put(Some(json::error(&failure, wall_time())));
        }
    }

    fn steps(&mut self, steps: Vec<Step>, asks: &mut Asks, now: Instant) {
        for step in steps {
            match step {
                Step::Do(action) => self.act(vec![action], asks),
                Step::Stop(failure) => self.end(failure, now),
            }
        }
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        match self.task.as_mut().and_then(|task| task.settled(&self.desk)) {
            Some(Step::Stop(failure)) => self.end(failure, now),
            Some(Step::Do(_)) | None => {}
        }
        if self.desk.unkept() == 0
            && let Some(failure) = self.end.take()
        {
            self.finish(failure);
        }
        self.over |= self.leaves && self.desk.lines_under_way() == 0;
    }

    /// What is said to be kept is kept: the end waits for the store, as that of a process does.
    fn end(&mut self, failure: Option<Failure>, now: Instant) {
        if self.end.is_none() && !self.over {
            self.end = Some(failure);
            self.until = Some(now + IDLE_MAX);
        }
    }

    fn act(&mut self, actions: Vec<Action>, asks: &mut Asks) {
        for action in actions {
            match action {
                Action::Ask { id, request } => {
                    self.own.asks(&request);
                    asks.push((id, request));
                }
                Action::Outcome(outcome) => self.outcome(&outcome),
                Action::Show(local) => self.local(&local),
                Action::Clear => {}
                Action::Quit => self.over = true,
            }
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        match &self.style {
            Style::Json => self.put(json::outcome(outcome, wall_time())),
            Style::Plain(_) => {
                let failed = outcome.result.as_ref().err().map(Shown::failure);
                self.put_all(failed.into_iter().collect());
            }
        }
    }

    fn local(&mut self, local: &Local) {
        if self.task.is_some() && matches!(local, Local::Conversation { .. }) {
            return;
        }
        match &self.style {
            Style::Json => self.put(json::local(local, wall_time())),
            Style::Plain(plain) => {
                let lines = plain.local(local, &self.desk);
                self.put_all(lines);
            }
        }
    }

    fn show(&mut self, event: &Event) {
        if let Some(failure) = said_by(event, matches!(self.style, Style::Plain(_))) {
            self.told = Some(failure.clone());
        }
        match &mut self.style {
            Style::Json => self.put(json::event(event, wall_time())),
            Style::Plain(plain) => {
                let lines = plain.event(event, &self.desk);
                self.put_all(lines);
            }
        }
    }

    /// The end, said as a process says its own.
    fn finish(&mut self, failure: Option<Failure>) {
        if core::mem::replace(&mut self.over, true) {
            return;
        }
        let unfinished = Failure::NotDelivered { waiting: self.desk.messages_under_way() };
        let mut last = self.desk.abandon(failure.as_ref().unwrap_or(&unfinished));
        let words = self.task.as_ref().map(|task| task.last_words(&self.desk)).unwrap_or_default();
        last.extend(words.into_iter().map(Action::Show));
        self.act(last, &mut Vec::new());
        let exit = failure.as_ref().map_or(0, Failure::exit);
        let (at, told, json) = (wall_time(), failure == self.told, matches!(self.style, Style::Json));
        if let Some(failure) = &failure {
            if json && !told {
                self.put(Some(json::error(failure, at)));
            }
            if json || !told {
                self.put_all(vec![Shown::failure(failure)]);
            }
        }
        self.put(Some(json::stopped(failure.as_ref(), exit, at)));
    }

    fn put_all(&mut self, lines: Vec<Shown>) {
        for line in lines {
            self.put(Some(write(&line)));
        }
    }

    /// Whoever does not read what is for them is cut off.
    fn put(&mut self, line: Option<String>) {
        if let Some(line) = line {
            self.over |= !self.visitor.put(line);
        }
    }
}

/// The store does not take it, and goes on trying.
fn not_kept() -> Failure {
    Failure::InDoubt { reason: "it could not write what was said in time".to_owned() }
}

impl Own {
    fn asks(&mut self, request: &Request) {
        match request {
            Request::Engine(Command::Message { to, .. }) | Request::SendFile { to, .. } => {
                add(&mut self.peers, Some(*to));
            }
            Request::Engine(_)
            | Request::SaveFile { .. }
            | Request::Recall(_)
            | Request::Decide(_)
            | Request::Stop => {}
        }
    }

    fn owns(&self, event: &Event) -> bool {
        match event {
            Event::Message(event) => event.mine && self.called(event.message, event.was.as_deref()),
            Event::Receipt(event) => self.called(event.message, event.was.as_deref()),
            Event::Request(event) => {
                event.direction == Direction::Out && self.requests.contains(&event.request)
            }
            Event::File(event) => self.transfers.contains(&event.transfer),
            Event::Ready(_)
            | Event::Broker(_)
            | Event::Presence(_)
            | Event::People { .. }
            | Event::Session(_)
            | Event::Trust(_)
            | Event::Standing(_)
            | Event::Info { .. }
            | Event::Recalled { .. }
            | Event::Typing { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::Error(_)
            | Event::Stopped(_) => false,
        }
    }

    fn called(&self, message: MessageId, was: Option<&MessageId>) -> bool {
        self.messages.contains(&message) || was.is_some_and(|was| self.messages.contains(was))
    }

    /// Whether a command is to take note of an event. A failure that names nobody may be about anybody.
    fn hears(&self, event: &Event, desk: &Desk) -> bool {
        let Event::Error(failure) = event else { return true };
        if let Failure::KeyChanged { pinned, came, .. }
        | Failure::AnotherOfThatName { known: pinned, came, .. } = failure
        {
            self.is_about(*pinned, desk) || self.is_about(*came, desk)
        } else if let Failure::KeyReplaced { came, by, .. } = failure {
            self.is_about(*came, desk) || self.is_about(*by, desk)
        } else if let Failure::NoPath { who } = failure {
            desk.people().resolve(who).is_ok_and(|peer| self.is_about(peer, desk))
        } else if let Failure::DiskFull { .. } | Failure::StoreDamaged { .. } = failure {
            desk.unkept() > 0
        } else {
            false
        }
    }

    /// Whether whoever gave a command wants to see an event.
    fn wants(&self, event: &Event, desk: &Desk) -> bool {
        match event {
            Event::Ready(_) | Event::Broker(_) | Event::People { .. } | Event::Info { .. } => true,
            Event::Session(event) => self.is_about(event.peer, desk),
            Event::Trust(event) => self.is_about(event.peer, desk),
            Event::Error(_) => self.hears(event, desk),
            Event::Message(_) | Event::Receipt(_) | Event::Request(_) | Event::File(_) => self.owns(event),
            Event::Presence(_)
            | Event::Standing(_)
            | Event::Recalled { .. }
            | Event::Typing { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::Stopped(_) => false,
        }
    }

    fn is_about(&self, peer: PeerId, desk: &Desk) -> bool {
        self.peers.contains(&peer) || self.targets.iter().any(|target| desk.people().is(target, peer))
    }
}
