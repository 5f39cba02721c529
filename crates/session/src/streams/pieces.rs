//! Bytes of a stream that wait until its user takes them, or for what is before them.

use std::collections::VecDeque;

use super::reassembly::Taken;
use crate::ranges::Ranges;

/// Bytes of a block, in which memory is taken and given back (our choice: a sixteenth of the first
/// window of a stream).
pub(crate) const BLOCK: usize = 16 * 1024;

/// A window over the stream that starts at the first byte that was not taken. Its length is bounded
/// by the credit that the caller gave; memory is taken by blocks, only where bytes are.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The first byte that was not taken.
    taken: u64,
    /// What is there, from `taken` on.
    filled: Ranges,
    blocks: Blocks,
}

impl Pieces {
    /// How many bytes were taken.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes of memory for what is there.
    pub(crate) fn memory(&self) -> usize {
        self.blocks.list.iter().flatten().count().saturating_mul(BLOCK)
    }

    /// Into how many pieces it falls.
    pub(crate) fn count(&self) -> usize {
        self.filled.len()
    }

    /// How many bytes can be taken.
    pub(crate) fn ready(&self) -> u64 {
        self.filled
            .first()
            .filter(|first| first.start <= self.taken)
            .map_or(0, |first| first.end.saturating_sub(self.taken))
    }

    /// Holds `bytes`, which belong at `offset`, unless they would make more than `gaps` gaps.
    pub(crate) fn insert(&mut self, offset: u64, bytes: &[u8], gaps: usize) -> Taken {
        let end = offset.saturating_add(bytes.len() as u64);
        let start = offset.max(self.taken);
        let range = start..end;
        if range.is_empty() {
            return Taken::Yes;
        }
        // What comes first always finds room: without it nothing could be taken any more.
        if start > self.taken && self.filled.len() >= gaps && self.filled.would_add(&range) {
            return Taken::No;
        }
        self.blocks.write(start, bytes.get(distance(offset, start)..).unwrap_or_default());
        self.filled.insert(range);
        Taken::Yes
    }

    /// The next bytes, at most to the end of a block, without taking them.
    pub(crate) fn peek(&self) -> &[u8] {
        let ready = distance(0, self.ready());
        let there = self.blocks.from(self.taken);
        there.get(..ready).unwrap_or(there)
    }

    /// Drops the next `count` bytes, as far as they are ready.
    pub(crate) fn skip(&mut self, count: u64) {
        let end = self.taken.saturating_add(count.min(self.ready()));
        self.filled.remove(self.taken..end);
        self.taken = end;
        self.blocks.forget_before(end);
    }

    /// The next bytes, at most [`BLOCK`].
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let piece = match self.blocks.whole(self.taken, self.ready()) {
            Some(block) => block,
            None => self.peek().to_vec(),
        };
        if piece.is_empty() {
            return None;
        }
        self.skip(piece.len() as u64);
        Some(piece)
    }
}

/// Memory for a part of a stream, where it was written to.
#[derive(Debug, Default)]
struct Blocks {
    /// Number of the first block in the list.
    first: u64,
    list: VecDeque<Option<Vec<u8>>>,
}

impl Blocks {
    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, at) = place(offset);
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK.saturating_sub(at)));
            if self.list.is_empty() {
                self.first = number;
            }
            // What is before the first block is only missing, and comes later.
            while number < self.first {
                self.list.push_front(None);
                self.first = self.first.saturating_sub(1);
            }
            let index = distance(self.first, number);
            while self.list.len() <= index {
                self.list.push_back(None);
            }
            if let Some(slot) = self.list.get_mut(index) {
                put(slot.get_or_insert_with(|| Vec::with_capacity(BLOCK)), at, part);
            }
            offset = offset.saturating_add(part.len() as u64);
            bytes = rest;
        }
    }

    /// From `offset` to the end of its block.
    fn from(&self, offset: u64) -> &[u8] {
        let (number, at) = place(offset);
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let block = index.and_then(|index| self.list.get(index)).and_then(Option::as_deref);
        block.and_then(|block| block.get(at..)).unwrap_or_default()
    }

    /// The first block, if it begins at `offset` and `ready` bytes fill it.
    fn whole(&mut self, offset: u64, ready: u64) -> Option<Vec<u8>> {
        let begins = place(offset) == (self.first, 0) && ready >= BLOCK as u64;
        self.list.front_mut().filter(|_| begins)?.take()
    }

    fn forget_before(&mut self, offset: u64) {
        let (number, _) = place(offset);
        while self.first < number && self.list.pop_front().is_some() {
            self.first = self.first.saturating_add(1);
        }
        if self.list.is_empty() {
            self.list = VecDeque::new();
        }
    }
}

/// Writes `part` at `at` of a block, which is as long as bytes were written to it so far.
fn put(block: &mut Vec<u8>, at: usize, part: &[u8]) {
    if block.len() < at {
        block.resize(at, 0);
    }
    let (over, behind) = part.split_at(part.len().min(block.len().saturating_sub(at)));
    if let Some(places) = block.get_mut(at..at.saturating_add(over.len())) {
        places.copy_from_slice(over);
    }
    block.extend_from_slice(behind);
}

/// The number of the block that an offset lies in, and where in it.
fn place(offset: u64) -> (u64, usize) {
    let block = BLOCK as u64;
    let number = offset.checked_div(block).unwrap_or(0);
    (number, distance(number.saturating_mul(block), offset))
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::opened::{BULK_GAPS_MAX, BULK_WINDOW_MAX};
    use proptest::prelude::*;

    fn blocks(pieces: &Pieces) -> usize {
        pieces.blocks.list.iter().flatten().count()
    }

    #[test]
    fn a_thousand_gaps_are_held_and_not_one_more_and_what_comes_first_always_is() {
        let mut pieces = Pieces::default();
        for n in 0..BULK_GAPS_MAX as u64 {
            assert_eq!(pieces.insert(10 + 2 * n, b"x", BULK_GAPS_MAX), Taken::Yes);
        }
        let last = 10 + 2 * BULK_GAPS_MAX as u64;
        assert_eq!(pieces.insert(last, b"x", BULK_GAPS_MAX), Taken::No);
        assert_eq!(pieces.insert(1 << 22, b"x", BULK_GAPS_MAX), Taken::No);
        assert_eq!(blocks(&pieces), 1, "what is not taken costs no memory");
        assert_eq!(pieces.insert(11, b"x", BULK_GAPS_MAX), Taken::Yes, "it closes a gap");
        assert_eq!(pieces.insert(0, b"first", BULK_GAPS_MAX), Taken::Yes);
        assert_eq!(pieces.take(), Some(b"first".to_vec()));
    }

    #[test]
    fn memory_is_where_bytes_are_and_is_given_back_when_they_are_taken() {
        let mut pieces = Pieces::default();
        for offset in [BULK_WINDOW_MAX - 1, BLOCK as u64 * 7, 1] {
            assert_eq!(pieces.insert(offset, b"x", BULK_GAPS_MAX), Taken::Yes);
        }
        assert_eq!((blocks(&pieces), pieces.ready()), (3, 0));
        let whole = vec![7; BULK_WINDOW_MAX as usize];
        assert_eq!(pieces.insert(0, &whole, BULK_GAPS_MAX), Taken::Yes);
        assert_eq!(blocks(&pieces) * BLOCK, BULK_WINDOW_MAX as usize);
        let mut taken = 0;
        while let Some(piece) = pieces.take() {
            assert!(piece.len() <= BLOCK && piece.iter().all(|byte| *byte == 7));
            taken += piece.len() as u64;
        }
        assert_eq!((taken, pieces.taken(), blocks(&pieces)), (BULK_WINDOW_MAX, BULK_WINDOW_MAX, 0));
        assert_eq!(pieces.blocks.list.capacity(), 0);
    }

    #[test]
    fn what_was_taken_comes_again_without_a_trace() {
        let mut pieces = Pieces::default();
        pieces.insert(0, &[7; 20_000], BULK_GAPS_MAX);
        while pieces.take().is_some() {}
        assert_eq!(pieces.insert(100, &[9; 1_000], BULK_GAPS_MAX), Taken::Yes);
        assert_eq!((pieces.ready(), pieces.take()), (0, None));
        assert_eq!(pieces.insert(19_000, &[8; 2_000], BULK_GAPS_MAX), Taken::Yes);
        assert_eq!(pieces.take(), Some(vec![8; 1_000]));
    }

    proptest! {
        #[test]
        fn any_order_of_overlapping_pieces_and_readers_gives_the_stream_once(
            pieces in proptest::collection::vec((0usize..60_000, 0usize..9_000, any::<bool>()), 0..60),
        ) {
            let stream: Vec<u8> = (0..70_000).map(|n| (n % 251) as u8).collect();
            let mut held = Pieces::default();
            let mut out = Vec::new();
            let mut pieces = pieces;
            // Then the whole, in order.
            pieces.extend((0..70_000).step_by(1_000).map(|offset| (offset, 1_000, false)));
            for (offset, len, reads) in pieces {
                let bytes = &stream[offset..offset + len];
                prop_assert_eq!(held.insert(offset as u64, bytes, BULK_GAPS_MAX), Taken::Yes);
                prop_assert!(blocks(&held) <= 70_000 / BLOCK + 1);
                if reads {
                    out.extend(held.take().into_iter().flatten());
                    prop_assert_eq!(out.len() as u64, held.taken());
                }
            }
            while let Some(piece) = held.take() {
                out.extend(piece);
            }
            prop_assert_eq!(out, stream);
        }
    }
}
