//! The client's side of the broker link: how it stays, and when it comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use p2pchat_engine::event::BrokerState;
use p2pchat_engine::{Command, Event, Failure};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::PeerId;
use p2pchat_proto::broker::{
    FromBroker, Pong, PresenceDelta, Refused, RefusedCode, Replaced, Restarting, Status,
};
use world::{Manner, World};

const HOUR: Duration = Duration::from_secs(3600);

/// Alice, logged in. From then on the broker says `instead` in place of its next pong.
fn told(instead: impl Into<FromBroker>) -> World {
    let mut world = World::new(1);
    world.join("alice", Manner::default(), &LinkConfig::default());
    world.run_until(HOUR, "alice is logged in", |world| state(world) == Some(BrokerState::Connected));
    let mut instead = Some(instead.into());
    world.broker.tamper = Some(Box::new(move |message| {
        if let FromBroker::Pong(_) = message
            && let Some(instead) = instead.take()
        {
            *message = instead;
        }
    }));
    world
}

fn states(world: &World) -> impl Iterator<Item = BrokerState> {
    world.people[0].events.iter().filter_map(|event| match event {
        Event::Broker(broker) => Some(broker.state),
        _ => None,
    })
}

fn state(world: &World) -> Option<BrokerState> {
    states(world).last()
}

fn tries(world: &World) -> usize {
    states(world).filter(|state| *state == BrokerState::Connecting).count()
}

/// How long after it lost the link alice tries again.
fn comes_back_after(world: &mut World) -> Duration {
    world.run_until(HOUR, "the link is lost", |world| state(world) == Some(BrokerState::Lost));
    let (lost, before) = (world.now, tries(world));
    world.run_until(HOUR, "another try", |world| tries(world) > before);
    Duration::from_nanos(world.now - lost)
}

#[test]
fn a_client_speaks_every_fifteen_seconds() {
    let mut world = told(Replaced);
    let pongs = Rc::new(Cell::new(0));
    let heard = pongs.clone();
    world.broker.tamper = Some(Box::new(move |message| {
        heard.set(heard.get() + u32::from(matches!(message, FromBroker::Pong(_))));
    }));
    world.run_for(HOUR);
    assert_eq!(pongs.get(), 3600 / 15);
}

#[test]
fn a_broker_that_falls_silent_is_given_up_forty_seconds_after_its_last_word() {
    let mut world = told(Replaced);
    let spoke = Rc::new(Cell::new(0));
    let last = spoke.clone();
    world.broker.tamper = None;
    world.run_for(Duration::from_secs(100));
    world.broker.tamper = Some(Box::new(move |_| last.set(last.get() + 1)));
    world.broker.silent = true;
    let since = world.now;
    world.run_until(HOUR, "the link is given up", |world| state(world) == Some(BrokerState::Lost));
    let waited = Duration::from_nanos(world.now - since);
    // The last pong that came is up to one ping old.
    assert!((Duration::from_secs(25)..=Duration::from_secs(40)).contains(&waited), "{waited:?}");
    assert!(spoke.get() > 0, "it answered, and nothing of it arrived");
}

#[test]
fn a_client_comes_back_when_a_broker_says() {
    assert_eq!(comes_back_after(&mut told(Restarting { reconnect_in: 4_321 })), Duration::from_millis(4_321));
    let full = Refused { code: RefusedCode::Full, retry_after: 30 };
    assert_eq!(comes_back_after(&mut told(full)), Duration::from_secs(30));
}

#[test]
fn a_client_that_was_replaced_or_refused_for_good_does_not_come_back_by_itself() {
    let refused = |code| FromBroker::from(Refused { code, retry_after: 0 });
    for end in [Replaced.into(), refused(RefusedCode::Version), refused(RefusedCode::Signature)] {
        let mut world = told(end);
        world.run_until(HOUR, "the end", |world| state(world) == Some(BrokerState::Refused));
        let before = tries(&world);
        world.run_for(HOUR);
        assert_eq!(tries(&world), before);
    }
}

#[test]
fn a_broker_that_is_away_is_tried_less_and_less_often() {
    let mut world = told(Replaced);
    world.kill_broker();
    let mut last = world.now;
    for n in 0..10u32 {
        let before = tries(&world);
        world.run_until(HOUR, "another try", |world| tries(world) > before);
        let waited = Duration::from_nanos(world.now - last);
        let doubled = (Duration::from_millis(500) * 2u32.pow(n.min(6))).min(Duration::from_secs(30));
        assert!((doubled..=doubled + doubled / 4).contains(&waited), "try {n} after {waited:?}");
        last = world.now;
    }
}

#[test]
fn a_question_that_a_broker_never_answers_ends_in_words_after_thirty_seconds() {
    let mut world = told(Replaced);
    world.broker.tamper = Some(Box::new(|message| {
        if let FromBroker::Reply(_) = message {
            *message = Pong.into();
        }
    }));
    let asked = world.now;
    let id = world.command(0, Command::People { prefix: String::new() });
    let failed = |world: &World| {
        world.people[0].events.iter().any(
            |event| matches!(event, Event::Failed { id: which, failure: Failure::BrokerUnreachable { reason, .. } } if *which == id && reason == "no answer within 30 s"),
        )
    };
    world.run_until(HOUR, "an end", failed);
    assert_eq!(Duration::from_nanos(world.now - asked), Duration::from_secs(30));
    assert_eq!(state(&world), Some(BrokerState::Connected));
}

#[test]
fn a_connect_is_done_when_it_is_answered_although_the_broker_never_replied() {
    let mut world = told(Replaced);
    let bob = world.join("bob", Manner::default(), &LinkConfig::default());
    world.run_for(Duration::from_secs(1));
    world.broker.tamper = Some(Box::new(|message| {
        if let FromBroker::Reply(_) = message {
            *message = Pong.into();
        }
    }));
    let asked = world.connect(bob, "alice");
    let request = world.people[0].events.iter().find_map(|event| match event {
        Event::Request(request) => Some(request.request),
        _ => None,
    });
    let request = request.expect("alice is asked");
    let done = |world: &World| {
        let ends = |event: &Event| matches!(event, Event::Done { id, .. } if *id == asked);
        world.people[bob].events.iter().filter(|event| ends(event)).count()
    };
    assert_eq!(done(&world), 0);
    world.command(0, Command::Accept { request, once: false });
    world.run_for(Duration::from_secs(1));
    assert_eq!(done(&world), 1);
}

#[test]
fn presence_of_somebody_who_is_not_watched_is_not_shown() {
    let peer = PeerId([7; 32]);
    let mut world = told(PresenceDelta { version: 1, peer, status: Status::Online });
    world.run_for(Duration::from_secs(60));
    assert!(!world.people[0].events.iter().any(|event| matches!(event, Event::Presence(_))));
}
