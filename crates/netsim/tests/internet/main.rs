//! The small internet from outside: what its hosts see of it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod faults;
mod hosts;
mod nats;
mod replay;

use std::net::{IpAddr, SocketAddr};

use p2pchat_netsim::{Access, Arrival, Clock, HostId, InterfaceId, Internet, NetId, SocketId};

/// A host with one interface and a socket on port 7000 of all addresses.
#[derive(Debug, Clone, Copy)]
struct Person {
    host: HostId,
    interface: InterfaceId,
    socket: SocketId,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn person(internet: &mut Internet, net: NetId, address: &str, access: Access) -> Person {
    let host = internet.host(Clock::default());
    let interface = internet.attach(host, net, ip(address), access);
    let all = if ip(address).is_ipv4() { at("0.0.0.0:7000") } else { at("[::]:7000") };
    Person { host, interface, socket: internet.bind(host, all).unwrap() }
}

/// Everything that arrives from now on, to the end of what is planned.
fn drain(internet: &mut Internet) -> Vec<Arrival> {
    let mut all = Vec::new();
    while let Some(now) = internet.next_event() {
        while let Some(arrival) = internet.deliver(now) {
            all.push(arrival);
        }
    }
    all
}

/// Sends a datagram, and gives what arrives of it, or of anything else.
fn send(internet: &mut Internet, now: u64, from: Person, to: SocketAddr) -> Vec<Arrival> {
    internet.send(now, from.socket, None, to, b"datagram").unwrap();
    drain(internet)
}

/// The same where it must arrive: who got it, from which address.
fn reach(internet: &mut Internet, now: u64, from: Person, to: SocketAddr) -> (HostId, SocketAddr) {
    let [arrival]: [Arrival; 1] = send(internet, now, from, to).try_into().unwrap();
    (arrival.host, arrival.from)
}
