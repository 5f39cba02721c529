//! Contacts who meet again while the broker that introduced them is gone.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};

/// Two who met, of whom alice accepted with these words, and whose broker was killed since.
struct Met {
    world: World,
    setups: [Setup; 2],
    alice: Peer,
    bob: Peer,
}

impl Met {
    fn new(accept: &str) -> Self {
        let mut world = World::new().unwrap();
        // On the port of last time, so that whoever knows them finds them there.
        let setups = ["alice", "bob"].map(|name| world.person(name).unwrap().bind_everywhere());
        let mut alice = listen(&setups[0]).unwrap();
        let mut bob = setups[1].start(&["connect", "--to", "alice"]).unwrap();
        alice.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
        alice.send_line(accept).unwrap();
        alice.expect(&session("up"), MEETING);
        bob.expect(&session("up"), MEETING);
        say(&mut bob, &mut alice, "hello").unwrap();
        world.broker.kill().unwrap();
        bob.expect(&event("broker").with("state", "lost"), PROMPT);
        Self { world, setups, alice, bob }
    }

    fn restart_alice(&mut self) {
        self.alice.process.kill().unwrap();
        self.alice = self.setups[0].start(&["listen"]).unwrap();
        self.alice.expect(&event("ready"), PROMPT);
    }

    fn restart_bob(&mut self) {
        self.bob.process.kill().unwrap();
        self.bob = self.setups[1].start(&["connect", "--to", "alice"]).unwrap();
    }
}

#[test]
fn a_client_that_was_killed_comes_back_to_its_contact_without_the_broker() {
    let mut met = Met::new("/accept");
    for text in ["again", "and again"] {
        met.restart_bob();
        met.bob.expect(&session("up"), MEETING);
        met.alice.expect(&session("up"), MEETING);
        say(&mut met.bob, &mut met.alice, text).unwrap();
        say(&mut met.alice, &mut met.bob, text).unwrap();
    }
}

#[test]
fn two_clients_that_were_both_killed_come_back_without_the_broker() {
    let mut met = Met::new("/accept");
    met.restart_alice();
    met.restart_bob();
    met.bob.expect(&session("up"), MEETING);
    met.alice.expect(&session("up"), MEETING);
    say(&mut met.bob, &mut met.alice, "again").unwrap();
    say(&mut met.alice, &mut met.bob, "again").unwrap();
}

#[test]
fn whoever_was_accepted_once_does_not_come_back_by_itself() {
    let mut met = Met::new("/accept --once");
    met.restart_alice();
    met.bob.process.kill().unwrap();
    let before = met.alice.info().unwrap();
    let out = met.setups[1].run(&["connect", "--to", "alice"], MEETING).unwrap();
    assert_eq!(out.exit, 3, "{out:?}");
    let after = met.alice.info().unwrap();
    let count =
        |info: &p2pchat_harness::event::Event, what: &str| info.field("socket")[what].as_u64().unwrap();
    assert!(count(&after, "received") > count(&before, "received"), "bob tried: {after}");
    assert_eq!(count(&after, "answered"), 0, "{after}");
    assert_eq!(count(&after, "key_exchanges"), 0, "{after}");
    drop(met.world);
}

#[test]
fn what_is_known_of_people_is_sealed_and_damage_is_told_and_set_aside() {
    let mut met = Met::new("/accept");
    met.bob.process.kill().unwrap();
    let papers = met.setups[1].home().join("papers");
    let mut bytes = fs::read(&papers).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&papers, &bytes).unwrap();
    let out = met.setups[1].run(&["connect", "--to", "alice"], PROMPT).unwrap();
    assert_eq!(out.exit, 1, "{out:?}");
    assert!(out.out.iter().any(|line| line.contains("store_damaged")), "{out:?}");
    let aside = papers.with_extension("damaged-0");
    assert_eq!(fs::read(&aside).unwrap(), bytes, "nothing of it was overwritten");
    // A backup in its place is as good as ever.
    bytes[at] ^= 1;
    fs::write(&papers, &bytes).unwrap();
    met.bob = met.setups[1].start(&["connect", "--to", "alice"]).unwrap();
    met.bob.expect(&session("up"), MEETING);
}
