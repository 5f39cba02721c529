//! Bulk over one session, beside one QUIC connection.

use std::cell::RefCell;

use p2pchat_session::DATAGRAM_SIZE_NEAR;

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu::{self, Cores};
use crate::report::{Aim, Report, Row, Table};
use crate::role::{RoleKind, Running};
use crate::sample::Samples;

/// Bytes of one run, behind those that do not count.
const BYTES: usize = 1 << 30;
/// The largest datagram that quinn looks for by itself (quinn-proto, MtuDiscoveryConfig).
const QUINN_DATAGRAM: usize = 1452;
/// As fast as quinn, and half as much again.
const RATIO_MIN: f64 = 1.5;

/// What one run came to.
#[derive(Default)]
struct Costs {
    giving: Samples,
    taking: Samples,
}

/// From memory to memory.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let cores = if cpu::count() < 2 { Cores::One } else { Cores::Two };
    let [plain_costs, quinn_costs, costs] = [(); 3].map(|()| RefCell::new(Costs::default()));
    let quinn = |most: usize, costs: &RefCell<Costs>| {
        let most = most.to_string();
        let kinds = [RoleKind::QuinnTake, RoleKind::QuinnGive];
        run(cores, kinds, &[&most], &mut costs.borrow_mut())
    };
    let results = hold(
        runs,
        vec![
            Contender::new("QUIC stream, quinn", || quinn(QUINN_DATAGRAM, &plain_costs)),
            Contender::new("QUIC stream, quinn, datagrams as large as ours", || {
                quinn(DATAGRAM_SIZE_NEAR, &quinn_costs)
            }),
            Contender::new("p2pchat", || {
                run(cores, [RoleKind::BulkTake, RoleKind::BulkGive], &[], &mut costs.borrow_mut())
            }),
        ],
    )?;
    let [(plain_name, plain), (theirs, quinn), (mine, ours)] = &results[..] else {
        return Err("three contenders".into());
    };
    let mut rows = vec![
        Row::new(*plain_name, "MB/s", plain.clone()).plotted(),
        Row::new(*theirs, "MB/s", quinn.clone()).plotted(),
        Row::new(*mine, "MB/s", ours.clone()).plotted(),
        Row::new("p2pchat to quinn", "ratio", ours.ratio_to(plain)).aim(Aim::AtLeast(RATIO_MIN)),
        Row::new("p2pchat to quinn with datagrams as large", "ratio", ours.ratio_to(quinn))
            .aim(Aim::AtLeast(RATIO_MIN)),
    ];
    let (quinn, ours) = (plain_costs.into_inner(), costs.into_inner());
    for (name, theirs, ours) in [("giving", quinn.giving, ours.giving), ("taking", quinn.taking, ours.taking)]
    {
        rows.push(Row::new(format!("quinn, processor time for 1 GiB, {name}"), "s", theirs.clone()));
        rows.push(Row::new(format!("p2pchat, processor time for 1 GiB, {name}"), "s", ours.clone()));
        rows.push(Row::new(format!("p2pchat to quinn, {name}"), "ratio", ours.ratio_to(&theirs)));
    }
    report.add(Table {
        name: "bulk",
        title: "Bulk over one session",
        about: format!(
            "1 GiB from memory to memory on one stream, on {}, behind 64 MiB that do not count. p2pchat: an endpoint \
             driven as the client drives its own, over the client's sockets, AES-256-GCM where the processor has \
             instructions for it, and datagrams of up to {DATAGRAM_SIZE_NEAR} bytes, which it looks for where the peer is \
             near. quinn: its chunks not copied, with its defaults, which look for {QUINN_DATAGRAM}, and with \
             datagrams as large as ours.",
            cores.name()
        ),
        rows,
    });
    Ok(())
}

/// MB a second.
fn run(cores: Cores, [takes, gives]: [RoleKind; 2], words: &[&str], costs: &mut Costs) -> Result<f64> {
    let mut taking = Running::start(takes, cores.of_answering(), words)?;
    let (to, bytes) = (taking.ready()?, BYTES.to_string());
    let mut giving = Running::start(gives, cores.of_asking(), &[&[to.as_str(), &bytes], words].concat())?;
    let nanos = taking.result()?;
    giving.result()?;
    let bytes = taking.number("bytes")?;
    let gib = BYTES as f64 / bytes;
    costs.taking.push(taking.number("cpu")? * 1e-9 * gib);
    costs.giving.push(giving.number("cpu")? * 1e-9);
    Ok(bytes / nanos * 1e3)
}
