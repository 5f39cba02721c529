//! C1 with real processes: whoever is killed and started again has lost nothing.

use crate::crash::play;
use crate::rows::{Defence, Lab, NotRun, Seen};

/// The issue of the store.
const ROUNDS: u32 = 1_000;
/// Enough for a store that keeps nothing.
const ROUNDS_WITHOUT: u32 = 20;

pub(super) fn a_thousand_times(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let rounds = if defence == Defence::InPlace { ROUNDS } else { ROUNDS_WITHOUT };
    match play(rounds, lab.seed, defence) {
        Ok(report) => Ok(Seen::held(format!(
            "both histories equal, in order, each line once: {} typed, {} acknowledged, {} kept",
            report.typed, report.acknowledged, report.kept
        ))
        .figure(format!("{} rounds, {} kills", report.rounds, report.kills))),
        Err(broken) if broken.is_of_the_talk() => {
            Ok(Seen::broken(broken.to_string().lines().next().unwrap_or_default()))
        }
        Err(broken) => Err(broken.into()),
    }
}
