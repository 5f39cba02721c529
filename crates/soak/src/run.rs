//! Worlds, one after the other and side by side.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use p2pchat_crypto::ledger::Ledger;

use crate::broken::Broken;
use crate::world::{Totals, World};

/// A seed whose world broke a rule, with all that is known of it.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The rule.
    pub broken: Broken,
    /// The world as it was then.
    pub world: Box<World>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, broken, world } = self;
        writeln!(f, "seed {seed}, {broken}")?;
        write!(f, "{}{}", world.plan, world.trace)?;
        writeln!(f, "replay: make soak FROM={seed} SEEDS=1")
    }
}

impl std::error::Error for Failure {}

/// Runs the world of a seed to its end. A panic of the product is a broken rule as well.
///
/// # Errors
/// If a rule does not hold.
pub fn live(seed: u64) -> Result<Totals, Failure> {
    // Panics where a key seals twice under one nonce, in whichever process of the world.
    let _ledger = Ledger::strict();
    let mut world = Box::new(World::new(seed));
    let lived = catch_unwind(AssertUnwindSafe(|| world.live())).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(Broken::new("nothing panics", said.unwrap_or_default()))
    });
    lived.map_err(|broken| Failure { seed, broken, world })
}

/// What many worlds came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// How many ran.
    pub seeds: u64,
    /// How many of them broke a rule.
    pub broken: u64,
    /// All that happened in those that did not; the fingerprints combined.
    pub totals: Totals,
}

impl Tally {
    fn add(&mut self, lived: Result<Totals, Failure>, told: &mut dyn FnMut(&Failure)) {
        self.seeds += 1;
        match lived {
            Ok(totals) => self.totals += totals,
            Err(failure) => {
                self.broken += 1;
                told(&failure);
            }
        }
    }
}

/// Runs the worlds of `seeds` seeds from `from` on, `jobs` at a time; `told` hears of each that broke
/// a rule.
pub fn soak(from: u64, seeds: u64, jobs: usize, told: impl FnMut(&Failure) + Send) -> Tally {
    let next = AtomicU64::new(0);
    let shared = Mutex::new((Tally::default(), told));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < seeds) {
                    let lived = live(from.saturating_add(seed));
                    let (tally, told) = &mut *shared.lock().expect("nobody panics with it");
                    tally.add(lived, told);
                }
            });
        }
    });
    shared.into_inner().expect("nobody panicked with it").0
}
