//! What one front end has on its desk: open requests, offered files, conversations and the one that
//! is current, names, and lines whose outcome somebody waits for.
//!
//! Pure: [`Desk::observe`] takes every [`Event`], [`Desk::interpret`] every line, both give
//! [`Action`]s. Numbers, names and `the only open one` mean something here and nowhere else, so
//! that two front ends of one client do not confuse each other.
//!
//! A line goes to the current conversation: the person asked for from the start
//! ([`Desk::with_expected`]), else the first session that came up, until `/switch` or `/back`.
//! Lines for the expected person wait here until the session is up.

mod act;
mod check;
mod history;
mod ledger;
mod pending;
mod people;
mod status;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use p2pchat_crypto::safety::SafetyNumber;
use p2pchat_engine::event::{
    Delivery, Direction, FileEvent, FileState, Ready, RequestEvent, RequestState, SessionEvent, SessionState,
};
use p2pchat_engine::history::{Page, Removed, Talk};
use p2pchat_engine::{Command, CommandId, Event, Failure, Target, TransferNumber};
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{Name, PeerId, RequestId, Standing};

use crate::json::{Line, LineError, Tag};
use crate::language;
use crate::profile::Acquaintance;
use crate::request::Request;

pub use act::{ANSWER_WAIT, target};
pub use check::{Check, Health};
use history::Looking;
pub use ledger::Ledger;
use pending::Pending;
pub use people::{Conversation, People};
pub use status::Status;

/// Most open requests that are kept; the oldest goes first. Far more than anybody answers.
const REQUESTS_KEPT: usize = 256;
/// Most transfers that are kept for `/files`; the oldest that ended goes first.
const FILES_KEPT: usize = 1000;
/// From so many lines and messages under way, no further input is to be read ([`Desk::is_full`]).
const UNDER_WAY_MAX: usize = 1024;

/// Something to do because of a line or an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Hand this to the client.
    Ask {
        /// Its number; the outcome carries it.
        id: CommandId,
        /// What.
        request: Request,
    },
    /// A line of input ended.
    Outcome(Outcome),
    /// Show something that needs no engine.
    Show(Local),
    /// Clear the screen.
    Clear,
    /// End.
    Quit,
}

/// How a line of input ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The line's own id, where it had one.
    pub tag: Option<Tag>,
    /// What came to be, or how it failed.
    pub result: Result<Made, Failure>,
}

/// What a line brought into being.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// Messages, one a recipient.
    pub messages: Vec<MessageId>,
    /// Transfers, one a file.
    pub transfers: Vec<TransferNumber>,
    /// The chat request.
    pub request: Option<RequestId>,
}

/// An answer that needs no engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Local {
    /// `/help`; one command, or all of them.
    Help(Option<&'static language::Entry>),
    /// What waits for the user's word.
    Requests {
        /// Chat requests of others, oldest first.
        requests: Vec<RequestEvent>,
        /// Offered files, by number.
        files: Vec<FileEvent>,
    },
    /// Every transfer, by number.
    Files(Vec<FileEvent>),
    /// Who the user is.
    Id(Option<Ready>),
    /// What this user and somebody have to compare.
    Safety {
        /// With whom.
        peer: PeerId,
        /// What to call them.
        name: Option<Name>,
        /// The number.
        number: SafetyNumber,
    },
    /// Lines go to somebody else now, or to nobody.
    Conversation {
        /// To whom.
        peer: Option<PeerId>,
        /// What to call them.
        name: Option<Name>,
    },
    /// How far a message to several people got.
    Ledger(Ledger),
    /// Messages that were kept.
    History(Page),
    /// Conversations in which something waits.
    Waiting(Vec<Talk>),
    /// Every conversation.
    Talks(Vec<Talk>),
    /// A conversation was removed.
    Forgotten(Removed),
    /// How long messages with somebody are kept.
    Kept {
        /// With whom.
        peer: PeerId,
        /// What the user calls them.
        name: Option<Name>,
        /// For so long; `None` for ever.
        after: Option<Duration>,
    },
    /// What is known of somebody.
    Contact(Box<Acquaintance>),
    /// Who is known, or some of them.
    Contacts(Vec<Acquaintance>),
    /// `/status` without a word
    Standing(Standing),
    /// How everything is.
    Status(Box<Status>),
    /// What `doctor` found.
    Checks(Vec<Check>),
    /// `/timestamps`
    Timestamps(bool),
    /// `/read-receipts`
    ReadReceipts(bool),
}

/// Whom lines go to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Current {
    Nobody,
    /// The person asked for, whose session is not up yet.
    Expected,
    Peer(PeerId),
}

/// See the module.
#[derive(Debug)]
pub struct Desk {
    me: Option<Ready>,
    home: Option<PathBuf>,
    expected: Option<Target>,
    /// `/connect` moves the conversation to whom it asked for, as people on a terminal expect.
    follows: bool,
    asked_for: Option<Target>,
    current: Current,
    people: People,
    requests: Vec<RequestEvent>,
    files: BTreeMap<TransferNumber, FileEvent>,
    waiting: VecDeque<Waiting>,
    pending: Pending,
    looking: BTreeMap<CommandId, Looking>,
    undelivered: BTreeSet<(PeerId, MessageId)>,
    /// Messages that were taken and are not stored here yet: one comes up once it is.
    unkept: BTreeSet<MessageId>,
    /// Transfers that were taken, and come up once they are offered.
    taken_files: BTreeSet<TransferNumber>,
    ledgers: Vec<Ledger>,
    timestamps: bool,
    standing: Standing,
}

/// A line for the expected person, typed before the session was up.
#[derive(Debug)]
struct Waiting {
    tag: Option<Tag>,
    what: Saying,
}

/// What a line says to somebody.
#[derive(Debug)]
enum Saying {
    Text(String),
    Files(Vec<PathBuf>),
}

impl Desk {
    /// A desk for JSON mode. `home` is what `~` stands for in paths.
    pub fn new(home: Option<PathBuf>) -> Self {
        Self {
            me: None,
            home,
            expected: None,
            follows: false,
            asked_for: None,
            current: Current::Nobody,
            people: People::default(),
            requests: Vec::new(),
            files: BTreeMap::new(),
            waiting: VecDeque::new(),
            pending: Pending::default(),
            looking: BTreeMap::new(),
            undelivered: BTreeSet::new(),
            unkept: BTreeSet::new(),
            taken_files: BTreeSet::new(),
            ledgers: Vec::new(),
            timestamps: false,
            standing: Standing::default(),
        }
    }

    /// Lines go to this person from the start, and wait until the session is up.
    #[must_use]
    pub fn with_expected(mut self, person: Target) -> Self {
        self.expected = Some(person);
        self.current = Current::Expected;
        self
    }

    /// `/connect` moves the conversation.
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follows = true;
        self
    }

    /// Commands get numbers above `last`: desks of one client have ranges of their own.
    #[must_use]
    pub fn numbered_above(mut self, last: CommandId) -> Self {
        self.pending = Pending::above(last);
        self
    }

    /// Takes a line of the command language, with whom it is meant for and what its outcome carries.
    pub fn interpret(&mut self, line: Line) -> Vec<Action> {
        let Line { tag, to, text } = line;
        let mut actions = Vec::new();
        let read = language::parse(&text, self.home.as_deref());
        match read.and_then(|input| self.act(input, to.as_deref(), tag.clone(), &mut actions)) {
            Ok(()) => {}
            Err(failure) => actions.push(Action::Outcome(Outcome { tag, result: Err(failure) })),
        }
        actions
    }

    /// Takes a line that could not be read.
    pub fn reject(&mut self, error: LineError) -> Vec<Action> {
        vec![Action::Outcome(Outcome { tag: error.tag, result: Err(*error.failure) })]
    }

    /// Takes an event. Whoever shows events shows this one first, then does what comes back.
    pub fn observe(&mut self, event: &Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Ready(ready) => {
                for (peer, name) in &ready.known {
                    self.people.learn(*peer, Some(name));
                }
                self.me = Some(ready.clone());
            }
            Event::Presence(person) => self.people.learn(person.peer, person.name.as_ref()),
            Event::People { id, list } => {
                self.people.list(list);
                self.finish(*id, Ok(Made::default()), &mut actions);
            }
            Event::Request(request) => self.request_changed(request),
            Event::Session(session) => self.session_changed(session, &mut actions),
            Event::Message(message) => {
                self.people.learn(message.peer, message.name.as_ref());
                if message.mine {
                    self.renamed(message.peer, message.was.as_deref(), message.message);
                    self.unkept.remove(&message.message);
                    self.undelivered.insert((message.peer, message.message));
                }
            }
            Event::Receipt(receipt) => {
                self.renamed(receipt.peer, receipt.was.as_deref(), receipt.message);
                self.unkept.remove(&receipt.message);
                match receipt.state {
                    Delivery::Queued | Delivery::Sent => {}
                    Delivery::Stored | Delivery::Read | Delivery::Failed => {
                        self.undelivered.remove(&(receipt.peer, receipt.message));
                    }
                }
                self.note_in_ledgers(receipt.peer, receipt.message, receipt.state, &mut actions);
            }
            Event::File(file) => self.file_changed(file),
            Event::Trust(trust) => {
                if let Some(old) = trust.pinned.filter(|_| trust.followed) {
                    self.followed(old, trust.peer);
                }
                self.people.learn(trust.peer, trust.name.as_ref());
            }
            Event::Standing(standing) => self.standing = *standing,
            Event::Info { id, .. } => self.finish(*id, Ok(Made::default()), &mut actions),
            Event::Recalled { id, answer } => self.recalled(*id, answer, &mut actions),
            Event::Done { id, message, transfer, request } => {
                self.unkept.extend(*message);
                self.taken_files.extend(transfer.filter(|number| !self.files.contains_key(number)));
                let made = Made {
                    messages: message.iter().copied().collect(),
                    transfers: transfer.iter().copied().collect(),
                    request: *request,
                };
                self.finish(*id, Ok(made), &mut actions);
            }
            Event::Failed { id, failure } => {
                self.looking.remove(id);
                self.finish(*id, Err(failure.clone()), &mut actions);
            }
            Event::Broker(_) | Event::Typing { .. } | Event::Error(_) | Event::Stopped(_) => {}
        }
        actions
    }

    /// One's own message is called otherwise from now on.
    fn renamed(&mut self, peer: PeerId, was: Option<&MessageId>, message: MessageId) {
        let Some(&was) = was else { return };
        if self.unkept.remove(&was) {
            self.unkept.insert(message);
        }
        if self.undelivered.remove(&(peer, was)) {
            self.undelivered.insert((peer, message));
        }
        self.ledgers.iter_mut().for_each(|ledger| ledger.renamed(was, message));
        self.pending.renamed(was, message);
    }

    /// Somebody has another key: what was meant for the old one is meant for the new one.
    fn followed(&mut self, old: PeerId, new: PeerId) {
        self.people.followed(old, new);
        if self.current == Current::Peer(old) {
            self.current = Current::Peer(new);
        }
        let now = |(peer, message): (PeerId, MessageId)| {
            let to = if message.to == old { new } else { message.to };
            (if peer == old { new } else { peer }, MessageId { to, ..message })
        };
        self.undelivered = core::mem::take(&mut self.undelivered).into_iter().map(now).collect();
        let unkept = core::mem::take(&mut self.unkept).into_iter();
        self.unkept = unkept.map(|message| now((message.to, message)).1).collect();
        self.ledgers.iter_mut().for_each(|ledger| ledger.followed(old, new));
    }

    /// Says something to the current conversation, or to whom the session is waited for: `text` as it
    /// is, whatever it begins with, then files.
    ///
    /// # Errors
    ///
    /// [`Failure::NoConversation`], and what [`language::check_text`] finds.
    pub fn say_first(&mut self, text: Option<&str>, files: &[PathBuf]) -> Result<Vec<Action>, Failure> {
        let mut actions = Vec::new();
        if let Some(text) = text {
            let text = language::check_text(text)?;
            self.say_to(self.recipient(None)?, Saying::Text(text), None, &mut actions);
        }
        if !files.is_empty() {
            self.say_to(self.recipient(None)?, Saying::Files(files.to_vec()), None, &mut actions);
        }
        Ok(actions)
    }

    /// A number for a command that the front end gives by itself and whose outcome it watches.
    pub fn next_id(&mut self) -> CommandId {
        self.pending.next_id()
    }

    /// What to tell the client when a message of somebody else was shown.
    pub fn shown(&mut self, message: MessageId) -> Action {
        let request = Request::Engine(Command::Shown { message });
        Action::Ask { id: self.pending.next_id(), request }
    }

    /// Fails every line that still waits, because the client ends.
    pub fn abandon(&mut self, failure: &Failure) -> Vec<Action> {
        let waiting = self.waiting.drain(..).map(|waiting| waiting.tag);
        let tags: Vec<_> = waiting.chain(self.pending.drain()).flatten().collect();
        tags.into_iter()
            .map(|tag| Action::Outcome(Outcome { tag: Some(tag), result: Err(failure.clone()) }))
            .collect()
    }

    /// Whether so much is under way that no further input should be read.
    pub fn is_full(&self) -> bool {
        self.messages_under_way() >= UNDER_WAY_MAX
    }

    /// Lines whose outcome is not known yet.
    pub fn lines_under_way(&self) -> usize {
        self.waiting.len() + self.pending.len()
    }

    /// What another desk of the same client has to observe to know what waits for the user's word.
    pub fn open_things(&self) -> impl Iterator<Item = Event> {
        let requests = self.requests.iter().cloned().map(Event::Request);
        let files = self.files.values().filter(|file| !file.state.is_end()).cloned();
        requests.chain(files.map(|file| Event::File(Box::new(file))))
    }

    /// Messages and lines that the other side does not keep yet.
    pub fn messages_under_way(&self) -> usize {
        self.lines_under_way() + self.unkept.len() + self.undelivered.len()
    }

    /// Messages that were taken here and that no commit has confirmed.
    pub fn unkept(&self) -> usize {
        self.unkept.len()
    }

    /// Whether this message is one of them.
    pub fn is_unkept(&self, message: MessageId) -> bool {
        self.unkept.contains(&message)
    }

    /// Transfers that have begun, or wait for the other side's word, and have not ended.
    pub fn transfers_under_way(&self) -> usize {
        let begun = self
            .files
            .values()
            .filter(|file| match file.state {
                FileState::Offered => file.direction == Direction::Out,
                FileState::Accepted | FileState::Running | FileState::Verifying => true,
                FileState::Declined | FileState::Done | FileState::Failed | FileState::Cancelled => false,
            })
            .count();
        begun + self.taken_files.len()
    }

    /// Every transfer that is known, by number.
    pub fn files(&self) -> impl Iterator<Item = &FileEvent> {
        self.files.values()
    }

    /// Transfers that have not ended, by number.
    pub fn open_transfers(&self) -> impl Iterator<Item = TransferNumber> {
        self.files.values().filter(|file| !file.state.is_end()).map(|file| file.transfer)
    }

    /// The conversation that lines go to, once there is one.
    pub fn current(&self) -> Option<PeerId> {
        match self.current {
            Current::Nobody | Current::Expected => None,
            Current::Peer(peer) => Some(peer),
        }
    }

    /// Who the user is, once the client runs.
    pub fn me(&self) -> Option<&Ready> {
        self.me.as_ref()
    }

    /// Who is who.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// How the user stands towards others.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether messages are shown with their time.
    pub fn timestamps(&self) -> bool {
        self.timestamps
    }

    /// Whether this is the person asked for from the start.
    pub fn is_expected(&self, peer: PeerId) -> bool {
        self.expected.as_ref().is_some_and(|target| self.people.is(target, peer))
    }

    fn finish(&mut self, id: CommandId, result: Result<Made, Failure>, actions: &mut Vec<Action>) {
        let Some(finished) = self.pending.finish(id, result) else { return };
        if let Some(ledger) = finished.ledger {
            actions.push(Action::Show(Local::Ledger(ledger.clone())));
            if !ledger.is_settled() {
                self.ledgers.push(ledger);
            }
        }
        if finished.outcome.tag.is_some() || finished.outcome.result.is_err() {
            actions.push(Action::Outcome(finished.outcome));
        }
    }

    fn note_in_ledgers(&mut self, peer: PeerId, id: MessageId, state: Delivery, actions: &mut Vec<Action>) {
        for ledger in &mut self.ledgers {
            if ledger.note(peer, id, state) {
                actions.push(Action::Show(Local::Ledger(ledger.clone())));
            }
        }
        self.pending.note(peer, id, state);
        self.ledgers.retain(|ledger| !ledger.is_settled());
    }

    fn request_changed(&mut self, event: &RequestEvent) {
        if let Some(peer) = event.peer {
            self.people.learn(peer, event.name.as_ref());
        }
        self.requests.retain(|request| request.request != event.request);
        if event.state == RequestState::Open {
            if self.requests.len() == REQUESTS_KEPT {
                self.requests.remove(0);
            }
            self.requests.push(event.clone());
        }
    }

    fn file_changed(&mut self, event: &FileEvent) {
        self.people.learn(event.peer, event.peer_name.as_ref());
        self.taken_files.remove(&event.transfer);
        if self.files.len() >= FILES_KEPT && !self.files.contains_key(&event.transfer) {
            let ended = self.files.values().find(|file| file.state.is_end()).map(|file| file.transfer);
            let oldest = self.files.keys().next().copied();
            if let Some(number) = ended.or(oldest) {
                self.files.remove(&number);
            }
        }
        self.files.insert(event.transfer, event.clone());
    }

    fn session_changed(&mut self, event: &SessionEvent, actions: &mut Vec<Action>) {
        self.people.session(event);
        let peer = event.peer;
        match event.state {
            SessionState::Connecting | SessionState::Suspect | SessionState::Lost => {}
            SessionState::Up => {
                let asked_for = self.asked_for.as_ref().is_some_and(|target| self.people.is(target, peer));
                let moves = match self.current {
                    Current::Nobody => true,
                    Current::Expected => self.is_expected(peer),
                    Current::Peer(current) => asked_for && current != peer,
                };
                if asked_for {
                    self.asked_for = None;
                }
                if moves {
                    self.talk_to(Some(peer), actions);
                }
                if self.is_expected(peer) {
                    // Whatever the user calls them from now on.
                    self.expected = Some(Target::Peer(peer));
                    self.release(peer, actions);
                }
            }
            SessionState::Closed => {
                if self.current == Current::Peer(peer) && !self.is_expected(peer) {
                    self.talk_to(None, actions);
                }
            }
        }
    }

    fn talk_to(&mut self, peer: Option<PeerId>, actions: &mut Vec<Action>) {
        self.current = peer.map_or(Current::Nobody, Current::Peer);
        let name = peer.and_then(|peer| self.people.name(peer)).cloned();
        actions.push(Action::Show(Local::Conversation { peer, name }));
    }

    fn release(&mut self, peer: PeerId, actions: &mut Vec<Action>) {
        while let Some(Waiting { tag, what }) = self.waiting.pop_front() {
            self.say(what, peer, tag, actions);
        }
    }
}

#[cfg(test)]
mod tests;
