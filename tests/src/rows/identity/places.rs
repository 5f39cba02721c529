//! K4: keys where others could read or replace them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use p2pchat_crypto::{Identity, keyfile};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::home::Home;
use crate::binaries;
use crate::peer::Outcome;
use crate::process::{PROMPT, Process, Stream, command};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::trace::Trace;

/// Modes by which others get at a key.
const KEY_MODES: [u32; 6] = [0o644, 0o640, 0o604, 0o660, 0o602, 0o601];
/// Modes by which others replace what is in a directory.
const DIRECTORY_MODES: [u32; 3] = [0o777, 0o770, 0o703];

pub(super) fn unsafe_places(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (mut refused, mut all) = (0, 0);
    let mut add = |was_refused: bool| {
        all += 1;
        refused += usize::from(was_refused);
    };
    for mode in KEY_MODES {
        let home = Home::open(lab)?;
        set_mode(home.key(), mode)?;
        add(is_refused(&home, "chmod 600", defence)?);
    }
    for mode in DIRECTORY_MODES {
        let home = Home::open(lab)?;
        set_mode(home.directory(), mode)?;
        add(is_refused(&home, "chmod go-w", defence)?);
        set_mode(home.directory(), 0o700)?;
    }
    // A link to a key that is in order by itself.
    let home = Home::open(lab)?;
    let elsewhere = home.outside().join("elsewhere.key");
    fs::rename(home.key(), &elsewhere)?;
    symlink(&elsewhere, home.key())?;
    add(is_refused(&home, "not a regular file", defence)?);
    if defence == Defence::InPlace {
        // What blocks or cannot be read at all; a careless reader would wait for the first.
        fs::remove_file(home.key())?;
        mknodat(CWD, home.key(), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        add(is_refused(&home, "not a regular file", defence)?);
        fs::remove_file(home.key())?;
        fs::create_dir(home.key())?;
        add(is_refused(&home, "not a regular file", defence)?);
        let [key, directory] = brokers_key(lab)?;
        add(key);
        add(directory);
    }
    let good = Home::open(lab)?.id()?;
    let held = refused == all && good.exit == 0;
    let what = if held { "refused with the command that mends it; a private key is taken" } else { "taken" };
    Ok(Seen::when(held, what).figure(format!("{refused} of {all} places refused")))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), NotRun> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Whether the program ends with `advice` and does not say who it is. The double reads whatever is there.
fn is_refused(home: &Home, advice: &str, defence: Defence) -> Result<bool, NotRun> {
    if defence == Defence::Removed {
        return Ok(keyfile::open(&fs::read(home.key())?, None).is_err());
    }
    let seed = p2pchat_crypto::Seed::from_bytes(home.seed);
    let id = Identity::from_seed(&seed).peer_id().to_string();
    let ended = home.id()?;
    let advised = ended.err.iter().any(|line| line.contains(advice));
    let silent = !ended.out.iter().any(|line| line.contains(&id));
    Ok(ended.exit == 1 && advised && silent)
}

/// The broker's key: readable by others, and in a directory in which everybody writes.
fn brokers_key(lab: &mut Lab) -> Result<[bool; 2], NotRun> {
    let home = Home::open(lab)?;
    let data = home.outside().join("broker");
    let made = broker_key(&data)?;
    let key = data.join("broker.key");
    set_mode(&key, 0o644)?;
    let readable = broker_key(&data)?;
    set_mode(&key, 0o600)?;
    set_mode(&data, 0o777)?;
    let writable = broker_key(&data)?;
    set_mode(&data, 0o700)?;
    let refused = |ended: &Outcome, advice: &str| {
        made.exit == 0
            && ended.exit != 0
            && ended.out.is_empty()
            && ended.err.iter().any(|line| line.contains(advice))
    };
    Ok([refused(&readable, "chmod 600"), refused(&writable, "chmod o-w")])
}

/// `p2pchat-broker key`.
fn broker_key(data: &Path) -> Result<Outcome, NotRun> {
    let trace = Trace::default();
    let begin = trace.elapsed();
    let mut command = command(&binaries::find(binaries::BROKER)?, Path::new("/"));
    command.args(["key", "--data"]).arg(data);
    let mut process = Process::spawn("broker", command, &trace)?;
    let exit = process.wait_exit(PROMPT)?;
    let took = trace.elapsed().saturating_sub(begin);
    let (out, err): (Vec<_>, Vec<_>) =
        process.take_lines().into_iter().partition(|line| line.stream == Stream::Out);
    let [out, err] = [out, err].map(|lines| lines.into_iter().map(|line| line.text).collect());
    Ok(Outcome { exit, took, out, err })
}
