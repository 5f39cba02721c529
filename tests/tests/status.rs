//! `status`, `visibility` and `policy`: alone, beside an open chat, and what others see of it. With the real
//! programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{Event, event, message};
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

/// The one `status` line of a command.
fn status(setup: &Setup, words: &[&str]) -> Event {
    let out = run(setup, words);
    let events = out.out.iter().filter_map(|line| Event::parse(line));
    events.into_iter().find(|event| event.name() == "status").unwrap_or_else(|| panic!("no status: {out:?}"))
}

/// Who is listed by `list`, as name and status.
fn listed(setup: &Setup) -> Vec<(String, String)> {
    let out = run(setup, &["list"]);
    let events = out.out.iter().filter_map(|line| Event::parse(line));
    let people = events.into_iter().find(|event| event.name() == "people").unwrap();
    let text = |person: &serde_json::Value, field: &str| person[field].as_str().unwrap().to_owned();
    let list = people.field("list").as_array().unwrap();
    list.iter().map(|person| (text(person, "name"), text(person, "status"))).collect()
}

#[test]
fn without_a_chat_it_is_kept_and_counts_at_the_next_start() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let at_first = status(&alice, &["status"]);
    assert_eq!((at_first.text("status"), at_first.field("running")), ("online", &false.into()));
    assert_eq!(status(&alice, &["status", "busy"]).text("status"), "busy");
    assert_eq!(status(&alice, &["visibility"]).text("visibility"), "public");
    assert_eq!(status(&alice, &["policy", "contacts"]).text("policy"), "contacts");
    let plain = run(&alice.clone().plain(), &["status"]);
    assert_eq!(plain.out[1], "busy: seen by everybody, only contacts may ask for a chat", "{plain:?}");
    let wrong = alice.run(&["status", "asleep"], PROMPT).unwrap();
    assert_eq!(wrong.exit, 2, "{wrong:?}");

    let at_alices = listen(&alice).unwrap();
    assert_eq!(listed(&bob), [("alice".to_owned(), "busy".to_owned())]);
    let refused = bob.run(&["send", "--to", "alice", "-m", "hello"], MEETING).unwrap();
    assert_eq!(refused.exit, 4, "{refused:?}");
    end(at_alices);
    // Nothing of it is in clear.
    let papers = std::fs::read(alice.home().join("papers")).unwrap();
    assert!(!papers.windows(8).any(|bytes| bytes == b"standing"));
}

#[test]
fn beside_an_open_chat_it_is_the_chat_that_changes_and_answers() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let (mut at_alices, mut at_bobs) = world.acquaint(&alice, &bob).unwrap();

    let away = status(&alice, &["status", "away"]);
    assert_eq!((away.text("status"), away.field("running")), ("away", &true.into()));
    assert_eq!(away.field("broker")["state"], "connected", "{away}");
    assert_eq!(away.field("sessions")[0]["name"], "bob", "{away}");
    at_alices.expect(&event("standing").with("status", "away"), PROMPT);
    at_bobs.expect(&event("presence").with("name", "alice").with("status", "away"), PROMPT);

    at_bobs.send_line("/status invisible").unwrap();
    at_bobs.expect(&event("standing").with("status", "invisible"), PROMPT);
    at_alices.expect(&event("presence").with("name", "bob").with("status", "offline"), PROMPT);
    assert_eq!(status(&bob, &["status"]).text("status"), "invisible");
    say(&mut at_alices, &mut at_bobs, "the session goes on").unwrap();
    let plain = run(&bob.clone().plain(), &["status"]);
    assert!(plain.out.iter().any(|line| line.starts_with("session with alice: up")), "{plain:?}");
    end(at_bobs);
    end(at_alices);
    assert_eq!(status(&bob, &["status"]).text("status"), "invisible", "kept by the chat");
}

#[test]
fn somebody_invisible_is_found_by_nobody_and_answers_nobody_but_may_ask() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let (at_alices, at_bobs) = world.acquaint(&alice, &bob).unwrap();
    end(at_bobs);
    end(at_alices);
    status(&alice, &["status", "invisible"]);
    let mut at_alices = listen(&alice).unwrap();
    at_alices.expect(&event("standing").with("status", "invisible"), PROMPT);
    assert_eq!(listed(&bob), []);
    // Neither over the broker nor directly, as contacts otherwise find each other.
    let sent =
        bob.clone().arguments(["--timeout", "3"]).run(&["send", "--to", "alice", "-m", "there?"], MEETING);
    assert_eq!(sent.unwrap().exit, 7, "it waits");
    let mut at_bobs = listen(&bob).unwrap();
    let out = alice.run(&["send", "--to", "bob", "-m", "psst"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    at_bobs.expect(&message("psst"), PROMPT);
    at_alices.expect(&message("there?"), MEETING);
    end(at_bobs);
    end(at_alices);
}
