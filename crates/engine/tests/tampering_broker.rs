//! A broker that changes what it carries: each field of what two people exchange through it is
//! changed in turn, and each time it is found out before the side that holds the changed value
//! has sent a single datagram.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, dead_code)]

mod world;

use std::time::Duration;

use p2pchat_engine::event::SessionState;
use p2pchat_engine::{AcceptPolicy, Command, Event, Failure, Pin};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::broker::{AnswerBody, FromBroker, Opaque};
use p2pchat_proto::codec::{decode, encode};
use p2pchat_proto::offer::{Addressee, OfferBody, OfferKind, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, WallTime};
use world::{Manner, World, name};

const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice accepts everybody; Bob knows her already.
fn attacked(tamper: impl FnMut(&mut FromBroker) + 'static) -> World {
    let mut world = World::new(1);
    let alice = World::identity(ALICE).peer_id();
    let everyone = Manner { accept: AcceptPolicy::Everyone, ..Manner::default() };
    let knows_alice = Manner {
        pins: vec![Pin { peer: alice, name: name("alice"), broker: world.broker_key() }],
        ..Manner::default()
    };
    let link = LinkConfig::default();
    world.join("alice", everyone, &link);
    world.join("bob", knows_alice, &link);
    world.run_for(Duration::from_secs(2));
    world.broker.tamper = Some(Box::new(tamper));
    world.connect(BOB, "alice");
    world.run_for(Duration::from_secs(30));
    world
}

/// Changes the offer of a request on its way to Alice.
fn request(mut change: impl FnMut(&mut OfferBody) + 'static) -> World {
    attacked(move |message| {
        if let FromBroker::Incoming(incoming) = message {
            rewrite(&mut incoming.offer, &mut change);
        }
    })
}

/// Changes the offer of an acceptance on its way to Bob.
fn acceptance(mut change: impl FnMut(&mut OfferBody) + 'static) -> World {
    attacked(move |message| {
        if let FromBroker::Answered(answered) = message
            && let AnswerBody::Accept { offer, .. } = &mut answered.answer
        {
            rewrite(offer, &mut change);
        }
    })
}

fn rewrite(offer: &mut SignedOffer, change: &mut impl FnMut(&mut OfferBody)) {
    let mut body: OfferBody = decode(&offer.body).expect("an honest offer");
    change(&mut body);
    offer.body = encode(&body).expect("within its cap");
}

fn errors(world: &World, who: usize) -> Vec<&Failure> {
    let events = world.people[who].events.iter();
    events
        .filter_map(|event| match event {
            Event::Error(failure) | Event::Failed { failure, .. } => Some(failure),
            _ => None,
        })
        .collect()
}

#[track_caller]
fn found_out_by(world: &World, victim: usize) {
    assert_eq!(world.people[victim].datagrams, 0, "the victim sent datagrams");
    assert!(!world.people.iter().any(world::Member::is_up));
    let errors = errors(world, victim);
    assert!(
        errors.iter().any(|failure| matches!(
            failure,
            Failure::Tampered { .. } | Failure::ClocksDiffer { .. } | Failure::KeyChanged { .. }
        )),
        "{errors:?}"
    );
}

#[test]
fn without_tampering_the_two_meet() {
    let world = attacked(|_| {});
    assert!(world.people.iter().all(world::Member::is_up), "{:?}", errors(&world, BOB));
}

macro_rules! changed {
    ($($name:ident($body:ident) $change:block)*) => {
        mod in_the_request {
            use super::*;
            $(#[test] fn $name() { found_out_by(&request(|$body| $change), ALICE); })*
        }
        mod in_the_acceptance {
            use super::*;
            $(#[test] fn $name() { found_out_by(&acceptance(|$body| $change), BOB); })*
        }
    };
}

changed! {
    another_version(body) { body.version += 1; }
    the_other_kind(body) {
        body.kind = if body.kind == OfferKind::Request { OfferKind::Accept } else { OfferKind::Request };
    }
    another_request_id(body) { body.request = RequestId([7; 16]); }
    another_signer(body) { body.from = PeerId([7; 32]); }
    another_addressee(body) { body.to = Addressee::Peer(PeerId([7; 32])); }
    another_static_key(body) { body.noise_static = [9; 32]; }
    another_ephemeral_key(body) { body.eph_x25519 = [9; 32]; }
    another_kem_part(body) { body.kem[100] ^= 1; }
    no_kem_part(body) { body.kem.clear(); }
    a_weaker_suite(body) { body.suites = Suites::CHACHA20_POLY1305; }
    no_suite(body) { body.suites = Suites(0); }
    other_features(body) { body.features ^= 1; }
    another_broker(body) { body.broker_key = BrokerKey([7; 32]); }
    an_older_time(body) { body.made = WallTime(body.made.0 - 3_600_000); }
    another_answered_request(body) { body.answers = Some([7; 32]); }
}

#[test]
fn a_changed_signature_of_the_request_is_found_out() {
    let world = attacked(|message| {
        if let FromBroker::Incoming(incoming) = message {
            incoming.offer.signature[0] ^= 1;
        }
    });
    found_out_by(&world, ALICE);
}

#[test]
fn another_identity_for_a_pinned_name_is_found_out() {
    let world = attacked(|message| {
        if let FromBroker::Answered(answered) = message {
            answered.from = PeerId([7; 32]);
        }
    });
    found_out_by(&world, BOB);
}

#[test]
fn another_asker_than_the_login_is_found_out() {
    let world = attacked(|message| {
        if let FromBroker::Incoming(incoming) = message {
            incoming.from = PeerId([7; 32]);
        }
    });
    found_out_by(&world, ALICE);
}

#[test]
fn changed_endpoints_in_the_answer_are_found_out() {
    let world = attacked(|message| {
        if let FromBroker::Answered(answered) = message
            && let AnswerBody::Accept { endpoints, .. } = &mut answered.answer
        {
            let mut bytes = endpoints.as_slice().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            *endpoints = Opaque::new(bytes).unwrap();
        }
    });
    found_out_by(&world, BOB);
}

#[test]
fn changed_endpoints_of_the_asker_are_found_out() {
    let world = attacked(|message| {
        if let FromBroker::Endpoints(endpoints) = message {
            let mut bytes = endpoints.sealed.as_slice().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            endpoints.sealed = Opaque::new(bytes).unwrap();
        }
    });
    found_out_by(&world, ALICE);
}

#[test]
fn a_broker_that_says_everything_twice_does_no_harm() {
    let mut world = attacked(|_| {});
    assert!(world.people.iter().all(world::Member::is_up));
    for who in [ALICE, BOB] {
        let peer = world.people[1 - who].peer;
        world.command(who, Command::Close { peer });
    }
    world.run_for(Duration::from_secs(5));
    world.broker.repeat = true;
    world.connect(BOB, "alice");
    world.run_for(Duration::from_secs(5));
    assert!(world.people.iter().all(world::Member::is_up), "{:?}", errors(&world, ALICE));
    let ups =
        |who: usize| world.people[who].sessions().iter().filter(|&&state| state == SessionState::Up).count();
    assert_eq!([ups(ALICE), ups(BOB)], [2, 2]);
}
