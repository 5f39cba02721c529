//! Every event as its line: the table of `docs/json.md`, field by field.

use core::time::Duration;

use p2pchat_engine::event::{
    BrokerEvent, BrokerState, Delivery, Direction, FileEvent, FileState, MessageEvent, PathKind, PathReport,
    Person, PersonStatus, Ready, ReceiptEvent, RequestEvent, RequestState, SessionEvent, SessionLink,
    SessionReport, SessionState, SocketReport, Sought, Trust, TrustEvent,
};
use p2pchat_engine::{Event, Failure};
use p2pchat_proto::{Name, PeerId, WallTime};
use serde_json::Value;

use super::object::{Object, rfc3339};
use crate::desk::{Ledger, Local, Outcome};
use crate::invitation::Invitation;
use crate::language::{COMMANDS, Entry};
use crate::profile::Imported;

/// The line of an event. `None` for those whose line depends on more than the event: outcomes of
/// commands (see [`outcome`]) and the end (see [`stopped`]).
pub fn event(event: &Event, at: WallTime) -> Option<String> {
    let object = match event {
        Event::Ready(event) => ready(event, at),
        Event::Broker(event) => broker(event, at),
        Event::Presence(person) => presence(person, at),
        Event::People { id: _, list } => {
            Object::event("people", at).with("list", list.iter().map(person_in_list).collect::<Vec<_>>())
        }
        Event::Request(event) => request(event, at),
        Event::Session(event) => session(event, at),
        Event::Message(event) => message(event, at),
        Event::Receipt(event) => receipt(event, at),
        Event::File(event) => file(event, at),
        Event::Typing { peer, name } => typing(*peer, name.as_ref(), at),
        Event::Trust(event) => trust(event, at),
        Event::Standing(standing) => return Some(super::standing(*standing, at)),
        Event::Info { id: _, sessions, sought, socket } => Object::event("info", at)
            .with("sessions", sessions.iter().map(session_in_info).collect::<Vec<_>>())
            .with("sought", sought.iter().map(sought_in_info).collect::<Vec<_>>())
            .with("socket", socket_in_info(socket)),
        Event::Error(failure) => return Some(error(failure, at)),
        // A desk or a task shows it.
        Event::Recalled { .. } | Event::Done { .. } | Event::Failed { .. } | Event::Stopped(_) => {
            return None;
        }
    };
    Some(object.into_line())
}

/// The line of a failure that no tagged line asked for.
pub fn error(failure: &Failure, at: WallTime) -> String {
    with_failure(Object::event("error", at), failure).into_line()
}

/// The line of how a line of input ended; `None` where nobody wants to know.
pub fn outcome(outcome: &Outcome, at: WallTime) -> Option<String> {
    let object = match (&outcome.tag, &outcome.result) {
        (None, Ok(_)) => return None,
        (None, Err(failure)) => return Some(error(failure, at)),
        (Some(tag), Err(failure)) => {
            with_failure(Object::event("failed", at).with("id", tag.value().clone()), failure)
        }
        (Some(tag), Ok(made)) => Object::event("done", at)
            .with("id", tag.value().clone())
            .with_some("message", made.messages.first().map(ToString::to_string))
            .with_some("messages", several(&made.messages, |id| Value::from(id.to_string())))
            .with_some("transfer", made.transfers.first().map(|number| number.0))
            .with_some("transfers", several(&made.transfers, |number| Value::from(number.0)))
            .with_some("request", made.request.map(|id| id.to_string())),
    };
    Some(object.into_line())
}

/// The line of a ledger: how far one text to several people got.
pub fn ledger(ledger: &Ledger, at: WallTime) -> String {
    Object::event("ledger", at)
        .with_some("message", ledger.message().map(|id| id.to_string()))
        .with("stored", ledger.stored())
        .with("of", ledger.len())
        .with("queued", ledger.queued())
        .with("failed", ledger.failed())
        .into_line()
}

/// The line of an answer that needs no engine; `None` for what only a screen shows.
pub fn local(local: &Local, at: WallTime) -> Option<String> {
    let object = match local {
        Local::Help(topic) => Object::event("help", at).with("commands", commands(*topic)),
        Local::Requests { requests, files } => {
            let fields = |event| request_fields(Object::default(), event).into_value();
            Object::event("requests", at)
                .with("list", requests.iter().map(fields).collect::<Vec<_>>())
                .with("files", file_list(files))
        }
        Local::Files(files) => Object::event("files", at).with("list", file_list(files)),
        Local::Safety { peer, name, number } => {
            return Some(super::safety(*peer, name.as_ref(), None, number, at));
        }
        Local::Id(me) => Object::event("id", at)
            .with_some("peer", me.as_ref().map(|me| me.peer.to_string()))
            .with_some("name", me.as_ref().map(|me| me.name.as_str())),
        Local::Conversation { peer, name } => Object::event("conversation", at)
            .with_some("peer", peer.map(|peer| peer.to_string()))
            .with_some("name", name.as_ref().map(|name| name.as_str())),
        Local::Ledger(ledger) => return Some(self::ledger(ledger, at)),
        Local::Standing(standing) => return Some(super::standing(*standing, at)),
        Local::Status(status) => return Some(super::status(status, at)),
        Local::Checks(checks) => return Some(super::checks(checks, at)),
        Local::Contacts(list) => return Some(super::contacts(list, at)),
        Local::Contact(person) => return Some(super::contact(person, at)),
        Local::History(page) => return Some(super::history(page, at)),
        Local::Waiting(talks) => return Some(super::talks("waiting", talks, at)),
        Local::Talks(talks) => return Some(super::talks("conversations", talks, at)),
        Local::Forgotten(removed) => return Some(super::forgotten(removed, at)),
        Local::Kept { peer, name, after } => return Some(super::kept_for(*peer, name.as_ref(), *after, at)),
        Local::Timestamps(_) | Local::ReadReceipts(_) => return None,
    };
    Some(object.into_line())
}

/// The line of `init` and `id`.
pub fn identity(
    peer: PeerId,
    name: &Name,
    broker: &str,
    words: &str,
    invitation: Option<&Invitation>,
    at: WallTime,
) -> String {
    Object::event("id", at)
        .with("peer", peer.to_string())
        .with("name", name.as_str())
        .with("broker", broker)
        .with("words", words)
        .with_some("invitation", invitation.map(ToString::to_string))
        .into_line()
}

/// The line of `id rotate`: who the user is from now on, and was until then.
pub fn rotated(peer: PeerId, was: PeerId, name: &Name, words: &str, at: WallTime) -> String {
    Object::event("rotated", at)
        .with("peer", peer.to_string())
        .with("was", was.to_string())
        .with("name", name.as_str())
        .with("words", words)
        .into_line()
}

/// The line of an export: what is in the file, and whose it is.
pub fn exported(what: &str, path: &str, peer: PeerId, people: Option<usize>, at: WallTime) -> String {
    Object::event("exported", at)
        .with("what", what)
        .with("path", path)
        .with("peer", peer.to_string())
        .with_some("people", people)
        .into_line()
}

/// The line of an import: how much was new, and what was not taken.
pub fn imported(imported: &Imported, at: WallTime) -> String {
    let refused =
        imported.refused.iter().map(|failure| with_failure(Object::default(), failure).into_value());
    Object::event("imported", at)
        .with("people", imported.people)
        .with("brokers", imported.brokers)
        .with("refused", refused.collect::<Vec<_>>())
        .into_line()
}

/// The line of `passphrase`: whether the key needs one.
pub fn passphrase(locked: bool, at: WallTime) -> String {
    Object::event("passphrase", at).with("locked", locked).into_line()
}

/// The last line. `failure` is why the process ends otherwise than the user wanted.
pub fn stopped(failure: Option<&Failure>, exit: u8, at: WallTime) -> String {
    let object = Object::event("stopped", at);
    match failure {
        Some(failure) => object.with("reason", failure.message()).with("code", failure.code()),
        None => object.with("reason", "done"),
    }
    .with("exit", exit)
    .into_line()
}

/// A list, where the field of the first one does not say it all.
fn several<T>(all: &[T], value: impl Fn(&T) -> Value) -> Option<Vec<Value>> {
    (all.len() > 1).then(|| all.iter().map(value).collect())
}

fn with_failure(object: Object, failure: &Failure) -> Object {
    object
        .with("code", failure.code())
        .with("message", failure.message())
        .with_some("hint", failure.hint().map(String::from))
}

/// `reason` for people and `code` for scripts, where something ended otherwise than it should.
fn with_reason(object: Object, reason: Option<&Failure>) -> Object {
    object.with_some("reason", reason.map(Failure::message)).with_some("code", reason.map(Failure::code))
}

fn ready(event: &Ready, at: WallTime) -> Object {
    Object::event("ready", at)
        .with("peer", event.peer.to_string())
        .with("name", event.name.as_str())
        .with("version", env!("CARGO_PKG_VERSION"))
        .with_some("udp", event.udp.map(|address| address.to_string()))
        .with_some("udp6", event.udp6.map(|address| address.to_string()))
        .with_some("control", event.control.as_ref().map(|path| path.display().to_string()))
}

pub(super) const fn broker_state(state: BrokerState) -> &'static str {
    match state {
        BrokerState::Connecting => "connecting",
        BrokerState::Connected => "connected",
        BrokerState::Lost => "lost",
        BrokerState::Refused => "refused",
    }
}

fn broker(event: &BrokerEvent, at: WallTime) -> Object {
    let object = Object::event("broker", at)
        .with("state", broker_state(event.state))
        .with("address", event.address.as_str())
        .with_some("key", event.key.map(|key| key.to_string()));
    let object = object.with_some("clock_ahead_ms", event.clock_ahead_ms);
    with_reason(object, event.reason.as_ref())
}

fn person(object: Object, person: &Person) -> Object {
    let status = match person.status {
        PersonStatus::Online => "online",
        PersonStatus::Away => "away",
        PersonStatus::Busy => "busy",
        PersonStatus::Offline => "offline",
    };
    object
        .with("peer", person.peer.to_string())
        .with_some("name", person.name.as_ref().map(|name| name.as_str()))
        .with("status", status)
        .with("trust", trust_text(person.trust))
}

fn presence(event: &Person, at: WallTime) -> Object {
    person(Object::event("presence", at), event)
}

fn person_in_list(entry: &Person) -> Value {
    person(Object::default(), entry).into_value()
}

fn request(event: &RequestEvent, at: WallTime) -> Object {
    request_fields(Object::event("request", at), event)
}

fn request_fields(object: Object, event: &RequestEvent) -> Object {
    let state = match event.state {
        RequestState::Open => "open",
        RequestState::Accepted => "accepted",
        RequestState::Declined => "declined",
        RequestState::Cancelled => "cancelled",
        RequestState::Expired => "expired",
    };
    object
        .with("request", event.request.to_string())
        .with("direction", direction(event.direction))
        .with_some("peer", event.peer.map(|peer| peer.to_string()))
        .with_some("name", event.name.as_ref().map(|name| name.as_str()))
        .with("trust", trust_text(event.trust))
        .with("purpose", "chat")
        .with("state", state)
        .with_some("reason", event.reason.as_deref())
}

fn session(event: &SessionEvent, at: WallTime) -> Object {
    let object = Object::event("session", at)
        .with("peer", event.peer.to_string())
        .with_some("name", event.name.as_ref().map(|name| name.as_str()))
        .with("state", session_state(event.state));
    link(object, event.link.as_ref())
        .with("trust", trust_text(event.trust))
        .with_some("reason", event.reason.as_deref())
}

fn link(object: Object, link: Option<&SessionLink>) -> Object {
    let Some(link) = link else { return object };
    let path = match link.path {
        PathKind::Direct => "direct",
        PathKind::Lan => "lan",
    };
    object
        .with("path", path)
        .with_some("local", link.local.map(|address| address.to_string()))
        .with("remote", link.remote.to_string())
        .with_some("rtt_ms", link.rtt.map(milliseconds))
        .with("cipher", link.cipher)
}

/// With microseconds, the finest that a measurement over a network means.
fn milliseconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

fn session_state(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "connecting",
        SessionState::Up => "up",
        SessionState::Suspect => "suspect",
        SessionState::Lost => "lost",
        SessionState::Closed => "closed",
    }
}

fn message(event: &MessageEvent, at: WallTime) -> Object {
    Object::event("message", at)
        .with("conversation", event.peer.to_string())
        .with("peer", event.message.author.to_string())
        .with_some("name", event.name.as_ref().filter(|_| !event.mine).map(|name| name.as_str()))
        .with("message", event.message.to_string())
        .with_some("was", event.was.as_ref().map(ToString::to_string))
        .with("text", &*event.text)
        .with("sent_at", rfc3339(event.sent_at))
        .with("mine", event.mine)
        .with("late", event.late)
}

pub(super) const fn delivery(state: Delivery) -> &'static str {
    match state {
        Delivery::Queued => "queued",
        Delivery::Sent => "sent",
        Delivery::Stored => "stored",
        Delivery::Read => "read",
        Delivery::Failed => "failed",
    }
}

fn receipt(event: &ReceiptEvent, at: WallTime) -> Object {
    Object::event("receipt", at)
        .with("conversation", event.peer.to_string())
        .with("message", event.message.to_string())
        .with_some("was", event.was.as_ref().map(ToString::to_string))
        .with("peer", event.peer.to_string())
        .with("state", delivery(event.state))
}

fn typing(peer: PeerId, name: Option<&Name>, at: WallTime) -> Object {
    Object::event("typing", at)
        .with("conversation", peer.to_string())
        .with("peer", peer.to_string())
        .with_some("name", name.map(Name::as_str))
}

fn file(event: &FileEvent, at: WallTime) -> Object {
    file_fields(Object::event("file", at), event)
}

fn file_fields(object: Object, event: &FileEvent) -> Object {
    let state = match event.state {
        FileState::Offered => "offered",
        FileState::Accepted => "accepted",
        FileState::Declined => "declined",
        FileState::Running => "running",
        FileState::Verifying => "verifying",
        FileState::Done => "done",
        FileState::Failed => "failed",
        FileState::Cancelled => "cancelled",
    };
    let object = object
        .with("transfer", event.transfer.0)
        .with("peer", event.peer.to_string())
        .with_some("peer_name", event.peer_name.as_ref().map(Name::as_str))
        .with("direction", direction(event.direction))
        .with("state", state)
        .with("name", event.name.as_str())
        .with("bytes", event.bytes)
        .with("total", event.total)
        .with_some("rate", event.rate)
        .with("carrier", "tcp")
        .with_some("tcp", event.tcp.map(|address| address.to_string()))
        .with_some("path", event.path.as_deref())
        .with_some("blake3", event.blake3.as_deref());
    with_reason(object, event.reason.as_ref())
}

fn file_list(files: &[FileEvent]) -> Vec<Value> {
    files.iter().map(|event| file_fields(Object::default(), event).into_value()).collect()
}

fn commands(topic: Option<&'static Entry>) -> Vec<Value> {
    let entries = COMMANDS.iter().filter(|entry| topic.is_none_or(|topic| topic == *entry));
    let fields = |entry: &Entry| {
        Object::default()
            .with("name", entry.name)
            .with("usage", entry.usage)
            .with("about", entry.about)
            .with("example", entry.example)
            .into_value()
    };
    entries.map(fields).collect()
}

fn trust(event: &TrustEvent, at: WallTime) -> Object {
    Object::event("trust", at)
        .with("peer", event.peer.to_string())
        .with_some("name", event.name.as_ref().map(|name| name.as_str()))
        .with("was", trust_text(event.was))
        .with("is", trust_text(event.is))
        .with_some("pinned", event.pinned.map(|peer| peer.to_string()))
        .with_some("followed", event.followed.then_some(true))
        .with("safety", event.safety.as_str())
}

pub(super) fn trust_text(trust: Trust) -> &'static str {
    match trust {
        Trust::New => "new",
        Trust::Pinned => "pinned",
        Trust::Verified => "verified",
        Trust::Blocked => "blocked",
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

pub(super) fn sought_in_info(sought: &Sought) -> Value {
    Object::default()
        .with_some("peer", sought.peer.map(|peer| peer.to_string()))
        .with_some("name", sought.name.as_ref().map(|name| name.as_str()))
        .into_value()
}

pub(super) fn session_in_info(report: &SessionReport) -> Value {
    let object = Object::default()
        .with("peer", report.peer.to_string())
        .with_some("name", report.name.as_ref().map(|name| name.as_str()))
        .with("state", session_state(report.state));
    let object = link(object, report.link.as_ref())
        .with("loss", report.loss)
        .with("key_epoch", report.key_epoch)
        .with("key_age_s", report.key_age.as_secs())
        .with("trust", trust_text(report.trust))
        .with("sent", report.sent)
        .with("received", report.received)
        .with("retransmitted", report.retransmitted)
        .with("may_return", report.may_return_until.is_some())
        .with_some("may_return_until", report.may_return_until.map(rfc3339));
    path_in_info(object, &report.path).into_value()
}

fn path_in_info(object: Object, path: &PathReport) -> Object {
    object
        .with("validated", path.validated)
        .with("moves", path.moves)
        .with_some("observed", path.observed.map(|address| address.to_string()))
        .with("mtu", path.mtu)
        .with("black_holes", path.black_holes)
        .with_some("rtt_min_ms", path.rtt_least.map(milliseconds))
        .with("rtt_var_ms", milliseconds(path.rtt_variation))
        .with("pto_ms", milliseconds(path.pto))
        .with("window", path.window)
        .with_some("threshold", path.threshold)
        .with("in_flight", path.in_flight)
        .with_some("pace", path.pace)
        .with("reductions", path.reductions)
        .with("spurious", path.spurious)
        .with("timeouts", path.timeouts)
}

fn socket_in_info(report: &SocketReport) -> Value {
    Object::default()
        .with("received", report.received)
        .with("answered", report.answered)
        .with("mac_failed", report.mac_failed)
        .with("key_exchanges", report.key_exchanges)
        .with("limited", report.limited)
        .with("repeated", report.repeated)
        .with("dropped", report.dropped)
        .into_value()
}

#[cfg(test)]
mod tests;
