//! `p2pchat-soak`: many worlds, for `make soak`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is for people to look at")]

use std::process::ExitCode;
use std::time::Instant;

use p2pchat_soak::{Tally, soak};

const USAGE: &str = "\
usage: p2pchat-soak [--from SEED] [--seeds COUNT] [--jobs COUNT]

  Runs the worlds of COUNT seeds (10,000) from SEED (0) on, as many at a time as there are cores
  unless --jobs says otherwise. Exits 1 if one breaks a rule, having said all about the first few.
";
/// Seeds that are run unless another count is asked for.
const SEEDS: u64 = 10_000;
/// Failures of which everything is said; of the others only the rule.
const TOLD_IN_FULL: u64 = 3;
/// Nanoseconds in an hour.
const HOUR: f64 = 3.6e12;

struct Task {
    from: u64,
    seeds: u64,
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = task(&arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    #[expect(clippy::disallowed_methods, reason = "how long it takes on this machine is what is shown")]
    let start = Instant::now();
    let mut told = 0;
    let tally = soak(task.from, task.seeds, task.jobs, |failure| {
        told += 1;
        if told <= TOLD_IN_FULL {
            println!("{failure}");
        } else {
            println!("seed {}, {}", failure.seed, failure.broken);
        }
    });
    say(&task, &tally, start.elapsed().as_secs_f64());
    if tally.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn task(arguments: &[String]) -> Option<Task> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut task = Task { from: 0, seeds: SEEDS, jobs };
    let (pairs, rest) = arguments.as_chunks::<2>();
    for [flag, value] in pairs {
        match flag.as_str() {
            "--from" => task.from = value.parse().ok()?,
            "--seeds" => task.seeds = value.parse().ok()?,
            "--jobs" => task.jobs = value.parse().ok().filter(|jobs| *jobs > 0)?,
            _ => return None,
        }
    }
    rest.is_empty().then_some(task)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn say(task: &Task, tally: &Tally, took: f64) {
    let Tally { seeds, broken, totals } = tally;
    println!(
        "{seeds} seeds from {} on, {broken} broken: {:.1} simulated hours in {took:.1} s, {:.1} seeds a second \
         with {} jobs",
        task.from,
        totals.time as f64 / HOUR,
        *seeds as f64 / took,
        task.jobs,
    );
    println!(
        "{} datagrams, {} messages, {} sessions up and {} lost (both sides counted), {} faults of networks, {} \
         processes ended and started again, traces {:016x}",
        totals.datagrams,
        totals.messages,
        totals.sessions,
        totals.lost,
        totals.faults,
        totals.restarts,
        totals.shape,
    );
}
