//! What waits to be sent: in one ring, or in the pieces that the user handed over.

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

/// A ring: every byte is copied into it.
impl Buffer for VecDeque<u8> {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn forget(&mut self, count: usize) {
        self.drain(..count.min(Self::len(self)));
    }

    fn copy(&self, from: usize, len: usize, out: &mut Vec<u8>) {
        let (front, back) = self.as_slices();
        let in_front = front.get(from..).unwrap_or_default();
        let in_front = in_front.get(..len).unwrap_or(in_front);
        out.extend_from_slice(in_front);
        let from_back = from.saturating_sub(front.len());
        let left = len.saturating_sub(in_front.len());
        out.extend_from_slice(back.get(from_back..from_back.saturating_add(left)).unwrap_or_default());
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
        fn pieces_and_a_ring_hold_the_same(
            operations in proptest::collection::vec((0usize..9_000, 0usize..5_000, 0usize..3_000), 0..40),
        ) {
            let (mut chunks, mut ring) = (Chunks::default(), VecDeque::new());
            for (n, (add, forget, from)) in operations.into_iter().enumerate() {
                let chunk: Vec<u8> = (0..add).map(|byte| (byte * 7 + n) as u8).collect();
                ring.extend(&chunk);
                chunks.push(chunk);
                let forget = forget.min(ring.len());
                chunks.forget(forget);
                Buffer::forget(&mut ring, forget);
                prop_assert_eq!(chunks.len(), ring.len());
                let (mut ours, mut expected) = (Vec::new(), Vec::new());
                let len = ring.len().saturating_sub(from).min(4_000);
                chunks.copy(from, len, &mut ours);
                ring.copy(from, len, &mut expected);
                prop_assert_eq!(ours, expected);
            }
        }
    }
}
