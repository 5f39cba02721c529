//! A command while it runs: brings together the client's events, what is typed, signals and time.
//!
//! What a command is after is a [`Task`], what is on the desk a [`Desk`], what is shown a function
//! of both; this is the loop that moves things between them. It ends when the client has ended.

mod connect;
mod decide;
mod doctor;
mod greet;
mod hall;
mod introduce;
mod list;
mod listen;
mod recall;
mod send;
mod status;
mod task;
mod tell;
mod transfers;

use core::fmt;
use core::time::Duration;
use std::sync::PoisonError;
use std::sync::mpsc::SyncSender;

use p2pchat_client::desk::{Action, Desk, Local, Outcome};
use p2pchat_client::event::{BrokerState, FileState, MessageEvent, SessionState};
use p2pchat_client::json::Line;
use p2pchat_client::{CommandId, Event, Failure, Request, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

pub use connect::Connect;
pub use decide::Decide;
pub use doctor::Doctor;
pub use greet::greet;
pub use hall::{Hall, Service};
pub use introduce::introduce;
pub use list::List;
pub use listen::Listen;
pub use recall::Ask;
pub use send::{Address, Parcel, Send};
pub use status::Stand;
pub use task::{Step, Task};
pub use tell::Tell;
pub use transfers::Running;

use crate::clock::wall_time;
use crate::input::{Editor, KnownHandle, Prompt, Typed, read_lines};
use crate::output::oneshot::Bars;
use crate::output::plain::Plain;
use crate::output::{Closed, Screen, Shown};
use crate::signals::{Signal, Signals};
use hall::Share;

/// How often a sign of patience is given while the broker is waited for.
const DOT_EVERY: Duration = Duration::from_secs(1);
/// How long the client may take to end once it was told to.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// How long it may still take once a second signal came.
const HURRY_WAIT: Duration = Duration::from_millis(500);

/// Where lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nowhere.
    None,
    /// Standard input.
    Stream,

    /// An editor on the terminal, once the broker has answered.
    Editor,
}

/// How things are shown.
#[derive(Debug)]
pub enum Style {
    /// Lines for people.
    Plain(Box<Plain>),
    /// One object a line.
    Json,
}

/// A running client.
pub trait Port {
    /// Asks it for something. A client that has ended says so by its last event.
    fn send(&self, id: CommandId, request: Request) -> impl Future<Output = ()>;

    /// What happened next; `None` after the last event.
    fn next(&mut self) -> impl Future<Output = Option<Event>>;
}

/// See the module.
pub struct Front<P, T> {
    port: P,
    desk: Desk,
    task: T,
    screen: Screen,
    style: Style,
    bars: Option<Bars>,
    /// Other processes that use this one's profile.
    hall: Option<Hall>,
    input: Input,
    prompt: Prompt,
    known: KnownHandle,
    typed: Option<mpsc::Receiver<Typed>>,
    /// Lets the editor read one more line.
    go_on: Option<SyncSender<()>>,
    /// The last failure that was shown, which need not be told again at the end.
    told: Option<Failure>,
    /// Somebody reads what is written.
    writes: bool,
    /// Set once the end has begun.
    end: Option<End>,
    /// What is not delivered waits for the next process.
    kept: bool,
}

#[derive(Debug)]
struct End {
    failure: Option<Failure>,
    until: Instant,
}

/// What the loop woke up for.
enum Woken {
    Event(Option<Event>),
    Typed(Option<Typed>),
    Signal(Signal),
    Written(Option<p2pchat_proto::conversation::MessageId>),
    Hall(hall::Call),
    Deadline,
    Dot,
}

impl<P, T> fmt::Debug for Front<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("input", &self.input).field("end", &self.end).finish_non_exhaustive()
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Why otherwise than the user wanted.
    pub failure: Option<Failure>,
    /// Whether that was shown already.
    pub told: bool,
    /// For what is said after it.
    pub screen: Screen,
}

impl<P: Port, T: Task> Front<P, T> {
    /// Everything that a running command has.
    pub fn new(port: P, desk: Desk, task: T, screen: Screen, style: Style, input: Input) -> Self {
        Self {
            port,
            desk,
            task,
            screen,
            style,
            bars: None,
            kept: true,
            hall: None,
            input,
            prompt: Prompt::new(),
            known: KnownHandle::default(),
            typed: None,
            go_on: None,
            told: None,
            writes: true,
            end: None,
        }
    }

    /// Draws bars for transfers.
    #[must_use]
    pub fn with_bars(mut self) -> Self {
        self.bars = Some(Bars::default());
        self
    }

    /// Nothing outlasts this process, so what is not delivered at its end is gone.
    #[must_use]
    pub fn keeping_nothing(mut self) -> Self {
        self.kept = false;
        self
    }

    /// Serves other processes.
    #[must_use]
    pub fn with_hall(mut self, hall: Hall) -> Self {
        self.hall = Some(hall);
        self
    }

    /// Runs until the client has ended. `first` is what the command line asks for besides.
    pub async fn run(mut self, first: Vec<Action>) -> Ended {
        let outcome = self.turn(first).await;
        let kept = self.kept;
        let honest = |failure: Failure| {
            if let (Failure::NotDelivered { waiting }, false) = (&failure, kept) {
                return Failure::NotKept { waiting: *waiting };
            }
            failure
        };
        let why = outcome.as_ref().ok().and_then(Clone::clone);
        let mut failure = match (outcome, self.end.take()) {
            (Err(failure), _) => Some(failure),
            (Ok(stopped), end) => end.and_then(|end| end.failure).map(honest).or(stopped),
        };
        if let Some(unkept) = unkept(&self.desk, why) {
            if let Some(Failure::Interrupted | Failure::Terminated) = failure {
                self.act_all(vec![Action::Outcome(Outcome { tag: None, result: Err(unkept) })]).await;
            } else {
                failure = Some(unkept);
            }
        }
        let unfinished = honest(Failure::NotDelivered { waiting: self.desk.messages_under_way() });
        let mut last = self.desk.abandon(failure.as_ref().unwrap_or(&unfinished));
        last.extend(self.task.last_words(&self.desk).into_iter().map(Action::Show));
        self.act_all(last).await;
        if let Some(hall) = self.hall.take() {
            hall.close().await;
        }
        let told = failure.is_some() && failure == self.told;
        Ended { failure, told, screen: self.screen }
    }

    async fn turn(&mut self, first: Vec<Action>) -> Result<Option<Failure>, Failure> {
        let mut signals = Signals::new()?;
        let mut dots = interval_at(Instant::now() + DOT_EVERY, DOT_EVERY);
        dots.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(bars) = &self.bars {
            let outcome = self.screen.bars(bars.handle()).await;
            self.survive(outcome).await;
        }
        if self.input == Input::Stream && self.typed.is_none() {
            self.typed = Some(read_lines().map_err(|error| local("read standard input", &error))?);
        }
        self.act_all(first).await;
        loop {
            if self.end.is_none()
                && let Some(step) = self.task.settled(&self.desk)
            {
                self.step(step).await;
            }
            if self.input == Input::Editor && !self.task.waits_for_broker() && self.end.is_none() {
                self.start_editor().await?;
            }
            match self.sleep(&mut signals, &mut dots).await {
                Woken::Event(None) => return Ok(None),
                Woken::Event(Some(Event::Stopped(stopped))) => return Ok(stopped.failure),
                Woken::Event(Some(event)) => self.event(event).await,
                Woken::Typed(Some(typed)) => self.typed(typed).await,
                Woken::Typed(None) => {
                    self.typed = None;
                    self.task.input_ended(Instant::now());
                }
                Woken::Signal(signal) => {
                    if let Some(end) = &mut self.end {
                        // Impatience: what is on its way may still leave.
                        end.until = end.until.min(Instant::now() + HURRY_WAIT);
                    }
                    self.stop(Some(signal.failure())).await;
                }
                Woken::Written(Some(message)) => {
                    let shown = self.desk.shown(message);
                    self.act_all(vec![shown]).await;
                }
                Woken::Written(None) => {
                    self.writes = false;
                    self.survive(Err(Closed)).await;
                }
                Woken::Hall(call) => {
                    if let Some(hall) = &mut self.hall {
                        hall.answer(call, &self.desk, Instant::now());
                    }
                    self.ask_for_hall().await;
                }
                Woken::Deadline => {
                    if let Some(end) = self.end.take() {
                        let late = || Failure::Internal("the client did not end in time".to_owned());
                        return Err(end.failure.unwrap_or_else(late));
                    }
                    let steps = self.task.timeout(&mut self.desk, Instant::now());
                    self.steps(steps).await;
                }
                Woken::Dot => {
                    let outcome = self.screen.dot().await;
                    self.survive(outcome).await;
                }
            }
        }
    }

    async fn sleep(&mut self, signals: &mut Signals, dots: &mut Interval) -> Woken {
        let deadline = match &self.end {
            Some(end) => Some(end.until),
            None => self.task.deadline(),
        };
        let dotted =
            self.end.is_none() && self.task.waits_for_broker() && matches!(self.style, Style::Plain(_));
        // Before the client runs, nobody is known by name.
        let reads = self.end.is_none() && self.desk.me().is_some() && !self.desk.is_full();
        tokio::select! {
            biased;
            signal = signals.next() => Woken::Signal(signal),
            event = self.port.next() => Woken::Event(event),
            message = self.screen.written(), if self.writes => Woken::Written(message),
            () = at(deadline) => Woken::Deadline,
            call = next_call(self.hall.as_mut()), if self.end.is_none() => Woken::Hall(call),
            typed = next_line(self.typed.as_mut()), if reads && self.typed.is_some() => Woken::Typed(typed),
            _ = dots.tick(), if dotted => Woken::Dot,
        }
    }

    async fn event(&mut self, mut event: Event) {
        if let (Event::Ready(ready), Some(hall)) = (&mut event, &self.hall) {
            ready.control = hall.path();
        }
        let share = self.hall.as_mut().map_or(Share::All, |hall| hall.observe(&event, Instant::now()));
        self.ask_for_hall().await;
        match share {
            Share::All => {}
            Share::Account if matches!(self.style, Style::Json) => return self.show(&event).await,
            Share::Account | Share::Nothing => return,
        }
        let actions = self.desk.observe(&event);
        let steps = match self.end {
            Some(_) => Vec::new(),
            None => self.task.event(&event, &mut self.desk, Instant::now()),
        };
        self.remember_names();
        if let Some(event) = self.task.shown(event) {
            self.show(&event).await;
        }
        self.act_all(actions).await;
        self.steps(steps).await;
    }

    async fn ask_for_hall(&mut self) {
        let asks = self.hall.as_mut().map(Hall::take_asks).unwrap_or_default();
        for (id, request) in asks {
            self.port.send(id, request).await;
        }
    }

    async fn typed(&mut self, typed: Typed) {
        let json = matches!(self.style, Style::Json);
        let actions = match typed {
            Typed::Line(line) if json => match json::parse(&line) {
                Ok(line) => self.desk.interpret(line),
                Err(error) => self.desk.reject(error),
            },
            Typed::Line(line) => self.desk.interpret(Line::typed(line)),
            Typed::Bad(failure) => vec![Action::Outcome(Outcome { tag: None, result: Err(failure) })],
            Typed::Interrupt => {
                self.typed = None;
                return self.stop(Some(Failure::Interrupted)).await;
            }
            Typed::End => {
                if self.task.input_ended(Instant::now()) {
                    self.typed = None;
                    return;
                }
                Vec::new()
            }
        };
        self.act_all(actions).await;
        if let (Some(go_on), None) = (&self.go_on, &self.end) {
            // An editor that has ended says so by its last line.
            let _ = go_on.try_send(());
        }
    }

    async fn steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step).await;
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Do(action) => self.act_all(vec![action]).await,
            Step::Stop(failure) => self.stop(failure).await,
        }
    }

    async fn act_all(&mut self, actions: Vec<Action>) {
        for action in actions {
            let outcome = self.act(action).await;
            self.survive(outcome).await;
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), Closed> {
        match action {
            Action::Ask { id, request } => self.port.send(id, request).await,
            Action::Outcome(outcome) => self.outcome(&outcome).await?,
            Action::Show(local) => self.local(&local).await?,
            Action::Clear => self.screen.clear().await?,
            Action::Quit => self.stop(None).await,
        }
        Ok(())
    }

    async fn outcome(&mut self, outcome: &Outcome) -> Result<(), Closed> {
        if let Outcome { tag: None, result: Err(failure) } = outcome {
            self.told = Some(failure.clone());
        }
        match (&self.style, &outcome.result) {
            (Style::Plain(_), Ok(_)) => Ok(()),
            (Style::Plain(_), Err(failure)) => self.screen.show(Shown::failure(failure)).await,
            (Style::Json, _) => match json::outcome(outcome, wall_time()) {
                Some(line) => self.screen.json(line, None).await,
                None => Ok(()),
            },
        }
    }

    async fn local(&mut self, local: &Local) -> Result<(), Closed> {
        if self.end.is_some() && matches!(local, Local::Conversation { .. }) {
            return Ok(());
        }
        if let Local::Conversation { name, peer } = local {
            let whom = name.as_ref().map(ToString::to_string).or_else(|| peer.map(|peer| peer.short()));
            self.prompt.set(whom.as_deref());
        }
        match &self.style {
            Style::Plain(plain) => {
                for shown in plain.local(local, &self.desk) {
                    self.screen.show(shown).await?;
                }
                Ok(())
            }
            Style::Json => match json::local(local, wall_time()) {
                Some(line) => self.screen.json(line, None).await,
                None => Ok(()),
            },
        }
    }

    async fn show(&mut self, event: &Event) {
        if let (Some(bars), Event::File(file)) = (&mut self.bars, event) {
            bars.event(file);
            if matches!(file.state, FileState::Running | FileState::Verifying) {
                return;
            }
        }
        if let Some(failure) = said_by(event, matches!(self.style, Style::Plain(_))) {
            self.told = Some(failure.clone());
        }
        if self.end.is_some() && is_goodbye(event) && matches!(self.style, Style::Plain(_)) {
            return;
        }
        let message = if let Event::Message(MessageEvent { mine: false, message, .. }) = event {
            Some(*message)
        } else {
            None
        };
        let outcome = match &mut self.style {
            Style::Json => match json::event(event, wall_time()) {
                Some(line) => self.screen.json(line, message).await,
                None => Ok(()),
            },
            Style::Plain(plain) => {
                let mut outcome = Ok(());
                for shown in plain.event(event, &self.desk) {
                    outcome = match message {
                        Some(message) => self.screen.show_message(shown, message).await,
                        None => self.screen.show(shown).await,
                    };
                }
                outcome
            }
        };
        self.survive(outcome).await;
    }

    /// Begins the end. What the first one to say so said is what counts.
    async fn stop(&mut self, failure: Option<Failure>) {
        if self.end.is_none() {
            self.end = Some(End { failure, until: Instant::now() + STOP_WAIT });
            if let Some(hall) = &mut self.hall {
                hall.shut();
            }
            let id = self.desk.next_id();
            self.port.send(id, Request::Stop).await;
        }
    }

    /// Nobody reads what is written: the same as `/quit`.
    async fn survive(&mut self, outcome: Result<(), Closed>) {
        if outcome.is_err() {
            self.typed = None;
            self.stop(None).await;
        }
    }

    async fn start_editor(&mut self) -> Result<(), Failure> {
        self.input = Input::None;
        match Editor::start(self.prompt.clone(), self.known.clone()) {
            Ok(editor) => {
                let outcome = self.screen.editor(editor.above).await;
                self.survive(outcome).await;
                let _ = editor.next.try_send(());
                (self.typed, self.go_on) = (Some(editor.typed), Some(editor.next));
            }
            // A terminal that can do nothing still gives lines.
            Err(_) => {
                self.typed = Some(read_lines().map_err(|error| local("read standard input", &error))?);
            }
        }
        Ok(())
    }

    fn remember_names(&mut self) {
        if self.go_on.is_none() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.names = self.desk.people().names().map(ToString::to_string).collect();
        known.numbers = self.desk.open_transfers().map(|number| number.0.to_string()).collect();
    }
}

/// What was said and is not kept as the client has ended, which says why.
fn unkept(desk: &Desk, why: Option<Failure>) -> Option<Failure> {
    let late = || Failure::Internal("the client did not end in time".to_owned());
    let messages = desk.unkept();
    (messages > 0).then(|| Failure::Unkept { messages, why: Box::new(why.unwrap_or_else(late)) })
}

/// What everybody knows who has ended it.
fn is_goodbye(event: &Event) -> bool {
    matches!(event, Event::Session(event) if event.state == SessionState::Closed)
}

/// The failure that an event shows.
fn said_by(event: &Event, plain: bool) -> Option<&Failure> {
    if let Event::Error(failure) = event {
        return Some(failure);
    }
    // In JSON mode the event carries it, and is no error.
    if let Event::Broker(broker) = event
        && plain
        && broker.state == BrokerState::Refused
    {
        return broker.reason.as_ref();
    }
    None
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => core::future::pending().await,
    }
}

async fn next_call(hall: Option<&mut Hall>) -> hall::Call {
    match hall {
        Some(hall) => hall.next().await,
        None => core::future::pending().await,
    }
}

async fn next_line(typed: Option<&mut mpsc::Receiver<Typed>>) -> Option<Typed> {
    match typed {
        Some(typed) => typed.recv().await,
        None => core::future::pending().await,
    }
}

fn local(what: &str, error: &std::io::Error) -> Failure {
    Failure::Local { what: what.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
