//! What was said, read again: from the command line, beside an open chat, and in one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::io::Write;
use std::os::unix::net::UnixStream;

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{Event, event, message, receipt};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::{PROMPT, Stream};
use p2pchat_harness::raw::Raw;
use p2pchat_harness::world::{MEETING, World, listen};
use rustix::process::Signal;
use serde_json::Value;

/// More pages than one answer of the running process has: each message fills most of one.
const MANY: usize = 120;
const LONG: usize = 3_000;

/// Alice and bob, who know each other; last the world, as what runs in it ends with it.
struct Two {
    alice: Setup,
    bob: Setup,
    world: World,
}

impl Two {
    fn talking() -> (Self, Peer, Peer) {
        let world = World::new().unwrap();
        let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap().bind_everywhere());
        let (at_alices, at_bobs) = world.acquaint(&alice, &bob).unwrap();
        (Self { alice, bob, world }, at_alices, at_bobs)
    }
}

fn end(mut peer: Peer) {
    assert_eq!(peer.quit().unwrap(), 0);
}

fn history(setup: &Setup, words: &[&str]) -> Outcome {
    setup.run(&[&["history"], words].concat(), MEETING).unwrap()
}

/// The same with exit status 0.
fn told(setup: &Setup, words: &[&str]) -> Vec<String> {
    let out = history(setup, words);
    assert_eq!(out.exit, 0, "{words:?}: {out:?}");
    out.out
}

fn texts(lines: &[String]) -> Vec<String> {
    let line = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let text = |event: Value| event["text"].as_str().unwrap().to_owned();
    lines.iter().map(|one| text(line(one))).collect()
}

/// Everything that `history` reads, as it is asked and how it answers.
fn everything(setup: &Setup) -> Vec<Outcome> {
    let plain = setup.clone().plain();
    let asked: [&[&str]; 7] = [
        &["show"],
        &["show", "--with", "alice", "--limit", "1"],
        &["search", "DINNER"],
        &["search", "nobody", "said", "this"],
        &["export", "--with", "alice"],
        &["export", "--with", "alice", "--format", "markdown"],
        &["waiting"],
    ];
    let ways = [setup, &plain].into_iter();
    ways.flat_map(|setup| asked.iter().map(|words| history(setup, words)).collect::<Vec<_>>()).collect()
}

#[test]
fn the_history_is_the_same_beside_an_open_chat_and_without_one() {
    let (two, mut alice, mut bob) = Two::talking();
    say(&mut bob, &mut alice, "dinner at eight?").unwrap();
    say(&mut alice, &mut bob, "fine").unwrap();
    bob.send_json(1, None, "two\nlines").unwrap();
    let mine = bob.expect(&event("message").with("text", "two\nlines").with("mine", true), PROMPT);
    bob.expect(&receipt(mine.text("message"), "read"), PROMPT);

    let beside = everything(&two.bob);
    // The process that holds the profile still talks.
    say(&mut alice, &mut bob, "dinner, yes").unwrap();
    let found = told(&two.bob, &["search", "dinner"]);
    assert_eq!(texts(&found), ["dinner at eight?", "dinner, yes"]);
    end(bob);
    end(alice);

    let (shown, alone) = (&beside[0], everything(&two.bob));
    assert_eq!(texts(&shown.out), ["dinner at eight?", "fine", "two\nlines"]);
    let exits = |all: &[Outcome]| all.iter().map(|out| out.exit).collect::<Vec<_>>();
    assert_eq!(exits(&beside), [0, 0, 0, 1, 0, 0, 0].repeat(2));
    assert_eq!(exits(&alone), exits(&beside));
    let plain = &beside[7].out;
    assert!(plain[0].starts_with("--- 20") && plain[0].ends_with("with alice ---"), "{plain:?}");
    assert!(plain[1].ends_with("bob: dinner at eight? [read]"), "{plain:?}");
    assert_eq!(plain[4], "      lines", "{plain:?}");

    // What was said since is all that differs.
    let without = |out: &Outcome| -> Vec<String> {
        let lines = out.out.iter().filter(|line| !line.contains("yes"));
        lines.filter(|line| !line.contains("\"event\":\"waiting\"")).cloned().collect()
    };
    for at in [0, 2, 4, 6, 7, 9, 11, 13] {
        assert_eq!(without(&beside[at]), without(&alone[at]), "{at}");
    }
    // In JSON mode an export is one object a line without being told to.
    assert_eq!(texts(&beside[4].out), texts(&shown.out));
}

#[test]
fn a_long_conversation_is_read_in_pieces_and_comes_whole() {
    let (two, mut alice, mut bob) = Two::talking();
    let text = |number: usize| format!("{number} {}", "x".repeat(LONG));
    for number in 0..MANY {
        bob.send_line(&text(number)).unwrap();
    }
    alice.expect(&message(&text(MANY - 1)), MEETING);
    let beside = told(&two.alice, &["export", "--with", "bob"]);
    assert_eq!(texts(&beside), (0..MANY).map(text).collect::<Vec<_>>());
    let last = told(&two.alice, &["show", "--with", "bob", "--limit", "70"]);
    assert_eq!(texts(&last), (MANY - 70..MANY).map(text).collect::<Vec<_>>());
    let first = texts(&told(&two.alice, &["search", "0", "--limit", "1000"]));
    assert_eq!(first.len(), (0..MANY).filter(|number| number.to_string().contains('0')).count());
    end(bob);
    end(alice);
    assert_eq!(told(&two.alice, &["export", "--with", "bob"]), beside);
}

#[test]
fn what_is_forgotten_beside_an_open_chat_is_gone_and_what_waited_is_not_delivered() {
    let (two, mut alice, mut bob) = Two::talking();
    say(&mut bob, &mut alice, "remember this").unwrap();
    end(bob);
    end(alice);
    let mut bob = listen(&two.bob).unwrap();
    let out = two.bob.run(&["send", "--to", "alice", "-m", "never mind"], MEETING).unwrap();
    assert_eq!(out.exit, 7, "{out:?}");
    let waits = bob.expect(&event("message").with("text", "never mind").with("mine", true), PROMPT);

    let list = |lines: &[String]| serde_json::from_str::<Value>(&lines[0]).unwrap()["list"].clone();
    let waiting = list(&told(&two.bob, &["waiting"]));
    assert_eq!((&waiting[0]["name"], &waiting[0]["waiting"]), (&"alice".into(), &1.into()), "{waiting}");
    assert_eq!(waiting[0]["since"].as_str(), Some(waits.text("sent_at")));
    bob.send_line("/waiting").unwrap();
    assert_eq!(bob.expect(&event("waiting"), PROMPT).field("list")[0]["name"], "alice");

    // What waits stays, however old it is.
    let older = ["forget", "--with", "alice", "--older-than", "0h", "--yes"];
    let gone: Value = serde_json::from_str(&told(&two.bob, &older)[0]).unwrap();
    assert_eq!(gone["messages"], 1, "{gone}");
    assert_eq!(texts(&told(&two.bob, &["show"])), ["never mind"]);
    let asked = history(&two.bob, &["forget", "--with", "alice"]);
    assert_eq!(asked.exit, 2, "nobody can be asked: {asked:?}");
    let gone: Value =
        serde_json::from_str(&told(&two.bob, &["forget", "--with", "alice", "--yes"])[0]).unwrap();
    assert_eq!((&gone["event"], &gone["messages"]), (&"forgotten".into(), &1.into()), "{gone}");
    bob.expect(&receipt(waits.text("message"), "failed"), PROMPT);
    assert_eq!(told(&two.bob, &["show"]), [""; 0]);
    assert_eq!(list(&told(&two.bob, &["waiting"])), Value::from(Vec::<Value>::new()));

    bob.send_json(5, Some("alice"), "a new beginning").unwrap();
    let mut alice = listen(&two.alice).unwrap();
    let came = alice.expect(&event("message").with("mine", false), MEETING);
    assert_eq!(came.text("text"), "a new beginning");
    end(bob);
    let kept = texts(&told(&two.bob, &["show"]));
    assert_eq!(kept, ["a new beginning"]);
    end(alice);
}

/// What `history keep` says of alice.
fn kept_for(setup: &Setup, time: &[&str]) -> Value {
    let line = told(setup, &[&["keep", "--with", "alice"], time].concat());
    serde_json::from_str::<Value>(&line[0]).unwrap()["seconds"].clone()
}

#[test]
fn messages_are_kept_as_long_as_the_user_says_by_whichever_process_holds_the_profile() {
    let (two, mut alice, mut bob) = Two::talking();
    say(&mut bob, &mut alice, "soon gone").unwrap();
    // Through the process that talks.
    assert_eq!(kept_for(&two.bob, &[]), Value::Null);
    assert_eq!(kept_for(&two.bob, &["30d"]), 2_592_000);
    assert_eq!(texts(&told(&two.bob, &["show"])), ["soon gone"]);
    assert_eq!(history(&two.bob, &["keep", "--with", "alice", "soon"]).exit, 2);
    end(bob);
    end(alice);

    // By the command alone, and by whatever begins later.
    assert_eq!(kept_for(&two.bob, &[]), 2_592_000);
    assert_eq!(kept_for(&two.bob, &["forever"]), Value::Null);
    let out = two.bob.run(&["send", "--to", "alice", "-m", "waits"], MEETING).unwrap();
    assert_eq!(out.exit, 7, "{out:?}");
    assert_eq!(kept_for(&two.bob, &["1s"]), 1);
    let until = two.world.trace.elapsed() + PROMPT;
    while texts(&told(&two.bob, &["show"])) != ["waits"] {
        assert!(two.world.trace.elapsed() < until, "it goes, and what waits stays");
    }
    let plain = two.bob.clone().plain();
    assert_eq!(told(&plain, &["keep", "--with", "alice"]), ["messages with alice are kept for 1s"]);
}

/// More than may be on their way without a word from the other side.
const TOO_MANY: usize = 300;

#[test]
fn what_is_forgotten_before_it_leaves_is_not_delivered_in_an_open_session_either() {
    let (two, mut alice, mut bob) = Two::talking();
    // Each knows what the other one holds by then; before, nothing leaves.
    say(&mut bob, &mut alice, "hello").unwrap();
    alice.process.signal(Signal::STOP).unwrap();
    for number in 0..TOO_MANY {
        bob.send_json(1_000 + number as u64, None, &number.to_string()).unwrap();
    }
    bob.expect(&event("message").with("text", (TOO_MANY - 1).to_string()), MEETING);
    let gone = told(&two.bob, &["forget", "--with", "alice", "--yes"]);
    alice.process.signal(Signal::CONT).unwrap();
    let gone: Value = serde_json::from_str(&gone[0]).unwrap();
    let left = gone["under_way"].as_u64().unwrap();
    assert!((1..=256).contains(&left), "{gone}");
    for _ in left..TOO_MANY as u64 {
        bob.expect(&event("receipt").with("state", "failed"), PROMPT);
    }
    // The session goes on behind them.
    bob.send_line("and on").unwrap();
    alice.expect(&message("and on"), MEETING);
    end(bob);
    end(alice);
    let came = texts(&told(&two.alice, &["show", "--limit", "1000"]));
    let numbers = (0..left).map(|number| number.to_string());
    let expected = ["hello".to_owned()].into_iter().chain(numbers).chain(["and on".to_owned()]);
    assert_eq!(came, expected.collect::<Vec<_>>());
}

#[test]
fn a_chat_shows_its_own_history_and_finds_words_in_it() {
    let (two, mut alice, mut bob) = Two::talking();
    for text in ["dinner at eight?", "and bring wine", "red wine"] {
        say(&mut bob, &mut alice, text).unwrap();
    }
    alice.send_json(1, None, "/history 2").unwrap();
    let shown = alice.expect(&event("history"), PROMPT);
    let of = |event: &Event| -> Vec<String> {
        let list = event.field("list").as_array().unwrap();
        list.iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&shown), ["and bring wine", "red wine"]);
    assert_eq!(shown.text("name"), "bob");
    alice.expect(&event("done").with("id", 1), PROMPT);
    alice.send_line("/search WINE red").unwrap();
    assert_eq!(of(&alice.expect(&event("history"), PROMPT)), ["red wine"]);
    alice.send_json(2, None, "/history 0").unwrap();
    alice.expect(&event("failed").with("id", 2).with("code", "usage"), PROMPT);
    alice.send_json(3, Some("nobody"), "/history").unwrap();
    alice.expect(&event("failed").with("id", 3).with("code", "unknown_peer"), PROMPT);
    end(bob);
    end(alice);

    let mut bob = Raw::start(&two.bob.clone().plain(), &["listen"]).unwrap();
    bob.expect(Stream::Err, "* at the broker", 1).unwrap();
    let mut alice = two.alice.start(&["connect", "--to", "bob"]).unwrap();
    alice.expect(&event("session").with("state", "up"), MEETING);
    bob.expect(Stream::Out, "* connected to alice", 1).unwrap();
    bob.write(b"/history 1\n/search eight\n/search nothing of the kind\n").unwrap();
    bob.expect(Stream::Err, "* nothing of that is kept", 1).unwrap();
    let (out, _) = bob.end().unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("bob: red wine [read]\n"), "{out}");
    assert!(out.contains("bob: dinner at eight? [read]\n"), "{out}");
    assert_eq!(out.matches("\n--- 20").count(), 2, "a date before each: {out}");
    alice.expect(&event("stopped"), MEETING);
    drop(two.world);
}

#[test]
fn whom_the_user_calls_otherwise_is_found_by_that_name() {
    let (two, mut alice, mut bob) = Two::talking();
    say(&mut bob, &mut alice, "hello").unwrap();
    end(bob);
    end(alice);
    let out = two.bob.run(&["contacts", "rename", "alice", "liesl"], PROMPT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    for who in ["liesl", "alice"] {
        assert_eq!(texts(&told(&two.bob, &["show", "--with", who])), ["hello"], "{who}");
    }
    let bob = listen(&two.bob).unwrap();
    assert_eq!(texts(&told(&two.bob, &["show", "--with", "liesl"])), ["hello"]);
    let unknown = history(&two.bob, &["show", "--with", "nobody"]);
    assert_eq!(unknown.exit, 4, "{unknown:?}");
    let said = |name: &str| unknown.out.iter().filter(|line| line.contains(name)).count();
    assert_eq!((said("\"error\""), said("\"stopped\""), unknown.err.len()), (1, 1, 1), "{unknown:?}");
    end(bob);
}

#[test]
fn whoever_leaves_before_the_answer_leaves_nothing_behind() {
    let (two, mut alice, mut bob) = Two::talking();
    say(&mut bob, &mut alice, "hello").unwrap();
    let place = |place: &str| {
        format!(
            "{{\"call\":{{\"history\":{{\"look\":{{\"with\":\"alice\",\"limit\":0,\"place\":{place}}}}}}}}}\n"
        )
    };
    for turn in 0..100_u64 {
        let mut guest = UnixStream::connect(two.bob.home().join("control.sock")).unwrap();
        let line = match turn % 3 {
            0 => place("\"end\""),
            1 => place(&format!("{{\"before\":{}}}", u64::MAX - turn)),
            _ => place(&format!("{{\"from\":{}}}", u64::MAX - turn)),
        };
        // Refused, where so many come at once.
        let _ = guest.write_all(line.as_bytes());
    }
    assert_eq!(texts(&told(&two.bob, &["show"])), ["hello"]);
    say(&mut bob, &mut alice, "and on").unwrap();
    end(bob);
    end(alice);
}

#[test]
fn a_line_that_comes_before_the_client_runs_knows_people_by_name() {
    let (two, alice, bob) = Two::talking();
    end(bob);
    end(alice);
    let mut bob = two.bob.start(&["listen"]).unwrap();
    bob.send_json(1, Some("alice"), "at once").unwrap();
    let control = bob.expect(&event("ready"), PROMPT).text("control").to_string();
    assert_eq!(control, two.bob.home().join("control.sock").display().to_string());
    bob.expect(&event("done").with("id", 1), PROMPT);
    end(bob);
}
