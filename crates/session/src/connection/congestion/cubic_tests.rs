use super::*;
use proptest::prelude::*;

const DATAGRAM: u64 = 1200;

fn at(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn rtt_of(rtt: Duration) -> RttEstimator {
    let mut estimator = RttEstimator::new();
    estimator.on_sample(rtt, Duration::ZERO);
    estimator
}

/// A controller with a window of so many datagrams.
fn with_window(datagrams: u64) -> Cubic {
    let mut cubic = Cubic::new(DATAGRAM);
    cubic.state.window = (datagrams * DATAGRAM) as f64;
    cubic
}

fn datagrams(cubic: &Cubic) -> f64 {
    cubic.state.window / DATAGRAM as f64
}

/// One round trip in which a whole window arrives, evenly spread. Answers with its end.
fn round(cubic: &mut Cubic, rtt: Duration, start: Moment) -> Moment {
    let estimator = rtt_of(rtt);
    let count = cubic.window() / DATAGRAM;
    for n in 1..=count {
        let now = start + rtt * u32::try_from(n).unwrap() / u32::try_from(count).unwrap();
        cubic.on_acked(DATAGRAM, now - rtt, false, &estimator, now);
    }
    start + rtt
}

#[test]
fn the_first_window_is_ten_datagrams_or_the_cap() {
    assert_eq!(Cubic::new(1200).window(), 12_000);
    assert_eq!(Cubic::new(1500).window(), 14_720);
    assert_eq!((Cubic::new(1200).threshold(), Cubic::new(1200).reductions()), (None, 0));
}

#[test]
fn slow_start_grows_by_what_arrived_and_a_loss_leaves_seven_tenths() {
    let mut cubic = Cubic::new(DATAGRAM);
    cubic.on_acked(12_000, at(1), false, &rtt_of(ms(10)), at(11));
    assert_eq!(cubic.window(), 24_000);
    cubic.on_lost(DATAGRAM, at(12), false, at(22));
    assert_eq!((cubic.window(), cubic.threshold(), cubic.reductions()), (16_800, Some(16_800), 1));
}

#[test]
fn one_round_of_losses_reduces_once_and_never_below_the_least() {
    let mut cubic = Cubic::new(DATAGRAM);
    cubic.on_lost(DATAGRAM, at(1), false, at(5));
    cubic.on_lost(DATAGRAM, at(4), false, at(6));
    assert_eq!(cubic.window(), 8_400);
    (10..30).for_each(|ms| cubic.on_lost(DATAGRAM, at(ms), false, at(ms + 1)));
    assert_eq!(cubic.window(), 2 * DATAGRAM);
    let mut now = at(100);
    for _ in 0..20 {
        now = round(&mut cubic, ms(50), now);
    }
    assert!(cubic.window() > 4 * DATAGRAM, "{} bytes: it grows again", cubic.window());
}

#[test]
fn what_was_sent_before_the_reduction_does_not_grow_the_window() {
    let mut cubic = Cubic::new(DATAGRAM);
    cubic.on_lost(DATAGRAM, at(1), false, at(5));
    cubic.on_acked(DATAGRAM, at(4), false, &rtt_of(ms(10)), at(14));
    assert_eq!(cubic.window(), 8_400);
}

#[test]
fn a_window_that_had_shrunk_makes_room_for_others() {
    let mut cubic = with_window(1000);
    cubic.on_lost(DATAGRAM, at(10), false, at(20));
    assert_eq!(cubic.state.w_max, 1_200_000.0);
    cubic.on_lost(DATAGRAM, at(30), false, at(40));
    // RFC 9438 section 4.7: 700 datagrams times (1 + 0.7) / 2.
    assert!((cubic.state.w_max - 700.0 * 0.85 * 1200.0).abs() < 1e-6, "{}", cubic.state.w_max);
}

proptest! {
    /// RFC 9438 section 4.2: K is the root of W_max (1 - beta) / C, and the window is C (t - K)^3 + W_max.
    #[test]
    fn the_window_follows_the_cubic_function(w_max in 300u64..5_000, rtt in 60u64..400) {
        let rtt = ms(rtt);
        let mut cubic = with_window(w_max);
        let start = at(10_000);
        cubic.on_lost(DATAGRAM, at(9_990), false, start);
        let w_max = w_max as f64;
        let k = (w_max * 0.3 / 0.4).cbrt();
        let closed = |t: f64| 0.4 * (t - k).powi(3) + w_max;
        prop_assert!((closed(0.0) - 0.7 * w_max).abs() < 1e-6);
        let mut now = start + rtt;
        cubic.state.counted = now;
        while now.saturating_since(start).as_secs_f64() < 2.5 * k {
            now = round(&mut cubic, rtt, now);
            let t = (now.saturating_since(start) - rtt).as_secs_f64();
            let (low, high) = (closed(t - rtt.as_secs_f64()), closed(t + rtt.as_secs_f64()));
            let seen = datagrams(&cubic);
            prop_assert!((low.max(0.7 * w_max) - 0.5..=high + 0.5).contains(&seen),
                "{seen} datagrams after {t} s, not between {low} and {high}");
        }
    }

    /// RFC 9438 section 4.3, equation 4: W_max beta + 3 (1 - beta) / (1 + beta) t / RTT.
    #[test]
    fn where_the_cubic_function_is_slower_the_window_is_that_of_reno(w_max in 10u64..40, rtt in 2u64..12) {
        let rtt = ms(rtt);
        let mut cubic = with_window(w_max);
        cubic.on_lost(DATAGRAM, at(990), false, at(1_000));
        let mut now = at(1_000) + rtt;
        cubic.state.counted = now;
        let start = datagrams(&cubic);
        let rounds = (0.25 * w_max as f64 / ALPHA) as u32;
        for n in 1..=rounds {
            now = round(&mut cubic, rtt, now);
            let reno = start + ALPHA * f64::from(n);
            prop_assert!((datagrams(&cubic) - reno).abs() < 0.15 * f64::from(n) * ALPHA + 0.1,
                "{} datagrams after {n} rounds instead of {reno}", datagrams(&cubic));
        }
    }

    #[test]
    fn the_root_is_the_root(of in 0.0..1e12f64) {
        let root = cube_root(of);
        prop_assert!((root * root * root - of).abs() <= of * 1e-12, "{root}");
    }

    #[test]
    fn whatever_comes_the_window_is_sane(
        steps in proptest::collection::vec((0u8..6, 0u64..300, 0u64..100_000), 0..300),
    ) {
        let mut cubic = Cubic::new(DATAGRAM);
        let mut now = at(1_000);
        for (kind, after, bytes) in steps {
            let sent = now - ms(50);
            let (window, in_recovery) = (cubic.window(), cubic.is_in_recovery(sent));
            match kind {
                0 | 1 => cubic.on_acked(bytes.min(window), sent, kind == 1, &rtt_of(ms(50)), now),
                2 => cubic.on_lost(bytes, sent, false, now),
                3 => cubic.on_lost(bytes, sent, true, now),
                4 => cubic.on_spurious_loss(bytes, sent, now),
                _ => cubic.on_congestion_experienced(sent, now),
            }
            prop_assert!(cubic.window() >= 2 * DATAGRAM && cubic.state.window.is_finite());
            prop_assert!(kind != 0 || cubic.window() <= window * 2 + 1, "more than doubled");
            prop_assert!(kind != 0 || !in_recovery || cubic.window() == window);
            now = now + ms(after);
        }
    }
}

#[test]
fn time_in_which_nothing_was_held_back_does_not_count() {
    let busy_then = |idle: u64, chatter: bool| {
        let mut cubic = with_window(500);
        cubic.on_lost(DATAGRAM, at(990), false, at(1_000));
        let mut now = at(1_100);
        for _ in 0..20 {
            now = round(&mut cubic, ms(100), now);
        }
        let end = now + ms(idle);
        while chatter && now < end {
            now = now + ms(100);
            cubic.on_acked(DATAGRAM, now - ms(100), true, &rtt_of(ms(100)), now);
        }
        now = end + ms(100);
        for _ in 0..20 {
            now = round(&mut cubic, ms(100), now);
        }
        datagrams(&cubic)
    };
    let without = busy_then(0, false);
    for chatter in [false, true] {
        let with = busy_then(60_000, chatter);
        assert!((with - without).abs() < without / 100.0, "{with} and {without}, chatter {chatter}");
    }
    assert!(without < 500.0);
}

#[test]
fn a_sender_that_the_window_did_not_hold_back_does_not_widen_it() {
    let mut cubic = Cubic::new(DATAGRAM);
    cubic.on_acked(DATAGRAM, at(1), true, &rtt_of(ms(1)), at(2));
    assert_eq!(cubic.window(), 12_000);
}

#[test]
fn a_reduction_is_taken_back_when_every_loss_behind_it_proves_spurious() {
    let mut cubic = Cubic::new(DATAGRAM);
    cubic.on_lost(2 * DATAGRAM, at(1), false, at(5));
    cubic.on_spurious_loss(DATAGRAM, at(1), at(6));
    assert_eq!(cubic.window(), 8_400, "one of two may have been a loss");
    cubic.on_spurious_loss(DATAGRAM, at(1), at(7));
    assert_eq!((cubic.window(), cubic.threshold(), cubic.reductions()), (12_000, None, 0));
    // Slow start goes on as if nothing had been.
    cubic.on_acked(DATAGRAM, at(4), false, &rtt_of(ms(4)), at(8));
    assert_eq!(cubic.window(), 12_000 + DATAGRAM);
}

#[test]
fn a_reduction_that_was_taken_back_leaves_no_trace_in_the_growth() {
    let grown = |spurious: bool| {
        let mut cubic = with_window(800);
        cubic.on_lost(DATAGRAM, at(990), false, at(1_000));
        let mut now = at(1_100);
        for n in 0..100 {
            if spurious && n == 30 {
                cubic.on_lost(DATAGRAM, now, false, now);
                cubic.on_spurious_loss(DATAGRAM, now, now);
            }
            now = round(&mut cubic, ms(100), now);
        }
        cubic
    };
    let (with, without) = (grown(true), grown(false));
    assert_eq!((with.state.window, with.state.w_max), (without.state.window, without.state.w_max));
}

#[test]
fn a_late_packet_of_an_earlier_recovery_takes_nothing_back() {
    let mut cubic = with_window(100);
    cubic.on_lost(DATAGRAM, at(1), false, at(5));
    cubic.on_lost(DATAGRAM, at(6), false, at(10));
    let window = cubic.window();
    cubic.on_spurious_loss(DATAGRAM, at(1), at(11));
    assert_eq!((cubic.window(), cubic.reductions()), (window, 2));
    cubic.on_spurious_loss(DATAGRAM, at(6), at(12));
    assert_eq!((cubic.window(), cubic.reductions()), (84_000, 1));
}

#[test]
fn persistent_congestion_starts_over_at_the_least_window_and_stops_where_it_was_too_much() {
    let mut cubic = with_window(100);
    cubic.on_lost(DATAGRAM, at(1), true, at(5));
    assert_eq!((cubic.window(), cubic.threshold()), (2 * DATAGRAM, Some(70 * DATAGRAM)));
    let mut now = at(100);
    now = round(&mut cubic, ms(100), now);
    assert_eq!(cubic.window(), 4 * DATAGRAM, "slow start");
    for _ in 0..6 {
        now = round(&mut cubic, ms(100), now);
    }
    let end = datagrams(&cubic);
    assert!((70.0..75.0).contains(&end), "{end} datagrams");
    assert!(cubic.state.hystart.is_none(), "the first slow start only");
    // From its own plateau (RFC 9438 section 4.8).
    assert_eq!(cubic.state.stage.map(|stage| stage.k), Some(0.0));
    cubic.on_spurious_loss(DATAGRAM, at(1), now);
    assert!(datagrams(&cubic) < 75.0);
}

#[test]
fn a_mark_of_the_network_reduces_and_is_never_taken_back() {
    let mut cubic = with_window(100);
    cubic.on_congestion_experienced(at(1), at(5));
    cubic.on_congestion_experienced(at(4), at(6));
    assert_eq!((cubic.window(), cubic.reductions()), (84_000, 1));
    cubic.on_spurious_loss(DATAGRAM, at(1), at(7));
    assert_eq!(cubic.window(), 84_000);
}

#[test]
fn a_queue_that_builds_up_ends_slow_start_before_it_overflows() {
    let mut cubic = Cubic::new(DATAGRAM);
    let mut now = at(1_000);
    let mut rounds = 0;
    // 50 datagrams fit on the path; the rest wait. Without an end, ten rounds make 10,240 of ten.
    while cubic.is_in_slow_start() {
        let rtt = ms(50).max(ms(cubic.window() / DATAGRAM));
        now = round(&mut cubic, rtt, now);
        rounds += 1;
        assert!(rounds <= 10, "{} datagrams", datagrams(&cubic));
    }
    assert!((50.0..450.0).contains(&datagrams(&cubic)), "{}", datagrams(&cubic));
    assert_eq!(cubic.reductions(), 0);
}

#[test]
fn the_pace_is_two_windows_a_round_trip_in_slow_start_and_five_quarters_later() {
    let mut cubic = with_window(100);
    assert_eq!(super::super::pace(&cubic, ms(100)), 2_400_000);
    cubic.on_lost(DATAGRAM, at(1), false, at(5));
    assert_eq!(super::super::pace(&cubic, ms(100)), 84_000 * 10 * 5 / 4);
    assert!(super::super::pace(&cubic, Duration::ZERO) > 1 << 60, "no division by nothing");
}
