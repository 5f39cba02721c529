//! Hosts, the links between them, and what is on its way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::counters::Counters;
use crate::line::Line;
use crate::link::{LinkConfig, Passage};
use crate::trace::{Step, Trace};

/// Hosts and the links between them.
///
/// A host is an IP address; its ports need no set-up, and a machine with two interfaces is two
/// hosts. The order of calls: after every [`send`](Self::send) the next arrival may have moved;
/// sleep (in virtual time) until the earlier of [`next_arrival`](Self::next_arrival) and one's own
/// timers, then call [`deliver`](Self::deliver) until it returns `None`.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    /// By (from, to).
    directions: BTreeMap<(IpAddr, IpAddr), Line>,
    /// By arrival, then in the order of sending.
    in_flight: BTreeMap<(u64, u64), Datagram>,
    next_ticket: u64,
    unroutable: u64,
    trace: Trace,
    shape: Trace,
}

/// A datagram, with the addresses as its receiver sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// Where it was sent.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
}

impl Network {
    /// A network without hosts; everything random in it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            directions: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_ticket: 0,
            unroutable: 0,
            trace: Trace::new(),
            shape: Trace::new(),
        }
    }

    /// The seed, to be printed when a test fails.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Connects two hosts (or one with itself), both directions alike.
    ///
    /// For a link that exists it is the same as two calls of [`configure`](Self::configure).
    pub fn link(&mut self, a: IpAddr, b: IpAddr, config: LinkConfig) {
        self.configure(a, b, config);
        self.configure(b, a, config);
    }

    /// Sets how the direction from one host to another behaves from now on, and makes it where it
    /// did not exist. What is in flight is not touched, nor what was drawn and counted so far.
    pub fn configure(&mut self, from: IpAddr, to: IpAddr, config: LinkConfig) {
        let stream = self.directions.len() as u64;
        let seed = self.seed;
        self.directions
            .entry((from, to))
            .or_insert_with(|| Line::new(config, seed, stream))
            .direction
            .config = config;
    }

    /// Cuts the link between two hosts, or heals it. What is in flight still arrives.
    pub fn partition(&mut self, a: IpAddr, b: IpAddr, on: bool) {
        for way in [(a, b), (b, a)] {
            if let Some(line) = self.directions.get_mut(&way) {
                line.direction.partitioned = on;
            }
        }
    }

    /// Hands one datagram to the network. What becomes of it shows in [`counters`](Self::counters)
    /// and at the receiver; the sender learns nothing, as over UDP.
    pub fn send(&mut self, now: u64, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let (step, passage) = match self.directions.get_mut(&(from.ip(), to.ip())) {
            Some(line) => line.pass(now, bytes.len()),
            None => {
                self.unroutable += 1;
                (Step::Unroutable, None)
            }
        };
        self.note(now, step, from, to, bytes);
        let Some(passage) = passage else { return };
        let mut bytes = bytes.to_vec();
        passage.damage(&mut bytes);
        let Passage { at, copy_at, .. } = passage;
        let datagram = Datagram { from, to, bytes };
        if let Some(copy_at) = copy_at {
            self.enqueue(copy_at, datagram.clone());
        }
        self.enqueue(at, datagram);
    }

    /// When the next datagram arrives; `None` when nothing is in flight.
    pub fn next_arrival(&self) -> Option<u64> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the earliest datagram that has arrived by `now`; of several at one instant the one
    /// that was sent first.
    pub fn deliver(&mut self, now: u64) -> Option<Datagram> {
        let entry = self.in_flight.first_entry()?;
        let (at, _) = *entry.key();
        if at > now {
            return None;
        }
        let datagram = entry.remove();
        if let Some(line) = self.directions.get_mut(&(datagram.from.ip(), datagram.to.ip())) {
            line.counters.delivered += 1;
        }
        self.note(at, Step::Delivered, datagram.from, datagram.to, &datagram.bytes);
        Some(datagram)
    }

    /// Datagrams on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What happened in the whole network.
    pub fn counters(&self) -> Counters {
        let start = Counters { sent: self.unroutable, unroutable: self.unroutable, ..Counters::default() };
        self.directions.values().fold(start, |sum, line| sum.plus(line.counters))
    }

    /// What happened in one direction; all zero where no link is.
    pub fn direction_counters(&self, from: IpAddr, to: IpAddr) -> Counters {
        self.directions.get(&(from, to)).map(|line| line.counters).unwrap_or_default()
    }

    /// Fingerprint of everything that was sent and delivered so far: of each datagram, in order, the
    /// time, both addresses, what became of it, its length and its bytes. Two runs with the same seed
    /// and the same calls have the same, in any process.
    pub const fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The same without the bytes: for simulations in which something seals with keys that no seed gives.
    pub const fn shape_hash(&self) -> u64 {
        self.shape.hash()
    }

    fn note(&mut self, at: u64, step: Step, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.trace.datagram(at, step, from, to, bytes);
        self.shape.shape(at, step, from, to, bytes.len());
    }

    fn enqueue(&mut self, at: u64, datagram: Datagram) {
        self.in_flight.insert((at, self.next_ticket), datagram);
        self.next_ticket += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loss, Rate, Reordering, micros, millis};
    use proptest::prelude::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn port(n: u8) -> SocketAddr {
        SocketAddr::new(host(n), 7000)
    }

    fn pair(seed: u64, config: LinkConfig) -> Network {
        let mut network = Network::new(seed);
        network.link(host(1), host(2), config);
        network
    }

    fn drain(network: &mut Network) -> Vec<(u64, Datagram)> {
        let mut all = Vec::new();
        while let Some(now) = network.next_arrival() {
            while let Some(datagram) = network.deliver(now) {
                all.push((now, datagram));
            }
        }
        all
    }

    #[test]
    fn a_perfect_line_delivers_everything_in_order_at_its_delay() {
        let mut network = pair(1, LinkConfig { delay: millis(30), ..LinkConfig::default() });
        for n in 0..50u8 {
            network.send(micros(u64::from(n)), port(1), port(2), &[n]);
        }
        assert_eq!(network.deliver(millis(30) - 1), None);
        for (n, (at, datagram)) in drain(&mut network).into_iter().enumerate() {
            assert_eq!(at, millis(30) + micros(n as u64));
            assert_eq!(datagram, Datagram { from: port(1), to: port(2), bytes: vec![n as u8] });
        }
        assert_eq!(network.counters(), Counters { sent: 50, delivered: 50, ..Counters::default() });
    }

    #[test]
    fn what_goes_where_no_link_is_arrives_nowhere() {
        let mut network = pair(1, LinkConfig::default());
        network.send(0, port(1), port(3), b"x");
        network.send(0, port(1), port(1), b"x");
        assert_eq!(network.next_arrival(), None);
        assert_eq!(network.counters(), Counters { sent: 2, unroutable: 2, ..Counters::default() });
    }

    #[test]
    fn a_partition_drops_both_directions_until_it_is_healed() {
        let mut network = pair(1, LinkConfig::default());
        network.partition(host(2), host(1), true);
        network.send(0, port(1), port(2), b"x");
        network.send(0, port(2), port(1), b"x");
        assert_eq!(network.counters().partitioned, 2);
        network.partition(host(1), host(2), false);
        network.send(0, port(1), port(2), b"x");
        assert_eq!(drain(&mut network).len(), 1);
    }

    #[test]
    fn a_datagram_over_the_mtu_is_dropped_and_one_of_its_size_passes() {
        let mut network = pair(1, LinkConfig { mtu: Some(1200), ..LinkConfig::default() });
        network.send(0, port(1), port(2), &[0; 1200]);
        network.send(0, port(1), port(2), &[0; 1201]);
        assert_eq!(drain(&mut network).len(), 1);
        assert_eq!(network.counters().oversized, 1);
    }

    #[test]
    fn directions_differ_where_they_are_configured_to() {
        let mut network = pair(1, LinkConfig::default());
        network.configure(
            host(2),
            host(1),
            LinkConfig { loss: Loss::Independent { share: 1.0 }, ..LinkConfig::default() },
        );
        network.send(0, port(1), port(2), b"x");
        network.send(0, port(2), port(1), b"x");
        assert_eq!(network.direction_counters(host(1), host(2)).lost, 0);
        assert_eq!(network.direction_counters(host(2), host(1)).lost, 1);
    }

    #[test]
    fn corruption_flips_exactly_one_bit() {
        let mut network = pair(3, LinkConfig { corruption: 1.0, ..LinkConfig::default() });
        for _ in 0..200 {
            network.send(0, port(1), port(2), &[0; 33]);
        }
        for (_, datagram) in drain(&mut network) {
            assert_eq!(datagram.bytes.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
        }
        network.send(0, port(1), port(2), &[]);
        assert_eq!(drain(&mut network).len(), 1);
    }

    #[test]
    fn traffic_of_one_direction_does_not_change_the_fate_of_another() {
        let config = LinkConfig { loss: Loss::Independent { share: 0.5 }, ..LinkConfig::default() };
        let arrived = |noise: bool| {
            let mut network = pair(9, config);
            for n in 0..100u8 {
                network.send(0, port(1), port(2), &[n]);
                if noise {
                    network.send(0, port(2), port(1), &[n]);
                }
            }
            let mut all = drain(&mut network);
            all.retain(|(_, datagram)| datagram.to == port(2));
            all
        };
        assert_eq!(arrived(false), arrived(true));
    }

    fn faults() -> impl Strategy<Value = LinkConfig> {
        (0..50u64, 0..50u64, 0.0..1.0f64, 0.0..1.0f64, 0.0..1.0f64, 0.0..1.0f64, 1..2_000u64).prop_map(
            |(delay, jitter, loss, duplication, share, corruption, kilobytes)| LinkConfig {
                delay: millis(delay),
                jitter: millis(jitter),
                loss: Loss::Burst { share: loss, mean_length: 3.0 },
                duplication,
                reordering: Reordering { share, hold: millis(jitter) },
                corruption,
                rate: Some(Rate { bytes_per_second: kilobytes * 1000, queue: 20_000 }),
                mtu: Some(1_000),
            },
        )
    }

    fn run(seed: u64, config: LinkConfig, sends: &[(u64, usize)]) -> Network {
        let mut network = pair(seed, config);
        let mut now = 0;
        for (n, (pause, len)) in sends.iter().enumerate() {
            now += micros(*pause);
            let (from, to) = if n % 3 == 0 { (port(2), port(1)) } else { (port(1), port(2)) };
            network.send(now, from, to, &vec![n as u8; *len]);
            while network.deliver(now).is_some() {}
        }
        network
    }

    proptest! {
        #[test]
        fn every_datagram_is_accounted_for_and_time_never_goes_back(
            seed: u64,
            config in faults(),
            sends in proptest::collection::vec((0..5_000u64, 0..1_100usize), 0..200),
        ) {
            let mut network = run(seed, config, &sends);
            let counters = network.counters();
            prop_assert_eq!(
                counters.sent + counters.duplicated,
                counters.delivered + counters.dropped() + network.in_flight() as u64
            );
            let arrivals: Vec<_> = drain(&mut network).into_iter().map(|(at, _)| at).collect();
            prop_assert!(arrivals.is_sorted());
        }

        #[test]
        fn the_same_seed_replays_the_same_trace(
            seed: u64,
            config in faults(),
            sends in proptest::collection::vec((0..5_000u64, 0..1_100usize), 0..100),
        ) {
            let (first, second) = (run(seed, config, &sends), run(seed, config, &sends));
            prop_assert_eq!(first.trace_hash(), second.trace_hash());
            prop_assert_eq!(first.shape_hash(), second.shape_hash());
            prop_assert_eq!(first.counters(), second.counters());
        }
    }

    #[test]
    fn another_seed_gives_another_trace() {
        let config = LinkConfig { loss: Loss::Independent { share: 0.5 }, ..LinkConfig::default() };
        let sends = [(10, 10); 64];
        assert_ne!(run(1, config, &sends).trace_hash(), run(2, config, &sends).trace_hash());
        assert_ne!(run(1, config, &sends).shape_hash(), run(2, config, &sends).shape_hash());
    }

    #[test]
    fn the_trace_of_a_seed_is_the_same_in_every_process() {
        // Made by another process: nothing of one, like the order of a hash table, may come in.
        let config = LinkConfig {
            delay: millis(20),
            jitter: millis(5),
            loss: Loss::Independent { share: 0.3 },
            duplication: 0.1,
            reordering: Reordering { share: 0.2, hold: millis(15) },
            corruption: 0.1,
            ..LinkConfig::default()
        };
        let network = run(7, config, &[(700, 100); 200]);
        assert_eq!(network.trace_hash(), 0x113d_e246_d5ab_c141);
        assert_eq!(network.shape_hash(), 0xd888_e648_6a75_499f);
    }

    #[test]
    fn whatever_differs_about_a_datagram_shows_in_the_trace() {
        let traced = |now, from, to, bytes: &[u8], deliver: bool, config| {
            let mut network = pair(1, config);
            network.send(now, from, to, bytes);
            if deliver {
                network.deliver(now);
            }
            (network.trace_hash(), network.shape_hash())
        };
        let line = LinkConfig::default();
        let lost = LinkConfig { loss: Loss::Independent { share: 1.0 }, ..line };
        let other_port = SocketAddr::new(host(2), 7001);
        let all = [
            traced(0, port(1), port(2), b"ab", false, line),
            traced(1, port(1), port(2), b"ab", false, line),
            traced(0, port(2), port(1), b"ab", false, line),
            traced(0, port(1), other_port, b"ab", false, line),
            traced(0, port(1), port(3), b"ab", false, line),
            traced(0, port(1), port(2), b"abc", false, line),
            traced(0, port(1), port(2), b"ab", true, line),
            traced(0, port(1), port(2), b"ab", false, lost),
            traced(0, port(1), port(2), b"ab", false, LinkConfig { mtu: Some(1), ..line }),
            traced(0, port(1), port(2), b"ab", false, LinkConfig { duplication: 1.0, ..line }),
        ];
        for hashes in [all.map(|(trace, _)| trace), all.map(|(_, shape)| shape)] {
            assert_eq!(std::collections::BTreeSet::from(hashes).len(), all.len());
        }
        let (trace, shape) = traced(0, port(1), port(2), b"ba", false, line);
        assert!(trace != all[0].0 && shape == all[0].1, "the content shows in the trace alone");
    }
}
