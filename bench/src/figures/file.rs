//! A large file from memory to memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu::Cores;
use crate::figures::ssh::Ssh;
use crate::figures::world::Place;
use crate::peers::client::Thread;
use crate::report::{Aim, Report, Row, Table};
use crate::role::{RoleKind, Running};
use crate::sample::Samples;

const LEN: u64 = 1 << 30;
const MEMORY: &str = "/dev/shm";
/// Most memory of a side, MiB.
const SIDE_MAX: f64 = 16.0;

/// 1 GiB over TCP, plain and as the product carries it.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let Ok(dir) = TempDir::new_in(MEMORY) else {
        report.missing(format!("the file: no memory file system at {MEMORY}"));
        return Ok(());
    };
    let source = dir.path().join("source");
    fill(&source)?;
    let (mut giving, mut taking) = (Samples::default(), Samples::default());
    let ssh = match Ssh::missing() {
        None => Some(Ssh::start()?),
        Some(why) => {
            report.missing(format!("the file over scp and ssh: {why}"));
            None
        }
    };
    let target = dir.path().join("over-ssh");
    let mut contenders = vec![
        Contender::new("TCP, plain copy", || plain(&source, dir.path())),
        Contender::new("p2pchat", || {
            let carried = carried(&source, dir.path())?;
            giving.push(carried.giving);
            taking.push(carried.taking);
            Ok(carried.nanos)
        }),
    ];
    if let Some(ssh) = &ssh {
        let (source, target) = (&source, &target);
        let checked = move |nanos: f64| check_and_remove(target).map(|()| nanos);
        contenders.push(Contender::new("scp", move || ssh.scp(source, target).and_then(checked)));
        contenders.push(Contender::new("ssh cat", move || ssh.cat(source, target).and_then(checked)));
    }
    // A virtual machine gets its memory from its host when it is first touched: this copy does not count.
    plain(&source, dir.path())?;
    let results = hold(runs, contenders)?;
    let [(_, plain), (_, ours), tools @ ..] = &results[..] else { return Err("two contenders".into()) };
    let rate = |nanos: &Samples| {
        let all = std::iter::repeat_n(LEN as f64 * 1e9 / 1e6, nanos.count()).collect::<Samples>();
        all.ratio_to(nanos)
    };
    let mut rows: Vec<_> =
        results.iter().map(|(name, nanos)| Row::new(*name, "MB/s", rate(nanos)).plotted()).collect();
    rows.push(Row::new("p2pchat to plain copy", "ratio", plain.ratio_to(ours)).aim(Aim::AtLeast(0.55)));
    for ((name, theirs), aim) in tools.iter().zip([2.0, 1.5]) {
        let row = Row::new(format!("p2pchat to {name}"), "ratio", theirs.ratio_to(ours));
        rows.push(row.aim(Aim::AtLeast(aim)));
    }
    rows.push(Row::new("most memory of the sender", "MiB", giving).aim(Aim::AtMost(SIDE_MAX)));
    rows.push(Row::new("most memory of the receiver", "MiB", taking).aim(Aim::AtMost(SIDE_MAX)));
    report.add(Table {
        name: "file",
        title: "A file of 1 GiB",
        about: format!(
            "From {MEMORY} to {MEMORY}, on any core. The plain copy reads, writes and nothing else; the \
             product's time is from the offer until the receiver has verified, synced and named the file; \
             scp and ssh go through a connection that is there already, with aes128-gcm."
        ),
        rows,
    });
    Ok(())
}

fn fill(path: &Path) -> Result {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let mut block = vec![0; 1 << 20];
    let mut file = File::create(path)?;
    for _ in 0..LEN >> 20 {
        rng.fill_bytes(&mut block);
        file.write_all(&block)?;
    }
    Ok(())
}

fn plain(source: &Path, dir: &Path) -> Result<f64> {
    let target = dir.join("plain");
    let core = Cores::Free.of_asking();
    let mut taking = Running::start(RoleKind::TcpTake, core, &[&text(&target)])?;
    let to = taking.ready()?;
    let nanos = Running::start(RoleKind::TcpGive, core, &[&to, &text(source)])?.result()?;
    check_and_remove(&target)?;
    Ok(nanos)
}

struct Carried {
    nanos: f64,
    giving: f64,
    taking: f64,
}

fn carried(source: &Path, dir: &Path) -> Result<Carried> {
    let place = Place::new()?;
    let (url, core) = (place.broker.url(), Cores::Free.of_asking());
    let (downloads, thread) = (dir.join("downloads"), Thread::OfItsOwn.word());
    let mut taking = Running::start(RoleKind::ClientEcho, core, &[thread, &url, &text(&downloads)])?;
    taking.ready()?;
    let mut giving = Running::start(RoleKind::ClientFileTo, core, &[thread, &url, &text(source)])?;
    let nanos = giving.result()?;
    let carried = Carried { nanos, giving: most_memory(giving.0.id())?, taking: most_memory(taking.0.id())? };
    check_and_remove(&downloads.join("source"))?;
    Ok(carried)
}

/// The most that a process had in memory, MiB.
fn most_memory(id: u32) -> Result<f64> {
    super::product::status(id, "VmHWM").map(|kib| kib / 1024.0)
}

/// A copy that is not whole proves nothing.
fn check_and_remove(path: &PathBuf) -> Result {
    let len = fs::metadata(path)?.len();
    fs::remove_file(path)?;
    if len == LEN { Ok(()) } else { Err(format!("{} holds {len} bytes", path.display()).into()) }
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
