//! The programs as people meet them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use p2pchat_harness::event::{event, message, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::{Line, PROMPT};
use p2pchat_harness::trace::Trace;

use crate::Result;
use crate::figures::world::Place;
use crate::report::{Aim, Report, Row, Table};
use crate::role::{RoleKind, Running};
use crate::sample::Samples;

/// Lines that are typed in one run.
const LINES: usize = 200;
/// How long an idle client is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// A timer and its way through the wheel.
const WAKE_UPS: f64 = 5.0;
/// Idle clients of the broker.
const CLIENTS: usize = 1_000;

/// Times and memory of the real programs.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let mut rows = Vec::new();
    starts(runs, &mut rows)?;
    meetings(runs, &mut rows)?;
    typed(runs, &mut rows)?;
    idle(&mut rows)?;
    broker(runs, &mut rows)?;
    report.add(Table {
        name: "product",
        title: "The programs, on one machine",
        about: format!(
            "`p2pchat` in JSON mode and `p2pchat-broker`, started as a user starts them. *Typed to stored*: \
             from a line on standard input to its receipt on standard output, {LINES} lines a run, one after \
             the other, each on the disks of both. *Idle*: `p2pchat listen` with its broker, nobody talking, watched for {} s; its one timer is the \
             heartbeat of 15 s, and on the way to it the runtime's timer wheel wakes up to four times. *To somebody new*: \
             the broker's key, the port and the other's identity are written and synced to disk on the way. *Broker*: \
             what its resident memory grows by with {CLIENTS} clients that are logged in and say nothing.",
            WATCHED.as_secs()
        ),
        rows,
    });
    Ok(())
}

fn starts(runs: usize, rows: &mut Vec<Row>) -> Result {
    let home = tempfile::tempdir()?;
    let peer = Setup::new("anna", home.path(), &Trace::default()).plain();
    let run = || -> Result<f64> {
        let mut command = peer.command(&["id"])?;
        let start = Instant::now();
        let output = command.stdin(std::process::Stdio::null()).output()?;
        let took = start.elapsed();
        if output.status.success() {
            Ok(took.as_secs_f64() * 1e3)
        } else {
            Err(format!("p2pchat id: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    };
    // The first one makes the identity.
    run()?;
    let millis = (0..runs).map(|_| run()).collect::<Result<Samples>>()?;
    rows.push(Row::new("`p2pchat id`", "ms", millis).aim(Aim::AtMost(15.0)));
    Ok(())
}

fn meetings(runs: usize, rows: &mut Vec<Row>) -> Result {
    let place = Place::new()?;
    let (mut first, mut again) = (Samples::default(), Samples::default());
    for run in 0..runs {
        let trace = Trace::default();
        let mut alice = listener(&place, &format!("alice{run}"), &trace)?;
        // The port of last time instead of another one each time, as without the harness.
        let bob = peer(&place, &format!("bob{run}"), &trace)?.bind_everywhere();
        first.push(meet(&bob, &mut alice, &trace)?);
        again.push(meet(&bob, &mut alice, &trace)?);
    }
    let what = "`p2pchat connect` started, to its first message delivered";
    rows.push(Row::new(what, "ms", again).aim(Aim::AtMost(60.0)));
    rows.push(Row::new("the same to somebody new, at a new broker", "ms", first));
    Ok(())
}

fn meet(bob: &Setup, alice: &mut Peer, trace: &Trace) -> Result<f64> {
    let start = trace.elapsed();
    let to = alice.name().to_owned();
    let mut bob = bob.start(&["connect", "--to", &to, "--message", "hello"])?;
    let hello = message("hello");
    let came = at(alice, |line| line.event.as_ref().is_some_and(|event| hello.matches(event)))?;
    bob.quit()?;
    alice.wait(&session("closed"), PROMPT)?;
    alice.take_events();
    Ok((came - start).as_secs_f64() * 1e3)
}

fn typed(runs: usize, rows: &mut Vec<Row>) -> Result {
    let place = Place::new()?;
    let trace = Trace::default();
    let _alice = listener(&place, "alice", &trace)?;
    let mut bob = peer(&place, "bob", &trace)?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), PROMPT)?;
    let (mut middle, mut late) = (Samples::default(), Samples::default());
    let stored = event("receipt").with("state", "stored");
    for _ in 0..runs {
        let mut millis = Samples::default();
        for _ in 0..LINES {
            let start = trace.elapsed();
            bob.send_line("a line that somebody typed, of about sixty-four bytes as they are")?;
            let came = at(&mut bob, |line| line.event.as_ref().is_some_and(|event| stored.matches(event)))?;
            millis.push((came - start).as_secs_f64() * 1e3);
            bob.take_events();
        }
        middle.push(millis.median());
        late.push(millis.quantile(0.99));
    }
    rows.push(Row::new("typed to stored, p50", "ms", middle).aim(Aim::AtMost(2.0)));
    rows.push(Row::new("typed to stored, p99", "ms", late));
    Ok(())
}

fn idle(rows: &mut Vec<Row>) -> Result {
    let place = Place::new()?;
    let alice = listener(&place, "alice", &Trace::default())?;
    let id = alice.process.id();
    std::thread::sleep(Duration::from_secs(1));
    let before = switches(id)?;
    std::thread::sleep(WATCHED);
    let woken = switches(id)? - before;
    let resident = status(id, "VmRSS")? / 1024.0;
    rows.push(Row::new("idle client, resident", "MiB", once(resident)).aim(Aim::AtMost(12.0)));
    let what = format!("idle client, times it woke up in {} s", WATCHED.as_secs());
    rows.push(Row::new(what, "", once(woken)).aim(Aim::AtMost(WAKE_UPS)));
    Ok(())
}

fn broker(runs: usize, rows: &mut Vec<Row>) -> Result {
    let mut each = Samples::default();
    for _ in 0..runs {
        let place = Place::new()?;
        let id = place.broker.id();
        // What is needed for the first client is needed by a broker, not by a client.
        let mut first = Running::start(RoleKind::Links, "any", &[&place.broker.url(), "1"])?;
        first.ready()?;
        drop(first);
        let before = status(id, "VmRSS")?;
        let mut links = Running::start(RoleKind::Links, "any", &[&place.broker.url(), &CLIENTS.to_string()])?;
        links.value("ready", Duration::from_secs(60))?;
        each.push((status(id, "VmRSS")? - before) / CLIENTS as f64);
    }
    let what = format!("broker, resident for each of {CLIENTS} idle clients");
    rows.push(Row::new(what, "KiB", each).aim(Aim::AtMost(8.0)));
    Ok(())
}

pub fn peer(place: &Place, name: &str, trace: &Trace) -> Result<Setup> {
    let home = place.home.path().join(name);
    fs::create_dir_all(&home)?;
    private(&home)?;
    let peer = Setup::new(name, &home, trace).broker(&place.broker.url()).accept_everything();
    // With an identity, as every start but the first.
    peer.clone().plain().run(&["id"], PROMPT)?;
    Ok(peer)
}

fn listener(place: &Place, name: &str, trace: &Trace) -> Result<Peer> {
    let mut peer = peer(place, name, trace)?.start(&["listen"])?;
    peer.wait(&event("broker").with("state", "connected"), PROMPT)?;
    Ok(peer)
}

/// When the first such line came.
fn at(peer: &mut Peer, wanted: impl Fn(&Line) -> bool) -> Result<Duration> {
    Ok(peer
        .process
        .find("the line that ends the measurement", PROMPT, |line| wanted(line).then_some(line.at))?)
}

/// A home that only its owner sees, as the program makes it.
fn private(home: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(home, fs::Permissions::from_mode(0o700))?)
}

/// A number of `/proc/ID/status` (proc_pid_status(5)), in its own unit.
pub fn status(id: u32, key: &str) -> Result<f64> {
    number(&fs::read_to_string(format!("/proc/{id}/status"))?, key)
}

/// How often the threads of a process went to sleep by themselves, and so were woken.
fn switches(id: u32) -> Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        sum += number(&fs::read_to_string(thread?.path().join("status"))?, "voluntary_ctxt_switches")?;
    }
    Ok(sum)
}

fn number(status: &str, key: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no such number")?;
    Ok(number.parse()?)
}

fn once(result: f64) -> Samples {
    std::iter::once(result).collect()
}
