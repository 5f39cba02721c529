//! Paths that take more than the base, less than before, and nothing of what they took before.

use core::time::Duration;

use p2pchat_netsim::{Access, Fault, Internet, LinkConfig, Way, millis};
use p2pchat_proto::Moment;

use super::pair::Who;
use super::wander::{Home, Wanderers, access};
use crate::{DATAGRAM_SIZE, DATAGRAM_SIZE_LEAST, DATAGRAM_SIZE_MAX};

/// Longest time without a line while a path takes less than before.
const GAP_MAX: Duration = Duration::from_secs(2);

/// Two who say lines that fill several datagrams, over a path that takes `mtu` bytes.
fn talkers(seed: u64, mtu: Option<usize>) -> Wanderers {
    let mut world = Wanderers::up(seed, Home::Public, Home::Public);
    narrow(&mut world, mtu);
    world.long = 6_000;
    world
}

fn narrow(world: &mut Wanderers, mtu: Option<usize>) {
    let interface = world.bob.interface;
    for way in Way::BOTH {
        world.apply(Fault::Mtu { interface, way, mtu });
    }
}

/// Longest time between two lines that somebody got from `since` on.
fn longest_gap(world: &mut Wanderers, who: Who, since: u64) -> Duration {
    let lines = world.person(who).lines();
    assert!(lines.iter().map(|(_, number)| *number).eq(0..lines.len() as u32), "once and in order");
    let times: Vec<Moment> = lines.iter().map(|(at, _)| *at).filter(|at| at.as_nanos() >= since).collect();
    times.windows(2).map(|pair| pair[1].saturating_since(pair[0])).max().unwrap()
}

#[test]
fn what_a_path_takes_is_found_and_what_it_does_not_is_no_sign_of_congestion() {
    for (mtu, least, most) in [
        (None, DATAGRAM_SIZE_MAX, DATAGRAM_SIZE_MAX),
        (Some(1400), 1385, 1400),
        (Some(1300), 1285, 1300),
        (Some(1210), 1200, 1210),
        (Some(DATAGRAM_SIZE), DATAGRAM_SIZE, DATAGRAM_SIZE),
    ] {
        for seed in 0..5 {
            let mut world = talkers(seed, mtu);
            world.talk(5);
            for who in [Who::Bob, Who::Alice] {
                let info = world.info(who);
                assert!((least..=most).contains(&info.mtu), "seed {seed}, {mtu:?}: {}", info.mtu);
                assert_eq!((info.lost, info.path.reductions), (0, 0), "{mtu:?}");
                assert_eq!(info.black_holes, 0);
            }
        }
    }
}

#[test]
fn who_only_chats_sends_no_probe() {
    let mut world = Wanderers::up(1, Home::Public, Home::Public);
    world.talk(30);
    assert!(world.sent.iter().all(|(.., bytes)| bytes.len() < 300));
    assert_eq!(world.info(Who::Bob).mtu, DATAGRAM_SIZE);
}

#[test]
fn a_path_that_swallows_what_it_took_before_stalls_nothing() {
    for (seed, mtu) in (0..10).flat_map(|seed| [(seed, DATAGRAM_SIZE), (seed, 1300), (seed, 1451)]) {
        let mut world = talkers(seed, None);
        world.talk(5);
        assert_eq!(world.info(Who::Bob).mtu, DATAGRAM_SIZE_MAX);
        narrow(&mut world, Some(mtu));
        let since = world.now;
        world.talk(10);
        for who in [Who::Bob, Who::Alice] {
            let gap = longest_gap(&mut world, who, since);
            assert!(gap < GAP_MAX, "seed {seed}, {mtu}: {who:?} without a line for {gap:?}");
            let info = world.info(who);
            assert_eq!((info.mtu, info.black_holes, info.suspect), (DATAGRAM_SIZE, 1, false), "seed {seed}");
        }
        // Later it is tried again.
        world.talk(60);
        let found = world.info(Who::Bob).mtu;
        assert!(found <= mtu && found + 16 > mtu, "seed {seed}: {found} of {mtu}");
    }
}

#[test]
fn a_path_that_takes_less_than_the_base_stalls_long_lines_for_seconds_at_most() {
    const STALL_MAX: Duration = Duration::from_secs(8);
    for (seed, (mtu, long)) in (0..).zip([(560, 6_000), (700, 1_150), (1000, 6_000), (1190, 1_190)]) {
        let mut world = talkers(seed, Some(mtu));
        world.long = long;
        let since = world.now;
        world.talk(25);
        for who in [Who::Bob, Who::Alice] {
            let gap = longest_gap(&mut world, who, since);
            assert!(gap < STALL_MAX, "seed {seed}, {mtu}, {long}: {who:?} without a line for {gap:?}");
            let info = world.info(who);
            assert_eq!((info.mtu, info.black_holes, info.suspect), (DATAGRAM_SIZE_LEAST, 1, false));
        }
        // Later it is searched for what it takes.
        world.talk(45);
        world.long = 6_000;
        world.talk(5);
        let found = world.info(Who::Bob).mtu;
        assert!(found <= mtu && found + 16 > mtu, "seed {seed}: {found} of {mtu}");
    }
}

#[test]
fn a_path_that_takes_less_than_the_base_all_at_once_stalls_as_little() {
    for seed in 0..3 {
        let mut world = talkers(seed, None);
        world.talk(3);
        narrow(&mut world, Some(800));
        let since = world.now;
        world.talk(20);
        for who in [Who::Bob, Who::Alice] {
            let gap = longest_gap(&mut world, who, since);
            assert!(gap < Duration::from_secs(8), "seed {seed}: {who:?} without a line for {gap:?}");
            assert_eq!(world.info(who).mtu, DATAGRAM_SIZE_LEAST);
        }
    }
}

#[test]
fn a_path_from_one_side_only_that_swallows_large_ones_stalls_nothing() {
    for way in Way::BOTH {
        let mut world = talkers(1, None);
        world.talk(5);
        let interface = world.bob.interface;
        world.apply(Fault::Mtu { interface, way, mtu: Some(1250) });
        let since = world.now;
        world.talk(10);
        for who in [Who::Bob, Who::Alice] {
            assert!(longest_gap(&mut world, who, since) < GAP_MAX);
        }
        let narrower = if way == Way::Up { Who::Bob } else { Who::Alice };
        assert_eq!(world.info(narrower).mtu, DATAGRAM_SIZE);
    }
}

#[test]
fn losses_and_a_queue_that_runs_over_are_seldom_taken_for_a_black_hole() {
    let mut holes = 0;
    for seed in 0..10 {
        let mut world = talkers(seed, None);
        world.talk(3);
        let interface = world.bob.interface;
        let loss = p2pchat_netsim::Loss::Independent { share: 0.1 };
        let config = LinkConfig { loss, delay: millis(10), ..LinkConfig::default() };
        for way in Way::BOTH {
            world.apply(Fault::Line { interface, way, config });
        }
        world.talk(20);
        holes += world.info(Who::Bob).black_holes + world.info(Who::Alice).black_holes;
    }
    assert!(holes <= 10, "{holes} in twenty sessions of 20 s at 10 %");
    for (share, most) in [(0.1, 0), (0.25, 1)] {
        let mut least = 0;
        for seed in 0..4 {
            let mut world = talkers(seed, Some(DATAGRAM_SIZE));
            let interface = world.bob.interface;
            let loss = p2pchat_netsim::Loss::Independent { share };
            let config = LinkConfig { loss, delay: millis(10), ..LinkConfig::default() };
            for way in Way::BOTH {
                world.apply(Fault::Line { interface, way, config });
            }
            world.talk(20);
            let sizes = [Who::Bob, Who::Alice].map(|who| world.info(who).mtu);
            least += sizes.iter().filter(|size| **size < DATAGRAM_SIZE).count();
        }
        assert!(least <= most, "{least} of eight below the base with {share} lost");
    }
}

#[test]
fn another_network_begins_with_what_every_path_takes() {
    let mut world = talkers(1, None);
    world.talk(5);
    assert_eq!(world.info(Who::Alice).mtu, DATAGRAM_SIZE_MAX);
    narrow(&mut world, Some(1250));
    world.rehome(Who::Bob, Internet::PUBLIC, "192.0.2.77");
    let since = world.now;
    world.talk(10);
    for who in [Who::Bob, Who::Alice] {
        assert!(longest_gap(&mut world, who, since) < GAP_MAX);
        assert!(world.info(who).mtu <= 1250);
    }
}

#[test]
fn an_interface_that_refuses_a_probe_is_no_error_and_not_asked_again() {
    let narrow = Access { mtu: Some(1280), ..access() };
    let mut world = Wanderers::with(1, [Home::Public; 2], narrow);
    assert!(world.run_until(10, |world| world.bob.is_up() && world.alice.is_up()));
    world.long = 6_000;
    world.talk(5);
    let info = world.info(Who::Bob);
    assert!((1265..=1280).contains(&info.mtu) && info.lost == 0, "{info:?}");
    let too_large = world.sent.iter().filter(|(_, who, _, bytes)| *who == Who::Bob && bytes.len() > 1280);
    assert!(too_large.count() <= 5, "each size once");
}
