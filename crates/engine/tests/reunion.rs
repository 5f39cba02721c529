//! Contacts who meet again with the broker off.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use p2pchat_engine::event::{RequestState, SessionState};
use p2pchat_engine::{AcceptPolicy, Command, Event, Failure, Target};
use p2pchat_netsim::{LinkConfig, Loss};
use world::{Manner, Member, World, name};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALICE: usize = 0;
const BOB: usize = 1;
const CALLED: [&str; 2] = ["alice", "bob"];

fn line(share: f64) -> LinkConfig {
    LinkConfig { delay: 20_000_000, loss: Loss::Independent { share }, ..LinkConfig::default() }
}

/// Alice and Bob, who met over a broker that is off now. Alice accepted for this time only if `once`.
fn met(seed: u64, once: bool) -> World {
    let mut world = introduced(seed, once);
    world.kill_broker();
    world.run_for(SECOND);
    world
}

/// The same with the broker still there.
fn introduced(seed: u64, once: bool) -> World {
    let mut world = World::new(seed);
    for called in CALLED {
        world.join(called, Manner::default(), &line(0.0));
    }
    world.run_for(MINUTE);
    world.connect(BOB, "alice");
    world.run_for(SECOND);
    let request = world.people[ALICE].events.iter().find_map(|event| match event {
        Event::Request(request) if request.state == RequestState::Open => Some(request.request),
        _ => None,
    });
    world.command(ALICE, Command::Accept { request: request.unwrap(), once });
    world.run_until(MINUTE, "both are up", |world| world.people.iter().all(Member::is_up));
    world
}

fn again(world: &mut World, who: usize) {
    let address = world.people[who].address;
    world.restart(who, CALLED[who], address, AcceptPolicy::Ask);
}

fn both_up(world: &World) -> bool {
    world.people.iter().all(Member::is_up)
}

fn talk(world: &mut World) {
    world.say(BOB, ALICE, "bob again");
    world.say(ALICE, BOB, "alice again");
    world.run_until(MINUTE, "both hear", |world| {
        world.people[ALICE].heard().last() == Some(&"bob again")
            && world.people[BOB].heard().last() == Some(&"alice again")
    });
}

fn reasons(member: &Member) -> Vec<String> {
    let reason = |event: &Event| match event {
        Event::Session(session) if session.state == SessionState::Connecting => session.reason.clone(),
        _ => None,
    };
    member.events.iter().filter_map(reason).collect()
}

/// Whom somebody is said to look for.
fn sought(world: &mut World, who: usize) -> Vec<String> {
    world.command(who, Command::Info);
    let sought = world.people[who].events.iter().rev().find_map(|event| match event {
        Event::Info { sought, .. } => Some(sought),
        _ => None,
    });
    sought.unwrap().iter().map(|one| one.name.as_ref().unwrap().to_string()).collect()
}

#[test]
fn after_an_outage_both_come_back_without_the_broker() {
    for seed in 0..20 {
        let mut world = met(seed, false);
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
        world.net.partition(alice, bob, true);
        world.say(BOB, ALICE, "during");
        world.run_for(MINUTE * 2);
        assert!(world.people.iter().all(|member| member.sessions().contains(&SessionState::Lost)));
        let said = reasons(&world.people[BOB]);
        assert!(said[0].contains("directly") && said[1].contains("there is no broker"), "{said:?}");
        assert_eq!(sought(&mut world, BOB), ["alice"]);
        world.net.partition(alice, bob, false);
        world.run_until(MINUTE * 2, "both are up again", both_up);
        world.run_until(MINUTE, "it arrives", |world| world.people[ALICE].heard() == ["during"]);
        talk(&mut world);
        world.run_for(MINUTE);
        assert!(both_up(&world));
        assert!(sought(&mut world, BOB).is_empty());
    }
}

#[test]
fn after_some_minutes_of_outage_both_are_back_within_ten_seconds() {
    for seed in 0..20 {
        let mut world = met(seed, false);
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
        world.net.partition(alice, bob, true);
        world.run_for(MINUTE * 2 + SECOND * 17 * u32::try_from(seed).unwrap());
        world.net.partition(alice, bob, false);
        world.run_until(SECOND * 10, "both are up again", both_up);
    }
}

/// For how long a NAT lets through what comes from where something went: common home routers', and less than
/// RFC 4787 asks for.
const FILTER: Duration = Duration::from_secs(30);

#[test]
fn without_the_broker_a_filter_on_the_way_is_never_left_to_close() {
    for seed in 0..10 {
        let mut world = met(seed, false);
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
        world.net.partition(alice, bob, true);
        world.run_for(MINUTE);
        let (mut sent, mut silent) = (world.people[ALICE].datagrams, Duration::ZERO);
        for _ in 0..40 * 60 {
            world.run_for(SECOND);
            let now = world.people[ALICE].datagrams;
            silent = if now > sent { Duration::ZERO } else { silent + SECOND };
            assert!(silent < FILTER, "seed {seed}: nothing sent for {silent:?}");
            sent = now;
        }
    }
}

#[test]
fn whoever_gets_to_another_network_tries_again_at_once() {
    for seed in 0..20 {
        let mut world = met(seed, false);
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
        world.net.partition(alice, bob, true);
        // By then both wait up to a minute from one try to the next.
        world.run_for(MINUTE * 20);
        world.net.partition(alice, bob, false);
        let now = world.clock();
        world.people[BOB].engine.addresses_changed(&[bob], now);
        world.settle();
        world.run_until(SECOND * 3, "both are up again", both_up);
        talk(&mut world);
    }
}

#[test]
fn whoever_is_told_to_try_again_does_so_at_once() {
    for seed in 0..20 {
        let mut world = met(seed, false);
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
        world.net.partition(alice, bob, true);
        // By then both wait up to a minute from one try to the next.
        world.run_for(MINUTE * 20);
        world.net.partition(alice, bob, false);
        world.command(BOB, Command::Retry { to: None });
        world.run_until(SECOND * 3, "both are up again", both_up);
        talk(&mut world);
    }
}

#[test]
fn whoever_began_anew_connects_without_the_broker() {
    for who in [&[BOB][..], &[ALICE], &[ALICE, BOB]] {
        for (dials, to) in [(BOB, "alice"), (ALICE, "bob")] {
            if !who.contains(&dials) {
                continue;
            }
            let mut world = met(1, false);
            who.iter().for_each(|who| again(&mut world, *who));
            world.connect(dials, to);
            world.run_until(SECOND * 3, "the one who asks is up", |world| world.people[dials].is_up());
            world.run_until(MINUTE, "both are up", both_up);
            talk(&mut world);
            let done = |event: &Event| matches!(event, Event::Done { request: None, .. });
            assert!(world.people[dials].events.iter().any(done), "the command has succeeded");
        }
    }
}

#[test]
fn whoever_stayed_finds_the_one_who_began_anew() {
    let mut world = met(2, false);
    again(&mut world, ALICE);
    world.run_until(MINUTE, "bob notices and comes back", |world| {
        world.people[BOB].sessions().contains(&SessionState::Lost) && both_up(world)
    });
    talk(&mut world);
}

#[test]
fn whoever_comes_online_gets_what_waits_for_them_without_a_word_of_anybody() {
    let mut world = introduced(9, false);
    let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
    world.net.link(alice, bob, line(1.0));
    world.say(BOB, ALICE, "before you go");
    let peer = world.people[ALICE].peer;
    world.command(BOB, Command::Close { peer });
    world.run_until(MINUTE, "bob has closed", |world| {
        world.people[BOB].sessions().last() == Some(&SessionState::Closed)
    });
    world.net.link(alice, bob, line(0.0));
    assert!(world.people[ALICE].heard().is_empty());
    again(&mut world, ALICE);
    world.run_until(MINUTE, "alice hears", |world| world.people[ALICE].heard() == ["before you go"]);
}

#[test]
fn whoever_moved_is_known_at_the_new_address_afterwards() {
    let mut world = met(3, false);
    let moved: SocketAddr = "198.51.100.7:7000".parse().unwrap();
    let alice = world.people[ALICE].address;
    world.net.link(moved.ip(), alice.ip(), line(0.0));
    world.restart(BOB, "bob", moved, AcceptPolicy::Ask);
    world.connect(BOB, "alice");
    world.run_until(MINUTE, "both are up", both_up);
    talk(&mut world);
    assert_eq!(world.people[ALICE].contacts[0].endpoints.as_slice()[0], moved);
    again(&mut world, ALICE);
    world.connect(ALICE, "bob");
    world.run_until(SECOND * 3, "alice finds bob where he is now", |world| world.people[ALICE].is_up());
}

#[test]
fn both_who_dial_at_once_over_a_line_that_loses_end_up_in_one_session() {
    for seed in 0..100 {
        let mut world = met(seed, false);
        let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
        world.net.link(alice, bob, line(0.2));
        [ALICE, BOB].into_iter().for_each(|who| again(&mut world, who));
        world.connect(BOB, "alice");
        world.run_for(Duration::from_millis(seed * 3));
        world.connect(ALICE, "bob");
        world.run_until(MINUTE * 2, "both are up", both_up);
        world.run_for(MINUTE);
        assert!(both_up(&world), "seed {seed}");
        talk(&mut world);
    }
}

#[test]
fn who_was_accepted_once_gets_no_answer() {
    let mut world = met(5, true);
    assert!(world.people[ALICE].contacts.is_empty() && !world.people[BOB].contacts.is_empty());
    no_answer(&mut world, AcceptPolicy::Ask);
}

#[test]
fn who_accepts_nobody_answers_nobody() {
    let mut world = met(6, false);
    no_answer(&mut world, AcceptPolicy::Nobody);
}

#[test]
fn a_contact_of_thirty_one_days_ago_gets_no_answer_and_is_erased() {
    let mut world = met(7, false);
    let older = |world: &mut World| {
        for generation in world.people[ALICE].contacts.iter_mut().flat_map(|kept| &mut kept.generations) {
            generation.made.0 -= 31 * 24 * 3_600_000;
        }
    };
    older(&mut world);
    no_answer(&mut world, AcceptPolicy::Ask);
    assert!(world.people[ALICE].contacts.is_empty());
}

#[test]
fn whoever_is_not_pinned_any_more_is_not_answered() {
    let mut world = met(8, false);
    world.people[ALICE].pins.clear();
    no_answer(&mut world, AcceptPolicy::Ask);
}

/// Both begin anew, and bob tries in vain.
fn no_answer(world: &mut World, accept: AcceptPolicy) {
    let address = world.people[ALICE].address;
    world.restart(ALICE, "alice", address, accept);
    again(world, BOB);
    let before = world.people[ALICE].datagrams;
    let tried = world.people[BOB].datagrams;
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert!(world.people[BOB].datagrams > tried, "bob tried");
    assert_eq!(world.people[ALICE].datagrams, before, "alice said something");
    let failed = world.people[BOB]
        .events
        .iter()
        .any(|event| matches!(event, Event::Failed { failure: Failure::BrokerUnreachable { .. }, .. }));
    assert!(failed, "bob's user knows");
    let calm = world.people[BOB].datagrams;
    world.run_for(MINUTE * 5);
    assert_eq!(world.people[BOB].datagrams, calm, "nobody is looked for whom nobody wants");
}

#[test]
fn with_the_broker_there_a_request_goes_its_way_and_nobody_is_dialled() {
    let mut world = met(9, false);
    [ALICE, BOB].into_iter().for_each(|who| again(&mut world, who));
    world.broker.up = true;
    world.run_for(MINUTE);
    world.command(BOB, Command::Connect { to: Target::Name(name("alice")), wait: MINUTE });
    world.run_until(MINUTE, "both are up", both_up);
    let asked =
        |event: &Event| matches!(event, Event::Request(request) if request.state == RequestState::Accepted);
    assert!(world.people[BOB].events.iter().any(asked));
    assert!(reasons(&world.people[BOB]).is_empty(), "{:?}", reasons(&world.people[BOB]));
}

/// Those of `movers` get another address in the same moment, while the broker is there.
fn moved(seed: u64, movers: &[usize]) -> World {
    let mut world = introduced(seed, false);
    let at = [ALICE, BOB].map(|who| {
        let new = SocketAddr::from((Ipv4Addr::new(198, 51, 100, u8::try_from(who).unwrap() + 1), 7000));
        if movers.contains(&who) { new } else { world.people[who].address }
    });
    world.net.link(at[ALICE].ip(), at[BOB].ip(), line(0.0));
    world.people.iter_mut().for_each(|member| member.events.clear());
    movers.iter().for_each(|&who| world.moves(who, at[who]));
    world
}

fn asked(member: &Member) -> bool {
    member.events.iter().any(|event| matches!(event, Event::Request(_)))
}

#[test]
fn two_who_moved_at_once_are_brought_together_by_the_broker() {
    for seed in 0..20 {
        let mut world = moved(seed, &[ALICE, BOB]);
        world.run_until(SECOND * 10, "both are up again", both_up);
        assert!(world.people.iter().any(asked));
        talk(&mut world);
        // And with what they have by then they stay together.
        world.people.iter_mut().for_each(|member| member.events.clear());
        world.run_for(MINUTE * 2);
        assert!(world.people.iter().all(|member| member.sessions().is_empty() && !asked(member)), "{seed}");
    }
}

#[test]
fn somebody_who_moved_alone_asks_for_nobody() {
    for (seed, mover) in [(20, ALICE), (21, BOB)] {
        let mut world = moved(seed, &[mover]);
        talk(&mut world);
        world.run_for(MINUTE);
        assert!(world.people.iter().all(|member| member.sessions().is_empty() && !asked(member)));
    }
}

#[test]
fn who_closes_is_left_alone() {
    let mut world = met(10, false);
    let peer = world.people[ALICE].peer;
    world.command(BOB, Command::Close { peer });
    world.run_for(MINUTE);
    let before = [ALICE, BOB].map(|who| world.people[who].datagrams);
    world.run_for(MINUTE * 5);
    assert_eq!([ALICE, BOB].map(|who| world.people[who].datagrams), before);
}

/// What somebody reads of the other one since `from`, without what the broker's link says.
fn shown(member: &Member, from: usize) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::Session(session) => {
            let reason = session.reason.as_deref().unwrap_or_default();
            Some(format!("{:?} {reason}", session.state).trim_end().to_owned())
        }
        Event::Request(request) => Some(format!("request {:?}", request.state)),
        Event::Error(failure) | Event::Failed { failure, .. } => Some(failure.to_string()),
        _ => None,
    };
    member.events[from..].iter().filter_map(line).collect()
}

const SILENT: &str = "Suspect";
const LOST: &str = "Lost nothing heard for 30 s";
const DIRECTLY: &str = "Connecting directly, where they were last";
const INTRODUCED: &str =
    "Connecting introduced by the broker, and no datagram came through; it is tried again";

#[test]
fn whoever_is_looked_for_is_said_to_be_once_whatever_happens_meanwhile() {
    let mut world = introduced(30, false);
    let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
    let from = [ALICE, BOB].map(|who| world.people[who].events.len());
    world.net.partition(alice, bob, true);
    world.run_for(MINUTE * 10);
    world.kill_broker();
    world.run_for(MINUTE * 5);
    world.broker.up = true;
    world.run_for(MINUTE * 5);
    world.put_to_sleep(BOB);
    world.run_for(MINUTE * 5);
    world.wake(BOB, world::sleep::First::Timers);
    world.run_for(MINUTE * 5);
    let now = world.clock();
    world.people[ALICE].engine.addresses_changed(&[alice], now);
    world.run_for(MINUTE * 5);
    let no_answer = "Connecting no answer where they were last; it is tried again";
    let asks = vec![SILENT, LOST, DIRECTLY, "Connecting", no_answer, INTRODUCED];
    let mut accepts = asks.clone();
    accepts.insert(3, "request Accepted");
    assert_eq!(shown(&world.people[BOB], from[BOB]), asks);
    assert_eq!(shown(&world.people[ALICE], from[ALICE]), accepts);
    // What the user does about it is answered.
    let from = world.people[BOB].events.len();
    world.command(BOB, Command::Retry { to: None });
    world.run_for(MINUTE * 2);
    assert_eq!(shown(&world.people[BOB], from).last().map(String::as_str), Some(INTRODUCED));
    let from = world.people[BOB].events.len();
    world.connect(BOB, "alice");
    world.run_for(MINUTE * 2);
    let told = shown(&world.people[BOB], from);
    assert!(told.iter().any(|line| line == "alice accepted, but cannot be reached over UDP"), "{told:?}");
    // And so is the end of it.
    let from = [ALICE, BOB].map(|who| world.people[who].events.len());
    world.net.partition(alice, bob, false);
    world.run_until(MINUTE * 2, "both are up again", both_up);
    for who in [ALICE, BOB] {
        assert_eq!(shown(&world.people[who], from[who]).last().map(String::as_str), Some("Up"));
    }
    talk(&mut world);
}

#[test]
fn without_the_broker_whoever_is_looked_for_is_said_to_be_once_across_moves() {
    let mut world = met(31, false);
    let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
    let from = world.people[BOB].events.len();
    world.net.partition(alice, bob, true);
    for host in 1..6 {
        world.run_for(MINUTE * 2);
        world.moves(BOB, (Ipv4Addr::new(198, 51, 100, host), 7000).into());
    }
    world.run_for(MINUTE * 2);
    let no_answer = "Connecting no answer where they were last, and there is no broker; it is tried again";
    assert_eq!(shown(&world.people[BOB], from), [SILENT, LOST, DIRECTLY, no_answer]);
}
