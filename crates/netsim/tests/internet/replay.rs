//! Whole runs: everything is accounted for, the same seed is the same run, and storms blow over.

use p2pchat_netsim::{
    Access, Clock, Dependence, Fault, Internet, LinkConfig, Loss, NatConfig, Ports, Rate, Schedule, Storm,
    Trouble, Way, micros, millis, seconds,
};
use proptest::prelude::*;

use crate::{Person, at, ip, person};

const PUBLIC: p2pchat_netsim::NetId = Internet::PUBLIC;

fn access() -> Access {
    let down = LinkConfig {
        delay: millis(8),
        jitter: millis(2),
        loss: Loss::GilbertElliott { enter: 0.02, leave: 0.3, good: 0.001, bad: 0.6 },
        rate: Some(Rate { bytes_per_second: 1_000_000, queue: 30_000 }),
        ..LinkConfig::default()
    };
    let rate = Some(Rate { bytes_per_second: 100_000, queue: 10_000 });
    Access { up: LinkConfig { rate, ..down }, down, mtu: Some(1_472) }
}

/// Two on the public net, one of them with a second interface, one in each of two homes, two behind
/// a carrier's NAT and their own.
fn town(seed: u64, nat: NatConfig) -> (Internet, Vec<Person>) {
    let mut internet = Internet::new(seed);
    let mut people = vec![
        person(&mut internet, PUBLIC, "192.0.2.1", access()),
        person(&mut internet, PUBLIC, "192.0.2.2", access()),
    ];
    internet.attach(people[1].host, PUBLIC, ip("192.0.2.20"), Access::default());
    for outer in ["198.51.100.1", "198.51.100.2"] {
        let home = internet.nat(PUBLIC, ip(outer), access(), nat);
        let inside = internet.inside(home);
        people.push(person(&mut internet, inside, "192.168.1.2", Access::default()));
    }
    let carrier = internet.nat(PUBLIC, ip("198.51.100.3"), Access::default(), NatConfig::SYMMETRIC);
    for outer in ["100.64.0.2", "100.64.0.3"] {
        let between = internet.inside(carrier);
        let home = internet.nat(between, ip(outer), Access::default(), nat);
        let inside = internet.inside(home);
        people.push(person(&mut internet, inside, "192.168.1.2", access()));
    }
    (internet, people)
}

/// Everybody writes to the first two and answers whatever comes, as long as it is said here: pauses in
/// milliseconds, who, to whom, how much.
fn run(internet: &mut Internet, people: &[Person], talk: &[(u64, usize, bool, usize)]) {
    let mut now = 0;
    for (pause, who, second, len) in talk {
        now += millis(*pause);
        while let Some(at) = internet.next_event().filter(|at| *at <= now) {
            while let Some(arrival) = internet.deliver(at) {
                // Answers are shorter, so that no exchange goes on for ever.
                let answer = &arrival.bytes[..arrival.bytes.len() / 2];
                if !answer.is_empty() {
                    let _refused =
                        internet.send(at, arrival.socket, Some(arrival.to.ip()), arrival.from, answer);
                }
            }
            check(internet);
        }
        let to = at(if *second { "192.0.2.2:7000" } else { "192.0.2.1:7000" });
        let _refused = internet.send(now, people[*who].socket, None, to, &vec![*len as u8; *len]);
    }
}

fn check(internet: &Internet) {
    let total = internet.counters();
    assert_eq!(
        total.sent + total.duplicated,
        total.delivered + total.dropped() + internet.in_flight() as u64,
        "seed {}",
        internet.seed()
    );
}

fn nat() -> impl Strategy<Value = NatConfig> {
    let dependence = || {
        prop_oneof![
            Just(Dependence::EndpointIndependent),
            Just(Dependence::AddressDependent),
            Just(Dependence::AddressAndPortDependent),
        ]
    };
    let timeout = prop_oneof![Just(seconds(15)), Just(seconds(30)), Just(seconds(120))];
    (dependence(), dependence(), timeout, any::<[bool; 3]>(), 1..10usize).prop_map(
        |(mapping, filtering, timeout, [inbound_refresh, hairpin, random], flows)| NatConfig {
            mapping,
            filtering,
            timeout,
            inbound_refresh,
            hairpin,
            ports: if random { Ports::Random } else { Ports::Preserve },
            flows,
        },
    )
}

fn talk() -> impl Strategy<Value = Vec<(u64, usize, bool, usize)>> {
    proptest::collection::vec((0..3_000u64, 0..6usize, any::<bool>(), 0..1_472usize), 1..150)
}

fn storm() -> Storm {
    Storm { until: seconds(120), troubles: 20, longest: seconds(30), ..Storm::default() }
}

proptest! {
    #[test]
    fn in_a_storm_every_datagram_is_accounted_for_and_the_same_seed_replays_it(
        seed: u64, nat in nat(), talk in talk(),
    ) {
        let once = || {
            let (mut internet, people) = town(seed, nat);
            let plan = storm().schedule(seed, &internet);
            internet.plan(plan);
            run(&mut internet, &people, &talk);
            internet
        };
        let (mut first, second) = (once(), once());
        prop_assert_eq!(first.trace_hash(), second.trace_hash());
        prop_assert_eq!(first.shape_hash(), second.shape_hash());
        prop_assert_eq!(first.counters(), second.counters());
        let mut last = 0;
        while let Some(now) = first.next_event() {
            prop_assert!(now >= last);
            last = now;
            while let Some(arrival) = first.deliver(now) {
                prop_assert!(arrival.at <= now);
            }
        }
        check(&first);
        prop_assert_eq!((first.in_flight(), first.planned()), (0, 0));
    }

    #[test]
    fn after_a_storm_everything_that_lasts_for_a_while_is_as_it_was(seed: u64, troubles in 0..100usize) {
        let (mut internet, people) = town(seed, NatConfig::HOME);
        let lines = |internet: &Internet| {
            let all = internet.interfaces().flat_map(|id| Way::BOTH.map(|way| (id, way)));
            all.map(|(id, way)| internet.line(id, way)).collect::<Vec<_>>()
        };
        let before = lines(&internet);
        let storm = Storm { from: seconds(10), troubles, ..storm() };
        let plan = storm.schedule(seed, &internet);
        prop_assert_eq!(&plan, &storm.schedule(seed, &internet));
        prop_assert!(plan.iter().all(|(at, _)| (storm.from..=storm.until).contains(&at)));
        internet.plan(plan);
        while let Some(now) = internet.next_event() {
            prop_assert_eq!(internet.deliver(now), None);
        }
        prop_assert_eq!(lines(&internet), before);
        prop_assert!(internet.interfaces().all(|id| internet.is_plugged(id)));
        prop_assert!(internet.hosts().all(|host| !internet.is_asleep(host)));
        let pairs = internet.hosts().flat_map(|a| internet.hosts().map(move |b| (a, b)));
        prop_assert!(pairs.into_iter().all(|(a, b)| !internet.is_parted(a, b)));
        // Nobody has taken somebody else's address.
        let places: std::collections::BTreeSet<_> =
            internet.interfaces().map(|id| internet.place(id)).collect();
        prop_assert_eq!(places.len(), internet.interfaces().count());
        // No line is cut either: with nothing lost, everybody reaches the first.
        let clean = LinkConfig::default();
        for interface in internet.interfaces() {
            for way in Way::BOTH {
                internet.apply(storm.until, Fault::Line { interface, way, config: clean });
            }
        }
        let (_, first) = internet.place(people[0].interface);
        for person in &people[1..] {
            let to = std::net::SocketAddr::new(first, 7000);
            internet.send(storm.until, person.socket, None, to, b"x").unwrap();
            prop_assert!(internet.deliver(storm.until).is_some_and(|a| a.host == people[0].host));
        }
    }

    #[test]
    fn whoever_is_behind_whatever_nat_is_answered_where_it_was_seen(
        seed: u64, nat in nat(), len in 1..1_000usize,
    ) {
        let (mut internet, people) = town(seed, nat);
        for interface in internet.interfaces() {
            for way in Way::BOTH {
                internet.apply(0, Fault::Line { interface, way, config: LinkConfig::default() });
            }
        }
        for (n, person) in people.iter().enumerate().skip(1) {
            let payload = vec![n as u8; len];
            internet.send(0, person.socket, None, at("192.0.2.1:7000"), &payload).unwrap();
            let seen = internet.deliver(0).unwrap();
            prop_assert_eq!((seen.host, &seen.bytes), (people[0].host, &payload));
            internet.send(0, seen.socket, None, seen.from, &payload).unwrap();
            let answer = internet.deliver(0).unwrap();
            prop_assert_eq!((answer.host, answer.from), (person.host, seen.to));
        }
    }
}

#[test]
fn every_kind_of_trouble_comes_alone_when_it_is_asked_for_alone() {
    let (internet, _) = town(1, NatConfig::HOME);
    for kind in Trouble::ALL {
        let storm = Storm { kinds: vec![kind], ..storm() };
        let plan = storm.schedule(1, &internet);
        assert!(plan.len() >= 10, "{kind:?}");
        for (_, fault) in plan.iter() {
            let seen = match fault {
                Fault::Line { .. } => Trouble::Loss,
                Fault::Mtu { .. } => Trouble::Mtu,
                Fault::Cut { .. } | Fault::Mend { .. } => Trouble::Cut,
                Fault::Unplug { .. } | Fault::Plug { .. } => Trouble::Unplug,
                Fault::Move { .. } => Trouble::Move,
                Fault::Sleep { .. } | Fault::Wake { .. } => Trouble::Sleep,
                Fault::Jump { .. } => Trouble::Jump,
                Fault::Skew { .. } => Trouble::Skew,
                Fault::Part { .. } | Fault::Join { .. } => Trouble::Part,
                Fault::Reboot { .. } => Trouble::Reboot,
            };
            assert_eq!(seen, kind);
        }
    }
}

#[test]
fn a_storm_over_nobody_and_one_of_no_kind_are_calm() {
    let empty = Internet::new(1);
    assert!(storm().schedule(1, &empty).is_empty());
    let (internet, _) = town(1, NatConfig::HOME);
    assert!(Storm { kinds: vec![], ..storm() }.schedule(1, &internet).is_empty());
}

#[test]
fn traffic_of_one_line_does_not_change_the_fate_of_another() {
    let arrived = |noise: bool| {
        let (mut internet, people) = town(5, NatConfig::HOME);
        let mut heard = Vec::new();
        for n in 0..200u8 {
            let now = millis(50) * u64::from(n);
            internet.send(now, people[2].socket, None, at("192.0.2.1:7000"), &[n]).unwrap();
            if noise {
                internet.send(now, people[3].socket, None, at("192.0.2.2:7000"), &[n]).unwrap();
            }
            while let Some(arrival) = internet.deliver(now + millis(40)) {
                heard.extend((arrival.host == people[0].host).then_some((arrival.at, arrival.bytes)));
            }
        }
        heard
    };
    assert!(arrived(false).len() > 100);
    assert_eq!(arrived(false), arrived(true));
}

fn golden(seed: u64) -> Internet {
    let (mut internet, people) = town(seed, NatConfig { ports: Ports::Random, ..NatConfig::HOME });
    let plan = storm().schedule(seed, &internet);
    internet.plan(plan);
    let talk: Vec<_> =
        (0..600).map(|n: usize| (200, n % 6, n.is_multiple_of(4), 40 + n * 7 % 1_400)).collect();
    run(&mut internet, &people, &talk);
    internet
}

#[test]
fn the_trace_of_a_seed_is_the_same_in_every_process() {
    // Made by another process: nothing of one, like the order of a hash table, may come in.
    let internet = golden(7);
    assert_eq!(internet.trace_hash(), 0xffd0_2410_3023_75dd);
    assert_eq!(internet.shape_hash(), 0xc16d_1a80_0226_f052);
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(golden(1).trace_hash(), golden(2).trace_hash());
    assert_ne!(golden(1).shape_hash(), golden(2).shape_hash());
}

#[test]
fn whatever_differs_about_a_run_shows_in_its_trace() {
    let traced = |now: u64, to: &str, bytes: &[u8], fault: Option<Fault>, deliver: bool| {
        let mut internet = Internet::new(1);
        let a = person(&mut internet, PUBLIC, "192.0.2.1", Access::default());
        person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
        internet.plan(Schedule::from_iter(fault.map(|fault| (0, fault))));
        internet.send(now, a.socket, None, at(to), bytes).unwrap();
        if deliver {
            internet.deliver(now + micros(1));
        }
        (internet.trace_hash(), internet.shape_hash())
    };
    let mut internet = Internet::new(1);
    let host = internet.host(Clock::default());
    let interface = internet.attach(host, PUBLIC, ip("192.0.2.1"), Access::default());
    let other = internet.host(Clock::default());
    let jump = |host, by| Some(Fault::Jump { host, by });
    let cut = |way| Some(Fault::Cut { interface, way });
    let to = "192.0.2.2:7000";
    let all = [
        traced(0, to, b"ab", None, false),
        traced(0, to, b"ab", None, true),
        traced(1, to, b"ab", None, false),
        traced(0, "192.0.2.2:7001", b"ab", None, false),
        traced(0, "192.0.2.2:7001", b"ab", None, true),
        traced(0, "192.0.2.9:7000", b"ab", None, true),
        traced(0, to, b"abc", None, false),
        traced(0, to, b"ab", jump(host, 1), false),
        traced(0, to, b"ab", jump(host, 2), false),
        traced(0, to, b"ab", jump(other, 1), false),
        traced(0, to, b"ab", cut(Way::Up), false),
        traced(0, to, b"ab", cut(Way::Down), false),
    ];
    for hashes in [all.map(|(trace, _)| trace), all.map(|(_, shape)| shape)] {
        assert_eq!(std::collections::BTreeSet::from(hashes).len(), all.len());
    }
    let (trace, shape) = traced(0, to, b"ba", None, false);
    assert!(trace != all[0].0 && shape == all[0].1, "the content shows in the trace alone");
}
