//! The binary `p2pchat`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(p2pchat_cli::run(&std::env::args_os().collect::<Vec<_>>()))
}
