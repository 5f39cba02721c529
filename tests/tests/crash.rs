//! Whoever is killed at any moment and started again has lost nothing that was said to be kept.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

use p2pchat_harness::crash::{Broken, play};
use p2pchat_harness::rows::Defence;

/// What `make test` has time for; row C1 of `make harness-long` plays 1,000.
const ROUNDS: u32 = 12;

#[test]
fn histories_stay_equal_while_one_of_two_is_killed_again_and_again() {
    let seed = rand::random();
    let report =
        play(ROUNDS, seed, Defence::InPlace).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    eprintln!("seed {seed}: {report:?}");
    assert!(report.kills >= ROUNDS && report.kept >= 2 * ROUNDS as usize, "{report:?}");
}

#[test]
fn a_store_that_keeps_nothing_is_found_out() {
    let seed = rand::random();
    let played = play(ROUNDS, seed, Defence::Removed);
    assert!(played.as_ref().is_err_and(Broken::is_of_the_talk), "seed {seed}: {played:?}");
}
