//! What must not keep two people apart: moments of the broker link, and clocks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::RequestState;
use p2pchat_engine::{AcceptPolicy, Command, Event, Target};
use p2pchat_netsim::LinkConfig;
use world::{Manner, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;

fn everyone() -> Manner {
    Manner { accept: AcceptPolicy::Everyone, ..Manner::default() }
}

#[test]
fn a_request_that_comes_between_login_and_registration_is_heard() {
    let mut world = World::new(1);
    world.join("bob", everyone(), &LinkConfig::default());
    world.run_for(MINUTE);
    // Alice is logged in, so who knows her key can ask; her name is not written yet.
    world.broker.slow = true;
    let alice = world.join("alice", everyone(), &LinkConfig::default());
    world.run_for(Duration::from_secs(1));
    let to = Target::Peer(world.people[alice].peer);
    world.command(0, Command::Connect { to, wait: MINUTE });
    world.run_for(Duration::from_secs(1));
    let asked = |world: &World| {
        world.people[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::Request(request) if request.state == RequestState::Open))
    };
    assert!(asked(&world), "the broker took it");
    assert!(!world.people[alice].is_up(), "she has not registered");
    world.broker.write();
    world.settle();
    world.run_until(MINUTE, "both are up", |world| world.people.iter().all(world::Member::is_up));
}

#[test]
fn a_request_that_crosses_one_of_which_nobody_knows_any_more_is_answered() {
    // Of two requests that cross, the smaller identity's counts: so each of the two has its turn.
    for (silly, patient) in [(0, 1), (1, 0)] {
        let mut world = World::new(3);
        let everyone_or_ask = |who| if who == silly { everyone() } else { Manner::default() };
        world.join("alice", everyone_or_ask(0), &LinkConfig::default());
        world.join("bob", everyone_or_ask(1), &LinkConfig::default());
        world.run_for(Duration::from_secs(1));
        let names = ["alice", "bob"];
        // The second request takes the place of the first at the broker, and is taken back.
        for _ in 0..2 {
            world.connect(silly, names[patient]);
            world.run_for(Duration::from_secs(1));
        }
        let last = world.people[silly].events.iter().rev().find_map(|event| match event {
            Event::Request(request) => Some(request.request),
            _ => None,
        });
        world.command(silly, Command::CancelRequest { request: last.unwrap() });
        let to = Target::Name(world::name(names[silly]));
        world.command(patient, Command::Connect { to, wait: MINUTE * 5 });
        world.run_until(MINUTE * 3, "both are up", |world| world.people.iter().all(world::Member::is_up));
        // Nothing is left that would ask again.
        world.run_for(MINUTE);
        for member in &world.people {
            let sizes = member.engine.sizes();
            assert_eq!((sizes.wishes, sizes.incoming, sizes.calls), (0, 0, 0));
        }
    }
}

#[test]
fn a_wall_clock_that_somebody_sets_keeps_nobody_apart() {
    for by in [HOUR_MS, -HOUR_MS] {
        for (asker, other) in [("alice", "bob"), ("bob", "alice")] {
            let mut world = World::new(2);
            world.join("alice", everyone(), &LinkConfig::default());
            world.join("bob", everyone(), &LinkConfig::default());
            world.run_for(MINUTE);
            world.people[0].wall_set = by;
            world.connect(usize::from(asker == "bob"), other);
            world.run_until(MINUTE, "both are up", |world| world.people.iter().all(world::Member::is_up));
        }
    }
}
