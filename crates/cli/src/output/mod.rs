//! The only place that writes to the screen.
//!
//! Lines are made by functions of events ([`plain`], `p2pchat_client::json`) and written by one
//! thread ([`Screen`]), so that a reader that does not read holds up nobody but itself. Data goes to
//! standard output; notices, prompts and errors to standard error.

mod above;
pub mod oneshot;
mod past;
pub mod plain;
mod screen;
mod text;

use std::borrow::Cow;
use std::io::{self, Write as _};

use p2pchat_client::{Failure, sanitise};

pub use above::Above;
pub use past::{Past, counted, forgotten, kept_for, waiting};
pub use plain::{contact, contacts};
pub use screen::{Closed, Colors, Screen, Sink};
pub use text::{TimeOfDay, bytes, duration, safety_lines, table};

/// Writes text of this program to standard output, for commands that end at once.
///
/// # Errors
///
/// [`Failure::Local`] if the system does not take it; a reader who left does not want to know.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(not_written(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line in which there may be what somebody else chose, as the name of a file, to standard output.
///
/// # Errors
///
/// Those of [`print`].
pub fn print_line(text: &str) -> Result<(), Failure> {
    print(Shown::data(text).text())
}

/// Writes lines that an editor did not take to standard output.
///
/// # Errors
///
/// If the system does not take them.
pub fn print_above(lines: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush())
}

/// Standard output takes no more.
pub fn not_written(error: &io::Error) -> Failure {
    Failure::Local { what: "write to standard output".to_owned(), reason: error.to_string() }
}

/// Writes a line to standard error.
pub fn print_error(shown: &Shown) {
    // There is nowhere left to say that it failed.
    let _ = writeln!(io::stderr(), "{}", shown.text());
}

/// Writes data of this program's making as it is to standard output.
///
/// # Errors
///
/// [`Failure::Local`] if it cannot be written.
pub fn print_raw(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    out.write_all(data).and_then(|()| out.flush()).map_err(|error| not_written(&error))
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What a line is, which decides its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Text of a person; so many bytes at its beginning say who and when.
    Message(usize),
    /// Something that happened.
    Event,
    /// Something that may be left out with `--quiet`.
    Notice,
    /// Something that went wrong.
    Error,
    /// An answer, a table, data.
    Data,
}

/// One line to show. Its text is safe for a terminal: nothing else can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it goes.
    pub stream: Stream,
    /// What it is.
    pub role: Role,
    text: String,
}

impl Shown {
    /// A line out of any text.
    pub fn new(stream: Stream, role: Role, text: &str) -> Self {
        Self { stream, role, text: sanitise::line(text).into_owned() }
    }

    /// Something that happened, on standard output.
    pub fn event(text: &str) -> Self {
        Self::new(Stream::Out, Role::Event, text)
    }

    /// Data, on standard output.
    pub fn data(text: &str) -> Self {
        Self::new(Stream::Out, Role::Data, text)
    }

    /// Something on standard error that `--quiet` leaves out.
    pub fn notice(text: &str) -> Self {
        Self::new(Stream::Err, Role::Notice, text)
    }

    /// A failure in one line: what happened, and what to do.
    pub fn failure(failure: &Failure) -> Self {
        let text = match failure.hint() {
            Some(hint) => format!("p2pchat: {}; {hint}", failure.message()),
            None => format!("p2pchat: {}", failure.message()),
        };
        Self::new(Stream::Err, Role::Error, &text)
    }

    /// The text without any looks.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as it is written.
    pub fn painted(&self, colors: bool) -> Cow<'_, str> {
        if !colors {
            return Cow::Borrowed(&self.text);
        }
        // Select Graphic Rendition (ECMA-48 section 8.3.117): the only sequences ever written.
        match self.role {
            Role::Message(head) => {
                let (head, text) = self.text.split_at_checked(head).unwrap_or((&self.text, ""));
                Cow::Owned(format!("\u{1b}[1m{head}\u{1b}[0m{text}"))
            }
            Role::Event | Role::Notice => Cow::Owned(format!("\u{1b}[2m{}\u{1b}[0m", self.text)),
            Role::Error => Cow::Owned(format!("\u{1b}[31m{}\u{1b}[0m", self.text)),
            Role::Data => Cow::Borrowed(&self.text),
        }
    }
}
