//! What is said about messages that were kept, and how another process of this program reads it.

use core::time::Duration;

use p2pchat_engine::event::Delivery;
use p2pchat_engine::history::{KeptMessage, Page, Removed, Talk};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{Name, PeerId, WallTime};
use serde_json::Value;

use super::events::delivery;
use super::object::{Object, rfc3339};

/// The line of a message in the history: that of `message`, with how far it got.
pub fn kept(kept: &KeptMessage, name: Option<&Name>) -> String {
    let object = Object::event("message", kept.kept_at)
        .with("conversation", kept.peer.to_string())
        .with("peer", kept.message.author.to_string())
        .with_some("name", name.filter(|_| !kept.mine).map(Name::as_str));
    said(object, kept).into_line()
}

/// The line of several of one conversation.
pub fn history(page: &Page, at: WallTime) -> String {
    let message = |kept: &KeptMessage| {
        let object =
            Object::default().with("at", rfc3339(kept.kept_at)).with("peer", kept.message.author.to_string());
        said(object, kept).into_value()
    };
    Object::event("history", at)
        .with("conversation", page.peer.to_string())
        .with_some("name", page.name.as_ref().map(Name::as_str))
        .with("list", page.messages.iter().map(message).collect::<Vec<_>>())
        .with_some("next", page.next)
        .into_line()
}

/// The line of conversations: `waiting` for those in which something waits, else `conversations`.
pub fn talks(event: &'static str, talks: &[Talk], at: WallTime) -> String {
    Object::event(event, at).with("list", talks.iter().map(talk).collect::<Vec<_>>()).into_line()
}

pub(super) fn talk(talk: &Talk) -> Value {
    Object::default()
        .with("peer", talk.peer.to_string())
        .with_some("name", talk.name.as_ref().map(Name::as_str))
        .with("messages", talk.messages)
        .with("waiting", talk.waiting)
        .with_some("since", talk.since.map(rfc3339))
        .with_some("expires", talk.expires.map(rfc3339))
        .into_value()
}

/// The line of a conversation that was removed.
pub fn forgotten(removed: &Removed, at: WallTime) -> String {
    Object::event("forgotten", at)
        .with("peer", removed.peer.to_string())
        .with("messages", removed.messages)
        .with("under_way", removed.under_way)
        .into_line()
}

/// The line of how long messages with somebody are kept; without `seconds` it is for ever.
pub fn kept_for(peer: PeerId, name: Option<&Name>, after: Option<Duration>, at: WallTime) -> String {
    Object::event("retention", at)
        .with("peer", peer.to_string())
        .with_some("name", name.map(Name::as_str))
        .with_some("seconds", after.map(|after| after.as_secs()))
        .into_line()
}

/// What a `retention` line says, likewise.
pub fn read_kept_for(line: &Value) -> Option<(PeerId, Option<Name>, Option<Duration>)> {
    let after = line.get("seconds").map(|seconds| seconds.as_u64().map(Duration::from_secs));
    Some((text(line, "peer")?.parse().ok()?, name(line)?, after.map_or(Some(None), |after| after.map(Some))?))
}

/// What a `history` line says; `None` if it is no such line of this program's.
pub fn read_history(line: &Value) -> Option<Page> {
    let peer = text(line, "conversation")?.parse().ok()?;
    let message = |one: &Value| {
        let message = message_id(text(one, "message")?)?;
        let mine = one.get("mine")?.as_bool()?;
        let state = match text(one, "state") {
            Some(state) => Some(delivery_of(state)?),
            None => None,
        };
        Some(KeptMessage {
            peer,
            message,
            mine,
            text: text(one, "text")?.to_owned(),
            sent_at: time(one, "sent_at")?,
            kept_at: time(one, "at")?,
            state,
        })
    };
    let messages = list(line)?.iter().map(message).collect::<Option<_>>()?;
    Some(Page { peer, name: name(line)?, messages, next: line.get("next").and_then(Value::as_u64) })
}

/// What a `conversations` line says, likewise.
pub fn read_talks(line: &Value) -> Option<Vec<Talk>> {
    let talk = |one: &Value| {
        Some(Talk {
            peer: text(one, "peer")?.parse().ok()?,
            name: name(one)?,
            messages: one.get("messages")?.as_u64()?,
            waiting: one.get("waiting")?.as_u64()?,
            since: time(one, "since"),
            expires: time(one, "expires"),
        })
    };
    list(line)?.iter().map(talk).collect()
}

/// What a `forgotten` line says, likewise.
pub fn read_forgotten(line: &Value) -> Option<Removed> {
    let number = |field| line.get(field)?.as_u64();
    let (messages, under_way) = (number("messages")?, number("under_way")?);
    Some(Removed { peer: text(line, "peer")?.parse().ok()?, messages, under_way })
}

fn said(object: Object, kept: &KeptMessage) -> Object {
    object
        .with("message", kept.message.to_string())
        .with("text", kept.text.as_str())
        .with("sent_at", rfc3339(kept.sent_at))
        .with("mine", kept.mine)
        .with_some("state", kept.state.map(delivery))
}

fn list(line: &Value) -> Option<&Vec<Value>> {
    line.get("list")?.as_array()
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

fn time(object: &Value, field: &str) -> Option<WallTime> {
    let time: jiff::Timestamp = text(object, field)?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(WallTime)
}

/// A name that is there and is none is no line of this program's.
fn name(object: &Value) -> Option<Option<Name>> {
    text(object, "name").map(|name| name.parse().ok()).map_or(Some(None), |name| name.map(Some))
}

fn delivery_of(text: &str) -> Option<Delivery> {
    let all = [Delivery::Queued, Delivery::Sent, Delivery::Stored, Delivery::Read, Delivery::Failed];
    all.into_iter().find(|state| delivery(*state) == text)
}

/// As it is shown: author, recipient, epoch in hexadecimal, number.
fn message_id(text: &str) -> Option<MessageId> {
    let mut parts = text.split('-');
    let mut part = || parts.next();
    let (author, to) = (part()?.parse().ok()?, part()?.parse().ok()?);
    let epoch = DeviceEpoch(u64::from_str_radix(part()?, 16).ok()?);
    let seq = part()?.parse().ok()?;
    part().is_none().then_some(MessageId { author, to, epoch, seq })
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_proto::limits::TEXT_MAX;

    const ME: PeerId = PeerId([1; 32]);
    const ALICE: PeerId = PeerId([2; 32]);

    fn message(seq: u64, mine: bool, text: &str) -> KeptMessage {
        let (author, to) = if mine { (ME, ALICE) } else { (ALICE, ME) };
        KeptMessage {
            peer: ALICE,
            message: MessageId { author, to, epoch: DeviceEpoch(u64::MAX), seq },
            mine,
            text: text.to_owned(),
            sent_at: WallTime(1_794_000_000_123),
            kept_at: WallTime(1_794_000_000_456),
            state: mine.then_some(Delivery::Stored),
        }
    }

    fn page(messages: Vec<KeptMessage>) -> Page {
        Page { peer: ALICE, name: "alice".parse().ok(), messages, next: Some(7) }
    }

    fn parsed(line: &str) -> Value {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn what_is_said_of_the_history_comes_back_as_it_was() {
        let said = page(vec![message(0, true, "two\nlines"), message(1, false, "\u{1b}[2J\u{202e}")]);
        let line = history(&said, WallTime(0));
        assert_eq!(read_history(&parsed(&line)), Some(said));
        let (since, expires) = (Some(WallTime(9)), Some(WallTime(10)));
        let talk = Talk { peer: ALICE, name: None, messages: 3, waiting: 1, since, expires };
        let all = [Talk { since: None, waiting: 0, expires: None, ..talk.clone() }, talk];
        assert_eq!(read_talks(&parsed(&talks("conversations", &all, WallTime(0)))), Some(all.to_vec()));
        let removed = Removed { peer: ALICE, messages: 5, under_way: 2 };
        for after in [None, Some(Duration::from_secs(60))] {
            let name: Option<Name> = "alice".parse().ok();
            let line = parsed(&kept_for(ALICE, name.as_ref(), after, WallTime(0)));
            assert_eq!(read_kept_for(&line), Some((ALICE, name, after)));
        }
        assert_eq!(read_forgotten(&parsed(&forgotten(&removed, WallTime(0)))), Some(removed));
    }

    #[test]
    fn what_this_program_does_not_say_is_nothing() {
        let good = parsed(&history(&page(vec![message(0, true, "x")]), WallTime(0)));
        for (field, wrong) in
            [("message", "x-y-z-1"), ("sent_at", "yesterday"), ("state", "lost"), ("text", "")]
        {
            let mut bad = good.clone();
            bad["list"][0][field] = if field == "text" { Value::from(1) } else { Value::from(wrong) };
            assert_eq!(read_history(&bad), None, "{field}");
        }
        let mut named = good;
        named["name"] = Value::from("\u{1b}");
        assert_eq!(read_history(&named), None);
    }

    #[test]
    fn the_largest_answer_of_the_store_is_a_line_that_may_be_read() {
        /// `LINE_MAX` of whoever reads, bytes.
        const LINE: usize = 1 << 20;
        // An entry has at least 46 bytes and pages for 48 KiB of them are read, of which one may be long.
        let mut messages: Vec<_> =
            (0..48 * 1024 / 46).map(|seq| message(seq + (1 << 40), true, "")).collect();
        messages.push(message(u64::MAX, true, &"\u{1}".repeat(TEXT_MAX)));
        let line = history(&page(messages), WallTime(0));
        assert!(line.len() < LINE, "{}", line.len());
        let talk = Talk {
            peer: ALICE,
            name: "a".repeat(32).parse().ok(),
            messages: u64::MAX,
            waiting: u64::MAX,
            since: Some(WallTime(u64::MAX)),
            expires: Some(WallTime(u64::MAX)),
        };
        assert!(talks("conversations", &vec![talk; super::super::TALKS_IN_LINE], WallTime(0)).len() < LINE);
    }
}
