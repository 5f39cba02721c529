//! Another key in the place of somebody's: nothing is lost, those who know the old one follow, nobody else's
//! word is taken for it, and a crash in between is gone on from.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::sync::mpsc;

use p2pchat_crypto::succession;
use p2pchat_crypto::{Identity, Seed};
use p2pchat_harness::double::{Lie, LyingBroker};
use p2pchat_harness::event::{event, message, session};
use p2pchat_harness::peer::{Outcome, Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};
use p2pchat_proto::WallTime;
use p2pchat_proto::broker::{FromBroker, Pong};
use serde_json::Value;

const EXIT_NO_BROKER: i32 = 3;
const EXIT_TRUST: i32 = 6;
const EXIT_WAITS: i32 = 7;

/// Alice and Bob, who know each other; neither runs.
fn contacts(world: &World, broker: &str) -> [Setup; 2] {
    let [alice, bob] = ["alice", "bob"].map(|name| world.stranger(name).unwrap().broker(broker));
    let (at_alices, at_bobs) = world.acquaint(&alice, &bob).unwrap();
    for mut peer in [at_bobs, at_alices] {
        peer.expect(&event("trust").with("is", "pinned"), MEETING);
        peer.send_line("/quit").unwrap();
        peer.expect(&event("stopped"), PROMPT);
    }
    [alice, bob]
}

fn lines(out: &Outcome) -> Vec<Value> {
    out.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The identity of now, and the one before.
fn rotate(who: &Setup) -> (String, String) {
    let out = who.run(&["id", "rotate", "--yes"], MEETING).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let said = lines(&out);
    assert_eq!(said[0]["event"], "rotated", "{out:?}");
    let text = |field: &str| said[0][field].as_str().unwrap().to_owned();
    (text("peer"), text("was"))
}

fn id(who: &Setup) -> String {
    let out = who.run(&["id"], PROMPT).unwrap();
    lines(&out)[0]["peer"].as_str().unwrap().to_owned()
}

fn send(who: &Setup, to: &str, text: &str) -> i32 {
    who.run(&["--timeout", "2", "send", "--to", to, "-m", text], MEETING).unwrap().exit
}

fn history(who: &Setup, with: &str) -> Vec<String> {
    let out = who.run(&["history", "show", "--with", with], PROMPT).unwrap();
    let texts = lines(&out).into_iter().filter_map(|line| line["text"].as_str().map(str::to_owned));
    texts.collect()
}

fn quit(mut peer: Peer) {
    peer.send_line("/quit").unwrap();
    peer.expect(&event("stopped"), PROMPT);
}

/// The notice that somebody is followed.
fn followed(peer: &mut Peer, old: &str, new: &str) {
    let said = peer.expect(&event("trust").with("followed", true), MEETING);
    assert_eq!((said.text("pinned"), said.text("peer"), said.text("name")), (old, new, "alice"), "{said}");
    assert_eq!(said.text("is"), "pinned");
}

#[test]
fn what_waits_on_both_sides_arrives_once_after_a_rotation_and_a_restart_of_the_broker() {
    let mut world = World::new().unwrap();
    let [alice, bob] = contacts(&world, &world.broker.url());
    let before = id(&alice);
    assert_eq!(send(&alice, "bob", "from the old key"), EXIT_WAITS);
    assert_eq!(send(&bob, "alice", "to the old key"), EXIT_WAITS);
    let (new, was) = rotate(&alice);
    assert_eq!((was, id(&alice)), (before.clone(), new.clone()));
    world.broker.terminate().unwrap();
    world.broker.restart().unwrap();

    let mut at_alices = listen(&alice).unwrap();
    let mut at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
    followed(&mut at_bobs, &before, &new);
    at_bobs.expect(&session("up"), MEETING);
    at_bobs.expect(&message("from the old key"), MEETING);
    at_alices.expect(&message("to the old key"), MEETING);
    at_bobs.send_json(1, Some("alice"), "and on").unwrap();
    at_alices.expect(&message("and on"), MEETING);
    quit(at_bobs);
    quit(at_alices);
    let bobs = history(&bob, "alice");
    let alices = history(&alice, "bob");
    for said in [&bobs, &alices] {
        let mut sorted = said.clone();
        sorted.sort();
        assert_eq!(sorted, ["and on", "from the old key", "to the old key"], "whole, and once");
    }
    let known = bob.run(&["contacts"], PROMPT).unwrap();
    let list = lines(&known)[0]["list"].clone();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!((list[0]["peer"].as_str(), list[0]["name"].as_str()), (Some(&*new), Some("alice")));
}

#[test]
fn somebody_who_was_away_for_two_rotations_follows_both_and_a_verified_one_is_to_be_compared_again() {
    let world = World::new().unwrap();
    let [alice, bob] = contacts(&world, &world.broker.url());
    assert_eq!(bob.run(&["contacts", "verify", "alice", "--yes"], PROMPT).unwrap().exit, 0);
    let (_, first) = rotate(&alice);
    let (newest, _) = rotate(&alice);
    let mut at_bobs = listen(&bob).unwrap();
    let at_alices = alice.start(&["connect", "--to", "bob"]).unwrap();
    followed(&mut at_bobs, &first, &newest);
    at_bobs.expect(&session("up"), MEETING);
    at_bobs.send_json(1, Some("alice"), "hello").unwrap();
    at_bobs.expect(&event("receipt").with("state", "stored"), MEETING);
    quit(at_alices);
    quit(at_bobs);
}

#[test]
fn a_broker_that_names_another_key_with_no_statement_or_a_wrong_one_is_found_out_and_nothing_is_sent() {
    let stated = |old: u8, new: u8| {
        let [old, new] = [old, new].map(|n| Identity::from_seed(&Seed::from_bytes([n; 32])));
        succession::state(&old, &new, WallTime(1)).unwrap()
    };
    let lies: [Lie; 2] = [
        Box::new(|message| {
            let FromBroker::Succeeded(succeeded) = message else { return false };
            succeeded.chain.clear();
            true
        }),
        Box::new(move |message| {
            let FromBroker::Succeeded(succeeded) = message else { return false };
            succeeded.chain = vec![stated(66, 67)];
            true
        }),
    ];
    for lie in lies {
        let (world, broker) = (World::new().unwrap(), LyingBroker::start(1).unwrap());
        let [alice, bob] = contacts(&world, &broker.url());
        let before = id(&alice);
        let (new, _) = rotate(&alice);
        broker.lie(lie);
        let mut at_alices = listen(&alice).unwrap();
        let out = bob.run(&["send", "--to", "alice", "-m", "a secret"], MEETING).unwrap();
        assert_eq!(out.exit, EXIT_TRUST, "{out:?}");
        assert!(broker.told() > 0);
        let said = lines(&out);
        let warning = said.iter().find(|line| line["event"] == "trust").unwrap();
        assert_eq!((warning["pinned"].as_str(), warning["peer"].as_str()), (Some(&*before), Some(&*new)));
        assert_eq!(warning["followed"], Value::Null);
        assert!(!at_alices.take_events().iter().any(|event| ["request", "session"].contains(&event.name())));
        quit(at_alices);
    }
}

#[test]
fn a_rotation_that_is_killed_after_the_broker_has_heard_of_it_is_ended_by_the_next_one_with_the_same_key() {
    let (world, broker) = (World::new().unwrap(), LyingBroker::start(1).unwrap());
    let [alice, bob] = contacts(&world, &broker.url());
    let old = id(&alice);
    // The broker's word that it is done never comes.
    let mut replies = 0;
    let (swallows, swallowed) = mpsc::channel();
    broker.lie(Box::new(move |message| {
        replies += u32::from(matches!(message, FromBroker::Reply(_)));
        let swallow = replies == 2 && swallows.send(()).is_ok();
        if swallow {
            *message = Pong.into();
            replies += 1;
        }
        swallow
    }));
    let mut rotating = alice.start(&["id", "rotate", "--yes"]).unwrap();
    swallowed.recv_timeout(PROMPT).unwrap();
    rotating.process.kill().unwrap();
    assert_eq!(id(&alice), old, "the key file is what it was");
    assert_eq!(send(&bob, "alice", "meanwhile"), EXIT_WAITS);
    let known = bob.run(&["contacts"], PROMPT).unwrap();
    let followed = lines(&known)[0]["list"][0]["peer"].as_str().unwrap().to_owned();
    assert_ne!(followed, old, "bob follows whom the broker knows by now");
    let (new, was) = rotate(&alice);
    assert_eq!((new.clone(), was), (followed, old));
    let mut at_alices = listen(&alice).unwrap();
    let at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
    at_alices.expect(&message("meanwhile"), MEETING);
    quit(at_bobs);
    quit(at_alices);
}

#[test]
fn without_a_broker_the_old_key_goes_on_and_the_new_one_waits_for_the_next_try() {
    let mut world = World::new().unwrap();
    let [alice, bob] = contacts(&world, &world.broker.url());
    let old = id(&alice);
    world.broker.terminate().unwrap();
    for _ in 0..2 {
        assert_eq!(alice.run(&["id", "rotate", "--yes"], MEETING).unwrap().exit, EXIT_NO_BROKER);
    }
    assert_eq!(id(&alice), old);
    world.broker.restart().unwrap();
    let mut at_alices = listen(&alice).unwrap();
    let mut at_bobs = bob.start(&["connect", "--to", "alice"]).unwrap();
    at_bobs.expect(&session("up"), MEETING);
    at_bobs.send_json(1, Some("alice"), "as ever").unwrap();
    at_alices.expect(&message("as ever"), MEETING);
    let open = alice.run(&["id", "rotate", "--yes"], MEETING).unwrap();
    assert_eq!(open.exit, 1, "a chat is open: {open:?}");
    quit(at_bobs);
    quit(at_alices);
    let (new, was) = rotate(&alice);
    assert_eq!((id(&alice), was), (new, old));
}

#[test]
fn a_locked_key_is_rotated_with_its_passphrase_only_and_stays_under_it() {
    let world = World::new().unwrap();
    let passphrase = world.file("passphrase", b"correct horse\n").unwrap();
    let locked = world.person("alice").unwrap();
    let open = world.person("alice").unwrap().arguments(["--passphrase-file", passphrase.to_str().unwrap()]);
    let old = id(&open);
    let key = || std::fs::read(open.home().join("identity.key")).unwrap();
    let before = key();
    assert_eq!(locked.run(&["id", "rotate", "--yes"], PROMPT).unwrap().exit, 1);
    assert_eq!(open.run(&["id", "rotate"], PROMPT).unwrap().exit, 2, "nobody can be asked");
    assert_eq!(key(), before);
    let (new, was) = rotate(&open);
    assert_eq!((id(&open), was), (new.clone(), old));
    assert_eq!(locked.run(&["id"], PROMPT).unwrap().exit, 1, "it is still locked");
    let export = world.directory("files").unwrap().join("alice.export");
    let file = passphrase.to_str().unwrap();
    let arguments = ["id", "export", export.to_str().unwrap(), "--export-passphrase-file", file];
    assert_eq!(open.run(&arguments, PROMPT).unwrap().exit, 0);
    std::fs::remove_file(open.home().join("identity.key")).unwrap();
    let arguments = ["id", "import", export.to_str().unwrap(), "--export-passphrase-file", file];
    assert_eq!(open.run(&arguments, PROMPT).unwrap().exit, 0, "in the same home, whose papers it opens");
    assert_eq!(id(&open), new);
}

#[test]
fn whoever_names_the_new_key_of_somebody_is_told_that_the_message_arrived() {
    let world = World::new().unwrap();
    let [alice, bob] = contacts(&world, &world.broker.url());
    assert_eq!(send(&bob, "alice", "to the old key"), EXIT_WAITS);
    let at_alices = listen(&alice).unwrap();
    assert_eq!(send(&bob, "alice", "hello"), 0);
    quit(at_alices);
    let (new, _) = rotate(&alice);
    let at_alices = listen(&alice.clone().accept_everything()).unwrap();
    assert_eq!(send(&bob, &new, "by the new id"), 0);
    quit(at_alices);
    assert!(history(&alice, "bob").contains(&"by the new id".to_owned()));
}
