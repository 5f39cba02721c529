//! The same seed gives the same datagrams at the same times.

use core::time::Duration;
use std::process::Command;

use super::pair::{Pair, Who, bad_line};

/// A session over a bad line with bodies both ways; answers with the hash of its trace.
fn trace(seed: u64) -> u64 {
    let mut pair = Pair::up(seed, bad_line());
    for n in 0..20u8 {
        pair.say(Who::Bob, &[n; 700]);
        pair.say(Who::Alice, &[n; 40]);
        pair.run_for(Duration::from_millis(30));
    }
    pair.close(Who::Bob, crate::CloseCode::Done);
    pair.run_for(Duration::from_secs(60));
    pair.network.trace_hash()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    // The order of a hash table, or an address, would be the same within one process only.
    let this = std::env::current_exe().unwrap();
    let name = "tests::replay::the_same_seed_gives_the_same_trace_and_another_seed_another";
    let other = Command::new(this).args([name, "--exact", "--nocapture"]).output().unwrap();
    let said = String::from_utf8(other.stdout).unwrap();
    assert!(other.status.success() && said.contains("1 passed"), "{said}");
    let expected = format!("simulation: seed 7, trace {:016x}", trace(7));
    assert_eq!(said.matches(&expected).count(), 3, "{expected} in {said}");
}
