//! C4: one profile, several processes.

use std::fs;
use std::path::Path;

use crate::event::event;
use crate::peer::{Peer, Setup};
use crate::process::PROMPT;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{World, listen};

/// How many start at one moment.
const AT_ONCE: usize = 6;
/// The exit code of a process that was refused.
const REFUSED: i32 = 1;

pub(super) fn at_once(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let world = World::new()?;
    let alice = world.person("alice")?;
    let mut first = listen(&alice)?;
    // A second one, in its turn. The double has a profile that nobody holds: a copy of it.
    let second = match defence {
        Defence::InPlace => alice.clone(),
        Defence::Removed => {
            let copy = world.directory("copy")?;
            copy_of(alice.home(), &copy)?;
            Setup::new("alice", &copy, &world.trace).broker(&world.broker.url())
        }
    };
    let mut refused = 0;
    for words in [&["listen"][..], &["connect", "--to", "bob"]] {
        let mut peer = second.start(words)?;
        refused += usize::from(is_refused(&mut peer)?);
    }
    let goes_on = defence == Defence::Removed || first.info().is_ok();
    drop(first);
    // Several at one moment: one gets it, and keeps it until all others have been told.
    let started: Result<Vec<Peer>, _> = (0..AT_ONCE).map(|_| alice.start(&["listen"])).collect();
    let mut told = 0;
    let mut started = started?;
    for peer in &mut started {
        told += usize::from(is_refused(peer)?);
    }
    let held = refused == 2 && goes_on && told == AT_ONCE - 1;
    let figure = format!("{refused} of 2 refused in their turn, {told} of {AT_ONCE} at one moment");
    Ok(Seen::when(held, "a profile that somebody holds, and one that several want").figure(figure))
}

/// Whether it is told that another process has the profile; else it has it itself.
fn is_refused(peer: &mut Peer) -> Result<bool, NotRun> {
    match peer.wait(&event("ready"), PROMPT) {
        Ok(_) => Ok(false),
        Err(crate::process::Failure::Ended { exit: REFUSED, trace, .. })
            if trace.contains("already_running") =>
        {
            Ok(true)
        }
        Err(failure) => Err(failure.into()),
    }
}

fn copy_of(from: &Path, to: &Path) -> Result<(), NotRun> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
