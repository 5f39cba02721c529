//! A real broker over loopback: what clients can do, and what it survives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use std::time::Duration;

use p2pchat_broker::server::Limits;
use p2pchat_proto::RequestId;
use p2pchat_proto::broker::*;
use p2pchat_registry::Rate;
use support::*;
use tokio::time::Instant;

#[tokio::test]
async fn two_people_meet_through_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let (mut alice, mut bob) = (broker.client(1).await, broker.client(2).await);
    assert_eq!(alice.link.key, broker.key);
    alice.register("alice").await;
    bob.register("bob").await;
    let watch = Watch { add: vec![alice.peer], remove: vec![] };
    assert_eq!(bob.call(watch).await, Outcome::Done);
    let peers = vec![(alice.peer, Status::Online)];
    assert_eq!(bob.heard().await, PresenceSnapshot { version: 1, peers }.into());

    assert_eq!(bob.call(request(1, "alice")).await, Outcome::Done);
    let request = RequestId([1; 16]);
    let incoming = Incoming { request, from: bob.peer, name: Some(name("bob")), offer: offer(1) };
    assert_eq!(alice.heard().await, incoming.into());
    let sealed = SealedEndpoints::new(vec![7; 200]).unwrap();
    let accept = AnswerBody::Accept { offer: offer(9), endpoints: sealed.clone() };
    assert_eq!(alice.call(Answer { request, answer: accept.clone() }).await, Outcome::Done);
    assert_eq!(bob.heard().await, Answered { request, from: alice.peer, answer: accept }.into());
    let endpoints = Endpoints { request, sealed };
    assert_eq!(bob.call(endpoints.clone()).await, Outcome::Done);
    assert_eq!(alice.heard().await, endpoints.clone().into());
    assert_eq!(alice.call(endpoints.clone()).await, Outcome::Done);
    assert_eq!(bob.heard().await, endpoints.into());

    alice.say(Bye).await;
    alice.hung_up().await;
    let gone = PresenceDelta { version: 2, peer: alice.peer, status: Status::Offline };
    assert_eq!(bob.heard().await, gone.into());
    assert_eq!(bob.call(support::request(2, "alice")).await, Outcome::NotOnline);
    broker.stopped().await;
}

#[tokio::test]
async fn of_many_that_register_one_name_at_the_same_instant_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut clients = Vec::new();
    for n in 1..=8 {
        clients.push(broker.client(n).await);
    }
    let tries = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let outcome = client.call(register("alice")).await;
            (client, outcome)
        })
    });
    let tries: Vec<_> = tries.collect();
    let mut winners = Vec::new();
    for tried in tries {
        match tried.await.unwrap() {
            (client, Outcome::Done) => winners.push(client),
            (_, outcome) => assert_eq!(outcome, Outcome::NameTaken),
        }
    }
    assert_eq!(winners.len(), 1);
    let asked = winners[0].call(Directory { prefix: String::new(), cursor: None }).await;
    let people = vec![DirectoryEntry { name: name("alice"), peer: winners[0].peer, status: Status::Online }];
    assert_eq!(asked, Outcome::Page { people, more: false });
    broker.stopped().await;
}

#[tokio::test]
async fn names_and_key_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let key = broker.key;
    let mut alice = broker.client(1).await;
    alice.register("alice").await;
    drop(alice);
    broker.stopped().await;
    let broker = Broker::start(dir.path()).await;
    assert_eq!(broker.key, key);
    let mut eve = broker.client(3).await;
    assert_eq!(eve.call(register("alice")).await, Outcome::NameTaken);
    assert_eq!(eve.call(request(1, "alice")).await, Outcome::NotOnline);
    let mut alice = broker.client(1).await;
    assert_eq!(alice.call(register("alicia")).await, Outcome::NameHeld(name("alice")));
    alice.register("alice").await;
    broker.stopped().await;
}

#[tokio::test]
async fn a_registration_that_was_under_way_at_the_stop_is_on_disk_if_it_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut clients = Vec::new();
    for n in 1..=20u8 {
        let mut client = broker.client(n).await;
        let call = client.say(register(&format!("user-{n}"))).await;
        clients.push((client, call));
    }
    broker.stop();
    let mut done = Vec::new();
    for (n, (mut client, call)) in (1u8..).zip(clients) {
        while let Some((to, message)) = client.try_next().await {
            match message {
                FromBroker::Reply(Reply { outcome: Outcome::Done }) if to == call => done.push(n),
                FromBroker::Restarting(restarting) => {
                    assert!((1_000..=5_000).contains(&restarting.reconnect_in))
                }
                other => panic!("{other:?}"),
            }
        }
    }
    broker.stopped().await;
    let broker = Broker::start(dir.path()).await;
    let mut reader = broker.client(100).await;
    for n in done {
        assert_eq!(reader.call(register(&format!("user-{n}"))).await, Outcome::NameTaken);
    }
    broker.stopped().await;
}

#[tokio::test]
async fn everybody_is_told_of_a_stop_and_it_does_not_wait_for_those_who_stay() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let (mut alice, deaf) = (broker.client(1).await, broker.client(2).await);
    let silent = Client::connect(broker.addr, identity(3).peer_id()).await;
    broker.stop();
    assert!(matches!(alice.heard().await, FromBroker::Restarting(_)));
    alice.hung_up().await;
    drop(alice);
    let begun = Instant::now();
    broker.stopped().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop((deaf, silent));
}

#[tokio::test]
async fn the_newest_login_of_a_key_wins() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let (mut old, mut bob) = (broker.client(1).await, broker.client(2).await);
    old.register("alice").await;
    let mut new = broker.client(1).await;
    assert_eq!(old.heard().await, Replaced.into());
    old.hung_up().await;
    assert_eq!(bob.call(request(1, "alice")).await, Outcome::Done);
    assert!(matches!(new.heard().await, FromBroker::Incoming(_)));
    broker.stopped().await;
}

/// Pages of some 14 KiB each that a client asks for: more than the system's buffers and the queue hold.
const PAGES: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_closed_while_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    // So that nothing but the queue can end it.
    let free = Rate { burst: u32::MAX, refill: Duration::from_nanos(1) };
    let limits = Limits { messages: free, pages: free, ..Limits::default() };
    let broker = Broker::start_with(dir.path(), limits).await;
    for n in 0..200 {
        let mut user = broker.client(50 + n).await;
        user.register(&format!("{n:03}-{}", "x".repeat(28))).await;
        // It stays online as long as the directory is to be long.
        tokio::spawn(async move { while user.try_next().await.is_some() {} });
    }
    let all = Directory { prefix: String::new(), cursor: None };
    let (mut slow, mut eager) = (broker.client(1).await, broker.client(2).await);
    let (mut alice, mut watcher) = (broker.client(3).await, broker.client(4).await);
    assert_eq!(watcher.call(Watch { add: vec![slow.peer], remove: vec![] }).await, Outcome::Done);
    watcher.heard().await;
    let page = all.clone();
    let flood = tokio::spawn(async move {
        for _ in 0..PAGES {
            slow.say(page.clone()).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        slow
    });
    let reader = tokio::spawn(async move {
        for _ in 0..PAGES / 4 {
            assert!(matches!(eager.call(all.clone()).await, Outcome::Page { .. }));
        }
    });
    let closed = tokio::spawn(async move { watcher.heard().await });
    let (mut worst, mut pings) = (Duration::ZERO, 0);
    while !closed.is_finished() {
        let begun = Instant::now();
        alice.say(Ping).await;
        assert!(matches!(alice.next().await, (_, FromBroker::Pong(_))));
        worst = worst.max(begun.elapsed());
        pings += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gone = PresenceDelta { version: 2, peer: identity(1).peer_id(), status: Status::Offline };
    assert_eq!(closed.await.unwrap(), gone.into());
    assert!(worst < Duration::from_secs(1), "{worst:?} for one of {pings} pongs");
    // Whoever asks as much and reads is served.
    reader.await.unwrap();
    flood.abort();
    broker.stopped().await;
}

#[tokio::test]
async fn a_full_broker_says_so_and_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), Limits { max_connections: 2, ..Limits::default() }).await;
    let (mut one, mut two) = (broker.client(1).await, broker.client(2).await);
    let mut three = Client::connect(broker.addr, identity(3).peer_id()).await;
    assert_eq!(three.heard().await, Refused { code: RefusedCode::Full, retry_after: 30 }.into());
    three.hung_up().await;
    two.say(Bye).await;
    two.hung_up().await;
    drop((two, three));
    one.say(Ping).await;
    one.next().await;
    // The end of a connection is heard of a moment after its socket is gone.
    for attempt in 0.. {
        let me = identity(2);
        let mut client = Client::connect(broker.addr, me.peer_id()).await;
        let signature = p2pchat_crypto::link::hello(&me, &client.link.hash, client.link.key);
        client.hello(client.peer, signature).await;
        match client.next().await.1 {
            FromBroker::Welcome(_) => break,
            refused => assert!(attempt < 200, "{refused:?}"),
        }
    }
    broker.stopped().await;
}
