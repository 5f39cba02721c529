//! Rows that need what not every machine has: packages of Debian and PyPI, which `make harness-long`
//! fetches first, a minute of nothing, or root.

mod crash;
mod ctgrind;
mod dudect;
mod flynn;
mod moves;
mod python;
mod saves;
mod sleep;

use std::env;
use std::path::PathBuf;

use super::{NotRun, Row};

/// Names the directory in which the packages are.
const PACKAGES: &str = "P2PCHAT_HARNESS_PACKAGES";

/// These rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "H1-FLYNN",
        attack: "the vectors of flynn/noise (Go) for the shipped primitives, through our resolver",
        expected: "every message, payload and transport key byte for byte",
        run: flynn::published,
    },
    Row {
        id: "H22-PYTHON",
        attack: "handshakes with the Python package noiseprotocol: XKpsk3 and the broker link's NX, both roles",
        expected: "each finishes, with the same hash and keys on both sides",
        run: python::interoperates,
    },
    Row {
        id: "C1",
        attack: "two real clients over a lossy path, one killed with kill -9 at a random moment and started again, 1,000 times",
        expected: "equal histories, in order, nothing doubled, nothing missing that was acknowledged",
        run: crash::a_thousand_times,
    },
    Row {
        id: "K5",
        attack: "the program is killed before each system call by which it saves its key file and its papers",
        expected: "the old or the new, whole, and the next save works; the disk is waited for (needs strace)",
        run: saves::stopped_anywhere,
    },
    Row {
        id: "K8",
        attack: "dudect: MACs of datagrams and hellos, kept secret, passphrase's tag, wrong in the first byte or the last, 1e6 times",
        expected: "Welch's |t| of the times below 5",
        run: dudect::says_nothing,
    },
    Row {
        id: "K11",
        attack: "ctgrind: each operation that touches a secret under valgrind's memcheck, the secret marked as undefined",
        expected: "no branch and no address that depends on a secret (needs valgrind)",
        run: ctgrind::tells_nothing,
    },
    Row {
        id: "T15-MOVES",
        attack: "two real clients in network namespaces, broker killed; addresses change one at a time, while each speaks",
        expected: "a line each way within 2 s of each move (needs root)",
        run: moves::one_at_a_time,
    },
    Row {
        id: "T15-BOTH",
        attack: "the addresses of two real clients change at once, broker killed; one comes back to its old one",
        expected: "both say what is the matter, and are together again when one is back (needs root)",
        run: moves::both_at_once,
    },
    Row {
        id: "T15-ASKED",
        attack: "the addresses of two real clients change at once, the broker there",
        expected: "a line each way within 15 s (needs root)",
        run: moves::both_with_a_broker,
    },
    Row {
        id: "T19-SLEEP",
        attack: "a real client is stopped for 60 s and continued, with the broker there, and killed",
        expected: "a line each way within 3 s",
        run: sleep::a_minute,
    },
];

/// A file of the packages.
fn package(file: &str, of: &str) -> Result<PathBuf, NotRun> {
    let missing =
        || NotRun(format!("{file} of {of} is not here: `make harness-long` fetches it ({PACKAGES})"));
    let path = env::var_os(PACKAGES).map(|folder| PathBuf::from(folder).join(file)).ok_or_else(missing)?;
    if path.exists() { Ok(path) } else { Err(missing()) }
}
