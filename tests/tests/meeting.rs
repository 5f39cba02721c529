//! The main job: two people meet through a broker, talk, and pass a file.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::Command;
use std::time::Duration;

use p2pchat_harness::actions::{TRANSFER, pass_file, random_content, say};
use p2pchat_harness::event::{event, file, session};
use p2pchat_harness::process::{PROMPT, Process};
use p2pchat_harness::trace::Trace;
use p2pchat_harness::world::{MEETING, World, listen};

#[test]
fn a_request_is_accepted_and_both_talk_pass_files_look_and_leave() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap()).unwrap();
    let mut bob = world.person("bob").unwrap().start(&["connect", "--to", "alice"]).unwrap();

    let request = alice.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
    assert_eq!((request.text("name"), request.text("trust")), ("bob", "new"));
    alice.send_line("/accept bob").unwrap();
    bob.expect(&event("request").with("direction", "out").with("state", "accepted"), MEETING);
    for peer in [&mut alice, &mut bob] {
        let up = peer.expect(&session("up"), MEETING);
        assert_eq!(up.text("path"), "lan");
        assert!(["AES-256-GCM", "ChaCha20-Poly1305"].contains(&up.text("cipher")), "{up}");
    }

    say(&mut bob, &mut alice, "Hello Alice").unwrap();
    say(&mut alice, &mut bob, "Hello Bob, \u{1f44b} with \"quotes\" and \\ a backslash").unwrap();

    let song = world.file("song of the sea.mp3", &random_content(1, 3 << 20)).unwrap();
    bob.send_line(&format!("/sendf \"{}\"", song.display())).unwrap();
    let offer = alice.expect(&file("in", "offered"), PROMPT);
    assert_eq!((offer.text("name"), offer.number("total")), ("song of the sea.mp3", Some(3 << 20)));
    alice.send_line(&format!("/save {}", offer.number("transfer").unwrap())).unwrap();
    let received = alice.expect(&file("in", "done"), TRANSFER);
    let sent = bob.expect(&file("out", "done"), TRANSFER);
    assert_eq!(std::fs::read(received.text("path")).unwrap(), std::fs::read(&song).unwrap());
    assert_eq!(sent.text("blake3"), received.text("blake3"));

    for peer in [&mut alice, &mut bob] {
        let info = peer.info().unwrap();
        let sessions = info.field("sessions").as_array().unwrap();
        assert_eq!(sessions.len(), 1, "{info}");
        assert_eq!(sessions[0]["state"], "up");
        assert!(info.field("socket")["key_exchanges"].as_u64().unwrap() > 0, "{info}");
    }

    assert_eq!(bob.quit().unwrap(), 0);
    alice.expect(&session("closed"), PROMPT);
    assert_eq!(alice.quit().unwrap(), 0);
    for peer in [&mut alice, &mut bob] {
        let last = peer.take_events().pop().unwrap();
        assert_eq!((last.name(), last.number("exit")), ("stopped", Some(0)));
    }
}

#[test]
fn files_of_every_edge_size_arrive_in_both_directions() {
    let world = World::new().unwrap();
    let (mut alice, mut bob) = world.alice_and_bob().unwrap();
    let chunk = 256 * 1024;
    for (seed, len) in [0, 1, chunk - 1, chunk, chunk + 1, 9 * chunk + 17].into_iter().enumerate() {
        let path = world.file(&format!("{len}.bin"), &random_content(seed as u64, len)).unwrap();
        pass_file(&mut bob, &mut alice, &path).unwrap().assert_equal_to(&path);
        pass_file(&mut alice, &mut bob, &path).unwrap().assert_equal_to(&path);
    }
}

#[test]
fn a_file_that_is_there_already_is_not_overwritten() {
    let world = World::new().unwrap();
    let (mut alice, mut bob) = world.alice_and_bob().unwrap();
    let first = world.file("note.txt", b"the first").unwrap();
    let there = pass_file(&mut bob, &mut alice, &first).unwrap();
    std::fs::write(&first, b"the second").unwrap();
    let second = pass_file(&mut bob, &mut alice, &first).unwrap();
    assert_ne!(there.path, second.path);
    assert_eq!(std::fs::read(&there.path).unwrap(), b"the first");
    second.assert_equal_to(&first);
}

#[test]
fn one_shot_send_delivers_text_and_file_and_exits() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let path = world.file("notes.txt", &random_content(2, 300_000)).unwrap();
    let bob = world.person("bob").unwrap().plain();
    let sent =
        bob.run(&["send", "--to", "alice", "-m", "one shot", &path.display().to_string()], TRANSFER).unwrap();
    assert_eq!(sent.exit, 0, "{sent:?}");
    alice.expect(&p2pchat_harness::event::message("one shot"), PROMPT);
    let received = alice.expect(&file("in", "done"), PROMPT);
    assert_eq!(std::fs::read(received.text("path")).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn connect_at_end_of_input_delivers_what_was_typed_and_exits() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut bob = world.person("bob").unwrap().start(&["connect", "--to", "alice"]).unwrap();
    bob.send_line("typed before the session was up").unwrap();
    bob.process.close_stdin();
    alice.expect(&p2pchat_harness::event::message("typed before the session was up"), MEETING);
    assert_eq!(bob.process.wait_exit(MEETING).unwrap(), 0);
}

#[test]
fn a_person_who_listens_ends_cleanly_when_asked_to_terminate() {
    let world = World::new().unwrap();
    let (mut alice, mut bob) = world.alice_and_bob().unwrap();
    assert_eq!(alice.terminate().unwrap(), 143);
    bob.expect(&session("closed"), PROMPT);
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let trace = Trace::default();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pchat-harness"));
    command.arg("demo").env("TMPDIR", home.path());
    let mut demo = Process::spawn("demo", command, &trace).unwrap();
    assert_eq!(demo.wait_exit(Duration::from_secs(60)).unwrap(), 0, "{trace}");
    let story: Vec<_> = demo.take_lines().into_iter().map(|line| line.text).collect();
    for part in ["sees a request of bob", "has stored and read it", "100 %", "equal", "Done in"] {
        assert!(story.iter().any(|line| line.contains(part)), "{part}\n{trace}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
