//! The command line: what to measure, or which role to play for a measurement.

use std::path::PathBuf;

use crate::role::{Role, RoleKind};

/// Runs of each contender without `--runs`.
const RUNS: usize = 5;

const USAGE: &str = "usage: p2pchat-bench [--runs N] [--page FILE] [FIGURE...]
figures: seal handshake sessions strangers round-trip rate packets bulk delivery file product (all without any)
--page FILE: write the page there, and its plots into the directory of that name beside it";

/// What this process is for.
pub enum Task {
    /// One end of a measurement.
    Role(Role),
    /// The measurements.
    Measure(Plan),
}

/// What to measure.
pub struct Plan {
    /// Runs of each contender.
    pub runs: usize,
    /// Where the page goes.
    pub page: Option<PathBuf>,
    /// The figures; all where it is empty.
    pub figures: Vec<String>,
}

impl Plan {
    /// Whether this figure is wanted.
    pub fn wants(&self, figure: &str) -> bool {
        self.figures.is_empty() || self.figures.iter().any(|wanted| wanted == figure)
    }
}

/// Reads the arguments; an error is what to tell the user.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|word| word == "role").is_some() {
        let kind = arguments.next().and_then(|name| RoleKind::of(&name)).ok_or(USAGE)?;
        return Ok(Task::Role(Role { kind, words: arguments.collect() }));
    }
    let mut plan = Plan { runs: RUNS, page: None, figures: Vec::new() };
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--runs" => {
                plan.runs = arguments.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).ok_or(USAGE)?;
            }
            "--page" => plan.page = Some(arguments.next().ok_or(USAGE)?.into()),
            _ if word.starts_with('-') => return Err(USAGE.to_owned()),
            _ => plan.figures.push(word),
        }
    }
    match plan.figures.iter().find(|figure| !crate::figures::NAMES.contains(&figure.as_str())) {
        Some(unknown) => Err(format!("no figure {unknown}\n{USAGE}")),
        None => Ok(Task::Measure(plan)),
    }
}
