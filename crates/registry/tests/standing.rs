//! Who sees whom, and whose requests are passed on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use p2pchat_proto::broker::*;
use p2pchat_proto::{Availability, ContactPolicy, PeerId, Standing, Visibility, WallTime};
use p2pchat_registry::{Config, ConnId};
use support::*;

const ALICE: u8 = 1;
const BOB: u8 = 2;

fn world() -> World {
    World::new(Config::default())
}

/// A connection that is logged in with these features.
fn join_with(world: &mut World, who: PeerId, features: u64) -> ConnId {
    let conn = world.connect_from(LOOPBACK);
    let hello = Hello { versions: vec![1], features, peer: who, signature: [0; 64] };
    world.registry.login(conn, 1, &hello, WallTime(7), world.now);
    world.drain();
    world.take(conn);
    conn
}

fn stand(world: &mut World, conn: ConnId, standing: Standing) {
    assert_eq!(world.call(conn, Profile { standing }), Some(Outcome::Done));
}

fn watch(world: &mut World, conn: ConnId, whom: u8) -> Status {
    assert_eq!(world.call(conn, Watch { add: vec![peer(whom)], remove: vec![] }), Some(Outcome::Done));
    let heard = world.heard(conn);
    let Some(FromBroker::PresenceSnapshot(snapshot)) = heard.first() else { panic!("{heard:?}") };
    snapshot.peers[0].1
}

fn heard(world: &mut World, conn: ConnId) -> Vec<Status> {
    let status = |message| match message {
        FromBroker::PresenceDelta(delta) => delta.status,
        other => panic!("{other:?}"),
    };
    world.heard(conn).into_iter().map(status).collect()
}

fn listed(world: &mut World, conn: ConnId) -> Vec<(String, Status)> {
    let page = Directory { prefix: String::new(), cursor: None };
    let Some(Outcome::Page { people, .. }) = world.call(conn, page) else { panic!("no page") };
    people.into_iter().map(|entry| (entry.name.to_string(), entry.status)).collect()
}

fn with_status(status: Availability) -> Standing {
    Standing { status, ..Standing::default() }
}

#[test]
fn a_status_is_told_to_watchers_and_shown_in_the_directory_once_it_changes() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(ALICE)), join_with(&mut world, peer(BOB), FEATURE_STANDING));
    let old = join_with(&mut world, peer(3), 0);
    world.register(alice, "alice");
    assert_eq!(watch(&mut world, bob, ALICE), Status::Online);
    assert_eq!(watch(&mut world, old, ALICE), Status::Online);
    stand(&mut world, alice, with_status(Availability::Away));
    assert_eq!(heard(&mut world, bob), [Status::Away]);
    assert_eq!(heard(&mut world, old), [], "it would not understand it");
    stand(&mut world, alice, with_status(Availability::Away));
    stand(&mut world, alice, with_status(Availability::Busy));
    assert_eq!(heard(&mut world, bob), [Status::Busy]);
    assert_eq!(listed(&mut world, bob), [("alice".to_owned(), Status::Busy)]);
    assert_eq!(listed(&mut world, old), [("alice".to_owned(), Status::Online)]);
    stand(&mut world, alice, Standing::default());
    assert_eq!(heard(&mut world, bob), [Status::Online]);
}

#[test]
fn somebody_invisible_cannot_be_told_from_somebody_who_is_away() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(ALICE)), world.join(peer(BOB)));
    world.register(alice, "alice");
    assert_eq!(watch(&mut world, bob, ALICE), Status::Online);
    stand(&mut world, alice, with_status(Availability::Invisible));
    assert_eq!(heard(&mut world, bob), [Status::Offline]);
    assert_eq!(watch(&mut world, bob, ALICE), Status::Offline);
    assert_eq!(listed(&mut world, bob), []);
    let asked = |world: &mut World, n| {
        let by_name = world.call(bob, request(n, None, Some("alice")));
        (by_name, world.call(bob, request(n + 1, Some(peer(ALICE)), None)))
    };
    let hidden = asked(&mut world, 1);
    assert_eq!(world.heard(alice), [], "no request reaches her");
    // What she asks herself goes out.
    assert_eq!(world.call(alice, request(9, Some(peer(BOB)), None)), Some(Outcome::Done));
    let asked_by = Incoming { request: id(9), from: peer(ALICE), name: Some(name("alice")), offer: offer(9) };
    assert_eq!(world.heard(bob), [asked_by.into()]);
    world.call(alice, Cancel { request: id(9) });
    world.take(bob);
    world.disconnect(alice);
    assert_eq!(heard(&mut world, bob), [], "nor does it show that she leaves");
    assert_eq!(asked(&mut world, 3), hidden);
    let alice = world.join(peer(ALICE));
    assert_eq!(heard(&mut world, bob), [Status::Online], "a new login says anew how it stands");
    world.disconnect(alice);
}

#[test]
fn nobody_hears_of_a_login_that_is_held_back_before_its_profile() {
    let mut world = world();
    let bob = world.join(peer(BOB));
    assert_eq!(watch(&mut world, bob, ALICE), Status::Offline);
    let held_back = FEATURE_STANDING | FEATURE_HELD_BACK;
    let alice = join_with(&mut world, peer(ALICE), held_back);
    world.register(alice, "alice");
    assert_eq!((heard(&mut world, bob), listed(&mut world, bob)), (vec![], vec![]));
    assert_eq!(world.call(bob, request(1, None, Some("alice"))), Some(Outcome::NotOnline));
    stand(&mut world, alice, with_status(Availability::Busy));
    assert_eq!(heard(&mut world, bob), [Status::Online]);
    assert_eq!(listed(&mut world, bob), [("alice".to_owned(), Status::Online)]);
    // A newer login that is held back hides the identity again, as the older one has ended.
    let newer = join_with(&mut world, peer(ALICE), held_back);
    assert_eq!((heard(&mut world, bob), listed(&mut world, bob)), (vec![Status::Offline], vec![]));
    stand(&mut world, newer, Standing::default());
    assert_eq!(heard(&mut world, bob), [Status::Online]);
}

#[test]
fn a_contacts_only_visibility_follows_the_roster() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(ALICE)), world.join(peer(BOB)));
    world.register(alice, "alice");
    assert_eq!(watch(&mut world, bob, ALICE), Status::Online);
    stand(&mut world, alice, Standing { visibility: Visibility::Contacts, ..Standing::default() });
    assert_eq!((heard(&mut world, bob), listed(&mut world, bob)), (vec![Status::Offline], vec![]));
    watch(&mut world, alice, BOB);
    assert_eq!(heard(&mut world, bob), [Status::Online], "from now on she knows him");
    assert_eq!(listed(&mut world, bob), [], "and is no more public for it");
    world.call(alice, Watch { add: vec![], remove: vec![peer(BOB)] });
    assert_eq!(heard(&mut world, bob), [Status::Offline]);
    watch(&mut world, alice, BOB);
    stand(&mut world, alice, Standing { visibility: Visibility::Private, ..Standing::default() });
    assert_eq!(heard(&mut world, bob), [Status::Online, Status::Offline]);
    // Whoever knows the name may still ask.
    assert_eq!(world.call(bob, request(1, None, Some("alice"))), Some(Outcome::Done));
}

#[test]
fn requests_are_passed_on_as_the_policy_says() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(ALICE)), world.join(peer(BOB)));
    world.register(alice, "alice");
    let policy = |policy| Standing { policy, ..Standing::default() };
    let mut n = 0;
    let mut ask = |world: &mut World| {
        n += 1;
        let outcome = world.call(bob, request(n, None, Some("alice")));
        world.call(bob, Cancel { request: id(n) });
        world.take(alice);
        outcome
    };
    stand(&mut world, alice, policy(ContactPolicy::Nobody));
    assert_eq!(ask(&mut world), Some(Outcome::Unknown));
    stand(&mut world, alice, policy(ContactPolicy::Contacts));
    assert_eq!(ask(&mut world), Some(Outcome::Unknown));
    watch(&mut world, alice, BOB);
    assert_eq!(ask(&mut world), Some(Outcome::Done));
    stand(&mut world, alice, policy(ContactPolicy::Nobody));
    assert_eq!(ask(&mut world), Some(Outcome::Unknown));
    stand(&mut world, alice, policy(ContactPolicy::Everyone));
    assert_eq!(ask(&mut world), Some(Outcome::Done));
}
