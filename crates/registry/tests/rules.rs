//! The rules of a broker, one by one, without a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use std::time::Duration;

use p2pchat_proto::WallTime;
use p2pchat_proto::broker::*;
use p2pchat_registry::{CloseReason, Config, Rate, StoreFailed};
use support::*;

fn world() -> World {
    World::new(Config::default())
}

fn refused(code: RefusedCode, retry_after: u32) -> FromBroker {
    Refused { code, retry_after }.into()
}

fn cancelled(n: u8, why: CancelledWhy) -> FromBroker {
    Cancelled { request: id(n), why }.into()
}

fn incoming(n: u8, from: u8, from_name: Option<&str>) -> FromBroker {
    Incoming { request: id(n), from: peer(from), name: from_name.map(name), offer: offer(n) }.into()
}

#[test]
fn a_connection_without_a_hello_is_closed_after_five_seconds() {
    let mut world = world();
    let conn = world.connect_from(LOOPBACK);
    world.pass(Duration::from_millis(4_999));
    world.assert_silent();
    world.pass(Duration::from_millis(1));
    assert_eq!(world.closed.get(&conn), Some(&CloseReason::HelloTimedOut));
    world.disconnect(conn);
    assert_eq!(world.registry.poll_timeout(), None);
}

#[test]
fn whoever_speaks_before_the_hello_is_refused() {
    let mut world = world();
    let conn = world.connect_from(LOOPBACK);
    world.call(conn, Ping);
    assert_eq!(world.heard(conn), [refused(RefusedCode::Protocol, 0)]);
    assert_eq!(world.closed.get(&conn), Some(&CloseReason::Refused(RefusedCode::Protocol)));
    world.login(conn, peer(1));
    world.call(conn, Ping);
    assert_eq!(world.heard(conn), []);
    assert_eq!(world.registry.online(), 0);
}

#[test]
fn a_second_hello_is_refused() {
    let mut world = world();
    let conn = world.join(peer(1));
    world.login(conn, peer(2));
    assert_eq!(world.heard(conn), [refused(RefusedCode::Protocol, 0)]);
    assert_eq!(world.registry.online(), 0);
}

#[test]
fn a_hello_of_other_versions_is_refused() {
    let mut world = world();
    let conn = world.connect_from(LOOPBACK);
    let hello = Hello { versions: vec![2, 3], features: 0, peer: peer(1), signature: [0; 64] };
    world.registry.login(conn, 1, &hello, WallTime(7), world.now);
    world.drain();
    assert_eq!(world.heard(conn), [refused(RefusedCode::Version, 0)]);
}

#[test]
fn a_client_that_pings_stays_and_a_silent_one_is_gone_after_forty_seconds() {
    let mut world = world();
    let (alive, dead) = (world.join(peer(1)), world.join(peer(2)));
    for _ in 0..2 {
        world.pass(Duration::from_secs(15));
        world.call(alive, Ping);
        assert!(matches!(world.take(alive)[..], [(call, FromBroker::Pong(_))] if call != 0));
    }
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.closed.get(&dead), None);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.closed.get(&dead), Some(&CloseReason::Silent));
    assert_eq!(world.closed.get(&alive), None);
    assert_eq!(world.registry.online(), 1);
}

#[test]
fn the_newest_login_of_a_key_wins_and_the_older_hears_why() {
    let mut world = world();
    let (watcher, old) = (world.join(peer(9)), world.join(peer(1)));
    assert_eq!(world.call(watcher, Watch { add: vec![peer(1)], remove: vec![] }), Some(Outcome::Done));
    world.take(watcher);
    world.register(old, "alice");
    let new = world.join(peer(1));
    assert_eq!(world.heard(old), [Replaced.into()]);
    assert_eq!(world.closed.get(&old), Some(&CloseReason::Replaced));
    world.disconnect(old);
    // The identity never was offline, and is found over the new connection.
    assert_eq!(world.heard(watcher), []);
    assert_eq!(world.call(watcher, request(1, None, Some("alice"))), Some(Outcome::Done));
    assert_eq!(world.heard(new), [incoming(1, 9, None)]);
}

#[test]
fn of_two_that_register_one_name_at_the_same_instant_one_wins() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    assert_eq!(world.call(alice, register("alice")), None);
    assert_eq!(world.call(bob, register("alice")), Some(Outcome::NameTaken));
    // Nobody waits for the disk: bob goes on meanwhile.
    assert_eq!(world.call(bob, register("bob")), None);
    assert_eq!(world.writes.len(), 2);
    world.persist(Ok(()));
    assert_eq!(world.outcomes(alice), [Outcome::Done]);
    world.persist(Err(StoreFailed));
    assert_eq!(world.outcomes(bob), [Outcome::Unavailable]);
    assert_eq!(world.call(bob, request(1, None, Some("bob"))), Some(Outcome::Unknown));
}

#[test]
fn a_write_that_ends_after_its_client_left_still_binds_the_name() {
    let mut world = world();
    let alice = world.join(peer(1));
    world.call(alice, register("alice"));
    world.disconnect(alice);
    world.persist(Ok(()));
    world.assert_silent();
    let bob = world.join(peer(2));
    assert_eq!(world.call(bob, register("alice")), Some(Outcome::NameTaken));
    assert_eq!(world.call(bob, request(1, None, Some("alice"))), Some(Outcome::NotOnline));
    let alice = world.join(peer(1));
    assert_eq!(world.call(alice, register("alice")), Some(Outcome::Done));
    assert_eq!(world.call(alice, register("alicia")), Some(Outcome::NameHeld(name("alice"))));
}

#[test]
fn a_name_given_up_leaves_the_directory_and_stays_reserved() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    world.register(alice, "alice");
    assert_eq!(world.call(alice, Unregister), None);
    world.persist(Ok(()));
    assert_eq!(world.outcomes(alice), [Outcome::Done]);
    let all = Directory { prefix: String::new(), cursor: None };
    assert_eq!(world.call(bob, all), Some(Outcome::Page { people: vec![], more: false }));
    assert_eq!(world.call(bob, request(1, None, Some("alice"))), Some(Outcome::Unknown));
    assert_eq!(world.call(bob, register("alice")), Some(Outcome::NameTaken));
}

#[test]
fn the_directory_has_who_is_online_page_by_page() {
    let mut world = world();
    for n in 0..=255u8 {
        let conn = world.join(peer(n));
        world.register(conn, &format!("user-{n:03}"));
    }
    let gone = world.connect_from(LOOPBACK);
    world.login(gone, peer(7));
    world.disconnect(gone);
    let reader = world.join(support::peer_of(999));
    world.register(reader, "zoe");
    let mut page = |prefix: &str, cursor: Option<&str>| {
        let cursor = cursor.map(name);
        let Some(Outcome::Page { people, more }) =
            world.call(reader, Directory { prefix: prefix.to_owned(), cursor })
        else {
            panic!("no page")
        };
        (people.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>(), more)
    };
    let (names, more) = page("", None);
    assert_eq!((names.len(), more), (256, false));
    assert!(names.is_sorted() && !names.contains(&"user-007".to_owned()));
    assert_eq!(page("", Some("user-254")), (vec!["user-255".to_owned(), "zoe".to_owned()], false));
    assert_eq!(page("user-25", Some("user-253")).0, ["user-254", "user-255"]);
    assert_eq!(page("user-25", Some("aa")).0.len(), 6);
    assert_eq!(page("z", Some("zz")).0, Vec::<String>::new());
}

#[test]
fn watchers_hear_who_is_there_and_who_comes_and_goes() {
    let mut world = world();
    let (watcher, alice) = (world.join(peer(9)), world.join(peer(1)));
    let add = Watch { add: vec![peer(1), peer(2)], remove: vec![] };
    assert_eq!(world.call(watcher, add), Some(Outcome::Done));
    let peers = vec![(peer(1), Status::Online), (peer(2), Status::Offline)];
    assert_eq!(world.heard(watcher), [PresenceSnapshot { version: 1, peers }.into()]);
    let bob = world.join(peer(2));
    let delta = |version, n, status| FromBroker::from(PresenceDelta { version, peer: peer(n), status });
    assert_eq!(world.heard(watcher), [delta(2, 2, Status::Online)]);
    world.call(alice, Bye);
    assert_eq!(world.closed.get(&alice), Some(&CloseReason::Left));
    assert_eq!(world.heard(watcher), [delta(3, 1, Status::Offline)]);
    assert_eq!(world.call(watcher, Watch { add: vec![], remove: vec![peer(2)] }), Some(Outcome::Done));
    world.disconnect(bob);
    assert_eq!(world.heard(watcher), []);
}

#[test]
fn a_roster_past_its_cap_changes_nothing() {
    let mut world = world();
    let (watcher, alice) = (world.join(peer(9)), world.join(peer(1)));
    let many: Vec<_> = (0..WATCH_MAX as u32).map(|n| support::peer_of(1_000 + n)).collect();
    let (first, second) = many.split_at(WATCH_BATCH);
    for batch in [first, second] {
        assert_eq!(world.call(watcher, Watch { add: batch.to_vec(), remove: vec![] }), Some(Outcome::Done));
        assert_eq!(world.heard(watcher).len(), 1);
    }
    let one_more = Watch { add: vec![peer(1)], remove: vec![] };
    assert_eq!(world.call(watcher, one_more), Some(Outcome::Unavailable));
    world.disconnect(alice);
    assert_eq!(world.heard(watcher), []);
    let swap = Watch { add: vec![peer(1)], remove: vec![many[0]] };
    assert_eq!(world.call(watcher, swap), Some(Outcome::Done));
}

#[test]
fn a_request_by_name_is_answered_once_and_endpoints_pass_both_ways() {
    let mut world = world();
    let (alice, bob, eve) = (world.join(peer(1)), world.join(peer(2)), world.join(peer(3)));
    world.register(alice, "alice");
    world.register(bob, "bob");
    assert_eq!(world.call(bob, request(1, None, Some("alice"))), Some(Outcome::Done));
    assert_eq!(world.heard(alice), [incoming(1, 2, Some("bob"))]);
    for message in [ToBroker::from(accept(id(1))), decline(id(1)).into(), Cancel { request: id(1) }.into()] {
        assert_eq!(world.call(eve, message), Some(Outcome::NoSuchRequest), "a third party");
    }
    for conn in [alice, bob] {
        assert_eq!(world.call(conn, endpoints(id(1))), Some(Outcome::NoSuchRequest), "before the answer");
    }
    assert_eq!(world.call(bob, accept(id(1))), Some(Outcome::NoSuchRequest), "one's own request");
    assert_eq!(world.call(alice, accept(id(1))), Some(Outcome::Done));
    let answer = accept(id(1)).answer;
    assert_eq!(world.heard(bob), [Answered { request: id(1), from: peer(1), answer }.into()]);
    assert_eq!(world.call(alice, accept(id(1))), Some(Outcome::NoSuchRequest), "twice");
    assert_eq!(world.call(alice, decline(id(1))), Some(Outcome::NoSuchRequest), "after accepting");
    assert_eq!(world.call(bob, Cancel { request: id(1) }), Some(Outcome::NoSuchRequest), "too late");
    for (from, to) in [(alice, bob), (bob, alice), (alice, bob)] {
        assert_eq!(world.call(from, endpoints(id(1))), Some(Outcome::Done));
        assert_eq!(world.heard(to), [endpoints(id(1)).into()]);
    }
    assert_eq!(world.call(eve, endpoints(id(1))), Some(Outcome::NoSuchRequest));
    for _ in 0..6 {
        world.pass(Duration::from_secs(10));
        for conn in [alice, bob, eve] {
            world.call(conn, Ping);
            world.take(conn);
        }
    }
    assert_eq!(world.call(bob, endpoints(id(1))), Some(Outcome::NoSuchRequest), "after its minute");
    world.assert_silent();
}

#[test]
fn a_cancellation_before_the_answer_ends_the_request_for_both() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    assert_eq!(world.call(bob, request(1, Some(peer(1)), None)), Some(Outcome::Done));
    assert_eq!(world.call(bob, Cancel { request: id(1) }), Some(Outcome::Done));
    assert_eq!(world.heard(alice), [incoming(1, 2, None), cancelled(1, CancelledWhy::TakenBack)]);
    assert_eq!(world.call(alice, accept(id(1))), Some(Outcome::NoSuchRequest));
    assert_eq!(world.call(bob, Cancel { request: id(1) }), Some(Outcome::NoSuchRequest));
    world.assert_silent();
}

#[test]
fn whom_a_request_finds() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    world.register(alice, "alice");
    world.register(bob, "bob");
    let mut ask = |to, to_name| world.call(bob, request(1, to, to_name));
    assert_eq!(ask(None, None), Some(Outcome::Unknown));
    assert_eq!(ask(None, Some("nobody")), Some(Outcome::Unknown));
    assert_eq!(ask(Some(peer(7)), None), Some(Outcome::Unknown));
    assert_eq!(ask(Some(peer(7)), Some("nobody")), Some(Outcome::Unknown));
    assert_eq!(ask(Some(peer(2)), None), Some(Outcome::Unknown), "oneself");
    assert_eq!(ask(None, Some("bob")), Some(Outcome::Unknown), "oneself");
    assert_eq!(ask(Some(peer(7)), Some("alice")), Some(Outcome::BoundTo(peer(1))));
    // The pin decides; a name that nobody holds contradicts nothing.
    assert_eq!(ask(Some(peer(1)), Some("nobody")), Some(Outcome::Done));
    world.take(alice);
    world.disconnect(alice);
    assert_eq!(world.heard(bob), [cancelled(1, CancelledWhy::Gone)]);
    let mut ask = |to, to_name| world.call(bob, request(1, to, to_name));
    assert_eq!(ask(None, Some("alice")), Some(Outcome::NotOnline));
    assert_eq!(ask(Some(peer(1)), None), Some(Outcome::NotOnline));
}

#[test]
fn a_renewed_request_lives_on_and_is_not_forwarded_again() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    let keep = |world: &mut World, seconds: u64| {
        for _ in 0..seconds / 10 {
            world.pass(Duration::from_secs(10));
            for conn in [alice, bob] {
                world.call(conn, Ping);
            }
        }
        let real = |(_, message): (Call, FromBroker)| (message != Pong.into()).then_some(message);
        [alice, bob].map(|conn| world.take(conn).into_iter().filter_map(real).collect::<Vec<_>>())
    };
    world.call(bob, request(1, Some(peer(1)), None));
    assert_eq!(keep(&mut world, 100), [vec![incoming(1, 2, None)], vec![]]);
    assert_eq!(world.call(bob, request(1, Some(peer(1)), None)), Some(Outcome::Done));
    assert_eq!(keep(&mut world, 110), [vec![], vec![]]);
    let expired = vec![cancelled(1, CancelledWhy::Expired)];
    assert_eq!(keep(&mut world, 10), [expired.clone(), expired]);
    assert_eq!(world.call(alice, accept(id(1))), Some(Outcome::NoSuchRequest));
}

#[test]
fn another_request_to_the_same_person_takes_the_place_of_the_first() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    world.call(bob, request(1, Some(peer(1)), None));
    assert_eq!(world.call(bob, request(2, Some(peer(1)), None)), Some(Outcome::Done));
    assert_eq!(
        world.heard(alice),
        [incoming(1, 2, None), cancelled(1, CancelledWhy::TakenBack), incoming(2, 2, None)]
    );
    assert_eq!(world.heard(bob), []);
    // Requests that cross are two: each side may ask the other.
    assert_eq!(world.call(alice, request(3, Some(peer(2)), None)), Some(Outcome::Done));
    assert_eq!(world.heard(bob), [incoming(3, 1, None)]);
}

#[test]
fn both_sides_leaving_are_gone_for_the_other() {
    for asker_leaves in [true, false] {
        let mut world = world();
        let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
        world.call(bob, request(1, Some(peer(1)), None));
        world.take(alice);
        let (leaves, stays) = if asker_leaves { (bob, alice) } else { (alice, bob) };
        world.disconnect(leaves);
        assert_eq!(world.heard(stays), [cancelled(1, CancelledWhy::Gone)]);
    }
}

#[test]
fn requests_are_limited_for_each_pair_and_each_connection() {
    let config = Config {
        requests: Rate { burst: 3, refill: Duration::from_secs(1) },
        requests_per_pair: Rate { burst: 2, refill: Duration::from_secs(20) },
        ..Config::default()
    };
    let mut world = World::new(config);
    let (_, bob) = (world.join(peer(1)), world.join(peer(2)));
    for n in 0..2 {
        assert_eq!(world.call(bob, request(n, Some(peer(1)), None)), Some(Outcome::Done));
    }
    assert_eq!(world.call(bob, request(3, Some(peer(1)), None)), Some(Outcome::RateLimited(20)));
    assert_eq!(world.call(bob, request(4, None, Some("nobody"))), Some(Outcome::RateLimited(1)));
    // Coming back does not help against the pair's limit.
    world.disconnect(bob);
    let bob = world.join(peer(2));
    assert_eq!(world.call(bob, request(5, Some(peer(1)), None)), Some(Outcome::RateLimited(20)));
    world.pass(Duration::from_secs(39));
    world.pass(Duration::from_secs(100));
    assert_eq!(world.registry.poll_timeout(), None, "nothing of it is kept");
}

#[test]
fn registrations_are_limited_for_each_address_and_free_on_loopback() {
    let mut world = world();
    let there = "192.0.2.1".parse().unwrap();
    for n in 0..6u8 {
        let conn = world.connect_from(there);
        world.login(conn, peer(n));
        world.take(conn);
        let outcome = world.call(conn, register(&format!("user-{n}")));
        assert_eq!(outcome, (n == 5).then_some(Outcome::RateLimited(720)));
        if n < 5 {
            world.persist(Ok(()));
            world.take(conn);
            // One's own name costs nothing.
            assert_eq!(world.call(conn, register(&format!("user-{n}"))), Some(Outcome::Done));
        }
    }
    let here = world.join(peer(100));
    for n in 0..20 {
        assert_eq!(world.call(here, register("user-0")), Some(Outcome::NameTaken), "{n}");
    }
}

#[test]
fn a_full_broker_says_so() {
    let mut world = World::new(Config { max_connections: 1, ..Config::default() });
    let first = world.join(peer(1));
    let second = world.connect_from(LOOPBACK);
    assert_eq!(world.heard(second), [refused(RefusedCode::Full, 30)]);
    assert_eq!(world.closed.get(&second), Some(&CloseReason::Refused(RefusedCode::Full)));
    world.disconnect(second);
    world.disconnect(first);
    world.join(peer(2));
}

#[test]
fn connections_are_limited_for_each_address_and_free_on_loopback() {
    let config = Config {
        connections_per_address: 2,
        connects: Rate { burst: 4, refill: Duration::from_secs(10) },
        ..Config::default()
    };
    let mut world = World::new(config);
    let there = "2001:db8::1".parse().unwrap();
    let conns = [(); 3].map(|()| world.connect_from(there));
    assert_eq!(world.heard(conns[2]), [refused(RefusedCode::RateLimited, 30)]);
    for conn in conns {
        world.disconnect(conn);
    }
    let conns = [(); 3].map(|()| world.connect_from(there));
    assert_eq!(world.heard(conns[1]), []);
    assert_eq!(world.heard(conns[2]), [refused(RefusedCode::RateLimited, 30)]);
    for conn in conns {
        world.disconnect(conn);
    }
    let too_soon = world.connect_from(there);
    assert_eq!(world.heard(too_soon), []);
    assert_eq!(world.closed.get(&too_soon), Some(&CloseReason::TooOften));
    for _ in 0..10 {
        let conn = world.connect_from(LOOPBACK);
        assert_eq!(world.heard(conn), []);
    }
}

#[test]
fn a_flood_of_messages_ends_the_connection() {
    let config = Config { messages: Rate { burst: 3, refill: Duration::from_secs(1) }, ..Config::default() };
    let mut world = World::new(config);
    let conn = world.join(peer(1));
    for _ in 0..5 {
        world.call(conn, Ping);
    }
    let said: Vec<_> = world.take(conn).into_iter().map(|(_, message)| message).collect();
    assert_eq!(said, [Pong.into(), Pong.into(), Pong.into(), refused(RefusedCode::RateLimited, 1)]);
    assert_eq!(world.closed.get(&conn), Some(&CloseReason::Refused(RefusedCode::RateLimited)));
}

#[test]
fn an_unknown_kind_is_answered_and_changes_nothing() {
    let mut world = world();
    let conn = world.join(peer(1));
    world.registry.unknown_kind(conn, 8, 0x7f, world.now);
    world.drain();
    assert_eq!(world.take(conn), [(8, Unsupported { kind: 0x7f }.into())]);
    world.call(conn, Unsupported { kind: 0x8c });
    world.assert_silent();
    assert_eq!(world.registry.online(), 1);
}

#[test]
fn what_is_forged_or_malformed_is_refused_with_the_reason() {
    let mut world = world();
    let (forger, garbled) = (world.connect_from(LOOPBACK), world.join(peer(1)));
    world.registry.hello_forged(forger);
    world.registry.malformed(garbled);
    world.drain();
    assert_eq!(world.heard(forger), [refused(RefusedCode::Signature, 0)]);
    assert_eq!(world.heard(garbled), [refused(RefusedCode::Protocol, 0)]);
    assert_eq!(world.registry.online(), 0);
}

#[test]
fn a_stop_tells_everybody_to_come_back_spread_out() {
    let mut world = world();
    let conns: Vec<_> = (0..4).map(|n| world.join(peer(n))).collect();
    world.call(conns[0], Watch { add: vec![peer(1)], remove: vec![] });
    world.take(conns[0]);
    world.registry.drain();
    world.drain();
    let told: Vec<_> = conns.iter().flat_map(|conn| world.heard(*conn)).collect();
    let expected = [1_000, 2_000, 3_000, 4_000].map(|reconnect_in| Restarting { reconnect_in }.into());
    assert_eq!(told, expected);
    assert!(conns.iter().all(|conn| world.closed.get(conn) == Some(&CloseReason::Draining)));
    for conn in conns {
        world.disconnect(conn);
    }
    assert_eq!(world.registry.poll_timeout(), None);
}

#[test]
fn after_a_stop_nobody_counts_as_online_and_who_comes_again_hears_nothing_of_before() {
    let mut world = world();
    let (alice, bob) = (world.join(peer(1)), world.join(peer(2)));
    world.register(alice, "alice");
    assert_eq!(world.call(bob, request(1, Some(peer(1)), None)), Some(Outcome::Done));
    world.registry.drain();
    world.drain();
    assert_eq!(world.registry.online(), 0);
    // Its socket is still there: the older connection hears nothing after its end.
    let again = world.join(peer(2));
    assert_eq!(world.call(again, request(2, None, Some("alice"))), Some(Outcome::NotOnline));
    for conn in [alice, bob, again] {
        world.disconnect(conn);
    }
    world.pass(Duration::from_secs(120));
    assert_eq!(world.registry.poll_timeout(), None);
}
