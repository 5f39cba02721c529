//! Lines out of pieces of a stream.

use p2pchat_client::Failure;

use crate::input::LINE_MAX;

/// Holds the beginning of a line, never more than [`LINE_MAX`] bytes of it.
#[derive(Debug, Default)]
pub struct LineBuffer {
    begun: Vec<u8>,
}

impl LineBuffer {
    /// Takes what was read; the lines that it ended.
    ///
    /// # Errors
    ///
    /// [`Failure::TooLong`] and [`Failure::NotUtf8`], after which nothing more can be made of the stream.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.extend(line)?;
            bytes = rest.get(1..).unwrap_or_default();
            let line = String::from_utf8(core::mem::take(&mut self.begun)).map_err(|_| Failure::NotUtf8)?;
            lines.push(line);
        }
        self.extend(bytes)?;
        Ok(lines)
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), Failure> {
        let len = self.begun.len().saturating_add(part.len());
        if len > LINE_MAX {
            return Err(Failure::TooLong { len, max: LINE_MAX });
        }
        self.begun.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut buffer = LineBuffer::default();
        assert_eq!(buffer.take(&vec![b'x'; LINE_MAX]), Ok(Vec::new()));
        assert_eq!(buffer.take(b"x"), Err(Failure::TooLong { len: LINE_MAX + 1, max: LINE_MAX }));
    }

    #[test]
    fn a_line_that_is_not_utf8_is_refused() {
        assert_eq!(LineBuffer::default().take(b"\xff\n"), Err(Failure::NotUtf8));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_stream_is_cut(lines: Vec<String>, cut in 1_usize..9) {
            let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', "")).collect();
            let stream: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut buffer = LineBuffer::default();
            let mut read = Vec::new();
            for piece in stream.as_bytes().chunks(cut) {
                read.extend(buffer.take(piece).unwrap());
            }
            prop_assert_eq!(read, lines);
        }
    }
}
