//! Identity, key file and safety number.

mod home;
mod keyfile;
mod places;
mod randomness;
mod safety;
mod secrets;
mod vectors;

use super::Row;

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    Row {
        id: "K1",
        attack: "Wycheproof's vectors for every shipped primitive, in the locked versions",
        expected: "all of them: what is invalid is refused, what is valid comes out byte for byte",
        run: vectors::published,
    },
    Row {
        id: "K2",
        attack: "wrong passphrases and each bit of a key file flipped; Argon2's known answers",
        expected: "an error each, the same for a wrong passphrase and for damage",
        run: keyfile::damaged,
    },
    Row {
        id: "K3",
        attack: "a key file that asks for 4 TiB, 2^32 passes, 2^32 lanes",
        expected: "refused before anything is allocated",
        run: keyfile::costly,
    },
    Row {
        id: "K4",
        attack: "keys that others can read, directories that others can write, links and pipes for a key",
        expected: "the programs refuse them and say what to do",
        run: places::unsafe_places,
    },
    Row {
        id: "K6",
        attack: "randomness that fails, and randomness that is nothing but zeros, at every draw",
        expected: "no generator, key or nonce is made of it",
        run: randomness::broken,
    },
    Row {
        id: "K7",
        attack: "every secret printed and said in a panic; log, output, files and memory of a program searched",
        expected: "redacted in print; what opened the key file nowhere after its use, nothing of a closed session in memory",
        run: secrets::kept,
    },
    Row {
        id: "K9",
        attack: "safety numbers of changed keys: each bit of either; the recorded ones; both orders",
        expected: "the recorded digits, words and code; another number for another key",
        run: safety::numbers,
    },
];
