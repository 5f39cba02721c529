//! Floods and limits.
//!
//! - [`amplification`]: what a port sends to an address that somebody else wrote on a datagram.
//! - [`flood`]: datagrams without end at the port of a running program.
//! - [`spoofed`]: the same from everywhere, in virtual time.
//! - [`decoders`]: how much memory a decoder can be talked into.
//! - [`descriptors`]: connections without end.

mod amplification;
mod decoders;
mod descriptors;
mod flood;
mod spoofed;

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] =
    &[flood::PORT, decoders::LENGTHS_THAT_LIE, spoofed::SPOOFED, descriptors::FULL, amplification::RATIO];
