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
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{rng, say_something_each_of_its_own};

    const TRANSFER: TransferId = TransferId([2; 16]);
    const D: [u8; 16] = [3; 16];
    const L: [u8; 16] = [4; 16];
    const SUITES: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];

    fn secret() -> CarrierSecret {
        CarrierSecret::from_bytes([1; 32])
    }

    fn sealer(suite: Suite) -> RecordSealer {
        RecordSealer::new(suite, &secret(), TRANSFER, &D, &L)
    }

    fn opener(suite: Suite) -> RecordOpener {
        RecordOpener::new(suite, &secret(), TRANSFER, &D, &L)
    }

    /// Three records, the last one empty.
    fn records(suite: Suite) -> [(Vec<u8>, bool); 3] {
        let mut sealer = sealer(suite);
        [(&b"one"[..], false), (b"two", false), (b"", true)].map(|(text, last)| {
            let mut record = text.to_vec();
            sealer.seal(&mut record, last).unwrap();
            (record, last)
        })
    }

    fn open(opener: &mut RecordOpener, (record, last): &(Vec<u8>, bool)) -> Result<Vec<u8>, CarrierError> {
        let mut buffer = record.clone();
        opener.open(&mut buffer, *last).map(|()| buffer)
    }

    #[test]
    fn records_open_in_order_and_the_last_one_completes_them() {
        for suite in SUITES {
            let mut opener = opener(suite);
            let [one, two, last] = records(suite);
            assert_eq!(open(&mut opener, &one).unwrap(), b"one");
            assert_eq!(open(&mut opener, &two).unwrap(), b"two");
            assert!(!opener.is_complete(), "a stream that ends here was cut");
            assert_eq!(open(&mut opener, &last).unwrap(), b"");
            assert!(opener.is_complete());
            assert_eq!(open(&mut opener, &last), Err(CarrierError::AfterLast));
        }
    }

    #[test]
    fn a_record_that_is_dropped_repeated_swapped_or_reordered_does_not_open() {
        for suite in SUITES {
            let [one, two, last] = records(suite);
            assert_eq!(open(&mut opener(suite), &two), Err(CarrierError::Unauthentic), "dropped");
            assert_eq!(open(&mut opener(suite), &last), Err(CarrierError::Unauthentic), "dropped");
            let mut repeated = opener(suite);
            open(&mut repeated, &one).unwrap();
            assert_eq!(open(&mut repeated, &one), Err(CarrierError::Unauthentic), "repeated");
            let mut reordered = opener(suite);
            open(&mut reordered, &one).unwrap();
            assert_eq!(open(&mut reordered, &last), Err(CarrierError::Unauthentic), "reordered");
        }
    }

    #[test]
    fn the_last_flag_is_authenticated_both_ways() {
        for suite in SUITES {
            let [one, two, last] = records(suite);
            let flagged = (one.0.clone(), true);
            assert_eq!(open(&mut opener(suite), &flagged), Err(CarrierError::Unauthentic), "set");
            let mut cleared = opener(suite);
            open(&mut cleared, &one).unwrap();
            open(&mut cleared, &two).unwrap();
            assert_eq!(open(&mut cleared, &(last.0, false)), Err(CarrierError::Unauthentic), "cleared");
        }
    }

    #[test]
    fn a_record_of_another_carrier_does_not_open() {
        for suite in SUITES {
            let [one, ..] = records(suite);
            let others = [
                RecordOpener::new(suite, &CarrierSecret::from_bytes([9; 32]), TRANSFER, &D, &L),
                RecordOpener::new(suite, &secret(), TransferId([9; 16]), &D, &L),
                RecordOpener::new(suite, &secret(), TRANSFER, &[9; 16], &L),
                RecordOpener::new(suite, &secret(), TRANSFER, &D, &[9; 16]),
                RecordOpener::new(suite, &secret(), TRANSFER, &L, &D),
            ];
            for (number, mut other) in others.into_iter().enumerate() {
                assert_eq!(open(&mut other, &one), Err(CarrierError::Unauthentic), "{number}");
            }
        }
        let [aes, chacha] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        assert_eq!(open(&mut opener(aes), &records(chacha)[0]), Err(CarrierError::Unauthentic));
    }

    #[test]
    fn nothing_is_sealed_after_the_last_record_or_past_the_limit() {
        let mut ended = sealer(Suite::Aes256Gcm);
        ended.seal(&mut Vec::new(), true).unwrap();
        let mut buffer = b"text".to_vec();
        assert_eq!(ended.seal(&mut buffer, false), Err(Exhausted));
        assert_eq!(buffer, b"text");

        let (mut sealer, mut opener) = (sealer(Suite::Aes256Gcm), opener(Suite::Aes256Gcm));
        sealer.0.counter = RECORDS_MAX - 1;
        opener.0.counter = RECORDS_MAX - 1;
        sealer.seal(&mut buffer, false).unwrap();
        opener.open(&mut buffer, false).unwrap();
        assert_eq!(buffer, b"text");
        assert_eq!(sealer.seal(&mut buffer, true), Err(Exhausted));
        assert_eq!(opener.open(&mut buffer, true), Err(CarrierError::TooMany));
    }

    #[test]
    fn a_hello_is_known_by_its_secret_and_every_byte() {
        let parts: [&[u8]; 3] = [b"D", &TRANSFER.0, &D];
        let tag = hello_mac(&secret(), &parts);
        assert!(verify_hello_mac(&secret(), &parts, &tag));
        assert!(!verify_hello_mac(&CarrierSecret::from_bytes([9; 32]), &parts, &tag));
        assert!(!verify_hello_mac(&secret(), &[b"L", &TRANSFER.0, &D], &tag));
        assert!(!verify_hello_mac(&secret(), &[b"D", &TRANSFER.0, &L], &tag));
        assert!(!verify_hello_mac(&secret(), &parts, &tag[..15]));
        assert!(!verify_hello_mac(&secret(), &parts, &[]));
        for bit in 0..tag.len() * 8 {
            let mut flipped = tag;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify_hello_mac(&secret(), &parts, &flipped), "bit {bit}");
        }
    }

    #[test]
    fn every_refusal_has_words_of_its_own() {
        use CarrierError::{AfterLast, TooMany, Unauthentic};
        say_something_each_of_its_own(&[&Exhausted, &Unauthentic, &AfterLast, &TooMany]);
    }

    #[test]
    fn a_secret_comes_back_from_the_bytes_that_travelled() {
        let secret = CarrierSecret::generate(&mut rng(1)).unwrap();
        let again = CarrierSecret::from_bytes(*secret.to_bytes());
        assert_eq!(hello_mac(&again, &[b"D"]), hello_mac(&secret, &[b"D"]));
    }

    proptest! {
        #[test]
        fn no_damaged_record_opens(
            text in proptest::collection::vec(any::<u8>(), 0..300),
            at: proptest::sample::Index,
            bit in 0_u8..8,
            aes: bool,
        ) {
            let suite = if aes { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
            let mut record = text.clone();
            sealer(suite).seal(&mut record, false).unwrap();
            prop_assert_eq!(record.len(), text.len() + TAG_LEN);
            prop_assert_eq!(open(&mut opener(suite), &(record.clone(), false)).unwrap(), text);
            let cut = record[..at.index(record.len())].to_vec();
            prop_assert_eq!(open(&mut opener(suite), &(cut, false)), Err(CarrierError::Unauthentic));
            let damaged_at = at.index(record.len());
            record[damaged_at] ^= 1 << bit;
            prop_assert_eq!(open(&mut opener(suite), &(record, false)), Err(CarrierError::Unauthentic));
        }
    }
}
