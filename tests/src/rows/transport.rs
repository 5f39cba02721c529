//! Datagrams and frames of a session.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
