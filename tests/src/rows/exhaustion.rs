//! Floods and limits.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
