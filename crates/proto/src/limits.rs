//! Limits that more than one module or crate keeps. A limit of one place stands in that place.

use core::time::Duration;

/// Version byte of offers and datagrams. A change on the wire changes it.
pub const PROTOCOL_VERSION: u8 = 1;

/// Most bytes of one structured body anywhere: a message of [`TEXT_MAX`] and its header.
pub const BODY_MAX: usize = TEXT_MAX + 1024;

/// Most bytes of one text message, UTF-8 (protocol section 6).
pub const TEXT_MAX: usize = 64 * 1024;

/// Most bytes of one broker-link record, ciphertext: what its `u16` length can say.
pub const LINK_RECORD_MAX: usize = u16::MAX as usize;

/// Most bytes of an offer's body. An ML-KEM-768 encapsulation key is 1,184 (FIPS 203 table 3);
/// the rest is keys, ids and lists of bounded length.
pub const OFFER_BODY_MAX: usize = 2048;

/// Most endpoints that one side announces and that the other tries (protocol section 4).
pub const ENDPOINTS_MAX: usize = 8;

/// Most bytes of a sealed list of endpoints: [`ENDPOINTS_MAX`] IPv6 addresses (19 bytes each)
/// with length, counter and tag, rounded up.
pub const SEALED_ENDPOINTS_MAX: usize = 256;

/// Most characters of a reason that a person gave, UTF-8 bytes.
pub const REASON_MAX: usize = 256;

/// How far an offer's `made` may lie from the receiver's corrected clock (protocol section 2).
pub const OFFER_CLOCK_TOLERANCE: Duration = Duration::from_secs(600);

/// How long a request id is remembered, so that an offer is taken once (protocol section 2).
pub const REQUEST_REMEMBERED: Duration = Duration::from_secs(1200);

/// How long a chat request stays open unless it is renewed (protocol section 12).
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(120);

/// How long an introduction may be used for a handshake (protocol section 12).
pub const INTRODUCTION_LIFETIME: Duration = Duration::from_secs(60);
