//! The link against those who do not keep to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use std::time::Duration;

use p2pchat_crypto::link::{ClientHandshake, frame, hello};
use p2pchat_proto::broker::*;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

fn refused(code: RefusedCode) -> FromBroker {
    Refused { code, retry_after: 0 }.into()
}

/// Sends `bytes` and waits for the end of the connection; nothing may come before.
async fn closed_without_a_byte(broker: &Broker, bytes: &[u8]) {
    let mut socket = TcpStream::connect(broker.addr).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    // A reset is an end, too.
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut heard)).await.unwrap().ok();
    assert_eq!(heard, [], "after {} bytes", bytes.len());
}

#[tokio::test]
async fn what_is_no_handshake_is_closed_without_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    for length in [0u16, 1, 31, 33, 1_000, u16::MAX] {
        closed_without_a_byte(&broker, &[&length.to_be_bytes()[..], &[7; 2_000]].concat()).await;
    }
    closed_without_a_byte(&broker, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // A key of low order: the exchange would have a known result.
    closed_without_a_byte(&broker, &frame(&[0; 32])).await;
    broker.client(1).await.register("alice").await;
    broker.stopped().await;
}

#[tokio::test]
async fn a_stranger_cannot_send_more_than_a_hello_needs() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut stranger = Client::connect(broker.addr, identity(1).peer_id()).await;
    stranger.raw(&2_000u16.to_be_bytes()).await;
    stranger.hung_up().await;
    broker.stopped().await;
}

#[tokio::test]
async fn a_record_that_does_not_open_ends_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    for garbage in [frame(&[7; 15]), frame(&[7; 16]), frame(&[7; 600]), vec![0, 0], frame(&[7; 65_535])] {
        let mut client = broker.client(1).await;
        client.raw(&garbage).await;
        client.hung_up().await;
    }
    broker.stopped().await;
}

#[tokio::test]
async fn a_malformed_message_is_refused_and_an_unknown_one_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    for bytes in [&[][..], &[0x0a], &[0x02, 0, 0, 0, 9, 1, 2, 3], &[0x0a, 0, 0, 0, 9, 0]] {
        let mut client = broker.client(1).await;
        client.say_bytes(bytes).await;
        assert_eq!(client.heard().await, refused(RefusedCode::Protocol));
        client.hung_up().await;
    }
    let mut client = broker.client(1).await;
    client.say_bytes(&[0x7f, 0, 0, 0, 9, 1, 2, 3]).await;
    assert_eq!(client.next().await, (9, Unsupported { kind: 0x7f }.into()));
    client.register("alice").await;
    broker.stopped().await;
}

#[tokio::test]
async fn a_hello_serves_on_its_own_link_only() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let (alice, eve) = (identity(1), identity(3));
    let first = Client::connect(broker.addr, alice.peer_id()).await;
    let seen = hello(&alice, &first.link.hash, broker.key);
    // Replayed on another link, made for another broker, signed by somebody else, claimed by another.
    let mut second = Client::connect(broker.addr, alice.peer_id()).await;
    let elsewhere = hello(&alice, &second.link.hash, p2pchat_proto::BrokerKey([9; 32]));
    let mine = hello(&eve, &second.link.hash, broker.key);
    for (n, signature) in [seen, elsewhere, mine, [0; 64]].into_iter().enumerate() {
        if n > 0 {
            second = Client::connect(broker.addr, alice.peer_id()).await;
        }
        second.hello(alice.peer_id(), signature).await;
        assert_eq!(second.heard().await, refused(RefusedCode::Signature), "{n}");
        second.hung_up().await;
    }
    broker.stopped().await;
}

#[tokio::test]
async fn whoever_speaks_before_the_hello_or_says_it_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut early = Client::connect(broker.addr, identity(1).peer_id()).await;
    early.say(register("alice")).await;
    assert_eq!(early.heard().await, refused(RefusedCode::Protocol));
    early.hung_up().await;
    let mut twice = broker.client(1).await;
    let signature = hello(&identity(1), &twice.link.hash, broker.key);
    twice.hello(twice.peer, signature).await;
    assert_eq!(twice.heard().await, refused(RefusedCode::Protocol));
    twice.hung_up().await;
    broker.stopped().await;
}

#[tokio::test]
async fn every_message_may_come_in_single_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let mut socket = TcpStream::connect(broker.addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (handshake, first) = ClientHandshake::start(&mut rand::rng());
    one_by_one(&mut socket, &frame(&first)).await;
    let second = read_record(&mut socket).await.unwrap();
    let (mut sealer, mut opener, link) = handshake.finish(&second).unwrap();
    let me = identity(1);
    let signature = hello(&me, &link.hash, link.key);
    let message = Hello { versions: vec![1], features: 0, peer: me.peer_id(), signature };
    let mut sealed = Vec::new();
    sealer.seal(&ToBroker::from(message).to_record(1).unwrap(), &mut sealed).unwrap();
    one_by_one(&mut socket, &sealed).await;
    let mut record = read_record(&mut socket).await.unwrap();
    opener.open(&mut record).unwrap();
    assert!(matches!(FromBroker::from_record(&record), Ok((1, FromBroker::Welcome(_)))));
    broker.stopped().await;
}

async fn one_by_one(socket: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// In virtual time: the broker counts from the connection's beginning, not from the last byte.
#[tokio::test(start_paused = true)]
async fn a_connection_that_dribbles_is_closed_after_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let begun = Instant::now();
    let mut socket = TcpStream::connect(broker.addr).await.unwrap();
    let handshake = frame(&[7; 32]);
    for byte in &handshake {
        let mut end = [0];
        let read = tokio::time::timeout(Duration::from_secs(1), socket.read(&mut end));
        match read.await {
            Err(_still_open) => socket.write_all(&[*byte]).await.unwrap(),
            Ok(read) => {
                assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
                assert_eq!(begun.elapsed().as_secs(), 5);
                return;
            }
        }
    }
    panic!("a whole handshake got through");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_without_a_hello_is_closed_after_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let begun = Instant::now();
    let mut client = Client::connect(broker.addr, identity(1).peer_id()).await;
    client.hung_up().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
}
