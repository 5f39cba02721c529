//! `send`: asks everybody named, delivers to each, prints the ledger, ends.
//!
//! A message to somebody who is known is kept before anything else; if it cannot be delivered now, it
//! waits for the process that can.

use core::time::Duration;
use std::path::PathBuf;

use p2pchat_client::desk::{Action, Desk, Ledger, Local};
use p2pchat_client::event::{
    BrokerState, Delivery, Direction, FileEvent, FileState, RequestEvent, RequestState, SessionEvent,
    SessionState, TrustEvent,
};
use p2pchat_client::{Command, CommandId, Event, Failure, Request, Target, TransferNumber};
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{PeerId, RequestId};
use tokio::time::Instant;

use super::task::{BrokerWait, Step, Task, ask, ends_the_attempt};

/// How long a message that the disk does not take is waited for: the store tries once a second.
const KEEP_WAIT: Duration = Duration::from_secs(2);

/// What is to be delivered.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The message.
    pub text: Option<String>,
    /// The files.
    pub files: Vec<PathBuf>,
    /// How far the message has to get.
    pub wait: Delivery,
}

/// Somebody to deliver to.
#[derive(Debug, Clone)]
pub struct Address {
    /// Who is meant.
    pub target: Target,
    /// The identity, where it is known before anybody is asked.
    pub known: Option<PeerId>,
    /// What the user typed.
    pub label: String,
}

/// See the module.
#[derive(Debug)]
pub struct Send {
    parcel: Parcel,
    timeout: Duration,
    broker: BrokerWait,
    asked: bool,
    recipients: Vec<Recipient>,
    /// The disk takes nothing, or did not.
    troubled: bool,
    over: bool,
}

#[derive(Debug)]
struct Recipient {
    label: String,
    target: Target,
    known: Option<PeerId>,
    stage: Stage,
    connect: Option<CommandId>,
    request: Option<RequestId>,
    peer: Option<PeerId>,
    message: Option<(CommandId, Option<MessageId>)>,
    /// The message is not kept here yet, and is waited for so long.
    unkept: Option<Instant>,
    delivered: Delivery,
    files: Vec<File>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct File {
    command: CommandId,
    transfer: Option<TransferNumber>,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No session yet; so long.
    Asking { until: Instant },
    /// Things are under way; so long unless something moves.
    Delivering { until: Instant },
    /// Nothing more will happen.
    Over,
}

impl Send {
    /// To everybody in `to`.
    pub fn new(to: Vec<Address>, parcel: Parcel, broker: &str, timeout: Duration, now: Instant) -> Self {
        let broker = BrokerWait::new(broker, now);
        let recipients = to.into_iter().map(|address| Recipient::new(address, broker.until));
        let (asked, troubled, over) = (false, false, false);
        Self { parcel, timeout, recipients: recipients.collect(), broker, asked, troubled, over }
    }

    /// Whoever is known is asked at once, by the broker and where they were last, and what is to be said
    /// to them is kept.
    fn ask_the_known(&mut self, desk: &mut Desk) -> Vec<Step> {
        let (timeout, parcel) = (self.timeout, &self.parcel);
        let mut steps = Vec::new();
        for recipient in &mut self.recipients {
            if let Some(peer) = recipient.known {
                if recipient.is_asking() {
                    steps.push(recipient.ask(timeout, desk));
                }
                steps.extend(recipient.say(peer, parcel, desk));
            }
        }
        steps
    }

    fn ask_everybody(&mut self, desk: &mut Desk, now: Instant) -> Vec<Step> {
        self.asked = true;
        let timeout = self.timeout;
        let mut steps = Vec::new();
        for recipient in &mut self.recipients {
            if recipient.is_asking() {
                recipient.stage = Stage::Asking { until: now + timeout };
                if recipient.connect.is_none() {
                    steps.push(recipient.ask(timeout, desk));
                }
            }
        }
        steps
    }

    fn done(&mut self, id: CommandId, event: &Event, now: Instant) {
        let troubled = self.troubled;
        let Event::Done { message, transfer, request, .. } = event else { return };
        for recipient in &mut self.recipients {
            if recipient.connect == Some(id) {
                recipient.request = *request;
            }
            if let Some((command, sent)) = &mut recipient.message
                && *command == id
            {
                *sent = *message;
                recipient.unkept = troubled.then_some(now + KEEP_WAIT);
            }
            for file in recipient.files.iter_mut().filter(|file| file.command == id) {
                file.transfer = *transfer;
            }
        }
    }

    fn failed(&mut self, id: CommandId, failure: &Failure) {
        for recipient in &mut self.recipients {
            if recipient.message.take_if(|(command, _)| *command == id).is_some() {
                // Why nothing is kept says more than why nobody was reached.
                recipient.stage = Stage::Over;
                recipient.failure = Some(failure.clone());
            } else if recipient.connect == Some(id) || recipient.files.iter().any(|file| file.command == id) {
                recipient.fail(failure.clone());
            }
        }
    }

    /// The failure does not say whose request it ended; where one is open, it is that one.
    fn attempt_failed(&mut self, failure: &Failure) {
        let mut asking = self.recipients.iter_mut().filter(|recipient| recipient.is_asking());
        if let (Some(only), None) = (asking.next(), asking.next()) {
            only.fail(failure.clone());
        }
    }

    fn request_changed(&mut self, event: &RequestEvent) {
        if event.direction == Direction::In {
            return;
        }
        for recipient in &mut self.recipients {
            if recipient.request != Some(event.request) {
                continue;
            }
            let who = recipient.label.clone();
            match event.state {
                RequestState::Open | RequestState::Accepted | RequestState::Cancelled => {}
                RequestState::Declined => {
                    let reason = event.reason.clone().unwrap_or_default();
                    recipient.fail(Failure::Declined { who, reason });
                }
                RequestState::Expired => recipient.fail(Failure::NoAnswer { who }),
            }
        }
    }

    /// Whoever was named in several ways, as a session tells, is one recipient: the one to whom something
    /// was said, or the first.
    fn take_as_one(&mut self, peer: PeerId, desk: &Desk) {
        let is_meant = |recipient: &Recipient| {
            recipient.known == Some(peer) || desk.people().is(&recipient.target, peer)
        };
        let said = self.recipients.iter().position(|one| is_meant(one) && one.message.is_some());
        let Some(kept) = said.or_else(|| self.recipients.iter().position(is_meant)) else { return };
        let mut at = 0..;
        self.recipients.retain(|recipient| at.next() == Some(kept) || !is_meant(recipient));
    }

    fn session_changed(&mut self, event: &SessionEvent, desk: &mut Desk, now: Instant) -> Vec<Step> {
        if event.state == SessionState::Up {
            self.take_as_one(event.peer, desk);
        }
        let (timeout, parcel) = (self.timeout, &self.parcel);
        let mut steps = Vec::new();
        for recipient in &mut self.recipients {
            if !desk.people().is(&recipient.target, event.peer) {
                continue;
            }
            match (event.state, recipient.stage) {
                (SessionState::Up, Stage::Asking { .. }) => {
                    recipient.stage = Stage::Delivering { until: now + timeout };
                    steps.extend(recipient.deliver(event.peer, parcel, desk));
                }
                (SessionState::Closed, Stage::Delivering { .. }) => {
                    recipient.fail(Failure::SessionLost { who: recipient.label.clone() });
                }
                (SessionState::Lost, Stage::Asking { .. }) => {
                    recipient.fail(Failure::NoPath { who: recipient.label.clone() });
                }
                (
                    SessionState::Connecting
                    | SessionState::Up
                    | SessionState::Suspect
                    | SessionState::Lost
                    | SessionState::Closed,
                    _,
                ) => {}
            }
        }
        steps
    }

    fn receipt(&mut self, peer: PeerId, message: MessageId, state: Delivery, now: Instant) {
        for recipient in &mut self.recipients {
            let mine = recipient.message.is_some_and(|(_, sent)| sent == Some(message));
            if recipient.peer.or(recipient.known) != Some(peer) || !mine {
                continue;
            }
            recipient.moved(now + self.timeout);
            if state == Delivery::Failed {
                recipient.fail(Failure::NotDelivered { waiting: 1 });
            } else {
                recipient.delivered = recipient.delivered.max(state);
            }
        }
    }

    /// The disk takes nothing: of what is not kept yet, nobody can say that it waits.
    fn trouble(&mut self, desk: &Desk, now: Instant) {
        self.troubled = true;
        for recipient in &mut self.recipients {
            if let Some((_, Some(message))) = recipient.message
                && desk.is_unkept(message)
            {
                recipient.unkept = Some(now + KEEP_WAIT);
            }
        }
    }

    fn renamed(&mut self, was: Option<&MessageId>, now: MessageId) {
        let ids = self.recipients.iter_mut().filter_map(|recipient| recipient.message.as_mut());
        for (_, id) in ids.filter(|(_, id)| was.is_some() && id.as_ref() == was) {
            *id = Some(now);
        }
    }

    fn kept(&mut self, message: MessageId) {
        let of = |recipient: &&mut Recipient| recipient.message.is_some_and(|(_, id)| id == Some(message));
        self.recipients.iter_mut().filter(of).for_each(|recipient| recipient.unkept = None);
    }

    /// Somebody has another key, under which they get what was meant for the old one.
    fn followed(&mut self, event: &TrustEvent) {
        let Some(old) = event.pinned.filter(|_| event.followed) else { return };
        for recipient in &mut self.recipients {
            for known in [&mut recipient.known, &mut recipient.peer] {
                *known = known.map(|peer| if peer == old { event.peer } else { peer });
            }
            if let Target::Peer(peer) = &mut recipient.target
                && *peer == old
            {
                *peer = event.peer;
            }
            if let Some((_, Some(message))) = &mut recipient.message
                && message.to == old
            {
                message.to = event.peer;
            }
        }
    }

    fn file_changed(&mut self, event: &FileEvent, now: Instant) {
        for recipient in &mut self.recipients {
            let Some(file) = recipient.files.iter_mut().find(|file| file.transfer == Some(event.transfer))
            else {
                continue;
            };
            let name = event.name.clone();
            match event.state {
                FileState::Offered => {}
                FileState::Accepted | FileState::Running | FileState::Verifying => {}
                FileState::Done => file.done = true,
                FileState::Declined | FileState::Failed | FileState::Cancelled => {
                    let reason = String::new();
                    let refused = Failure::FileRefused { name, reason };
                    recipient.fail(event.reason.clone().unwrap_or(refused));
                }
            }
            recipient.moved(now + self.timeout);
        }
    }

    fn ledger(&self, desk: &Desk) -> Ledger {
        let mut ledger = Ledger::default();
        for recipient in &self.recipients {
            match (recipient.peer.or(recipient.known), recipient.message) {
                (Some(peer), Some((_, Some(message)))) => {
                    let lost = desk.is_unkept(message);
                    let state = if lost { Delivery::Failed } else { recipient.delivered };
                    ledger.add(peer, recipient.label.clone(), message, state);
                }
                (_, _) => ledger.add_failed(recipient.label.clone()),
            }
        }
        ledger
    }

    /// One failure for everybody: of the only recipient; else what waits, if anything does; else that of
    /// the first where nobody got anything; else it is a part that was delivered.
    fn failure(&self) -> Option<Failure> {
        let failures: Vec<Failure> = self.recipients.iter().filter_map(Recipient::outcome).collect();
        let waiting =
            failures.iter().filter(|failure| matches!(failure, Failure::NotDelivered { .. })).count();
        let nothing_arrived = self.recipients.iter().all(|recipient| !recipient.got_something());
        match failures.as_slice() {
            [] => None,
            [only] if self.recipients.len() == 1 => Some(only.clone()),
            _ if waiting > 0 => Some(Failure::NotDelivered { waiting }),
            [first, ..] if nothing_arrived => Some(first.clone()),
            several => Some(Failure::NotEverybody { missed: several.len() }),
        }
    }
}

impl Recipient {
    fn new(address: Address, until: Instant) -> Self {
        let Address { target, known, label } = address;
        Self {
            label,
            target,
            known,
            stage: Stage::Asking { until },
            connect: None,
            request: None,
            peer: None,
            message: None,
            unkept: None,
            delivered: Delivery::Queued,
            files: Vec::new(),
            failure: None,
        }
    }

    fn deliver(&mut self, peer: PeerId, parcel: &Parcel, desk: &mut Desk) -> Vec<Step> {
        self.peer = Some(peer);
        let mut steps: Vec<Step> = self.say(peer, parcel, desk).into_iter().collect();
        for path in &parcel.files {
            let command = desk.next_id();
            self.files.push(File { command, transfer: None, done: false });
            let request = Request::SendFile { to: peer, path: path.clone() };
            steps.push(Step::Do(Action::Ask { id: command, request }));
        }
        steps
    }

    fn ask(&mut self, wait: Duration, desk: &mut Desk) -> Step {
        let id = desk.next_id();
        self.connect = Some(id);
        ask(id, Command::Connect { to: self.target.clone(), wait })
    }

    /// Says what is to be said, if it was not said yet.
    fn say(&mut self, peer: PeerId, parcel: &Parcel, desk: &mut Desk) -> Option<Step> {
        let text = parcel.text.as_ref().filter(|_| self.message.is_none())?;
        let id = desk.next_id();
        self.message = Some((id, None));
        Some(ask(id, Command::Message { to: peer, text: text.clone() }))
    }

    fn moved(&mut self, until: Instant) {
        if let Stage::Delivering { .. } = self.stage {
            self.stage = Stage::Delivering { until };
        }
    }

    fn fail(&mut self, failure: Failure) {
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            self.failure = Some(failure);
        }
    }

    /// Why otherwise than the user wanted: a message that has an id waits where nobody was reached.
    fn outcome(&self) -> Option<Failure> {
        let taken = self.message.is_some_and(|(_, id)| id.is_some());
        let waits = |failure: &Failure| taken && self.delivered < Delivery::Stored && leaves_waiting(failure);
        let failure = self.failure.clone()?;
        Some(if waits(&failure) { Failure::NotDelivered { waiting: 1 } } else { failure })
    }

    /// Nothing more will happen, and what was to be kept is: to be asked for fails faster than a disk writes.
    fn is_over(&self) -> bool {
        self.stage == Stage::Over && self.message.is_none_or(|(_, kept)| kept.is_some())
    }

    fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking { .. })
    }

    fn has_everything(&self, wait: Delivery) -> bool {
        self.peer.is_some()
            && (self.message.is_none() || self.delivered >= wait)
            && self.files.iter().all(|file| file.done)
    }

    fn got_something(&self) -> bool {
        self.delivered >= Delivery::Stored || self.files.iter().any(|file| file.done)
    }

    /// What it is that did not happen in time.
    fn too_late(&self) -> Failure {
        let who = self.label.clone();
        let offered = self.files.iter().any(|file| !file.done);
        match self.stage {
            Stage::Delivering { .. } if self.message.is_some() && self.delivered < Delivery::Stored => {
                Failure::NotDelivered { waiting: 1 }
            }
            Stage::Delivering { .. } if offered => Failure::FileRefused {
                name: format!("what was offered to {who}"),
                reason: "no answer in time".into(),
            },
            Stage::Asking { .. } | Stage::Delivering { .. } | Stage::Over => Failure::NoAnswer { who },
        }
    }
}

/// Whether a message that is kept goes out later all the same: who was not reached, or not willing, may
/// be another time. Trust is for the user to look at, and a file has its own failures.
fn leaves_waiting(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::NotOnline { .. }
            | Failure::UnknownPeer { .. }
            | Failure::Declined { .. }
            | Failure::NotAllowed { .. }
            | Failure::NoAnswer { .. }
            | Failure::NoPath { .. }
            | Failure::SessionLost { .. }
            | Failure::BrokerUnreachable { .. }
            | Failure::BrokerRefused { .. }
    )
}

impl Task for Send {
    fn event(&mut self, event: &Event, desk: &mut Desk, now: Instant) -> Vec<Step> {
        match event {
            Event::Broker(event) => {
                self.broker.note(event);
                return match event.state {
                    BrokerState::Connected if !self.asked => self.ask_everybody(desk, now),
                    BrokerState::Refused => {
                        let refused = self.broker.refused(event);
                        // Whoever is known may be found where they were last.
                        let waits =
                            |recipient: &&mut Recipient| recipient.known.is_none() && recipient.is_asking();
                        self.recipients.iter_mut().filter(waits).for_each(|recipient| {
                            recipient.fail(refused.clone());
                        });
                        Vec::new()
                    }
                    BrokerState::Connecting | BrokerState::Connected | BrokerState::Lost => Vec::new(),
                };
            }
            Event::Done { id, .. } => self.done(*id, event, now),
            Event::Failed { id, failure } => self.failed(*id, failure),
            Event::Request(event) => self.request_changed(event),
            Event::Session(event) => return self.session_changed(event, desk, now),
            Event::Receipt(event) => {
                self.renamed(event.was.as_deref(), event.message);
                self.receipt(event.peer, event.message, event.state, now);
            }
            Event::File(event) => self.file_changed(event, now),
            Event::Trust(event) => self.followed(event),
            Event::Error(failure) if ends_the_attempt(failure) => self.attempt_failed(failure),
            Event::Error(Failure::DiskFull { .. } | Failure::StoreDamaged { .. }) => self.trouble(desk, now),
            Event::Message(event) if event.mine => {
                self.renamed(event.was.as_deref(), event.message);
                self.kept(event.message);
            }
            Event::Ready(_) => return self.ask_the_known(desk),
            Event::Presence(_)
            | Event::People { .. }
            | Event::Message(_)
            | Event::Standing(_)
            | Event::Info { .. }
            | Event::Recalled { .. }
            | Event::Typing { .. }
            | Event::Error(_)
            | Event::Stopped(_) => {}
        }
        Vec::new()
    }

    fn deadline(&self) -> Option<Instant> {
        let until = |recipient: &Recipient| match recipient.stage {
            Stage::Asking { until } | Stage::Delivering { until } => Some(until),
            Stage::Over => None,
        };
        let unkept = self.recipients.iter().filter(|one| one.stage != Stage::Over);
        let unkept = unkept.filter_map(|recipient| recipient.unkept);
        self.recipients.iter().filter_map(until).chain(unkept).min()
    }

    fn timeout(&mut self, _: &mut Desk, now: Instant) -> Vec<Step> {
        let no_broker = (!self.asked).then(|| self.broker.failure());
        for recipient in &mut self.recipients {
            if recipient.unkept.is_some_and(|until| until <= now) {
                recipient.fail(Failure::NotDelivered { waiting: 1 });
            }
            match recipient.stage {
                Stage::Asking { until } | Stage::Delivering { until } if until <= now => {
                    let asking = recipient.is_asking();
                    let failure = no_broker.clone().filter(|_| asking);
                    recipient.fail(failure.unwrap_or_else(|| recipient.too_late()));
                }
                Stage::Asking { .. } | Stage::Delivering { .. } | Stage::Over => {}
            }
        }
        Vec::new()
    }

    fn settled(&mut self, _: &Desk) -> Option<Step> {
        for recipient in &mut self.recipients {
            if recipient.stage != Stage::Over && recipient.has_everything(self.parcel.wait) {
                recipient.stage = Stage::Over;
            }
        }
        let all_over = self.recipients.iter().all(Recipient::is_over);
        if self.over || !all_over {
            return None;
        }
        self.over = true;
        Some(Step::Stop(self.failure()))
    }

    fn waits_for_broker(&self) -> bool {
        !self.asked
    }

    fn last_words(&self, desk: &Desk) -> Vec<Local> {
        let said = self.recipients.iter().any(|recipient| recipient.message.is_some());
        if (self.asked || said) && self.parcel.text.is_some() {
            vec![Local::Ledger(self.ledger(desk))]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
