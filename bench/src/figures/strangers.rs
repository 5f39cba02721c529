//! What the datagrams of people who were never introduced cost.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu::{self, Cores};
use crate::figures::world::Place;
use crate::peers::client::Thread;
use crate::peers::strangers::Kind;
use crate::report::{Aim, Report, Row, Table};
use crate::role::{RoleKind, Running};

/// Datagrams of one run.
const COUNT: u64 = 1_000_000;
/// Processor time for each, beyond what the system takes for handing it over.
const MICROS_MAX: f64 = 1.0;
/// Longest until the last of them is taken, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// Beside a socket whose owner does nothing with them.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let cores = if cpu::count() < 2 { Cores::One } else { Cores::Two };
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        let results = hold(
            runs,
            vec![
                Contender::new("a socket alone", || {
                    let mut sink = Running::start(RoleKind::UdpSink, cores.of_answering(), &[])?;
                    let at = sink.ready()?.parse()?;
                    flooded(&sink, at, cores, kind)
                }),
                Contender::new("p2pchat", || {
                    let place = Place::new()?;
                    let (url, downloads) = (place.broker.url(), place.home.path().to_string_lossy());
                    let words = [Thread::Shared.word(), &url, &downloads];
                    let mut client = Running::start(RoleKind::ClientEcho, cores.of_answering(), &words)?;
                    let at = client.value("udp", Duration::from_secs(20))?.parse()?;
                    client.ready()?;
                    flooded(&client, at, cores, kind)
                }),
            ],
        )?;
        let [(theirs, socket), (mine, ours)] = &results[..] else { return Err("two contenders".into()) };
        let kind = kind.name();
        rows.push(Row::new(format!("{theirs}, {kind}"), "µs", socket.clone()).plotted());
        rows.push(Row::new(format!("{mine}, {kind}"), "µs", ours.clone()).plotted());
        let more = Row::new(format!("{mine}, more than the socket, {kind}"), "µs", ours.less(socket));
        rows.push(more.aim(Aim::AtMost(MICROS_MAX)));
    }
    report.add(Table {
        name: "strangers",
        title: "A stranger's datagram",
        about: format!(
            "{COUNT} datagrams of somebody who was never introduced, as fast as one core sends them; processor time \
             of the process that they are for, system calls included, for each that it took. The socket alone is \
             that of the product's client (recvmmsg), and its owner does nothing with them: that alone takes some \
             times more where the process keeps up, as each datagram wakes it, than where many come at once."
        ),
        rows,
    });
    Ok(())
}

/// Microseconds of processor time that each datagram costs the process at `to`.
fn flooded(process: &Running, to: SocketAddr, cores: Cores, kind: Kind) -> Result<f64> {
    let pid = process.0.id();
    let (before, _) = settled(pid, to)?;
    let lost_before = Queue::of(to)?.drops;
    let words = [&to.to_string(), kind.word(), &COUNT.to_string()];
    Running::start(RoleKind::StrangersFlood, cores.of_asking(), &words)?.result()?;
    let (after, queue) = settled(pid, to)?;
    let taken = COUNT - (queue.drops - lost_before);
    if taken < COUNT / 100 {
        return Err(format!("{taken} of {COUNT} datagrams were taken").into());
    }
    Ok((after - before).as_secs_f64() * 1e6 / taken as f64)
}

/// The processor time of a process once nothing waits for it.
fn settled(pid: u32, at: SocketAddr) -> Result<(Duration, Queue)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (queue, time) = (Queue::of(at)?, cpu::of(pid)?);
        thread::sleep(LOOK);
        if queue.waiting == 0 && cpu::of(pid)? == time {
            return Ok((time, queue));
        }
        if Instant::now() > deadline {
            return Err("a process does not come to rest".into());
        }
    }
}

/// What Linux says of a socket (proc_net_udp(5)).
#[derive(Debug, Clone, Copy)]
struct Queue {
    waiting: u64,
    drops: u64,
}

impl Queue {
    fn of(address: SocketAddr) -> Result<Self> {
        let port = format!(":{:04X}", address.port());
        let table = fs::read_to_string("/proc/net/udp")?;
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.get(1).is_some_and(|local| local.ends_with(&port)));
        let words = line.ok_or("the socket is not in /proc/net/udp")?;
        let queues = words.get(4).and_then(|queues| queues.split_once(':')).ok_or("no queues")?;
        let drops = words.last().ok_or("no drops")?;
        Ok(Self { waiting: u64::from_str_radix(queues.1, 16)?, drops: drops.parse()? })
    }
}
