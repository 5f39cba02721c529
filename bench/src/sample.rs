//! Runs of one measurement, and what is said of them.

use std::fmt;

/// The results of several runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds the result of a run.
    pub fn push(&mut self, result: f64) {
        self.0.push(result);
    }

    /// How many runs there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one: less than it and more than it are equally many.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The least.
    pub fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The greatest.
    pub fn greatest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The result below which this share of the others lies, by the nearest rank.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// Each result over that of the same round of `other`.
    pub fn ratio_to(&self, other: &Self) -> Self {
        self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect()
    }

    /// Each result less that of the same round of `other`.
    pub fn less(&self, other: &Self) -> Self {
        self.0.iter().zip(&other.0).map(|(mine, theirs)| mine - theirs).collect()
    }

    /// Each result times `factor`.
    pub fn times(&self, factor: f64) -> Self {
        self.0.iter().map(|result| result * factor).collect()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(results: I) -> Self {
        Self(results.into_iter().collect())
    }
}

/// A number with three digits that mean something, thousands apart.
pub struct Short(pub f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        let digits = match number.abs() {
            a if a >= 100.0 => 0,
            a if a >= 10.0 => 1,
            a if a >= 1.0 => 2,
            _ => 3,
        };
        let text = format!("{number:.digits$}");
        let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(w, r)| (w, Some(r)));
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        rest.map_or(Ok(()), |rest| write!(f, ".{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_and_the_ends_are_the_ends() {
        let samples: Samples = [5.0, 1.0, 4.0, 2.0, 3.0].into_iter().collect();
        assert_eq!((samples.least(), samples.median(), samples.greatest()), (1.0, 3.0, 5.0));
    }

    #[test]
    fn numbers_are_short_and_readable() {
        let shown = [0.1234, 1.234, 12.34, 123.4, 1234.0, 1_234_567.0].map(|n| Short(n).to_string());
        assert_eq!(shown, ["0.123", "1.23", "12.3", "123", "1,234", "1,234,567"]);
    }
}
