//! Whether a secret decides what the processor does: each operation of `p2pchat-crypto` that touches one,
//! on its own, with the secret marked as memory that holds nothing yet.
//!
//! valgrind's memcheck follows such memory through everything that is computed from it, and reports a branch
//! that depends on it and an address that does (A. Langley, "ctgrind", 2010). The program of this crate runs
//! one operation; row K11 of the harness runs the program under memcheck, for each.
//!
//! What an operation gives is shown before it is looked at: a signature, a sealed message and whether a MAC
//! was right are no secrets once they are there. Shown is only what was marked until then, so that an
//! operation that the secret never reaches is an error and not a success.
//!
//! Left out, each for a reason:
//!
//! - passphrases: Argon2id takes its addresses from what it hashes in all but the first half of its first pass
//!   (RFC 9106 section 3.4.1.3), which is its design. The rest is the same for a key file without one;
//! - ML-KEM: aws-lc draws, keeps and uses its keys inside, where nothing of ours can mark them;
//! - what comes after an opening: bodies are decoded by branches on what they say. So sealed endpoints, which
//!   are opened and decoded in one call, are only sealed here;
//! - the statement that a key takes the place of another, which compares public keys: here they come from a
//!   marked seed and are marked as well. The call that says so to the broker is signed alike;
//! - safety numbers, which come from public keys alone;
//! - code for instructions that valgrind does not know, as those of AVX-512: it says that there are none.

pub mod doubles;
mod handshakes;
mod marks;
mod resting;

use std::error::Error;

pub use marks::{Bench, Marks, NotThere, Recorded};

/// What an operation ends with: an error if it did not do what it should, whatever memcheck saw.
pub type Done = Result<(), Box<dyn Error>>;

/// One operation, with its secrets marked.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// How it is asked for.
    pub name: &'static str,
    /// Does it once.
    pub run: fn(&mut Bench<'_>) -> Done,
}

/// Those of the product.
pub fn operations() -> impl Iterator<Item = Operation> {
    [resting::OPERATIONS, handshakes::OPERATIONS].into_iter().flatten().copied()
}

/// The operation or double of this name.
pub fn find(name: &str) -> Option<Operation> {
    operations().chain(doubles::DOUBLES.iter().copied()).find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Takes everything for a secret.
    struct All;

    impl Marks for All {
        fn hide(&mut self, _: &mut [u8]) {}

        fn show(&mut self, _: &[u8]) -> bool {
            true
        }
    }

    /// Marks nothing.
    struct None;

    impl Marks for None {
        fn hide(&mut self, _: &mut [u8]) {}

        fn show(&mut self, _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    fn every_operation_and_double_does_what_it_should() {
        for operation in operations().chain(doubles::DOUBLES.iter().copied()) {
            let done = (operation.run)(&mut Bench::new(&mut All));
            assert!(done.is_ok(), "{}: {done:?}", operation.name);
        }
    }

    #[test]
    fn no_operation_is_done_that_the_secret_does_not_reach() {
        for operation in operations().chain(doubles::DOUBLES.iter().copied()) {
            let done = (operation.run)(&mut Bench::new(&mut None));
            assert!(done.is_err_and(|error| error.is::<NotThere>()), "{}", operation.name);
        }
    }

    #[test]
    fn each_is_found_by_its_name_and_no_two_share_one() {
        let all: Vec<_> = operations().chain(doubles::DOUBLES.iter().copied()).map(|one| one.name).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert!(all.iter().all(|name| find(name).is_some_and(|found| found.name == *name)));
        assert!(find("nothing").is_none());
    }
}
