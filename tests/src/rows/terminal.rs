//! What reaches a terminal, a log and JSON.

mod input;
mod past;
mod screen;
mod sinks;

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    Row {
        id: "I1",
        attack: "escape sequences in messages",
        expected: "the terminal gets characters, line ends and our own colours, nothing else",
        run: screen::sequences,
    },
    Row {
        id: "I2",
        attack: "bidirectional and invisible characters",
        expected: "spelled out",
        run: screen::hidden,
    },
    Row {
        id: "I3",
        attack: "line ends, backspaces and tabs in messages",
        expected: "one line a message; none can be forged",
        run: screen::forged_lines,
    },
    Row {
        id: "I5",
        attack: "hostile text in log, JSON and errors",
        expected: "escaped in each; the log holds none of it",
        run: sinks::all,
    },
    Row {
        id: "I5-PAST",
        attack: "hostile text in the history: shown, found, exported, and in a chat",
        expected: "escaped in each; JSON gives every text back",
        run: past::all,
    },
    Row {
        id: "I12",
        attack: "no UTF-8, 16 MiB lines, NUL on standard input",
        expected: "an error each, bounded memory, nothing sent",
        run: input::standard_input,
    },
];
