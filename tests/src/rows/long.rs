//! Rows that need packages of Debian and PyPI: `make harness-long` fetches them first.

mod flynn;
mod python;

use std::env;
use std::path::PathBuf;

use super::{NotRun, Row};

/// Names the directory in which the packages are.
const PACKAGES: &str = "P2PCHAT_HARNESS_PACKAGES";

/// The rows that need them.
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
];

/// A file of the packages.
fn package(file: &str, of: &str) -> Result<PathBuf, NotRun> {
    let missing =
        || NotRun(format!("{file} of {of} is not here: `make harness-long` fetches it ({PACKAGES})"));
    let path = env::var_os(PACKAGES).map(|folder| PathBuf::from(folder).join(file)).ok_or_else(missing)?;
    if path.exists() { Ok(path) } else { Err(missing()) }
}
