//! What the broker is told where a name is to go to another key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod world;

use std::sync::Arc;
use std::time::Duration;

use p2pchat_engine::Failure;
use p2pchat_engine::rotation::{Rotation, RotationTerms};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::BrokerKey;
use p2pchat_proto::broker::{FromBroker, Unsupported};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use world::{Manner, World, name};

/// From the member of the first number to that of the second.
fn terms(old: usize, new: usize, called: &str) -> RotationTerms {
    RotationTerms {
        old: Arc::new(World::identity(old)),
        new: Arc::new(World::identity(new)),
        statement: World::statement(old, new),
        name: name(called),
        broker: "broker.example:7770".to_owned(),
        broker_key: None,
    }
}

#[test]
fn a_name_goes_to_the_new_key_and_who_heard_no_answer_asks_again() {
    let mut world = World::new(81);
    let key = world.broker_key();
    for _ in 0..2 {
        assert_eq!(world.tell(RotationTerms { broker_key: Some(key), ..terms(0, 1, "alice") }), Ok(key));
    }
    let taken = Failure::NameTaken { name: name("alice") };
    assert_eq!(world.tell(terms(0, 2, "alice")), Err(taken.clone()), "an old key");
    assert_eq!(world.tell(terms(3, 4, "alice")), Err(taken), "somebody else");
    assert_eq!(world.tell(terms(1, 2, "alice")), Ok(key), "the next one");
}

#[test]
fn a_broker_with_another_key_hears_nothing_of_it() {
    let mut world = World::new(82);
    let (pinned, came) = (BrokerKey([7; 32]), world.broker_key());
    let told = world.tell(RotationTerms { broker_key: Some(pinned), ..terms(0, 1, "alice") });
    let address = "broker.example:7770".to_owned();
    assert_eq!(told, Err(Failure::BrokerKeyChanged { address, pinned, came }));
    assert!(world.tell(terms(2, 3, "alice")).is_ok(), "the name is free");
}

#[test]
fn whoever_has_another_name_is_told_which() {
    let mut world = World::new(83);
    world.join("alice", Manner::default(), &LinkConfig::default());
    world.join("bob", Manner::default(), &LinkConfig::default());
    world.run_for(Duration::from_secs(5));
    let held = |called: &str| Err(Failure::NameHeld { name: name(called) });
    assert_eq!(world.tell(terms(0, 5, "alicia")), held("alice"));
    assert_eq!(world.tell(terms(0, 1, "alice")), held("bob"), "the new key is somebody");
}

#[test]
fn a_broker_that_knows_no_such_call_is_too_old() {
    let mut world = World::new(84);
    let mut replies = 0;
    world.broker.tamper = Some(Box::new(move |message| {
        replies += u32::from(matches!(message, FromBroker::Reply(_)));
        if replies == 2 {
            *message = Unsupported { kind: 0x0c }.into();
        }
    }));
    let Err(Failure::BrokerRefused { reason, .. }) = world.tell(terms(0, 1, "alice")) else { panic!() };
    assert!(reason.contains("too old"), "{reason}");
}

proptest! {
    #[test]
    fn no_bytes_of_a_broker_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let framed = [&96u16.to_be_bytes()[..], &bytes].concat();
        let (mut rotation, _) = Rotation::start(terms(0, 1, "alice"), &mut ChaCha20Rng::seed_from_u64(1));
        let went = rotation.received(&framed);
        prop_assert_eq!(went.is_err(), bytes.len() >= 96);
    }
}
