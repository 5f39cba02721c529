//! Keys that are renewed while two people talk, over lines of every kind.

use core::time::Duration;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use p2pchat_netsim::{LinkConfig, Loss, Rate, millis};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::DATA;
use p2pchat_proto::frame::Frame;
use p2pchat_proto::rekey::{REKEY_NOISE_LEN, RekeyBody, RekeyMessage, RekeyStep};
use proptest::prelude::*;

use super::pair::{Pair, Who, bad_line, good_line, received};
use crate::connection::epochs::Epochs;
use crate::{
    CloseCode, EndReason, Misbehaviour, PACKETS_MAX, REKEY_AFTER, REKEY_AFTER_PACKETS, REKEY_OVERDUE,
    SendError, SessionEvent, SessionInfo, StreamId,
};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [Who; 2] = [Who::Bob, Who::Alice];

fn epochs(pair: &mut Pair, who: Who) -> &mut Epochs {
    let side = pair.side(who);
    side.endpoint.epochs_for_test(side.session).unwrap()
}

fn info(pair: &mut Pair, who: Who) -> SessionInfo {
    let now = pair.now;
    let side = pair.side(who);
    side.endpoint.info(side.session, now).unwrap()
}

/// The epoch in which both are.
fn epoch(pair: &mut Pair) -> u32 {
    let [bob, alice] = BOTH.map(|who| info(pair, who).epoch);
    assert_eq!(bob, alice, "seed {}", pair.seed);
    bob
}

/// What two say to each other, one line each at a time.
struct Talk {
    said: u32,
}

impl Talk {
    const fn new() -> Self {
        Self { said: 0 }
    }

    /// Both say a line every `pause`, for `duration`.
    fn go_on(&mut self, pair: &mut Pair, pause: Duration, duration: Duration) {
        let end = pair.now + duration;
        while pair.now < end {
            BOTH.iter().for_each(|who| pair.say(*who, &self.said.to_be_bytes()));
            self.said += 1;
            pair.run_for(pause);
        }
    }

    /// Everything that was said was shown once and in order.
    fn check(&self, pair: &mut Pair) {
        let expected: Vec<_> = (0..self.said).map(|n| n.to_be_bytes().to_vec()).collect();
        for who in BOTH {
            let seed = pair.seed;
            let side = pair.side(who);
            let came = side.bodies(StreamId::CONVERSATION);
            assert!(came == expected, "seed {seed}: {who:?} got {} of {}", came.len(), self.said);
            assert_eq!(side.ended(), None, "seed {seed}");
            assert_eq!(side.bodies(StreamId::CONTROL), Vec::<Vec<u8>>::new(), "rekeys are not handed on");
        }
    }
}

/// Numbers of DATA by sender: none comes twice, whatever the epoch, and each epoch begins where the
/// one before it ended.
fn check_numbers(pair: &Pair) {
    for who in BOTH {
        let mut numbers = BTreeSet::new();
        let mut last = (0, 0);
        for (_, from, _, bytes) in &pair.sent {
            if *from == who && bytes[0] == DATA {
                let number = u64::from_be_bytes(*bytes[8..].first_chunk().unwrap());
                assert!(numbers.insert(number), "seed {}: {who:?} used {number} twice", pair.seed);
                assert!(bytes[1] == last.0 || bytes[1] == last.0.wrapping_add(1));
                assert!(number == 0 || number > last.1);
                last = (bytes[1], number);
            }
        }
    }
}

#[test]
fn keys_are_renewed_after_every_two_minutes_of_talk() {
    let mut pair = Pair::up(1, good_line());
    let mut talk = Talk::new();
    for number in 1..=5 {
        let since = info(&mut pair, Who::Bob).key_age;
        talk.go_on(&mut pair, SECOND, REKEY_AFTER - since - SECOND);
        assert_eq!(epoch(&mut pair), number - 1);
        talk.go_on(&mut pair, SECOND, 2 * SECOND);
        assert_eq!(epoch(&mut pair), number);
        assert!(BOTH.iter().all(|who| info(&mut pair, *who).key_age < 2 * SECOND));
    }
    talk.check(&mut pair);
    check_numbers(&pair);
}

#[test]
fn a_silent_session_keeps_its_keys_and_what_was_said_before_costs_one_rekey() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(3600));
    assert_eq!(epoch(&mut pair), 0);
    assert!(info(&mut pair, Who::Alice).key_age > Duration::from_secs(3599));
    pair.say(Who::Alice, b"one line");
    pair.run_for(SECOND);
    assert_eq!(epoch(&mut pair), 1, "the keys are old already");
    pair.run_for(Duration::from_secs(3600));
    assert_eq!(epoch(&mut pair), 1);
    assert_eq!(epochs(&mut pair, Who::Bob).receive_keys(), 1);
    assert_eq!(epochs(&mut pair, Who::Alice).receive_keys(), 1);
}

#[test]
fn keys_are_renewed_over_lines_that_lose_up_to_a_quarter() {
    for percent in [0_u8, 5, 10, 15, 20, 25] {
        for seed in 0..5 {
            let share = f64::from(percent) / 100.0;
            let loss = Loss::Independent { share };
            let line = LinkConfig { jitter: millis(10), loss, duplication: 0.05, ..good_line() };
            let mut pair = Pair::up(100 * seed + u64::from(percent), line);
            let mut talk = Talk::new();
            talk.go_on(&mut pair, SECOND / 2, Duration::from_secs(620));
            pair.run_for(Duration::from_secs(20));
            talk.check(&mut pair);
            check_numbers(&pair);
            assert_eq!(epoch(&mut pair), 5, "{percent} %, seed {seed}");
        }
    }
}

/// Loses the next datagrams of one side, each of which may carry a part of the rekey.
fn losing(who: Who, count: usize) -> Pair {
    let mut pair = Pair::up(1, good_line());
    let left = Rc::new(Cell::new(0));
    let counter = left.clone();
    pair.tamper = Box::new(move |from, bytes| {
        if from == who && counter.get() > 0 {
            counter.set(counter.get() - 1);
            return vec![];
        }
        vec![bytes.to_vec()]
    });
    let mut talk = Talk::new();
    let age = info(&mut pair, Who::Bob).key_age;
    talk.go_on(&mut pair, SECOND, REKEY_AFTER - age - SECOND / 2);
    left.set(count);
    talk.go_on(&mut pair, SECOND, 30 * SECOND);
    assert_eq!(left.get(), 0);
    talk.check(&mut pair);
    check_numbers(&pair);
    pair
}

#[test]
fn no_lost_datagram_keeps_the_keys_from_being_renewed() {
    // Those of bob begin with message 1 and the first packets of the new epoch, those of alice with
    // message 2 and what she says under the old keys meanwhile.
    for who in BOTH {
        for count in 1..12 {
            let mut pair = losing(who, count);
            assert_eq!(epoch(&mut pair), 1, "{count} of {who:?}");
            assert_eq!(epochs(&mut pair, Who::Bob).receive_keys(), 1);
            assert_eq!(epochs(&mut pair, Who::Alice).receive_keys(), 1);
        }
    }
}

#[test]
fn late_packets_of_the_old_epoch_are_taken_for_three_probe_timeouts_and_then_dropped() {
    for (from, to) in [(Who::Bob, Who::Alice), (Who::Alice, Who::Bob)] {
        let mut pair = Pair::up(1, good_line());
        pair.say(Who::Bob, b"x");
        pair.run_for(REKEY_AFTER - SECOND);
        let mut late = [0, 1].map(|_| {
            let side = pair.side(from);
            side.endpoint.sealed_for_test(side.session, &[1])
        });
        let source = pair.side(from).address;
        let take = |pair: &mut Pair, bytes: &mut [u8]| {
            let now = pair.now;
            let before = info(pair, to).received;
            pair.side(to).endpoint.handle_datagram(received(source), bytes, now);
            info(pair, to).received - before
        };
        let moved = |pair: &Pair| {
            let side = if to == Who::Bob { &pair.bob } else { &pair.alice };
            side.endpoint.info(side.session, pair.now).unwrap().epoch == 1
        };
        assert!(pair.run_until(moved));
        // The initiator waits for the responder's first packet before anything ends.
        pair.run_for(Duration::from_millis(70));
        assert_eq!(epochs(&mut pair, to).receive_keys(), 2);
        assert_eq!(take(&mut pair, &mut late[0]), 1, "{from:?}");
        pair.run_for(SECOND);
        assert_eq!(epochs(&mut pair, to).receive_keys(), 1);
        let dropped = pair.side(to).endpoint.stats();
        assert_eq!(take(&mut pair, &mut late[1]), 0, "{from:?}");
        let after = pair.side(to).endpoint.stats();
        assert_eq!((after.dropped, after.mac_failed), (dropped.dropped + 1, dropped.mac_failed));
    }
}

#[test]
fn the_byte_of_the_epoch_comes_round_without_a_trace() {
    let line = LinkConfig { loss: Loss::Independent { share: 0.1 }, ..good_line() };
    let mut pair = Pair::up(7, line);
    let mut talk = Talk::new();
    // Some time goes by until each rekey is done.
    talk.go_on(&mut pair, Duration::from_secs(12), REKEY_AFTER * 300);
    pair.run_for(Duration::from_secs(20));
    talk.check(&mut pair);
    check_numbers(&pair);
    let epoch = epoch(&mut pair);
    assert!((260..=300).contains(&epoch), "{epoch}");
}

#[test]
fn packets_of_both_directions_renew_the_keys_and_numbers_go_on_past_the_bound_of_one_key() {
    let mut pair = Pair::up(1, good_line());
    for number in 1..=6 {
        pair.run_for(Duration::from_secs(11));
        pair.say(Who::Bob, b"not yet");
        pair.run_for(SECOND);
        assert_eq!(epoch(&mut pair), number - 1);
        // As if bob had sent so many; what he sends next has a number to match.
        let session = pair.bob.session;
        pair.bob.endpoint.skip_numbers_for_test(session, u64::from(number) * REKEY_AFTER_PACKETS);
        epochs(&mut pair, Who::Bob).skip_to(REKEY_AFTER_PACKETS);
        pair.say(Who::Bob, b"now");
        pair.run_for(SECOND);
        assert_eq!(epoch(&mut pair), number);
    }
    let highest = pair.sent.iter().filter(|(_, who, _, bytes)| *who == Who::Bob && bytes[0] == DATA);
    let highest = highest.map(|(.., bytes)| u64::from_be_bytes(*bytes[8..].first_chunk().unwrap())).max();
    assert!(highest > Some(2 * PACKETS_MAX));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 12);
    assert_eq!((pair.bob.ended(), pair.alice.ended()), (None, None));
}

#[test]
fn a_session_whose_keys_are_not_renewed_ends_300_seconds_after_they_came() {
    let mut pair = Pair::up(1, good_line());
    let start = pair.now - info(&mut pair, Who::Alice).key_age;
    // Bob is one who does not.
    epochs(&mut pair, Who::Bob).wipe();
    let mut said = 0;
    while pair.alice.ended().is_none() {
        pair.say(Who::Bob, b"hi");
        said += 1;
        pair.run_for(SECOND);
        assert!(said < 400);
    }
    let ended = |pair: &Pair| pair.alice.events.last().map(|(at, ..)| *at).unwrap();
    assert_eq!(ended(&pair), start + REKEY_AFTER + REKEY_OVERDUE);
    pair.run_for(5 * SECOND);
    for who in BOTH {
        assert_eq!(pair.side(who).ended(), Some(EndReason::KeysUsedUp));
        assert!(pair.side(who).endpoint.is_empty());
    }
}

#[test]
fn a_full_control_stream_does_not_hold_a_rekey_up_for_ever() {
    let rate = Rate { bytes_per_second: 40_000, queue: 20_000 };
    let mut pair = Pair::up(1, LinkConfig { rate: Some(rate), ..good_line() });
    pair.run_for(REKEY_AFTER - SECOND);
    let send = |pair: &mut Pair| {
        let (session, now) = (pair.bob.session, pair.now);
        pair.bob.endpoint.send(session, StreamId::CONTROL, 1, &[5; 60_000], now)
    };
    let mut sent = 0;
    while send(&mut pair).is_ok() {
        sent += 1;
    }
    assert_eq!(send(&mut pair), Err(SendError::Full));
    pair.run_for(Duration::from_secs(60));
    assert_eq!(epoch(&mut pair), 1);
    assert!(sent > 10 && pair.alice.bodies(StreamId::CONTROL).len() == sent);
}

#[test]
fn nobody_sends_the_sessions_own_kinds() {
    let mut pair = Pair::up(1, good_line());
    for (stream, kind, expected) in [
        (StreamId::CONTROL, 0x10, Err(SendError::Reserved)),
        (StreamId::CONTROL, 0x11, Err(SendError::Reserved)),
        (StreamId::CONTROL, 0x12, Ok(())),
        (StreamId::CONVERSATION, 0x10, Ok(())),
    ] {
        assert_eq!(pair.bob.endpoint.send(pair.bob.session, stream, kind, &[0; 52], pair.now), expected);
    }
    pair.run_for(SECOND);
    assert_eq!(pair.alice.bodies(StreamId::CONTROL).len(), 1);
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 1);
}

#[test]
fn closing_wipes_what_further_keys_would_come_from_on_both_sides() {
    let mut pair = Pair::up(1, good_line());
    pair.close(Who::Bob, CloseCode::Done);
    assert!(epochs(&mut pair, Who::Bob).is_wiped());
    pair.run_for(Duration::from_millis(25));
    assert!(epochs(&mut pair, Who::Alice).is_wiped());
    pair.run_for(10 * SECOND);
    assert!(pair.bob.endpoint.is_empty() && pair.alice.endpoint.is_empty());
}

#[test]
fn a_close_in_the_middle_of_a_rekey_is_heard() {
    for wait in (0..200).step_by(5) {
        let mut pair = Pair::up(1, good_line());
        pair.say(Who::Bob, b"x");
        let age = info(&mut pair, Who::Bob).key_age;
        pair.run_for(REKEY_AFTER - age + Duration::from_millis(wait));
        let who = if wait % 2 == 0 { Who::Bob } else { Who::Alice };
        pair.close(who, CloseCode::Done);
        pair.run_for(10 * SECOND);
        let ends = [pair.bob.ended(), pair.alice.ended()];
        assert!(ends.contains(&Some(EndReason::ClosedHere)), "{wait} ms: {ends:?}");
        assert!(ends.contains(&Some(EndReason::ClosedByPeer(CloseCode::Done))), "{wait} ms: {ends:?}");
    }
}

#[test]
fn a_machine_that_slept_renews_its_keys_when_it_wakes() {
    let mut pair = Pair::up(1, good_line());
    let mut talk = Talk::new();
    talk.go_on(&mut pair, SECOND, 10 * SECOND);
    pair.now = pair.now + Duration::from_secs(3600);
    talk.go_on(&mut pair, SECOND, 10 * SECOND);
    talk.check(&mut pair);
    assert_eq!(epoch(&mut pair), 1);
}

/// A body of the session's own kinds, in a packet that `from` seals.
fn after_rekey(from: Who, age: Duration, body: &[u8], kind: u8) -> Option<EndReason> {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(age);
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let bytes = [&[kind][..], &len, body].concat();
    let mut content = Vec::new();
    Frame::Stream { stream: StreamId::CONTROL, offset: 0, fin: false, bytes: &bytes }.encode(&mut content);
    let side = pair.side(from);
    let mut packet = side.endpoint.sealed_for_test(side.session, &content);
    let (source, now) = (received(side.address), pair.now);
    let to = if from == Who::Bob { Who::Alice } else { Who::Bob };
    pair.side(to).endpoint.handle_datagram(source, &mut packet, now);
    pair.drain(to);
    let side = pair.side(to);
    assert_eq!(side.count(|event| matches!(event, SessionEvent::Body { .. })), 0);
    side.ended()
}

#[test]
fn a_rekey_out_of_turn_ends_the_session() {
    let body = |step, epoch| {
        let message = RekeyMessage { epoch, noise: [7; REKEY_NOISE_LEN] };
        RekeyBody { step, message }.to_bytes()
    };
    let minute = Duration::from_secs(60);
    for (from, age, (kind, bytes)) in [
        (Who::Bob, SECOND, body(RekeyStep::Start, 1)),
        (Who::Bob, minute, body(RekeyStep::Start, 0)),
        (Who::Bob, minute, body(RekeyStep::Start, 1)),
        (Who::Bob, minute, body(RekeyStep::Start, 2)),
        (Who::Bob, minute, body(RekeyStep::Answer, 1)),
        (Who::Alice, minute, body(RekeyStep::Start, 1)),
        (Who::Alice, minute, body(RekeyStep::Answer, 1)),
    ] {
        let expected = Some(EndReason::PeerMisbehaved(Misbehaviour::Rekey));
        assert_eq!(after_rekey(from, age, &bytes, kind), expected, "{from:?} {kind} {bytes:?}");
        assert_eq!(after_rekey(from, age, &bytes[..51], kind), expected);
        assert_eq!(after_rekey(from, age, &[&bytes[..], &[0]].concat(), kind), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn keys_are_renewed_over_any_line_and_nothing_is_lost_or_shown_twice(
        seed: u64,
        delay in 0u64..300,
        jitter in 0u64..100,
        loss in 0.0..0.3f64,
        duplication in 0.0..0.5f64,
        pause in 50u64..5_000,
    ) {
        let loss = Loss::Independent { share: loss };
        let line = LinkConfig { delay: millis(delay), jitter: millis(jitter), loss, duplication, ..bad_line() };
        let mut pair = Pair::up(seed, line);
        let mut talk = Talk::new();
        talk.go_on(&mut pair, Duration::from_millis(pause), REKEY_AFTER * 3 + 20 * SECOND);
        pair.run_for(Duration::from_secs(30));
        talk.check(&mut pair);
        check_numbers(&pair);
        prop_assert!((2..=3).contains(&epoch(&mut pair)));
        prop_assert!(pair.now > Moment::ZERO);
    }
}
