//! File transfer: records, names, sources, carriers.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
