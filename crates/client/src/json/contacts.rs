//! What `contacts` says about people.

use p2pchat_engine::event::Trust;
use p2pchat_proto::{Name, PeerId, WallTime};
use serde_json::Value;

use super::events::trust_text;
use super::object::{Object, rfc3339};
use crate::profile::Acquaintance;
use crate::safety::SafetyNumber;

/// Everybody who is known.
pub fn contacts(list: &[Acquaintance], at: WallTime) -> String {
    let list: Vec<Value> = list.iter().map(|person| fields(Object::default(), person).into_value()).collect();
    Object::event("contacts", at).with("list", list).into_line()
}

/// One person, as they are known by now.
pub fn contact(person: &Acquaintance, at: WallTime) -> String {
    fields(Object::event("contact", at), person).into_line()
}

/// What this user and somebody have to compare.
pub fn safety(
    peer: PeerId,
    name: Option<&Name>,
    trust: Option<Trust>,
    number: &SafetyNumber,
    at: WallTime,
) -> String {
    Object::event("safety", at)
        .with("peer", peer.to_string())
        .with_some("name", name.map(Name::as_str))
        .with_some("trust", trust.map(trust_text))
        .with("digits", number.digits())
        .with("words", number.words().join(" "))
        .into_line()
}

fn fields(object: Object, person: &Acquaintance) -> Object {
    let pin = person.pin.as_ref();
    object
        .with("peer", person.peer.to_string())
        .with_some("name", person.name.as_ref().map(Name::as_str))
        .with("trust", trust_text(person.trust))
        .with_some("registered", pin.map(|pin| pin.name.as_str()))
        .with_some("broker", pin.map(|pin| pin.broker.to_string()))
        .with_some("since", pin.map(|pin| rfc3339(pin.since)))
        .with_some("may_reconnect", pin.map(|pin| pin.may_reconnect))
}
