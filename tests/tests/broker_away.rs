//! A session does not need the broker that introduced it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::time::Duration;

use p2pchat_harness::actions::{pass_file, random_content, say};
use p2pchat_harness::event::event;
use p2pchat_harness::peer::Peer;
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::world::{MEETING, World};

/// The longest pause between two tries, with room for the try itself.
const RECONNECT: Duration = Duration::from_secs(75);

fn forget_until_now(peer: &mut Peer) {
    drop(peer.take_events());
}

#[test]
fn people_talk_on_without_the_broker_and_come_back_to_it() {
    let mut world = World::new().unwrap();
    let (mut alice, mut bob) = world.alice_and_bob().unwrap();
    forget_until_now(&mut alice);
    forget_until_now(&mut bob);

    world.broker.kill().unwrap();
    for peer in [&mut alice, &mut bob] {
        peer.expect(&event("broker").with("state", "lost"), PROMPT);
    }
    say(&mut bob, &mut alice, "the broker is gone").unwrap();
    say(&mut alice, &mut bob, "who needs it").unwrap();
    let song = world.file("song.mp3", &random_content(1, 2 << 20)).unwrap();
    pass_file(&mut bob, &mut alice, &song).unwrap().assert_equal_to(&song);
    pass_file(&mut alice, &mut bob, &song).unwrap().assert_equal_to(&song);

    world.broker.restart().unwrap();
    for peer in [&mut alice, &mut bob] {
        peer.expect(&event("broker").with("state", "connected"), RECONNECT);
    }
    say(&mut alice, &mut bob, "it is back").unwrap();

    // Others reach them again, too, and nobody took their names meanwhile.
    let mut carol = world.person("carol").unwrap().start(&["connect", "--to", "alice"]).unwrap();
    carol.expect(&p2pchat_harness::event::session("up"), MEETING);
}

#[test]
fn a_broker_that_is_asked_to_end_says_so_and_exits_with_0() {
    let mut world = World::new().unwrap();
    let (mut alice, mut bob) = world.alice_and_bob().unwrap();
    assert_eq!(world.broker.terminate().unwrap(), 0);
    alice.expect(&event("broker").with("state", "lost"), PROMPT);
    say(&mut bob, &mut alice, "still here").unwrap();
    world.broker.restart().unwrap();
    alice.expect(&event("broker").with("state", "connected"), RECONNECT);
}

#[test]
fn names_are_kept_over_a_crash_of_the_broker() {
    let mut world = World::new().unwrap();
    let mut alice = p2pchat_harness::world::listen(&world.person("alice").unwrap()).unwrap();
    world.broker.kill().unwrap();
    assert_eq!(alice.quit().unwrap(), 0);
    world.broker.restart().unwrap();
    let thief = world.stranger("thief").unwrap().broker(&world.broker.url());
    let thief = p2pchat_harness::peer::Setup::new("alice", thief.home(), &world.trace)
        .broker(&world.broker.url())
        .plain()
        .run(&["listen"], MEETING)
        .unwrap();
    assert_eq!(thief.exit, 4, "{thief:?}");
}
