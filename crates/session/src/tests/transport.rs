//! Bodies over lines of every kind.

use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Rate, Reordering, millis};
use p2pchat_proto::datagram::DATA;
use p2pchat_proto::limits::BODY_MAX;
use proptest::prelude::*;

use super::pair::{Pair, Who, bad_line, good_line, received};
use crate::streams::STREAM_WINDOW;
use crate::{ACK_DELAY, DATAGRAM_SIZE, REKEY_AFTER, Received, SendError, SessionEvent, StreamId};

const CONVERSATION: StreamId = StreamId::CONVERSATION;
const CONTROL: StreamId = StreamId::CONTROL;

/// Sends `count` bodies each way, `at_once` at a time, and checks that each arrives once and in order.
fn exchange(seed: u64, line: LinkConfig, count: usize, at_once: usize) -> Pair {
    let mut pair = Pair::up(seed, line);
    let body = |who: Who, n: usize| format!("{who:?} says {n}, {}", "x".repeat(n % 300)).into_bytes();
    for start in (0..count).step_by(at_once) {
        for n in start..(start + at_once).min(count) {
            pair.say(Who::Bob, &body(Who::Bob, n));
            pair.say(Who::Alice, &body(Who::Alice, n));
        }
        pair.run_for(Duration::from_millis(10));
    }
    let all_there = |pair: &Pair| {
        pair.bob.events.len().min(pair.alice.events.len()) > count
            && pair.bob.bodies(CONVERSATION).len() >= count
            && pair.alice.bodies(CONVERSATION).len() >= count
    };
    assert!(pair.run_until(all_there), "seed {seed}: something is missing");
    pair.run_for(Duration::from_secs(2));
    for (who, from) in [(Who::Bob, Who::Alice), (Who::Alice, Who::Bob)] {
        let came = pair.side(who).bodies(CONVERSATION);
        let expected: Vec<_> = (0..count).map(|n| body(from, n)).collect();
        assert!(came == expected, "seed {seed}: {who:?} got {} of {count}", came.len());
        assert_eq!(pair.side(who).ended(), None, "seed {seed}");
    }
    pair
}

#[test]
fn an_answer_is_due_a_round_trip_after_what_asks_for_one_and_never_where_nothing_does() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(2));
    let (session, now) = (pair.bob.session, pair.now);
    let rtt = pair.bob.endpoint.info(session, now).unwrap().srtt.unwrap();
    let mut out = Vec::new();
    assert_eq!(pair.bob.endpoint.poll_transmit(now, 1, &mut out), None);
    assert_eq!(pair.bob.endpoint.answer_due(), None);
    pair.bob.say(b"well?", now);
    assert!(pair.bob.endpoint.poll_transmit(now, 1, &mut out).is_some());
    assert_eq!(pair.bob.endpoint.answer_due(), Some(now + rtt));
}

#[test]
fn two_thousand_messages_each_way_survive_the_bad_line_once_and_in_order() {
    for seed in 0..10 {
        exchange(seed, bad_line(), 2_000, 20);
    }
}

#[test]
fn messages_survive_bursts_of_loss_and_long_delays() {
    // One way each: round trips of 450 ms, and of 800 ms and up to 150 more.
    for (share, delay, jitter, hold) in [(0.12, 225, 0, 0), (0.25, 400, 75, 200)] {
        for seed in 0..10 {
            let line = LinkConfig {
                delay: millis(delay),
                jitter: millis(jitter),
                loss: Loss::Burst { share, mean_length: 3.0 },
                reordering: Reordering { share: 0.05, hold: millis(hold) },
                ..good_line()
            };
            exchange(seed, line, 200, 5);
        }
    }
}

#[test]
fn messages_survive_a_narrow_line_with_a_short_queue() {
    for seed in 0..5 {
        let rate = Rate { bytes_per_second: 40_000, queue: 6_000 };
        exchange(seed, LinkConfig { rate: Some(rate), ..good_line() }, 500, 10);
    }
}

#[test]
fn messages_survive_flipped_bits() {
    for seed in 0..10 {
        let pair = exchange(seed, LinkConfig { corruption: 0.2, ..good_line() }, 300, 5);
        assert!(pair.bob.endpoint.stats().mac_failed > 0, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_simulation() {
    // The KEM draws from the system, so the bytes differ; what is sent when and how long does not.
    let shape = |seed| {
        let pair = exchange(seed, bad_line(), 100, 5);
        let sent = pair.sent.iter().map(|(at, who, to, bytes)| (*at, *who == Who::Bob, *to, bytes.len()));
        sent.collect::<Vec<_>>()
    };
    assert_eq!(shape(7), shape(7));
    assert_ne!(shape(7), shape(8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn messages_survive_any_line(
        seed: u64,
        delay in 0u64..300,
        jitter in 0u64..100,
        loss in 0.0..0.35f64,
        duplication in 0.0..0.5f64,
        reordering in 0.0..0.5f64,
        hold in 0u64..100,
    ) {
        let line = LinkConfig {
            delay: millis(delay),
            jitter: millis(jitter),
            loss: Loss::Independent { share: loss },
            duplication,
            reordering: Reordering { share: reordering, hold: millis(hold) },
            ..good_line()
        };
        exchange(seed, line, 60, 3);
    }
}

#[test]
fn messages_that_wait_leave_in_one_packet() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let before = pair.sent.len();
    (0..20).for_each(|_| pair.say(Who::Bob, &[7; 40]));
    pair.drain(Who::Bob);
    assert_eq!(pair.sent.len(), before + 1);
    assert!(pair.sent[before].3.len() < 20 * 45 + 60);
}

#[test]
fn large_bodies_leave_as_segments_of_one_size() {
    let mut pair = Pair::up(1, good_line());
    pair.say(Who::Bob, &[7; 8_000]);
    let mut out = Vec::new();
    let transmit = pair.bob.endpoint.poll_transmit(pair.now, 64, &mut out).unwrap();
    assert_eq!(transmit.segment_size, Some(DATAGRAM_SIZE));
    let lens: Vec<_> = out.chunks(DATAGRAM_SIZE).map(<[u8]>::len).collect();
    assert!(lens.len() == 7 && lens[..6].iter().all(|len| *len == DATAGRAM_SIZE), "{lens:?}");
    // The system of the other side may hand them over as one buffer, too.
    let gro = Received { segment_size: transmit.segment_size, ..received(pair.bob.address) };
    pair.alice.endpoint.handle_datagram(gro, &mut out, pair.now);
    pair.drain(Who::Alice);
    assert_eq!(pair.alice.bodies(CONVERSATION), [vec![7; 8_000]]);
}

#[test]
fn the_largest_body_arrives_on_both_streams_and_a_larger_one_is_refused() {
    let mut pair = Pair::up(1, good_line());
    let body = vec![9; BODY_MAX];
    for stream in [StreamId::CONTROL, CONVERSATION] {
        pair.bob.endpoint.send(pair.bob.session, stream, 3, &body, pair.now).unwrap();
        let larger = vec![9; BODY_MAX + 1];
        let refused = pair.bob.endpoint.send(pair.bob.session, stream, 3, &larger, pair.now);
        assert_eq!(refused, Err(SendError::TooLong));
    }
    pair.run_for(Duration::from_secs(5));
    for stream in [StreamId::CONTROL, CONVERSATION] {
        assert_eq!(pair.alice.bodies(stream), core::slice::from_ref(&body));
    }
}

#[test]
fn what_waits_is_bounded_and_flows_again() {
    let mut pair = Pair::up(1, good_line());
    let send =
        |pair: &mut Pair| pair.bob.endpoint.send(pair.bob.session, CONVERSATION, 1, &[5; 60_000], pair.now);
    let mut sent = 0;
    while send(&mut pair).is_ok() {
        sent += 1;
    }
    assert_eq!(send(&mut pair), Err(SendError::Full));
    pair.run_for(Duration::from_secs(10));
    assert_eq!(send(&mut pair), Ok(()));
    assert!(pair.run_until(|pair| pair.alice.bodies(CONVERSATION).len() == sent + 1));
}

#[test]
fn whoever_takes_no_messages_keeps_the_session_and_all_else_flows() {
    let mut pair = Pair::up(1, good_line());
    let send = |pair: &mut Pair, stream, len| {
        let session = pair.bob.session;
        pair.bob.endpoint.send(session, stream, 1, &vec![5; len], pair.now)
    };
    let mut sent = 0;
    let mut send_all = |pair: &mut Pair| {
        while send(pair, CONVERSATION, 1_000).is_ok() {
            sent += 1;
        }
        sent
    };
    pair.alice.endpoint.withhold_credit(true);
    for _ in 0..10 {
        send_all(&mut pair);
        pair.run_for(REKEY_AFTER / 5);
    }
    let came = pair.alice.bodies(CONVERSATION).len();
    assert!(came > 0 && came * 1_000 <= STREAM_WINDOW as usize, "{came} arrived");
    assert_eq!(send(&mut pair, CONTROL, 100), Ok(()));
    assert!(pair.run_until(|pair| pair.alice.bodies(CONTROL).len() == 1));
    let info = pair.alice.endpoint.info(pair.alice.session, pair.now).unwrap();
    assert!(info.epoch > 0, "keys are renewed meanwhile");
    pair.alice.endpoint.withhold_credit(false);
    let sent = send_all(&mut pair);
    assert!(pair.run_until(|pair| pair.alice.bodies(CONVERSATION).len() == sent));
    for side in [&pair.alice, &pair.bob] {
        assert_eq!(side.count(|event| matches!(event, SessionEvent::Suspect | SessionEvent::Ended(_))), 0);
    }
}

#[test]
fn two_packets_are_acknowledged_at_once_and_one_within_the_delay() {
    for (packets, delay) in [(1, ACK_DELAY), (2, Duration::ZERO)] {
        let mut pair = Pair::up(1, good_line());
        pair.run_for(Duration::from_secs(1));
        let before = pair.sent.len();
        let start = pair.now;
        for _ in 0..packets {
            pair.say(Who::Bob, b"hi");
            pair.drain(Who::Bob);
        }
        pair.run_for(Duration::from_millis(60));
        let answers: Vec<_> = pair.sent[before..].iter().filter(|(_, who, ..)| *who == Who::Alice).collect();
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].0.saturating_since(start), Duration::from_millis(20) + delay);
    }
}

#[test]
fn what_is_lost_goes_again_under_a_new_number_and_never_as_the_same_bytes() {
    let pair = exchange(3, bad_line(), 200, 5);
    let mut data: Vec<_> =
        pair.sent.iter().filter(|(.., bytes)| bytes[0] == DATA).map(|(.., bytes)| &bytes[4..]).collect();
    let count = data.len();
    data.sort_unstable();
    data.dedup();
    assert_eq!(data.len(), count);
    let mut headers: Vec<_> = data.iter().map(|bytes| &bytes[..12]).collect();
    headers.dedup();
    assert_eq!(headers.len(), count, "receiver and packet number");
    let info = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap();
    assert!(info.retransmitted > 0 && info.lost > 0);
}

#[test]
fn a_session_that_only_receives_forgets_what_it_acknowledged() {
    let mut pair = Pair::up(1, bad_line());
    for n in 0..3_000u32 {
        pair.say(Who::Bob, &n.to_be_bytes());
        pair.run_for(Duration::from_millis(3));
    }
    assert!(pair.run_until(|pair| pair.alice.bodies(CONVERSATION).len() == 3_000));
    let acks = pair.sent.iter().rev().filter(|(_, who, ..)| *who == Who::Alice).take(200);
    let longest = acks.map(|(.., bytes)| bytes.len()).max().unwrap();
    assert!(longest < 450, "an acknowledgement of {longest} bytes");
    assert_eq!(pair.alice.count(|event| matches!(event, SessionEvent::Ended(_))), 0);
}

#[test]
fn a_chat_line_a_second_over_the_bad_line_arrives_soon() {
    let mut delays = vec![];
    for seed in 0..10 {
        let mut pair = Pair::up(seed, bad_line());
        let mut said = vec![];
        for n in 0..100u32 {
            said.push(pair.now);
            pair.say(Who::Bob, &n.to_be_bytes());
            pair.run_for(Duration::from_secs(1));
        }
        pair.run_for(Duration::from_secs(20));
        let came =
            pair.alice.events.iter().filter(|(_, _, event)| matches!(event, SessionEvent::Body { .. }));
        delays.extend(came.zip(&said).map(|((at, ..), said)| at.saturating_since(*said)));
    }
    delays.sort_unstable();
    assert_eq!(delays.len(), 1_000);
    // One way takes 20 ms, and three of ten need at least one probe more.
    assert!(delays[500] < Duration::from_millis(50), "{:?}", delays[500]);
    assert!(delays[990] < Duration::from_millis(1_000), "{:?}", delays[990]);
    assert!(delays[999] < Duration::from_secs(4), "{:?}", delays[999]);
}

#[test]
fn a_timeout_costs_two_probes_and_no_more_than_what_is_missing() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let (bob, alice) = (pair.bob.address.ip(), pair.alice.address.ip());
    pair.network.partition(bob, alice, true);
    // What is larger tries a larger size, and carries nothing.
    let bobs_bytes = |pair: &Pair, since: usize| -> usize {
        let bobs = pair.sent[since..].iter().filter(|(_, who, ..)| *who == Who::Bob);
        bobs.map(|(.., bytes)| bytes.len()).filter(|len| *len <= DATAGRAM_SIZE).sum()
    };
    // Two packets, so that what is missing is more than one probe carries.
    pair.say(Who::Bob, &[7; 1_500]);
    pair.drain(Who::Bob);
    for _ in 0..4 {
        let before = pair.sent.len();
        while pair.sent.len() == before {
            pair.step(pair.now + Duration::from_secs(30));
        }
        pair.run_for(Duration::from_millis(1));
        let bytes = bobs_bytes(&pair, before);
        assert!(bytes < 1_800, "{bytes} bytes at once");
    }
    pair.say(Who::Bob, b"anybody?");
    let before = pair.sent.len();
    pair.run_for(Duration::from_millis(1));
    let bytes = bobs_bytes(&pair, before);
    assert!((1_500..1_800).contains(&bytes), "what is said takes along what is missing, once: {bytes}");
    pair.network.partition(bob, alice, false);
    pair.run_for(Duration::from_secs(6));
    assert_eq!(pair.alice.bodies(CONVERSATION), [vec![7; 1_500], b"anybody?".to_vec()]);
}

#[test]
fn a_frame_that_does_not_fit_into_the_rest_of_a_packet_does_not_cut_the_batch() {
    for len in 1_140..1_170 {
        let mut pair = Pair::up(1, good_line());
        pair.bob.endpoint.send(pair.bob.session, StreamId::CONTROL, 1, &vec![1; len], pair.now).unwrap();
        pair.say(Who::Bob, &[2; 5_000]);
        let mut out = Vec::new();
        let transmit = pair.bob.endpoint.poll_transmit(pair.now, 64, &mut out).unwrap();
        assert!(transmit.segment_size == Some(DATAGRAM_SIZE) && out.len() > 5 * DATAGRAM_SIZE, "{len}");
        let gro = Received { segment_size: transmit.segment_size, ..received(pair.bob.address) };
        pair.alice.endpoint.handle_datagram(gro, &mut out, pair.now);
        pair.drain(Who::Alice);
        assert_eq!(pair.alice.bodies(StreamId::CONTROL), [vec![1; len]]);
        assert_eq!(pair.alice.bodies(CONVERSATION), [vec![2; 5_000]]);
    }
}
