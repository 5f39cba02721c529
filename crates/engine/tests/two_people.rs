//! Two people, a broker and a network in virtual time: what they see of each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::{BrokerState, Delivery, Direction, RequestState, SessionState, Trust};
use p2pchat_engine::{AcceptPolicy, Command, CommandId, Effect, Event, Failure, Pin, Target};
use p2pchat_netsim::{LinkConfig, Loss, Reordering};
use p2pchat_proto::{PeerId, RequestId, UdpEndpoints};
use world::{Manner, World, name};

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: usize = 0;
const BOB: usize = 1;

fn calm() -> LinkConfig {
    LinkConfig { delay: 20_000_000, ..LinkConfig::default() }
}

fn rough() -> LinkConfig {
    LinkConfig {
        delay: 20_000_000,
        loss: Loss::Independent { share: 0.3 },
        duplication: 0.05,
        reordering: Reordering { share: 0.2, hold: 30_000_000 },
        ..LinkConfig::default()
    }
}

/// Alice and Bob, both logged in.
fn two(seed: u64, alice: Manner, bob: Manner, link: &LinkConfig) -> World {
    let mut world = World::new(seed);
    world.join("alice", alice, link);
    world.join("bob", bob, link);
    world.run_until(MINUTE, "both are logged in", |world| world.people.iter().all(connected));
    world
}

fn connected(member: &world::Member) -> bool {
    broker_states(member).last() == Some(&BrokerState::Connected)
}

fn broker_states(member: &world::Member) -> Vec<BrokerState> {
    member
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Broker(broker) => Some(broker.state),
            _ => None,
        })
        .collect()
}

fn open_request(member: &world::Member) -> Option<RequestId> {
    member.events.iter().find_map(|event| match event {
        Event::Request(request)
            if request.direction == Direction::In && request.state == RequestState::Open =>
        {
            Some(request.request)
        }
        _ => None,
    })
}

fn request_states(member: &world::Member) -> Vec<RequestState> {
    member
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Request(request) => Some(request.state),
            _ => None,
        })
        .collect()
}

fn failures(member: &world::Member) -> Vec<&Failure> {
    member
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Failed { failure, .. } | Event::Error(failure) => Some(failure),
            _ => None,
        })
        .collect()
}

fn receipts(member: &world::Member, state: Delivery) -> usize {
    member
        .events
        .iter()
        .filter(|event| matches!(event, Event::Receipt(receipt) if receipt.state == state))
        .count()
}

/// Bob asks, Alice accepts, the session comes up.
fn meet(world: &mut World) {
    world.connect(BOB, "alice");
    world.run_until(MINUTE, "the request arrives", |world| open_request(&world.people[ALICE]).is_some());
    let request = open_request(&world.people[ALICE]).unwrap();
    world.command(ALICE, Command::Accept { request, once: false });
    world.run_until(MINUTE, "both are up", |world| world.people.iter().all(world::Member::is_up));
}

fn talk(world: &mut World, count: usize) {
    for n in 0..count {
        world.say(BOB, ALICE, &format!("bob {n}"));
        world.say(ALICE, BOB, &format!("alice {n}"));
        world.run_for(Duration::from_millis(20));
    }
    let limit = MINUTE * 5;
    world.run_until(limit, "everything is read", |world| {
        world.people.iter().all(|member| receipts(member, Delivery::Read) == count)
    });
    for (who, other) in [(ALICE, "bob"), (BOB, "alice")] {
        let expected: Vec<String> = (0..count).map(|n| format!("{other} {n}")).collect();
        assert_eq!(world.people[who].heard(), expected);
    }
}

#[test]
fn two_people_meet_and_talk() {
    let mut world = two(1, Manner::default(), Manner::default(), &calm());
    meet(&mut world);
    talk(&mut world, 20);
    let states = [Delivery::Queued, Delivery::Sent, Delivery::Stored, Delivery::Read];
    for state in states.into_iter().skip(1) {
        assert_eq!(receipts(&world.people[BOB], state), 20, "{state:?}");
    }
    let broker = world.broker_key();
    let pin = |who: usize, called| Pin { peer: world.people[who].peer, name: name(called), broker };
    assert_eq!(world.people[ALICE].pins, [pin(BOB, "bob")]);
    assert_eq!(world.people[BOB].pins, [pin(ALICE, "alice")]);
    let id = world.command(BOB, Command::Info);
    let info = world.people[BOB].events.iter().find_map(|event| match event {
        Event::Info { id: of, sessions, socket, .. } if *of == id => Some((sessions.clone(), *socket)),
        _ => None,
    });
    let (sessions, socket) = info.expect("an answer");
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].trust, Trust::Pinned);
    assert!(sessions[0].link.as_ref().unwrap().rtt.unwrap() >= Duration::from_millis(40));
    assert_eq!(socket.mac_failed, 0);
    let close = Command::Close { peer: world.people[ALICE].peer };
    world.command(BOB, close);
    world.run_until(MINUTE, "both are told", |world| {
        world.people.iter().all(|member| member.sessions().last() == Some(&SessionState::Closed))
    });
}

#[test]
fn messages_that_are_said_together_share_a_batch_and_arrive_in_their_order() {
    let mut world = two(1, Manner::default(), Manner::default(), &calm());
    meet(&mut world);
    let (to, now) = (world.people[BOB].peer, world.clock_of(ALICE));
    let texts = ["one", "two", "three"];
    let alice = &mut world.people[ALICE];
    let messages = texts.into_iter().zip(100..).map(|(text, id)| (CommandId(id), to, text.to_owned()));
    alice.engine.say_all(messages, now);
    let Some(Effect::Commit { batch, writes }) = alice.engine.poll_effect() else { panic!("no batch") };
    assert_eq!(writes.len(), texts.len() + 1, "and how far they may leave");
    alice.store.apply(&writes);
    alice.engine.committed(batch, now);
    world.run_until(MINUTE, "they arrive", |world| world.people[BOB].heard().len() == texts.len());
    assert_eq!(world.people[BOB].heard(), texts);
    let alice = &world.people[ALICE];
    let done = |event: &&Event| matches!(event, Event::Done { id, message: Some(_), .. } if id.0 >= 100);
    assert_eq!(alice.events.iter().filter(done).count(), texts.len());
    assert_eq!(alice.messages().map(|message| &*message.text).collect::<Vec<_>>(), texts);
}

#[test]
fn messages_survive_a_rough_network_exactly_once_and_in_order() {
    for seed in 0..8 {
        let mut world = two(seed, Manner::default(), Manner::default(), &rough());
        meet(&mut world);
        talk(&mut world, 100);
    }
}

#[test]
fn a_session_outlives_bursts_of_loss_over_long_ways_and_everything_arrives() {
    let burst = |share, delay, jitter| LinkConfig {
        delay,
        jitter,
        loss: Loss::Burst { share, mean_length: 4.0 },
        ..LinkConfig::default()
    };
    // One way each: round trips of 450 ms, and of 800 ms and up to 150 more.
    for link in [burst(0.12, 225_000_000, 0), burst(0.25, 400_000_000, 75_000_000)] {
        for seed in 0..8 {
            let mut world = two(seed, Manner::default(), Manner::default(), &link);
            meet(&mut world);
            talk(&mut world, 100);
            for member in &world.people {
                assert!(!member.sessions().contains(&SessionState::Lost), "{:?}", member.sessions());
            }
        }
    }
}

#[test]
fn a_message_before_the_session_waits_for_it() {
    let mut world = two(2, Manner::default(), Manner::default(), &calm());
    world.say(BOB, ALICE, "early");
    assert_eq!(receipts(&world.people[BOB], Delivery::Queued), 1);
    meet(&mut world);
    world.run_until(MINUTE, "it arrives", |world| world.people[ALICE].heard() == ["early"]);
}

#[test]
fn with_the_broker_dead_the_session_goes_on_and_both_come_back_to_a_new_one() {
    let mut world = two(3, Manner::default(), Manner::default(), &calm());
    meet(&mut world);
    world.kill_broker();
    world.run_for(MINUTE * 2);
    for member in &world.people {
        assert!(broker_states(member).contains(&BrokerState::Lost));
        assert!(!connected(member));
    }
    talk(&mut world, 5);
    world.broker.up = true;
    world.run_until(MINUTE, "both are back", |world| world.people.iter().all(connected));
    assert!(world.people.iter().all(world::Member::is_up));
}

#[test]
fn a_lost_session_is_made_again_and_nothing_is_lost_or_doubled() {
    let mut world = two(4, Manner::default(), Manner::default(), &calm());
    meet(&mut world);
    let [alice, bob] = [ALICE, BOB].map(|who| world.people[who].address.ip());
    world.say(BOB, ALICE, "before");
    world.run_until(MINUTE, "it is stored", |world| receipts(&world.people[BOB], Delivery::Stored) == 1);
    world.net.partition(alice, bob, true);
    world.say(BOB, ALICE, "during 1");
    world.say(ALICE, BOB, "during 2");
    world.run_for(MINUTE);
    assert!(world.people.iter().all(|member| member.sessions().contains(&SessionState::Lost)));
    world.net.partition(alice, bob, false);
    world.run_until(MINUTE * 3, "both are up again", |world| world.people.iter().all(world::Member::is_up));
    world.say(BOB, ALICE, "after");
    world.run_until(MINUTE, "all arrives", |world| {
        world.people[ALICE].heard() == ["before", "during 1", "after"]
            && world.people[BOB].heard() == ["during 2"]
    });
}

#[test]
fn two_requests_that_cross_make_one_session() {
    for seed in 0..4 {
        let mut world = two(seed, Manner::default(), Manner::default(), &calm());
        world.connect(BOB, "alice");
        world.connect(ALICE, "bob");
        world.run_until(MINUTE, "both are up", |world| world.people.iter().all(world::Member::is_up));
        world.run_for(MINUTE);
        for member in &world.people {
            assert_eq!(member.sessions().iter().filter(|&&state| state == SessionState::Up).count(), 1);
            assert!(failures(member).is_empty(), "{:?}", failures(member));
        }
        talk(&mut world, 3);
    }
}

#[test]
fn who_declines_sends_nothing_over_udp() {
    let mut world = two(5, Manner::default(), Manner::default(), &calm());
    world.connect(BOB, "alice");
    world.run_until(MINUTE, "the request arrives", |world| open_request(&world.people[ALICE]).is_some());
    let request = open_request(&world.people[ALICE]).unwrap();
    world.command(ALICE, Command::Decline { request, reason: "not now".into() });
    world.run_for(MINUTE);
    assert_eq!(request_states(&world.people[BOB]), [RequestState::Open, RequestState::Declined]);
    let reasons = world.people[BOB].events.iter().filter_map(|event| match event {
        Event::Request(request) => request.reason.clone(),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["not now"]);
    assert_eq!(world.people.iter().map(|member| member.datagrams).sum::<u64>(), 0);
}

#[test]
fn a_request_that_nobody_answers_ends_for_both() {
    let mut world = two(6, Manner::default(), Manner::default(), &calm());
    world.connect(BOB, "alice");
    world.run_for(MINUTE * 2);
    assert_eq!(request_states(&world.people[BOB]), [RequestState::Open, RequestState::Expired]);
    assert_eq!(request_states(&world.people[ALICE]), [RequestState::Open, RequestState::Cancelled]);
}

#[test]
fn a_client_that_stopped_with_a_request_out_is_not_due_for_ever() {
    let mut world = two(7, Manner::default(), Manner::default(), &calm());
    world.command(BOB, Command::Connect { to: Target::Name(name("alice")), wait: MINUTE * 20 });
    world.run_for(MINUTE / 2);
    let now = world.clock();
    world.people[BOB].engine.stop(now);
    // The renewal would be due after a minute, with nobody to send it to.
    world.run_for(MINUTE * 3);
    assert!(world.people[BOB].engine.is_idle());
    assert_eq!(request_states(&world.people[ALICE]), [RequestState::Open, RequestState::Cancelled]);
}

#[test]
fn a_long_wait_renews_the_request() {
    let mut world = two(7, Manner::default(), Manner::default(), &calm());
    world.command(BOB, Command::Connect { to: Target::Name(name("alice")), wait: MINUTE * 20 });
    world.run_for(MINUTE * 8);
    assert_eq!(request_states(&world.people[ALICE]), [RequestState::Open]);
    world.run_for(MINUTE * 7);
    let request = world.people[ALICE].events.iter().rev().find_map(|event| match event {
        Event::Request(request) if request.state == RequestState::Open => Some(request.request),
        _ => None,
    });
    world.command(ALICE, Command::Accept { request: request.unwrap(), once: true });
    world.run_until(MINUTE, "both are up", |world| world.people.iter().all(world::Member::is_up));
    assert!(world.people[ALICE].pins.is_empty(), "--once leaves no contact");
}

#[test]
fn who_asks_more_often_than_the_broker_takes_waits_and_is_heard() {
    let manner = Manner { accept: AcceptPolicy::Nobody, ..Manner::default() };
    let mut world = two(14, manner, Manner::default(), &calm());
    let declined = |world: &World| {
        let states = request_states(&world.people[BOB]);
        states.iter().filter(|&&state| state == RequestState::Declined).count()
    };
    for asked in 1..=8 {
        world.connect(BOB, "alice");
        world.run_until(MINUTE, "alice has declined", |world| declined(world) == asked);
    }
    assert!(failures(&world.people[BOB]).is_empty(), "{:?}", failures(&world.people[BOB]));
    let wait = Duration::from_secs(1);
    world.command(BOB, Command::Connect { to: Target::Name(name("alice")), wait });
    world.run_for(wait * 2);
    assert!(
        matches!(failures(&world.people[BOB])[..], [Failure::NotAllowed { .. }]),
        "{:?}",
        failures(&world.people[BOB])
    );
}

#[test]
fn nobody_of_that_name_and_somebody_who_left_are_told_apart() {
    let mut world = two(8, Manner::default(), Manner::default(), &calm());
    world.connect(BOB, "nobody");
    world.run_for(MINUTE);
    assert_eq!(failures(&world.people[BOB]), [&Failure::UnknownPeer { who: "nobody".into() }]);
    let now = world.clock();
    world.people[ALICE].engine.stop(now);
    world.run_for(Duration::from_secs(1));
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert_eq!(failures(&world.people[BOB])[1], &Failure::NotOnline { who: "alice".into() });
}

#[test]
fn without_a_broker_a_request_fails_after_its_patience() {
    let mut world = World::new(9);
    world.broker.up = false;
    world.join("bob", Manner::default(), &calm());
    world.connect(0, "alice");
    world.run_for(Duration::from_secs(14));
    assert!(failures(&world.people[0]).is_empty());
    world.run_for(Duration::from_secs(2));
    assert!(matches!(failures(&world.people[0])[..], [Failure::BrokerUnreachable { .. }]));
}

#[test]
fn policies_answer_by_themselves() {
    let with = |accept| Manner { accept, ..Manner::default() };
    for (accept, expected) in
        [(AcceptPolicy::Everyone, true), (AcceptPolicy::Contacts, false), (AcceptPolicy::Nobody, false)]
    {
        let mut world = two(10, with(accept), Manner::default(), &calm());
        world.connect(BOB, "alice");
        world.run_for(MINUTE);
        assert_eq!(world.people[BOB].is_up(), expected, "{accept:?}");
        assert!(world.people[ALICE].pins.is_empty(), "{accept:?}");
    }
    let bob = World::identity(BOB).peer_id();
    let pins = vec![Pin { peer: bob, name: name("bob"), broker: World::broker_key_of(11) }];
    for accept in [AcceptPolicy::Contacts, AcceptPolicy::Ask] {
        let mut world =
            two(11, Manner { accept, pins: pins.clone(), ..Manner::default() }, Manner::default(), &calm());
        world.connect(BOB, "alice");
        world.run_for(MINUTE);
        assert!(world.people[BOB].is_up(), "{accept:?}");
    }
}

#[test]
fn a_pinned_name_with_another_key_stops_everything() {
    let somebody = PeerId([0x42; 32]);
    let pins =
        |of: &str, seed| vec![Pin { peer: somebody, name: name(of), broker: World::broker_key_of(seed) }];
    // The one who asks knows alice by another key.
    let bob = Manner { pins: pins("alice", 12), ..Manner::default() };
    let mut world = two(12, Manner::default(), bob, &calm());
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    let alice = world.people[ALICE].peer;
    let expected = Failure::KeyChanged { name: Some(name("alice")), pinned: somebody, came: alice };
    assert_eq!(failures(&world.people[BOB]), [&expected]);
    assert!(open_request(&world.people[ALICE]).is_none());
    // The one who is asked knows bob by another key.
    let alice = Manner { accept: AcceptPolicy::Everyone, pins: pins("bob", 13), ..Manner::default() };
    let mut world = two(13, alice, Manner::default(), &calm());
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    let bob = world.people[BOB].peer;
    let expected = Failure::KeyChanged { name: Some(name("bob")), pinned: somebody, came: bob };
    assert_eq!(failures(&world.people[ALICE]), [&expected]);
    assert_eq!(world.people.iter().map(|member| member.datagrams).sum::<u64>(), 0);
}

#[test]
fn a_broker_with_another_key_is_refused_before_the_login() {
    let mut world = World::new(14);
    let other = p2pchat_proto::BrokerKey([9; 32]);
    let came = world.broker_key();
    world.join("bob", Manner { broker_key: Some(other), ..Manner::default() }, &calm());
    world.run_for(MINUTE);
    assert_eq!(broker_states(&world.people[0]), [BrokerState::Connecting, BrokerState::Refused]);
    let reason = world.people[0].events.iter().find_map(|event| match event {
        Event::Broker(broker) => broker.reason.clone(),
        _ => None,
    });
    let address = "broker.example:7770".to_owned();
    assert_eq!(reason, Some(Failure::BrokerKeyChanged { address, pinned: other, came }));
}

#[test]
fn the_same_seed_gives_the_same_messages_at_the_same_times() {
    let run = |seed| {
        let mut world = two(seed, Manner::default(), Manner::default(), &rough());
        meet(&mut world);
        talk(&mut world, 10);
        world.net.shape_hash()
    };
    assert_eq!(run(15), run(15));
    assert_ne!(run(15), run(16));
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let this = std::env::current_exe().unwrap();
    let name = "the_same_seed_gives_the_same_messages_at_the_same_times";
    let traces = || {
        let other =
            std::process::Command::new(&this).args([name, "--exact", "--nocapture"]).output().unwrap();
        let said = String::from_utf8(other.stdout).unwrap();
        assert!(other.status.success() && said.contains("1 passed"), "{said}");
        let traces = said.split("simulation: ").skip(1).map(|line| line.lines().next().unwrap().to_owned());
        traces.collect::<Vec<_>>()
    };
    let first = traces();
    assert_eq!(first.len(), 4, "{first:?}");
    assert_eq!(first, traces());
}

#[test]
fn who_is_introduced_is_told_the_endpoints_of_now_and_not_those_of_the_login() {
    let accepting = || Manner { accept: AcceptPolicy::Everyone, ..Manner::default() };
    for (announced, meet) in [(Some("198.51.100.99:9"), false), (None, true)] {
        let mut world = two(5, accepting(), accepting(), &calm());
        let old = UdpEndpoints::new(["198.51.100.77:9".parse().unwrap()]);
        for member in &mut world.people {
            let now = announced.map_or(member.address, |elsewhere| elsewhere.parse().unwrap());
            member.engine.announce(old.clone());
            member.engine.announce(UdpEndpoints::new([now]));
        }
        world.connect(ALICE, "bob");
        world.run_for(MINUTE);
        let up = world.people.iter().filter(|member| member.is_up()).count();
        assert_eq!(up == 2, meet, "{announced:?}");
    }
}

#[test]
fn a_request_that_a_later_one_put_aside_is_made_again_when_that_comes_to_nothing() {
    let mut world = two(6, Manner::default(), Manner::default(), &calm());
    for wait in [10 * MINUTE, Duration::from_secs(5)] {
        world.command(ALICE, Command::Connect { to: Target::Name(name("bob")), wait });
        world.run_for(Duration::from_secs(2));
    }
    world.run_for(Duration::from_secs(10));
    let newest = world.people[BOB].events.iter().rev().find_map(|event| match event {
        Event::Request(request) => Some((request.request, request.state)),
        _ => None,
    });
    let Some((request, RequestState::Open)) = newest else { panic!("{newest:?}") };
    world.command(BOB, Command::Accept { request, once: false });
    world.run_until(MINUTE, "they meet", |world| world.people.iter().all(world::Member::is_up));
}

#[test]
fn whoever_types_is_seen_to_by_the_other_one_while_they_are_together_and_nothing_is_kept_of_it() {
    let mut world = two(3, Manner::default(), Manner::default(), &calm());
    let seen = |world: &World| {
        let typing = |event: &&Event| matches!(event, Event::Typing { .. });
        world.people[ALICE].events.iter().filter(typing).count()
    };
    let alice = world.people[ALICE].peer;
    world.command(BOB, Command::Typing { to: alice });
    meet(&mut world);
    world.run_for(Duration::from_secs(5));
    assert_eq!(seen(&world), 0, "before they were together");
    world.command(BOB, Command::Typing { to: alice });
    world.run_for(Duration::from_secs(1));
    assert_eq!(seen(&world), 1);
    talk(&mut world, 1);
}
