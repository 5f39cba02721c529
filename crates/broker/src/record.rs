//! Records out of a stream of bytes: `u16` big-endian length, then as many bytes.

/// Bytes of a record's length.
const LENGTH_LEN: usize = 2;

/// A length that no record may have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLength;

/// What came of a record that is not complete; nothing and no memory between records.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    partial: Vec<u8>,
}

impl Reassembly {
    /// Takes the next record from `input`, which is moved on, or keeps what is there of it.
    /// A record has 1 to `max` bytes; a length beyond is refused before a byte of it is kept.
    pub(crate) fn next(&mut self, input: &mut &[u8], max: usize) -> Result<Option<Vec<u8>>, BadLength> {
        while self.partial.len() < LENGTH_LEN {
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.partial.push(byte);
        }
        let Some((&length, begun)) = self.partial.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(length));
        if length == 0 || length > max {
            return Err(BadLength);
        }
        let missing = length.saturating_sub(begun.len());
        let (now, later) = input.split_at_checked(missing).unwrap_or((*input, &[]));
        *input = later;
        if now.len() < missing {
            self.partial.extend_from_slice(now);
            return Ok(None);
        }
        let mut record = Vec::with_capacity(length);
        record.extend_from_slice(begun);
        record.extend_from_slice(now);
        self.partial = Vec::new();
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]], max: usize) -> Result<Vec<Vec<u8>>, BadLength> {
        let (mut reassembly, mut records) = (Reassembly::default(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while let Some(record) = reassembly.next(&mut input, max)? {
                records.push(record);
            }
            assert!(input.is_empty());
        }
        Ok(records)
    }

    #[test]
    fn lengths_at_the_edges() {
        assert_eq!(all(&[&[0, 0]], 9), Err(BadLength));
        assert_eq!(all(&[&[0, 1, 7]], 9), Ok(vec![vec![7]]));
        assert_eq!(all(&[&[0, 9], &[1; 9]], 9), Ok(vec![vec![1; 9]]));
        assert_eq!(all(&[&[0, 10]], 9), Err(BadLength));
        assert_eq!(all(&[&[0xff, 0xff]], 9), Err(BadLength));
        assert_eq!(all(&[&[0xff, 0xff], &[1; 65_535]], 65_535), Ok(vec![vec![1; 65_535]]));
    }

    #[test]
    fn nothing_is_kept_between_records_and_little_within_one() {
        let mut reassembly = Reassembly::default();
        let mut input = &[0xff, 0xff, 1, 2, 3][..];
        assert_eq!(reassembly.next(&mut input, 65_535), Ok(None));
        assert!(reassembly.partial.capacity() < 64, "a promised length allocates nothing");
        let mut input = &[0; 65_532][..];
        assert!(reassembly.next(&mut input, 65_535).unwrap().is_some());
        assert_eq!(reassembly.partial.capacity(), 0);
    }

    proptest! {
        #[test]
        fn records_survive_any_division_into_reads(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..10),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let framed = |record: &Vec<u8>| [&(record.len() as u16).to_be_bytes()[..], record].concat();
            let stream: Vec<u8> = records.iter().flat_map(framed).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(all(&pieces, 300), Ok(records));
        }
    }
}
