//! Transfers: those that run, and what is left of others.

use p2pchat_proto::WallTime;
use serde_json::Value;

use super::object::{Object, rfc3339};
use crate::files::Unfinished;

/// The line of `transfers list`; `running` are the objects of a `files` line.
pub fn transfers(running: &[Value], left: &[Unfinished], at: WallTime) -> String {
    Object::event("transfers", at).with("list", running).with("unfinished", unfinished(left)).into_line()
}

/// The line of `transfers clean`: what was removed.
pub fn cleaned(removed: &[Unfinished], at: WallTime) -> String {
    Object::event("cleaned", at).with("unfinished", unfinished(removed)).into_line()
}

fn unfinished(left: &[Unfinished]) -> Vec<Value> {
    let one = |one: &Unfinished| {
        Object::default()
            .with("transfer", one.transfer.as_str())
            .with("path", one.path.to_string_lossy())
            .with("bytes", one.bytes)
            .with("since", rfc3339(one.since))
            .with("in_use", one.in_use)
            .into_value()
    };
    left.iter().map(one).collect()
}
