//! What a user decides about people, and what it keeps away from them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::{RequestEvent, Trust, TrustEvent};
use p2pchat_engine::{AcceptPolicy, Command, Event, Failure, Mark, Pin, Target};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::{BrokerKey, PeerId};
use world::{Manner, Member, World, name};

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice, who takes everybody, and Bob; both are logged in.
fn two(seed: u64, bob: Manner) -> World {
    let link = LinkConfig { delay: 20_000_000, ..LinkConfig::default() };
    let mut world = World::new(seed);
    world.join("alice", Manner { accept: AcceptPolicy::Everyone, ..Manner::default() }, &link);
    world.join("bob", bob, &link);
    world.run_for(MINUTE);
    world
}

fn requests(member: &Member) -> Vec<&RequestEvent> {
    let requests = member.events.iter().filter_map(|event| match event {
        Event::Request(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

fn failures(member: &Member) -> Vec<&Failure> {
    let failures = member.events.iter().filter_map(|event| match event {
        Event::Failed { failure, .. } | Event::Error(failure) => Some(failure),
        _ => None,
    });
    failures.collect()
}

fn trusts(member: &Member) -> Vec<&TrustEvent> {
    let trusts = member.events.iter().filter_map(|event| match event {
        Event::Trust(trust) => Some(trust),
        _ => None,
    });
    trusts.collect()
}

fn who(world: &World, index: usize) -> Target {
    Target::Peer(world.people[index].peer)
}

#[test]
fn a_request_of_somebody_who_is_blocked_is_declined_and_never_shown() {
    for blocked in [true, false] {
        let mut world = two(21, Manner::default());
        if blocked {
            let block = Command::Block { who: who(&world, BOB) };
            world.command(ALICE, block);
        }
        world.connect(BOB, "alice");
        world.run_for(MINUTE);
        assert_eq!(world.people[BOB].is_up(), !blocked);
        assert_eq!(requests(&world.people[ALICE]).is_empty(), blocked);
    }
}

#[test]
fn a_block_ends_the_session_and_nothing_is_said_until_it_is_taken_back() {
    let mut world = two(22, Manner::default());
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up());
    let block = Command::Block { who: Target::Name(name("bob")) };
    world.command(ALICE, block);
    world.say(BOB, ALICE, "are you there?");
    world.run_for(MINUTE);
    assert_eq!(world.people[ALICE].heard(), Vec::<&str>::new());
    assert!(!world.people[BOB].is_up() && !world.people[ALICE].is_up());
    assert_eq!(trusts(&world.people[ALICE]).last().map(|trust| trust.is), Some(Trust::Blocked));
    world.say(ALICE, BOB, "no");
    world.connect(ALICE, "bob");
    world.run_for(MINUTE);
    assert!(matches!(
        failures(&world.people[ALICE])[..],
        [Failure::NotAllowed { .. }, Failure::NotAllowed { .. }]
    ));
    let unblock = Command::Unblock { who: who(&world, BOB) };
    world.command(ALICE, unblock);
    world.connect(BOB, "alice");
    world.run_for(MINUTE * 3);
    assert_eq!(world.people[ALICE].heard(), ["are you there?"]);
}

#[test]
fn who_is_not_verified_is_asked_for_nothing_where_that_is_wanted() {
    for verified in [false, true] {
        let alice = World::identity(ALICE).peer_id();
        let pins = vec![Pin { peer: alice, name: name("alice"), broker: World::broker_key_of(23) }];
        let mut world = two(23, Manner { pins, ..Manner::default() });
        let now = world.clock();
        world.people[BOB].engine.remember_mark(Mark { verified, ..Mark::none(alice) }, now);
        world.people[BOB].engine.require_verified();
        world.connect(BOB, "alice");
        world.connect(BOB, "nobody");
        world.run_for(MINUTE);
        assert_eq!(world.people[BOB].is_up(), verified);
        assert_eq!(requests(&world.people[ALICE]).is_empty(), !verified);
        let of = |who: &str| Failure::NotVerified { who: who.to_owned() };
        let expected = if verified { vec![of("nobody")] } else { vec![of("alice"), of("nobody")] };
        assert_eq!(failures(&world.people[BOB]), expected.iter().collect::<Vec<_>>());
        if verified {
            world.command(BOB, Command::Info);
            let shown = world.people[BOB].events.iter().find_map(|event| match event {
                Event::Info { sessions, .. } => Some(sessions[0].trust),
                _ => None,
            });
            assert_eq!(shown, Some(Trust::Verified));
        }
    }
}

#[test]
fn a_stranger_cannot_be_marked_as_verified() {
    let mut world = two(24, Manner::default());
    let alice = world.people[ALICE].peer;
    world.command(BOB, Command::Verified { peer: alice });
    assert!(matches!(failures(&world.people[BOB])[..], [Failure::UnknownPeer { .. }]));
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    world.command(BOB, Command::Verified { peer: alice });
    assert_eq!(trusts(&world.people[BOB]).last().map(|trust| trust.is), Some(Trust::Verified));
}

/// Bob knows somebody of this number as alice, from another broker.
fn known_elsewhere(number: usize, broker: u8) -> Pin {
    let peer = World::identity(number).peer_id();
    Pin { peer, name: name("alice"), broker: BrokerKey([broker; 32]) }
}

#[test]
fn whoever_is_met_at_another_broker_has_their_name_there_from_then_on() {
    for asks in [ALICE, BOB] {
        let pins = vec![known_elsewhere(ALICE, 7)];
        let mut world = two(26, Manner { pins, accept: AcceptPolicy::Everyone, ..Manner::default() });
        world.connect(asks, if asks == ALICE { "bob" } else { "alice" });
        world.run_for(MINUTE);
        assert!(world.people[BOB].is_up());
        let here = Pin { broker: world.broker_key(), ..known_elsewhere(ALICE, 7) };
        assert_eq!(world.people[BOB].pins, [here], "asked by {asks}");
        assert_eq!(trusts(&world.people[BOB]), Vec::<&TrustEvent>::new(), "they are as known as before");
    }
}

#[test]
fn a_name_that_is_known_from_another_broker_leads_to_nobody_else_here() {
    let known = known_elsewhere(7, 7);
    let mut world = two(27, Manner { pins: vec![known.clone()], ..Manner::default() });
    let came = world.people[ALICE].peer;
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    let other = Failure::AnotherOfThatName { name: name("alice"), known: known.peer, came };
    assert_eq!(failures(&world.people[BOB]), [&other]);
    assert!(requests(&world.people[ALICE]).is_empty());
    // Who comes under it is shown by id.
    world.connect(ALICE, "bob");
    world.run_for(Duration::from_secs(10));
    let shown: Vec<_> =
        requests(&world.people[BOB]).iter().map(|request| (request.peer, request.name.clone())).collect();
    assert_eq!(shown, [(Some(came), None)]);
    let asked = Command::Connect { to: Target::Peer(came), wait: MINUTE };
    world.command(BOB, asked);
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up(), "by id they are meant");
}

#[test]
fn a_name_of_several_people_at_other_brokers_is_to_be_said_by_id() {
    let pins = vec![known_elsewhere(7, 7), known_elsewhere(8, 8)];
    let mut world = two(28, Manner { pins, ..Manner::default() });
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert!(matches!(failures(&world.people[BOB])[..], [Failure::Usage(_)]));
    assert!(requests(&world.people[ALICE]).is_empty());
}

#[test]
fn whoever_is_reached_to_see_whether_they_can_be_is_no_contact_by_it() {
    let mut world = two(29, Manner::default());
    let reach = Command::Reach { to: Target::Name(name("alice")), wait: MINUTE };
    world.command(BOB, reach.clone());
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up());
    assert_eq!((&world.people[BOB].pins, trusts(&world.people[BOB]).len()), (&Vec::new(), 0));
    assert!(world.people[BOB].contacts.is_empty());
    // Also where both ask at once, whoever's request counts.
    let mut world = two(30, Manner::default());
    world.command(BOB, reach);
    world.connect(ALICE, "bob");
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up());
    assert_eq!(world.people[BOB].pins, []);
}

#[test]
fn a_changed_key_stops_everything_until_the_user_takes_it() {
    let known = PeerId([0x42; 32]);
    let pins = vec![Pin { peer: known, name: name("alice"), broker: World::broker_key_of(25) }];
    let mut world = two(25, Manner { pins, ..Manner::default() });
    let came = world.people[ALICE].peer;
    world.command(BOB, Command::Trust { name: name("alice") });
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    let changed = Failure::KeyChanged { name: Some(name("alice")), pinned: known, came };
    assert_eq!(failures(&world.people[BOB]), [&Failure::NoSuch { what: "changed key" }, &changed]);
    let said = trusts(&world.people[BOB]);
    assert_eq!((said[0].pinned, said[0].peer), (Some(known), came));
    assert_eq!(world.people.iter().map(|member| member.datagrams).sum::<u64>(), 0);
    assert!(requests(&world.people[ALICE]).is_empty());
    world.command(BOB, Command::Trust { name: name("alice") });
    assert_eq!(trusts(&world.people[BOB]).last().map(|trust| trust.is), Some(Trust::Pinned));
    let taken = Pin { peer: came, name: name("alice"), broker: World::broker_key_of(25) };
    assert_eq!(world.people[BOB].repinned, [(taken, known)], "in one write");
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up());
}
