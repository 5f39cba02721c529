//! Bytes of one stream that came too early, until what is before them is there.

use std::collections::VecDeque;

use crate::ranges::Ranges;

/// Gaps that are kept (protocol section 5).
pub(crate) const GAPS_MAX: usize = 64;

/// What became of bytes that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// They are held or were handed on, or had been before.
    Yes,
    /// They would make one gap too many; the packet must not be acknowledged.
    No,
}

/// A window over the stream that starts at the first byte that is missing. Its length is bounded
/// by the credit that the caller gave; the holes in it by [`GAPS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// The first byte that is missing.
    next: u64,
    /// The bytes from `next` on; what is not in `filled` means nothing. A ring, so that a byte that
    /// is handed on does not move those behind it.
    window: VecDeque<u8>,
    filled: Ranges,
}

impl Reassembly {
    /// How many bytes were handed on.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Bytes from the first that is missing up to the last that arrived.
    pub(crate) fn room(&self) -> usize {
        self.window.len()
    }

    /// Ranges that arrived before what belongs before them.
    pub(crate) fn gaps(&self) -> usize {
        self.filled.len()
    }

    /// Takes `bytes`, which belong at `offset`, and hands on what is complete, in order.
    ///
    /// # Errors
    /// Those of `deliver`.
    pub(crate) fn insert<E>(
        &mut self,
        offset: u64,
        bytes: &[u8],
        deliver: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Taken, E> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end <= self.next {
            return Ok(Taken::Yes);
        }
        if offset > self.next {
            return Ok(self.hold(offset, bytes, end));
        }
        let new = bytes.get(distance(offset, self.next)..).unwrap_or_default();
        deliver(new)?;
        if self.filled.is_empty() {
            self.next = end;
            return Ok(Taken::Yes);
        }
        self.advance(end);
        while let Some(first) = self.filled.first().cloned().filter(|first| first.start <= self.next) {
            let ready = distance(self.next, first.end);
            let (front, back) = self.window.as_slices();
            deliver(front.get(..ready).unwrap_or(front))?;
            let rest = ready.saturating_sub(front.len());
            if rest > 0 {
                deliver(back.get(..rest).unwrap_or_default())?;
            }
            self.advance(first.end);
        }
        Ok(Taken::Yes)
    }

    fn hold(&mut self, offset: u64, bytes: &[u8], end: u64) -> Taken {
        let range = offset..end;
        if self.filled.len() >= GAPS_MAX && self.filled.would_add(&range) {
            return Taken::No;
        }
        let from = distance(self.next, offset);
        let to = distance(self.next, end);
        if self.window.len() < to {
            // In powers of two up to the credit, which is one.
            let more = to.next_power_of_two().saturating_sub(self.window.len());
            self.window.reserve_exact(more);
            self.window.resize(to, 0);
        }
        self.window.range_mut(from..to).zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.filled.insert(range);
        Taken::Yes
    }

    /// Everything before `end` was handed on.
    fn advance(&mut self, end: u64) {
        let passed = distance(self.next, end).min(self.window.len());
        self.window.drain(..passed);
        self.filled.remove(self.next..end);
        self.next = end;
        if self.filled.is_empty() {
            self.window = VecDeque::new();
        }
    }
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use proptest::prelude::*;

    fn insert(reassembly: &mut Reassembly, offset: u64, bytes: &[u8]) -> (Taken, Vec<u8>) {
        let mut out = Vec::new();
        let taken = reassembly.insert(offset, bytes, &mut |ready| {
            out.extend_from_slice(ready);
            Ok::<_, Infallible>(())
        });
        (taken.unwrap(), out)
    }

    #[test]
    fn gaps_beyond_the_cap_are_not_taken_and_what_closes_one_is() {
        let mut reassembly = Reassembly::default();
        for n in 0..GAPS_MAX as u64 {
            assert_eq!(insert(&mut reassembly, 10 + n * 2, b"x").0, Taken::Yes);
        }
        assert_eq!(insert(&mut reassembly, 1000, b"x").0, Taken::No);
        assert!(reassembly.window.len() < 1000, "what is not taken costs no memory");
        assert_eq!(insert(&mut reassembly, 11, b"x").0, Taken::Yes);
        assert_eq!(insert(&mut reassembly, 1000, b"x").0, Taken::Yes);
        assert_eq!(insert(&mut reassembly, 0, b"0123456789"), (Taken::Yes, b"0123456789xxx".to_vec()));
    }

    #[test]
    fn memory_is_given_back_when_nothing_is_held() {
        let mut reassembly = Reassembly::default();
        insert(&mut reassembly, 1, &[7; 100_000]);
        assert!(reassembly.window.capacity() >= 100_000);
        assert_eq!(insert(&mut reassembly, 0, b"0").1.len(), 100_001);
        assert_eq!(reassembly.window.capacity(), 0);
    }

    #[test]
    fn the_window_takes_no_more_memory_than_the_credit() {
        let mut reassembly = Reassembly::default();
        for offset in (1..crate::streams::STREAM_WINDOW).step_by(4096) {
            insert(&mut reassembly, offset, &[7; 1000]);
        }
        assert!(reassembly.window.capacity() as u64 <= crate::streams::STREAM_WINDOW);
    }

    proptest! {
        #[test]
        fn any_order_of_overlapping_pieces_gives_the_stream_once(
            pieces in proptest::collection::vec((0usize..300, 0usize..60), 0..120),
        ) {
            let stream: Vec<u8> = (0..400).map(|n| (n % 251) as u8).collect();
            let mut reassembly = Reassembly::default();
            let mut out = Vec::new();
            let mut pieces = pieces;
            // Then the whole, in order.
            pieces.extend((0..400).step_by(40).map(|offset| (offset, 40)));
            for (offset, len) in pieces {
                let (taken, ready) = insert(&mut reassembly, offset as u64, &stream[offset..offset + len]);
                prop_assert_eq!(taken, Taken::Yes);
                out.extend(ready);
                prop_assert_eq!(out.len() as u64, reassembly.next());
                prop_assert!(reassembly.window.len() <= 400);
            }
            prop_assert_eq!(out, stream);
        }
    }
}
