//! A name that goes from one key to another, over a real link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use p2pchat_crypto::link::LinkIdentity;
use p2pchat_crypto::succession;
use p2pchat_proto::broker::*;
use p2pchat_proto::succession::KeptSuccession;
use p2pchat_proto::{BrokerKey, PeerId, WallTime};
use support::*;

fn stated(old: u8, new: u8) -> KeptSuccession {
    succession::state(&identity(old), &identity(new), WallTime(7)).unwrap()
}

/// A call that is right on that link.
fn rotation(old: u8, new: u8, link: &LinkIdentity, called: &str) -> Rotate {
    let [by_old, by_new] =
        succession::call(&identity(old), &identity(new), &link.hash, link.key, &name(called));
    let new_peer = identity(new).peer_id();
    Rotate { name: name(called), new: new_peer, by_old, by_new, succession: stated(old, new) }
}

async fn successions(client: &mut Client, of: PeerId) -> Vec<KeptSuccession> {
    client.say(SuccessionOf { name: name("alice"), peer: of }).await;
    match client.next().await {
        (_, FromBroker::Succeeded(succeeded)) => succeeded.chain,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_went_to_another_key_stays_there_when_the_broker_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut old = broker.client(1).await;
    old.register("alice").await;
    let said = rotation(1, 2, &old.link, "alice");
    assert_eq!(old.call(said.clone()).await, Outcome::Done);
    assert_eq!(old.call(said).await, Outcome::Done, "said twice on one link");
    assert_eq!(old.call(register("alice")).await, Outcome::NameTaken);
    broker.stopped().await;

    let broker = Broker::start(dir.path()).await;
    let mut old = broker.client(1).await;
    assert_eq!(old.call(register("alice")).await, Outcome::NameTaken);
    let again = rotation(1, 2, &old.link, "alice");
    assert_eq!(old.call(again).await, Outcome::Done, "who heard no answer asks again");
    broker.client(2).await.register("alice").await;
    assert_eq!(successions(&mut old, identity(1).peer_id()).await, [stated(1, 2)]);
    assert_eq!(successions(&mut old, identity(2).peer_id()).await, []);
    broker.stopped().await;
}

/// Makes of a right call one that is not, with the link that another connection had.
type Spoil = fn(Rotate, LinkIdentity) -> Rotate;

#[tokio::test]
async fn a_rotation_that_is_not_signed_by_both_for_this_link_ends_it_and_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut first = broker.client(1).await;
    first.register("alice").await;
    let elsewhere = first.link;
    let bad: [(&str, Spoil); 8] = [
        ("unsigned by the old key", |said, _| Rotate { by_old: [0; 64], ..said }),
        ("unsigned by the new key", |said, _| Rotate { by_new: [0; 64], ..said }),
        ("the old key for both", |said, _| Rotate { by_new: said.by_old, ..said }),
        ("of another link", |said, elsewhere| {
            let other = rotation(1, 2, &elsewhere, "alice");
            Rotate { by_old: other.by_old, by_new: other.by_new, ..said }
        }),
        ("for another broker", |said, link| {
            let link = LinkIdentity { key: BrokerKey([7; 32]), ..link };
            let other = rotation(1, 2, &link, "alice");
            Rotate { by_old: other.by_old, by_new: other.by_new, ..said }
        }),
        ("of another name", |said, _| Rotate { name: name("alicia"), ..said }),
        ("with a statement about others", |said, _| Rotate { succession: stated(1, 3), ..said }),
        ("with a statement that is none", |said, _| Rotate {
            succession: KeptSuccession::new(vec![1; 200]).unwrap(),
            ..said
        }),
    ];
    for (what, spoil) in bad {
        let mut alice = broker.client(1).await;
        let said = spoil(rotation(1, 2, &alice.link, "alice"), elsewhere);
        alice.say(said).await;
        let expected = Refused { code: RefusedCode::Signature, retry_after: 0 };
        assert_eq!(alice.heard().await, expected.into(), "{what}");
        alice.hung_up().await;
    }
    broker.client(1).await.register("alice").await;
    let mut other = broker.client(3).await;
    let said = rotation(1, 2, &other.link, "alice");
    other.say(said).await;
    assert!(matches!(other.heard().await, FromBroker::Refused(_)), "somebody else's link");
    broker.stopped().await;
}
