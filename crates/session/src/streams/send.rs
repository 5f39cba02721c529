//! The sending half of a stream: bytes from the first that the peer may lack.

use p2pchat_proto::frame::{StreamHeader, StreamId};

use super::StreamRange;
use super::chunks::{Buffer, Chunks, Queue};
use crate::ranges::Ranges;

/// Bytes that wait on one stream, sent or not, until the peer has them (our choice: sixteen
/// messages of the largest size).
pub const SEND_BUFFER_MAX: usize = 1 << 20;

/// Bytes to be sent, being sent, and sent but not acknowledged.
#[derive(Debug)]
pub(crate) struct SendStream<B = Queue> {
    id: StreamId,
    buffer: B,
    /// Offset of the buffer's first byte: everything before is acknowledged.
    base: u64,
    /// Offset of the first byte that was never sent.
    next: u64,
    /// What was acknowledged from `base` on.
    acked: Ranges,
    /// What is to be sent again.
    lost: Ranges,
    /// The peer's credit.
    max: u64,
}

/// A part of the stream that goes into a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) header: StreamHeader,
    /// Whether it was sent before.
    pub(crate) again: bool,
}

impl SendStream {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }
}

impl SendStream<Chunks> {
    pub(crate) fn push(&mut self, chunk: Vec<u8>) {
        self.buffer.push(chunk);
    }
}

impl<B: Buffer> SendStream<B> {
    pub(crate) fn new(id: StreamId, max: u64) -> Self {
        let buffer = B::default();
        Self { id, buffer, base: 0, next: 0, acked: Ranges::EMPTY, lost: Ranges::EMPTY, max }
    }

    /// Whether `len` more bytes may wait.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.buffer.len().saturating_add(len) <= SEND_BUFFER_MAX
    }

    pub(crate) const fn id(&self) -> StreamId {
        self.id
    }

    /// Drops everything: the peer gets no more of it.
    pub(crate) fn give_up(&mut self) {
        self.buffer = B::default();
        self.base = self.next;
        (self.acked, self.lost) = (Ranges::EMPTY, Ranges::EMPTY);
    }

    /// Bytes that wait or that the peer may lack.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes were sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.next
    }

    /// Whether the peer has everything.
    pub(crate) fn is_done(&self) -> bool {
        self.buffer.len() == 0
    }

    /// Whether everything was sent.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.next == self.end()
    }

    pub(crate) fn on_credit(&mut self, max: u64) {
        self.max = self.max.max(max);
    }

    /// Bytes that may be sent again now.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost.iter().map(|range| range.end.saturating_sub(range.start)).sum()
    }

    /// Bytes that may be sent for the first time now, as far as this stream's credit goes.
    pub(crate) fn fresh_bytes(&self) -> u64 {
        self.end().min(self.max).saturating_sub(self.next)
    }

    /// Takes the next part that fits with its header into `room` bytes: first what was lost, then
    /// fresh bytes, at most `credit` of them.
    pub(crate) fn next_chunk(&mut self, room: usize, credit: u64) -> Option<Chunk> {
        let (offset, available, again) = match self.lost.first() {
            Some(lost) => (lost.start, lost.end.saturating_sub(lost.start), true),
            None => (self.next, self.fresh_bytes().min(credit), false),
        };
        if available == 0 {
            return None;
        }
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        let header = StreamHeader { stream: self.id, offset, fin: false, len: 0 };
        let header = header.fitted(available, room).filter(|header| header.len > 0)?;
        let end = offset.saturating_add(header.len as u64);
        if again {
            self.lost.remove(offset..end);
        } else {
            self.next = end;
        }
        Some(Chunk { header, again })
    }

    /// Appends the bytes of a part that is not acknowledged.
    pub(crate) fn copy(&self, header: &StreamHeader, out: &mut Vec<u8>) {
        let from = usize::try_from(header.offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.buffer.copy(from, header.len, out);
    }

    /// The peer has this part.
    pub(crate) fn on_acked(&mut self, range: StreamRange) {
        let range = range.offset.max(self.base)..range.end().min(self.next);
        self.lost.remove(range.clone());
        let mut end = range.end;
        // Most come in order.
        if range.start > self.base || !self.acked.is_empty() {
            self.acked.insert(range);
            let Some(first) = self.acked.first().filter(|first| first.start <= self.base) else { return };
            end = first.end;
            self.acked.pop_first();
        }
        let done = usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.buffer.forget(done);
        self.base = self.base.max(end);
    }

    /// The peer may lack this part: it will be sent again, as far as it is not acknowledged.
    pub(crate) fn on_lost(&mut self, range: StreamRange) {
        let range = range.offset.max(self.base)..range.end().min(self.next);
        self.lost.insert(range.clone());
        for acked in self.acked.iter().filter(|acked| acked.start < range.end) {
            self.lost.remove(acked.clone());
        }
    }

    /// Offset behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.buffer.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Mark;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn range(chunk: &Chunk) -> StreamRange {
        StreamRange {
            stream: StreamId(1),
            offset: chunk.header.offset,
            len: chunk.header.len as u32,
            mark: Mark::None,
        }
    }

    #[test]
    fn nothing_leaves_beyond_the_credit() {
        let mut stream = SendStream::<Queue>::new(StreamId(1), 10);
        stream.write(&[7; 50]);
        assert_eq!(stream.next_chunk(100, 100).map(|chunk| chunk.header.len), Some(10));
        assert_eq!(stream.next_chunk(100, 100), None);
        stream.on_credit(5);
        assert_eq!(stream.next_chunk(100, 100), None, "credit never shrinks");
        stream.on_credit(30);
        assert_eq!(stream.next_chunk(100, 5).map(|chunk| chunk.header.len), Some(5));
    }

    #[test]
    fn what_was_lost_goes_first_and_costs_no_credit() {
        let mut stream = SendStream::<Queue>::new(StreamId(1), 100);
        stream.write(&[7; 100]);
        let first = stream.next_chunk(54, 100).unwrap();
        stream.on_lost(range(&first));
        let again = stream.next_chunk(54, 0).unwrap();
        assert_eq!((again.header, again.again), (first.header, true));
    }

    #[test]
    fn what_was_acknowledged_meanwhile_is_not_sent_again() {
        let mut stream = SendStream::<Queue>::new(StreamId(1), 100);
        stream.write(&[7; 60]);
        let chunk = stream.next_chunk(100, 100).unwrap();
        stream.on_acked(StreamRange { stream: StreamId(1), offset: 20, len: 20, mark: Mark::None });
        stream.on_lost(range(&chunk));
        let again: Vec<_> = core::iter::from_fn(|| stream.next_chunk(100, 0)).map(|c| range(&c)).collect();
        assert_eq!(again.iter().map(|r| (r.offset, r.len)).collect::<Vec<_>>(), [(0, 20), (40, 20)]);
        stream.on_acked(range(&chunk));
        assert_eq!((stream.buffer.len(), stream.lost_bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn whatever_is_lost_and_acknowledged_the_stream_arrives_whole(
            writes in proptest::collection::vec(1usize..40, 1..20),
            fates in proptest::collection::vec((any::<bool>(), 6usize..50), 0..200),
        ) {
            let all: Vec<u8> = (0..writes.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
            let mut stream = SendStream::<Queue>::new(StreamId(1), u64::MAX);
            stream.write(&all);
            let mut arrived = vec![None; all.len()];
            let mut on_the_way = VecDeque::new();
            let mut fates = fates.into_iter().chain(core::iter::repeat((true, 30)));
            while stream.base < all.len() as u64 {
                let (arrives, room) = fates.next().unwrap();
                if let Some(chunk) = stream.next_chunk(room, u64::MAX) {
                    let mut bytes = Vec::new();
                    stream.copy(&chunk.header, &mut bytes);
                    prop_assert_eq!(bytes.len(), chunk.header.len);
                    prop_assert!(chunk.header.encoded_len() + bytes.len() <= room);
                    on_the_way.push_back((range(&chunk), bytes));
                }
                if let Some((range, bytes)) = on_the_way.pop_front() {
                    if arrives {
                        for (place, byte) in arrived[range.offset as usize..].iter_mut().zip(bytes) {
                            *place = Some(byte);
                        }
                        stream.on_acked(range);
                    } else {
                        stream.on_lost(range);
                    }
                }
            }
            prop_assert_eq!(arrived.into_iter().collect::<Option<Vec<_>>>(), Some(all));
        }
    }
}
