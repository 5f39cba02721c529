//! A name that goes from one identity to another, without a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use std::net::IpAddr;
use std::time::Duration;

use p2pchat_proto::broker::*;
use p2pchat_proto::succession::{KeptSuccession, SUCCESSIONS_MAX};
use p2pchat_registry::{Account, AccountState, CloseReason, Config, ConnId, Former, Rate, StoreFailed};
use support::*;

fn world() -> World {
    World::new(Config::default())
}

/// What identity `n` stated when another one took its place.
fn stated(n: u8) -> KeptSuccession {
    KeptSuccession::new(vec![n; 200]).unwrap()
}

fn to(new: u8, of: u8, called: &str) -> Rotate {
    let (by_old, by_new) = ([0; 64], [0; 64]);
    Rotate { name: name(called), new: peer(new), by_old, by_new, succession: stated(of) }
}

/// Moves a name whose signatures were right; the reply, if it came at once.
fn rotate(world: &mut World, conn: ConnId, rotate: Rotate) -> Option<Outcome> {
    world.registry.rotate(conn, 77, rotate, world.now);
    world.drain();
    world.outcomes(conn).pop()
}

/// The same, and the write of it.
fn rotated(world: &mut World, conn: ConnId, said: Rotate) {
    assert_eq!(rotate(world, conn, said), None);
    world.persist(Ok(()));
    assert_eq!(world.outcomes(conn), [Outcome::Done]);
}

fn successions(world: &mut World, conn: ConnId, called: &str, of: u8) -> Vec<KeptSuccession> {
    world.call(conn, SuccessionOf { name: name(called), peer: peer(of) });
    let [(_, FromBroker::Succeeded(ref succeeded))] = world.take(conn)[..] else { panic!("no answer") };
    succeeded.chain.clone()
}

#[test]
fn a_name_goes_to_another_identity_once_that_is_stored_and_the_old_one_does_not_get_it_back() {
    let mut world = world();
    let old = world.join(peer(1));
    world.register(old, "alice");
    assert_eq!(rotate(&mut world, old, to(2, 1, "alice")), None);
    let asker = world.join(peer(9));
    assert_eq!(world.call(asker, request(1, Some(peer(2)), Some("alice"))), Some(Outcome::BoundTo(peer(1))));
    let [(_, account)] = &world.writes[..] else { panic!("one write") };
    let former = vec![Former { peer: peer(1), succession: stated(1) }];
    let expected = Account { name: name("alice"), peer: peer(2), state: AccountState::Held, former };
    assert_eq!(*account, expected);
    world.persist(Ok(()));
    assert_eq!(world.outcomes(old), [Outcome::Done]);
    assert_eq!(world.call(asker, request(1, Some(peer(1)), Some("alice"))), Some(Outcome::BoundTo(peer(2))));
    assert_eq!(world.call(old, register("alice")), Some(Outcome::NameTaken));
    let page = Directory { prefix: String::new(), cursor: None };
    assert_eq!(world.call(asker, page), Some(Outcome::Page { people: vec![], more: false }), "old is nobody");
    let new = world.join(peer(2));
    assert_eq!(world.call(new, register("alice")), Some(Outcome::Done));
    assert_eq!(world.call(asker, request(2, None, Some("alice"))), Some(Outcome::Done));
    assert!(matches!(world.heard(new)[..], [FromBroker::Incoming(_)]));
}

#[test]
fn a_rotation_that_is_repeated_changes_nothing_and_joins_one_that_is_being_written() {
    let mut world = world();
    let old = world.join(peer(1));
    world.register(old, "alice");
    assert_eq!(rotate(&mut world, old, to(2, 1, "alice")), None);
    assert_eq!(rotate(&mut world, old, to(2, 1, "alice")), None);
    assert_eq!(rotate(&mut world, old, to(3, 1, "alice")), Some(Outcome::Unavailable));
    assert_eq!(world.writes.len(), 1);
    world.persist(Ok(()));
    assert_eq!(world.outcomes(old), [Outcome::Done, Outcome::Done]);
    assert_eq!(rotate(&mut world, old, to(2, 1, "alice")), Some(Outcome::Done));
    assert!(world.writes.is_empty());
    assert_eq!(successions(&mut world, old, "alice", 1), [stated(1)]);
}

#[test]
fn only_whoever_holds_a_name_gives_it_away_and_nobody_gets_a_second_one() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    world.register(alice, "alice");
    world.register(bob, "bob");
    assert_eq!(rotate(&mut world, bob, to(3, 2, "alice")), Some(Outcome::NameTaken));
    assert_eq!(rotate(&mut world, bob, to(3, 2, "nobody")), Some(Outcome::NameTaken));
    assert_eq!(rotate(&mut world, alice, to(2, 1, "alice")), Some(Outcome::NameHeld(name("bob"))));
    rotated(&mut world, alice, to(3, 1, "alice"));
    assert_eq!(rotate(&mut world, alice, to(4, 1, "alice")), Some(Outcome::NameTaken), "an old key");
    assert_eq!(world.call(bob, Unregister), None);
    world.persist(Ok(()));
    world.outcomes(bob);
    assert_eq!(rotate(&mut world, bob, to(5, 2, "bob")), Some(Outcome::NameTaken), "given up");
    assert!(world.writes.is_empty());
}

#[test]
fn a_write_that_fails_leaves_the_name_where_it_was() {
    let mut world = world();
    let old = world.join(peer(1));
    world.register(old, "alice");
    assert_eq!(rotate(&mut world, old, to(2, 1, "alice")), None);
    let new = world.join(peer(2));
    assert_eq!(world.call(new, register("other")), Some(Outcome::NameHeld(name("alice"))));
    world.persist(Err(StoreFailed));
    assert_eq!(world.outcomes(old), [Outcome::Unavailable]);
    assert_eq!(world.call(new, register("alice")), Some(Outcome::NameTaken));
    assert_eq!(world.call(old, register("alice")), Some(Outcome::Done));
    assert_eq!(successions(&mut world, old, "alice", 1), []);
    world.register(new, "other");
}

#[test]
fn whoever_was_away_for_several_changes_hears_of_all_of_them_and_nobody_else_of_any() {
    let mut world = world();
    let first = world.join(peer(1));
    world.register(first, "alice");
    rotated(&mut world, first, to(2, 1, "alice"));
    let second = world.join(peer(2));
    rotated(&mut world, second, to(3, 2, "alice"));
    let asker = world.join(peer(9));
    assert_eq!(successions(&mut world, asker, "alice", 1), [stated(1), stated(2)]);
    assert_eq!(successions(&mut world, asker, "alice", 2), [stated(2)]);
    for (called, of) in [("alice", 3), ("alice", 9), ("nobody", 1), ("nobody", 9)] {
        assert_eq!(successions(&mut world, asker, called, of), [], "{called} {of}");
    }
}

#[test]
fn so_many_changes_of_one_name_are_kept_and_the_first_ones_go() {
    let mut world = world();
    let first = world.join(peer(1));
    world.register(first, "alice");
    for n in 1..=12 {
        let conn = world.join(peer(n));
        world.take(first);
        rotated(&mut world, conn, to(n + 1, n, "alice"));
    }
    let asker = world.join(peer(99));
    assert_eq!(successions(&mut world, asker, "alice", 4), []);
    assert_eq!(successions(&mut world, asker, "alice", 5).len(), SUCCESSIONS_MAX);
}

#[test]
fn what_was_stated_outlives_the_broker_and_a_name_that_is_given_up_and_taken_again() {
    let former = vec![Former { peer: peer(1), succession: stated(1) }];
    let account = Account { name: name("alice"), peer: peer(2), state: AccountState::Held, former };
    let mut world = World::with_accounts(Config::default(), [account.clone()]);
    let alice = world.join(peer(2));
    assert_eq!(successions(&mut world, alice, "alice", 1), [stated(1)]);
    assert_eq!(world.call(alice, Unregister), None);
    assert_eq!(world.writes[0].1, Account { state: AccountState::Reserved, ..account.clone() });
    world.persist(Ok(()));
    world.outcomes(alice);
    assert_eq!(successions(&mut world, alice, "alice", 1), [], "nobody is there");
    assert_eq!(world.call(alice, register("alice")), None);
    assert_eq!(world.writes[0].1, account);
    world.persist(Ok(()));
    world.outcomes(alice);
    assert_eq!(successions(&mut world, alice, "alice", 1), [stated(1)]);
}

#[test]
fn a_rotation_whose_signatures_nobody_has_checked_ends_the_link() {
    let mut world = world();
    let alice = world.join(peer(1));
    world.register(alice, "alice");
    world.call(alice, to(2, 1, "alice"));
    assert_eq!(world.closed.get(&alice), Some(&CloseReason::Refused(RefusedCode::Protocol)));
    let again = world.join(peer(1));
    world.registry.rotation_forged(again);
    world.drain();
    assert_eq!(world.closed.get(&again), Some(&CloseReason::Refused(RefusedCode::Signature)));
    assert!(world.writes.is_empty());
}

#[test]
fn questions_and_rotations_are_limited() {
    let pages = Rate { burst: 2, refill: Duration::from_secs(10) };
    let registrations = Rate { burst: 2, refill: Duration::from_secs(60) };
    let mut world = World::new(Config { pages, registrations, ..Config::default() });
    let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
    let alice = world.connect_from(elsewhere);
    world.login(alice, peer(1));
    world.take(alice);
    world.register(alice, "alice");
    let asked = || SuccessionOf { name: name("alice"), peer: peer(9) };
    for _ in 0..2 {
        assert_eq!(world.call(alice, asked()), None);
    }
    assert_eq!(world.call(alice, asked()), Some(Outcome::RateLimited(10)));
    world.take(alice);
    assert_eq!(rotate(&mut world, alice, to(2, 9, "bob")), Some(Outcome::NameTaken));
    assert_eq!(rotate(&mut world, alice, to(2, 1, "alice")), Some(Outcome::RateLimited(60)));
}
