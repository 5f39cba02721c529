//! How a user stands towards others, and how everything is, for people.

use p2pchat_client::desk::{Check, Status};
use p2pchat_client::event::BrokerState;
use p2pchat_proto::{Availability, ContactPolicy, Standing, Visibility};

use super::info::looked_for;
use super::{describe, reason, session_state, trust_text};
use crate::output::{Shown, TimeOfDay, waiting};

/// What it means for others, as one clause.
pub(super) fn standing(standing: Standing) -> String {
    let Standing { status, visibility, policy } = standing;
    let seen = match (status, visibility) {
        (Availability::Invisible, _) | (_, Visibility::Private) => "seen by nobody",
        (_, Visibility::Public) => "seen by everybody",
        (_, Visibility::Contacts) => "seen by contacts only",
    };
    let asked = match (status, policy) {
        (Availability::Invisible, _) => "nobody is answered",
        (_, ContactPolicy::Everyone) => "everybody may ask for a chat",
        (_, ContactPolicy::Contacts) => "only contacts may ask for a chat",
        (_, ContactPolicy::Nobody) => "nobody may ask for a chat",
    };
    format!("{status}: {seen}, {asked}")
}

/// One line a check.
pub(super) fn checks(checks: &[Check]) -> Vec<Shown> {
    let line = |check: &Check| {
        let hint = check.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        Shown::data(&format!("{:<8} {}: {}{hint}", check.health.as_str(), check.what, check.message))
    };
    checks.iter().map(line).collect()
}

pub(super) fn status(status: &Status, clock: &TimeOfDay) -> Vec<Shown> {
    let Standing { visibility, policy, .. } = status.standing;
    let key = status.broker_key.map_or_else(|| "not known yet".to_owned(), |key| key.to_string());
    let link = match status.link {
        None => "no chat is open",
        Some(BrokerState::Connecting) => "being reached",
        Some(BrokerState::Connected) => "connected",
        Some(BrokerState::Lost) => "away, and tried again",
        Some(BrokerState::Refused) => "refused",
    };
    let because = reason(status.reason.as_deref());
    let mut lines = vec![
        format!("{} {}", status.name, status.peer),
        standing(status.standing),
        format!("visibility {visibility}, policy {policy}"),
        format!("broker {}: {link}{because}; key {key}", status.broker),
    ];
    for report in &status.sessions {
        let who = report.name.as_ref().map_or_else(|| report.peer.short(), ToString::to_string);
        let path = report.link.as_ref().map_or_else(|| "no path".to_owned(), describe);
        let (state, trust) = (session_state(report.state), trust_text(report.trust));
        lines.push(format!("session with {who}: {state} · {path} · {trust}"));
    }
    lines.extend(status.sought.iter().map(looked_for));
    if status.sessions.is_empty() && status.sought.is_empty() && status.link.is_some() {
        lines.push("no sessions".to_owned());
    }
    lines.extend(waiting(&status.waiting, clock));
    lines.iter().map(|line| Shown::data(line)).collect()
}
