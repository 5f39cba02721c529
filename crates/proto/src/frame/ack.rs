//! `Ack`: which packets arrived, as ranges from the newest down.

use core::ops::RangeInclusive;
use core::time::Duration;

use crate::varint::{self, Reader};

/// Packets that arrived. The ranges descend, do not touch, and were checked when decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The highest packet number that arrived.
    pub largest: u64,
    /// How long the receiver of that packet held its acknowledgement back.
    pub delay: Duration,
    /// Numbers in the first range below `largest`.
    first: u64,
    /// How many (gap, range) pairs follow.
    more: u64,
    pairs: &'a [u8],
}

/// The ranges of an [`Ack`], from the newest down.
#[derive(Debug, Clone)]
pub struct AckRanges<'a> {
    next: Option<RangeInclusive<u64>>,
    reader: Reader<'a>,
    more: u64,
}

impl<'a> Ack<'a> {
    /// The ranges, from the newest down.
    pub fn ranges(&self) -> AckRanges<'a> {
        AckRanges {
            next: Some(self.largest.saturating_sub(self.first)..=self.largest),
            reader: Reader::new(self.pairs),
            more: self.more,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        write(self.delay, self.ranges(), usize::MAX, out);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let largest = reader.varint()?;
        let delay = Duration::from_micros(reader.varint()?);
        let more = reader.varint()?;
        let first = reader.varint()?;
        let mut smallest = largest.checked_sub(first)?;
        let pairs = reader.rest();
        for _ in 0..more {
            let top = next_top(smallest, reader.varint()?)?;
            smallest = top.checked_sub(reader.varint()?)?;
        }
        let len = pairs.len().checked_sub(reader.rest().len())?;
        Some(Self { largest, delay, first, more, pairs: pairs.get(..len)? })
    }
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.next.take()?;
        self.next = self.more.checked_sub(1).and_then(|more| {
            self.more = more;
            let top = next_top(*range.start(), self.reader.varint()?)?;
            Some(top.checked_sub(self.reader.varint()?)?..=top)
        });
        Some(range)
    }
}

/// The top of the range below a gap of `gap + 1` numbers under `smallest`.
const fn next_top(smallest: u64, gap: u64) -> Option<u64> {
    match smallest.checked_sub(gap) {
        Some(top) => top.checked_sub(2),
        None => None,
    }
}

/// Appends an `Ack` of at most `room` bytes: as many of `ranges`, which descend and do not touch,
/// as fit. Returns whether anything was written.
pub fn write(
    delay: Duration,
    ranges: impl Iterator<Item = RangeInclusive<u64>> + Clone,
    room: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut rest = ranges.clone();
    let Some(first) = rest.next() else {
        return false;
    };
    let delay = u64::try_from(delay.as_micros()).unwrap_or(varint::MAX);
    let first_len = first.end().saturating_sub(*first.start());
    // The count's own length is reckoned at its longest for what a datagram can hold.
    let fixed = [*first.end(), delay, first_len].into_iter().map(varint::len).sum::<usize>();
    let Some(mut left) = room.checked_sub(fixed.saturating_add(1).saturating_add(COUNT_LEN)) else {
        return false;
    };
    let mut more = 0u64;
    for (gap, len) in pairs(*first.start(), rest.clone()) {
        let Some(after) = left.checked_sub(varint::len(gap).saturating_add(varint::len(len))) else {
            break;
        };
        left = after;
        more = more.saturating_add(1);
        if more == MORE_MAX {
            break;
        }
    }
    out.push(super::ACK);
    varint::write(*first.end(), out);
    varint::write(delay, out);
    varint::write(more, out);
    varint::write(first_len, out);
    for (gap, len) in pairs(*first.start(), rest).take(usize::try_from(more).unwrap_or(usize::MAX)) {
        varint::write(gap, out);
        varint::write(len, out);
    }
    true
}

/// Most bytes of the count of further ranges.
const COUNT_LEN: usize = 2;
/// What [`COUNT_LEN`] bytes can count.
const MORE_MAX: u64 = 0x3fff;

fn pairs(
    mut smallest: u64,
    ranges: impl Iterator<Item = RangeInclusive<u64>>,
) -> impl Iterator<Item = (u64, u64)> {
    ranges.map(move |range| {
        let gap = smallest.saturating_sub(*range.end()).saturating_sub(2);
        smallest = *range.start();
        (gap, range.end().saturating_sub(*range.start()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Descending ranges that do not touch, from (gap, length) pairs.
    fn descending(top: u64, pairs: &[(u64, u64)]) -> Vec<RangeInclusive<u64>> {
        let mut next_end = Some(top);
        let mut ranges = Vec::new();
        for (gap, len) in pairs {
            let Some(end) = next_end.and_then(|end| end.checked_sub(*gap)) else { break };
            let Some(start) = end.checked_sub(*len) else { break };
            ranges.push(start..=end);
            next_end = start.checked_sub(2);
        }
        ranges
    }

    fn decoded(bytes: &[u8]) -> Option<Ack<'_>> {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.u8(), Some(super::super::ACK));
        let ack = Ack::decode(&mut reader)?;
        assert!(reader.is_empty());
        Some(ack)
    }

    #[test]
    fn at_least_64_ranges_of_the_highest_numbers_fit_into_the_smallest_packet() {
        // Numbers end at 2^23, packets start at 1,200 bytes with 32 of header and tag.
        let ranges: Vec<_> = (0..200u64).map(|i| (1 << 23) - 40_000 * i).map(|n| n - 20_000..=n).collect();
        let mut out = Vec::new();
        assert!(write(Duration::from_millis(25), ranges.iter().cloned(), 1168, &mut out));
        assert!(out.len() <= 1168);
        assert!(decoded(&out).unwrap().ranges().count() >= 64);
    }

    #[test]
    fn ranges_that_reach_below_zero_are_refused() {
        for bytes in [&[5, 0, 0, 6][..], &[5, 0, 1, 5, 0, 0], &[9, 0, 1, 2, 6, 0], &[9, 0, 1, 2, 0, 6]] {
            assert_eq!(Ack::decode(&mut Reader::new(bytes)), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused() {
        let bytes = [0xbf, 0xff, 0xff, 0xff, 0, 0xbf, 0xff, 0xff, 0xff, 0, 0, 0];
        assert_eq!(Ack::decode(&mut Reader::new(&bytes)), None);
    }

    proptest! {
        #[test]
        fn ranges_survive_and_never_exceed_their_room(
            top in 0u64..1 << 40,
            list in proptest::collection::vec((0u64..5000, 0u64..5000), 1..100),
            room in 0usize..400,
        ) {
            let ranges = descending(top, &list);
            prop_assume!(!ranges.is_empty());
            let mut out = Vec::new();
            if write(Duration::from_micros(77), ranges.iter().cloned(), room, &mut out) {
                prop_assert!(out.len() <= room);
                let ack = decoded(&out).unwrap();
                let came: Vec<_> = ack.ranges().collect();
                prop_assert_eq!(ack.largest, *ranges[0].end());
                prop_assert_eq!(ack.delay, Duration::from_micros(77));
                prop_assert_eq!(&came[..], &ranges[..came.len()]);
            } else {
                prop_assert!(out.is_empty());
                prop_assert!(room < 32);
            }
        }
    }
}
