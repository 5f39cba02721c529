//! Records of a broker link, out of the bytes of a connection.

/// Bytes of a record's length field.
const LENGTH_LEN: usize = 2;

/// What came and is no whole record yet: at most what came at once, and one record of 64 KiB.
#[derive(Default)]
pub(crate) struct Records {
    partial: Vec<u8>,
}

impl Records {
    /// Bytes came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
    }

    /// Takes the next record, without its length, once it is whole.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.partial.split_first_chunk::<LENGTH_LEN>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let record = rest.get(..length)?.to_vec();
        self.partial.drain(..length.saturating_add(LENGTH_LEN));
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_out_whole_and_in_order_however_the_bytes_are_cut(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..6),
            piece in 1..700usize,
        ) {
            let frame = |record: &Vec<u8>| [&u16::try_from(record.len()).unwrap().to_be_bytes()[..], record].concat();
            let bytes: Vec<u8> = records.iter().flat_map(frame).collect();
            let (mut reader, mut taken) = (Records::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                reader.push(piece);
                taken.extend(std::iter::from_fn(|| reader.take()));
            }
            prop_assert_eq!(taken, records);
        }
    }
}
