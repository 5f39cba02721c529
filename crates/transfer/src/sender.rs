//! The sender's end of one carrier: chunks in, records out, nothing copied.

use core::fmt;
use core::ops::Range;

use p2pchat_crypto::carrier::RecordSealer;
use p2pchat_proto::carrier::{RECORD_HEADER_LEN, RecordHeader};

use crate::tree::{Chunks, TreeHasher};

/// Turns the chunks of a file, in order, into sealed records, and hashes them on their way.
#[derive(Debug)]
pub struct Sender {
    chunks: Chunks,
    /// First chunk that the receiver does not hold.
    have: u64,
    /// The chunk to be read next.
    next: u64,
    tree: TreeHasher,
    sealer: RecordSealer,
    ended: bool,
}

/// What a [`Sender`] wants to be given, in order.
#[derive(Debug, Clone)]
pub struct Pieces {
    chunks: Chunks,
    left: Range<u64>,
}

/// One of [`Pieces`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How many bytes; 0 where only the end is left to be said.
    pub len: usize,
}

/// What became of a chunk.
#[derive(Debug)]
pub enum Taken {
    /// To be written to the connection: header, then body.
    Record {
        /// The header as it travels.
        header: [u8; RECORD_HEADER_LEN],
        /// Ciphertext and tag, in the buffer that was given.
        body: Vec<u8>,
    },
    /// The receiver holds it; it was hashed only. The buffer comes back.
    Hashed(Vec<u8>),
}

/// A chunk that could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Not the length of the [`Piece`]: the source is not what was offered.
    WrongLength,
    /// The carrier has sealed as many records as it may; another one goes on.
    Exhausted,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongLength => "chunk of the wrong length",
            Self::Exhausted => "carrier is used up",
        })
    }
}

impl core::error::Error for SendError {}

impl Sender {
    /// For a receiver that holds the first `have` chunks of `total` bytes. `tree` is that of the
    /// attempt before, or new; chunks that it has not seen are asked for and hashed, but not sent.
    pub fn new(total: u64, have: u64, tree: TreeHasher, sealer: RecordSealer) -> Self {
        let chunks = Chunks::of(total);
        let have = have.min(chunks.count());
        Self { chunks, have, next: have.min(tree.hashed()), tree, sealer, ended: false }
    }

    /// What to read, from here to the end: for whoever reads ahead.
    pub fn pieces(&self) -> Pieces {
        let count = self.chunks.count();
        // Where no chunk is left to be sent, an empty one says that this is the end.
        let end = if self.have == count { count.saturating_add(1) } else { count };
        Pieces { chunks: self.chunks, left: if self.ended { 0..0 } else { self.next..end } }
    }

    /// Takes the content of the next piece.
    ///
    /// # Errors
    /// See [`SendError`]; the sender is of no more use then, apart from its tree.
    pub fn take(&mut self, mut chunk: Vec<u8>) -> Result<Taken, SendError> {
        let index = self.next;
        if chunk.len() != self.chunks.len_of(index) {
            return Err(SendError::WrongLength);
        }
        if index >= self.tree.hashed() && !chunk.is_empty() {
            self.tree.push(&chunk);
        }
        self.next = index.saturating_add(1).min(self.chunks.count());
        if index < self.have {
            return Ok(Taken::Hashed(chunk));
        }
        let last = self.next == self.chunks.count();
        let header = RecordHeader::new(chunk.len(), last).map_err(|_| SendError::WrongLength)?;
        self.sealer.seal(&mut chunk, last).map_err(|_| SendError::Exhausted)?;
        self.ended = last;
        Ok(Taken::Record { header: header.to_bytes(), body: chunk })
    }

    /// Bytes of the file that were sealed, those that the receiver held included.
    pub const fn passed(&self) -> u64 {
        self.chunks.offset_of(self.next)
    }

    /// What was hashed, for the next attempt or for the hash of the whole.
    pub fn into_tree(self) -> TreeHasher {
        self.tree
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let index = self.left.next()?;
        Some(Piece { offset: self.chunks.offset_of(index), len: self.chunks.len_of(index) })
    }
}
