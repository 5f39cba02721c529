//! As much as the line takes: how much of it is used, and how it is shared.

use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Rate, Reordering, millis};
use p2pchat_proto::{Moment, UdpEndpoints};

use super::pair::{Pair, Who, good_line};
use super::people::{identity, introduced};
use crate::{DATAGRAM_SIZE, PathInfo, SessionEvent, SessionId, StreamId};

const SECOND: Duration = Duration::from_secs(1);
/// 10 Mbit/s.
const RATE: u64 = 1_250_000;
/// Bytes on their way in 50 ms.
const PRODUCT: u64 = RATE / 20;
/// Bytes of a body.
const BODY: usize = 16_000;

/// 10 Mbit/s with a round trip of 50 ms and a queue for as long.
fn narrow() -> LinkConfig {
    let rate = Rate { bytes_per_second: RATE, queue: PRODUCT };
    LinkConfig { delay: millis(25), rate: Some(rate), ..good_line() }
}

/// Lets Bob write into these sessions as much as they take, for a while.
fn pour(pair: &mut Pair, sessions: &[SessionId], duration: Duration) {
    let end = pair.now + duration;
    loop {
        for id in sessions {
            while pair.bob.endpoint.send(*id, StreamId::CONVERSATION, 1, &[7; BODY], pair.now).is_ok() {}
        }
        if !pair.step(end) {
            break;
        }
    }
}

/// Bytes of bodies that reached Alice between two moments.
fn arrived(pair: &Pair, session: SessionId, from: Moment, to: Moment) -> u64 {
    let bytes = pair.alice.events.iter().map(|(at, id, event)| match event {
        SessionEvent::Body { bytes, .. } if *id == session && *at > from && *at <= to => bytes.len() as u64,
        SessionEvent::Body { .. }
        | SessionEvent::Up { .. }
        | SessionEvent::Moved { .. }
        | SessionEvent::Stream(_)
        | SessionEvent::Suspect
        | SessionEvent::Recovered
        | SessionEvent::Hint { .. }
        | SessionEvent::Ended(_) => 0,
    });
    bytes.sum()
}

/// Share of the line that bodies took between two moments.
fn used(pair: &Pair, session: SessionId, from: Moment, to: Moment) -> f64 {
    let could = RATE as f64 * to.saturating_since(from).as_secs_f64();
    arrived(pair, session, from, to) as f64 / could
}

fn path(pair: &Pair) -> PathInfo {
    pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap().path
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn bulk_uses_nine_tenths_of_a_line_from_the_second_second_on() {
    for (seed, jitter, queue) in [(1, 0, PRODUCT), (2, 1, PRODUCT), (3, 5, PRODUCT), (4, 0, PRODUCT / 2)] {
        let rate = Rate { bytes_per_second: RATE, queue };
        let mut pair = Pair::up(seed, LinkConfig { jitter: millis(jitter), rate: Some(rate), ..narrow() });
        let (start, session) = (pair.now, pair.bob.session);
        pour(&mut pair, &[session], 21 * SECOND);
        let [first, rest] = [(0, 1), (1, 21)]
            .map(|(from, to)| used(&pair, pair.alice.session, start + SECOND * from, start + SECOND * to));
        let info = pair.bob.endpoint.info(session, pair.now).unwrap();
        println!(
            "seed {seed}, jitter {jitter} ms, queue {queue}: {first:.3} in the first second, then {rest:.3}, {} of {} lost, {:?}",
            info.lost, info.sent, info.path
        );
        assert!(rest >= 0.9, "seed {seed}: {rest} of the line");
        assert!(info.lost * 50 < info.sent, "seed {seed}: {} of {} lost", info.lost, info.sent);
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn two_sessions_share_a_line_within_two_to_one() {
    for seed in 0..4 {
        let mut pair = Pair::up(seed, LinkConfig { jitter: millis(seed), ..narrow() });
        let first = pair.bob.session;
        pour(&mut pair, &[first], 5 * SECOND);
        let (bobs, alices) = introduced(&identity(2), &identity(1), (2 << 32) | seed);
        let now = pair.now;
        let [from_bob, from_alice] = [pair.alice.address, pair.bob.address].map(|at| UdpEndpoints::new([at]));
        let bobs = pair.bob.endpoint.introduce(bobs, &from_bob, now);
        let alices = pair.alice.endpoint.introduce(alices, &from_alice, now);
        pour(&mut pair, &[first], SECOND);
        assert!(pair.bob.endpoint.info(bobs, pair.now).is_some(), "seed {seed}: not up");
        pour(&mut pair, &[first, bobs], 10 * SECOND);
        let start = pair.now;
        pour(&mut pair, &[first, bobs], 30 * SECOND);
        let shares = [pair.alice.session, alices].map(|id| used(&pair, id, start, pair.now));
        println!("seed {seed}: {shares:.3?} of the line");
        let (less, more) = (shares[0].min(shares[1]), shares[0].max(shares[1]));
        assert!(more <= 2.0 * less && less + more >= 0.9, "seed {seed}: {shares:?}");
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn after_an_outage_of_two_seconds_bulk_goes_on() {
    for seed in 0..4 {
        let mut pair = Pair::up(seed, narrow());
        let (bob, alice) = (pair.bob.address.ip(), pair.alice.address.ip());
        let session = pair.bob.session;
        pour(&mut pair, &[session], 3 * SECOND + Duration::from_millis(37 * seed));
        pair.network.partition(bob, alice, true);
        pour(&mut pair, &[session], 2 * SECOND);
        pair.network.partition(bob, alice, false);
        let healed = pair.now;
        pour(&mut pair, &[session], 10 * SECOND);
        let events = pair.alice.events.iter().map(|(at, ..)| *at);
        let waited = events.filter(|at| *at > healed).min().unwrap().saturating_since(healed);
        let share = used(&pair, pair.alice.session, healed + 3 * SECOND, pair.now);
        println!("seed {seed}: goes on {waited:?} after the outage, uses {share:.3} from 3 s on");
        assert!(waited < Duration::from_millis(2_500), "seed {seed}: {waited:?}");
        assert!(share >= 0.85, "seed {seed}: {share}");
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn packets_that_overtake_each_other_leave_most_of_a_line() {
    for seed in 0..2 {
        // Eight others pass one that is held back.
        let line = LinkConfig { reordering: Reordering { share: 0.1, hold: millis(8) }, ..narrow() };
        let mut pair = Pair::up(seed, line);
        let (start, session) = (pair.now, pair.bob.session);
        pour(&mut pair, &[session], 20 * SECOND);
        let share = used(&pair, pair.alice.session, start + SECOND, pair.now);
        let info = pair.bob.endpoint.info(session, pair.now).unwrap();
        println!("seed {seed}: {share:.3}, {} lost of {}, {:?}", info.lost, info.sent, info.path);
        assert!(share >= 0.85, "seed {seed}: {share}");
        assert!(
            info.path.spurious > 0 && info.path.spurious * 50 < info.sent,
            "seed {seed}: {:?}",
            info.path
        );
    }
}

#[test]
fn random_loss_of_one_in_a_thousand_leaves_most_of_a_line() {
    let mut pair = Pair::up(1, LinkConfig { loss: Loss::Independent { share: 0.001 }, ..narrow() });
    let (start, session) = (pair.now, pair.bob.session);
    pour(&mut pair, &[session], 20 * SECOND);
    let share = used(&pair, pair.alice.session, start + SECOND, pair.now);
    assert!(share >= 0.8, "{share}");
}

#[test]
fn a_window_that_nobody_used_for_long_does_not_leave_at_once() {
    let mut pair = Pair::up(1, narrow());
    let session = pair.bob.session;
    pour(&mut pair, &[session], 5 * SECOND);
    pair.run_for(8 * SECOND);
    let window = path(&pair).window;
    assert!(window > 40 * DATAGRAM_SIZE as u64 && path(&pair).in_flight == 0, "{window}");
    let before = pair.sent.len();
    let start = pair.now;
    pour(&mut pair, &[session], Duration::from_millis(50));
    let bobs: Vec<_> = pair.sent[before..].iter().filter(|(_, who, ..)| *who == Who::Bob).collect();
    let at_once = bobs.iter().filter(|(at, ..)| *at == start).count();
    assert_eq!(at_once, 10, "the burst");
    let half = bobs.iter().filter(|(at, ..)| *at <= start + Duration::from_millis(20)).count();
    assert!(half > 20 && half * DATAGRAM_SIZE < window as usize * 2 / 3, "{half} of {} packets", bobs.len());
}

#[test]
fn what_a_person_types_is_never_paced() {
    let mut pair = Pair::up(1, narrow());
    pair.run_for(SECOND);
    for n in 0..200u32 {
        let before = pair.sent.len();
        pair.say(Who::Bob, &n.to_be_bytes());
        pair.drain(Who::Bob);
        assert_eq!(pair.sent.len(), before + 1, "line {n} waits");
        pair.run_for(Duration::from_millis(20));
    }
}

#[test]
fn an_application_that_sends_little_keeps_the_window_that_it_has_proven() {
    let mut pair = Pair::up(1, LinkConfig { rate: None, ..narrow() });
    pair.run_for(SECOND);
    let window = path(&pair).window;
    for _ in 0..500 {
        pair.say(Who::Bob, &[1; 800]);
        pair.run_for(Duration::from_millis(20));
    }
    assert_eq!(path(&pair).window, window);
    assert_eq!(path(&pair).reductions, 0);
}

#[test]
fn what_is_known_of_a_path_is_told() {
    let mut pair = Pair::up(1, narrow());
    let session = pair.bob.session;
    pour(&mut pair, &[session], 20 * SECOND);
    let info = pair.bob.endpoint.info(session, pair.now).unwrap();
    let path = info.path;
    let least = path.rtt_least.unwrap();
    assert!((Duration::from_millis(40)..Duration::from_millis(53)).contains(&least), "{path:?}");
    assert!(info.srtt.unwrap() > least && path.rtt_variation > Duration::ZERO, "{path:?}");
    assert!(path.in_flight > 0 && path.in_flight <= path.window, "{path:?}");
    assert!(path.window < 3 * PRODUCT, "{path:?}");
    let pace = path.pace.unwrap();
    assert!((RATE..3 * RATE).contains(&pace), "{path:?}");
    let (bob, alice) = (pair.bob.address.ip(), pair.alice.address.ip());
    pair.network.partition(bob, alice, true);
    pour(&mut pair, &[session], 3 * SECOND);
    pair.network.partition(bob, alice, false);
    pour(&mut pair, &[session], 3 * SECOND);
    let after = self::path(&pair);
    assert!(
        after.timeouts >= 3 && after.reductions > path.reductions && after.threshold.is_some(),
        "{after:?}"
    );
}
