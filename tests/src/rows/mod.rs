//! The rows of the harness: one attack each, on the real code, with its counter-proof.
//!
//! A row is one function that mounts the attack. It runs twice: once against the product, where the
//! defence has to hold, and once with [`Defence::Removed`], where the harness's own double stands in
//! for the defence and lets the attack through. A row passes when the first run held and the second
//! one did not: an attack that cannot succeed shows nothing.
//!
//! To add a row: write its function in the file of its subject, and list it in that file's `ROWS`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub mod broker;
pub mod exhaustion;
pub mod files;
mod guest;
pub mod handshake;
mod hidden;
pub mod identity;
pub mod long;
pub mod report;
pub mod storage;
pub mod terminal;
pub mod transport;

/// One attack.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its number, as in the threat model's tables.
    pub id: &'static str,
    /// What is attacked, and how.
    pub attack: &'static str,
    /// What has to happen.
    pub expected: &'static str,
    /// Mounts it.
    pub run: fn(Defence, &mut Lab) -> Result<Seen, NotRun>,
}

/// Whether the product's defence is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defence {
    /// The product as it is.
    InPlace,
    /// The harness's double without it.
    Removed,
}

/// What an attack has at hand.
#[derive(Debug)]
pub struct Lab {
    /// Everything random of this row follows from it.
    pub seed: u64,
    /// Drawn from the seed.
    pub rng: ChaCha20Rng,
}

/// What an attack saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether the defence held.
    pub held: bool,
    /// What happened, in a few words.
    pub what: String,
    /// A number worth keeping, with its unit.
    pub figure: Option<String>,
}

/// Why an attack could not be mounted here. It counts as not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun(pub String);

/// One row, run both ways.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which.
    pub row: Row,
    /// Against the product.
    pub proof: Result<Seen, NotRun>,
    /// Against the double.
    pub counter_proof: Result<Seen, NotRun>,
    /// How long both took.
    pub took: Duration,
}

impl Seen {
    /// The defence held.
    pub fn held(what: impl Into<String>) -> Self {
        Self { held: true, what: what.into(), figure: None }
    }

    /// The attack went through.
    pub fn broken(what: impl Into<String>) -> Self {
        Self { held: false, what: what.into(), figure: None }
    }

    /// Held if `held`, with the same words either way.
    pub fn when(held: bool, what: impl Into<String>) -> Self {
        Self { held, what: what.into(), figure: None }
    }

    /// With a number.
    #[must_use]
    pub fn figure(mut self, figure: impl Into<String>) -> Self {
        self.figure = Some(figure.into());
        self
    }
}

impl Lab {
    fn new(seed: u64, id: &str) -> Self {
        // Each row has numbers of its own, whichever others run.
        let own = id.bytes().fold(seed, |seed, byte| seed.rotate_left(8) ^ u64::from(byte));
        Self { seed, rng: ChaCha20Rng::seed_from_u64(own) }
    }
}

/// A promise of the product that an attack may break, in words.
pub type Promise = &'static str;

/// Mounts an attack that several defences stand against. `attack` says which promises broke, at the
/// product (`None`) or at the double that does without one defence. At each double the promise that
/// its defence keeps has to break: one that still holds has no attack of its own in this row.
pub fn each<D: Copy>(
    defence: Defence,
    doubles: &[(D, Promise)],
    mut attack: impl FnMut(Option<D>) -> Result<BTreeSet<Promise>, NotRun>,
) -> Result<Seen, NotRun> {
    let words = |broken: &BTreeSet<Promise>| broken.iter().copied().collect::<Vec<_>>().join("; ");
    let count = doubles.len();
    if defence == Defence::InPlace {
        let broken = attack(None)?;
        let kept = format!("kept, each with its double: {}", words(&doubles.iter().map(|d| d.1).collect()));
        return Ok(if broken.is_empty() {
            Seen::held(kept)
        } else {
            Seen::broken(format!("broken: {}", words(&broken)))
        });
    }
    for (number, (double, promise)) in doubles.iter().enumerate() {
        let broken = attack(Some(*double))?;
        if !broken.contains(promise) {
            let seen = words(&broken);
            return Ok(Seen::held(format!("double {number} of {count} keeps `{promise}` (broke: {seen})")));
        }
    }
    Ok(Seen::broken(format!("each of {count} doubles breaks the promise of the defence that it lacks")))
}

impl Finding {
    /// Whether the defence held, and the attack is one.
    pub fn passed(&self) -> bool {
        let held = self.proof.as_ref().is_ok_and(|seen| seen.held);
        let red = self.counter_proof.as_ref().is_ok_and(|seen| !seen.held);
        held && red
    }
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<F: std::error::Error> From<F> for NotRun {
    fn from(failure: F) -> Self {
        Self(failure.to_string())
    }
}

/// Every row, in the order of their subjects.
pub fn all() -> impl Iterator<Item = Row> {
    [
        handshake::ROWS,
        transport::ROWS,
        files::ROWS,
        broker::ROWS,
        identity::ROWS,
        terminal::ROWS,
        exhaustion::ROWS,
        storage::ROWS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The rows that need packages of others, root or minutes, and run only if they are asked for.
pub fn long() -> impl Iterator<Item = Row> {
    long::ROWS.iter().copied()
}

/// Runs one row both ways. A panic in it is a failure of the row, not of the harness.
pub fn run(row: Row, seed: u64) -> Finding {
    let begin = Instant::now();
    let proof = mount(row, Defence::InPlace, seed);
    let counter_proof = mount(row, Defence::Removed, seed);
    Finding { row, proof, counter_proof, took: begin.elapsed() }
}

fn mount(row: Row, defence: Defence, seed: u64) -> Result<Seen, NotRun> {
    let attack = move || (row.run)(defence, &mut Lab::new(seed, row.id));
    std::panic::catch_unwind(attack).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
        Err(NotRun(format!("panicked: {words}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attack(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
        Ok(Seen::when(defence == Defence::InPlace, "as it should be"))
    }

    fn toothless(_: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
        Ok(Seen::held("always"))
    }

    fn lost(_: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
        panic!("lost")
    }

    fn row(run: fn(Defence, &mut Lab) -> Result<Seen, NotRun>) -> Row {
        Row { id: "X1", attack: "", expected: "", run }
    }

    #[test]
    fn a_row_passes_when_its_attack_is_one_and_the_defence_holds() {
        assert!(run(row(attack), 1).passed());
    }

    #[test]
    fn a_row_that_cannot_fail_does_not_pass() {
        assert!(!run(row(toothless), 1).passed());
    }

    #[test]
    fn a_row_that_could_not_run_does_not_pass() {
        let finding = run(row(lost), 1);
        assert!(!finding.passed());
        assert_eq!(finding.proof, Err(NotRun("panicked: lost".to_owned())));
    }

    #[test]
    fn a_row_with_a_defence_that_nothing_attacks_does_not_pass() {
        const DOUBLES: [(u8, Promise); 2] = [(0, "one"), (1, "two")];
        let one = |defence, _: &mut Lab| {
            each(defence, &DOUBLES, |lacks| Ok(lacks.map(|_| "one").into_iter().collect()))
        };
        assert!(!run(row(one), 1).passed());
        let both = |defence, _: &mut Lab| {
            each(defence, &DOUBLES, |lacks| {
                Ok(lacks.map(|lacks| DOUBLES[lacks as usize].1).into_iter().collect())
            })
        };
        assert!(run(row(both), 1).passed());
    }

    #[test]
    fn no_number_stands_for_two_rows() {
        let mut ids: Vec<_> = all().chain(long()).map(|row| row.id).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    }
}
