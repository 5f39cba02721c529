//! Bodies on a stream: `kind u8 | length u32 | body` (protocol section 5).

use p2pchat_proto::limits::BODY_MAX;

/// Bytes before a body.
const HEADER_LEN: usize = 5;

/// A peer announced a body longer than [`BODY_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The bytes before a body of `len` bytes; `None` if it is too long.
pub(crate) fn header(kind: u8, len: usize) -> Option<[u8; HEADER_LEN]> {
    let len = u32::try_from(len).ok().filter(|_| len <= BODY_MAX)?;
    let [a, b, c, d] = len.to_be_bytes();
    Some([kind, a, b, c, d])
}

/// How long the body behind a header is.
fn announced([_, a, b, c, d]: [u8; HEADER_LEN]) -> Result<usize, TooLong> {
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if len > BODY_MAX { Err(TooLong) } else { Ok(len) }
}

/// Cuts a stream's bytes, which come in order and in any pieces, into bodies.
#[derive(Debug, Default)]
pub(crate) struct BodyReader {
    header: [u8; HEADER_LEN],
    /// Bytes of the header that are there.
    header_len: usize,
    body: Vec<u8>,
}

impl BodyReader {
    /// Bytes of the body that has not come to its end.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Takes the next bytes and hands on every body that is complete.
    ///
    /// # Errors
    /// If a body is announced that is too long; the stream cannot be read on.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        complete: &mut impl FnMut(u8, Vec<u8>),
    ) -> Result<(), TooLong> {
        loop {
            // Most bodies come whole.
            if let (0, Some((header, rest))) = (self.header_len, bytes.split_first_chunk())
                && let Some((body, rest)) = rest.split_at_checked(announced(*header)?)
            {
                let [kind, ..] = *header;
                complete(kind, body.to_vec());
                bytes = rest;
                continue;
            }
            while let Some(place) = self.header.get_mut(self.header_len) {
                let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
                *place = *byte;
                self.header_len = self.header_len.saturating_add(1);
                bytes = rest;
            }
            let [kind, ..] = self.header;
            let len = announced(self.header)?;
            self.body.reserve_exact(len.saturating_sub(self.body.len()));
            let wanted = len.saturating_sub(self.body.len()).min(bytes.len());
            let (part, rest) = bytes.split_at(wanted);
            self.body.extend_from_slice(part);
            bytes = rest;
            if self.body.len() < len {
                return Ok(());
            }
            self.header_len = 0;
            complete(kind, core::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_over_the_cap_is_refused_on_both_sides() {
        assert_eq!(header(1, BODY_MAX + 1), None);
        let [a, b, c, d] = u32::try_from(BODY_MAX + 1).unwrap().to_be_bytes();
        let mut reader = BodyReader::default();
        assert_eq!(reader.feed(&[1, a, b, c, d], &mut |_, _| panic!("a body")), Err(TooLong));
        assert_eq!(reader.body.capacity(), 0);
    }

    #[test]
    fn the_header_has_its_bytes() {
        assert_eq!(header(7, 0x0102), Some([7, 0, 0, 1, 2]));
    }

    proptest! {
        #[test]
        fn bodies_survive_any_cut_of_the_stream(
            bodies in proptest::collection::vec(
                (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            cut in 1usize..30,
        ) {
            let mut stream = Vec::new();
            for (kind, body) in &bodies {
                stream.extend(header(*kind, body.len()).unwrap());
                stream.extend(body);
            }
            let mut reader = BodyReader::default();
            let mut came = Vec::new();
            for piece in stream.chunks(cut) {
                reader.feed(piece, &mut |kind, body| came.push((kind, body))).unwrap();
            }
            prop_assert_eq!(came, bodies);
        }
    }
}
