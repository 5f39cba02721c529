//! `transfers`: what runs in the chat that is open, and what others left half done.

use std::path::Path;

use p2pchat_client::files::{Unfinished, remove_unfinished, unfinished};
use p2pchat_client::{Failure, json};
use p2pchat_proto::WallTime;
use serde_json::Value;

use super::chat::download_dir;
use super::history::moment;
use super::runtime;
use crate::args::{Transfers, TransfersWhat};
use crate::clock::wall_time;
use crate::control::{self, Answer, Call, Envelope, Place, TransfersCall, strange};
use crate::output::{self, TimeOfDay, bytes};
use crate::profile::Profile;
use crate::terminal::{Terminal, ask};

/// What the process that holds the profile answered.
enum Heard {
    /// Transfers, as in `files`.
    Files(Vec<Value>),
    /// No chat is open.
    Nobody,
    /// It said no; the exit status.
    Refused(u8),
}

/// Shows what there is, ends one that runs, removes what is left of others.
pub(super) fn run(profile: &Profile, args: &Transfers) -> Result<u8, Failure> {
    match args.what.as_ref().unwrap_or(&TransfersWhat::List) {
        TransfersWhat::List => list(profile),
        TransfersWhat::Resume { what } => resume(profile, what),
        TransfersWhat::Cancel { number } => cancel(profile, *number),
        TransfersWhat::Clean { older_than, yes } => clean(profile, older_than.as_deref(), *yes),
    }
}

fn list(profile: &Profile) -> Result<u8, Failure> {
    let running = match call(profile, TransfersCall::List {})? {
        Heard::Files(files) => files,
        Heard::Nobody => Vec::new(),
        Heard::Refused(exit) => return Ok(exit),
    };
    let left = unfinished(&download_dir(profile)?)?;
    if profile.settings.json {
        output::print(&json::transfers(&running, &left, wall_time()))?;
        return Ok(0);
    }
    // What is written right now stands among those that run, unless another profile's process writes it.
    let left: Vec<_> = left.into_iter().filter(|one| !one.in_use || running.is_empty()).collect();
    if running.is_empty() && left.is_empty() {
        output::print("No transfers.")?;
    }
    show_running(&running)?;
    show_left(&left)?;
    Ok(0)
}

/// The protocol goes on with a transfer while both sides run: a connection that broke is replaced by itself.
fn resume(profile: &Profile, what: &str) -> Result<u8, Failure> {
    let number: Option<u64> = what.parse().ok();
    if let Heard::Files(files) = call(profile, TransfersCall::List {})?
        && let Some(file) = files.iter().find(|file| number.is_some() && file["transfer"].as_u64() == number)
    {
        show_running(std::slice::from_ref(file))?;
        return Ok(0);
    }
    Err(Failure::NotAllowed {
        what:
            "to go on with a transfer that has ended, without its sender: ask for the file to be sent again"
                .to_owned(),
    })
}

fn cancel(profile: &Profile, number: u32) -> Result<u8, Failure> {
    match call(profile, TransfersCall::Cancel { number })? {
        Heard::Files(files) if profile.settings.json => {
            output::print(&json::transfers(&files, &[], wall_time()))?;
            Ok(0)
        }
        Heard::Files(files) => show_running(&files).map(|()| 0),
        Heard::Nobody => Err(Failure::NoSuch { what: "transfer that runs: no chat is open" }),
        Heard::Refused(exit) => Ok(exit),
    }
}

fn clean(profile: &Profile, older_than: Option<&str>, yes: bool) -> Result<u8, Failure> {
    let now = wall_time();
    let before = older_than.map_or(Ok(WallTime(u64::MAX)), |text| moment("--older-than", text, now))?;
    let dir = download_dir(profile)?;
    if !yes && !confirmed(profile, &dir, before)? {
        return Ok(1);
    }
    let removed = remove_unfinished(&dir, before)?;
    if profile.settings.json {
        output::print(&json::cleaned(&removed, wall_time()))?;
        return Ok(0);
    }
    let all = bytes(removed.iter().map(|one| one.bytes).sum());
    output::print_line(&format!("{} half-done files removed from {}, {all}", removed.len(), dir.display()))?;
    Ok(0)
}

/// Whether the user wants it, where there is something to be removed.
fn confirmed(profile: &Profile, dir: &Path, before: WallTime) -> Result<bool, Failure> {
    let left = unfinished(dir)?;
    let left: Vec<_> = left.into_iter().filter(|one| !one.in_use && one.since < before).collect();
    if left.is_empty() {
        return Ok(true);
    }
    if profile.settings.json || !Terminal::detect().can_ask() {
        let what = "nobody can be asked here; say --yes to remove what is half done";
        return Err(Failure::Usage(what.to_owned()));
    }
    show_left(&left)?;
    let answer = ask(&format!("Remove {} from {}? [y/N] ", left.len(), dir.display()))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn call(profile: &Profile, call: TransfersCall) -> Result<Heard, Failure> {
    let json = profile.settings.json;
    let answer = runtime()?.block_on(async {
        match control::hold(&profile.home, &Envelope::asking(Call::Transfers(call))).await? {
            Place::Here(_) => Ok(None),
            Place::There(stream) => control::ask(stream, json).await.map(Some),
        }
    });
    Ok(match answer? {
        None => Heard::Nobody,
        Some(Answer::Refused(exit)) => Heard::Refused(exit),
        Some(Answer::Events(events)) => {
            let files = events.iter().find(|event| event["event"] == "files").ok_or_else(strange)?;
            Heard::Files(files["list"].as_array().cloned().ok_or_else(strange)?)
        }
    })
}

fn show_running(files: &[Value]) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["N", "", "WHO", "STATE", "DONE", "SIZE", "NAME", "ID"].map(str::to_owned)];
    rows.extend(files.iter().map(|file| {
        let text = |field: &str| file[field].as_str().unwrap_or("-").to_owned();
        let number = |field: &str| file[field].as_u64().unwrap_or(0);
        let arrow = if file["direction"] == "in" { "from" } else { "to" };
        let who =
            file["peer_name"].as_str().map_or_else(|| text("peer").chars().take(8).collect(), str::to_owned);
        let rate = file["rate"].as_u64().map_or_else(String::new, |rate| format!(" ({}/s)", bytes(rate)));
        [
            file["transfer"].to_string(),
            arrow.to_owned(),
            who,
            text("state"),
            format!("{}{rate}", bytes(number("bytes"))),
            bytes(number("total")),
            text("name"),
            text("peer"),
        ]
    }));
    output::table(&rows).iter().try_for_each(|line| output::print(line))
}

fn show_left(left: &[Unfinished]) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    let calendar = TimeOfDay::local();
    let mut rows = vec![["HALF DONE", "SIZE", "SINCE", ""].map(str::to_owned)];
    rows.extend(left.iter().map(|one| {
        let state = if one.in_use { "written right now" } else { "left behind" };
        let path = one.path.display().to_string();
        [path, bytes(one.bytes), calendar.day(one.since), state.to_owned()]
    }));
    output::table(&rows).iter().try_for_each(|line| output::print(line))
}
