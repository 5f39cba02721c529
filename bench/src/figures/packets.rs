//! Packets a second through the client's sockets.

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu::{self, Cores};
use crate::peers::packets::PACKET_LEN;
use crate::report::{Report, Row, Table};
use crate::role::{RoleKind, Running};

/// Packets of one run: joined, and one by one.
const JOINED: usize = 4_000_000;
const SINGLE: usize = 500_000;

/// With segmentation offload and without.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let cores = if cpu::count() < 2 { Cores::One } else { Cores::Two };
    let mut segments = String::new();
    let results = hold(
        runs,
        vec![
            Contender::new("as many in a call as the system takes", || {
                let (nanos, most) = packets(cores, 0, JOINED)?;
                segments = most;
                Ok(1e9 / nanos)
            }),
            Contender::new("one in a call", || Ok(1e9 / packets(cores, 1, SINGLE)?.0)),
        ],
    )?;
    let [(joined_name, joined), (single_name, single)] = &results[..] else {
        return Err("two contenders".into());
    };
    report.add(Table {
        name: "packets",
        title: "Packets a second",
        about: format!(
            "Packets of {PACKET_LEN} bytes through the sockets of the product's client, nothing in them, on {}, \
             counted where they arrive. The system takes {segments} of them in one call (GSO), and hands over \
             what it joined (GRO).",
            cores.name()
        ),
        rows: vec![
            Row::new(*joined_name, "packets/s", joined.clone()).plotted(),
            Row::new(*single_name, "packets/s", single.clone()).plotted(),
            Row::new("joined to single", "ratio", joined.ratio_to(single)),
        ],
    });
    Ok(())
}

fn packets(cores: Cores, segments: usize, count: usize) -> Result<(f64, String)> {
    let mut taking = Running::start(RoleKind::PacketsTake, cores.of_answering(), &[&count.to_string()])?;
    let to = taking.ready()?;
    let words = [to.as_str(), &segments.to_string()];
    let mut giving = Running::start(RoleKind::PacketsGive, cores.of_asking(), &words)?;
    let segments = giving.ready()?;
    Ok((taking.result()?, segments))
}
