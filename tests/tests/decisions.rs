//! What a user decides about people while a chat is open: kept by the process that holds the profile.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_harness::actions::say;
use p2pchat_harness::event::event;
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World};
use p2pchat_proto::PeerId;
use serde_json::Value;

fn contacts(setup: &Setup, words: &[&str]) -> Outcome {
    setup.run(&[&["contacts"], words].concat(), PROMPT).unwrap()
}

/// The last line of one that succeeds.
fn kept(setup: &Setup, words: &[&str]) -> Value {
    let out = contacts(setup, words);
    assert_eq!(out.exit, 0, "{words:?}: {out:?}");
    serde_json::from_str(out.out.last().unwrap()).unwrap()
}

fn end(mut peer: Peer) {
    assert_eq!(peer.quit().unwrap(), 0);
}

#[test]
fn decisions_beside_an_open_chat_count_in_it_at_once_and_stay() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let (mut at_alices, mut at_bobs) = world.acquaint(&alice, &bob).unwrap();

    let renamed = kept(&bob, &["rename", "alice", "liesl"]);
    assert_eq!((&renamed["name"], &renamed["registered"]), (&"liesl".into(), &"alice".into()), "{renamed}");
    let plain = contacts(&bob.clone().plain(), &["rename", "liesl", "elisabeth"]);
    assert!(plain.out[0].starts_with("elisabeth  pinned  alice  "), "{plain:?}");
    // Other commands that go through the chat know the new name.
    let out = bob.run(&["send", "--to", "elisabeth", "-m", "by your new name"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");

    assert_eq!(kept(&bob, &["verify", "elisabeth", "--yes"])["trust"], "verified");
    let told = at_bobs.expect(&event("trust").with("is", "verified"), PROMPT);
    assert_eq!(told.text("name"), "elisabeth");

    let stranger = PeerId([7; 32]).to_string();
    assert_eq!(kept(&bob, &["add", "carol", &stranger])["name"], "carol");
    assert_eq!(kept(&bob, &["remove", "carol"])["trust"], "new");
    let unknown = contacts(&bob, &["remove", "nobody"]);
    assert_eq!(unknown.exit, 4, "{unknown:?}");

    at_bobs.send_json(1, None, "/retry").unwrap();
    at_bobs.expect(&event("done").with("id", 1), PROMPT);
    say(&mut at_bobs, &mut at_alices, "still here").unwrap();
    assert_eq!(kept(&bob, &["block", "elisabeth"])["trust"], "blocked");
    at_bobs.expect(&event("stopped"), PROMPT);
    // The same without a chat.
    let list = kept(&bob, &["list"]);
    let person = &list["list"][0];
    let seen = [&person["name"], &person["trust"], &person["registered"]];
    assert_eq!(seen, [&Value::from("elisabeth"), &"blocked".into(), &"alice".into()], "{list}");
    assert_eq!(list["list"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(kept(&bob, &["unblock", "elisabeth"])["trust"], "verified");
    end(at_alices);
}
