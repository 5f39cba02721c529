//! Somebody who was not introduced sends to a peer's port.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_harness::actions::say;
use p2pchat_harness::event::Event;
use p2pchat_harness::peer::Peer;
use p2pchat_harness::stranger::{Flood, Stranger};
use p2pchat_harness::world::{World, listen, udp_address};

/// Datagrams of each kind that have to reach the peer.
const EACH: u64 = 100_000;
/// Datagrams between two looks at how many arrived, few enough for a socket's buffer.
const BURST: u64 = 250;
/// Bursts after which a peer that hears nothing more is deaf.
const BURSTS_MAX: u64 = 10 * EACH / BURST;

fn counter(info: &Event, name: &str) -> u64 {
    info.field("socket")[name].as_u64().unwrap()
}

/// Sends until `peer` has heard enough of it; its counters before and after.
fn flood(peer: &mut Peer, stranger: &mut Stranger, kind: Flood) -> (Event, Event) {
    let before = peer.info().unwrap();
    for _ in 0..BURSTS_MAX {
        stranger.flood(kind, BURST);
        let now = peer.info().unwrap();
        if counter(&now, "received") - counter(&before, "received") >= EACH {
            return (before, now);
        }
    }
    panic!("the peer did not hear {EACH} datagrams\n{}", peer.process.trace());
}

#[test]
fn a_flood_gets_no_answer_and_costs_no_key_exchange() {
    let world = World::new().unwrap();
    let mut alice = listen(&world.person("alice").unwrap()).unwrap();
    let address = udp_address(&mut alice).unwrap();
    for (seed, kind) in [(1, Flood::Random), (2, Flood::WellFormed)] {
        let mut stranger = Stranger::at(address, seed).unwrap();
        let (before, after) = flood(&mut alice, &mut stranger, kind);
        assert_eq!(stranger.answers().unwrap(), 0, "{kind:?}");
        for unchanged in ["answered", "key_exchanges"] {
            assert_eq!(counter(&before, unchanged), counter(&after, unchanged), "{kind:?} {unchanged}");
        }
        let refused = |info: &Event| counter(info, "mac_failed") + counter(info, "dropped");
        assert!(refused(&after) - refused(&before) >= EACH, "{kind:?}: {before} {after}");
    }
    assert_eq!(alice.quit().unwrap(), 0);
}

#[test]
fn a_flood_during_a_session_disturbs_nobody() {
    let world = World::new().unwrap();
    let alice = world.person("alice").unwrap().accept_everything();
    let mut alice = listen(&alice).unwrap();
    let address = udp_address(&mut alice).unwrap();
    let mut bob = world.person("bob").unwrap().start(&["connect", "--to", "alice"]).unwrap();
    say(&mut bob, &mut alice, "before").unwrap();
    let before = alice.info().unwrap();
    // The same counter does move when somebody was introduced.
    assert!(counter(&before, "key_exchanges") > 0 && counter(&before, "answered") > 0, "{before}");
    let mut stranger = Stranger::at(address, 3).unwrap();
    for number in 0..20 {
        stranger.flood(Flood::WellFormed, BURST);
        stranger.flood(Flood::Random, BURST);
        say(&mut bob, &mut alice, &format!("bob {number}")).unwrap();
        say(&mut alice, &mut bob, &format!("alice {number}")).unwrap();
    }
    let after = alice.info().unwrap();
    assert_eq!(stranger.answers().unwrap(), 0);
    assert_eq!(counter(&before, "key_exchanges"), counter(&after, "key_exchanges"));
}
