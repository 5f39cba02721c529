//! Where lines come from: an editor on a terminal, else standard input.
//!
//! Each reads on a thread of its own. A thread that waits in the system for a line that never comes
//! ends with the process.

mod complete;
mod editor;
mod lines;

use p2pchat_client::Failure;

pub use complete::{Known, KnownHandle};
pub use editor::{Editor, Prompt};
pub use lines::{LINE_MAX, Lines, read_lines};

/// Lines that were read and that nobody took yet.
const LINES_WAITING_MAX: usize = 64;

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// One line, without its end.
    Line(String),
    /// One line that cannot be taken; it was skipped whole.
    Bad(Failure),
    /// Ctrl-C in the editor.
    Interrupt,
    /// No more lines; on a terminal, Ctrl-D, after which there may be more.
    End,
}
