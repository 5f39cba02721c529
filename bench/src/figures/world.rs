//! A broker and the ends of one run.

use p2pchat_harness::broker::Broker;
use p2pchat_harness::trace::Trace;
use tempfile::TempDir;

use crate::Result;
use crate::cpu::Cores;
use crate::peers::client::Thread;
use crate::role::{RoleKind, Running};

/// A broker with a home of its own.
pub struct Place {
    pub broker: Broker,
    pub home: TempDir,
}

impl Place {
    /// Starts the broker of the same build.
    pub fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let broker = Broker::start(&home.path().join("broker"), &Trace::default())?;
        Ok(Self { broker, home })
    }
}

/// Runs an answering end of a reference and an asking one; the result of the latter.
pub fn reference(cores: Cores, answers: RoleKind, asks: RoleKind, count: usize) -> Result<f64> {
    let mut answering = Running::start(answers, cores.of_answering(), &[])?;
    let to = answering.ready()?;
    Running::start(asks, cores.of_asking(), &[&to, &count.to_string()])?.result()
}

/// Runs two clients of the product, one of which asks; its result.
pub fn clients(cores: Cores, thread: Thread, asks: RoleKind, count: usize) -> Result<f64> {
    let place = Place::new()?;
    let url = place.broker.url();
    let downloads = place.home.path().to_string_lossy();
    let mut answering =
        Running::start(RoleKind::ClientEcho, cores.of_answering(), &[thread.word(), &url, &downloads])?;
    answering.ready()?;
    Running::start(asks, cores.of_asking(), &[thread.word(), &url, &count.to_string()])?.result()
}
