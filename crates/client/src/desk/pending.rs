//! Commands under way, and the lines whose outcome they make up.

use std::collections::BTreeMap;

use p2pchat_engine::event::Delivery;
use p2pchat_engine::{CommandId, Failure};
use p2pchat_proto::PeerId;
use p2pchat_proto::conversation::MessageId;

use super::{Ledger, Made, Outcome};
use crate::json::Tag;

/// See the module. One line makes one or more commands; it ends when the last of them does, and it
/// failed if one of them did.
#[derive(Debug, Default)]
pub(super) struct Pending {
    last_id: u64,
    last_line: u64,
    commands: BTreeMap<CommandId, Part>,
    lines: BTreeMap<u64, Under>,
    /// How far messages got whose line has not ended yet.
    early: BTreeMap<(PeerId, MessageId), Delivery>,
}

/// One command of a line.
#[derive(Debug)]
struct Part {
    line: u64,
    recipient: Option<(PeerId, String)>,
}

#[derive(Debug, Default)]
struct Under {
    tag: Option<Tag>,
    left: usize,
    made: Made,
    failure: Option<Failure>,
    /// The rows of a message to several people.
    ledger: Option<Ledger>,
}

/// A line that ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) ledger: Option<Ledger>,
}

/// The number of a line under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineNumber(u64);

impl Pending {
    pub(super) fn above(last: CommandId) -> Self {
        Self { last_id: last.0, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether a command is of a line.
    pub(super) fn knows(&self, id: CommandId) -> bool {
        self.commands.contains_key(&id)
    }

    pub(super) fn next_id(&mut self) -> CommandId {
        self.last_id += 1;
        CommandId(self.last_id)
    }

    /// A line that is about to make commands; with a ledger where it goes to several people.
    pub(super) fn line(&mut self, tag: Option<Tag>, has_ledger: bool) -> LineNumber {
        self.last_line += 1;
        let ledger = has_ledger.then(Ledger::default);
        self.lines.insert(self.last_line, Under { tag, ledger, ..Under::default() });
        LineNumber(self.last_line)
    }

    /// One command of a line.
    pub(super) fn command(&mut self, line: LineNumber, recipient: Option<(PeerId, String)>) -> CommandId {
        let id = self.next_id();
        self.commands.insert(id, Part { line: line.0, recipient });
        if let Some(under) = self.lines.get_mut(&line.0) {
            under.left += 1;
        }
        id
    }

    /// Takes a command's outcome; the line's if that was its last.
    pub(super) fn finish(&mut self, id: CommandId, result: Result<Made, Failure>) -> Option<Finished> {
        let part = self.commands.remove(&id)?;
        let under = self.lines.get_mut(&part.line)?;
        under.left -= 1;
        if let (Some(ledger), Some((peer, label))) = (&mut under.ledger, part.recipient) {
            match result.as_ref().map(|made| made.messages.first()) {
                Ok(Some(message)) => {
                    let state = self.early.get(&(peer, *message)).copied().unwrap_or(Delivery::Queued);
                    ledger.add(peer, label, *message, state);
                }
                Ok(None) | Err(_) => ledger.add_failed(label),
            }
        }
        match result {
            Ok(made) => {
                under.made.messages.extend(made.messages);
                under.made.transfers.extend(made.transfers);
                under.made.request = under.made.request.or(made.request);
            }
            Err(failure) => {
                under.failure.get_or_insert(failure);
            }
        }
        if under.left > 0 {
            return None;
        }
        let under = self.lines.remove(&part.line)?;
        if !self.lines.values().any(|line| line.ledger.is_some()) {
            self.early.clear();
        }
        let result = match under.failure {
            Some(failure) => Err(failure),
            None => Ok(under.made),
        };
        Some(Finished { outcome: Outcome { tag: under.tag, result }, ledger: under.ledger })
    }

    /// Takes a receipt that may come before the line of its message ended.
    pub(super) fn note(&mut self, peer: PeerId, message: MessageId, state: Delivery) {
        for line in self.lines.values_mut() {
            if let Some(ledger) = &mut line.ledger {
                ledger.note(peer, message, state);
                self.early.insert((peer, message), state);
            }
        }
    }

    /// A message is called otherwise from now on, also in what its line brings into being.
    pub(super) fn renamed(&mut self, was: MessageId, message: MessageId) {
        for line in self.lines.values_mut() {
            line.made.messages.iter_mut().filter(|id| **id == was).for_each(|id| *id = message);
            if let Some(ledger) = &mut line.ledger {
                ledger.renamed(was, message);
            }
        }
    }

    /// Forgets every command; the tags of the lines that did not end.
    pub(super) fn drain(&mut self) -> Vec<Option<Tag>> {
        self.commands.clear();
        core::mem::take(&mut self.lines).into_values().map(|under| under.tag).collect()
    }
}
