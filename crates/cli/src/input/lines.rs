//! Lines of a stream of bytes that may hold anything.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use p2pchat_client::Failure;
use tokio::sync::mpsc;

use super::{LINES_WAITING_MAX, Typed};

/// Most bytes of one line, with room for a message of 64 KiB written in JSON escapes (6 bytes for
/// one) and for paths.
pub const LINE_MAX: usize = 1 << 20;

/// Reads lines until the end of a stream. Memory stays within [`LINE_MAX`] whatever comes.
#[derive(Debug)]
pub struct Lines<R> {
    stream: BufReader<R>,
    line: Vec<u8>,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of a stream.
    pub fn new(stream: R) -> Self {
        Self { stream: BufReader::new(stream), line: Vec::new(), ended: false }
    }

    /// The next line; [`Typed::End`] at the end, and after an error of the system.
    pub fn next_line(&mut self) -> Typed {
        self.line.clear();
        let mut len: usize = 0;
        let mut complete = false;
        while !self.ended && !complete {
            let buffer = match self.stream.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => &[],
            };
            self.ended = buffer.is_empty();
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            len = len.saturating_add(part.len());
            if len <= LINE_MAX {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.stream.consume(taken);
            complete = end.is_some();
        }
        if !complete && len == 0 {
            return Typed::End;
        }
        if len > LINE_MAX {
            return Typed::Bad(Failure::TooLong { len, max: LINE_MAX });
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        match core::str::from_utf8(line) {
            Ok(line) => Typed::Line(line.to_owned()),
            Err(_) => Typed::Bad(Failure::NotUtf8),
        }
    }
}

/// Reads standard input on a thread of its own.
///
/// # Errors
///
/// If the system refuses one more thread.
pub fn read_lines() -> io::Result<mpsc::Receiver<Typed>> {
    let (lines, typed) = mpsc::channel(LINES_WAITING_MAX);
    thread::Builder::new().name("p2pchat-input".to_owned()).spawn(move || {
        let mut input = Lines::new(io::stdin());
        loop {
            let line = input.next_line();
            let ended = line == Typed::End;
            if lines.blocking_send(line).is_err() || ended {
                return;
            }
        }
    })?;
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Vec<Typed> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        loop {
            match lines.next_line() {
                Typed::End => return all,
                line @ (Typed::Line(_) | Typed::Bad(_) | Typed::Interrupt) => all.push(line),
            }
        }
    }

    fn line(text: &str) -> Typed {
        Typed::Line(text.to_owned())
    }

    #[test]
    fn lines_end_with_either_line_end_or_with_the_stream() {
        assert_eq!(all(b"a\nb\r\n\nc"), [line("a"), line("b"), line(""), line("c")]);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn what_is_not_utf8_is_refused_and_the_next_line_is_read() {
        assert_eq!(all(b"a\xff\nb\n"), [Typed::Bad(Failure::NotUtf8), line("b")]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_limit() {
        let mut long = vec![b'x'; LINE_MAX + 5];
        long.extend_from_slice(b"\nshort");
        let mut lines = Lines::new(long.as_slice());
        let too_long = Failure::TooLong { len: LINE_MAX + 5, max: LINE_MAX };
        assert_eq!(lines.next_line(), Typed::Bad(too_long));
        assert!(lines.line.capacity() <= 2 * LINE_MAX);
        assert_eq!(lines.next_line(), line("short"));
        assert_eq!(lines.next_line(), Typed::End);
        assert_eq!(lines.next_line(), Typed::End);
    }

    #[test]
    fn a_line_of_just_the_limit_is_taken() {
        assert_eq!(all(&vec![b'x'; LINE_MAX]), [line(&"x".repeat(LINE_MAX))]);
    }

    proptest! {
        #[test]
        fn lines_of_any_bytes_come_one_for_one(bytes: Vec<u8>) {
            let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
            let open = bytes.last().is_some_and(|last| *last != b'\n');
            prop_assert_eq!(all(&bytes).len(), ends + usize::from(open));
        }
    }
}
