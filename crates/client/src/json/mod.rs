//! JSON mode: one object a line, in both directions.
//!
//! Out: [`event`], [`outcome`] and their kin turn what happened into a line. Every line has `event`
//! and `at` (RFC 3339, UTC); a field without a value is left out. In: [`parse`] reads a line of the
//! command language, or an object that carries one.
//!
//! Text stands in it as it came, escaped by JSON: besides what JSON demands, every character that
//! could steer a terminal is written as `\uXXXX`, which any parser turns back.

mod contacts;
mod events;
mod history;
mod line;
mod object;
mod status;
mod transfers;

pub use contacts::{contact, contacts, safety};
pub use events::{
    error, event, exported, identity, imported, ledger, local, outcome, passphrase, rotated, stopped,
};
pub use history::{
    forgotten, history, kept, kept_for, read_forgotten, read_history, read_kept_for, read_talks, talks,
};
pub use line::{Line, LineError, Tag, parse};
pub use object::rfc3339;
pub use status::{checks, standing, status};
pub use transfers::{cleaned, transfers};

/// Conversations in one line at most, where another process reads it.
pub const TALKS_IN_LINE: usize = 1_000;
/// People in one line at most, where another process reads it: of 400 bytes each.
pub const PEOPLE_IN_LINE: usize = 1_000;
