//! C6: that a test holds each numbered sentence of the protocol page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rows::{Defence, Lab, NotRun, Seen};

/// The sources from which the harness was built.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = "docs/protocol.md";
const CHECK: &str = "scripts/musts";
/// Where tests stand.
const TESTS: [&str; 2] = ["crates", "tests"];

/// The row.
pub(super) fn held(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let sources = Path::new(SOURCES);
    if !sources.join(CHECK).exists() {
        return Err(NotRun("the sources are not where the harness was built".to_owned()));
    }
    let copy = tempfile::tempdir()?;
    for file in [CHECK, PAGE] {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().unwrap_or(copy.path()))?;
        fs::copy(sources.join(file), to)?;
    }
    for directory in TESTS {
        sources_below(sources, Path::new(directory), copy.path())?;
    }
    if defence == Defence::Removed {
        take_a_test_out(copy.path())?;
    }
    let checked = Command::new("sh").arg(copy.path().join(CHECK)).output()?;
    let said = String::from_utf8_lossy(&checked.stdout);
    let last = said.lines().last().unwrap_or("it said nothing").to_owned();
    Ok(Seen::when(checked.status.success(), last))
}

/// Copies the Rust files below `directory`.
fn sources_below(from: &Path, directory: &Path, to: &Path) -> Result<(), NotRun> {
    fs::create_dir_all(to.join(directory))?;
    for entry in fs::read_dir(from.join(directory))? {
        let entry = entry?;
        let path: PathBuf = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                sources_below(from, &path, to)?;
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            fs::copy(entry.path(), to.join(&path))?;
        }
    }
    Ok(())
}

/// Renames the test that the page names first.
fn take_a_test_out(copy: &Path) -> Result<(), NotRun> {
    let page = fs::read_to_string(copy.join(PAGE))?;
    let named = page.split("Test: `").nth(1).and_then(|rest| rest.split('`').next());
    let test = named.and_then(|test| test.rsplit("::").next()).ok_or_else(no_test)?;
    let mut left: Vec<PathBuf> = TESTS.map(|directory| copy.join(directory)).into();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path)?.filter_map(Result::ok).map(|entry| entry.path()));
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let (here, gone) = (format!("fn {test}("), format!("fn not_{test}("));
        if text.contains(&here) {
            fs::write(&path, text.replace(&here, &gone))?;
            return Ok(());
        }
    }
    Err(no_test())
}

fn no_test() -> NotRun {
    NotRun(format!("{PAGE} names no test"))
}
