//! H29: endpoints that nobody should dial, announced by a peer that means no good.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use p2pchat_proto::codec::encode;
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{Endpoint, EndpointConfig};

use super::people::Two;
use super::second::{self, bytes};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// Never to be dialled, loopback because neither socket nor broker is on it here.
const NEVER: [&str; 8] = [
    "0.0.0.0:9",
    "224.0.0.1:9",
    "239.255.255.250:1900",
    "255.255.255.255:9",
    "10.0.0.1:0",
    "127.0.0.1:9",
    "127.8.8.8:53",
    "0.0.0.0:0",
];
/// The same in IPv6.
const NEVER_6: [&str; 8] = [
    "[::]:9",
    "[ff02::1]:9",
    "[::1]:9",
    "[::ffff:127.0.0.1]:9",
    "[::ffff:224.0.0.1]:9",
    "[::ffff:255.255.255.255]:9",
    "[::ffff:0.0.0.0]:9",
    "[fd00::1]:0",
];
/// Dialled beside them, so that it is known that it dials at all.
const INNOCENT: &str = "198.51.100.9:9";
/// Sessions that are pointed at one third party at once.
const ATTACKERS: usize = 8;
/// Datagrams a second to addresses that nobody validated (protocol section 4).
const PER_SECOND: usize = 100;
/// Tries of one session for one endpoint (protocol section 4).
const TRIES: usize = 12;

pub(crate) fn announced(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    if defence == Defence::Removed {
        return dialled_as_announced(lab);
    }
    let two = Two::draw(&mut lab.rng);
    let mut endpoint =
        Endpoint::new(EndpointConfig::default(), two.bob.identity.clone(), bytes(&mut lab.rng), Moment::ZERO);
    // Whole lists of what is forbidden, sealed by the peer that bob asked.
    for list in [encoded(&NEVER)?, encoded(&NEVER_6)?, encoded(&[INNOCENT])?] {
        introduce(&mut endpoint, &two, list, lab)?;
    }
    let (dialled, _) = sends(&mut endpoint);
    let innocent: SocketAddr = INNOCENT.parse()?;
    let none = !dialled.is_empty() && dialled.iter().all(|(_, to)| *to == innocent);
    // One victim, named eight times over by each of several peers.
    let victims: Vec<String> = (0..8).map(|n| format!("192.0.2.7:{}", 7000 + n)).collect();
    let victims: Vec<&str> = victims.iter().map(String::as_str).collect();
    let mut endpoint =
        Endpoint::new(EndpointConfig::default(), two.bob.identity.clone(), bytes(&mut lab.rng), Moment::ZERO);
    for _ in 0..ATTACKERS {
        introduce(&mut endpoint, &two, encoded(&victims)?, lab)?;
    }
    let (sent, most) = sends(&mut endpoint);
    let bounded = sent.len() <= ATTACKERS * victims.len() * TRIES && most <= PER_SECOND && !sent.is_empty();
    let figure = format!(
        "0 of {} forbidden dialled; a third party got {} datagrams in 20 s from {ATTACKERS} sessions, at most {most} a second",
        NEVER.len() + NEVER_6.len(),
        sent.len()
    );
    Ok(Seen::when(none && bounded, "never dialled; a third party within the limits").figure(figure))
}

/// Bob asked somebody who answers with this list.
fn introduce(endpoint: &mut Endpoint, two: &Two, list: Vec<u8>, lab: &mut Lab) -> Result<(), NotRun> {
    let pending = two.request(&mut lab.rng)?;
    let (accept, shared) = second::accept(&two.alice, &pending.offer().clone(), |_| {}, &mut lab.rng)?;
    let mut bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let sealed = shared.seal(two.alice.peer_id(), 0, list)?;
    let list = bobs.endpoints.open(&sealed)?;
    endpoint.introduce(bobs.introduction, &list, Moment::ZERO);
    Ok(())
}

/// Everything that is sent in 20 s, and the most in any second.
fn sends(endpoint: &mut Endpoint) -> (Vec<(Moment, SocketAddr)>, usize) {
    let (mut now, mut sent, mut out) = (Moment::ZERO, Vec::new(), Vec::new());
    let end = Moment::ZERO + Duration::from_secs(20);
    while now <= end {
        while let Some(transmit) = endpoint.poll_transmit(now, 1, &mut out) {
            sent.push((now, transmit.to));
        }
        while endpoint.poll_event().is_some() {}
        let Some(next) = endpoint.poll_timeout() else { break };
        now = now.max(next);
        endpoint.handle_timeout(now);
    }
    let window = |from: Moment| {
        let within =
            sent.iter().filter(|(at, _)| *at >= from && at.saturating_since(from) < Duration::from_secs(1));
        within.count()
    };
    let most = sent.iter().map(|(at, _)| window(*at)).max().unwrap_or_default();
    (sent, most)
}

/// A list as it travels, with what an honest program would never put into it.
fn encoded(addresses: &[&str]) -> Result<Vec<u8>, NotRun> {
    let mut list = Vec::new();
    let mut different = BTreeSet::new();
    for (n, text) in (1_u8..).zip(addresses) {
        let address: SocketAddr = text.parse()?;
        if !different.insert(address) {
            return Err(NotRun(format!("{address} stands twice in the list")));
        }
        // An innocent address in the same family says how one is written.
        let innocent: SocketAddr = match address {
            SocketAddr::V4(_) => ([10, 1, 1, n], 7000).into(),
            SocketAddr::V6(_) => ([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)], 7000).into(),
        };
        let mut one = encode(&UdpEndpoints::new([innocent]))?;
        let mut one = one.split_off(8);
        let at = one.len() - 2;
        let ip = match address {
            SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
            SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
        };
        one[at - ip.len()..at].copy_from_slice(&ip);
        one[at..].copy_from_slice(&address.port().to_be_bytes());
        list.push(one);
    }
    Ok([(addresses.len() as u64).to_be_bytes().to_vec(), list.concat()].concat())
}

/// A double that sends to whatever the sealed list names reaches a service of its own machine.
fn dialled_as_announced(lab: &mut Lab) -> Result<Seen, NotRun> {
    let trap = UdpSocket::bind("127.0.0.1:0")?;
    trap.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (two, rng) = (Two::draw(&mut lab.rng), &mut lab.rng);
    let (request, secrets) = second::request(&two.bob, two.alice.peer_id(), rng)?;
    let (accept, alices) = second::accept(&two.alice, &request, |_| {}, rng)?;
    let list = encoded(&[&trap.local_addr()?.to_string()])?;
    let sealed = alices.seal(two.alice.peer_id(), 0, list)?;
    let opened = second::accepted(&secrets, &request, &accept)?.open(two.alice.peer_id(), &sealed);
    // As many as the first eight bytes say, each with its address and port at its end.
    let opened = opened.ok_or(NotRun("the list does not open".to_owned()))?;
    let (_, addresses) = opened.split_first_chunk::<8>().ok_or(NotRun("no list".to_owned()))?;
    let Some((_, [a, b, c, d, port @ ..])) = addresses.split_last_chunk::<6>() else {
        return Err(NotRun("no address in the list".to_owned()));
    };
    let announced = SocketAddr::from(([*a, *b, *c, *d], u16::from_be_bytes(*port)));
    UdpSocket::bind("127.0.0.1:0")?.send_to(&[0x51; 80], announced)?;
    let reached = trap.recv(&mut [0; 100]).is_ok();
    Ok(Seen::when(!reached, "a double that dials what is announced reaches a local service"))
}
