//! Messages a second, with many under way.

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu::{self, Cores};
use crate::figures::world::{clients, reference};
use crate::peers::client::Thread;
use crate::peers::{IN_FLIGHT, MESSAGE_LEN};
use crate::report::{Aim, Report, Row, Table};
use crate::role::RoleKind::{ClientFlood, QuinnEcho, QuinnFlood};
use crate::sample::Samples;

/// Messages of one run.
const COUNT: usize = 200_000;

/// With [`IN_FLIGHT`] messages under way.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let cores = if cpu::count() < 2 { Cores::One } else { Cores::Two };
    let results = hold(
        runs,
        vec![
            Contender::new("QUIC stream, quinn", || reference(cores, QuinnEcho, QuinnFlood, COUNT)),
            Contender::new("p2pchat", || clients(cores, Thread::Shared, ClientFlood, COUNT)),
            Contender::new("p2pchat, threads of their own", || {
                clients(cores, Thread::OfItsOwn, ClientFlood, COUNT)
            }),
        ],
    )?;
    let rates: Vec<_> = results.iter().map(|(name, nanos)| (*name, per_second(nanos))).collect();
    let quinn = rates[0].1.clone();
    let mut rows: Vec<_> =
        rates.iter().map(|(name, rate)| Row::new(*name, "messages/s", rate.clone()).plotted()).collect();
    for (name, rate) in &rates[1..] {
        let row = Row::new(format!("{name}, to quinn"), "ratio", rate.ratio_to(&quinn));
        rows.push(row.aim(Aim::AtLeast(1.0)));
    }
    report.add(Table {
        name: "rate",
        title: "Messages a second, 64 under way",
        about: format!(
            "{COUNT} messages of {MESSAGE_LEN} bytes on {}, never more than {IN_FLIGHT} without an answer. \
             quinn: one stream, the other end sends the bytes back. p2pchat: through `Client`, a message \
             counts when its author is told that the other side stored it; a client stays awake for an answer \
             that is due within 100 µs (ADR 35).",
            cores.name()
        ),
        rows,
    });
    Ok(())
}

fn per_second(nanos: &Samples) -> Samples {
    let one = std::iter::repeat_n(1e9, nanos.count()).collect::<Samples>();
    one.ratio_to(nanos)
}
