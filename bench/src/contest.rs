//! Several contenders, each with its turn in every round, so that whatever else the machine does
//! hits all of them alike, and ratios are those of one round.

use crate::Result;
use crate::sample::Samples;

/// Somebody who takes part: a name, and how one run is made.
pub struct Contender<'a> {
    /// As the page says it.
    pub name: &'static str,
    /// One run; its result.
    pub run: Box<dyn FnMut() -> Result<f64> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender of that name.
    pub fn new(name: &'static str, run: impl FnMut() -> Result<f64> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Runs `rounds` rounds; the results in the order of the contenders.
pub fn hold(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Result<Vec<(&'static str, Samples)>> {
    let mut results: Vec<_> = contenders.iter().map(|one| (one.name, Samples::default())).collect();
    for _ in 0..rounds {
        for (contender, (name, samples)) in contenders.iter_mut().zip(&mut results) {
            let result = (contender.run)().map_err(|failure| format!("{name}: {failure}"))?;
            samples.push(result);
        }
    }
    Ok(results)
}
