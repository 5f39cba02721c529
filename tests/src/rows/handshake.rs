//! Offers, introductions and the handshake.

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[];
