//! `transfers`: what runs in the chat that is open, and what a crash left. With the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::PathBuf;

use p2pchat_harness::event::{Event, event};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};

fn end(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

fn run(setup: &Setup, words: &[&str]) -> Outcome {
    let out = setup.run(words, MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    out
}

fn said(out: &Outcome, name: &str) -> Event {
    let events = out.out.iter().filter_map(|line| Event::parse(line));
    events.into_iter().find(|event| event.name() == name).unwrap_or_else(|| panic!("no {name}: {out:?}"))
}

/// What a crash left in the download directory, with so much content.
fn left_behind(setup: &Setup, content: &[u8]) -> PathBuf {
    let downloads = setup.home().join("downloads");
    fs::create_dir_all(&downloads).unwrap();
    let path = downloads.join(format!(".p2pchat-{}.part", "ab".repeat(16)));
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn what_a_crash_left_is_shown_and_removed_after_a_yes_and_nothing_else_is() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap();
    assert_eq!(said(&run(&alice, &["transfers"]), "transfers").field("unfinished"), &serde_json::json!([]));
    let path = left_behind(&alice, b"half of it");
    let whole = path.with_file_name("song.mp3");
    fs::write(&whole, "all of it").unwrap();

    let list = said(&run(&alice, &["transfers", "list"]), "transfers");
    let left = &list.field("unfinished")[0];
    assert_eq!((left["bytes"].as_u64(), left["in_use"].as_bool()), (Some(10), Some(false)), "{list}");
    assert_eq!(left["path"], path.to_str().unwrap(), "{list}");
    let plain = run(&alice.clone().plain(), &["transfers"]);
    assert!(plain.out.iter().any(|line| line.contains("left behind")), "{plain:?}");

    let unasked = alice.run(&["transfers", "clean"], PROMPT).unwrap();
    assert_eq!(unasked.exit, 2, "{unasked:?}");
    let young = run(&alice, &["transfers", "clean", "--older-than", "1h", "--yes"]);
    assert_eq!(said(&young, "cleaned").field("unfinished"), &serde_json::json!([]), "{young:?}");
    assert!(path.exists());
    let cleaned = said(&run(&alice, &["transfers", "clean", "--yes"]), "cleaned");
    assert_eq!(cleaned.field("unfinished")[0]["bytes"], 10, "{cleaned}");
    assert!(!path.exists() && whole.exists());
    // What has ended cannot be gone on with by one side alone, and that is said.
    let resume = alice.run(&["transfers", "resume", "1"], PROMPT).unwrap();
    assert_eq!((resume.exit, said(&resume, "stopped").text("code")), (4, "not_allowed"), "{resume:?}");
    let cancel = alice.run(&["transfers", "cancel", "1"], PROMPT).unwrap();
    assert_eq!((cancel.exit, said(&cancel, "stopped").text("code")), (2, "no_such"), "{cancel:?}");
}

#[test]
fn what_runs_in_the_chat_is_shown_and_ended_from_beside_it() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let (mut at_alices, mut at_bobs) = world.acquaint(&alice, &bob).unwrap();
    let song = world.file("song.mp3", &[7; 100_000]).unwrap();
    at_bobs.send_line(&format!("/sendf {}", song.display())).unwrap();
    at_alices.expect(&event("file").with("state", "offered").with("direction", "in"), PROMPT);

    let there = said(&run(&bob, &["transfers"]), "transfers");
    let offered = &there.field("list")[0];
    assert_eq!(
        (&offered["name"], &offered["direction"], &offered["state"]),
        (&"song.mp3".into(), &"out".into(), &"offered".into())
    );
    let number = offered["transfer"].to_string();
    let plain = run(&bob.clone().plain(), &["transfers"]);
    assert!(plain.out[1].starts_with(&number) && plain.out[1].contains("song.mp3"), "{plain:?}");
    assert!(plain.out[1].contains("alice"), "{plain:?}");
    // One that runs goes on by itself.
    assert_eq!(run(&bob, &["transfers", "resume", &number]).exit, 0);
    let cancelled = said(&run(&bob, &["transfers", "cancel", &number]), "transfers");
    assert_eq!(cancelled.field("list")[0]["state"], "cancelled", "{cancelled}");
    at_alices.expect(&event("file").with("state", "cancelled"), PROMPT);
    at_bobs.expect(&event("file").with("state", "cancelled"), PROMPT);
    assert_eq!(said(&run(&bob, &["transfers"]), "transfers").field("list"), &serde_json::json!([]));
    let again = bob.run(&["transfers", "cancel", &number], PROMPT).unwrap();
    assert_eq!(again.exit, 2, "{again:?}");
    end(at_bobs);
    end(at_alices);
}

#[test]
fn a_command_that_comes_while_the_chat_ends_is_done_all_the_same() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let (at_alices, at_bobs) = world.acquaint(&alice, &bob).unwrap();
    end(at_bobs);
    end(at_alices);
    for _ in 0..3 {
        let mut at_alices = listen(&alice).unwrap();
        let mut at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
        at_bobs.expect(&event("session").with("state", "up"), MEETING);
        // The block closes the session, and `connect` ends by it, as the next command comes.
        run(&bob, &["contacts", "block", "alice"]);
        run(&bob, &["contacts", "unblock", "alice"]);
        assert_eq!(said(&run(&bob, &["contacts"]), "contacts").field("list")[0]["trust"], "pinned");
        at_alices.expect(&event("session").with("state", "closed"), MEETING);
        drop(at_bobs);
        end(at_alices);
    }
}
