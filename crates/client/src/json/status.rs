//! How a user stands towards others, and how everything is.

use p2pchat_proto::{Standing, WallTime};

use super::events::{broker_state, session_in_info};
use super::history::talk;
use super::object::Object;
use crate::desk::Status;

/// The line of an answer to `/status`, and of a change.
pub fn standing(standing: Standing, at: WallTime) -> String {
    standing_fields(Object::event("standing", at), standing).into_line()
}

/// The line of `status`, `visibility` and `policy`.
pub fn status(status: &Status, at: WallTime) -> String {
    let broker = Object::default()
        .with("address", status.broker.as_str())
        .with_some("state", status.link.map(broker_state))
        .with_some("key", status.broker_key.map(|key| key.to_string()))
        .with_some("reason", status.reason.as_deref());
    let object =
        Object::event("status", at).with("peer", status.peer.to_string()).with("name", status.name.as_str());
    standing_fields(object, status.standing)
        .with("running", status.link.is_some())
        .with("broker", broker.into_value())
        .with("sessions", status.sessions.iter().map(session_in_info).collect::<Vec<_>>())
        .with("waiting", status.waiting.iter().map(talk).collect::<Vec<_>>())
        .into_line()
}

fn standing_fields(object: Object, standing: Standing) -> Object {
    object
        .with("status", standing.status.as_str())
        .with("visibility", standing.visibility.as_str())
        .with("policy", standing.policy.as_str())
}
