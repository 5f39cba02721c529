//! A carrier, byte by byte: the hello of both sides and the header of each record.
//!
//! A carrier is one TCP connection of one attempt at one transfer. Who dialled speaks first:
//!
//! ```text
//! dialer    D | transfer [16] | nonce D [16] | mac [16]     49 bytes
//! listener  L | nonce L [16]  | mac [16]                    33 bytes
//! ```
//!
//! The dialer's MAC is over all before it; the listener's over `L | transfer | nonce D | nonce L`.
//! Then records follow from the file's sender to its receiver, each a header of 4 bytes
//! (big-endian, top bit: this is the last one; else the length of the ciphertext with its tag) and
//! the ciphertext. Who made the MACs and sealed the records is not this crate's business.

use core::fmt;

use crate::id::TransferId;
use crate::transfer::CHUNK_LEN;

/// Bytes of a nonce of the hello.
pub const NONCE_LEN: usize = 16;
/// Bytes of a MAC of the hello.
pub const MAC_LEN: usize = 16;
/// Bytes of the dialer's hello.
pub const DIALER_HELLO_LEN: usize = 1 + 16 + NONCE_LEN + MAC_LEN;
/// Bytes of the listener's hello.
pub const LISTENER_HELLO_LEN: usize = 1 + NONCE_LEN + MAC_LEN;
/// Bytes of a record's header.
pub const RECORD_HEADER_LEN: usize = 4;
/// Bytes by which a record's ciphertext is longer than its plaintext: the tag of AES-256-GCM and
/// of ChaCha20-Poly1305 (RFC 5116 section 5, RFC 8439 section 2.8).
pub const RECORD_TAG_LEN: usize = 16;

/// First byte of the dialer's hello, `D`.
const DIALER: u8 = 0x44;
/// First byte of the listener's hello, `L`.
const LISTENER: u8 = 0x4c;
/// Marks the last record in the header.
const LAST: u32 = 1 << 31;
/// Longest ciphertext: one chunk and its tag.
const CIPHERTEXT_MAX: u32 = (CHUNK_LEN + RECORD_TAG_LEN) as u32;

/// One side's random contribution to a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierNonce(pub [u8; NONCE_LEN]);

/// The dialer's hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialerHello {
    /// Which transfer it dials for.
    pub transfer: TransferId,
    /// The dialer's nonce.
    pub nonce: CarrierNonce,
    /// Over all before it.
    pub mac: [u8; MAC_LEN],
}

impl DialerHello {
    /// What the MAC is made over.
    pub fn signed(transfer: TransferId, nonce: CarrierNonce) -> [u8; DIALER_HELLO_LEN - MAC_LEN] {
        let mut bytes = [0; DIALER_HELLO_LEN - MAC_LEN];
        fill(&mut bytes, [&[DIALER][..], &transfer.0, &nonce.0]);
        bytes
    }

    /// The hello as it travels.
    pub fn to_bytes(&self) -> [u8; DIALER_HELLO_LEN] {
        let mut bytes = [0; DIALER_HELLO_LEN];
        fill(&mut bytes, [&Self::signed(self.transfer, self.nonce)[..], &self.mac]);
        bytes
    }

    /// The hello in `bytes`; `None` if they begin otherwise.
    pub fn from_bytes(bytes: &[u8; DIALER_HELLO_LEN]) -> Option<Self> {
        let ([DIALER], rest) = bytes.split_first_chunk()? else { return None };
        let (transfer, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (mac, _) = rest.split_first_chunk()?;
        Some(Self { transfer: TransferId(*transfer), nonce: CarrierNonce(*nonce), mac: *mac })
    }
}

/// The listener's hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerHello {
    /// The listener's nonce.
    pub nonce: CarrierNonce,
    /// Over [`ListenerHello::signed`].
    pub mac: [u8; MAC_LEN],
}

impl ListenerHello {
    /// What the MAC is made over.
    pub fn signed(
        transfer: TransferId,
        dialer: CarrierNonce,
        listener: CarrierNonce,
    ) -> [u8; 1 + 16 + 2 * NONCE_LEN] {
        let mut bytes = [0; 1 + 16 + 2 * NONCE_LEN];
        fill(&mut bytes, [&[LISTENER][..], &transfer.0, &dialer.0, &listener.0]);
        bytes
    }

    /// The hello as it travels.
    pub fn to_bytes(&self) -> [u8; LISTENER_HELLO_LEN] {
        let mut bytes = [0; LISTENER_HELLO_LEN];
        fill(&mut bytes, [&[LISTENER][..], &self.nonce.0, &self.mac]);
        bytes
    }

    /// The hello in `bytes`; `None` if they begin otherwise.
    pub fn from_bytes(bytes: &[u8; LISTENER_HELLO_LEN]) -> Option<Self> {
        let ([LISTENER], rest) = bytes.split_first_chunk()? else { return None };
        let (nonce, rest) = rest.split_first_chunk()?;
        let (mac, _) = rest.split_first_chunk()?;
        Some(Self { nonce: CarrierNonce(*nonce), mac: *mac })
    }
}

/// Lays `parts` into `bytes`, one after the other.
fn fill<const N: usize>(bytes: &mut [u8], parts: [&[u8]; N]) {
    for (slot, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
}

/// What stands before each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Whether no record follows.
    pub last: bool,
    /// Bytes of the plaintext, at most [`CHUNK_LEN`].
    len: u32,
}

/// A header that no record may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRecordHeader;

impl fmt::Display for InvalidRecordHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record of impossible length")
    }
}

impl core::error::Error for InvalidRecordHeader {}

impl RecordHeader {
    /// The header of a record of `len` bytes of plaintext.
    ///
    /// # Errors
    /// If `len` is more than a chunk, or 0 without being the last.
    pub fn new(len: usize, last: bool) -> Result<Self, InvalidRecordHeader> {
        if len > CHUNK_LEN || (len == 0 && !last) {
            return Err(InvalidRecordHeader);
        }
        Ok(Self { last, len: u32::try_from(len).map_err(|_| InvalidRecordHeader)? })
    }

    /// Bytes of the plaintext.
    pub const fn plaintext_len(self) -> usize {
        self.len as usize
    }

    /// Bytes that follow the header: the ciphertext and its tag.
    pub const fn ciphertext_len(self) -> usize {
        (self.len as usize).saturating_add(RECORD_TAG_LEN)
    }

    /// The header as it travels.
    pub fn to_bytes(self) -> [u8; RECORD_HEADER_LEN] {
        let len = self.len.saturating_add(RECORD_TAG_LEN as u32);
        (if self.last { len | LAST } else { len }).to_be_bytes()
    }

    /// The header in `bytes`.
    ///
    /// # Errors
    /// If no record can have that length.
    pub fn from_bytes(bytes: [u8; RECORD_HEADER_LEN]) -> Result<Self, InvalidRecordHeader> {
        let word = u32::from_be_bytes(bytes);
        let (last, ciphertext) = (word & LAST != 0, word & !LAST);
        if ciphertext > CIPHERTEXT_MAX {
            return Err(InvalidRecordHeader);
        }
        let len = ciphertext.checked_sub(RECORD_TAG_LEN as u32).ok_or(InvalidRecordHeader)?;
        Self::new(len as usize, last)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const TRANSFER: TransferId = TransferId([0xaa; 16]);
    const D: CarrierNonce = CarrierNonce([0xdd; 16]);
    const L: CarrierNonce = CarrierNonce([0x11; 16]);

    #[test]
    fn both_hellos_have_the_bytes_that_version_1_fixes() {
        let (aa, dd, ll, mac) = ("aa".repeat(16), "dd".repeat(16), "11".repeat(16), "55".repeat(16));
        let dialer = DialerHello { transfer: TRANSFER, nonce: D, mac: [0x55; 16] };
        assert_eq!(HEXLOWER.encode(&dialer.to_bytes()), format!("44{aa}{dd}{mac}"));
        assert_eq!(HEXLOWER.encode(&DialerHello::signed(TRANSFER, D)), format!("44{aa}{dd}"));
        assert_eq!(DialerHello::from_bytes(&dialer.to_bytes()), Some(dialer));
        let listener = ListenerHello { nonce: L, mac: [0x55; 16] };
        assert_eq!(HEXLOWER.encode(&listener.to_bytes()), format!("4c{ll}{mac}"));
        assert_eq!(HEXLOWER.encode(&ListenerHello::signed(TRANSFER, D, L)), format!("4c{aa}{dd}{ll}"));
        assert_eq!(ListenerHello::from_bytes(&listener.to_bytes()), Some(listener));
    }

    #[test]
    fn a_hello_of_the_other_role_is_none() {
        let mut bytes = DialerHello { transfer: TRANSFER, nonce: D, mac: [0; 16] }.to_bytes();
        bytes[0] = LISTENER;
        assert_eq!(DialerHello::from_bytes(&bytes), None);
        let mut bytes = ListenerHello { nonce: L, mac: [0; 16] }.to_bytes();
        bytes[0] = DIALER;
        assert_eq!(ListenerHello::from_bytes(&bytes), None);
    }

    #[test]
    fn record_headers_at_their_edges() {
        let golden = [
            (CHUNK_LEN, false, "00040010"),
            (CHUNK_LEN, true, "80040010"),
            (1, false, "00000011"),
            (0, true, "80000010"),
        ];
        for (len, last, hex) in golden {
            let header = RecordHeader::new(len, last).unwrap();
            assert_eq!(HEXLOWER.encode(&header.to_bytes()), hex);
            assert_eq!(RecordHeader::from_bytes(header.to_bytes()), Ok(header));
            assert_eq!((header.plaintext_len(), header.ciphertext_len()), (len, len + 16));
        }
        assert_eq!(RecordHeader::new(0, false), Err(InvalidRecordHeader));
        assert_eq!(RecordHeader::new(CHUNK_LEN + 1, true), Err(InvalidRecordHeader));
        for bad in [0u32, 15, 16, LAST, LAST | 15, CIPHERTEXT_MAX + 1, LAST - 1, u32::MAX] {
            assert_eq!(RecordHeader::from_bytes(bad.to_be_bytes()), Err(InvalidRecordHeader), "{bad:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_refused_or_stays_the_same(bytes: [u8; 4]) {
            if let Ok(header) = RecordHeader::from_bytes(bytes) {
                prop_assert_eq!(header.to_bytes(), bytes);
                prop_assert!(header.plaintext_len() <= CHUNK_LEN);
            }
        }

        #[test]
        fn any_hello_is_refused_or_stays_the_same(bytes in proptest::array::uniform32(any::<u8>()), first: u8) {
            let mut dialer = [first; DIALER_HELLO_LEN];
            dialer[1..33].copy_from_slice(&bytes);
            if let Some(hello) = DialerHello::from_bytes(&dialer) {
                prop_assert_eq!(hello.to_bytes(), dialer);
            }
        }
    }
}
