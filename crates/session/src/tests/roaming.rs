//! Addresses that change under a session, and those who pretend that they do.

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_netsim::{Access, Dependence, Fault, Internet, LinkConfig, NatConfig, Ports, Sleep, Way, millis};
use p2pchat_proto::{Moment, datagram};

use super::pair::{Pair, Who, good_line, received};
use super::wander::{Home, PORT, Wanderers, access, other, public_ip};
use crate::StreamId;

/// Longest silence between two lines while an address changes (the figure).
const GAP_MAX: Duration = Duration::from_secs(2);

/// From the end of an outage or a sleep until everything flows again.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// A NAT at home that lets anybody in at an address to which it was used.
const BY_ADDRESS: NatConfig = NatConfig { filtering: Dependence::AddressDependent, ..NatConfig::HOME };

/// Longest time between two lines that somebody got from `since` on, lines said every tenth of a
/// second; and that all of them came once and in order.
fn longest_gap(world: &mut Wanderers, who: Who, since: u64) -> Duration {
    let seed = world.seed;
    let lines = world.person(who).lines();
    let numbers: Vec<u32> = lines.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..lines.len() as u32).collect::<Vec<_>>(), "seed {seed}: once and in order");
    let times: Vec<Moment> = lines.iter().map(|(at, _)| *at).filter(|at| at.as_nanos() >= since).collect();
    let first = times.first().unwrap().saturating_since(Moment::from_nanos(since));
    times.windows(2).map(|pair| pair[1].saturating_since(pair[0])).max().unwrap().max(first)
}

/// Lets both talk for ten seconds after something happened; none may be without a line for long.
fn goes_on(world: &mut Wanderers, what: &str) -> Duration {
    goes_on_for(10, world, what)
}

/// The same for so many seconds.
pub(super) fn goes_on_for(seconds: u64, world: &mut Wanderers, what: &str) -> Duration {
    let (seed, since) = (world.seed, world.now);
    world.talk(seconds);
    let mut longest = Duration::ZERO;
    for who in [Who::Bob, Who::Alice] {
        let gap = longest_gap(world, who, since);
        assert!(gap < GAP_MAX, "seed {seed}, {what}: {who:?} without a line for {gap:?}");
        longest = longest.max(gap);
        assert!(!world.person(who).has_ended(), "seed {seed}");
    }
    longest
}

fn losing(share: f64) -> LinkConfig {
    LinkConfig { loss: p2pchat_netsim::Loss::Independent { share }, ..access().up }
}

#[test]
#[allow(clippy::print_stdout, reason = "a figure for whoever asks for the output")]
fn a_conversation_goes_on_within_two_seconds_when_either_address_changes() {
    let mut longest = Duration::ZERO;
    for seed in 0..40 {
        for who in [Who::Bob, Who::Alice] {
            let mut world = Wanderers::up(seed, Home::Public, Home::Public);
            // One in twenty datagrams is lost on the way of every second seed.
            if seed % 2 == 1 {
                let interface = world.bob.interface;
                for way in Way::BOTH {
                    world.apply(Fault::Line { interface, way, config: losing(0.05) });
                }
            }
            world.talk(3);
            world.rehome(who, Internet::PUBLIC, "192.0.2.77");
            longest = longest.max(goes_on(&mut world, "after the first move"));
            let moved = SocketAddr::new("192.0.2.77".parse().unwrap(), PORT);
            let info = world.info(other(who));
            assert_eq!((info.remote, info.validated, info.moves), (moved, true, 1), "seed {seed}");
            assert_eq!(world.info(who).local_ip, Some(moved.ip()), "seed {seed}");
            // And the other one, too.
            world.rehome(other(who), Internet::PUBLIC, "192.0.2.99");
            longest = longest.max(goes_on(&mut world, "after the second move"));
            assert_eq!(world.info(who).remote.ip(), "192.0.2.99".parse::<core::net::IpAddr>().unwrap());
        }
    }
    println!("longest gap {longest:?}");
}

#[test]
fn a_nat_that_binds_anew_is_followed_and_what_was_measured_stays() {
    for seed in 0..20 {
        let home = Home::Behind(NatConfig { ports: Ports::Random, ..NatConfig::HOME });
        let mut world = Wanderers::up(seed, home, Home::Public);
        world.talk(3);
        let before = world.info(Who::Alice);
        assert_eq!((before.remote.ip(), before.moves), (public_ip(Who::Bob), 0));
        let nat = world.bob.nat.unwrap();
        world.apply(Fault::Reboot { nat });
        goes_on(&mut world, "after the reboot");
        let after = world.info(Who::Alice);
        assert_eq!(after.remote.ip(), before.remote.ip());
        assert!(after.remote.port() != before.remote.port() && after.moves == 1, "seed {seed}");
        assert!(after.path.window >= before.path.window, "it is the same network");
        assert_eq!((world.bob.moves(), world.alice.moves()), (0, 1));
    }
}

#[test]
fn two_people_behind_nats_go_on_when_either_gets_another_port_or_address() {
    let rebinding = NatConfig { ports: Ports::Random, ..BY_ADDRESS };
    for seed in 0..20 {
        let mut world = Wanderers::up(seed, Home::Behind(rebinding), Home::Behind(BY_ADDRESS));
        world.talk(3);
        let nat = world.bob.nat.unwrap();
        world.apply(Fault::Reboot { nat });
        goes_on(&mut world, "after the reboot");
        assert_eq!((world.bob.moves(), world.alice.moves()), (0, 1), "seed {seed}");

        let mut world = Wanderers::up(seed, Home::Behind(NatConfig::OPEN), Home::Behind(NatConfig::OPEN));
        world.talk(3);
        for (who, ip) in [(Who::Bob, "198.51.100.77"), (Who::Alice, "203.0.113.77")] {
            let nat = world.person(who).nat.unwrap();
            let (interface, ip) = (world.internet.outer(nat), ip.parse().unwrap());
            world.apply(Fault::Move { interface, net: Internet::PUBLIC, ip });
            goes_on(&mut world, "after another address from the provider");
            assert_eq!(world.info(other(who)).remote, SocketAddr::new(ip, PORT), "seed {seed}");
        }
    }
}

#[test]
fn another_network_is_measured_anew() {
    let mut world = Wanderers::up(1, Home::Public, Home::Public);
    // A long way at first, and a short one later.
    let far = Access::both(LinkConfig { delay: millis(300), ..LinkConfig::default() });
    let interface = world.bob.interface;
    let lines = |world: &mut Wanderers, access: Access| {
        world.apply(Fault::Line { interface, way: Way::Up, config: access.up });
        world.apply(Fault::Line { interface, way: Way::Down, config: access.down });
    };
    lines(&mut world, far);
    world.talk(20);
    let before = world.info(Who::Alice);
    assert!(before.srtt.unwrap() > Duration::from_millis(500), "{before:?}");
    lines(&mut world, access());
    world.rehome(Who::Bob, Internet::PUBLIC, "192.0.2.77");
    goes_on(&mut world, "after the move");
    let after = world.info(Who::Alice);
    assert!(after.path.rtt_least.unwrap() < Duration::from_millis(70), "{after:?}");
    assert!(after.srtt.unwrap() < Duration::from_millis(100), "{after:?}");
    assert_eq!((after.moves, after.observed.map(|at| at.ip())), (1, Some(public_ip(Who::Alice))));
}

#[test]
fn one_who_only_listens_is_found_at_once_where_its_system_tells_of_the_new_address() {
    for seed in 0..20 {
        for told in [true, false] {
            let mut world = Wanderers::up(seed, Home::Public, Home::Public);
            world.talk(2);
            world.run_for(Duration::from_secs(1));
            world.rehome(Who::Alice, Internet::PUBLIC, "192.0.2.77");
            if told {
                let now = world.clock(Who::Alice, world.now);
                world.alice.endpoint.addresses_changed(&["192.0.2.77".parse().unwrap()], now);
            }
            let before = world.alice.lines().len();
            world.say(Who::Bob);
            let found = world.run_until(2, |world| world.alice.lines().len() > before);
            assert_eq!(found, told, "seed {seed}");
            assert!(world.run_until(12, |world| world.alice.lines().len() > before), "seed {seed}");
        }
    }
}

#[test]
fn an_address_that_changes_during_an_outage_is_found_when_it_ends() {
    for seed in 0..20 {
        for (who, seconds) in [(Who::Bob, 5), (Who::Alice, 15), (Who::Bob, 25)] {
            let mut world = Wanderers::up(seed, Home::Public, Home::Public);
            world.talk(2);
            let interface = world.person(who).interface;
            world.apply(Fault::Unplug { interface });
            world.talk(seconds);
            world.rehome(who, Internet::PUBLIC, "192.0.2.77");
            world.apply(Fault::Plug { interface });
            let since = world.now;
            world.run_for(Duration::from_secs(10));
            let gap = |world: &mut Wanderers, who| {
                let lines = world.person(who).lines();
                let first = lines.iter().find(|(at, _)| at.as_nanos() >= since).unwrap().0;
                assert_eq!(lines.len() as u64, 20 + seconds * 10, "seed {seed}");
                first.saturating_since(Moment::from_nanos(since))
            };
            let longest = gap(&mut world, Who::Bob).max(gap(&mut world, Who::Alice));
            assert!(
                longest < BACK_WITHIN,
                "seed {seed}: {who:?} was away for {seconds} s, back after {longest:?}"
            );
        }
    }
}

#[test]
fn people_whose_machines_slept_for_ten_minutes_are_back_within_three_seconds() {
    for sleep in [Sleep::SUSPENDED, Sleep::STOPPED] {
        for seed in 0..10 {
            let mut world = Wanderers::up(seed, Home::Public, Home::Public);
            world.talk(2);
            for host in [world.bob.host, world.alice.host] {
                world.apply(Fault::Sleep { host, sleep });
            }
            world.run_for(Duration::from_secs(600));
            for host in [world.bob.host, world.alice.host] {
                world.apply(Fault::Wake { host });
            }
            let woken = world.now;
            world.talk(3);
            for who in [Who::Bob, Who::Alice] {
                let gap = longest_gap(&mut world, who, woken);
                assert!(gap < Duration::from_secs(3), "seed {seed}, {sleep:?}: {gap:?}");
                assert!(!world.person(who).has_ended(), "seed {seed}");
            }
        }
    }
}

#[test]
fn who_sleeps_for_less_than_the_other_waits_is_back_within_three_seconds() {
    for sleep in [Sleep::SUSPENDED, Sleep::STOPPED] {
        for (seed, seconds) in (0..10).flat_map(|seed| [(seed, 2), (seed, 12), (seed, 25)]) {
            let mut world = Wanderers::up(seed, Home::Public, Home::Public);
            world.talk(2);
            let host = world.bob.host;
            world.apply(Fault::Sleep { host, sleep });
            world.talk_as(&[Who::Alice], seconds);
            world.apply(Fault::Wake { host });
            let woken = world.now;
            world.run_for(Duration::from_secs(6));
            let lines = world.bob.lines();
            assert_eq!(lines.len() as u64, 20 + seconds * 10, "seed {seed}, {sleep:?}, {seconds} s");
            let last = lines.last().unwrap().0.saturating_since(Moment::from_nanos(woken));
            assert!(last < BACK_WITHIN, "seed {seed}, {sleep:?}, {seconds} s: {last:?}");
            assert!(!world.bob.has_ended() && !world.alice.has_ended(), "seed {seed}");
        }
    }
}

/// Alice's datagrams that go anywhere but to bob, and how many bytes they have.
fn astray(pair: &Pair, since: usize) -> (usize, usize) {
    let stray =
        |(_, who, to, _): &&(Moment, Who, SocketAddr, Vec<u8>)| *who == Who::Alice && *to != pair.bob.address;
    let sizes: Vec<usize> = pair.sent[since..].iter().filter(stray).map(|(.., bytes)| bytes.len()).collect();
    (sizes.len(), sizes.iter().sum())
}

/// The next datagram that bob would send.
fn next_of_bob(pair: &mut Pair) -> Vec<u8> {
    let mut out = Vec::new();
    pair.bob.endpoint.poll_transmit(pair.now, 1, &mut out).unwrap();
    out
}

fn elsewhere(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 66, 0, n], 6))
}

#[test]
fn a_copy_that_arrives_first_from_elsewhere_moves_nothing_and_its_source_gets_three_times_its_bytes() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    pair.say(Who::Bob, b"from elsewhere");
    let (mut packet, before) = (next_of_bob(&mut pair), pair.sent.len());
    let spent = packet.len();
    pair.alice.endpoint.handle_datagram(received(elsewhere(1)), &mut packet, pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION), [b"from elsewhere".to_vec()], "it is bob's");
    let (count, got) = astray(&pair, before);
    assert!(count > 0 && got <= 3 * spent, "{count} datagrams, {got} bytes for {spent}");
    let info = pair.alice.endpoint.info(pair.alice.session, pair.now).unwrap();
    assert_eq!((info.remote, info.moves, info.validated), (pair.bob.address, 0, true));
}

#[test]
fn a_packet_with_an_old_number_a_copy_and_a_forged_one_from_elsewhere_start_nothing() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    pair.say(Who::Bob, b"held back");
    let old = next_of_bob(&mut pair);
    pair.say(Who::Bob, b"newer");
    let newest = next_of_bob(&mut pair);
    pair.alice.endpoint.handle_datagram(received(pair.bob.address), &mut newest.clone(), pair.now);
    let before = pair.sent.len();
    let mut forged = newest.clone();
    *forged.last_mut().unwrap() ^= 1;
    for (n, packet) in [old, newest, forged].iter_mut().enumerate() {
        pair.alice.endpoint.handle_datagram(received(elsewhere(n as u8)), packet, pair.now);
    }
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 2, "the old one was taken all the same");
    assert_eq!(astray(&pair, before), (0, 0));
}

#[test]
fn sources_without_end_are_challenged_four_at_a_time_and_the_session_goes_on() {
    let mut pair = Pair::up(1, good_line());
    pair.run_for(Duration::from_secs(1));
    let before = pair.sent.len();
    let mut spent = 0;
    for n in 0..200 {
        pair.say(Who::Bob, &[n; 30]);
        let mut packet = next_of_bob(&mut pair);
        spent += packet.len();
        pair.alice.endpoint.handle_datagram(received(elsewhere(n)), &mut packet, pair.now);
        pair.run_for(Duration::from_millis(20));
    }
    let (_, got) = astray(&pair, before);
    assert!(got <= 3 * spent, "{got} bytes for {spent}");
    pair.say(Who::Alice, b"still there?");
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.bob.bodies(StreamId::CONVERSATION).len(), 1);
    let info = pair.alice.endpoint.info(pair.alice.session, pair.now).unwrap();
    assert_eq!((info.remote, info.moves), (pair.bob.address, 0));
    assert_eq!(pair.alice.bodies(StreamId::CONVERSATION).len(), 200);
}

#[test]
fn whoever_answered_several_addresses_keeps_the_one_that_is_proven_later() {
    let mut pair = Pair::introduced(5, good_line());
    pair.tell_time();
    pair.drain(Who::Bob);
    let init = pair.sent.iter().find(|(_, who, _, bytes)| *who == Who::Bob && bytes[0] == datagram::INIT);
    let mut init = init.unwrap().3.clone();
    // Another address of bob's, as hosts with several have them.
    let now = pair.now;
    pair.alice.endpoint.handle_datagram(received("10.0.0.22:7002".parse().unwrap()), &mut init, now);
    assert!(pair.run_until(|pair| pair.alice.is_up()));
    pair.alice.endpoint.keep(pair.alice.session);
    pair.drain(Who::Alice);
    let kept = |pair: &Pair| pair.alice.disk.as_ref().unwrap().endpoints.as_slice().to_vec();
    assert_eq!(kept(&pair), [], "RESP went to two, and either may have passed it on");
    let bob = pair.alice.disk.as_ref().unwrap().peer;
    assert!(!pair.alice.endpoint.can_dial(bob));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(kept(&pair), [pair.bob.address], "he answered a challenge there");
    assert!(pair.alice.endpoint.can_dial(bob));
}
