//! One byte flipped anywhere in the store or the key file: an error or the right answer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::fs;
use std::path::Path;

use p2pchat_harness::actions::say;
use p2pchat_harness::peer::{Outcome, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::World;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

const STORE: &str = "store.redb";
const KEY: &str = "identity.key";
/// One in so many flips hits the key file, which is a thousandth of the store.
const KEY_SHARE: u32 = 4;
/// Lines that are kept, a few pages of them.
const LINES: usize = 8;
const LONG: usize = 1_500;
/// What a program that panicked ends with.
const PANICKED: i32 = 101;

fn history(setup: &Setup) -> Outcome {
    setup.run(&["history", "export", "--with", "alice", "--format", "json"], PROMPT).unwrap()
}

/// So many flips, each in a copy of a home of its own.
fn flip(times: u32) {
    let seed: u64 = rand::random();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let world = World::new().unwrap();
    let bob = world.person("bob").unwrap().accept_everything();
    let (mut at_alices, mut at_bobs) =
        world.meet(&world.person("alice").unwrap().accept_everything(), &bob).unwrap();
    for n in 0..LINES {
        say(&mut at_bobs, &mut at_alices, &format!("{n} {}", "x".repeat(LONG))).unwrap();
    }
    at_bobs.quit().unwrap();
    let whole = bob.home().to_owned();
    let right = history(&Setup::new("bob", &whole, &world.trace));
    assert_eq!((right.exit, messages(&right).len()), (0, LINES), "{right:?}");

    let (mut errors, mut answers) = (0_u32, 0_u32);
    for time in 0..times {
        let copy = world.directory("copy").unwrap();
        copy_files(&whole, &copy);
        let file = copy.join(if rng.random_range(0..KEY_SHARE) == 0 { KEY } else { STORE });
        let mut bytes = fs::read(&file).unwrap();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= rng.random_range(1..=u8::MAX);
        fs::write(&file, &bytes).unwrap();
        let seen = history(&Setup::new("bob", &copy, &world.trace));
        let place = format!("seed {seed}, flip {time}, byte {at} of {}: {seen:?}", file.display());
        assert_ne!(seen.exit, PANICKED, "{place}");
        if seen.exit == 0 {
            assert_eq!(messages(&seen), messages(&right), "{place}");
            answers += 1;
        } else {
            assert_eq!(seen.exit, 1, "{place}");
            assert!(messages(&seen).is_empty(), "{place}");
            assert!(
                !seen.err.is_empty() || seen.out.iter().any(|line| line.contains("\"error\"")),
                "{place}"
            );
            errors += 1;
        }
        fs::remove_dir_all(&copy).unwrap();
    }
    eprintln!("seed {seed}: {errors} errors, {answers} right answers");
    assert!(errors > 0, "no flip was found out");
}

/// What was shown of messages, whole.
fn messages(outcome: &Outcome) -> Vec<&String> {
    outcome.out.iter().filter(|line| line.contains("\"event\":\"message\"")).collect()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_flipped_byte_of_the_store_or_the_key_gives_an_error_or_the_right_answer() {
    flip(100);
}

#[test]
#[ignore = "takes a minute: `make test-long`"]
fn a_thousand_flipped_bytes_of_the_store_and_the_key_give_errors_or_the_right_answer() {
    flip(1_000);
}
