//! From introductions to a session, over lines of every kind.

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, millis};
use p2pchat_proto::UdpEndpoints;
use p2pchat_proto::datagram::{self, PUNCH};

use super::pair::{Pair, Side, Who, bad_line, good_line, received};
use super::people::{identity, introduced};
use crate::{CloseCode, EndReason, HANDSHAKE_GIVE_UP, SendError, SessionEvent, StreamId};

fn kinds(pair: &Pair, who: Who) -> Vec<u8> {
    pair.sent.iter().filter(|(_, sender, ..)| *sender == who).map(|(.., bytes)| bytes[0]).collect()
}

#[test]
fn two_introduced_people_get_a_session_in_three_messages() {
    let mut pair = Pair::introduced(1, good_line());
    let start = pair.now;
    assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()));
    let took = |side: &Side| side.events[0].0.saturating_since(start);
    assert_eq!(took(&pair.bob), Duration::from_millis(80), "two round trips");
    assert_eq!(took(&pair.alice), Duration::from_millis(100));
    for side in [&pair.bob, &pair.alice] {
        let info = side.endpoint.info(side.session, pair.now).unwrap();
        assert_eq!(side.events.len(), 1, "nothing but up");
        assert!(!info.suspect);
    }
    // A responder computes es, ee and its key, then se; an initiator ee and se.
    assert_eq!(pair.alice.endpoint.stats().key_exchanges, 4);
    assert_eq!(pair.bob.endpoint.stats().key_exchanges, 2);
}

#[test]
fn the_responder_sends_nothing_but_punch_and_resp_before_fin() {
    let mut pair = Pair::introduced(1, good_line());
    pair.tamper = Box::new(|_, bytes| match bytes[0] {
        datagram::FIN => vec![],
        _ => vec![bytes.to_vec()],
    });
    pair.run_for(Duration::from_secs(15));
    let kinds = kinds(&pair, Who::Alice);
    assert!(kinds.contains(&datagram::RESP));
    assert!(kinds.iter().all(|kind| [datagram::RESP, PUNCH].contains(kind)), "{kinds:x?}");
    assert!(!pair.bob.is_up() && !pair.alice.is_up());
}

#[test]
fn the_handshake_survives_the_loss_of_any_of_its_first_messages() {
    for kind in [datagram::INIT, datagram::RESP, datagram::FIN, datagram::DATA, PUNCH] {
        for lost in 1..5 {
            let mut pair = Pair::introduced(1, good_line());
            let mut seen = 0;
            pair.tamper = Box::new(move |_, bytes| {
                seen += usize::from(bytes[0] == kind);
                if bytes[0] == kind && seen <= lost { vec![] } else { vec![bytes.to_vec()] }
            });
            let up = pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up());
            assert!(up, "{lost} of kind {kind:#x} lost");
        }
    }
}

#[test]
fn every_message_of_the_handshake_may_come_twice_or_late() {
    for (copies, delayed) in [(2, false), (3, false), (1, true)] {
        let mut pair = Pair::introduced(1, good_line());
        let mut held: Option<Vec<u8>> = None;
        pair.tamper = Box::new(move |_, bytes| {
            let mut out = vec![bytes.to_vec(); copies];
            if delayed {
                out.extend(held.replace(bytes.to_vec()));
            }
            out
        });
        assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()));
        pair.run_for(Duration::from_secs(5));
        for side in [&pair.bob, &pair.alice] {
            assert_eq!(side.count(|event| matches!(event, SessionEvent::Up { .. })), 1);
        }
        assert_eq!(pair.alice.endpoint.stats().key_exchanges, 4, "duplicates cost no key exchange");
        assert_eq!(pair.bob.endpoint.stats().key_exchanges, 2);
    }
}

#[test]
fn people_meet_over_a_line_that_loses_a_third_doubles_and_reorders() {
    for seed in 0..100 {
        let mut pair = Pair::introduced(seed, bad_line());
        pair.run_for(HANDSHAKE_GIVE_UP);
        assert!(pair.bob.is_up() && pair.alice.is_up(), "seed {seed}");
    }
}

#[test]
fn a_repeated_init_is_answered_with_the_same_bytes() {
    let mut pair = Pair::introduced(1, good_line());
    pair.tamper = Box::new(|who, bytes| if who == Who::Alice { vec![] } else { vec![bytes.to_vec()] });
    pair.run_for(Duration::from_secs(3));
    let of = |kind| pair.sent.iter().filter(move |(.., bytes)| bytes[0] == kind).map(|(.., bytes)| bytes);
    let (inits, resps): (Vec<_>, Vec<_>) = (of(datagram::INIT).collect(), of(datagram::RESP).collect());
    assert_eq!((inits.len(), resps.len()), (8, 8));
    assert!(inits.iter().all(|init| *init == inits[0]) && resps.iter().all(|resp| *resp == resps[0]));
    assert_eq!(pair.alice.endpoint.stats().answered, 8);
}

#[test]
fn init_goes_to_every_endpoint_and_the_one_that_answers_is_taken() {
    let mut pair = Pair::introduced(1, good_line());
    let dead: Vec<SocketAddr> = (1..=7).map(|n| SocketAddr::from(([10, 9, 9, n], 7001))).collect();
    let endpoints = UdpEndpoints::new(dead.iter().copied());
    pair.bob.endpoint.add_endpoints(pair.bob.session, &endpoints, pair.now);
    let start = pair.now;
    pair.drain(Who::Bob);
    let first: Vec<_> = pair.sent.iter().filter(|(at, ..)| *at == start).map(|(_, _, to, _)| *to).collect();
    assert_eq!(first.len(), 8, "all at once");
    assert!(dead.iter().chain([&pair.alice.address]).all(|address| first.contains(address)));
    assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()));
    let info = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap();
    assert_eq!(info.remote, pair.alice.address);
}

#[test]
fn endpoints_that_come_later_are_tried_then() {
    let mut pair = Pair::introduced(1, good_line());
    let (bobs, alices) = introduced(&identity(2), &identity(1), 7);
    for (who, lonely, kind) in [(Who::Bob, bobs, datagram::INIT), (Who::Alice, alices, PUNCH)] {
        let now = pair.now;
        let lonely = pair.side(who).endpoint.introduce(lonely, &UdpEndpoints::default(), now);
        pair.run_for(Duration::from_secs(5));
        let (before, now) = (pair.sent.len(), pair.now);
        let address: SocketAddr = "10.5.5.5:5".parse().unwrap();
        pair.side(who).endpoint.add_endpoints(lonely, &UdpEndpoints::new([address]), now);
        pair.drain(who);
        let tried: Vec<_> = pair.sent[before..].iter().filter(|(_, _, to, _)| *to == address).collect();
        assert_eq!(tried.len(), 1, "{who:?}");
        assert_eq!((tried[0].1, tried[0].3[0]), (who, kind));
    }
}

#[test]
fn loopback_and_families_without_a_socket_are_never_dialled() {
    let mut pair = Pair::introduced(1, good_line());
    let list = ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "10.0.0.9:0"];
    let list = UdpEndpoints::new(list.map(|address| address.parse().unwrap()));
    pair.bob.endpoint.add_endpoints(pair.bob.session, &list, pair.now);
    pair.run_for(Duration::from_secs(20));
    assert!(pair.sent.iter().all(|(_, _, to, _)| [pair.alice.address, pair.bob.address].contains(to)));
}

#[test]
fn an_authentic_punch_is_not_answered_and_its_source_is_tried() {
    let mut pair = Pair::introduced(1, good_line());
    pair.tamper = Box::new(|_, _| vec![]);
    pair.drain(Who::Alice);
    let punch = pair.sent.iter().find(|(_, _, _, bytes)| bytes[0] == PUNCH).unwrap().3.clone();
    let seen_at: SocketAddr = "10.7.7.7:77".parse().unwrap();
    pair.drain(Who::Bob);
    let before = pair.sent.len();
    pair.bob.endpoint.handle_datagram(received(seen_at), &mut punch.clone(), pair.now);
    pair.drain(Who::Bob);
    let out: Vec<_> = pair.sent[before..].iter().map(|(_, _, to, bytes)| (*to, bytes[0])).collect();
    assert_eq!(out, [(seen_at, datagram::INIT)]);
    assert_eq!(pair.bob.endpoint.stats().answered, 0);
}

#[test]
fn a_peer_that_does_not_answer_is_given_up_after_twenty_seconds() {
    let dead = LinkConfig { loss: Loss::Independent { share: 1.0 }, ..good_line() };
    let mut pair = Pair::introduced(1, dead);
    let start = pair.now;
    pair.run_for(Duration::from_secs(60));
    for side in [&pair.bob, &pair.alice] {
        assert_eq!(side.ended(), Some(EndReason::HandshakeTimedOut));
        let (at, ..) = side.events[0];
        assert_eq!((at.saturating_since(start), side.events.len()), (HANDSHAKE_GIVE_UP, 1));
        assert!(side.endpoint.is_empty() && side.endpoint.poll_timeout().is_none());
    }
    assert_eq!(kinds(&pair, Who::Bob).len(), 12);
}

#[test]
fn a_handshake_whose_last_message_never_arrives_ends_on_both_sides() {
    for cut in [datagram::FIN, datagram::DATA] {
        let mut pair = Pair::introduced(1, good_line());
        pair.tamper = Box::new(move |_, bytes| if bytes[0] == cut { vec![] } else { vec![bytes.to_vec()] });
        pair.run_for(Duration::from_secs(30));
        for side in [&pair.bob, &pair.alice] {
            assert_eq!(side.ended(), Some(EndReason::HandshakeTimedOut), "{cut:#x}");
            assert!(side.endpoint.is_empty());
        }
    }
}

#[test]
fn nothing_can_be_sent_before_the_session_is_up_or_after_it_ended() {
    let mut pair = Pair::introduced(1, good_line());
    let send = |pair: &mut Pair| {
        pair.bob.endpoint.send(pair.bob.session, StreamId::CONVERSATION, 1, b"hi", pair.now)
    };
    assert_eq!(send(&mut pair), Err(SendError::NotUp));
    pair.run_until(|pair| pair.bob.is_up());
    assert_eq!(send(&mut pair), Ok(()));
    pair.close(Who::Bob, CloseCode::Done);
    assert_eq!(send(&mut pair), Err(SendError::NotUp));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(send(&mut pair), Err(SendError::NotUp));
}

#[test]
fn a_handshake_that_is_closed_ends_at_once_and_says_nothing_more() {
    let mut pair = Pair::introduced(1, LinkConfig { delay: millis(500), ..good_line() });
    pair.drain(Who::Bob);
    let before = pair.sent.len();
    pair.close(Who::Bob, CloseCode::Done);
    pair.drain(Who::Bob);
    assert_eq!((pair.bob.ended(), pair.sent.len()), (Some(EndReason::ClosedHere), before));
    pair.run_for(Duration::from_secs(30));
    assert!(!kinds(&pair, Who::Bob).contains(&datagram::FIN));
}

#[test]
fn two_sessions_with_one_peer_live_side_by_side() {
    let mut pair = Pair::up(1, good_line());
    let (bobs, alices) = introduced(&identity(2), &identity(1), 2);
    let (to_alice, to_bob) = (UdpEndpoints::new([pair.alice.address]), UdpEndpoints::new([pair.bob.address]));
    let second_at_alice = pair.alice.endpoint.introduce(alices, &to_bob, pair.now);
    let second_at_bob = pair.bob.endpoint.introduce(bobs, &to_alice, pair.now);
    pair.run_for(Duration::from_secs(1));
    pair.say(Who::Bob, b"old");
    pair.bob.endpoint.send(second_at_bob, StreamId::CONVERSATION, 1, b"new", pair.now).unwrap();
    pair.run_for(Duration::from_secs(1));
    let came: Vec<_> = pair
        .alice
        .events
        .iter()
        .filter_map(|(_, id, event)| match event {
            SessionEvent::Body { bytes, .. } => Some((*id, bytes.clone())),
            SessionEvent::Up { .. }
            | SessionEvent::Moved { .. }
            | SessionEvent::Stream(_)
            | SessionEvent::Suspect
            | SessionEvent::Recovered
            | SessionEvent::Hint { .. }
            | SessionEvent::Ended(_) => None,
        })
        .collect();
    assert_eq!(came.len(), 2);
    assert!(came.contains(&(pair.alice.session, b"old".to_vec())));
    assert!(came.contains(&(second_at_alice, b"new".to_vec())));
    pair.close(Who::Bob, CloseCode::Replaced);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.alice.ended(), Some(EndReason::ClosedByPeer(CloseCode::Replaced)));
    assert!(pair.alice.endpoint.info(second_at_alice, pair.now).is_some());
}
