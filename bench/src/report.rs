//! The page: one table for each figure, with what the measured machine is and what it lacks.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::sample::{Samples, Short};
use crate::{Result, cpu, plot};

/// What a result is wanted to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

impl Aim {
    fn is_met(self, median: f64) -> bool {
        match self {
            Self::AtMost(most) => median <= most,
            Self::AtLeast(least) => median >= least,
        }
    }
}

/// One line of a table.
pub struct Row {
    what: String,
    unit: &'static str,
    samples: Samples,
    aim: Option<Aim>,
    plotted: bool,
}

impl Row {
    /// A result.
    pub fn new(what: impl Into<String>, unit: &'static str, samples: Samples) -> Self {
        Self { what: what.into(), unit, samples, aim: None, plotted: false }
    }

    /// With what it is wanted to be.
    pub fn aim(self, aim: Aim) -> Self {
        Self { aim: Some(aim), ..self }
    }

    /// In the plot of its table as well; all that are have one unit.
    pub fn plotted(self) -> Self {
        Self { plotted: true, ..self }
    }

    fn verdict(&self) -> String {
        let Some(aim) = self.aim else { return String::new() };
        let (word, bound) = match aim {
            Aim::AtMost(bound) => ("at most", bound),
            Aim::AtLeast(bound) => ("at least", bound),
        };
        let met = if aim.is_met(self.samples.median()) { "met" } else { "**missed**" };
        format!("{word} {}: {met}", Short(bound))
    }
}

/// One figure.
pub struct Table {
    /// File name of its plot, without ending.
    pub name: &'static str,
    pub title: &'static str,
    /// What was done, in sentences.
    pub about: String,
    pub rows: Vec<Row>,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    tables: Vec<Table>,
    missing: Vec<String>,
}

impl Report {
    /// Adds a figure and shows it.
    pub fn add(&mut self, table: Table) {
        println!("{}", text(&table));
        self.tables.push(table);
    }

    /// Notes what could not be measured, and why.
    pub fn missing(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("missing: {what}");
        self.missing.push(what);
    }

    /// Writes the page and its plots.
    pub fn write(&self, page: &Path, runs: usize) -> Result {
        let plots = page.with_extension("");
        fs::create_dir_all(&plots)?;
        let folder = plots.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut out = opening(runs);
        for table in &self.tables {
            let bars: Vec<_> = table.rows.iter().filter(|row| row.plotted).collect();
            let _ = write!(out, "\n{}", text(table));
            if let Some(first) = bars.first() {
                let bars: Vec<_> = bars.iter().map(|row| (row.what.as_str(), &row.samples)).collect();
                fs::write(plots.join(table.name).with_extension("svg"), plot::bars(&bars, first.unit))?;
                let _ = write!(out, "\n![{}]({folder}/{}.svg)\n", table.title, table.name);
            }
        }
        out.push_str("\n## What is missing\n\n");
        if self.missing.is_empty() {
            out.push_str("Nothing.\n");
        }
        self.missing.iter().for_each(|what| {
            let _ = writeln!(out, "- {what}");
        });
        Ok(fs::write(page, out)?)
    }
}

fn opening(runs: usize) -> String {
    format!(
        "# Performance

Written by `make bench`; a change by hand is lost at the next run.

Every process is one of its own, the network is the loopback interface, homes are new ones. What is
compared takes turns, round by round, in the same run; a ratio is that of one round. A number is the
median of {runs} runs, with the least and the greatest behind it. Absolute times say as much about the
machine as about the program: compare ratios.

Measured on {} cores of: {}. Linux {}.
",
        cpu::count(),
        first_line("/proc/cpuinfo", "model name"),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    )
}

fn first_line(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim()).to_owned()
}

fn text(table: &Table) -> String {
    let mut out = format!("## {}\n\n{}\n\n", table.title, table.about);
    out.push_str(
        "| measured | unit | median | least to greatest | aim |\n| --- | --- | ---: | ---: | --- |\n",
    );
    for row in &table.rows {
        let Row { what, unit, samples, .. } = row;
        let (median, least, greatest) =
            (Short(samples.median()), Short(samples.least()), Short(samples.greatest()));
        let spread = if samples.count() > 1 { format!("{least} to {greatest}") } else { String::new() };
        let _ = writeln!(out, "| {what} | {unit} | {median} | {spread} | {} |", row.verdict());
    }
    out
}
