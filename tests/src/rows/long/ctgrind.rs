//! K11: whether a secret decides where the program goes, or from where it reads.
//!
//! `crates/ctgrind` is a program of one operation each: it marks the operation's secrets as memory that holds
//! nothing yet, and valgrind's memcheck, under which it runs, reports each branch and each address that
//! depends on such memory. It is built as releases are (`[profile.ctgrind]`). There stands what is left out.
//!
//! What an operation may branch on is named, function by function and with the reason, in `outcomes.supp`
//! beside it: whether a tag or a key was right, once all of it was compared, and public keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::package;
use crate::process::{PROMPT, Process, Stream, command};
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::trace::Trace;

/// What may be branched on.
const OUTCOMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/ctgrind/outcomes.supp");
/// Where memcheck writes what it sees.
const LOG: &str = "log";
/// How memcheck ends a program in which it saw something.
const SAW: i32 = 9;
/// How long one operation may take, some fifty times slower than it is, on a machine that is busy.
const RUNS: Duration = Duration::from_secs(60);
/// What begins a report on a branch, and on an address.
const BRANCHES: &str = "Conditional jump or move depends on uninitialised value";
const ADDRESSES: &str = "Use of uninitialised value of size";

const BRANCH: Promise = "no branch depends on a secret";
const ADDRESS: Promise = "no address depends on a secret";

/// The program's doubles of a hello's MAC: compared until it differs, and looked up in a table.
const DOUBLES: [(&str, Promise); 2] = [("double-ends-early", BRANCH), ("double-looks-up", ADDRESS)];

/// The program, and what it runs under.
struct Memcheck {
    valgrind: PathBuf,
    program: PathBuf,
    home: TempDir,
}

/// What memcheck saw of one operation.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    /// How often.
    times: u64,
    broken: BTreeSet<Promise>,
    /// The two innermost places of the first of it, the standard library's apart.
    first: String,
}

pub(super) fn tells_nothing(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let memcheck = Memcheck {
        valgrind: package("valgrind", "the Debian package valgrind")?,
        program: package("p2pchat-ctgrind", "this workspace")?,
        home: TempDir::new()?,
    };
    let operations = memcheck.operations()?;
    let mut figures = Vec::new();
    let seen = each(defence, &DOUBLES, |double| {
        let mut broken = BTreeSet::new();
        let doubles: Vec<_> = double.map(str::to_owned).into_iter().collect();
        for operation in if double.is_some() { &doubles } else { &operations } {
            let report = memcheck.run(operation)?;
            figures.push(format!("{operation} {}{}", report.times, report.first));
            broken.extend(report.broken);
        }
        Ok(broken)
    })?;
    Ok(seen.figure(figures.join(", ")))
}

impl Memcheck {
    /// Those of the product.
    fn operations(&self) -> Result<Vec<String>, NotRun> {
        let mut listed = command(&self.program, self.home.path());
        listed.arg("--list");
        let mut process = Process::spawn("ctgrind", listed, &Trace::default())?;
        let exit = process.wait_exit(PROMPT)?;
        let names: Vec<_> = process.take_lines().into_iter().map(|line| line.text).collect();
        if exit != 0 || names.is_empty() {
            return Err(NotRun(format!("p2pchat-ctgrind lists nothing:\n{}", process.trace())));
        }
        Ok(names)
    }

    fn run(&self, operation: &str) -> Result<Report, NotRun> {
        let log = self.home.path().join(LOG);
        let mut checked = command(&self.valgrind, self.home.path());
        checked.args(["--tool=memcheck", "--quiet", "--leak-check=no", "--error-limit=no"]);
        checked.arg(format!("--error-exitcode={SAW}")).arg(format!("--suppressions={OUTCOMES}"));
        checked.arg(format!("--log-file={}", log.display())).arg(&self.program).arg(operation);
        let mut process = Process::spawn("valgrind", checked, &Trace::default())?;
        let times = process.find("how often", RUNS, |line| {
            (line.stream == Stream::Out).then(|| line.text.parse::<u64>().ok()).flatten()
        })?;
        let exit = process.wait_exit(RUNS)?;
        let report = Report::read(times, &fs::read_to_string(log)?);
        // Both say so, or there is something that neither of the promises is about.
        let right = if times == 0 { exit == 0 } else { exit == SAW };
        if !right || report.broken.is_empty() != (times == 0) {
            let said = &report.first;
            return Err(NotRun(format!("{operation} ends with {exit}:{said}\n{}", process.trace())));
        }
        Ok(report)
    }
}

impl Report {
    fn read(times: u64, log: &str) -> Self {
        let broken = [(BRANCHES, BRANCH), (ADDRESSES, ADDRESS)].into_iter();
        let broken = broken.filter(|(what, _)| log.contains(what)).map(|(_, promise)| promise).collect();
        // `==PID==    at 0xADDRESS: function (file:line)`.
        let places = log.lines().filter(|line| line.contains(" at 0x") || line.contains(" by 0x"));
        let place = places.filter_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'));
        let ours = place.filter(|place| place.contains(".rs:") && !place.starts_with("library/"));
        let first: Vec<_> = ours.take(2).collect();
        let first = if first.is_empty() { String::new() } else { format!(" ({})", first.join(" < ")) };
        Self { times, broken, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_memcheck_saw_and_where() {
        let log = "==7== Conditional jump or move depends on uninitialised value(s)\n\
                   ==7==    at 0x1234: all<u8, {closure_env#0}<32>> (library/core/src/macros.rs:315)\n\
                   ==7==    by 0x1234: p2pchat_crypto::secret::is_zero (secret.rs:89)\n\
                   ==7==    by 0x1234: p2pchat_crypto::secret::random (secret.rs:83)\n\
                   ==7==    by 0x1235: main (in /tmp/p2pchat-ctgrind)\n";
        let report = Report::read(1, log);
        assert_eq!(report.broken, BTreeSet::from([BRANCH]));
        assert_eq!(report.first, " (secret.rs:89 < secret.rs:83)");
        let log = "==7== Use of uninitialised value of size 8\n==7==    at 0x1: f (e_aes.c:1)\n";
        let report = Report::read(1, log);
        assert_eq!((report.broken, report.first.as_str()), (BTreeSet::from([ADDRESS]), ""));
        assert_eq!(Report::read(0, "").broken, BTreeSet::new());
    }
}
