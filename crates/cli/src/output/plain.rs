//! Events as lines for people: functions of the event and of what is on the desk.

use std::collections::{BTreeMap, BTreeSet};

use p2pchat_client::desk::{Desk, Ledger, Local};
use p2pchat_client::event::{
    BrokerEvent, BrokerState, Delivery, Direction, FileEvent, FileState, MessageEvent, PathKind, Person,
    PersonStatus, Ready, ReceiptEvent, RequestEvent, RequestState, SessionEvent, SessionLink, SessionReport,
    SessionState, Trust, TrustEvent,
};
use p2pchat_client::language::COMMANDS;
use p2pchat_client::profile::Acquaintance;
use p2pchat_client::{Event, TransferNumber};
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::{Name, PeerId};

use super::{
    Past, Role, Shown, Stream, TimeOfDay, bytes, duration, forgotten, kept_for, safety_lines, table, waiting,
};

mod info;
mod status;

/// A running transfer is shown whenever it has passed another such share of its bytes.
const PROGRESS_STEPS: u64 = 4;

/// What the user knows of the broker: every failed try is an event, and not every one is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broker {
    Unknown,
    There,
    Away,
}

/// See the module.
#[derive(Debug)]
pub struct Plain {
    clock: TimeOfDay,
    verbose: bool,
    broker: Broker,
    /// One's own messages that the other side does not store yet, and whether the user was told that they have
    /// to wait, so that it is worth a line when they arrive.
    under_way: BTreeMap<(PeerId, MessageId), bool>,
    /// The last step shown of each running transfer.
    progress: BTreeMap<TransferNumber, u64>,
}

impl Plain {
    /// `verbose` shows receipts and every state.
    pub fn new(clock: TimeOfDay, verbose: bool) -> Self {
        Self {
            clock,
            verbose,
            broker: Broker::Unknown,
            under_way: BTreeMap::new(),
            progress: BTreeMap::new(),
        }
    }

    /// The lines of an event, none where there is nothing for people in it. One's own messages stand
    /// on the screen already, where they were typed.
    pub fn event(&mut self, event: &Event, desk: &Desk) -> Vec<Shown> {
        match event {
            Event::Ready(ready) => self.ready(ready),
            Event::Broker(event) => self.broker(event).into_iter().collect(),
            Event::Presence(person) => {
                let who = desk.people().label(person.peer);
                vec![Shown::event(&format!("* {who} is {}", presence(person.status)))]
            }
            Event::People { id: _, list } => people(list),
            Event::Request(event) => request(event),
            Event::Session(event) => self.session(event, desk),
            Event::Message(event) => self.message(event, desk).into_iter().collect(),
            Event::Receipt(event) => self.receipt(event, desk).into_iter().collect(),
            Event::File(event) => self.file(event, desk).into_iter().collect(),
            Event::Typing { peer, .. } => self.typing(*peer, desk).into_iter().collect(),
            Event::Trust(event) => trust(event, desk),
            Event::Standing(standing) => {
                vec![Shown::notice(&format!("* you are {}", status::standing(*standing)))]
            }
            Event::Info { id: _, sessions, sought, socket } => {
                info::info(sessions, sought, socket, &self.clock)
            }
            Event::Error(failure) => vec![Shown::failure(failure)],
            // A desk or a task shows it.
            Event::Recalled { .. } | Event::Done { .. } | Event::Failed { .. } | Event::Stopped(_) => {
                Vec::new()
            }
        }
    }

    /// The lines of an answer that needs no engine.
    pub fn local(&self, local: &Local, desk: &Desk) -> Vec<Shown> {
        match local {
            Local::Help(None) => {
                let rows: Vec<_> =
                    COMMANDS.iter().map(|entry| [entry.usage.to_owned(), entry.about.to_owned()]).collect();
                let mut lines: Vec<_> = table(&rows).iter().map(|line| Shown::data(line)).collect();
                lines.push(Shown::data("Anything else is a message; // begins one with a slash."));
                lines
            }
            Local::Help(Some(entry)) => vec![
                Shown::data(&format!("{}: {}", entry.usage, entry.about)),
                Shown::data(&format!("Example: {}", entry.example)),
            ],
            Local::Requests { requests, files } if requests.is_empty() && files.is_empty() => {
                vec![Shown::data("Nothing is open.")]
            }
            Local::Requests { requests, files } => requests
                .iter()
                .flat_map(request)
                .chain(files.iter().map(|event| offered(event, &desk.people().label(event.peer))))
                .collect(),
            Local::Files(files) if files.is_empty() => vec![Shown::data("No files.")],
            Local::Files(files) => file_table(files, desk),
            Local::Safety { peer, number, .. } => {
                let lines = safety_lines(&desk.people().label(*peer), number);
                lines.iter().map(|line| Shown::data(line)).collect()
            }
            Local::Id(None) => vec![Shown::data("Not started.")],
            Local::Id(Some(me)) => vec![Shown::data(&format!("{} {}", me.name, me.peer))],
            Local::Conversation { peer: Some(peer), .. } => {
                vec![Shown::notice(&format!("* you talk to {}", desk.people().label(*peer)))]
            }
            Local::Conversation { peer: None, .. } => {
                vec![Shown::notice("* you talk to nobody; /switch NAME or /connect NAME")]
            }
            Local::Ledger(entries) => vec![Shown::event(&format!("* {}", ledger(entries)))],
            Local::History(page) if page.messages.is_empty() => {
                vec![Shown::notice("* nothing of that is kept")]
            }
            Local::History(page) => {
                let me = desk.me().map_or_else(|| "me".to_owned(), |me| me.name.to_string());
                let mut past = Past::new(&self.clock, &me, desk.people().label(page.peer));
                let lines = page.messages.iter().flat_map(|kept| past.text(kept));
                lines.map(|line| Shown::data(&line)).collect()
            }
            Local::Waiting(talks) | Local::Talks(talks) => {
                waiting(talks, &self.clock).iter().map(|line| Shown::data(line)).collect()
            }
            Local::Forgotten(removed) => {
                vec![Shown::data(&forgotten(&desk.people().label(removed.peer), removed))]
            }
            Local::Contacts(list) => table(&contacts(list)).iter().map(|line| Shown::data(line)).collect(),
            Local::Kept { peer, after, .. } => {
                vec![Shown::data(&kept_for(&desk.people().label(*peer), *after))]
            }
            Local::Contact(person) => vec![Shown::data(&contact(person).join("  "))],
            Local::Standing(standing) => vec![Shown::data(&status::standing(*standing))],
            Local::Status(status) => status::status(status, &self.clock),
            Local::Checks(checks) => status::checks(checks),
            Local::Timestamps(on) => vec![Shown::notice(&format!("* timestamps {}", on_off(*on)))],
            Local::ReadReceipts(on) => vec![Shown::notice(&format!("* read receipts {}", on_off(*on)))],
        }
    }

    fn ready(&self, ready: &Ready) -> Vec<Shown> {
        let mut lines = vec![Shown::notice(&format!("* you are {}", ready.name))];
        if self.verbose {
            lines.push(Shown::notice(&format!("* your id is {}", ready.peer)));
            for address in [ready.udp, ready.udp6].into_iter().flatten() {
                lines.push(Shown::notice(&format!("* listening on UDP {address}")));
            }
        }
        lines
    }

    fn broker(&mut self, event: &BrokerEvent) -> Option<Shown> {
        let address = &event.address;
        let (before, because) =
            (self.broker, reason(event.reason.as_ref().map(ToString::to_string).as_deref()));
        match event.state {
            BrokerState::Connecting => None,
            BrokerState::Connected => {
                self.broker = Broker::There;
                let key =
                    event.key.filter(|_| self.verbose).map_or_else(String::new, |key| format!(", key {key}"));
                Some(Shown::notice(&format!("* at the broker {address}{key}")))
            }
            BrokerState::Lost => {
                self.broker = Broker::Away;
                match before {
                    Broker::Unknown => {
                        Some(Shown::notice(&format!("* no broker at {address} yet; it is tried again")))
                    }
                    Broker::There => Some(Shown::notice(&format!(
                        "* broker lost{because}; conversations go on, and it is tried again"
                    ))),
                    Broker::Away => None,
                }
            }
            BrokerState::Refused => Some(match &event.reason {
                Some(failure) => Shown::failure(failure),
                None => Shown::notice(&format!("* the broker {address} refused")),
            }),
        }
    }

    fn session(&mut self, event: &SessionEvent, desk: &Desk) -> Vec<Shown> {
        let who = desk.people().label(event.peer);
        let because = reason(event.reason.as_deref());
        let text = match event.state {
            SessionState::Connecting if self.verbose || event.reason.is_some() => {
                format!("* reaching {who}{because}")
            }
            SessionState::Connecting => return Vec::new(),
            SessionState::Up => match &event.link {
                Some(link) => {
                    format!("* connected to {who}: {} · {}", describe(link), trust_text(event.trust))
                }
                None => format!("* connected to {who}"),
            },
            SessionState::Suspect => format!("* nothing heard from {who} for a while"),
            SessionState::Lost => format!("* lost {who}{because}{}", self.left_waiting(event.peer)),
            SessionState::Closed => {
                let left = self.left_waiting(event.peer);
                format!("* the session with {who} is closed{because}{left}")
            }
        };
        vec![Shown::event(&text)]
    }

    /// What was on its way when a session ended has to wait from then on.
    fn left_waiting(&mut self, peer: PeerId) -> String {
        let of_theirs = self.under_way.iter_mut().filter(|((to, _), _)| *to == peer);
        let left = of_theirs.filter_map(|(_, told)| (!core::mem::replace(told, true)).then_some(())).count();
        match left {
            0 => String::new(),
            1 => "; 1 message waits for the next one".to_owned(),
            _ => format!("; {left} messages wait for the next one"),
        }
    }

    fn message(&self, event: &MessageEvent, desk: &Desk) -> Option<Shown> {
        if event.mine {
            return None;
        }
        let who = desk.people().label(event.peer);
        let time = self.clock.of(event.sent_at);
        let head = match (desk.timestamps(), event.late) {
            (true, _) => format!("{time} {who}:"),
            (false, true) => format!("{who} ({time}):"),
            (false, false) => format!("{who}:"),
        };
        Some(Shown::new(Stream::Out, Role::Message(head.len()), &format!("{head} {}", event.text)))
    }

    /// Lines that come and go with every word would bury what is said.
    fn typing(&self, peer: PeerId, desk: &Desk) -> Option<Shown> {
        let who = desk.people().label(peer);
        self.verbose.then(|| Shown::notice(&format!("* {who} is typing")))
    }

    fn receipt(&mut self, event: &ReceiptEvent, desk: &Desk) -> Option<Shown> {
        let who = desk.people().label(event.peer);
        let id = (event.peer, event.message);
        if let Some(was) = event.was.as_deref() {
            // Nothing happened to it but its name.
            let waits = self.under_way.remove(&(event.peer, *was)).unwrap_or(false);
            self.under_way.insert(id, waits);
            return None;
        }
        match event.state {
            // Every message is queued for a moment; that is worth a line only where it stays so.
            Delivery::Queued if desk.people().is_connected(event.peer) => {
                self.under_way.insert(id, false);
                None
            }
            Delivery::Queued => {
                self.under_way.insert(id, true);
                Some(Shown::notice(&format!("* waits until {who} is connected")))
            }
            Delivery::Sent => {
                self.under_way.entry(id).or_insert(false);
                None
            }
            Delivery::Stored => {
                let waited = self.under_way.remove(&id) == Some(true);
                (waited || self.verbose).then(|| Shown::notice(&format!("* delivered to {who}")))
            }
            Delivery::Read => {
                self.under_way.remove(&id);
                self.verbose.then(|| Shown::notice(&format!("* read by {who}")))
            }
            Delivery::Failed => {
                self.under_way.remove(&id);
                let text = format!("* given up, not delivered to {who}; /msg {who} TEXT sends it again");
                Some(Shown::new(Stream::Err, Role::Error, &text))
            }
        }
    }

    fn file(&mut self, event: &FileEvent, desk: &Desk) -> Option<Shown> {
        if event.state.is_end() {
            self.progress.remove(&event.transfer);
        }
        let who = desk.people().label(event.peer);
        let (number, name) = (event.transfer.0, &event.name);
        let mine = event.direction == Direction::Out;
        let hash = event.blake3.as_deref().map_or_else(String::new, |hash| format!(", blake3 {hash}"));
        let because = reason(event.reason.as_ref().map(ToString::to_string).as_deref());
        let text = match event.state {
            FileState::Offered => return Some(offered(event, &who)),
            FileState::Accepted if mine => format!("* {who} takes file {number}"),
            FileState::Accepted => format!("* taking file {number} from {who}"),
            FileState::Declined if mine => format!("* {who} does not take file {number}{because}"),
            FileState::Declined => format!("* file {number} is declined"),
            FileState::Running => return self.running(event),
            FileState::Verifying => return None,
            FileState::Done if mine => format!("* file {number} arrived at {who}: {name}{hash}"),
            FileState::Done => {
                let path = event.path.as_deref().unwrap_or(name);
                format!("* file {number} from {who} is at {path}{hash}")
            }
            FileState::Failed => {
                let text = format!("* file {number} failed{because}");
                return Some(Shown::new(Stream::Out, Role::Error, &text));
            }
            FileState::Cancelled => format!("* file {number} is cancelled{because}"),
        };
        Some(Shown::event(&text))
    }

    fn running(&mut self, event: &FileEvent) -> Option<Shown> {
        let step = event.bytes.saturating_mul(PROGRESS_STEPS).checked_div(event.total).unwrap_or(0);
        let last = self.progress.insert(event.transfer, step).unwrap_or(0);
        if step <= last || step == PROGRESS_STEPS {
            return None;
        }
        let rate = event.rate.map_or_else(String::new, |rate| format!(", {}/s", bytes(rate)));
        let percent = step * 100 / PROGRESS_STEPS;
        Some(Shown::notice(&format!(
            "* file {}: {percent} % of {}{rate}",
            event.transfer.0,
            bytes(event.total)
        )))
    }
}

fn people(list: &[Person]) -> Vec<Shown> {
    if list.is_empty() {
        return vec![Shown::notice("Nobody is there.")];
    }
    let mut rows = vec![["NAME", "STATUS", "TRUST", "ID"].map(str::to_owned)];
    rows.extend(list.iter().map(|person| {
        let name = person.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        [
            name,
            presence(person.status).to_owned(),
            trust_text(person.trust).to_owned(),
            person.peer.to_string(),
        ]
    }));
    table(&rows).iter().map(|line| Shown::data(line)).collect()
}

fn request(event: &RequestEvent) -> Vec<Shown> {
    let who = match (&event.name, event.peer) {
        (Some(name), _) => name.to_string(),
        (None, Some(peer)) => peer.to_string(),
        (None, None) => "somebody".to_owned(),
    };
    let because = reason(event.reason.as_deref());
    let text = match (event.direction, event.state) {
        (Direction::In, RequestState::Open) => {
            let trust = trust_text(event.trust);
            format!("* {who} asks for a chat ({trust}): /accept {who} or /decline {who}")
        }
        (Direction::In, RequestState::Accepted) => format!("* {who} is accepted"),
        (Direction::In, RequestState::Declined) => format!("* {who} is declined{because}"),
        (Direction::In, RequestState::Cancelled) => format!("* {who} took the request back"),
        (Direction::In, RequestState::Expired) => format!("* the request of {who} has expired"),
        (Direction::Out, RequestState::Open) => format!("* asked {who} for a chat"),
        (Direction::Out, RequestState::Accepted) => format!("* {who} accepted"),
        (Direction::Out, RequestState::Declined) => format!("* {who} declined{because}"),
        (Direction::Out, RequestState::Cancelled) => format!("* the request to {who} is taken back"),
        (Direction::Out, RequestState::Expired) => format!("* no answer from {who}"),
    };
    vec![Shown::event(&text)]
}

fn offered(event: &FileEvent, who: &str) -> Shown {
    let (number, name, size) = (event.transfer.0, &event.name, bytes(event.total));
    Shown::event(&match event.direction {
        Direction::In => {
            format!("* {who} offers file {number}: {name} ({size}): /accept {number} or /decline {number}")
        }
        Direction::Out => format!("* file {number} is offered to {who}: {name} ({size})"),
    })
}

fn file_table(files: &[FileEvent], desk: &Desk) -> Vec<Shown> {
    let mut rows = vec![["N", "", "WHO", "STATE", "SIZE", "NAME"].map(str::to_owned)];
    rows.extend(files.iter().map(|file| {
        let arrow = match file.direction {
            Direction::In => "from",
            Direction::Out => "to",
        };
        let state = match file.state {
            FileState::Offered => "offered".to_owned(),
            FileState::Accepted => "accepted".to_owned(),
            FileState::Declined => "declined".to_owned(),
            FileState::Running => {
                format!("{} %", file.bytes.saturating_mul(100).checked_div(file.total).unwrap_or(100))
            }
            FileState::Verifying => "verifying".to_owned(),
            FileState::Done => "done".to_owned(),
            FileState::Failed => "failed".to_owned(),
            FileState::Cancelled => "cancelled".to_owned(),
        };
        let who = desk.people().label(file.peer);
        [file.transfer.0.to_string(), arrow.to_owned(), who, state, bytes(file.total), file.name.clone()]
    }));
    table(&rows).iter().map(|line| Shown::data(line)).collect()
}

fn trust(event: &TrustEvent, desk: &Desk) -> Vec<Shown> {
    let who = event.name.as_ref().map_or_else(|| desk.people().label(event.peer), ToString::to_string);
    match event.pinned {
        Some(old) if event.followed => {
            let says = [
                format!("* WARNING: {who} has another key: {} in the place of {old}", event.peer),
                format!("* both keys have signed that; {who} is {} now", trust_text(event.is)),
                format!("* compare the safety words again: {}", event.safety),
            ];
            says.iter().map(|line| Shown::new(Stream::Out, Role::Error, line)).collect()
        }
        Some(pinned) => vec![Shown::new(
            Stream::Out,
            Role::Error,
            &format!("* WARNING: {who} came as {}, known is {pinned}; nothing was sent", event.peer),
        )],
        None => vec![Shown::event(&format!(
            "* {who} is {} now; compare the safety words: {}",
            trust_text(event.is),
            event.safety
        ))],
    }
}

/// Name, trust, the name at the broker where it is another one, identity.
pub fn contact(person: &Acquaintance) -> [String; 4] {
    let text = |name: Option<&Name>| name.map_or_else(|| "-".to_owned(), ToString::to_string);
    let registered =
        person.pin.as_ref().map(|pin| &pin.name).filter(|name| Some(*name) != person.name.as_ref());
    [
        text(person.name.as_ref()),
        trust_text(person.trust).to_owned(),
        text(registered),
        person.peer.to_string(),
    ]
}

/// The same of everybody, once where they are known by one name at several brokers.
pub fn contacts(list: &[Acquaintance]) -> Vec<[String; 4]> {
    let mut seen = BTreeSet::new();
    list.iter().map(contact).filter(|row| seen.insert(row.clone())).collect()
}

/// A ledger in one clause.
pub fn ledger(ledger: &Ledger) -> String {
    let mut text = format!("stored by {} of {}", ledger.stored(), ledger.len());
    for (what, names) in [("waiting", ledger.queued()), ("failed", ledger.failed())] {
        if !names.is_empty() {
            text.push_str(&format!("; {what}: {}", names.join(", ")));
        }
    }
    text
}

/// The path of a session.
pub(crate) fn describe_link(report: &SessionReport) -> String {
    report.link.as_ref().map_or_else(|| "no path".to_owned(), describe)
}

fn describe(link: &SessionLink) -> String {
    let path = match link.path {
        PathKind::Direct => "direct",
        PathKind::Lan => "lan",
    };
    let local = link.local.map_or_else(String::new, |local| format!("{local} to "));
    let rtt = link.rtt.map_or_else(String::new, |rtt| format!(" · {}", duration(rtt)));
    format!("{path} {local}{}{rtt} · {}", link.remote, link.cipher)
}

fn session_state(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "connecting",
        SessionState::Up => "up",
        SessionState::Suspect => "silent",
        SessionState::Lost => "lost",
        SessionState::Closed => "closed",
    }
}

fn presence(status: PersonStatus) -> &'static str {
    match status {
        PersonStatus::Online => "online",
        PersonStatus::Away => "away",
        PersonStatus::Busy => "busy",
        PersonStatus::Offline => "offline",
    }
}

pub(crate) fn trust_text(trust: Trust) -> &'static str {
    match trust {
        Trust::New => "new",
        Trust::Pinned => "pinned",
        Trust::Verified => "verified",
        Trust::Blocked => "blocked",
    }
}

fn reason(reason: Option<&str>) -> String {
    reason.filter(|reason| !reason.is_empty()).map_or_else(String::new, |reason| format!(": {reason}"))
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

#[cfg(test)]
mod tests;
