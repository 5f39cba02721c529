//! The disk is full at one write after the other: nothing that was acknowledged is missing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{Event, event, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::{Failure, PROMPT};
use p2pchat_harness::world::{MEETING, World, listen};

/// Bytes of the disk: the store of a few lines is about 100 KiB.
const SIZE: &str = "4m";
/// Bytes by which more room is left each time: what a file system gives at once.
const STEP: usize = 4_096;
/// How often: from no room at all to room for most lines.
const STEPS: usize = 24;
/// Lines that are typed each time, and characters of each, close to a page of the store.
const LINES: usize = 6;
const LONG: usize = 3_500;
/// What gives a disk room again is noticed after a second.
const AGAIN: Duration = Duration::from_secs(10);

/// A small disk that only its holder's mount namespace has, and whoever looks through that process.
struct Disk {
    holder: Child,
    path: PathBuf,
}

impl Disk {
    /// None where the system does not let this process have one.
    fn new(at: &Path) -> Option<Self> {
        let script = format!("mount -t tmpfs -o size={SIZE} none \"$0\" && echo mounted && cat");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(at);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut()?).read_line(&mut said).ok()?;
        let path = PathBuf::from(format!("/proc/{}/root{}", holder.id(), at.display()));
        let disk = Self { holder, path };
        (said == "mounted\n" && fs::metadata(&disk.path).is_ok()).then_some(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Takes all room but so many bytes.
    fn fill(&self, left: usize) {
        let mut file = File::create(self.ballast()).unwrap();
        let mut taken = 0;
        while file.write_all(&[0; STEP]).is_ok() {
            taken += STEP as u64;
        }
        let file = OpenOptions::new().write(true).open(self.ballast()).unwrap();
        file.set_len(taken.saturating_sub(left as u64)).unwrap();
    }

    fn make_room(&self) {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            Ok(()) | Err(_) => {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// What was acknowledged of the lines typed. The last line of one that was killed may be cut.
fn acknowledged(bob: &mut Peer) -> Vec<String> {
    let mine = event("message").with("mine", true);
    let said = bob.process.take_lines().into_iter().filter_map(|line| line.event);
    said.filter(|said| mine.matches(said)).map(|said| said.text("text").to_owned()).collect()
}

fn history(bob: &Setup) -> Vec<String> {
    let out = bob.run(&["history", "export", "--with", "alice", "--format", "json"], PROMPT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let events = out.out.iter().filter_map(|line| Event::parse(line));
    events.filter(|said| said.name() == "message").map(|said| said.text("text").to_owned()).collect()
}

#[test]
fn whatever_write_finds_the_disk_full_nothing_acknowledged_is_missing() {
    let world = World::new().unwrap();
    let Some(disk) = Disk::new(&world.directory("disk").unwrap()) else {
        p2pchat_harness::skipped("a full disk (Linux, root, and the programs unshare and mount are needed)");
        return;
    };
    let home = disk.path.join("home");
    fs::create_dir(&home).unwrap();
    let bob = Setup::new("bob", &home, &world.trace).broker(&world.broker.url());
    let mut at_alices = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
    at_bobs.expect(&session("up"), MEETING);
    say(&mut at_bobs, &mut at_alices, "hello").unwrap();
    at_bobs.quit().unwrap();
    at_alices.quit().unwrap();

    let mut kept = vec!["hello".to_owned()];
    let (mut refused, mut troubled, mut enough) = (0, 0, 0);
    for step in 0..STEPS {
        disk.fill(step * STEP);
        let mut at_bobs = bob.start(&["listen"]).unwrap();
        match at_bobs.wait(&event("ready"), PROMPT) {
            Ok(_) => {}
            Err(Failure::Ended { exit, trace, .. }) => {
                assert_eq!(exit, 1, "{trace}");
                assert!(trace.contains("no room left"), "{trace}");
                refused += 1;
                disk.make_room();
                continue;
            }
            Err(failure) => panic!("{failure}"),
        }
        let lines: Vec<String> = (0..LINES).map(|n| format!("{step} {n} {}", "x".repeat(LONG))).collect();
        for (id, line) in lines.iter().enumerate() {
            at_bobs.send_json(id as u64, Some("alice"), line).unwrap();
        }
        let full = event("error").with("code", "disk_full");
        let last = event("message").with("text", lines[LINES - 1].clone()).with("mine", true);
        let (mut waits, mut ends) = (false, Vec::new());
        at_bobs
            .process
            .find("the last line, or a full disk", PROMPT, |line| {
                let said = line.event.as_ref()?;
                waits |= full.matches(said);
                ends.extend(last.matches(said).then(|| said.text("text").to_owned()));
                (waits || !ends.is_empty()).then_some(())
            })
            .unwrap();
        if !waits {
            enough += 1;
        } else if step % 2 == 0 {
            troubled += 1;
            at_bobs.process.kill().unwrap();
        } else {
            troubled += 1;
            disk.make_room();
            // It goes on by itself.
            ends.push(at_bobs.expect(&last, AGAIN).text("text").to_owned());
        }
        let mut acked = acknowledged(&mut at_bobs);
        acked.extend(ends);
        disk.make_room();
        drop(at_bobs);
        let now = history(&bob);
        assert!(now.starts_with(&kept), "step {step}: what was there is there");
        let mut fresh = lines.iter();
        assert!(
            now[kept.len()..].iter().all(|text| fresh.any(|line| line == text)),
            "step {step}: in order, once"
        );
        let lost: Vec<&String> = acked.iter().filter(|text| !now.contains(text)).collect();
        assert!(lost.is_empty(), "step {step}: {lost:?}");
        kept = now;
    }
    let seen = format!("{refused} starts refused, {troubled} in trouble, {enough} with room enough");
    eprintln!("{seen}");
    assert!(troubled > 0 && enough > 0, "{seen}");
}

/// Longer than what is left in a store that cannot grow.
const NO_ROOM_FOR: usize = 60_000;

/// Bob, whose home is on a full disk and who knows alice; neither runs.
fn cramped(world: &World, disk: &Disk) -> (Setup, Setup) {
    let home = disk.path.join("home");
    fs::create_dir(&home).unwrap();
    let bob = Setup::new("bob", &home, &world.trace).broker(&world.broker.url());
    let alice = world.person("alice").unwrap();
    let (mut at_alices, mut at_bobs) = world.acquaint(&alice, &bob).unwrap();
    say(&mut at_bobs, &mut at_alices, "hello").unwrap();
    at_bobs.quit().unwrap();
    at_alices.quit().unwrap();
    disk.fill(0);
    (alice, bob)
}

#[test]
fn what_no_commit_has_confirmed_is_not_called_kept_whether_the_other_side_is_there_or_not() {
    let world = World::new().unwrap();
    let Some(disk) = Disk::new(&world.directory("disk").unwrap()) else {
        p2pchat_harness::skipped("a full disk (Linux, root, and the programs unshare and mount are needed)");
        return;
    };
    let (alice, bob) = cramped(&world, &disk);
    let text = format!("lost {}", "x".repeat(NO_ROOM_FOR));
    let check = |words: &[&str]| {
        let out = bob.run(words, MEETING).unwrap();
        let (said, last) = (out.out.join("\n"), out.err.last().unwrap().clone());
        assert_eq!(out.exit, 1, "{last}");
        assert!(last.starts_with("p2pchat: 1 message is not kept: no room left at"), "{last}");
        assert!(said.contains("\"code\":\"disk_full\",\"exit\":1"), "{said}");
        assert!(!said.contains("it is kept") && !said.contains("\"queued\":[\"alice\"]"), "{said}");
    };
    check(&["send", "--to", "alice", "-m", &text]);
    let mut at_alices = listen(&alice).unwrap();
    check(&["send", "--to", "alice", "-m", &text]);
    check(&["connect", "--to", "alice", "--linger", "1", "--message", &text]);
    at_alices.quit().unwrap();
    disk.make_room();
    assert_eq!(history(&bob), ["hello"]);
}

#[test]
fn what_is_decided_while_the_disk_is_full_counts_at_once_and_is_kept_when_there_is_room() {
    let world = World::new().unwrap();
    let Some(disk) = Disk::new(&world.directory("disk").unwrap()) else {
        p2pchat_harness::skipped("a full disk (Linux, root, and the programs unshare and mount are needed)");
        return;
    };
    let (_, bob) = cramped(&world, &disk);
    let mut at_bobs = bob.start(&["listen"]).unwrap();
    at_bobs.expect(&event("ready"), PROMPT);
    let failed = |at_bobs: &mut Peer, id: u64, line: &str| {
        at_bobs.send_json(id, None, line).unwrap();
        let end = at_bobs.process.find("an outcome", PROMPT, |said| {
            let said = said.event.as_ref().filter(|said| said.number("id") == Some(id))?;
            Some((said.name().to_owned(), said.text("code").to_owned()))
        });
        assert_eq!(end.unwrap(), ("failed".to_owned(), "disk_full".to_owned()), "{line}");
    };
    at_bobs.send_json(1, Some("alice"), &"x".repeat(NO_ROOM_FOR)).unwrap();
    at_bobs.expect(&event("error").with("code", "disk_full"), PROMPT);
    // What does not need the disk is answered, and what does says so.
    let out = bob.run(&["status"], PROMPT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let away = bob.run(&["status", "away"], PROMPT).unwrap();
    assert!(away.exit == 1 && away.err.last().unwrap().contains("no room left"), "{away:?}");
    failed(&mut at_bobs, 2, "/visibility private");
    failed(&mut at_bobs, 3, "/block alice");
    failed(&mut at_bobs, 4, "/block alice");
    at_bobs.send_json(5, Some("alice"), "to somebody blocked").unwrap();
    let refused = at_bobs.expect(&event("failed").with("id", 5), PROMPT);
    assert_eq!(refused.text("code"), "not_allowed", "it counts meanwhile: {refused}");
    disk.make_room();
    at_bobs.expect(&event("message").with("mine", true), AGAIN);
    at_bobs.process.kill().unwrap();
    let list = bob.run(&["contacts"], PROMPT).unwrap();
    assert!(list.out[0].contains("\"trust\":\"blocked\""), "{list:?}");
    let status = bob.run(&["status"], PROMPT).unwrap();
    assert!(status.out[0].contains("\"away\"") && status.out[0].contains("\"private\""), "{status:?}");
}
