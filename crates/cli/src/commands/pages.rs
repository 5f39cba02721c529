//! `completions` and `man`: what other programs read about this one.

use std::fs;
use std::path::Path;

use clap_complete::Shell;
use p2pchat_client::Failure;

use super::definition;
use crate::output;

/// Writes completions to standard output.
pub(super) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "p2pchat", &mut script);
    output::print_raw(&script)?;
    Ok(0)
}

/// Writes one manual page a command into a directory.
pub(super) fn man(directory: &Path) -> Result<u8, Failure> {
    let failed = |error: std::io::Error| Failure::Local {
        what: format!("cannot write manual pages into {}", directory.display()),
        reason: error.to_string(),
    };
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(definition(), directory).map_err(failed)?;
    Ok(0)
}
