//! Whom a user knows, and what they decided about them: with the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::thread;

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};
use p2pchat_proto::PeerId;
use serde_json::Value;

/// Alice and bob, who know each other, and neither of whom runs.
struct Known {
    world: World,
    alice: Setup,
    bob: Setup,
}

impl Known {
    fn new() -> Self {
        let world = World::new().unwrap();
        let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
        let known = Self { world, alice, bob };
        let mut at_alices = listen(&known.alice).unwrap();
        let mut at_bobs = known.bob.start(&["connect", "--to", "alice"]).unwrap();
        at_alices.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
        at_alices.send_line("/accept").unwrap();
        for peer in [&mut at_alices, &mut at_bobs] {
            peer.expect(&event("trust").with("is", "pinned"), MEETING);
        }
        end(at_bobs);
        end(at_alices);
        known
    }
}

fn end(mut peer: Peer) {
    assert_eq!(peer.quit().unwrap(), 0);
}

/// What `contacts` with these words says, as its one event.
fn contacts(setup: &Setup, words: &[&str]) -> Value {
    let out = setup.run(&[&["contacts"], words].concat(), PROMPT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    serde_json::from_str(out.out.last().unwrap()).unwrap()
}

fn digits(setup: &Setup, of: &str) -> String {
    contacts(setup, &["verify", of])["digits"].as_str().unwrap().to_owned()
}

#[test]
fn both_sides_see_the_same_number_and_whoever_compared_it_is_shown_as_verified() {
    let known = Known::new();
    let number = digits(&known.bob, "alice");
    assert_eq!(number, digits(&known.alice, "bob"));
    assert_eq!(number.split(' ').map(str::len).collect::<Vec<_>>(), [5; 12]);
    assert_eq!(contacts(&known.bob, &["list"])["list"][0]["trust"], "pinned");
    // Not verified: nothing leaves.
    let only = known.bob.clone().arguments(["--require-verified"]);
    let alice = listen(&known.alice).unwrap();
    let out = only.run(&["send", "--to", "alice", "-m", "hello"], MEETING).unwrap();
    assert_eq!(out.exit, 6, "{out:?}");
    assert_eq!(contacts(&known.bob, &["verify", "alice", "--yes"])["trust"], "verified");
    let mut alice = alice;
    let mut bob = only.start(&["connect", "--to", "alice"]).unwrap();
    assert_eq!(bob.expect(&session("up"), MEETING).text("trust"), "verified");
    alice.expect(&session("up"), MEETING);
    say(&mut bob, &mut alice, "hello").unwrap();
    assert_eq!(bob.info().unwrap().field("sessions")[0]["trust"], "verified");
    assert!(!alice.take_events().iter().any(|event| event.name() == "error"), "{}", known.world.trace);
    end(bob);
    end(alice);
}

#[test]
fn nothing_of_somebody_who_is_blocked_is_shown_until_the_block_is_taken_back() {
    let known = Known::new();
    assert_eq!(contacts(&known.alice, &["block", "bob"])["trust"], "blocked");
    let mut alice = listen(&known.alice.clone().arguments(["--accept", "everyone"])).unwrap();
    let out = known.bob.run(&["connect", "--to", "alice", "--message", "let me in"], MEETING).unwrap();
    assert_eq!(out.exit, 4, "{out:?}");
    let seen = alice.take_events();
    let of_bob = |name: &str| ["request", "session", "message"].contains(&name);
    assert!(!seen.iter().any(|event| of_bob(event.name())), "{}", known.world.trace);
    // The same without the block, in the same process.
    alice.command(1, None, "/unblock bob").unwrap();
    alice.expect(&event("trust").with("was", "blocked").with("is", "pinned"), PROMPT);
    let bob = known.bob.clone();
    let sends = thread::spawn(move || bob.run(&["send", "--to", "alice", "-m", "thank you"], MEETING));
    alice.expect(&event("message").with("text", "thank you"), MEETING);
    assert_eq!(sends.join().unwrap().unwrap().exit, 0);
    end(alice);
}

#[test]
fn somebody_is_called_what_the_user_calls_them() {
    let known = Known::new();
    let renamed = contacts(&known.bob, &["rename", "alice", "sister"]);
    assert_eq!((renamed["name"].as_str(), renamed["registered"].as_str()), (Some("sister"), Some("alice")));
    let mut alice = listen(&known.alice).unwrap();
    for called in ["sister", "alice"] {
        let mut bob = known.bob.start(&["connect", "--to", called]).unwrap();
        assert_eq!(bob.expect(&session("up"), MEETING).text("name"), "sister");
        alice.expect(&session("up"), MEETING);
        say(&mut bob, &mut alice, called).unwrap();
        end(bob);
        alice.expect(&session("closed"), MEETING);
    }
    end(alice);
    contacts(&known.bob, &["remove", "sister"]);
    assert_eq!(contacts(&known.bob, &["list"])["list"], Value::Array(Vec::new()));
}

#[test]
fn another_key_under_a_known_name_stops_everything_until_the_user_takes_it() {
    let world = World::new().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name).unwrap());
    let mut at_alices = listen(&alice.accept_everything()).unwrap();
    // Bob was told another id than the one that the broker will name.
    let known = PeerId([0x42; 32]).to_string();
    assert_eq!(contacts(&bob, &["add", "alice", &known])["peer"], known.as_str());
    let out = bob.run(&["connect", "--to", "alice", "--message", "hello"], MEETING).unwrap();
    assert_eq!(out.exit, 6, "{out:?}");
    let all: Vec<Value> = out.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = all.iter().find(|line| line["event"] == "trust").unwrap();
    let came = said["peer"].as_str().unwrap();
    assert_eq!(said["pinned"], known.as_str());
    assert!(all.iter().any(|line| line["code"] == "key_changed"), "{out:?}");
    assert!(out.err.iter().any(|line| line.contains(came) && line.contains(&known)), "{out:?}");
    let seen = at_alices.take_events();
    assert!(!seen.iter().any(|event| ["request", "session"].contains(&event.name())), "{}", world.trace);
    let refused = bob.run(&["contacts", "trust", "alice", came], PROMPT).unwrap();
    assert_eq!(refused.exit, 2, "nobody was asked: {refused:?}");
    assert_eq!(contacts(&bob, &["trust", "alice", came, "--yes"])["peer"], came);
    let mut at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
    at_bobs.expect(&session("up"), MEETING);
    say(&mut at_bobs, &mut at_alices, "hello").unwrap();
    end(at_bobs);
    end(at_alices);
}
