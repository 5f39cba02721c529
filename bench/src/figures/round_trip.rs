//! A message there and an answer back, between two processes.

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu::{self, Cores};
use crate::figures::world::{clients, reference};
use crate::peers::MESSAGE_LEN;
use crate::peers::client::Thread;
use crate::report::{Aim, Report, Row, Table};
use crate::role::RoleKind::{ClientPing, QuinnEcho, QuinnPing, TokioEcho, TokioPing, UdpEcho, UdpPing};

/// Round trips of one run.
const COUNT: usize = 20_000;
const OURS: &str = "p2pchat";

/// On one core and on two.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    on(
        Cores::One,
        "round-trip-one-core",
        "Round trip of 64 bytes, both ends on one core",
        1.6,
        runs,
        report,
    )?;
    if cpu::count() < 2 {
        report.missing("round trips on two cores: this process may use one");
        return Ok(());
    }
    on(
        Cores::Two,
        "round-trip-two-cores",
        "Round trip of 64 bytes, each end on a core of its own",
        1.15,
        runs,
        report,
    )
}

fn on(
    cores: Cores,
    name: &'static str,
    title: &'static str,
    aim: f64,
    runs: usize,
    report: &mut Report,
) -> Result {
    let results = hold(
        runs,
        vec![
            Contender::new("UDP, blocking calls", || reference(cores, UdpEcho, UdpPing, COUNT)),
            Contender::new("UDP, tokio", || reference(cores, TokioEcho, TokioPing, COUNT)),
            Contender::new("QUIC stream, quinn", || reference(cores, QuinnEcho, QuinnPing, COUNT)),
            Contender::new(OURS, || clients(cores, Thread::Shared, ClientPing, COUNT)),
            Contender::new("p2pchat, threads of their own", || {
                clients(cores, Thread::OfItsOwn, ClientPing, COUNT)
            }),
        ],
    )?;
    let raw = results[0].1.clone();
    let mut rows: Vec<_> =
        results.iter().map(|(name, nanos)| Row::new(*name, "µs", nanos.times(1e-3)).plotted()).collect();
    for (name, nanos) in &results[1..] {
        let row = Row::new(format!("{name}, to blocking UDP"), "ratio", nanos.ratio_to(&raw));
        rows.push(if name.starts_with(OURS) { row.aim(Aim::AtMost(aim)) } else { row });
    }
    report.add(Table {
        name,
        title,
        about: format!(
            "{COUNT} messages of {MESSAGE_LEN} bytes, each sent when the answer to the one before has come. \
             p2pchat: from one front end through `Client` to the other and back; every message is sealed, \
             ordered, kept until it is acknowledged, and answered with a receipt besides. The front end shares a \
             thread with its client (`p2pchat_client::prepare`), or not (`spawn`), which costs four changes of \
             thread more. A client stays awake for an answer that is due within 100 µs (ADR 35); of the others \
             each falls asleep."
        ),
        rows,
    });
    Ok(())
}
