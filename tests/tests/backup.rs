//! A home that was put back from a backup, or copied: nothing is lost, doubled or taken for forged.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{event, message, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};

/// Bob and Alice, who know each other and said this much; neither runs.
struct Before {
    _world: World,
    alice: Setup,
    bob: Setup,
    /// Bob's home as it was then.
    backup: PathBuf,
}

impl Before {
    fn new() -> Self {
        let world = World::new().unwrap();
        let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap().bind_everywhere());
        let (mut at_alices, mut at_bobs) = world.acquaint(&alice, &bob).unwrap();
        say(&mut at_bobs, &mut at_alices, "before the backup").unwrap();
        end(at_bobs);
        end(at_alices);
        let backup = world.directory("backup").unwrap();
        copy(bob.home(), &backup, false);
        Self { _world: world, alice, bob, backup }
    }

    /// Both run; each says its lines, and the other one hears exactly these, in order.
    fn talk(&self, bobs: &[&str], alices: &[&str]) {
        let mut alice = self.alice.start(&["listen"]).unwrap();
        alice.expect(&event("broker").with("state", "connected"), PROMPT);
        let mut bob = self.bob.start(&["connect", "--to", "alice"]).unwrap();
        for peer in [&mut alice, &mut bob] {
            peer.expect(&session("up"), MEETING);
        }
        bobs.iter().for_each(|line| tell(&mut bob, &mut alice, line));
        alices.iter().for_each(|line| tell(&mut alice, &mut bob, line));
        // `connect` ends with the other side.
        for peer in [bob, alice] {
            quiet(peer);
        }
    }

    fn history(&self) -> [Vec<String>; 2] {
        [(&self.alice, "bob"), (&self.bob, "alice")].map(|(whose, with)| {
            let out = whose.run(&["history", "show", "--with", with], PROMPT).unwrap();
            let texts = out.out.iter().filter_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["text"].as_str().map(str::to_owned)
            });
            texts.collect()
        })
    }
}

/// A line, which is the next thing that the other side hears.
fn tell(from: &mut Peer, to: &mut Peer, line: &str) {
    from.send_json(7, None, line).unwrap();
    let came = to.expect(&event("message").with("mine", false), MEETING);
    assert_eq!(came.text("text"), line, "{came}");
    from.expect(&event("receipt").with("state", "stored"), MEETING);
}

/// Ends somebody to whom nothing bad was said.
fn quiet(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
    for event in peer.take_events() {
        let bad = ["error", "failed"].contains(&event.name())
            || (event.name() == "trust" && event.text("state") == "key_changed");
        assert!(!bad, "{event}");
    }
}

fn end(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

/// Copies all files; `in_place` into the files that are there, as some backups do.
fn copy(from: &Path, to: &Path, in_place: bool) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to, in_place);
        } else if kind.is_file() {
            if !in_place && to.exists() {
                fs::rename(&to, to.with_extension("old")).unwrap();
            }
            let content = fs::read(entry.path()).unwrap();
            fs::write(&to, content).unwrap();
            fs::set_permissions(&to, entry.metadata().unwrap().permissions()).unwrap();
        }
    }
}

#[test]
fn whoever_goes_back_to_a_backup_is_heard_and_hears() {
    for in_place in [false, true] {
        let before = Before::new();
        before.talk(&["after the backup", "and more"], &["alice after the backup"]);
        copy(&before.backup, before.bob.home(), in_place);
        before.talk(&["from the backup", "again"], &["alice hears it"]);
        let [alices, bobs] = before.history();
        assert_eq!(
            alices,
            [
                "before the backup",
                "after the backup",
                "and more",
                "alice after the backup",
                "from the backup",
                "again",
                "alice hears it"
            ]
        );
        assert_eq!(bobs, ["before the backup", "from the backup", "again", "alice hears it"]);
    }
}

#[test]
fn what_is_written_after_going_back_in_place_arrives_though_every_line_is_another_start_before_they_meet() {
    let before = Before::new();
    before.talk(&["after the backup", "and more"], &[]);
    copy(&before.backup, before.bob.home(), true);
    // As many as Alice holds beyond the backup, so each has the number of another message.
    for line in ["written anew", "and again"] {
        let out = before.bob.run(&["send", "--to", "alice", "-m", line], MEETING).unwrap();
        assert_eq!(out.exit, 7, "{out:?}");
    }
    let mut alice = listen(&before.alice).unwrap();
    let mut bob = before.bob.start(&["listen"]).unwrap();
    for line in ["written anew", "and again"] {
        let came = alice.expect(&event("message").with("mine", false), MEETING);
        assert_eq!(came.text("text"), line, "{came}");
        bob.expect(&event("receipt").with("state", "stored"), MEETING);
    }
    tell(&mut bob, &mut alice, "live");
    for peer in [bob, alice] {
        quiet(peer);
    }
    let [alices, bobs] = before.history();
    let anew = ["written anew", "and again", "live"];
    assert_eq!(alices, [&["before the backup", "after the backup", "and more"][..], &anew].concat());
    assert_eq!(bobs, [&["before the backup"][..], &anew].concat());
}

#[test]
fn of_two_machines_with_one_identity_the_newest_login_stays_and_both_are_heard_in_turn() {
    let before = Before::new();
    let mut alice = listen(&before.alice).unwrap();
    let first = before.bob.clone();
    let second = before.bob.clone().at(&before.backup);
    let mut at_first = first.start(&["connect", "--to", "alice"]).unwrap();
    at_first.expect(&session("up"), MEETING);
    alice.expect(&session("up"), MEETING);
    say(&mut at_first, &mut alice, "from the first").unwrap();
    let mut at_second = second.start(&["connect", "--to", "alice"]).unwrap();
    at_first.expect(&event("broker").with("state", "refused"), MEETING);
    at_first.take_events();
    at_second.expect(&session("up"), MEETING);
    at_second.send_json(8, None, "from the second").unwrap();
    alice.expect(&message("from the second"), MEETING);
    // The first one ends, and does not come back by itself: nothing of it is heard while the second one talks.
    at_first.expect(&session("closed"), MEETING);
    assert_eq!(at_first.expect(&event("stopped"), MEETING).number("exit"), Some(0));
    at_second.take_events();
    for line in ["one", "two", "three"] {
        say(&mut at_second, &mut alice, line).unwrap();
    }
    let moved: Vec<_> =
        at_second.take_events().into_iter().filter(|event| event.name() == "session").collect();
    assert!(moved.is_empty(), "no ping-pong: {moved:?}");
    let wrong = alice.take_events().into_iter().filter(|event| event.name() == "error");
    assert_eq!(wrong.count(), 0);
    end(at_second);
    end(alice);
}

#[test]
fn a_command_follows_its_message_to_the_number_that_it_has_after_going_back() {
    let before = Before::new();
    before.talk(&["after the backup"], &[]);
    copy(&before.backup, before.bob.home(), true);
    let mut alice = listen(&before.alice).unwrap();
    let out = before.bob.run(&["send", "--to", "alice", "--wait", "read", "-m", "anew"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let said: Vec<serde_json::Value> =
        out.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let renamed: Vec<_> = said.iter().filter(|event| event["was"].is_string()).collect();
    assert_eq!(renamed.len(), 1, "{out:?}");
    let came = alice.expect(&event("message").with("mine", false), MEETING);
    let ledger = said.iter().find(|event| event["event"] == "ledger").unwrap();
    let name = came.text("message");
    assert_eq!((renamed[0]["message"].as_str(), ledger["message"].as_str()), (Some(name), Some(name)));
    assert_eq!(ledger["stored"], 1, "{ledger}");
    end(alice);
}
