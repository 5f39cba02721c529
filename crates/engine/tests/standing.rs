//! How a user stands towards others: what the broker shows of them, and whom they answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::{PersonStatus, RequestState};
use p2pchat_engine::{AcceptPolicy, Command, CommandId, Event, Failure};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::broker::FromBroker;
use p2pchat_proto::{Availability, ContactPolicy, Standing, StandingChange};
use world::{Manner, Member, World};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALICE: usize = 0;
const BOB: usize = 1;

const INVISIBLE: StandingChange =
    StandingChange { status: Some(Availability::Invisible), visibility: None, policy: None };
const ONLINE: StandingChange =
    StandingChange { status: Some(Availability::Online), visibility: None, policy: None };

fn line() -> LinkConfig {
    LinkConfig { delay: 20_000_000, ..LinkConfig::default() }
}

/// Alice, who takes everybody, and Bob; both are logged in.
fn two(seed: u64) -> World {
    let mut world = World::new(seed);
    world.join("alice", Manner { accept: AcceptPolicy::Everyone, ..Manner::default() }, &line());
    world.join("bob", Manner::default(), &line());
    world.run_for(MINUTE);
    world
}

fn stand(world: &mut World, who: usize, change: StandingChange) {
    world.command(who, Command::Stand { change });
    world.run_for(SECOND);
}

fn requests(member: &Member) -> usize {
    let incoming =
        |event: &&Event| matches!(event, Event::Request(request) if request.state == RequestState::Open);
    member.events.iter().filter(incoming).count()
}

fn failures(member: &Member) -> Vec<&Failure> {
    let failures = member.events.iter().filter_map(|event| match event {
        Event::Failed { failure, .. } | Event::Error(failure) => Some(failure),
        _ => None,
    });
    failures.collect()
}

fn listed(world: &mut World, who: usize) -> Vec<PersonStatus> {
    let asked = world.command(who, Command::People { prefix: String::new() });
    world.run_for(SECOND);
    let answer = |event: &Event| match event {
        Event::People { id, list } if *id == asked => {
            Some(list.iter().map(|person| person.status).collect::<Vec<_>>())
        }
        _ => None,
    };
    world.people[who].events.iter().find_map(answer).expect("an answer")
}

#[test]
fn a_status_shows_at_the_broker_and_whoever_is_invisible_is_asked_in_vain() {
    let mut world = two(31);
    assert_eq!(listed(&mut world, BOB), [PersonStatus::Online]);
    stand(&mut world, ALICE, StandingChange { status: Some(Availability::Away), ..ONLINE });
    assert_eq!(listed(&mut world, BOB), [PersonStatus::Away]);
    stand(&mut world, ALICE, INVISIBLE);
    assert_eq!(listed(&mut world, BOB), []);
    world.connect(BOB, "alice");
    world.run_for(2 * MINUTE);
    assert!(!world.people[BOB].is_up() && requests(&world.people[ALICE]) == 0);
    stand(&mut world, ALICE, ONLINE);
    world.connect(BOB, "alice");
    world.run_until(2 * MINUTE, "they meet", |world| world.people[BOB].is_up());
}

#[test]
fn a_broker_that_passes_requests_on_all_the_same_gets_no_answer_out_of_somebody_invisible() {
    let mut world = two(32);
    // This broker keeps to no profile: to it, alice is as visible as before.
    world.people[ALICE]
        .engine
        .remember_standing(Standing { status: Availability::Invisible, ..Standing::default() });
    world.connect(BOB, "alice");
    world.run_for(2 * MINUTE);
    assert_eq!(requests(&world.people[ALICE]), 0);
    assert!(!world.people[BOB].is_up());
    let answers = world.people[BOB].events.iter().filter(|event| {
        matches!(event, Event::Request(request) if matches!(request.state, RequestState::Declined | RequestState::Accepted))
    });
    assert_eq!(answers.count(), 0, "not even a no");
}

#[test]
fn the_policy_counts_here_whatever_the_broker_does() {
    let mut world = two(33);
    let policy = ContactPolicy::Contacts;
    world.people[ALICE].engine.remember_standing(Standing { policy, ..Standing::default() });
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert_eq!(requests(&world.people[ALICE]), 0);
    let declined = world.people[BOB]
        .events
        .iter()
        .any(|event| matches!(event, Event::Request(request) if request.state == RequestState::Declined));
    assert!(declined && !world.people[BOB].is_up(), "as under --accept contacts");
}

#[test]
fn somebody_who_begins_invisible_is_never_shown() {
    let mut world = two(34);
    let carol = world.join("carol", Manner::default(), &line());
    world.people[carol]
        .engine
        .remember_standing(Standing { status: Availability::Invisible, ..Standing::default() });
    for _ in 0..5 {
        assert_eq!(listed(&mut world, BOB), [PersonStatus::Online], "alice, and nobody else");
    }
    assert!(world.people[carol].events.iter().any(|event| matches!(event, Event::Standing(_))));
    stand(&mut world, carol, ONLINE);
    assert_eq!(listed(&mut world, BOB).len(), 2);
}

#[test]
fn a_broker_that_knows_no_profiles_is_told_of() {
    let mut world = World::new(35);
    world.broker.tamper = Some(Box::new(|message| {
        if let FromBroker::Welcome(welcome) = message {
            welcome.features = 0;
        }
    }));
    world.join("alice", Manner::default(), &line());
    world.run_for(MINUTE);
    assert!(failures(&world.people[ALICE]).is_empty());
    stand(&mut world, ALICE, INVISIBLE);
    assert!(matches!(failures(&world.people[ALICE])[..], [Failure::NotAllowed { .. }]));
}

#[test]
fn every_answer_says_how_it_is_by_then() {
    let mut world = two(36);
    stand(&mut world, ALICE, INVISIBLE);
    stand(&mut world, ALICE, StandingChange::default());
    let said = world.people[ALICE].events.iter().filter_map(|event| match event {
        Event::Standing(standing) => Some(standing.status),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [Availability::Invisible; 2]);
    let done = |event: &&Event| matches!(event, Event::Done { id: CommandId(_), .. });
    assert_eq!(world.people[ALICE].events.iter().filter(done).count(), 2);
}

#[test]
fn whoever_waits_for_somebody_invisible_takes_what_they_ask() {
    // Whichever of the two has the smaller identity, whose request counts where two cross.
    for (hidden, waiting, names) in [(ALICE, BOB, ["alice", "bob"]), (BOB, ALICE, ["bob", "alice"])] {
        let mut world = World::new(37);
        for called in ["alice", "bob"] {
            world.join(called, Manner { accept: AcceptPolicy::Everyone, ..Manner::default() }, &line());
        }
        world.run_for(MINUTE);
        stand(&mut world, hidden, INVISIBLE);
        world.connect(hidden, names[1]);
        world.run_until(MINUTE, "they meet", |world| world.people.iter().all(Member::is_up));
        let peer = world.people[waiting].peer;
        world.command(hidden, Command::Close { peer });
        world.run_for(SECOND);
        world.say(waiting, hidden, "for later");
        world.run_for(MINUTE);
        assert_eq!(world.people[hidden].heard(), Vec::<&str>::new());
        world.connect(hidden, names[1]);
        world.run_until(5 * SECOND, "it arrives", |world| world.people[hidden].heard() == ["for later"]);
    }
}
