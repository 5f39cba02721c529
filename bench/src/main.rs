//! Measures p2pchat, and what it is compared with in the same run, and writes `docs/performance.md`.
//!
//! - [`figures`]: what is measured, one file for each kind of figure.
//! - [`peers`]: the two ends of a measurement, each a process of its own: this program again, in a role.
//! - [`driver`]: the shell of the product's client, for what goes below it.
//! - [`simulated`]: both ends in this process and in virtual time.
//! - [`contest`]: rounds in which each contender has its turn, so that a busy machine hits all alike.
//! - [`sample`], [`report`], [`plot`]: numbers, and the page made of them.
//!
//! Every process is bound to the cores that its figure names, is waited for with a deadline, and is
//! ended by its owner.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "whoever measures reads the clock")]

mod arguments;
mod contest;
mod cpu;
mod driver;
mod figures;
mod peers;
mod plot;
mod report;
mod role;
mod sample;
mod simulated;

use std::process::ExitCode;

/// Why a measurement or a role ended early. Only for people to read.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T = ()> = std::result::Result<T, Failure>;

fn main() -> ExitCode {
    let outcome = match arguments::parse(std::env::args().skip(1)) {
        Ok(arguments::Task::Role(role)) => role.run(),
        Ok(arguments::Task::Measure(plan)) => figures::run(&plan),
        Err(usage) => Err(usage.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("p2pchat-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
