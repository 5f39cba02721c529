//! What every process of a test said, in one order, for the day a test fails.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most lines of each process that a failure shows, counted from the end.
const SHOWN_PER_PROCESS: usize = 60;
/// Most characters of a line that a failure shows.
const SHOWN_OF_A_LINE: usize = 400;

/// The common record; clones write to the same one.
#[derive(Debug, Clone)]
pub struct Trace {
    start: Instant,
    lines: Arc<Mutex<Vec<Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    at: Duration,
    who: Arc<str>,
    what: &'static str,
    text: String,
}

impl Default for Trace {
    fn default() -> Self {
        Self { start: Instant::now(), lines: Arc::default() }
    }
}

impl Trace {
    /// Time since the beginning of the test.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds a line; `what` says where it came from or went to.
    pub fn add(&self, who: &Arc<str>, what: &'static str, text: &str) {
        let text = text.chars().take(SHOWN_OF_A_LINE).collect();
        let entry = Entry { at: self.elapsed(), who: who.clone(), what, text };
        self.lines().push(entry);
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        let mut of_each: BTreeMap<&str, usize> = BTreeMap::new();
        let mut shown: Vec<&Entry> = lines
            .iter()
            .rev()
            .filter(|entry| {
                let count = of_each.entry(&entry.who).or_default();
                *count += 1;
                *count <= SHOWN_PER_PROCESS
            })
            .collect();
        shown.reverse();
        for entry in shown {
            writeln!(f, "{:8.3} {:>8} {} {}", entry.at.as_secs_f64(), entry.who, entry.what, entry.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talkative_process_does_not_push_a_quiet_one_out_of_sight() {
        let trace = Trace::default();
        let (quiet, loud) = (Arc::from("quiet"), Arc::from("loud"));
        trace.add(&quiet, "out", "the clue");
        (0..500).for_each(|n| trace.add(&loud, "out", &format!("noise {n}")));
        let shown = trace.to_string();
        assert!(shown.contains("the clue") && shown.contains("noise 499"));
        assert_eq!(shown.lines().count(), 1 + SHOWN_PER_PROCESS);
    }
}
