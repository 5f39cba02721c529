//! `p2pchat-harness`: shows the product at work.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use p2pchat_harness::demo;

const USAGE: &str = "\
usage: p2pchat-harness demo [--file FILE]

  demo   two people talk and pass a file, on this machine alone
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let file = match arguments.as_slice() {
        [demo] if demo == "demo" => None,
        [demo, flag, file] if demo == "demo" && flag == "--file" => Some(PathBuf::from(file)),
        [help] if help == "--help" || help == "help" => {
            return say(&mut io::stdout(), USAGE, ExitCode::SUCCESS);
        }
        _ => return say(&mut io::stderr(), USAGE, ExitCode::from(2)),
    };
    match demo::run(file, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => say(&mut io::stderr(), &format!("the demo failed: {failure}\n"), ExitCode::FAILURE),
    }
}

fn say(to: &mut dyn Write, text: &str, exit: ExitCode) -> ExitCode {
    // A closed output changes nothing about the exit code.
    let _ = to.write_all(text.as_bytes());
    exit
}
