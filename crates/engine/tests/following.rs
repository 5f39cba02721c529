//! Whoever's key takes the place of another is followed, if both keys say so and by nobody else's word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::time::Duration;

use p2pchat_engine::event::{RequestState, Trust, TrustEvent};
use p2pchat_engine::{AcceptPolicy, Command, Event, Failure, Mark, Pin, Replaced, Target};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::BrokerKey;
use p2pchat_proto::broker::FromBroker;
use p2pchat_proto::succession::KeptSuccession;
use world::sleep::First;
use world::{Manner, Member, World, name};

const MINUTE: Duration = Duration::from_secs(60);
const ALICE: usize = 0;
const BOB: usize = 1;

fn link() -> LinkConfig {
    LinkConfig { delay: 20_000_000, ..LinkConfig::default() }
}

/// Alice and Bob, who know each other and have said something.
fn two(seed: u64) -> World {
    let mut world = World::new(seed);
    world.join("alice", Manner { accept: AcceptPolicy::Contacts, ..Manner::default() }, &link());
    world.join("bob", Manner { accept: AcceptPolicy::Ask, ..Manner::default() }, &link());
    world.run_for(MINUTE);
    let alice = Pin { peer: world.people[ALICE].peer, name: name("alice"), broker: world.broker_key() };
    let bob = Pin { peer: world.people[BOB].peer, name: name("bob"), broker: world.broker_key() };
    let now = world.clock();
    for (who, pin) in [(ALICE, bob), (BOB, alice)] {
        world.people[who].pins.push(pin.clone());
        world.people[who].engine.remember_person(pin.peer, vec![pin.clone()], Mark::none(pin.peer), now);
    }
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    world.say(BOB, ALICE, "one");
    world.say(ALICE, BOB, "two");
    world.run_for(MINUTE);
    assert_eq!((world.people[ALICE].heard(), world.people[BOB].heard()), (vec!["one"], vec!["two"]));
    world
}

fn trusts(member: &Member) -> Vec<&TrustEvent> {
    let trusts = member.events.iter().filter_map(|event| match event {
        Event::Trust(trust) => Some(trust),
        _ => None,
    });
    trusts.collect()
}

fn changed_keys(member: &Member) -> usize {
    let failures = member.events.iter().filter(|event| {
        matches!(
            event,
            Event::Failed { failure: Failure::KeyChanged { .. }, .. }
                | Event::Error(Failure::KeyChanged { .. })
        )
    });
    failures.count()
}

#[test]
fn what_waits_on_both_sides_arrives_once_under_the_new_key() {
    let mut world = two(61);
    world.put_to_sleep(BOB);
    world.say(ALICE, BOB, "written with the old key");
    world.run_for(Duration::from_secs(5));
    let new = world.rotate(ALICE, "alice", &link());
    world.run_for(MINUTE);
    world.wake(BOB, First::Timers);
    world.say(BOB, ALICE, "to the old key");
    world.run_for(MINUTE * 4);
    assert_eq!(world.people[BOB].heard(), ["two", "written with the old key"]);
    assert_eq!(world.people[new].heard(), ["to the old key"]);
    world.say(BOB, ALICE, "whoever says the old key means the new one");
    world.say(new, BOB, "three");
    world.run_for(MINUTE);
    assert_eq!(world.people[BOB].heard(), ["two", "written with the old key", "three"]);
    let heard = ["to the old key", "whoever says the old key means the new one"];
    assert_eq!(world.people[new].heard(), heard);
    let said = trusts(&world.people[BOB]);
    let [said] = said.iter().filter(|trust| trust.followed).collect::<Vec<_>>()[..] else {
        panic!("{said:?}")
    };
    let (old, came) = (world.people[ALICE].peer, world.people[new].peer);
    assert_eq!((said.pinned, said.peer, said.name.clone()), (Some(old), came, Some(name("alice"))));
    assert_eq!(changed_keys(&world.people[BOB]), 0);
    let kept = Pin { peer: came, name: name("alice"), broker: world.broker_key() };
    assert_eq!(world.people[BOB].pins, [kept]);
}

#[test]
fn whoever_asks_under_the_new_key_is_followed_and_their_request_answered() {
    let mut world = two(62);
    let new = world.rotate(ALICE, "alice", &link());
    world.run_for(MINUTE);
    world.connect(new, "bob");
    world.run_for(MINUTE);
    assert!(world.people[new].is_up(), "as a contact");
    assert_eq!(changed_keys(&world.people[BOB]), 0);
}

#[test]
fn somebody_who_was_away_for_two_changes_follows_both() {
    let mut world = two(63);
    let second = world.rotate(ALICE, "alice", &link());
    world.run_for(MINUTE);
    let third = world.rotate(second, "alice", &link());
    world.run_for(MINUTE);
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    world.say(BOB, ALICE, "which of you is it?");
    world.run_for(MINUTE);
    assert_eq!(world.people[third].heard(), ["which of you is it?"]);
    assert_eq!(changed_keys(&world.people[BOB]), 0);
}

#[test]
fn without_a_statement_that_holds_a_changed_key_stops_everything() {
    type Spoil = fn(&mut Vec<KeptSuccession>);
    let lies: [(&str, Spoil); 6] = [
        ("none", Vec::clear),
        ("of others", |chain| *chain = vec![World::statement(4, 2)]),
        ("to somebody else", |chain| *chain = vec![World::statement(0, 4)]),
        ("the other way", |chain| *chain = vec![World::statement(2, 0)]),
        ("forged", |chain| {
            let mut bytes = chain[0].as_slice().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            *chain = vec![KeptSuccession::new(bytes).unwrap()];
        }),
        ("noise", |chain| *chain = vec![KeptSuccession::new(vec![7; 217]).unwrap(); 8]),
    ];
    for (what, spoil) in lies {
        let mut world = two(64);
        let new = world.rotate(ALICE, "alice", &link());
        world.run_for(MINUTE);
        world.broker.tamper = Some(Box::new(move |message| {
            if let FromBroker::Succeeded(succeeded) = message {
                spoil(&mut succeeded.chain);
            }
        }));
        let before = world.people[BOB].datagrams;
        world.connect(BOB, "alice");
        world.run_for(MINUTE);
        assert_eq!(changed_keys(&world.people[BOB]), 1, "{what}");
        assert_eq!(world.people[BOB].datagrams, before, "{what}: nothing is sent");
        world.connect(new, "bob");
        world.run_for(MINUTE);
        assert_eq!(changed_keys(&world.people[BOB]), 2, "{what}");
        assert!(!world.people[new].is_up(), "{what}");
        assert!(trusts(&world.people[BOB]).iter().all(|trust| !trust.followed), "{what}");
    }
}

#[test]
fn a_broker_that_never_answers_or_goes_away_is_as_one_without_a_statement() {
    for goes in [false, true] {
        let mut world = two(65);
        world.rotate(ALICE, "alice", &link());
        world.run_for(MINUTE);
        world.broker.tamper = Some(Box::new(|message| {
            if let FromBroker::Succeeded(_) = message {
                *message = p2pchat_proto::broker::Pong.into();
            }
        }));
        world.connect(BOB, "alice");
        if goes {
            world.kill_broker();
        }
        world.run_for(MINUTE);
        assert_eq!(changed_keys(&world.people[BOB]), 1, "goes: {goes}");
    }
}

#[test]
fn what_was_decided_about_somebody_stays_but_for_the_comparison_of_keys() {
    for blocked in [false, true] {
        let mut world = two(66);
        let (old, now) = (world.people[ALICE].peer, world.clock());
        let petname = Some(name("sister"));
        let mark = Mark { peer: old, verified: true, blocked, petname };
        let pins = world.people[BOB].pins.clone();
        world.people[BOB].engine.remember_person(old, pins, mark, now);
        world.settle();
        let new = world.rotate(ALICE, "alice", &link());
        world.run_for(MINUTE);
        world.connect(new, "bob");
        world.run_for(MINUTE);
        let said = trusts(&world.people[BOB]);
        let said = said.iter().find(|trust| trust.followed).expect("followed");
        let is = if blocked { Trust::Blocked } else { Trust::Pinned };
        let was = if blocked { Trust::Blocked } else { Trust::Verified };
        assert_eq!((said.was, said.is, said.name.clone()), (was, is, Some(name("sister"))));
        assert_eq!(world.people[new].is_up(), !blocked);
    }
}

#[test]
fn an_invitation_of_the_new_key_is_followed_where_both_keys_have_signed_and_by_no_other_word() {
    for (lies, changes) in [(false, 1), (false, 2), (true, 1)] {
        let mut world = two(71);
        let mut last = ALICE;
        let mut invitation =
            Pin { peer: world.people[ALICE].peer, name: name("alice"), broker: world.broker_key() };
        for change in 0..changes {
            last = world.rotate(last, "alice", &link());
            world.run_for(MINUTE);
            if change == 0 {
                invitation.peer = world.people[last].peer;
            }
        }
        if lies {
            world.broker.tamper = Some(Box::new(|message| {
                if let FromBroker::Succeeded(succeeded) = message {
                    succeeded.chain.clear();
                }
            }));
        }
        world.command(BOB, Command::ConnectInvited { pin: invitation, wait: MINUTE });
        world.run_for(MINUTE);
        assert_eq!(world.people[last].is_up(), !lies, "{changes} changes");
        assert_eq!(changed_keys(&world.people[BOB]), usize::from(lies));
        world.say(BOB, ALICE, "welcome back");
        world.run_for(MINUTE);
        let heard: &[&str] = if lies { &[] } else { &["welcome back"] };
        assert_eq!(world.people[last].heard(), heard);
    }
}

#[test]
fn somebody_to_whom_was_written_under_the_new_id_first_is_followed_all_the_same() {
    for open in [false, true] {
        let mut world = two(72);
        let new = world.rotate(ALICE, "alice", &link());
        world.run_for(MINUTE);
        let address = world.people[new].address;
        world.restart(new, "alice", address, AcceptPolicy::Everyone);
        world.run_for(MINUTE);
        let to = Target::Peer(world.people[new].peer);
        world.command(BOB, Command::Connect { to, wait: MINUTE });
        world.run_for(MINUTE);
        world.say(BOB, new, "by id");
        world.run_for(MINUTE);
        assert_eq!(world.people[new].heard(), ["by id"]);
        if !open {
            let peer = world.people[new].peer;
            world.command(BOB, Command::Close { peer });
            world.run_for(MINUTE);
        }
        world.connect(BOB, "alice");
        world.run_for(MINUTE);
        assert!(world.people[BOB].is_up(), "open: {open}");
        assert_eq!(changed_keys(&world.people[BOB]), 0);
        world.say(BOB, ALICE, "by name");
        world.run_for(MINUTE);
        assert_eq!(world.people[new].heard(), ["by id", "by name"]);
        let pinned = &world.people[BOB].pins;
        assert!(pinned.iter().all(|pin| pin.peer == world.people[new].peer), "{pinned:?}");
    }
}

#[test]
fn a_stranger_who_is_blocked_stays_so_under_another_key_and_no_other_stranger_is_kept_away() {
    let mut world = World::new(73);
    for who in ["mal", "bob"] {
        world.join(who, Manner::default(), &link());
    }
    world.run_for(MINUTE);
    world.connect(ALICE, "bob");
    world.run_for(MINUTE / 6);
    let opened = |world: &World| {
        let open =
            |event: &&Event| matches!(event, Event::Request(request) if request.state == RequestState::Open);
        world.people[BOB].events.iter().filter(open).count()
    };
    assert_eq!(opened(&world), 1);
    world.command(BOB, Command::Block { who: Target::Name(name("mal")) });
    let mut last = ALICE;
    for _ in 0..2 {
        world.run_for(MINUTE);
        last = world.rotate(last, "mal", &link());
        world.run_for(MINUTE);
        world.connect(last, "bob");
        world.run_for(MINUTE);
        assert_eq!(opened(&world), 1, "only before the block");
        let said = trusts(&world.people[BOB]).last().map(|said| (said.peer, said.is, said.followed));
        assert_eq!(said, Some((world.people[last].peer, Trust::Blocked, true)));
    }
    let eve = world.join("eve", Manner::default(), &link());
    world.run_for(MINUTE);
    world.connect(eve, "bob");
    world.run_for(MINUTE / 6);
    assert_eq!(opened(&world), 2);
}

#[test]
fn nobody_becomes_somebody_who_is_known_already() {
    let mut world = two(67);
    let known = World::identity(2).peer_id();
    let elsewhere = Pin { peer: known, name: name("carol"), broker: BrokerKey([7; 32]) };
    let now = world.clock();
    world.people[BOB].engine.remember_person(known, vec![elsewhere], Mark::none(known), now);
    let new = world.rotate(ALICE, "alice", &link());
    assert_eq!(world.people[new].peer, known);
    world.run_for(MINUTE);
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    assert_eq!(changed_keys(&world.people[BOB]), 1);
    assert!(trusts(&world.people[BOB]).iter().all(|trust| !trust.followed));
}

#[test]
fn a_key_that_its_owner_replaced_is_nobody_whatever_it_is_called() {
    for restarted in [false, true] {
        let mut world = two(69);
        let (old, address) = (world.people[ALICE].peer, world.people[ALICE].address);
        let new = world.rotate(ALICE, "alice", &link());
        world.run_for(MINUTE);
        world.connect(BOB, "alice");
        world.run_for(MINUTE);
        if restarted {
            let at = world.people[BOB].address;
            world.restart(BOB, "bob", at, AcceptPolicy::Everyone);
            let mut replaced = Replaced::default();
            replaced.note(old, world.people[new].peer);
            world.people[BOB].engine.remember_replaced(replaced);
        }
        world.restart(ALICE, "alison", address, AcceptPolicy::Everyone);
        world.run_for(MINUTE);
        let before = changed_keys(&world.people[BOB]);
        assert_eq!(before, 0, "restarted: {restarted}");
        world.connect(ALICE, "bob");
        world.run_for(MINUTE);
        world.connect(BOB, "alison");
        world.run_for(MINUTE);
        let told = |event: &&Event| {
            matches!(event, Event::Error(Failure::KeyReplaced { came, by, .. })
                if *came == old && *by == world.people[new].peer)
        };
        assert_eq!(world.people[BOB].events.iter().filter(told).count(), 2, "restarted: {restarted}");
        let met = |event: &Event| matches!(event, Event::Session(session) if session.peer == old);
        let member = &world.people[BOB];
        let after =
            member.events.iter().rposition(|event| matches!(event, Event::Trust(trust) if trust.followed));
        assert!(!member.events[after.unwrap_or(0)..].iter().any(met), "restarted: {restarted}");
        assert_eq!(member.pins.iter().map(|pin| pin.peer).collect::<Vec<_>>(), [world.people[new].peer]);
        let asked = Command::Connect { to: Target::Peer(old), wait: MINUTE };
        world.command(BOB, asked);
        world.run_for(MINUTE);
        assert!(world.people[new].is_up(), "whoever says the old key means the new one");
        assert!(!world.people[ALICE].is_up());
    }
}

#[test]
fn an_invitation_of_a_key_that_was_replaced_leads_to_whom_it_belongs() {
    let mut world = two(70);
    let invitation = Pin { peer: world.people[ALICE].peer, name: name("alice"), broker: world.broker_key() };
    let new = world.rotate(ALICE, "alice", &link());
    world.run_for(MINUTE);
    world.connect(BOB, "alice");
    world.run_for(MINUTE);
    world.people[BOB].events.clear();
    world.command(BOB, Command::ConnectInvited { pin: invitation, wait: MINUTE });
    world.run_for(MINUTE);
    assert!(world.people[new].is_up());
    assert_eq!(changed_keys(&world.people[BOB]), 0);
}

#[test]
fn the_old_key_does_not_come_back_under_its_name() {
    let mut world = two(68);
    let address = world.people[ALICE].address;
    world.rotate(ALICE, "alice", &link());
    world.run_for(MINUTE);
    world.restart(ALICE, "alice", address, AcceptPolicy::Ask);
    world.run_for(MINUTE);
    let refused = world.people[ALICE].events.iter().any(|event| {
        matches!(event, Event::Broker(broker) if matches!(broker.reason, Some(Failure::NameTaken { .. })))
    });
    assert!(refused);
    let command = world.command(ALICE, Command::People { prefix: String::new() });
    let failed = |event: &Event| matches!(event, Event::Failed { id, .. } if *id == command);
    assert!(world.people[ALICE].events.iter().any(failed));
}
