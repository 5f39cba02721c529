//! What reaches a terminal, a log and JSON.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
