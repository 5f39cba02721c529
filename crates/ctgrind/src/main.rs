//! `p2pchat-ctgrind`: one operation under valgrind's memcheck, for row K11 of the harness.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the row reads it")]

use std::process::ExitCode;

use crabgrind::RunMode;
use crabgrind::memcheck::{MemState, mark_mem, vbits};
use p2pchat_ctgrind::{Bench, Marks, find, operations};

const USAGE: &str = "\
usage: valgrind p2pchat-ctgrind NAME
       p2pchat-ctgrind --list

  Does one operation with its secrets marked, and says how often memcheck saw a branch or an address
  that depends on one.
";
/// The operation did not do what it should.
const FAILED: u8 = 3;

/// The marks that memcheck keeps.
struct Memcheck;

impl Memcheck {
    /// Which bits of these bytes are secret. None if memcheck does not know.
    fn secret(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bits = vec![0; bytes.len()];
        let asked = vbits(bytes.as_ptr().cast_mut().cast(), bits.as_mut_ptr().cast_const(), bytes.len());
        asked.ok().map(|()| bits)
    }
}

impl Marks for Memcheck {
    fn hide(&mut self, bytes: &mut [u8]) {
        // It takes the -1 that memcheck answers with for a failure. What was not marked shows when the outcome
        // is shown.
        let _ = mark_mem(bytes.as_mut_ptr().cast(), bytes.len(), MemState::Undefined);
    }

    fn show(&mut self, bytes: &[u8]) -> bool {
        let secret = Self::secret(bytes).is_some_and(|bits| bits.iter().any(|bits| *bits != 0));
        // As above; what stayed marked is reported when it is compared.
        let _ = mark_mem(bytes.as_ptr().cast_mut().cast(), bytes.len(), MemState::Defined);
        secret
    }
}

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let [name] = names.as_slice() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    if name == "--list" {
        operations().for_each(|operation| println!("{}", operation.name));
        return ExitCode::SUCCESS;
    }
    let Some(operation) = find(name).filter(|_| crabgrind::run_mode() == RunMode::Valgrind) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let before = crabgrind::count_errors();
    let done = (operation.run)(&mut Bench::new(&mut Memcheck));
    println!("{}", crabgrind::count_errors() - before);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(FAILED)
        }
    }
}
