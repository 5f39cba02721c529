//! `p2pchat-broker`, the signaling broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    p2pchat_broker::cli::main()
}
