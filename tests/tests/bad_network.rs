//! A network that loses, doubles, reorders and delays.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::time::Duration;

use p2pchat_harness::actions::say;
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::Peer;
use p2pchat_harness::relay::{Direction, Faults, UdpRelay};
use p2pchat_harness::world::{Paths, World};

/// Messages of each side.
const MESSAGES: usize = 2000;
/// Datagrams in which the texts, 2 MB in all, hardly fit: of 1,200 bytes it takes 1,700, and path MTU discovery
/// may find larger ones.
const MANY: u64 = 1000;
/// How long all of them may take.
const ALL: Duration = Duration::from_secs(240);

/// The `number`-th message: from a few bytes to more than a datagram holds.
fn text(from: &str, number: usize) -> String {
    format!("{from} {number} {}", "~".repeat(number * 37 % 1000))
}

fn expect_in_order(peer: &mut Peer, from: &str) {
    for number in 0..MESSAGES {
        // Whatever comes first must be the next: neither an earlier one again nor a later one.
        let came = peer.expect(&event("message").with("mine", false), ALL);
        assert_eq!(came.text("text"), text(from, number));
    }
}

fn assert_bad(relay: &UdpRelay, seed: u64) {
    for direction in [Direction::In, Direction::Out] {
        let counts = relay.counts(direction);
        if counts.came > MANY / 4 {
            let share = counts.dropped as f64 / counts.came as f64;
            assert!((0.15..0.45).contains(&share), "seed {seed}: {counts:?}");
            assert!(counts.duplicated > 0 && counts.reordered > 0, "seed {seed}: {counts:?}");
        }
    }
}

#[test]
fn two_thousand_messages_each_way_arrive_once_and_in_order() {
    let seed = 30_05_20;
    let world = World::new().unwrap();
    let paths = Paths::new(seed).unwrap();
    let faults = Faults { drop: 0.3, duplicate: 0.05, reorder: 0.2, ..Faults::default() };
    paths.set_udp_faults(faults);
    let (mut alice, mut bob) = paths.alice_and_bob(&world).unwrap();
    for number in 0..MESSAGES {
        alice.send_line(&text("alice", number)).unwrap();
        bob.send_line(&text("bob", number)).unwrap();
    }
    expect_in_order(&mut bob, "alice");
    expect_in_order(&mut alice, "bob");
    // Nothing comes a second time behind the last one.
    say(&mut alice, &mut bob, "the end of alice").unwrap();
    say(&mut bob, &mut alice, "the end of bob").unwrap();
    for peer in [&mut alice, &mut bob] {
        let more = peer.take_events();
        assert!(!more.iter().any(|e| e.name() == "message" && e.field("mine") == false), "seed {seed}");
        assert!(!more.iter().any(|e| session("lost").matches(e)), "seed {seed}");
    }
    let both = |relay: &UdpRelay| relay.counts(Direction::In).came + relay.counts(Direction::Out).came;
    let came: u64 = paths.udp().into_iter().map(both).sum();
    assert!(came > MANY, "only {came} datagrams went through the relays");
    paths.udp().iter().for_each(|relay| assert_bad(relay, seed));
}
