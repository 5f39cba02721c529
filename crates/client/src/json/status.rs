//! How a user stands towards others, and how everything is.

use p2pchat_proto::{Standing, WallTime};

use super::events::{broker_state, session_in_info, sought_in_info};
use super::history::talk;
use super::object::Object;
use crate::desk::{Check, Status};

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
        .with("sought", status.sought.iter().map(sought_in_info).collect::<Vec<_>>())
        .with("waiting", status.waiting.iter().map(talk).collect::<Vec<_>>())
        .into_line()
}

/// The line of what `doctor` found.
pub fn checks(checks: &[Check], at: WallTime) -> String {
    let check = |check: &Check| {
        Object::default()
            .with("check", check.what)
            .with("health", check.health.as_str())
            .with("message", check.message.as_str())
            .with_some("hint", check.hint.as_deref())
            .into_value()
    };
    Object::event("checks", at).with("list", checks.iter().map(check).collect::<Vec<_>>()).into_line()
}

fn standing_fields(object: Object, standing: Standing) -> Object {
    object
        .with("status", standing.status.as_str())
        .with("visibility", standing.visibility.as_str())
        .with("policy", standing.policy.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_engine::event::Sought;
    use p2pchat_proto::{Availability, ContactPolicy, PeerId, Visibility};

    fn hidden() -> Standing {
        Standing {
            status: Availability::Invisible,
            visibility: Visibility::Contacts,
            policy: ContactPolicy::Nobody,
        }
    }

    #[test]
    fn how_somebody_stands_has_the_words_that_are_typed() {
        let line = standing(hidden(), WallTime(0));
        let fields = r#""status":"invisible","visibility":"contacts","policy":"nobody"}"#;
        assert_eq!(line, format!(r#"{{"event":"standing","at":"1970-01-01T00:00:00.000Z",{fields}"#));
    }

    #[test]
    fn where_nothing_runs_the_broker_has_no_state() {
        let status = Status {
            peer: PeerId([1; 32]),
            name: "alice".parse().unwrap(),
            standing: hidden(),
            broker: "b:1".to_owned(),
            broker_key: None,
            link: None,
            reason: None,
            sessions: Vec::new(),
            sought: Vec::new(),
            waiting: Vec::new(),
        };
        let line = super::status(&status, WallTime(0));
        let ends = r#""running":false,"broker":{"address":"b:1"},"sessions":[],"sought":[],"waiting":[]}"#;
        assert!(line.ends_with(ends), "{line}");
        let sought = vec![Sought { name: Some("bob".parse().unwrap()), peer: None }];
        let line = super::status(&Status { sought, ..status }, WallTime(0));
        assert!(line.ends_with(r#""sought":[{"name":"bob"}],"waiting":[]}"#), "{line}");
    }
}
