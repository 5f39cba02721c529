//! What goes wrong, at once and by plan.

use p2pchat_netsim::{
    Access, Clock, Fault, Internet, LinkConfig, Loss, Schedule, SendError, Sleep, Way, millis, seconds,
};

use crate::{Person, at, drain, ip, person, reach, send};

const PUBLIC: p2pchat_netsim::NetId = Internet::PUBLIC;

/// Some hosts on the public net, each 10 ms away from everybody.
fn people(count: u8) -> (Internet, Vec<Person>) {
    let mut internet = Internet::new(1);
    let access = Access::both(LinkConfig { delay: millis(5), ..LinkConfig::default() });
    let all = (1..=count).map(|n| person(&mut internet, PUBLIC, &format!("192.0.2.{n}"), access)).collect();
    (internet, all)
}

fn two() -> (Internet, Person, Person) {
    let (internet, all) = people(2);
    (internet, all[0], all[1])
}

#[test]
fn after_a_move_the_old_address_is_dead_and_what_was_under_way_to_it_is_lost() {
    let (mut internet, a, b) = two();
    for now in [0, millis(6)] {
        internet.send(now, a.socket, None, at("192.0.2.2:7000"), b"under way").unwrap();
    }
    internet.apply(millis(8), Fault::Move { interface: b.interface, net: PUBLIC, ip: ip("192.0.2.77") });
    assert_eq!(drain(&mut internet), []);
    // One was on the line to the old address, one had still to find out who has it.
    assert_eq!((internet.counters().vanished, internet.counters().unroutable), (1, 1));
    assert_eq!(send(&mut internet, millis(20), a, at("192.0.2.2:7000")), []);
    assert_eq!(reach(&mut internet, millis(40), a, at("192.0.2.77:7000")).0, b.host);
    assert_eq!(reach(&mut internet, millis(60), b, at("192.0.2.1:7000")).1, at("192.0.2.77:7000"));
    assert_eq!(internet.addresses(b.host), [ip("192.0.2.77")]);
}

#[test]
fn a_socket_on_an_address_that_is_gone_cannot_send_and_can_again_when_it_is_back() {
    let (mut internet, _, b) = two();
    let socket = internet.bind(b.host, at("192.0.2.2:9")).unwrap();
    let shift = |ip| Fault::Move { interface: b.interface, net: PUBLIC, ip };
    internet.apply(0, shift(ip("192.0.2.77")));
    let to = at("192.0.2.1:7000");
    assert_eq!(internet.send(0, socket, None, to, b"x"), Err(SendError::NotAvailable));
    internet.apply(0, shift(ip("192.0.2.2")));
    assert_eq!(internet.send(0, socket, None, to, b"x"), Ok(()));
}

#[test]
fn of_two_with_one_address_the_later_gets_everything_until_it_leaves() {
    let (mut internet, all) = people(3);
    let interface = all[2].interface;
    internet.apply(0, Fault::Move { interface, net: PUBLIC, ip: ip("192.0.2.2") });
    assert_eq!(reach(&mut internet, 0, all[0], at("192.0.2.2:7000")).0, all[2].host);
    internet.apply(seconds(1), Fault::Move { interface, net: PUBLIC, ip: ip("192.0.2.3") });
    assert_eq!(reach(&mut internet, seconds(1), all[0], at("192.0.2.2:7000")).0, all[1].host);
}

#[test]
fn a_narrowed_line_swallows_large_datagrams_one_way_from_that_moment_on() {
    let (mut internet, a, b) = two();
    let mut plan = Schedule::new();
    plan.at(seconds(1), Fault::Mtu { interface: b.interface, way: Way::Down, mtu: Some(1_200) });
    internet.plan(plan);
    for (now, arrives) in [(0, 2), (seconds(1), 1)] {
        for (from, to) in [(a, "192.0.2.2:7000"), (b, "192.0.2.1:7000")] {
            internet.send(now, from.socket, None, at(to), &[0; 1_400]).unwrap();
        }
        let mut count = 0;
        while internet.deliver(now + millis(20)).is_some() {
            count += 1;
        }
        assert_eq!(count, arrives);
    }
    assert_eq!(internet.line_counters(b.interface, Way::Down).oversized, 1);
    assert_eq!(reach(&mut internet, seconds(2), a, at("192.0.2.2:7000")).0, b.host, "small ones pass");
}

#[test]
fn a_cut_line_is_dead_one_way_and_nobody_is_told() {
    let (mut internet, a, b) = two();
    internet.apply(0, Fault::Cut { interface: a.interface, way: Way::Up });
    assert_eq!(send(&mut internet, 0, a, at("192.0.2.2:7000")), []);
    assert_eq!(internet.line_counters(a.interface, Way::Up).partitioned, 1);
    assert_eq!(reach(&mut internet, 0, b, at("192.0.2.1:7000")).0, a.host);
    internet.apply(seconds(1), Fault::Mend { interface: a.interface, way: Way::Up });
    assert_eq!(reach(&mut internet, seconds(1), a, at("192.0.2.2:7000")).0, b.host);
}

#[test]
fn an_unplugged_interface_loses_what_arrives_and_its_host_is_told_when_it_sends() {
    let (mut internet, a, b) = two();
    internet.send(0, a.socket, None, at("192.0.2.2:7000"), b"x").unwrap();
    internet.apply(millis(9), Fault::Unplug { interface: b.interface });
    assert_eq!(drain(&mut internet), []);
    assert_eq!(internet.counters().vanished, 1);
    let to = at("192.0.2.1:7000");
    assert_eq!(internet.send(millis(20), b.socket, None, to, b"x"), Err(SendError::Unreachable));
    assert!(!internet.is_plugged(b.interface) && internet.addresses(b.host).is_empty());
    internet.apply(millis(30), Fault::Plug { interface: b.interface });
    assert_eq!(reach(&mut internet, millis(30), b, to).0, a.host);
}

#[test]
fn a_flapping_link_passes_exactly_what_comes_while_it_is_plugged() {
    let (mut internet, a, b) = two();
    let mut plan = Schedule::new();
    plan.flaps(b.interface, seconds(1), seconds(1), seconds(2), 3);
    assert_eq!((plan.len(), plan.end()), (6, Some(seconds(8))));
    internet.plan(plan);
    for second in 0..10 {
        internet.send(seconds(second) + millis(500), a.socket, None, at("192.0.2.2:7000"), b"x").unwrap();
    }
    let arrived: Vec<_> = drain(&mut internet).iter().map(|arrival| arrival.at / seconds(1)).collect();
    assert_eq!(arrived, [0, 2, 3, 5, 6, 8, 9]);
    assert_eq!(internet.planned(), 0);
}

#[test]
fn a_sleeping_host_gets_what_was_kept_for_it_when_it_wakes_and_no_more() {
    for (sleep, kept) in [(Sleep { keep: 2, ..Sleep::default() }, 2), (Sleep::SUSPENDED, 0)] {
        let (mut internet, a, b) = two();
        internet.apply(0, Fault::Sleep { host: b.host, sleep });
        for n in 0..5u8 {
            internet.send(n.into(), a.socket, None, at("192.0.2.2:7000"), &[n]).unwrap();
        }
        assert_eq!(drain(&mut internet), []);
        assert!(internet.is_asleep(b.host));
        assert_eq!((internet.in_flight() as u64, internet.counters().asleep), (kept, 5 - kept));
        let to = at("192.0.2.1:7000");
        assert_eq!(internet.send(millis(20), b.socket, None, to, b"x"), Err(SendError::Asleep));
        internet.apply(seconds(600), Fault::Wake { host: b.host });
        let woken = drain(&mut internet);
        assert!(woken.iter().map(|w| (w.at, w.bytes[0])).eq((0..kept as u8).map(|n| (seconds(600), n))));
        assert_eq!(reach(&mut internet, seconds(600), a, at("192.0.2.2:7000")).0, b.host);
    }
}

#[test]
fn a_host_that_falls_asleep_before_it_has_looked_hears_nothing_until_it_wakes() {
    let (mut internet, a, b) = two();
    internet.send(0, a.socket, None, at("192.0.2.2:7000"), b"x").unwrap();
    // Arrived at 10 ms, but nobody has taken it out.
    internet.apply(millis(20), Fault::Sleep { host: b.host, sleep: Sleep::STOPPED });
    assert_eq!(internet.deliver(millis(20)), None);
    internet.apply(millis(30), Fault::Wake { host: b.host });
    assert_eq!(internet.deliver(millis(30)).map(|arrival| arrival.at), Some(millis(30)));
}

#[test]
fn a_suspended_host_has_slept_by_its_wall_clock_and_not_by_its_monotonic_one() {
    let (mut internet, a, b) = two();
    internet.apply(seconds(1), Fault::Sleep { host: a.host, sleep: Sleep::SUSPENDED });
    internet.apply(seconds(1), Fault::Sleep { host: b.host, sleep: Sleep::STOPPED });
    for person in [a, b] {
        internet.apply(seconds(61), Fault::Wake { host: person.host });
    }
    let [slept, stopped] = [a, b].map(|person| *internet.clock(person.host));
    let now = seconds(62);
    assert_eq!((slept.monotonic(now), slept.wall(now)), (seconds(2), seconds(62)));
    assert_eq!((stopped.monotonic(now), stopped.wall(now)), (seconds(62), seconds(62)));
}

#[test]
fn clocks_jump_and_go_wrong_by_plan_each_for_itself() {
    let mut internet = Internet::new(1);
    let [a, b] = [0, 5].map(|hours| internet.host(Clock::new(0, seconds(3_600 * hours))));
    internet.plan(Schedule::from_iter([
        (seconds(10), Fault::Jump { host: b, by: -3_600_000_000_000 }),
        (seconds(10), Fault::Skew { host: a, parts_per_million: 1_000 }),
    ]));
    assert_eq!(internet.next_event(), Some(seconds(10)));
    assert_eq!(internet.deliver(seconds(10)), None);
    let now = seconds(1_010);
    assert_eq!(internet.clock(a).monotonic(now), seconds(1_011));
    assert_eq!(internet.clock(b).wall(now), seconds(3_600 * 4 + 1_010));
    assert_eq!(internet.clock(b).monotonic(now), now);
}

#[test]
fn groups_are_parted_from_each_other_and_not_within_themselves_also_behind_nats() {
    let (mut internet, all) = people(3);
    let nat = internet.nat(PUBLIC, ip("198.51.100.1"), Access::default(), p2pchat_netsim::NatConfig::OPEN);
    let inside = internet.inside(nat);
    let hidden = person(&mut internet, inside, "192.168.1.2", Access::default());
    let (_, outer) = reach(&mut internet, 0, hidden, at("192.0.2.1:7000"));
    let (these, those) = (vec![all[0].host, all[1].host], vec![all[2].host, hidden.host]);
    internet.apply(0, Fault::Part { these: these.clone(), those: those.clone() });
    assert!(internet.is_parted(all[2].host, all[0].host) && !internet.is_parted(all[0].host, all[1].host));
    assert_eq!(reach(&mut internet, 0, all[0], at("192.0.2.2:7000")).0, all[1].host);
    assert_eq!(reach(&mut internet, 0, all[2], outer).0, hidden.host);
    assert_eq!(send(&mut internet, 0, all[0], at("192.0.2.3:7000")), []);
    assert_eq!(send(&mut internet, 0, all[0], outer), []);
    assert_eq!(send(&mut internet, 0, hidden, at("192.0.2.1:7000")), []);
    assert_eq!(internet.counters().partitioned, 3);
    internet.apply(seconds(1), Fault::Join { these, those });
    assert_eq!(reach(&mut internet, seconds(1), all[0], outer).0, hidden.host);
}

#[test]
fn a_line_changes_for_what_enters_it_after_the_fault() {
    let (mut internet, a, b) = two();
    let config = LinkConfig { loss: Loss::Independent { share: 1.0 }, ..internet.line(b.interface, Way::Up) };
    let mut plan = Schedule::new();
    let (interface, way) = (b.interface, Way::Up);
    let before = internet.line(interface, way);
    plan.between(
        seconds(1),
        seconds(1),
        Fault::Line { interface, way, config },
        Fault::Line { interface, way, config: before },
    );
    internet.plan(plan);
    for (now, arrives) in [(seconds(1) - 1, 1), (seconds(1), 0), (seconds(2), 1)] {
        internet.send(now, b.socket, None, at("192.0.2.1:7000"), b"x").unwrap();
        let arrived = std::iter::from_fn(|| internet.deliver(now + millis(20))).count();
        assert_eq!(arrived, arrives, "at {now}");
    }
    assert_eq!((internet.line(interface, way), a.host.index()), (before, 0));
}

#[test]
fn a_fault_comes_before_the_datagrams_of_its_moment_and_those_of_one_moment_in_their_order() {
    let (mut internet, a, b) = two();
    internet.plan(Schedule::from_iter([
        (millis(10), Fault::Unplug { interface: b.interface }),
        (millis(20), Fault::Plug { interface: b.interface }),
        (millis(20), Fault::Unplug { interface: b.interface }),
        (millis(20), Fault::Plug { interface: b.interface }),
    ]));
    internet.send(0, a.socket, None, at("192.0.2.2:7000"), b"arrives at 10 ms").unwrap();
    internet.send(millis(10), a.socket, None, at("192.0.2.2:7000"), b"arrives at 20 ms").unwrap();
    let [arrival] = drain(&mut internet).try_into().unwrap();
    assert_eq!(arrival.at, millis(20));
}

#[test]
fn what_has_happened_is_told_once_in_order_and_a_plan_prints_what_will() {
    let (mut internet, a, b) = two();
    let mut plan = Schedule::new();
    plan.between(
        millis(1_500),
        seconds(100),
        Fault::Sleep { host: a.host, sleep: Sleep::default() },
        Fault::Wake { host: a.host },
    );
    assert_eq!(
        plan.to_string(),
        "     1.500000000 s  Sleep { host: HostId(0), sleep: Sleep { keep: 0, clock_stops: false } }\n\
         \x20  101.500000000 s  Wake { host: HostId(0) }\n"
    );
    internet.plan(plan.clone());
    internet.apply(0, Fault::Unplug { interface: b.interface });
    while let Some(now) = internet.next_event() {
        assert_eq!(internet.deliver(now), None);
    }
    let told: Vec<_> = std::iter::from_fn(|| internet.poll_fault()).collect();
    let unplugged = (0, Fault::Unplug { interface: b.interface });
    assert!(
        told.iter()
            .map(|(at, fault)| (*at, fault))
            .eq([(unplugged.0, &unplugged.1)].into_iter().chain(plan.iter()))
    );
}

#[test]
fn what_was_planned_for_the_past_happens_now_and_time_never_goes_back() {
    let (mut internet, a, b) = two();
    internet.send(seconds(5), a.socket, None, at("192.0.2.2:7000"), b"x").unwrap();
    internet.plan(Schedule::from_iter([(seconds(1), Fault::Unplug { interface: b.interface })]));
    assert_eq!(internet.next_event(), Some(seconds(5)));
    internet.send(seconds(2), a.socket, None, at("192.0.2.2:7000"), b"x").unwrap();
    assert_eq!(internet.poll_fault().map(|(at, _)| at), Some(seconds(5)));
    assert_eq!(internet.next_event(), Some(seconds(5) + millis(5)));
}
