//! Findings for people (a table) and for machines (JSON).

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Finding, NotRun, Seen};

/// Columns of what was seen before it is cut.
const SEEN_WIDTH: usize = 60;

/// One line of the table, as soon as its row has run.
///
/// # Errors
/// If it cannot be written.
pub fn line(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let verdict = if finding.passed() { "pass" } else { "FAIL" };
    let row = finding.row;
    let seen = match &finding.proof {
        Ok(seen) => cut(&seen.what),
        Err(NotRun(why)) => cut(why),
    };
    let figure = finding.proof.as_ref().ok().and_then(|seen| seen.figure.as_deref()).unwrap_or("");
    writeln!(out, "{verdict}  {:<4} {:<44} {seen:<SEEN_WIDTH$} {figure}", row.id, cut_to(row.attack, 44))?;
    if finding.passed() {
        return Ok(());
    }
    writeln!(out, "           expected: {}", row.expected)?;
    writeln!(out, "           proof: {}", outcome(&finding.proof))?;
    writeln!(out, "           counter-proof: {}", outcome(&finding.counter_proof))
}

/// The last line.
///
/// # Errors
/// If it cannot be written.
pub fn summary(out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    let passed = findings.iter().filter(|finding| finding.passed()).count();
    writeln!(out, "{passed} passed, {} failed", findings.len() - passed)
}

/// Everything, for machines.
pub fn json(findings: &[Finding], seed: u64) -> Value {
    let rows: Vec<Value> = findings.iter().map(row).collect();
    let passed = findings.iter().filter(|finding| finding.passed()).count();
    json!({ "seed": seed, "passed": passed, "failed": findings.len() - passed, "rows": rows })
}

fn row(finding: &Finding) -> Value {
    json!({
        "row": finding.row.id,
        "attack": finding.row.attack,
        "expected": finding.row.expected,
        "passed": finding.passed(),
        "proof": run(&finding.proof),
        "counter_proof": run(&finding.counter_proof),
        "seconds": finding.took.as_secs_f64(),
    })
}

fn run(outcome: &Result<Seen, NotRun>) -> Value {
    match outcome {
        Ok(seen) => json!({ "held": seen.held, "seen": seen.what, "figure": seen.figure }),
        Err(NotRun(why)) => json!({ "not_run": why }),
    }
}

fn outcome(outcome: &Result<Seen, NotRun>) -> String {
    match outcome {
        Ok(seen) if seen.held => format!("held: {}", seen.what),
        Ok(seen) => format!("went through: {}", seen.what),
        Err(NotRun(why)) => format!("did not run: {why}"),
    }
}

fn cut(text: &str) -> String {
    cut_to(text, SEEN_WIDTH)
}

fn cut_to(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['\u{2026}']).collect()
}
