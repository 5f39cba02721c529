//! What it looks like when the world is not as it should be.

use std::fmt;

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which rule, in words.
    pub rule: &'static str,
    /// What was seen instead.
    pub seen: String,
}

impl Broken {
    /// A rule that does not hold, and what was seen.
    pub fn new(rule: &'static str, seen: impl Into<String>) -> Self {
        Self { rule, seen: seen.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}\n  seen: {}", self.rule, self.seen)
    }
}

impl std::error::Error for Broken {}

/// Holds a rule, or says what was seen.
pub(crate) fn hold(holds: bool, rule: &'static str, seen: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(rule, seen())) }
}
