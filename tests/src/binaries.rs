//! Finds the programs under test: those of the same build as the running executable.

use std::env;
use std::path::{Path, PathBuf};

use crate::process::Failure;

/// The peer's program.
pub const PEER: &str = "p2pchat";
/// The broker's program.
pub const BROKER: &str = "p2pchat-broker";

/// The path of a program that was built with this executable.
///
/// A test runs from `PROFILE/deps`, a binary from `PROFILE`; the programs lie in `PROFILE`.
///
/// # Errors
/// If it was not built.
pub fn find(program: &'static str) -> Result<PathBuf, Failure> {
    let missing = |looked: &Path| Failure::NotBuilt { program, looked: looked.to_owned() };
    let here = env::current_exe().map_err(|_| missing(Path::new("?")))?;
    let Some(folder) = here.parent() else { return Err(missing(&here)) };
    let profile = match (folder.file_name(), folder.parent()) {
        (Some(name), Some(parent)) if name == "deps" => parent,
        _ => folder,
    };
    let path = profile.join(program);
    if path.is_file() { Ok(path) } else { Err(missing(&path)) }
}
