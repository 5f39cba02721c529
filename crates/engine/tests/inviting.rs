//! An invitation pins somebody before the broker says anything about them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::Trust;
use p2pchat_engine::{AcceptPolicy, Command, Event, Failure, Mark, Pin};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::{BrokerKey, PeerId};
use world::{Manner, Member, World, name};

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: usize = 0;
const BOB: usize = 1;

fn two(seed: u64, bob: Manner) -> World {
    let link = LinkConfig { delay: 20_000_000, ..LinkConfig::default() };
    let mut world = World::new(seed);
    world.join("alice", Manner { accept: AcceptPolicy::Everyone, ..Manner::default() }, &link);
    world.join("bob", bob, &link);
    world.run_for(MINUTE);
    world
}

fn to_alice(world: &World, seed: u64) -> Pin {
    let peer = world.people[ALICE].peer;
    Pin { peer, name: name("alice"), broker: World::broker_key_of(seed) }
}

fn take(world: &mut World, pin: Pin) {
    world.command(BOB, Command::ConnectInvited { pin, wait: MINUTE });
    world.run_for(MINUTE);
}

fn failures(member: &Member) -> Vec<&Failure> {
    let failures = member.events.iter().filter_map(|event| match event {
        Event::Failed { failure, .. } | Event::Error(failure) => Some(failure),
        _ => None,
    });
    failures.collect()
}

fn trusts(member: &Member) -> Vec<(Trust, Trust)> {
    let trusts = member.events.iter().filter_map(|event| match event {
        Event::Trust(trust) => Some((trust.was, trust.is)),
        _ => None,
    });
    trusts.collect()
}

/// Nothing of bob came to alice, neither through the broker nor from him.
fn assert_nothing_was_sent(world: &World) {
    assert_eq!(world.people.iter().map(|member| member.datagrams).sum::<u64>(), 0);
    let asked = |event: &Event| matches!(event, Event::Request(_) | Event::Session(_));
    assert!(!world.people[ALICE].events.iter().any(asked));
}

#[test]
fn somebody_invited_is_pinned_before_the_session_and_talked_to() {
    let mut world = two(41, Manner::default());
    let pin = to_alice(&world, 41);
    world.command(BOB, Command::ConnectInvited { pin: pin.clone(), wait: MINUTE });
    assert_eq!(trusts(&world.people[BOB]), [(Trust::New, Trust::Pinned)]);
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up());
    take(&mut world, pin);
    assert_eq!(trusts(&world.people[BOB]), [(Trust::New, Trust::Pinned)], "pinned once");
    assert!(failures(&world.people[BOB]).is_empty());
}

#[test]
fn another_key_than_the_invited_one_is_refused_at_the_first_contact() {
    let mut world = two(42, Manner::default());
    let came = world.people[ALICE].peer;
    let told = PeerId([0x42; 32]);
    let pin = Pin { peer: told, ..to_alice(&world, 42) };
    take(&mut world, pin);
    let changed = Failure::KeyChanged { name: Some(name("alice")), pinned: told, came };
    assert_eq!(failures(&world.people[BOB]), [&changed]);
    assert_nothing_was_sent(&world);
    // By name alone the same answer is taken.
    let mut world = two(42, Manner::default());
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert!(world.people[BOB].is_up());
}

#[test]
fn an_invitation_against_what_is_known_changes_nothing() {
    let known = PeerId([0x42; 32]);
    let pins = vec![Pin { peer: known, name: name("alice"), broker: World::broker_key_of(43) }];
    let mut world = two(43, Manner { pins, ..Manner::default() });
    let pin = to_alice(&world, 43);
    let changed = Failure::KeyChanged { name: Some(name("alice")), pinned: known, came: pin.peer };
    take(&mut world, pin.clone());
    assert_eq!(failures(&world.people[BOB]), [&changed]);
    assert_eq!(trusts(&world.people[BOB]), []);
    assert_nothing_was_sent(&world);
    for refused in [
        Pin { broker: BrokerKey([7; 32]), ..pin.clone() },
        Pin { peer: world.people[BOB].peer, ..pin.clone() },
        Pin { name: name("bob"), ..pin },
    ] {
        take(&mut world, refused);
        assert!(matches!(failures(&world.people[BOB]).last(), Some(Failure::NotAllowed { .. })));
    }
    assert_nothing_was_sent(&world);
}

#[test]
fn nobody_is_pinned_under_what_the_user_calls_somebody_else() {
    let mut world = two(44, Manner::default());
    let mark = Mark { petname: Some(name("alice")), ..Mark::none(PeerId([0x42; 32])) };
    let now = world.clock();
    world.people[BOB].engine.remember_mark(mark, now);
    let pin = to_alice(&world, 44);
    take(&mut world, pin);
    assert!(matches!(failures(&world.people[BOB])[..], [Failure::NotAllowed { .. }]));
    assert_nothing_was_sent(&world);
}

#[test]
fn an_invitation_gives_nobody_a_second_name_and_leaves_the_first_to_nobody() {
    let mut world = two(5, Manner::default());
    let pin = to_alice(&world, 5);
    take(&mut world, pin.clone());
    take(&mut world, Pin { name: name("alice2"), ..pin.clone() });
    assert!(matches!(failures(&world.people[BOB])[..], [Failure::NotAllowed { .. }]));
    take(&mut world, Pin { peer: PeerId([7; 32]), ..pin });
    let second = failures(&world.people[BOB]).last().copied().cloned();
    assert!(matches!(second, Some(Failure::KeyChanged { .. })), "{second:?}");
}
