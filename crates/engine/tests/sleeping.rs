//! Whoever slept for ten minutes is back at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::{RequestState, SessionState};
use p2pchat_engine::{Command, Event};
use p2pchat_netsim::{LinkConfig, Loss};
use world::sleep::First;
use world::{Manner, Member, World};

const MINUTE: Duration = Duration::from_secs(60);
const SLEEP: Duration = Duration::from_secs(600);
/// From waking until each has heard the other (the issue of the session).
const BACK_WITHIN: Duration = Duration::from_secs(3);
const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice and Bob, who met over a broker.
fn met(seed: u64, once: bool) -> World {
    let mut world = World::new(seed);
    // One in twenty datagrams is lost in every second world.
    let loss = Loss::Independent { share: if seed % 2 == 1 { 0.05 } else { 0.0 } };
    let line = LinkConfig { delay: 20_000_000, loss, ..LinkConfig::default() };
    for called in ["alice", "bob"] {
        world.join(called, Manner::default(), &line);
    }
    world.run_for(MINUTE);
    world.connect(BOB, "alice");
    world.run_for(Duration::from_secs(2));
    let request = world.people[ALICE].events.iter().find_map(|event| match event {
        Event::Request(request) if request.state == RequestState::Open => Some(request.request),
        _ => None,
    });
    world.command(ALICE, Command::Accept { request: request.unwrap(), once });
    world.run_until(MINUTE, "both are up", |world| world.people.iter().all(Member::is_up));
    world.run_for(MINUTE);
    world
}

/// Somebody sleeps, and says something on waking; the other one spoke meanwhile.
fn night(world: &mut World, sleep: Duration, sleeper: usize, first: First) -> Duration {
    let awake = 1 - sleeper;
    world.put_to_sleep(sleeper);
    world.run_for(sleep / 2);
    world.say(awake, sleeper, "while you slept");
    world.run_for(sleep - sleep / 2);
    assert!(world.people[awake].sessions().contains(&SessionState::Lost), "it was noticed");
    let woken = world.now;
    world.wake(sleeper, first);
    world.say(sleeper, awake, "I slept");
    world.run_until(MINUTE * 5, "each hears the other", |world| {
        world.people[sleeper].heard() == ["while you slept"] && world.people[awake].heard() == ["I slept"]
    });
    let took = Duration::from_nanos(world.now - woken);
    world.run_for(MINUTE);
    assert!(world.people.iter().all(Member::is_up), "and it stays so");
    took
}

/// Everybody sleeps so long, with and without a broker; whatever the first thing is that they do then.
fn nights(seeds: u64, sleep: Duration) {
    for seed in 0..seeds {
        for sleeper in [ALICE, BOB] {
            for first in [First::Timers, First::Input] {
                for broker in [true, false] {
                    let mut world = met(seed, false);
                    world.quiet = true;
                    if !broker {
                        world.kill_broker();
                    }
                    let took = night(&mut world, sleep, sleeper, first);
                    assert!(
                        took < BACK_WITHIN,
                        "seed {seed}: {sleeper} slept for {sleep:?}, {first:?} first, broker {broker}: {took:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn whoever_slept_for_ten_minutes_is_back_within_three_seconds_with_and_without_the_broker() {
    nights(20, SLEEP);
}

#[test]
fn whoever_slept_while_the_other_side_gave_up_and_tried_again_is_back_within_three_seconds() {
    (50..90).for_each(|seconds| nights(2, Duration::from_secs(seconds)));
}

#[test]
fn without_anything_kept_and_without_the_broker_nobody_comes_back_from_sleep() {
    let mut world = met(1, true);
    world.kill_broker();
    world.put_to_sleep(BOB);
    world.run_for(SLEEP);
    world.wake(BOB, First::Timers);
    world.run_for(MINUTE * 5);
    assert!(world.people.iter().all(|member| !member.is_up()));
}
