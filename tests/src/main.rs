//! `p2pchat-harness`: shows the product at work, and under attack.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use p2pchat_harness::demo;
use p2pchat_harness::rows::{self, Row, report};

const USAGE: &str = "\
usage: p2pchat-harness demo [--file FILE]
       p2pchat-harness list
       p2pchat-harness run [ROW...] [--long] [--seed S] [--report FILE]

  demo   two people talk and pass a file, on this machine alone
  list   every attack, with what has to happen
  run    mounts the attacks named, or all of them: each against the product, where it
         must fail, and against a double without the defence, where it must succeed;
         with --long those that need packages of others, which `make harness-long` fetches, root
         for network namespaces, or minutes
";

/// What to do, as the command line says it.
enum Task {
    Help,
    Demo(Option<PathBuf>),
    List,
    Run { rows: Vec<String>, long: bool, seed: u64, report: Option<PathBuf> },
}

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let done = match task(&arguments) {
        Some(Task::Help) => write!(io::stdout(), "{USAGE}").map(|()| ExitCode::SUCCESS),
        Some(Task::Demo(file)) => return play(file),
        Some(Task::List) => list(),
        Some(Task::Run { rows, long, seed, report }) => attack(&rows, long, seed, report),
        None => write!(io::stderr(), "{USAGE}").map(|()| ExitCode::from(2)),
    };
    // A closed output is nobody to tell about it.
    done.unwrap_or(ExitCode::FAILURE)
}

fn task(arguments: &[String]) -> Option<Task> {
    let (command, rest) = arguments.split_first()?;
    match (command.as_str(), rest) {
        ("help" | "--help" | "-h", []) => Some(Task::Help),
        ("demo", []) => Some(Task::Demo(None)),
        ("demo", [flag, file]) if flag == "--file" => Some(Task::Demo(Some(file.into()))),
        ("list", []) => Some(Task::List),
        ("run", rest) => run_task(rest),
        _ => None,
    }
}

fn run_task(mut rest: &[String]) -> Option<Task> {
    let (mut rows, mut long, mut seed, mut report) = (Vec::new(), false, 1, None);
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if first == "--seed" || first == "--report" {
            let (value, others) = rest.split_first()?;
            rest = others;
            if first == "--seed" {
                seed = value.parse().ok()?;
            } else {
                report = Some(value.into());
            }
        } else if first == "--long" {
            long = true;
        } else if first.starts_with('-') {
            return None;
        } else {
            rows.push(first.to_ascii_uppercase());
        }
    }
    Some(Task::Run { rows, long, seed, report })
}

fn play(file: Option<PathBuf>) -> ExitCode {
    match demo::run(file, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _nobody_reads = writeln!(io::stderr(), "the demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    for row in rows::all().chain(rows::long()) {
        writeln!(out, "{:<4} {}: {}", row.id, row.attack, row.expected)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn attack(wanted: &[String], long: bool, seed: u64, file: Option<PathBuf>) -> io::Result<ExitCode> {
    let all: Vec<Row> = match (wanted, long) {
        ([], false) => rows::all().collect(),
        ([], true) => rows::long().collect(),
        ([..], _) => rows::all().chain(rows::long()).collect(),
    };
    if let Some(unknown) = wanted.iter().find(|id| !all.iter().any(|row| row.id == id.as_str())) {
        writeln!(io::stderr(), "no row {unknown}; p2pchat-harness list shows them")?;
        return Ok(ExitCode::from(2));
    }
    let mut out = io::stdout();
    writeln!(out, "seed {seed}")?;
    // A row that panics is reported as such; its message is in the report.
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = Vec::new();
    for row in all {
        if wanted.is_empty() || wanted.iter().any(|id| id == row.id) {
            let finding = rows::run(row, seed);
            report::line(&mut out, &finding)?;
            findings.push(finding);
        }
    }
    report::summary(&mut out, &findings)?;
    if let Some(file) = file {
        fs::write(&file, format!("{:#}\n", report::json(&findings, seed)))?;
    }
    let passed = findings.iter().all(rows::Finding::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
