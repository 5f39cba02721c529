//! What waits to be sent: in one queue, or in the pieces that the user handed over.

use core::fmt;
use std::collections::VecDeque;

/// Pieces up to this many bytes together are joined, so that many small ones cost little more than
/// their bytes (our choice).
const JOINED_MAX: usize = 4096;

/// Bytes of a stream from the first that the peer may lack.
pub(crate) trait Buffer: Default + fmt::Debug {
    /// How many there are.
    fn len(&self) -> usize;

    /// The peer has the first `count`.
    fn forget(&mut self, count: usize);

    /// Appends `len` of them from `from` on, which are there.
    fn copy(&self, from: usize, len: usize, out: &mut Vec<u8>);
}

/// One byte behind the other: every byte is copied into it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    /// How many of them the peer has.
    forgotten: usize,
}

impl Queue {
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl Buffer for Queue {
    fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.forgotten)
    }

    fn forget(&mut self, count: usize) {
        self.forgotten = self.forgotten.saturating_add(count).min(self.bytes.len());
        // No more bytes move up than went before them.
        if self.forgotten >= self.len() {
            self.bytes.drain(..self.forgotten);
            self.forgotten = 0;
        }
    }

    fn copy(&self, from: usize, len: usize, out: &mut Vec<u8>) {
        let there = self.bytes.get(self.forgotten.saturating_add(from)..).unwrap_or_default();
        out.extend_from_slice(there.get(..len).unwrap_or(there));
    }
}

/// Owned pieces, for content that comes in large ones.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// With the offset of the first byte of each.
    list: VecDeque<(u64, Vec<u8>)>,
    /// Offset of the first byte that the peer may lack.
    base: u64,
    /// Offset behind the last.
    end: u64,
}

impl Chunks {
    pub(crate) fn push(&mut self, chunk: Vec<u8>) {
        if chunk.is_empty() {
            return;
        }
        let start = self.end;
        self.end = self.end.saturating_add(chunk.len() as u64);
        match self.list.back_mut() {
            Some((_, last)) if last.len().saturating_add(chunk.len()) <= JOINED_MAX => last.extend(chunk),
            Some(_) | None => self.list.push_back((start, chunk)),
        }
    }
}

impl Buffer for Chunks {
    fn len(&self) -> usize {
        usize::try_from(self.end.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }

    fn forget(&mut self, count: usize) {
        self.base = self.base.saturating_add(count as u64).min(self.end);
        while let Some((start, front)) = self.list.front()
            && start.saturating_add(front.len() as u64) <= self.base
        {
            self.list.pop_front();
        }
    }

    fn copy(&self, from: usize, len: usize, out: &mut Vec<u8>) {
        let from = self.base.saturating_add(from as u64);
        let first = self.list.partition_point(|(start, _)| *start <= from).saturating_sub(1);
        let (mut from, mut left) = (from, len);
        for (start, chunk) in self.list.range(first.min(self.list.len())..) {
            let at = usize::try_from(from.saturating_sub(*start)).unwrap_or(usize::MAX);
            let there = chunk.get(at..).unwrap_or_default();
            let part = there.get(..left).unwrap_or(there);
            out.extend_from_slice(part);
            left = left.saturating_sub(part.len());
            from = from.saturating_add(part.len() as u64);
            if left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn many_small_pieces_cost_little_more_than_their_bytes() {
        let mut chunks = Chunks::default();
        (0..10 * JOINED_MAX).for_each(|n| chunks.push(vec![n as u8]));
        assert_eq!((chunks.list.len(), chunks.len()), (10, 10 * JOINED_MAX));
    }

    proptest! {
        #[test]
        fn pieces_and_a_queue_hold_the_same(
            operations in proptest::collection::vec((0usize..9_000, 0usize..5_000, 0usize..3_000), 0..40),
        ) {
            let (mut chunks, mut queue, mut all) = (Chunks::default(), Queue::default(), Vec::new());
            for (n, (add, forget, from)) in operations.into_iter().enumerate() {
                let chunk: Vec<u8> = (0..add).map(|byte| (byte * 7 + n) as u8).collect();
                all.extend(&chunk);
                queue.extend(&chunk);
                chunks.push(chunk);
                let forget = forget.min(all.len());
                all.drain(..forget);
                chunks.forget(forget);
                queue.forget(forget);
                prop_assert_eq!((chunks.len(), queue.len()), (all.len(), all.len()));
                prop_assert!(queue.bytes.len() <= 2 * all.len());
                let len = all.len().saturating_sub(from).min(4_000);
                let expected = all.get(from..from + len).unwrap_or_default();
                let (mut pieces, mut queued) = (Vec::new(), Vec::new());
                chunks.copy(from, len, &mut pieces);
                queue.copy(from, len, &mut queued);
                prop_assert_eq!((&pieces[..], &queued[..]), (expected, expected));
            }
        }
    }
}
