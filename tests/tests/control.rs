//! Commands while a chat is open: one process holds the profile and serves the others.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use p2pchat_client::profile::{Home, ProfileLock};
use p2pchat_harness::actions::say;
use p2pchat_harness::event::{Event, event, message, receipt};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};
use rustix::process::Signal;

/// As many as nobody has commands at once.
const MANY: usize = 100;
/// More than a line may have.
const TOO_LONG: usize = (1 << 20) + 1;

/// Two who know each other.
struct Two {
    // Last, as what runs in it ends with it.
    alice: Setup,
    bob: Setup,
    _world: World,
}

impl Two {
    /// With a chat that is open.
    fn talking() -> (Self, Peer, Peer) {
        let world = World::new().unwrap();
        let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
        let (at_alices, at_bobs) = world.acquaint(&alice, &bob).unwrap();
        (Self { alice, bob, _world: world }, at_alices, at_bobs)
    }
}

fn socket(setup: &Setup) -> PathBuf {
    setup.home().join("control.sock")
}

fn said(out: &Outcome, name: &str) -> Event {
    let events = out.out.iter().filter_map(|line| Event::parse(line));
    events.into_iter().find(|event| event.name() == name).unwrap_or_else(|| panic!("no {name}: {out:?}"))
}

fn end(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

/// Somebody of the same user who knows no manners.
fn intrude(home: &Path, words: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(home.join("control.sock")).unwrap();
    stream.set_read_timeout(Some(PROMPT)).unwrap();
    // Cut off in the middle is one of the right answers.
    let _ = stream.write_all(words);
    stream
}

/// How what was said there was refused.
fn refusal(stream: UnixStream) -> Event {
    let lines = BufReader::new(stream).lines().map(|line| Event::parse(&line.unwrap()).unwrap());
    let mut lines = lines.filter(|event| event.name() == "error");
    lines.next().unwrap_or_else(|| panic!("it was taken"))
}

#[test]
fn a_command_of_the_same_profile_is_done_by_the_chat_that_is_open() {
    let (two, mut alice, mut bob) = Two::talking();
    let there = socket(&two.bob).symlink_metadata().unwrap();
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o600);

    let out =
        two.bob.run(&["send", "--to", "alice", "-m", "by another door", "--wait", "read"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    assert_eq!(said(&out, "ledger").field("stored"), 1, "{out:?}");
    assert_eq!(said(&out, "stopped").field("exit"), 0);
    alice.expect(&message("by another door"), PROMPT);
    bob.expect(&event("message").with("text", "by another door").with("mine", true), PROMPT);

    let out = two.bob.run(&["list"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let list = said(&out, "people");
    assert!(list.field("list").as_array().unwrap().iter().any(|person| person["name"] == "alice"), "{list}");

    let plain = two.bob.clone().plain().run(&["list"], MEETING).unwrap();
    assert_eq!(plain.exit, 0, "{plain:?}");
    assert!(plain.out.iter().any(|line| line.starts_with("alice") && line.contains("online")), "{plain:?}");

    let nobody = two.bob.run(&["send", "--to", "nobody-of-that-name", "-m", "x"], MEETING).unwrap();
    assert_eq!(nobody.exit, 4, "{nobody:?}");
    assert_eq!(said(&nobody, "stopped").field("code"), "unknown_peer", "{nobody:?}");
    assert!(nobody.err.iter().any(|line| line.starts_with("p2pchat: ")), "{nobody:?}");

    say(&mut bob, &mut alice, "and the chat goes on").unwrap();
    end(bob);
    assert!(!socket(&two.bob).exists(), "the socket ends with its process");
    end(alice);
}

#[test]
fn what_is_sent_to_somebody_who_is_away_is_delivered_by_the_chat_that_is_open() {
    let (two, alice, bob) = Two::talking();
    end(bob);
    end(alice);
    let mut bob = listen(&two.bob).unwrap();
    let out = two.bob.run(&["send", "--to", "alice", "-m", "for later"], MEETING).unwrap();
    assert_eq!(out.exit, 7, "{out:?}");
    assert_eq!(said(&out, "ledger").field("queued")[0], "alice", "{out:?}");
    let sent = said(&out, "message");

    let mut alice = two.alice.start(&["listen"]).unwrap();
    let came = alice.expect(&message("for later"), MEETING);
    assert_eq!(came.text("sent_at"), sent.text("sent_at"));
    bob.expect(&receipt(sent.text("message"), "stored"), MEETING);
    end(bob);
    end(alice);
}

#[test]
fn another_process_of_the_same_user_speaks_the_language_of_a_chat() {
    let (two, mut alice, mut bob) = Two::talking();
    let stream = intrude(two.bob.home(), b"{\"id\":7,\"to\":\"alice\",\"do\":\"typed elsewhere\"}\n/info\n");
    let lines = BufReader::new(stream).lines().map(|line| Event::parse(&line.unwrap()).unwrap());
    let mut wanted = vec!["info", "done"];
    for event in lines {
        wanted.retain(|name| *name != event.name());
        if wanted.is_empty() {
            break;
        }
    }
    assert!(wanted.is_empty(), "{wanted:?}");
    alice.expect(&message("typed elsewhere"), PROMPT);
    say(&mut bob, &mut alice, "both talk").unwrap();
    end(bob);
    end(alice);
}

#[test]
fn another_process_that_talks_nonsense_harms_nobody() {
    let (two, mut alice, mut bob) = Two::talking();
    let home = two.bob.home();
    for wrong in [&b"{\n"[..], b"{\"call\":{\"quit\":{}}}\n", b"{\"call\":{\"list\":7}}\n"] {
        let answer = refusal(intrude(home, wrong));
        assert_eq!(answer.text("code"), "usage", "{answer}");
    }
    let answer = refusal(intrude(home, b"\xff\xfe\n"));
    assert_eq!(answer.text("code"), "not_utf8", "{answer}");
    let mut long = intrude(home, &vec![b'x'; TOO_LONG]);
    // It is told, or cut off while it still writes.
    let mut rest = Vec::new();
    let _ = long.read_to_end(&mut rest);
    assert!(rest.is_empty() || String::from_utf8_lossy(&rest).contains("too_long"), "{rest:?}");

    let silent: Vec<_> = (0..MANY).map(|_| intrude(home, b"")).collect();
    let halves: Vec<_> = (0..MANY).map(|_| intrude(home, b"{\"do\":\"no end")).collect();
    let out = two.bob.run(&["send", "--to", "alice", "-m", "through the crowd"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    alice.expect(&message("through the crowd"), PROMPT);
    say(&mut bob, &mut alice, "undisturbed").unwrap();
    drop((silent, halves));
    assert_eq!(bob.quit().unwrap(), 0);
    end(alice);
}

#[test]
fn after_a_kill_the_next_process_serves() {
    let (two, alice, mut bob) = Two::talking();
    bob.process.kill().unwrap();
    assert!(socket(&two.bob).symlink_metadata().unwrap().file_type().is_socket(), "left behind");
    // Nobody serves, and nobody holds the profile: it is done here.
    let alone = two.bob.run(&["list"], MEETING).unwrap();
    assert_eq!(alone.exit, 0, "{alone:?}");
    let bob = listen(&two.bob).unwrap();
    let served = two.bob.run(&["list"], MEETING).unwrap();
    assert_eq!(served.exit, 0, "{served:?}");
    assert_eq!(fs::metadata(socket(&two.bob)).unwrap().permissions().mode() & 0o777, 0o600);
    end(bob);
    end(alice);
}

#[test]
fn who_is_known_is_shown_beside_a_chat_without_the_passphrase() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let passphrase = world.file("passphrase", b"correct horse\n").unwrap();
    let unlocked = bob.clone().arguments(["--passphrase-file", passphrase.to_str().unwrap()]);
    let (at_alices, at_bobs) = world.acquaint(&alice, &unlocked).unwrap();
    let list = bob.run(&["contacts"], MEETING).unwrap();
    assert_eq!(list.exit, 0, "{list:?}");
    let id = said(&list, "contacts").field("list")[0]["peer"].as_str().unwrap().to_owned();
    let number = |setup: &Setup, of: &str| {
        let out = setup.run(&["contacts", "verify", of], MEETING).unwrap();
        assert_eq!(out.exit, 0, "{out:?}");
        said(&out, "safety")
    };
    let here = number(&bob, "alice");
    assert_eq!((here.text("peer"), here.text("trust")), (id.as_str(), "pinned"));
    assert_eq!(here.text("digits"), number(&alice, "bob").text("digits"));
    let plain = bob.clone().plain().run(&["contacts"], MEETING).unwrap();
    assert!(plain.out[0].starts_with("alice  pinned"), "{plain:?}");
    let nobody = bob.run(&["contacts", "verify", "nobody-of-that-name"], MEETING).unwrap();
    assert_eq!(nobody.exit, 4, "{nobody:?}");
    // What is sealed for elsewhere still takes it.
    let elsewhere =
        ["contacts", "export", "/nowhere", "--export-passphrase-file", passphrase.to_str().unwrap()];
    assert_eq!(bob.run(&elsewhere, MEETING).unwrap().exit, 1);
    end(at_bobs);
    end(at_alices);
    assert_eq!(bob.run(&["contacts"], MEETING).unwrap().exit, 1, "alone it is asked for");
}

/// Somebody who holds a profile, and the door to it.
fn pretend(setup: &Setup) -> (ProfileLock, UnixListener) {
    let lock = Home::open(setup.home()).unwrap().lock().unwrap();
    (lock, UnixListener::bind(socket(setup)).unwrap())
}

/// Takes the call of whoever comes.
fn taken(door: &UnixListener) -> UnixStream {
    let (caller, _) = door.accept().unwrap();
    let mut call = String::new();
    BufReader::new(&caller).read_line(&mut call).unwrap();
    assert!(call.starts_with("{\"call\":{\"send\""), "{call}");
    caller
}

#[test]
fn a_call_that_was_read_and_never_begun_is_done_by_the_command_itself() {
    let (two, alice, bob) = Two::talking();
    end(bob);
    end(alice);
    let (lock, door) = pretend(&two.bob);
    let mut send = two.bob.start(&["send", "--to", "alice", "-m", "not by that one"]).unwrap();
    let caller = taken(&door);
    drop((lock, door));
    drop(caller);
    let ledger = send.expect(&event("ledger"), MEETING);
    assert_eq!(ledger.field("queued")[0], "alice", "{ledger}");
    assert_eq!(send.process.wait_exit(PROMPT).unwrap(), 7);
}

#[test]
fn of_a_call_that_was_begun_and_not_answered_nobody_says_that_it_is_not_done() {
    let (two, alice, bob) = Two::talking();
    end(bob);
    end(alice);
    let (_lock, door) = pretend(&two.bob);
    let mut send = two.bob.start(&["send", "--to", "alice", "-m", "who knows"]).unwrap();
    let mut caller = taken(&door);
    caller.write_all(b"{\"event\":\"ready\"}\n").unwrap();
    drop(caller);
    assert_eq!(send.process.wait_exit(MEETING).unwrap(), 1);
    let doubt = "use the running p2pchat: it has ended; what was asked of it may be done all the same";
    let said = send.process.take_lines();
    assert!(said.iter().any(|line| line.text.contains(doubt)), "{said:?}");
}

#[test]
fn a_chat_that_was_held_up_does_nothing_for_commands_that_have_gone() {
    let (two, mut alice, mut bob) = Two::talking();
    bob.process.signal(Signal::STOP).unwrap();
    let calls: [&[&str]; 2] = [&["send", "--to", "alice", "-m", "gone"], &["contacts", "block", "alice"]];
    let mut gone = calls.map(|call| two.bob.start(call).unwrap());
    for command in &mut gone {
        assert_eq!(command.process.wait_exit(MEETING).unwrap(), 1);
        let doubt =
            "use the running p2pchat: it does not answer; what was asked of it may be done all the same";
        let said = command.process.take_lines();
        assert!(said.iter().any(|line| line.text.contains(doubt)), "{said:?}");
    }
    bob.process.signal(Signal::CONT).unwrap();
    // Served after those, who came before.
    let out = two.bob.run(&["send", "--to", "alice", "-m", "still here"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let came = alice.expect(&event("message").with("mine", false), MEETING);
    assert_eq!(came.text("text"), "still here", "{came}");
    end(bob);
    end(alice);
}
