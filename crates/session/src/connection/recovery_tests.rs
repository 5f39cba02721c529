use super::super::congestion::Cubic;
use super::*;
use p2pchat_proto::frame::{Frame, Frames, ack};

const SIZE: u64 = 1200;

fn at(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn recovery() -> Recovery {
    Recovery::new(Box::new(Cubic::new(SIZE)))
}

fn send(recovery: &mut Recovery, now: Moment) -> u64 {
    let number = recovery.sent.next_number();
    // The content tells which packet it was.
    let mut content = Content::default();
    content.acked_up_to = Some(number);
    recovery.on_sent(SIZE, true, content, now);
    number
}

/// Acknowledges the numbers, which descend, and answers with the numbers of acked and lost packets.
fn acknowledge(
    recovery: &mut Recovery,
    numbers: &[u64],
    now: Moment,
) -> Result<(Vec<u64>, Vec<u64>), AckOfUnsent> {
    let mut ranges = crate::ranges::Ranges::default();
    numbers.iter().for_each(|number| ranges.insert(*number..number + 1));
    let mut out = Vec::new();
    let newest_first = ranges.iter().rev().map(|range| range.start..=range.end - 1);
    assert!(ack::write(Duration::ZERO, newest_first, 1000, &mut out));
    let Some(Ok(Frame::Ack(frame))) = Frames::new(&out).next() else { panic!("{out:?}") };
    let (mut acked, mut lost) = (vec![], vec![]);
    recovery.on_ack(&frame, now, &mut |outcome, content| match outcome {
        Outcome::Acked => acked.extend(content.acked_up_to),
        Outcome::Lost => lost.extend(content.acked_up_to),
    })?;
    Ok((acked, lost))
}

#[test]
fn an_acknowledgement_of_a_packet_that_was_never_sent_is_refused() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    assert_eq!(acknowledge(&mut recovery, &[1], at(10)), Err(AckOfUnsent));
    assert_eq!(acknowledge(&mut recovery, &[0], at(10)), Ok((vec![0], vec![])));
}

#[test]
fn three_packets_that_overtake_one_make_it_lost() {
    let mut recovery = recovery();
    (0..4).for_each(|_| {
        send(&mut recovery, at(0));
    });
    assert_eq!(acknowledge(&mut recovery, &[2, 1], at(10)), Ok((vec![1, 2], vec![])));
    assert_eq!(acknowledge(&mut recovery, &[3], at(10)), Ok((vec![3], vec![0])));
    assert_eq!((recovery.sent.in_flight, recovery.lost), (0, 1));
}

#[test]
fn a_packet_that_was_overtaken_is_lost_after_nine_eighths_of_a_round_trip() {
    let mut recovery = recovery();
    (0..2).for_each(|_| {
        send(&mut recovery, at(0));
    });
    acknowledge(&mut recovery, &[1], at(80)).unwrap();
    assert_eq!(recovery.deadline(), Some(at(90)));
    let mut lost = vec![];
    let expired = recovery.on_timeout(at(90), &mut |_, content| lost.extend(content.acked_up_to));
    assert_eq!((expired, lost), (Expired::Losses, vec![0]));
    assert_eq!(recovery.deadline(), None);
}

#[test]
fn losses_that_prove_spurious_raise_the_thresholds() {
    let mut recovery = recovery();
    (0..8).for_each(|_| {
        send(&mut recovery, at(0));
    });
    let (_, lost) = acknowledge(&mut recovery, &[7], at(10)).unwrap();
    assert_eq!(lost, [0, 1, 2, 3, 4]);
    acknowledge(&mut recovery, &[7, 6, 5, 4, 3, 2, 1, 0], at(11)).unwrap();
    assert_eq!((recovery.reordering.packets(), recovery.lost, recovery.spurious), (8, 0, 5));
    (0..8).for_each(|_| {
        send(&mut recovery, at(20));
    });
    let (_, lost) = acknowledge(&mut recovery, &[15], at(30)).unwrap();
    assert_eq!(lost, Vec::<u64>::new());
}

fn probe_times(in_flight: u64) -> Vec<u64> {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    acknowledge(&mut recovery, &[0], at(100)).unwrap();
    (0..in_flight).for_each(|_| {
        send(&mut recovery, at(1000));
    });
    let pto = recovery.rtt.pto();
    (0..7)
        .map(|_| {
            let due = recovery.deadline().unwrap();
            let waited = due.saturating_since(if recovery.pto_count > 0 {
                recovery.last_probe
            } else {
                recovery.last_asked
            });
            assert_eq!(recovery.on_timeout(due, &mut |_, _| {}), Expired::Probe);
            assert_eq!((recovery.probes, recovery.deadline()), (PROBE_PACKETS, None));
            recovery.probes = 0;
            recovery.last_probe = due;
            u64::try_from(waited.as_nanos() / pto.as_nanos()).unwrap()
        })
        .collect()
}

#[test]
fn a_thin_stream_backs_off_linearly_at_first() {
    // The cap of 2 s is 6 times the probe timeout of 325 ms.
    assert_eq!(probe_times(3), [1, 2, 3, 4, 6, 6, 6]);
}

#[test]
fn a_full_stream_backs_off_exponentially() {
    assert_eq!(probe_times(4), [1, 2, 4, 6, 6, 6, 6]);
}

#[test]
fn an_acknowledgement_of_something_new_ends_the_backoff() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    recovery.on_timeout(at(2000), &mut |_, _| {});
    recovery.on_timeout(at(5000), &mut |_, _| {});
    assert_eq!(recovery.pto_count, 2);
    acknowledge(&mut recovery, &[0], at(5001)).unwrap();
    assert_eq!((recovery.pto_count, recovery.probes, recovery.deadline()), (0, 0, None));
}

#[test]
fn losing_everything_over_a_long_time_is_persistent_congestion() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    acknowledge(&mut recovery, &[0], at(100)).unwrap();
    for ms in (200..=2200).step_by(200) {
        send(&mut recovery, at(ms));
    }
    let last = recovery.sent.next_number() - 1;
    acknowledge(&mut recovery, &[last], at(2300)).unwrap();
    assert_eq!(recovery.controller.window(), 2 * SIZE);
}

#[test]
fn what_was_sent_before_the_first_round_trip_time_is_no_persistent_congestion() {
    let mut recovery = recovery();
    for ms in (0..=2200).step_by(200) {
        send(&mut recovery, at(ms));
    }
    let last = recovery.sent.next_number() - 1;
    let (_, lost) = acknowledge(&mut recovery, &[last], at(2300)).unwrap();
    assert_eq!((lost.len(), recovery.controller.window()), (11, 7 * SIZE));
}

#[test]
fn an_arrival_in_between_makes_persistent_congestion_two_short_losses() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    acknowledge(&mut recovery, &[0], at(100)).unwrap();
    for ms in (200..=2200).step_by(200) {
        send(&mut recovery, at(ms));
    }
    let last = recovery.sent.next_number() - 1;
    let (_, lost) = acknowledge(&mut recovery, &[last, last / 2], at(2300)).unwrap();
    assert_eq!(lost.len(), 9);
    assert!(recovery.controller.window() > 2 * SIZE, "{}", recovery.controller.window());
}

#[test]
fn persistent_congestion_forgets_the_least_round_trip_time() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    acknowledge(&mut recovery, &[0], at(100)).unwrap();
    for ms in (200..=2200).step_by(200) {
        send(&mut recovery, at(ms));
    }
    let last = recovery.sent.next_number() - 1;
    acknowledge(&mut recovery, &[last], at(2500)).unwrap();
    assert_eq!(recovery.rtt.least(), Some(Duration::from_millis(300)));
}

/// One packet in flight since 100 ms, and the pace holds back `waiting` bytes.
fn paced(waiting: u64) -> Recovery {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    acknowledge(&mut recovery, &[0], at(100)).unwrap();
    assert!(recovery.lets_out(SIZE, waiting, at(100)));
    recovery.pacer.on_sent(9 * SIZE);
    send(&mut recovery, at(100));
    assert!(!recovery.lets_out(SIZE, waiting, at(100)), "the pace, not the window");
    assert!(recovery.pacer.deadline().is_some_and(|until| until > at(100)));
    recovery
}

#[test]
fn the_window_grows_while_the_pace_holds_back_what_would_fill_it_and_not_for_less() {
    for (waiting, grows) in [(20 * SIZE, true), (2 * SIZE, false)] {
        let mut recovery = paced(waiting);
        let window = recovery.controller.window();
        acknowledge(&mut recovery, &[1], at(200)).unwrap();
        assert_eq!(recovery.controller.window() > window, grows, "{waiting} bytes wait");
    }
}

#[test]
fn a_window_that_is_full_waits_for_no_timer() {
    let mut recovery = recovery();
    while recovery.lets_out(SIZE, 20 * SIZE, at(0)) {
        send(&mut recovery, at(0));
    }
    assert_eq!((recovery.sent.bytes_in_flight, recovery.pacer.deadline()), (12_000, None));
}

#[test]
fn who_has_nothing_to_send_waits_for_no_pace() {
    let mut recovery = paced(20 * SIZE);
    recovery.nothing_waits();
    assert_eq!(recovery.pacer.deadline(), None);
    assert!(recovery.lets_out(SIZE, SIZE, at(200)));
}

#[test]
fn timeouts_are_counted() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    (1..4).for_each(|n| {
        recovery.on_timeout(at(n * 2000), &mut |_, _| {});
    });
    assert_eq!((recovery.path().timeouts, recovery.path().in_flight), (3, SIZE));
}

#[test]
fn a_peer_that_acknowledges_nothing_costs_bounded_memory() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    let mut lost = vec![];
    for _ in 0..2 * SENT_KEPT_MAX {
        recovery.make_room(at(1), &mut |_, content| lost.extend(content.acked_up_to));
        recovery.on_sent(40, false, Content::default(), at(1));
    }
    assert_eq!((lost, recovery.sent.in_flight), (vec![0], 0));
    assert!(recovery.sent.oldest_beyond(SENT_KEPT_MAX + 1).is_none());
    assert_eq!(recovery.sent.next_number(), 1 + 2 * SENT_KEPT_MAX as u64);
}

#[test]
fn the_same_acknowledgement_again_changes_nothing() {
    let mut recovery = recovery();
    (0..3).for_each(|_| {
        send(&mut recovery, at(0));
    });
    acknowledge(&mut recovery, &[1, 0], at(50)).unwrap();
    let window = recovery.controller.window();
    assert_eq!(acknowledge(&mut recovery, &[1, 0], at(60)), Ok((vec![], vec![])));
    assert_eq!((recovery.controller.window(), recovery.sent.in_flight), (window, 1));
}

#[test]
fn a_user_who_goes_on_writing_does_not_put_the_next_probe_off() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    assert_eq!(recovery.on_timeout(at(1022), &mut |_, _| {}), Expired::Probe);
    (0..PROBE_PACKETS).for_each(|_| {
        send(&mut recovery, at(1022));
    });
    let due = recovery.deadline();
    send(&mut recovery, at(1500));
    assert_eq!(recovery.deadline(), due);
}

#[test]
fn a_user_who_never_stops_writing_puts_the_first_probe_off_by_one_timeout_and_no_more() {
    let mut recovery = recovery();
    send(&mut recovery, at(0));
    let timeout = recovery.deadline().unwrap().saturating_since(at(0));
    let mut now = 0;
    while recovery.deadline().unwrap() > at(now + 100) {
        now += 100;
        send(&mut recovery, at(now));
        assert!(now < 10_000);
    }
    assert_eq!(recovery.deadline(), Some(at(0) + timeout * PUT_OFF));
    // Who is answered goes on as before.
    acknowledge(&mut recovery, &[1, 0], at(now)).unwrap();
    assert_eq!(recovery.deadline(), Some(at(now) + recovery.rtt.pto().min(PROBE_INTERVAL_MAX)));
    // Nor does it count from before when nothing was on its way.
    let newest = recovery.sent.next_number() - 1;
    let rest: Vec<u64> = (2..=newest).rev().collect();
    acknowledge(&mut recovery, &rest, at(now + 1)).unwrap();
    send(&mut recovery, at(now + 50_000));
    assert_eq!(recovery.deadline(), Some(at(now + 50_000) + recovery.rtt.pto().min(PROBE_INTERVAL_MAX)));
}

#[test]
fn a_round_trip_that_took_a_sleep_is_no_sample_and_one_over_a_slow_path_is() {
    let measured = || {
        let mut recovery = recovery();
        send(&mut recovery, at(0));
        acknowledge(&mut recovery, &[0], at(100)).unwrap();
        send(&mut recovery, at(1_000));
        recovery
    };
    let srtt = |recovery: &Recovery| recovery.rtt.smoothed().unwrap().as_millis();
    // What waited in the socket is read before the timer runs, or after it.
    let mut slept = measured();
    assert_eq!(acknowledge(&mut slept, &[1], at(21_000)), Ok((vec![1], vec![])));
    assert_eq!(srtt(&slept), 100);
    let mut slept = measured();
    assert_eq!(slept.on_timeout(at(21_000), &mut |_, _| {}), Expired::Probe);
    acknowledge(&mut slept, &[1], at(21_001)).unwrap();
    assert_eq!(srtt(&slept), 100);
    // What is sent afterwards counts again.
    let number = send(&mut slept, at(22_000));
    acknowledge(&mut slept, &[number], at(22_900)).unwrap();
    assert_eq!(srtt(&slept), 200);
    // Whoever is awake asks again and again meanwhile.
    let mut slow = measured();
    while let Some(due) = slow.deadline().filter(|due| *due < at(5_000)) {
        slow.on_timeout(due, &mut |_, _| {});
        slow.probes = 0;
        slow.last_probe = due;
    }
    acknowledge(&mut slow, &[1], at(5_000)).unwrap();
    assert_eq!(srtt(&slow), 587);
}
