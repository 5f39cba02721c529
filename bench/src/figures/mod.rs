//! What is measured.

mod bulk;
mod delivery;
mod file;
mod packets;
mod product;
mod rate;
mod round_trip;
mod sealing;
mod sessions;
mod ssh;
mod store;
mod strangers;
mod world;

use crate::Result;
use crate::arguments::Plan;
use crate::report::Report;

/// The figures by name.
pub const NAMES: [&str; 12] = [
    "seal",
    "handshake",
    "sessions",
    "strangers",
    "round-trip",
    "rate",
    "packets",
    "bulk",
    "delivery",
    "file",
    "product",
    "store",
];

/// Measures with so many runs and reports.
type Measure = fn(usize, &mut Report) -> Result;

/// Measures what the plan wants and writes the page.
pub fn run(plan: &Plan) -> Result {
    let mut report = Report::default();
    let figures: [(&str, Measure); NAMES.len()] = [
        ("seal", sealing::seal),
        ("handshake", sealing::handshake),
        ("sessions", sessions::measure),
        ("strangers", strangers::measure),
        ("round-trip", round_trip::measure),
        ("rate", rate::measure),
        ("packets", packets::measure),
        ("bulk", bulk::measure),
        ("delivery", delivery::measure),
        ("file", file::measure),
        ("product", product::measure),
        ("store", store::measure),
    ];
    for (name, measure) in figures {
        if plan.wants(name) {
            measure(plan.runs, &mut report).map_err(|failure| format!("{name}: {failure}"))?;
        }
    }
    match &plan.page {
        Some(page) => report.write(page, plan.runs),
        None => Ok(()),
    }
}
