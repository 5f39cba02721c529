//! That somebody types, from front end to front end: with the real programs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::Peer;
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World, listen};

fn end(mut peer: Peer) {
    assert_eq!(peer.quit().unwrap(), 0);
}

fn assert_shows(plain: &mut Peer, text: &str) {
    plain.process.find(text, MEETING, |line| line.text.contains(text).then_some(())).unwrap();
}

#[test]
fn who_types_is_told_to_a_front_end_and_a_message_tells_nothing_of_it() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap().accept_everything()).unwrap();
    let mut bob = world.person("bob").unwrap().start(&["connect", "--to", "alice"]).unwrap();
    // Nobody is there yet to see it, which is no error.
    bob.send_json(1, None, "/typing").unwrap();
    bob.expect(&event("done").with("id", 1), PROMPT);
    for peer in [&mut alice, &mut bob] {
        peer.expect(&session("up"), MEETING);
    }
    say(&mut bob, &mut alice, "hello").unwrap();
    let before = alice.take_events();
    assert!(before.iter().all(|event| event.name() != "typing"), "{before:?}");
    bob.send_json(2, None, "/typing").unwrap();
    bob.expect(&event("done").with("id", 2), PROMPT);
    let typing = alice.expect(&event("typing"), MEETING);
    assert_eq!(typing.text("name"), "bob");
    assert_eq!(typing.text("peer"), typing.text("conversation"));
    end(bob);
    end(alice);
}

#[test]
fn in_plain_mode_it_is_shown_to_whoever_wants_to_see_everything() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap().accept_everything().plain().arguments(["--verbose"]);
    let mut at_alices = alice.start(&["listen"]).unwrap();
    assert_shows(&mut at_alices, "* at the broker");
    let mut bob = world.person("bob").unwrap().start(&["connect", "--to", "alice"]).unwrap();
    bob.expect(&session("up"), MEETING);
    bob.send_line("/typing alice").unwrap();
    assert_shows(&mut at_alices, "* bob is typing");
    end(bob);
    end(at_alices);
}
