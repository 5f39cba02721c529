//! The broker: its link, its names, its requests, and a broker that is the attacker.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
