//! Whose key it is, at more than one broker: what is known of somebody holds wherever their name is asked for.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use p2pchat_harness::broker::Broker;
use p2pchat_harness::event::{event, message};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};
use serde_json::Value;

const EXIT_TRUST: i32 = 6;

fn lines(out: &Outcome) -> Vec<Value> {
    out.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(who: &Setup) -> String {
    lines(&who.run(&["id"], PROMPT).unwrap())[0]["peer"].as_str().unwrap().to_owned()
}

fn quit(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

/// Who sends it hears of a key that is not trusted, and nothing waits.
fn stops(who: &Setup, to: &str, code: &str) -> Outcome {
    let out = who.run(&["--timeout", "5", "send", "--to", to, "-m", "secret"], MEETING).unwrap();
    assert_eq!(out.exit, EXIT_TRUST, "{out:?}");
    assert!(lines(&out).iter().any(|line| line["code"] == code), "{code}: {out:?}");
    out
}

/// The same person, at the broker of that address.
fn at(world: &World, name: &str, broker: &Broker) -> Setup {
    world.stranger(name).unwrap().broker(&broker.url())
}

/// The two meet at a broker, as contacts from then on; neither runs afterwards.
fn meet(world: &World, broker: &Broker) {
    let (alice, bob) = (at(world, "alice", broker), at(world, "bob", broker));
    let mut at_bobs = listen(&bob).unwrap();
    let mut at_alices = alice.start(&["connect", "--to", "bob"]).unwrap();
    let asked = event("request").with("direction", "in");
    match at_bobs.expect(&asked, MEETING).text("state") {
        "open" => at_bobs.send_line("/accept").unwrap(),
        state => assert_eq!(state, "accepted"),
    }
    at_alices.expect(&event("session").with("state", "up"), MEETING);
    at_alices.send_json(1, Some("bob"), "hello").unwrap();
    at_alices.expect(&event("receipt").with("state", "stored"), MEETING);
    quit(at_alices);
    quit(at_bobs);
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn pinned(who: &Setup) -> Vec<String> {
    let list = lines(&who.run(&["contacts"], PROMPT).unwrap())[0]["list"].clone();
    list.as_array().unwrap().iter().map(|person| person["peer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_that_its_owner_replaced_is_found_out_at_another_broker_and_its_invitation_leads_to_the_new_one() {
    let world = World::new().unwrap();
    let second = Broker::start(&world.directory("second").unwrap(), &world.trace).unwrap();
    meet(&world, &world.broker);
    let (alice, bob) = (at(&world, "alice", &world.broker), at(&world, "bob", &world.broker));
    let old = id(&alice);
    let thief = world.directory("thief").unwrap();
    copy(alice.home(), &thief);
    let thief = at(&world, "alice", &second).at(&thief);
    let invitation = lines(&alice.run(&["id", "--invite"], MEETING).unwrap());
    let invitation = invitation[0]["invitation"].as_str().unwrap().to_owned();
    assert_eq!(alice.run(&["id", "rotate", "--yes"], MEETING).unwrap().exit, 0);
    let mut at_alices = listen(&alice).unwrap();
    let mut at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
    at_bobs.expect(&event("trust").with("followed", true), MEETING);
    quit(at_bobs);

    let out = bob.run(&["send", "--to", &invitation, "-m", "by an old line"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    at_alices.expect(&message("by an old line"), MEETING);
    let trusted = bob.run(&["contacts", "trust", "alice", &old, "--yes"], PROMPT).unwrap();
    assert_eq!(trusted.exit, EXIT_TRUST, "{trusted:?}");
    assert_eq!(pinned(&bob), [id(&alice)]);
    quit(at_alices);

    let elsewhere = at(&world, "bob", &second);
    let mut at_thiefs = listen(&thief.accept_everything()).unwrap();
    stops(&elsewhere, "alice", "key_replaced");
    let mut at_bobs = listen(&elsewhere).unwrap();
    at_thiefs.send_line("/connect bob").unwrap();
    at_bobs.expect(&event("error").with("code", "key_replaced"), MEETING);
    at_thiefs.expect(&event("request").with("direction", "out").with("state", "declined"), MEETING);
    let met = |said: &p2pchat_harness::event::Event| said.name() == "message" || said.text("state") == "up";
    assert!(!at_thiefs.take_events().iter().any(met));
    quit(at_bobs);
    quit(at_thiefs);
    assert_eq!(pinned(&bob), [id(&alice)]);
}
