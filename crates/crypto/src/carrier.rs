//! A file's way over TCP: the hello by which two sockets know each other, and sealed records.

use core::fmt;

use p2pchat_proto::TransferId;
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::aead::Aead;
use crate::introduction::{self, MAC_LEN, Suite};
use crate::schedule::{self, IV_LEN};
use crate::secret::{RandomnessFailed, random, redacted, secret};

pub use crate::aead::TAG_LEN;

/// Records that one carrier may carry; a new carrier goes on from there (protocol section 7).
pub const RECORDS_MAX: u32 = 1 << 20;

secret! {
    /// The secret of one attempt to carry a file. It travels inside the session and is erased when
    /// the attempt ends.
    pub struct CarrierSecret;
}

impl CarrierSecret {
    /// A new one.
    ///
    /// # Errors
    /// If the source of randomness gives nothing but zeros.
    pub fn generate(rng: &mut dyn CryptoRng) -> Result<Self, RandomnessFailed> {
        random(rng).map(|bytes| Self::new(*bytes))
    }

    /// The secret that these bytes are, as they came in the session.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::new(bytes)
    }

    /// The bytes, to be sent in the session.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.as_bytes())
    }
}

/// The MAC of a hello over its parts, one after the other. The parts of one kind of hello have
/// fixed lengths and its first byte tells the kind, so no two hellos read the same.
pub fn hello_mac(secret: &CarrierSecret, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    introduction::mac(&schedule::file_hello_key(secret), parts)
}

/// Whether `tag` is the MAC of these parts. Takes the same time wherever they differ.
pub fn verify_hello_mac(secret: &CarrierSecret, parts: &[&[u8]], tag: &[u8]) -> bool {
    hello_mac(secret, parts).ct_eq(tag).into()
}

/// The carrier can seal no more: [`RECORDS_MAX`] records, or the last one was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("carrier is used up")
    }
}

impl core::error::Error for Exhausted {}

/// A record that was not taken. The act of the peer or of somebody in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarrierError {
    /// It does not open: damaged, out of order, of another carrier, or with a wrong last flag.
    Unauthentic,
    /// It came after the last one.
    AfterLast,
    /// More than [`RECORDS_MAX`].
    TooMany,
}

impl fmt::Display for CarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "record does not open",
            Self::AfterLast => "record after the last one",
            Self::TooMany => "too many records",
        })
    }
}

impl core::error::Error for CarrierError {}

/// Seals the records of one carrier, in order.
pub struct RecordSealer(Records);

/// Opens the records of one carrier, in order.
pub struct RecordOpener(Records);

redacted!(RecordSealer, RecordOpener);

impl RecordSealer {
    /// For the carrier of this attempt; the nonces are those of dialer and listener.
    pub fn new(
        suite: Suite,
        secret: &CarrierSecret,
        transfer: TransferId,
        nonce_d: &[u8; 16],
        nonce_l: &[u8; 16],
    ) -> Self {
        Self(Records::new(suite, secret, transfer, nonce_d, nonce_l))
    }

    /// Turns `buffer` into ciphertext and appends the tag.
    ///
    /// # Errors
    /// [`Exhausted`]; the buffer is untouched then.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, last: bool) -> Result<(), Exhausted> {
        if self.0.ended || self.0.counter == RECORDS_MAX {
            return Err(Exhausted);
        }
        let tag = self.0.aead.seal(self.0.nonce(last), &[], buffer);
        buffer.extend(tag);
        self.0.advance(last);
        Ok(())
    }
}

impl RecordOpener {
    /// As [`RecordSealer::new`].
    pub fn new(
        suite: Suite,
        secret: &CarrierSecret,
        transfer: TransferId,
        nonce_d: &[u8; 16],
        nonce_l: &[u8; 16],
    ) -> Self {
        Self(Records::new(suite, secret, transfer, nonce_d, nonce_l))
    }

    /// Turns `buffer`, ciphertext and tag, into the plaintext. `last` is what the record says of
    /// itself; it is authenticated. After an error the carrier is of no more use.
    ///
    /// # Errors
    /// See [`CarrierError`].
    pub fn open(&mut self, buffer: &mut Vec<u8>, last: bool) -> Result<(), CarrierError> {
        if self.0.ended {
            return Err(CarrierError::AfterLast);
        }
        if self.0.counter == RECORDS_MAX {
            return Err(CarrierError::TooMany);
        }
        let opened = self.0.aead.open(self.0.nonce(last), &[], buffer);
        let length = opened.ok_or(CarrierError::Unauthentic)?.len();
        buffer.truncate(length);
        self.0.advance(last);
        Ok(())
    }

    /// Whether the last record was opened: a stream that ends before was cut.
    pub const fn is_complete(&self) -> bool {
        self.0.ended
    }
}

struct Records {
    aead: Aead,
    counter: u32,
    ended: bool,
}

impl Records {
    fn new(
        suite: Suite,
        secret: &CarrierSecret,
        transfer: TransferId,
        nonce_d: &[u8; 16],
        nonce_l: &[u8; 16],
    ) -> Self {
        let key = schedule::file_key(secret, transfer, nonce_d, nonce_l);
        Self { aead: Aead::new(suite, &key), counter: 0, ended: false }
    }

    /// 7 zero bytes, the counter, the last flag (protocol section 7).
    fn nonce(&self, last: bool) -> [u8; IV_LEN] {
        let [a, b, c, d] = self.counter.to_be_bytes();
        [0, 0, 0, 0, 0, 0, 0, a, b, c, d, u8::from(last)]
    }

    const fn advance(&mut self, last: bool) {
        self.counter = self.counter.saturating_add(1);
        self.ended = last;
    }
}
