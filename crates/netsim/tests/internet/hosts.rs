//! Hosts, their interfaces and their sockets.

use p2pchat_netsim::{Access, BindError, Clock, Counters, Fault, Internet, LinkConfig, SendError, millis};

use crate::{at, drain, ip, person, reach, send};

const PUBLIC: p2pchat_netsim::NetId = Internet::PUBLIC;

fn line(delay: u64) -> LinkConfig {
    LinkConfig { delay: millis(delay), ..LinkConfig::default() }
}

#[test]
fn a_path_takes_the_delays_of_both_lines_and_each_way_its_own() {
    let mut internet = Internet::new(1);
    let access = Access { up: line(20), down: line(5), mtu: None };
    let a = person(&mut internet, PUBLIC, "192.0.2.1", access);
    let b = person(&mut internet, PUBLIC, "192.0.2.2", Access::both(line(1)));
    let [there] = send(&mut internet, 0, a, at("192.0.2.2:7000")).try_into().unwrap();
    assert_eq!((there.at, there.host, there.socket), (millis(21), b.host, b.socket));
    assert_eq!((there.from, there.to), (at("192.0.2.1:7000"), at("192.0.2.2:7000")));
    let [back] = send(&mut internet, millis(100), b, there.from).try_into().unwrap();
    assert_eq!(back.at, millis(106));
    assert_eq!(internet.counters(), Counters { sent: 2, delivered: 2, ..Counters::default() });
    assert_eq!(internet.next_event(), None);
}

#[test]
fn a_bottleneck_is_shared_by_everything_that_goes_over_it() {
    let mut internet = Internet::new(1);
    let rate = p2pchat_netsim::Rate { bytes_per_second: 8_000, queue: 100 };
    let narrow = Access { up: LinkConfig { rate: Some(rate), ..line(0) }, ..Access::default() };
    let a = person(&mut internet, PUBLIC, "192.0.2.1", narrow);
    person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
    person(&mut internet, PUBLIC, "192.0.2.3", Access::default());
    internet.send(0, a.socket, None, at("192.0.2.2:7000"), b"datagram").unwrap();
    let [first, second] = send(&mut internet, 0, a, at("192.0.2.3:7000")).try_into().unwrap();
    assert_eq!((first.at, second.at), (millis(1), millis(2)));
}

#[test]
fn a_socket_on_all_addresses_is_told_at_which_one_it_was_reached() {
    let mut internet = Internet::new(1);
    let a = person(&mut internet, PUBLIC, "192.0.2.1", Access::default());
    let b = person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
    internet.attach(b.host, PUBLIC, ip("192.0.2.20"), Access::default());
    for address in ["192.0.2.2:7000", "192.0.2.20:7000"] {
        let [arrival] = send(&mut internet, 0, a, at(address)).try_into().unwrap();
        assert_eq!((arrival.socket, arrival.to), (b.socket, at(address)));
    }
}

#[test]
fn a_socket_on_one_address_hears_nothing_at_another_and_sends_from_its_own() {
    let mut internet = Internet::new(1);
    let a = person(&mut internet, PUBLIC, "192.0.2.1", Access::default());
    let b = internet.host(Clock::default());
    for address in ["192.0.2.2", "192.0.2.20"] {
        internet.attach(b, PUBLIC, ip(address), Access::default());
    }
    let socket = internet.bind(b, at("192.0.2.20:7000")).unwrap();
    assert_eq!(send(&mut internet, 0, a, at("192.0.2.2:7000")), []);
    assert_eq!(internet.counters().unheard, 1);
    assert_eq!(reach(&mut internet, 0, a, at("192.0.2.20:7000")).0, b);
    internet.send(0, socket, None, at("192.0.2.1:7000"), b"x").unwrap();
    assert_eq!(drain(&mut internet)[0].from, at("192.0.2.20:7000"));
    let error = internet.send(0, socket, None, at("[2001:db8::1]:7000"), b"x");
    assert_eq!(error, Err(SendError::Unreachable), "an address of the other family");
}

#[test]
fn a_sender_may_choose_its_address_and_otherwise_its_first_interface_leads_out() {
    let mut internet = Internet::new(1);
    let a = person(&mut internet, PUBLIC, "192.0.2.1", Access::default());
    let second = internet.attach(a.host, PUBLIC, ip("192.0.2.10"), Access::default());
    person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
    let to = at("192.0.2.2:7000");
    assert_eq!(reach(&mut internet, 0, a, to).1, at("192.0.2.1:7000"));
    internet.send(0, a.socket, Some(ip("192.0.2.10")), to, b"x").unwrap();
    assert_eq!(drain(&mut internet)[0].from, at("192.0.2.10:7000"));
    assert_eq!(internet.send(0, a.socket, Some(ip("192.0.2.99")), to, b"x"), Err(SendError::NotAvailable));
    internet.apply(0, Fault::Unplug { interface: a.interface });
    assert_eq!(internet.addresses(a.host), [ip("192.0.2.10")]);
    assert_eq!(reach(&mut internet, 0, a, to).1, at("192.0.2.10:7000"));
    internet.apply(0, Fault::Unplug { interface: second });
    assert_eq!(internet.send(0, a.socket, None, to, b"x"), Err(SendError::Unreachable));
}

#[test]
fn a_host_talks_to_itself_over_loopback_and_over_its_own_address() {
    let mut internet = Internet::new(1);
    let a = person(&mut internet, PUBLIC, "192.0.2.1", Access::both(line(50)));
    let b = person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
    for own in ["127.0.0.1:7000", "192.0.2.1:7000"] {
        let [arrival] = send(&mut internet, 0, a, at(own)).try_into().unwrap();
        assert_eq!((arrival.at, arrival.from, arrival.to), (0, at(own), at(own)));
    }
    let local = internet.bind(b.host, at("127.0.0.1:9")).unwrap();
    assert_eq!(internet.send(0, local, None, at("192.0.2.1:7000"), b"x"), Err(SendError::Unreachable));
}

#[test]
fn a_datagram_that_the_interface_does_not_take_is_refused_and_one_that_the_line_does_not_is_swallowed() {
    let mut internet = Internet::new(1);
    let mtu = |mtu| LinkConfig { mtu: Some(mtu), ..LinkConfig::default() };
    let access = Access { up: mtu(1_300), down: mtu(1_200), mtu: Some(1_472) };
    let a = person(&mut internet, PUBLIC, "192.0.2.1", access);
    let b = person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
    let to = at("192.0.2.2:7000");
    assert_eq!(internet.send(0, a.socket, None, to, &[0; 1_473]), Err(SendError::TooLarge));
    assert_eq!(internet.counters(), Counters::default(), "what is refused was never sent");
    for (from, to, len) in [(a, to, 1_472), (a, to, 1_301), (a, to, 1_300)] {
        internet.send(0, from.socket, None, to, &vec![0; len]).unwrap();
    }
    for len in [1_300, 1_201, 1_200] {
        internet.send(0, b.socket, None, at("192.0.2.1:7000"), &vec![0; len]).unwrap();
    }
    assert_eq!(drain(&mut internet).iter().map(|a| a.bytes.len()).collect::<Vec<_>>(), [1_300, 1_200]);
    assert_eq!(internet.counters().oversized, 4);
}

#[test]
fn what_goes_to_an_address_that_nobody_has_is_lost_without_a_word() {
    let mut internet = Internet::new(1);
    let a = person(&mut internet, PUBLIC, "192.0.2.1", Access::default());
    assert_eq!(send(&mut internet, 0, a, at("192.0.2.9:7000")), []);
    assert_eq!(internet.counters().unroutable, 1);
}

#[test]
fn a_port_is_bound_once_unless_addresses_or_families_differ() {
    let mut internet = Internet::new(1);
    let host = internet.host(Clock::default());
    internet.attach(host, PUBLIC, ip("192.0.2.1"), Access::default());
    internet.attach(host, PUBLIC, ip("192.0.2.2"), Access::default());
    assert_eq!(internet.bind(host, at("192.0.2.3:1")), Err(BindError::NotAvailable));
    let first = internet.bind(host, at("192.0.2.1:1")).unwrap();
    assert!(internet.bind(host, at("192.0.2.2:1")).is_ok());
    assert_eq!(internet.bind(host, at("192.0.2.1:1")), Err(BindError::InUse));
    assert_eq!(internet.bind(host, at("0.0.0.0:1")), Err(BindError::InUse));
    assert!(internet.bind(host, at("[::]:1")).is_ok());
    internet.close(first);
    assert_eq!(internet.send(0, first, None, at("192.0.2.2:1"), b"x"), Err(SendError::Closed));
    assert!(internet.bind(host, at("192.0.2.1:1")).is_ok());
}

#[test]
fn port_zero_takes_another_free_port_each_time() {
    let mut internet = Internet::new(1);
    let host = internet.host(Clock::default());
    let mut seen = std::collections::BTreeSet::new();
    internet.bind(host, at("0.0.0.0:49200")).unwrap();
    for _ in 0..300 {
        let socket = internet.bind(host, at("127.0.0.1:0")).unwrap();
        assert!(seen.insert(internet.local_addr(socket).unwrap()));
    }
    assert!(seen.iter().all(|address| address.port() >= 49_152 && address.port() != 49_200));
}

#[test]
fn a_host_with_both_families_is_reached_over_each() {
    let mut internet = Internet::new(1);
    let a = person(&mut internet, PUBLIC, "2001:db8::1", Access::default());
    let b = person(&mut internet, PUBLIC, "192.0.2.2", Access::default());
    internet.attach(b.host, PUBLIC, ip("2001:db8::2"), Access::default());
    let socket = internet.bind(b.host, at("[::]:7000")).unwrap();
    let [arrival] = send(&mut internet, 0, a, at("[2001:db8::2]:7000")).try_into().unwrap();
    assert_eq!((arrival.host, arrival.socket), (b.host, socket));
    assert_eq!(internet.send(0, a.socket, None, at("192.0.2.2:7000"), b"x"), Err(SendError::Unreachable));
}
