//! Whose key it is, at more than one broker: what is known of somebody holds wherever their name is asked for.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use p2pchat_harness::broker::Broker;
use p2pchat_harness::event::{Event, event, message};
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
    let (at_bobs, at_alices) = world.acquaint(&bob, &alice).unwrap();
    for mut peer in [at_alices, at_bobs] {
        peer.expect(&event("trust").with("is", "pinned"), MEETING);
        quit(peer);
    }
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

/// Whoever holds a name that was asked for has nothing of what was meant for another one.
fn nothing_came(mut peer: Peer) {
    let secret = |said: &Event| said.name() == "message" && said.text("text") == "secret";
    assert!(!peer.take_events().iter().any(secret));
    quit(peer);
}

/// Somebody else who holds a name at a broker.
fn impostor(world: &World, name: &str, broker: &Broker) -> Setup {
    let home = world.directory("impostor").unwrap();
    at(world, name, broker).at(&home).accept_everything()
}

#[test]
fn whoever_was_met_at_another_broker_is_nobody_else_there_afterwards() {
    let world = World::new().unwrap();
    let mut second = Broker::start(&world.directory("second").unwrap(), &world.trace).unwrap();
    meet(&world, &world.broker);
    let [bob, again] = ["bob", "alice"].map(|name| at(&world, name, &second));
    let (at_bobs, at_alices) = world.meet(&bob, &again).unwrap();
    quit(at_alices);
    quit(at_bobs);
    let alice = id(&at(&world, "alice", &world.broker));
    assert_eq!(bob.run(&["contacts", "verify", "alice", "--yes"], PROMPT).unwrap().exit, 0);
    // The operator gives the name to somebody else.
    second.terminate().unwrap();
    fs::remove_file(second.data().join("accounts.redb")).unwrap();
    second.restart().unwrap();
    let at_impostors = listen(&impostor(&world, "alice", &second)).unwrap();
    stops(&bob, "alice", "key_changed");
    nothing_came(at_impostors);
    assert!(pinned(&bob).iter().all(|known| *known == alice));
}

#[test]
fn a_contacts_name_leads_to_nobody_else_at_a_broker_where_they_never_met() {
    let world = World::new().unwrap();
    let second = Broker::start(&world.directory("second").unwrap(), &world.trace).unwrap();
    meet(&world, &world.broker);
    let bob = at(&world, "bob", &second);
    let alice = id(&at(&world, "alice", &world.broker));
    let other = impostor(&world, "alice", &second);
    let mut at_others = listen(&other).unwrap();
    let out = stops(&bob, "alice", "key_changed");
    let said = lines(&out).into_iter().find(|line| line["code"] == "key_changed").unwrap().to_string();
    assert!(said.contains(&alice) && said.contains(&id(&other)), "{said}");
    assert_eq!(pinned(&bob), [alice]);
    let by_id = bob.run(&["send", "--to", &id(&other), "-m", "to you"], MEETING).unwrap();
    assert_eq!(by_id.exit, 0, "{by_id:?}");
    at_others.expect(&message("to you"), MEETING);
    nothing_came(at_others);
}

#[test]
fn an_invitation_of_the_new_key_leads_a_contact_there_whom_nobody_had_told() {
    let world = World::new().unwrap();
    meet(&world, &world.broker);
    let [alice, bob] = ["alice", "bob"].map(|name| at(&world, name, &world.broker));
    let old = id(&alice);
    assert_eq!(alice.run(&["id", "rotate", "--yes"], MEETING).unwrap().exit, 0);
    let invitation = lines(&alice.run(&["id", "--invite"], MEETING).unwrap());
    let invitation = invitation[0]["invitation"].as_str().unwrap().to_owned();
    let mut at_alices = listen(&alice).unwrap();
    let out = bob.run(&["send", "--to", &invitation, "-m", "by the new line"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    at_alices.expect(&message("by the new line"), MEETING);
    let told = lines(&out).into_iter().find(|line| line["followed"] == true).unwrap();
    assert_eq!((told["pinned"].as_str(), told["peer"].as_str()), (Some(&*old), Some(&*id(&alice))));
    assert_eq!(pinned(&bob), [id(&alice)]);
    quit(at_alices);
}
