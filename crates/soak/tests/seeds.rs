//! Two hundred worlds; `make soak` runs ten thousand.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use p2pchat_soak::{live, soak};

/// How many worlds `make test` runs.
const SEEDS: u64 = 200;

#[test]
fn two_hundred_worlds_break_no_rule() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut said = String::new();
    let tally = soak(0, SEEDS, jobs, |failure| said = failure.to_string());
    assert_eq!(tally.broken, 0, "{} worlds broke a rule; the last one:\n{said}", tally.broken);
    let totals = tally.totals;
    // What they are about did happen in them.
    assert!(totals.messages > 10 * SEEDS && totals.sessions > 4 * SEEDS, "{totals:?}");
    assert!(totals.lost > SEEDS / 2 && totals.restarts > SEEDS && totals.faults > SEEDS, "{totals:?}");
}

#[test]
fn a_seed_gives_the_same_world_again_and_another_seed_another_one() {
    for seed in [3, 5, 8] {
        let [once, again] = [(); 2].map(|()| live(seed).expect("it breaks no rule"));
        assert_eq!(once, again);
    }
    assert_ne!(live(3).expect("no rule").shape, live(5).expect("no rule").shape);
}
