//! File transfer: records, names, sources, carriers.

mod carriers;
mod line;
mod names;
mod records;
mod sources;

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    Row {
        id: "F1",
        attack: "streams of age's 28 shapes of damage",
        expected: "age's verdict of each, but for what comes behind the last record: that is not read",
        run: records::streams,
    },
    Row {
        id: "F2",
        attack: "chunks swapped, dropped, doubled, foreign",
        expected: "the carrier is dropped, verified chunks stay, no wrong byte is published",
        run: records::orders,
    },
    Row {
        id: "F3",
        attack: "names that lead out of the directory",
        expected: "refused, or stored as one file in the directory",
        run: names::paths,
    },
    Row {
        id: "F5",
        attack: "names that steer a terminal or hide",
        expected: "shown escaped, stored safe",
        run: names::shown,
    },
    Row {
        id: "F7",
        attack: "a size that is not the declared one",
        expected: "stops at the declared size; an error where it cannot fit",
        run: records::sizes,
    },
    Row {
        id: "F10",
        attack: "the source changes while it is sent",
        expected: "noticed, and the transfer ends",
        run: sources::changes,
    },
    Row {
        id: "F11",
        attack: "strangers at the file port, first and silent",
        expected: "gone within 5 s without a byte; the real peer is served",
        run: carriers::strangers,
    },
    Row {
        id: "F12",
        attack: "one transfer id twice, 1,000 offers",
        expected: "shown once; as many wait as may",
        run: carriers::offers,
    },
    Row {
        id: "F13",
        attack: "fifo, device, socket, link, changing size",
        expected: "refused at once; never followed or waited for",
        run: sources::kinds,
    },
    Row {
        id: "F14",
        attack: "content before the answer",
        expected: "no port opens and nothing is written",
        run: carriers::unasked,
    },
    Row {
        id: "F15",
        attack: "hello reflected, replayed, of another attempt",
        expected: "refused; both sides take the one carrier that the sender chose",
        run: carriers::hello,
    },
];
