//! The receiver's end of one carrier: records in, chunks out, nothing copied; and the proof
//! without which no file gets its name.

use core::fmt;

use p2pchat_crypto::carrier::{CarrierError, RecordOpener};
use p2pchat_proto::carrier::RecordHeader;

use crate::tree::{Chunks, TreeHasher};

/// Turns records into the chunks of a file, in order, and hashes them on their way.
#[derive(Debug)]
pub struct Receiver {
    chunks: Chunks,
    /// The chunk that comes next on this carrier.
    next: u64,
    tree: TreeHasher,
    opener: RecordOpener,
    ended: bool,
}

/// A chunk that was opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// To be written.
    Chunk {
        /// Where it belongs in the file, in bytes.
        offset: u64,
        /// The content, in the buffer that was given.
        content: Vec<u8>,
    },
    /// Held already, or empty. The buffer comes back.
    Nothing(Vec<u8>),
}

/// A record that was not taken: the carrier is of no more use. The act of the sender or of somebody
/// on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveError {
    /// Longer, shorter, earlier or later the last than the size that was offered allows.
    Misplaced,
    /// It does not open, or the carrier is used up.
    Sealed(CarrierError),
}

/// Why a file may not get its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishError {
    /// Not all of it came.
    Incomplete,
    /// What came is not what the sender says it sent.
    Corrupt,
}

/// Proof that a whole file came and hashes to what its sender said. Nothing else makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    hash: [u8; 32],
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misplaced => f.write_str("record that does not fit the size of the file"),
            Self::Sealed(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "the file is not whole",
            Self::Corrupt => "the hashes differ",
        })
    }
}

impl core::error::Error for ReceiveError {}
impl core::error::Error for FinishError {}

impl Receiver {
    /// For a file of `total` bytes whose sender begins with chunk `have`. `tree` is that of the
    /// attempt before, or new; it may be further than `have`, and chunks that it has seen are
    /// opened but not given out again.
    pub fn new(total: u64, have: u64, tree: TreeHasher, opener: RecordOpener) -> Self {
        let chunks = Chunks::of(total);
        Self { chunks, next: have.min(chunks.count()), tree, opener, ended: false }
    }

    /// Whether a record with this header may come now. To be asked before its body is read.
    ///
    /// # Errors
    /// [`ReceiveError::Misplaced`].
    pub fn admit(&self, header: RecordHeader) -> Result<(), ReceiveError> {
        let last = self.next.saturating_add(1) >= self.chunks.count();
        let fits = header.plaintext_len() == self.chunks.len_of(self.next) && header.last == last;
        if fits && !self.ended { Ok(()) } else { Err(ReceiveError::Misplaced) }
    }

    /// Opens the body of a record, ciphertext and tag, in place.
    ///
    /// # Errors
    /// See [`ReceiveError`]. What was opened before stays good.
    pub fn open(&mut self, header: RecordHeader, mut body: Vec<u8>) -> Result<Opened, ReceiveError> {
        self.admit(header)?;
        self.opener.open(&mut body, header.last).map_err(ReceiveError::Sealed)?;
        if body.len() != header.plaintext_len() {
            return Err(ReceiveError::Misplaced);
        }
        let index = self.next;
        self.next = index.saturating_add(1);
        self.ended = header.last;
        if body.is_empty() || index != self.tree.hashed() {
            return Ok(Opened::Nothing(body));
        }
        self.tree.push(&body);
        Ok(Opened::Chunk { offset: self.chunks.offset_of(index), content: body })
    }

    /// Whether the last record was opened.
    pub const fn is_complete(&self) -> bool {
        self.ended
    }

    /// Chunks held, from the start.
    pub const fn held(&self) -> u64 {
        self.tree.hashed()
    }

    /// What was hashed, for the next attempt.
    pub fn into_tree(self) -> TreeHasher {
        self.tree
    }

    /// Compares with the hash that the sender stated.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn finish(self, stated: &[u8; 32]) -> Result<Verified, FinishError> {
        if !self.ended {
            return Err(FinishError::Incomplete);
        }
        let hash = self.tree.finish().ok_or(FinishError::Incomplete)?;
        if hash == *stated { Ok(Verified { hash }) } else { Err(FinishError::Corrupt) }
    }
}

impl Verified {
    /// BLAKE3 of the content.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}
