//! Silence, suspicion, loss and the authenticated end.

use core::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{DATA, FIN};

use super::pair::{Pair, Who, bad_line, good_line, received};
use crate::{
    CloseCode, EndReason, KEEPALIVE_FIRST, KEEPALIVE_LATER, LOST_AFTER, PACKETS_MAX, SessionEvent, StreamId,
};

fn cut(pair: &mut Pair, on: bool) {
    pair.network.partition(pair.bob.address.ip(), pair.alice.address.ip(), on);
}

#[test]
fn a_silent_session_is_kept_open_after_ten_seconds_and_then_every_twenty() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let before = pair.sent.len();
    let start = pair.sent[before - 1].0;
    pair.run_for(Duration::from_secs(300));
    let mut gaps = vec![];
    let mut last = start;
    for (at, ..) in &pair.sent[before..] {
        // An acknowledgement belongs to the packet before it.
        if at.saturating_since(last) > Duration::from_secs(1) {
            gaps.push(at.saturating_since(last));
        }
        last = *at;
    }
    assert!(gaps[0] <= KEEPALIVE_FIRST && gaps[0] > KEEPALIVE_FIRST - Duration::from_millis(50), "{gaps:?}");
    assert!(gaps[3..].iter().all(|gap| *gap <= KEEPALIVE_LATER), "{gaps:?}");
    assert!(gaps[3..].iter().all(|gap| *gap > KEEPALIVE_LATER - Duration::from_millis(100)), "{gaps:?}");
    assert!(pair.sent.len() - before < 60, "silence is cheap");
    assert_eq!((pair.bob.ended(), pair.alice.ended()), (None, None));
    assert_eq!(pair.bob.count(|event| matches!(event, SessionEvent::Suspect)), 0);
}

#[test]
fn a_cut_line_makes_a_session_suspect_and_then_lost_never_closed() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    cut(&mut pair, true);
    let start = pair.now;
    pair.say(Who::Bob, b"anybody?");
    pair.run_for(Duration::from_secs(60));
    for side in [&pair.bob, &pair.alice] {
        assert_eq!(side.ended(), Some(EndReason::Lost));
        let events: Vec<_> = side.events[1..].iter().map(|(_, _, event)| event.clone()).collect();
        assert_eq!(events, [SessionEvent::Suspect, SessionEvent::Ended(EndReason::Lost)]);
        assert!(side.endpoint.is_empty() && side.endpoint.poll_timeout().is_none());
    }
    let suspect = pair.bob.events[1].0.saturating_since(start);
    assert!(suspect < Duration::from_secs(2), "three short timeouts, not {suspect:?}");
    let lost = pair.bob.events[2].0.saturating_since(start);
    assert!(lost <= LOST_AFTER && lost > LOST_AFTER - Duration::from_secs(2), "{lost:?}");
}

#[test]
fn a_session_recovers_when_the_line_does() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    cut(&mut pair, true);
    pair.say(Who::Bob, b"held up");
    pair.run_for(Duration::from_secs(20));
    let info = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap();
    assert!(info.suspect);
    cut(&mut pair, false);
    pair.run_for(Duration::from_secs(6));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION), [b"held up".to_vec()]);
    assert_eq!(pair.bob.count(|event| matches!(event, SessionEvent::Recovered)), 1);
    assert_eq!((pair.bob.ended(), pair.alice.ended()), (None, None));
}

#[test]
fn a_machine_that_slept_asks_before_it_gives_up() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    pair.now = pair.now + Duration::from_secs(3600);
    pair.run_for(Duration::from_secs(60));
    assert_eq!((pair.bob.ended(), pair.alice.ended()), (None, None));
    pair.say(Who::Bob, b"good morning");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 1);
}

#[test]
fn whoever_wakes_asks_at_once_also_where_old_news_waited() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let kept = std::rc::Rc::new(core::cell::RefCell::new(Vec::new()));
    let queue = kept.clone();
    pair.tamper = Box::new(move |who, bytes| {
        if who == Who::Bob {
            queue.borrow_mut().push(bytes.to_vec());
        }
        vec![]
    });
    pair.say(Who::Bob, b"are you there");
    pair.run_for(Duration::from_millis(100));
    pair.now = pair.now + Duration::from_secs(60);
    let mut old = kept.borrow_mut().remove(0);
    pair.alice.endpoint.handle_datagram(received(pair.bob.address), &mut old, pair.now);
    pair.drain(Who::Alice);
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 1);
    pair.run_for(Duration::from_secs(1));
    let info = pair.alice.endpoint.info(pair.alice.session, pair.now).unwrap();
    assert!(info.suspect, "it believes in a session of which it has only old news");
}

#[test]
fn a_peer_that_is_gone_is_lost_also_where_it_had_not_proven_to_be_and_nothing_more_may_go() {
    let mut pair = Pair::introduced(1, good_line());
    let taken = std::rc::Rc::new(core::cell::RefCell::new(Vec::new()));
    let thief = taken.clone();
    pair.tamper = Box::new(move |who, bytes| {
        if who == Who::Bob && matches!(bytes[0], FIN | DATA) {
            thief.borrow_mut().push(bytes.to_vec());
            return vec![];
        }
        vec![bytes.to_vec()]
    });
    // FIN and what bob says first come in the name of another, to whom alice answers; that is passed on.
    let elsewhere = "10.66.0.1:6".parse().unwrap();
    for _ in 0..2 {
        assert!(pair.run_until(|_| !taken.borrow().is_empty()));
        let mut stolen = taken.borrow_mut().remove(0);
        pair.alice.endpoint.handle_datagram(received(elsewhere), &mut stolen, pair.now);
        pair.drain(Who::Alice);
        let mut answer = pair.sent.iter().find(|(_, _, to, _)| *to == elsewhere).unwrap().3.clone();
        pair.bob.endpoint.handle_datagram(received(pair.alice.address), &mut answer, pair.now);
        taken.borrow_mut().clear();
    }
    assert!(pair.alice.is_up() && pair.alice.ended().is_none());
    pair.run_for(LOST_AFTER * 2);
    assert_eq!(pair.alice.ended(), Some(EndReason::Lost));
}

#[test]
fn closing_tells_both_sides_and_leaves_nothing() {
    for code in [CloseCode::Done, CloseCode::Leaving, CloseCode::Replaced, CloseCode::Other(77)] {
        let mut pair = Pair::up(1, good_line());
        pair.close(Who::Alice, code);
        pair.run_for(Duration::from_secs(10));
        assert_eq!(pair.alice.ended(), Some(EndReason::ClosedHere));
        assert_eq!(pair.bob.ended(), Some(EndReason::ClosedByPeer(code)));
        for side in [&pair.bob, &pair.alice] {
            assert_eq!(side.count(|event| matches!(event, SessionEvent::Ended(_))), 1);
            assert!(side.endpoint.is_empty() && side.endpoint.poll_timeout().is_none());
        }
    }
}

#[test]
fn closing_reaches_the_peer_over_a_bad_line() {
    let mut told = 0;
    for seed in 0..100 {
        let mut pair = Pair::up(seed, bad_line());
        pair.run_for(Duration::from_secs(1));
        pair.close(Who::Bob, CloseCode::Done);
        pair.run_for(Duration::from_secs(60));
        assert_eq!(pair.bob.ended(), Some(EndReason::ClosedHere), "seed {seed}");
        match pair.alice.ended() {
            Some(EndReason::ClosedByPeer(CloseCode::Done)) => told += 1,
            other => assert_eq!(other, Some(EndReason::Lost), "seed {seed}"),
        }
    }
    // Three tries, each lost with 0.3.
    assert!(told >= 90, "{told} of 100");
}

#[test]
fn both_may_close_at_once() {
    let mut pair = Pair::up(1, good_line());
    pair.close(Who::Bob, CloseCode::Done);
    pair.close(Who::Alice, CloseCode::Leaving);
    pair.run_for(Duration::from_secs(10));
    for side in [&pair.bob, &pair.alice] {
        assert_eq!(side.ended(), Some(EndReason::ClosedHere));
        assert!(side.endpoint.is_empty());
    }
}

#[test]
fn a_line_cut_after_any_datagram_is_lost_and_never_closed() {
    for cut_after in 1..45 {
        let mut pair = Pair::introduced(1, good_line());
        let mut count = 0;
        pair.tamper = Box::new(move |_, bytes| {
            count += 1;
            if count > cut_after { vec![] } else { vec![bytes.to_vec()] }
        });
        pair.run_for(Duration::from_millis(200));
        if pair.bob.is_up() && pair.alice.is_up() {
            pair.say(Who::Bob, &[1; 5_000]);
            pair.say(Who::Alice, &[2; 5_000]);
        }
        pair.run_for(Duration::from_secs(200));
        for side in [&pair.bob, &pair.alice] {
            let ended = side.ended();
            let honest = [Some(EndReason::Lost), Some(EndReason::HandshakeTimedOut)].contains(&ended);
            assert!(honest, "cut after {cut_after}: {ended:?}");
        }
    }
}

#[test]
fn a_forged_end_ends_nothing() {
    let mut pair = Pair::up(1, good_line());
    pair.close(Who::Bob, CloseCode::Done);
    let mut close = Vec::new();
    pair.bob.endpoint.poll_transmit(pair.now, 1, &mut close).unwrap();
    assert_eq!(close[0], DATA);
    *close.last_mut().unwrap() ^= 1;
    pair.alice.endpoint.handle_datagram(super::pair::received(pair.bob.address), &mut close, pair.now);
    pair.drain(Who::Alice);
    assert_eq!(pair.alice.ended(), None);
}

#[test]
fn numbers_end_before_one_would_be_used_twice() {
    let mut pair = Pair::introduced(1, good_line());
    let mut numbers = std::collections::BTreeSet::new();
    pair.tamper = Box::new(move |who, bytes| {
        if bytes[0] == DATA && who == Who::Alice {
            let number = u64::from_be_bytes(*bytes[8..].first_chunk().unwrap());
            assert!(numbers.insert(number) && number < PACKETS_MAX);
        }
        vec![bytes.to_vec()]
    });
    let near = PACKETS_MAX - 200;
    let connected = |pair: &Pair| pair.alice.endpoint.is_connected_for_test(pair.alice.session);
    assert!(pair.run_until(connected));
    pair.alice.endpoint.skip_numbers_for_test(pair.alice.session, near);
    assert!(pair.run_until(|pair| pair.bob.is_up() && pair.alice.is_up()));
    let mut said = 0u32;
    while pair.alice.ended().is_none() {
        pair.say(Who::Alice, &said.to_be_bytes());
        said += 1;
        pair.drain(Who::Alice);
        pair.run_for(Duration::from_millis(100));
    }
    assert!((100..200).contains(&said), "{said}");
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.alice.ended(), Some(EndReason::KeysUsedUp));
    assert_eq!(pair.bob.ended(), Some(EndReason::KeysUsedUp), "and the peer knows why");
    assert!(pair.alice.endpoint.is_empty() && pair.bob.endpoint.is_empty());
}

#[test]
fn info_tells_what_was_measured() {
    let mut pair = Pair::up(1, good_line());
    let start = pair.bob.events[0].0;
    for _ in 0..20 {
        pair.say(Who::Bob, b"hi");
        pair.run_for(Duration::from_millis(200));
    }
    let info = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap();
    let srtt = info.srtt.unwrap();
    assert!(srtt >= Duration::from_millis(40) && srtt < Duration::from_millis(70), "{srtt:?}");
    assert_eq!((info.remote, info.lost, info.retransmitted), (pair.alice.address, 0, 0));
    assert!(info.sent >= 20 && info.received >= 10);
    assert!(info.key_age >= pair.now.saturating_since(start));
    assert!(pair.now > Moment::ZERO);
}

#[test]
fn a_sleep_that_looks_like_a_round_trip_delays_neither_probes_nor_the_end() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    for who in [Who::Bob, Who::Alice] {
        pair.say(who, b"and then the lid was shut");
        pair.drain(who);
    }
    pair.now = pair.now + Duration::from_secs(3600);
    pair.run_for(Duration::from_secs(1));
    cut(&mut pair, true);
    let before = pair.sent.len();
    pair.say(Who::Bob, b"x");
    pair.run_for(Duration::from_secs(6));
    assert!(pair.sent[before..].iter().filter(|(_, who, ..)| *who == Who::Bob).count() > 1, "a probe");
    let start = pair.now;
    pair.close(Who::Bob, CloseCode::Leaving);
    pair.run_for(Duration::from_secs(4));
    assert_eq!(pair.bob.ended(), Some(EndReason::ClosedHere));
    assert!(pair.bob.events.last().unwrap().0.saturating_since(start) <= Duration::from_secs(3));
}
