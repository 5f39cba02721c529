//! NATs as hosts behind them and before them see them.

use p2pchat_netsim::{
    Access, Dependence, Fault, Internet, LinkConfig, NatConfig, NatId, Ports, SendError, millis, seconds,
};

use crate::{Person, at, ip, person, reach, send};

const PUBLIC: p2pchat_netsim::NetId = Internet::PUBLIC;

/// A home behind a NAT at 198.51.100.1, with one host at 192.168.1.2.
fn home(internet: &mut Internet, config: NatConfig) -> (NatId, Person) {
    home_at(internet, "198.51.100.1", config)
}

fn home_at(internet: &mut Internet, outer: &str, config: NatConfig) -> (NatId, Person) {
    let nat = internet.nat(PUBLIC, ip(outer), Access::default(), config);
    let inside = internet.inside(nat);
    (nat, person(internet, inside, "192.168.1.2", Access::default()))
}

fn server(internet: &mut Internet, address: &str) -> Person {
    person(internet, PUBLIC, address, Access::default())
}

#[test]
fn a_host_behind_a_nat_is_seen_at_the_outer_address_and_answered_there() {
    let mut internet = Internet::new(1);
    let (nat, a) = home(&mut internet, NatConfig::HOME);
    let b = server(&mut internet, "192.0.2.2");
    let (who, seen) = reach(&mut internet, 0, a, at("192.0.2.2:7000"));
    assert_eq!((who, seen), (b.host, at("198.51.100.1:7000")));
    let [back] = send(&mut internet, 0, b, seen).try_into().unwrap();
    assert_eq!((back.host, back.from, back.to), (a.host, at("192.0.2.2:7000"), at("192.168.1.2:7000")));
    let counters = internet.nat_counters(nat);
    assert_eq!((counters.sent, counters.delivered, counters.dropped()), (2, 2, 0));
    assert_eq!(internet.mappings(nat), 1);
}

#[test]
fn nobody_reaches_a_private_address_from_outside_or_a_mapping_that_was_never_made() {
    let mut internet = Internet::new(1);
    let (nat, _) = home(&mut internet, NatConfig::OPEN);
    let b = server(&mut internet, "192.0.2.2");
    assert_eq!(send(&mut internet, 0, b, at("192.168.1.2:7000")), []);
    assert_eq!(internet.counters().unroutable, 1);
    assert_eq!(send(&mut internet, 0, b, at("198.51.100.1:7000")), []);
    assert_eq!((internet.counters().unmapped, internet.nat_counters(nat).unmapped), (1, 1));
}

#[test]
fn two_homes_may_use_the_same_private_address() {
    let mut internet = Internet::new(1);
    let (_, a) = home_at(&mut internet, "198.51.100.1", NatConfig::HOME);
    let (_, b) = home_at(&mut internet, "198.51.100.2", NatConfig::HOME);
    let c = server(&mut internet, "192.0.2.2");
    for (who, outer) in [(a, at("198.51.100.1:7000")), (b, at("198.51.100.2:7000"))] {
        assert_eq!(reach(&mut internet, 0, who, at("192.0.2.2:7000")), (c.host, outer));
        assert_eq!(reach(&mut internet, 0, c, outer).0, who.host);
    }
}

#[test]
fn hosts_behind_one_nat_talk_to_each_other_without_it() {
    let mut internet = Internet::new(1);
    let (nat, a) = home(&mut internet, NatConfig::HOME);
    let inside = internet.inside(nat);
    let b = person(&mut internet, inside, "192.168.1.3", Access::default());
    assert_eq!(reach(&mut internet, 0, a, at("192.168.1.3:7000")), (b.host, at("192.168.1.2:7000")));
    assert_eq!(internet.nat_counters(nat).sent, 0);
}

/// Whether two homes get through to each other when both keep sending to where a server saw the other.
fn punches(ours: NatConfig, theirs: NatConfig) -> bool {
    let mut internet = Internet::new(1);
    let (_, a) = home_at(&mut internet, "198.51.100.1", ours);
    let (_, b) = home_at(&mut internet, "198.51.100.2", theirs);
    server(&mut internet, "192.0.2.2");
    let [seen_a, seen_b] = [a, b].map(|who| reach(&mut internet, 0, who, at("192.0.2.2:7000")).1);
    let (mut to_a, mut to_b) = (seen_a, seen_b);
    let mut through = (false, false);
    for round in 0..5 {
        for arrival in send(&mut internet, millis(round), a, to_b) {
            (through.0, to_a) = (arrival.host == b.host, arrival.from);
        }
        for arrival in send(&mut internet, millis(round), b, to_a) {
            (through.1, to_b) = (arrival.host == a.host, arrival.from);
        }
    }
    through == (true, true)
}

#[test]
fn holes_are_punched_between_all_but_a_symmetric_nat_and_one_that_checks_ports() {
    let by_address = NatConfig { filtering: Dependence::AddressDependent, ..NatConfig::HOME };
    for (ours, theirs, works) in [
        (NatConfig::OPEN, NatConfig::SYMMETRIC, true),
        (NatConfig::HOME, NatConfig::HOME, true),
        (by_address, NatConfig::SYMMETRIC, true),
        (NatConfig::HOME, NatConfig::SYMMETRIC, false),
        (NatConfig::SYMMETRIC, NatConfig::SYMMETRIC, false),
    ] {
        assert_eq!(punches(ours, theirs), works, "{ours:?} and {theirs:?}");
        assert_eq!(punches(theirs, ours), works, "{theirs:?} and {ours:?}");
    }
}

#[test]
fn a_mapping_times_out_between_two_datagrams_and_the_next_one_makes_another() {
    let mut internet = Internet::new(1);
    let config = NatConfig { ports: Ports::Random, timeout: seconds(30), ..NatConfig::HOME };
    let (_, a) = home(&mut internet, config);
    let b = server(&mut internet, "192.0.2.2");
    let (_, first) = reach(&mut internet, 0, a, at("192.0.2.2:7000"));
    assert_eq!(reach(&mut internet, seconds(29), a, at("192.0.2.2:7000")).1, first);
    assert_eq!(reach(&mut internet, seconds(58), b, first).0, a.host);
    assert_eq!(send(&mut internet, seconds(59), b, first), [], "what came in did not keep it");
    assert_ne!(reach(&mut internet, seconds(60), a, at("192.0.2.2:7000")).1, first);
}

#[test]
fn a_nat_that_turns_datagrams_around_does_so_with_its_outer_address_and_another_drops_them() {
    for hairpin in [true, false] {
        let mut internet = Internet::new(1);
        let (nat, a) = home(&mut internet, NatConfig { hairpin, ..NatConfig::OPEN });
        let inside = internet.inside(nat);
        let b = person(&mut internet, inside, "192.168.1.3", Access::default());
        server(&mut internet, "192.0.2.2");
        let (_, outer) = reach(&mut internet, 0, a, at("192.0.2.2:7000"));
        let arrived = send(&mut internet, 0, b, outer);
        if hairpin {
            assert_eq!(arrived[0].host, a.host);
            assert_eq!(arrived[0].from.ip(), ip("198.51.100.1"), "RFC 4787, REQ-9");
        } else {
            assert_eq!(arrived, []);
            assert_eq!(internet.counters().unturned, 1);
        }
    }
}

#[test]
fn a_nat_behind_a_nat_works_and_both_forget_by_themselves() {
    let mut internet = Internet::new(1);
    let carrier = internet.nat(PUBLIC, ip("198.51.100.1"), Access::default(), NatConfig::SYMMETRIC);
    let between = internet.inside(carrier);
    let homes: Vec<_> = ["100.64.0.2", "100.64.0.3"]
        .into_iter()
        .map(|outer| {
            let nat = internet.nat(between, ip(outer), Access::default(), NatConfig::HOME);
            let inside = internet.inside(nat);
            (nat, person(&mut internet, inside, "192.168.1.2", Access::default()))
        })
        .collect();
    let [(nat, a), (_, b)] = homes.try_into().unwrap();
    let c = server(&mut internet, "192.0.2.2");
    let (_, seen) = reach(&mut internet, 0, a, at("192.0.2.2:7000"));
    assert_eq!(seen.ip(), ip("198.51.100.1"));
    let [back] = send(&mut internet, 0, c, seen).try_into().unwrap();
    assert_eq!((back.host, back.to), (a.host, at("192.168.1.2:7000")));
    // Customers of one carrier reach each other at the addresses between the two NATs.
    send(&mut internet, 0, b, at("100.64.0.2:7000"));
    assert_eq!(reach(&mut internet, 0, a, at("100.64.0.3:7000")).0, b.host);
    internet.apply(seconds(1), Fault::Reboot { nat });
    assert_eq!(send(&mut internet, seconds(1), c, seen), []);
    assert_eq!((internet.nat_counters(nat).unmapped, internet.mappings(carrier)), (1, 1));
}

#[test]
fn a_rebooted_nat_and_one_with_a_new_address_forget_everybody() {
    for moved in [false, true] {
        let mut internet = Internet::new(1);
        let (nat, a) = home(&mut internet, NatConfig::OPEN);
        let b = server(&mut internet, "192.0.2.2");
        let (_, first) = reach(&mut internet, 0, a, at("192.0.2.2:7000"));
        let fault = if moved {
            Fault::Move { interface: internet.outer(nat), net: PUBLIC, ip: ip("198.51.100.9") }
        } else {
            Fault::Reboot { nat }
        };
        internet.apply(1, fault);
        assert_eq!(internet.mappings(nat), 0);
        assert_eq!(send(&mut internet, 1, b, first), []);
        let (_, second) = reach(&mut internet, 1, a, at("192.0.2.2:7000"));
        assert_eq!(second.ip(), ip(if moved { "198.51.100.9" } else { "198.51.100.1" }));
        assert_eq!(reach(&mut internet, 1, b, second).0, a.host);
    }
}

#[test]
fn a_full_table_drops_newcomers_and_says_so_in_its_counters() {
    let mut internet = Internet::new(1);
    let (nat, a) = home(&mut internet, NatConfig { flows: 1, ..NatConfig::HOME });
    server(&mut internet, "192.0.2.2");
    server(&mut internet, "192.0.2.3");
    reach(&mut internet, 0, a, at("192.0.2.2:7000"));
    assert_eq!(send(&mut internet, 0, a, at("192.0.2.3:7000")), []);
    assert_eq!((internet.counters().exhausted, internet.nat_counters(nat).exhausted), (1, 1));
}

#[test]
fn the_line_of_a_nat_is_on_the_path_of_everybody_behind_it() {
    let mut internet = Internet::new(1);
    let line = |delay| LinkConfig { delay: millis(delay), ..LinkConfig::default() };
    let access = Access { up: line(10), down: line(3), mtu: None };
    let nat = internet.nat(PUBLIC, ip("198.51.100.1"), access, NatConfig::HOME);
    let inside = internet.inside(nat);
    let a = person(&mut internet, inside, "192.168.1.2", Access::both(line(1)));
    let b = server(&mut internet, "192.0.2.2");
    let [there] = send(&mut internet, 0, a, at("192.0.2.2:7000")).try_into().unwrap();
    assert_eq!(there.at, millis(11));
    let [back] = send(&mut internet, millis(20), b, there.from).try_into().unwrap();
    assert_eq!(back.at, millis(24));
    let interface = internet.outer(nat);
    internet.apply(millis(30), Fault::Unplug { interface });
    assert_eq!(send(&mut internet, millis(30), a, at("192.0.2.2:7000")), []);
    assert_eq!(send(&mut internet, millis(30), b, there.from), []);
    assert_eq!(internet.counters().vanished, 2);
}

#[test]
fn what_comes_in_for_an_inner_address_that_is_gone_does_not_go_out_again() {
    let mut internet = Internet::new(1);
    let (nat, a) = home(&mut internet, NatConfig::HOME);
    let b = server(&mut internet, "192.0.2.2");
    let (_, seen) = reach(&mut internet, 0, a, at("192.0.2.2:7000"));
    let net = internet.inside(nat);
    internet.apply(1, Fault::Move { interface: a.interface, net, ip: ip("192.168.1.9") });
    assert_eq!(send(&mut internet, 1, b, seen), []);
    assert_eq!((internet.counters().unroutable, internet.nat_counters(nat).sent), (1, 2));
}

#[test]
fn a_nat_leads_out_for_its_own_address_family_only() {
    let mut internet = Internet::new(1);
    let (nat, a) = home(&mut internet, NatConfig::HOME);
    let inside = internet.inside(nat);
    internet.attach(a.host, inside, ip("fd00::2"), Access::default());
    let socket = internet.bind(a.host, at("[::]:7000")).unwrap();
    server(&mut internet, "2001:db8::2");
    assert_eq!(internet.send(0, socket, None, at("[2001:db8::2]:7000"), b"x"), Err(SendError::Unreachable));
}
