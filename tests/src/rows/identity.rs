//! Identity, key file and safety number.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
