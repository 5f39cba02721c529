//! What rests on the disk: damaged, mixed, of other versions, held twice, and what it is that contacts are
//! answered from.

mod backup;
mod contacts;
mod damage;
mod holders;
mod place;
mod sentences;
mod versions;

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    Row {
        id: "C2",
        attack: "bits flipped, writes torn, files cut, sectors of zeros and of noise: papers and conversations",
        expected: "what was written, or an error; what is damaged is set aside as it is",
        run: damage::damaged,
    },
    Row {
        id: "C3",
        attack: "crashes of either side while they meet, each start from what the papers hold on the disk, every AEAD watched",
        expected: "no key seals twice under one nonce",
        run: contacts::counters,
    },
    Row {
        id: "C4",
        attack: "a second process on one profile, and six at one moment",
        expected: "one holds it, the others are told so",
        run: holders::at_once,
    },
    Row {
        id: "C5",
        attack: "key, papers and conversations of a later version; the files of an earlier one",
        expected: "refused with a word of it and left as they are; the earlier ones are taken over",
        run: versions::others,
    },
    Row {
        id: "C6",
        attack: "a test that holds a sentence of the protocol page is taken out of the sources",
        expected: "every MUST of the page names a test, and the test is there",
        run: sentences::held,
    },
    Row {
        id: "K10",
        attack: "papers and conversations mixed from two copies: by blocks, and page by page with the database's own means",
        expected: "one copy or an error, never something of both",
        run: damage::mixed,
    },
    Row {
        id: "G9",
        attack: "a home put back from a backup, or run at two machines, writes and is started again before it learns of it",
        expected: "a new epoch; nothing dropped as a duplicate or shown twice, nobody taken for a forger",
        run: backup::restored,
    },
    Row {
        id: "H24-STORE",
        attack: "the crashes of H24, each start from what the papers hold on the disk",
        expected: "a common generation always remains; they meet again",
        run: contacts::crashes,
    },
    Row {
        id: "H25-STORE",
        attack: "real programs, broker killed: someone accepted once, blocked, removed, of 31 days ago dials who was started again",
        expected: "no answer",
        run: contacts::unwanted,
    },
];
