//! Two endpoints of the product, the network between them, and the driver's loop.

use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Network, Reordering, millis};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{CloseCode, DATAGRAM_SIZE, EndReason, Endpoint, SessionEvent, SessionId, StreamId};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::START;
use super::people::{People, alices_address, bobs_address};
use super::target::{endpoint, received};

/// Most segments that a driver hands to its system at once.
const SEGMENTS: usize = 10;

/// One of the two.
#[derive(Debug)]
pub struct Side {
    /// Its sessions.
    pub endpoint: Endpoint,
    /// The one with the other.
    pub session: SessionId,
    /// Where it is.
    pub address: SocketAddr,
    /// What it was shown on the stream of the conversation, in order.
    pub bodies: Vec<Vec<u8>>,
    /// Whether the session came up.
    pub up: bool,
    /// How often the other did not answer several probes.
    pub suspected: usize,
    /// How the session ended.
    pub ended: Option<EndReason>,
    /// Datagrams that it sent.
    pub sent: usize,
    /// From which of them on none arrives.
    pub cut_from: usize,
}

/// Bob and alice; the session is made when they run.
#[derive(Debug)]
pub struct Pair {
    /// The time.
    pub now: Moment,
    /// Bob, then alice.
    pub sides: [Side; 2],
    /// Everything that left, in order, before anything happened to it.
    pub wire: Vec<Vec<u8>>,
    network: Network,
}

/// 30 % lost, 5 % doubled, 20 % overtaken.
pub fn bad_line() -> LinkConfig {
    LinkConfig {
        delay: millis(20),
        jitter: millis(5),
        loss: Loss::Independent { share: 0.3 },
        duplication: 0.05,
        reordering: Reordering { share: 0.2, hold: millis(15) },
        mtu: Some(DATAGRAM_SIZE),
        ..LinkConfig::default()
    }
}

/// A line on which every datagram comes twice, and nothing is lost.
pub fn doubling_line() -> LinkConfig {
    LinkConfig { delay: millis(20), duplication: 1.0, ..LinkConfig::default() }
}

impl Pair {
    /// Two people who were just introduced. `seeds` are those of bob's and alice's endpoint.
    pub fn new(people: &People, seeds: [u64; 2], line: LinkConfig, rng: &mut ChaCha20Rng) -> Self {
        let (bobs, alices) = people.introduce(rng);
        let addresses = [bobs_address(), alices_address()];
        let mut network = Network::new(rng.random());
        network.link(addresses[0].ip(), addresses[1].ip(), line);
        let side = |me, seed, introduction, address, peer| {
            let mut endpoint = endpoint(me, seed, START);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer]), START);
            Side {
                endpoint,
                session,
                address,
                bodies: Vec::new(),
                up: false,
                suspected: 0,
                ended: None,
                sent: 0,
                cut_from: usize::MAX,
            }
        };
        let bob = side(&people.bob, seeds[0], bobs, addresses[0], addresses[1]);
        let alice = side(&people.alice, seeds[1], alices, addresses[1], addresses[0]);
        Self { now: START, sides: [bob, alice], wire: Vec::new(), network }
    }

    /// Runs until the session is up on both sides; whether it came up.
    pub fn come_up(&mut self) -> bool {
        for _ in 0..200 {
            if self.sides.iter().all(|side| side.up) {
                return true;
            }
            self.run_for(Duration::from_millis(100));
        }
        false
    }

    /// Runs until a datagram of this kind leaves, and not until it arrives.
    pub fn run_until_sent(&mut self, kind: u8) -> Option<Vec<u8>> {
        for _ in 0..1_000 {
            if let Some(datagram) = self.wire.iter().find(|datagram| datagram.first() == Some(&kind)) {
                return Some(datagram.clone());
            }
            self.run_for(Duration::from_millis(1));
        }
        None
    }

    /// One of them (0 is bob) says something; whether it was taken.
    pub fn say(&mut self, who: usize, body: &[u8]) -> bool {
        let now = self.now;
        let Some(side) = self.sides.get_mut(who) else { return false };
        side.endpoint.send(side.session, StreamId::CONVERSATION, 1, body, now).is_ok()
    }

    /// One of them ends the session.
    pub fn close(&mut self, who: usize) {
        let now = self.now;
        if let Some(side) = self.sides.get_mut(who) {
            side.endpoint.close(side.session, CloseCode::Done, now);
        }
    }

    /// The line between them is another one from now on.
    pub fn relink(&mut self, line: LinkConfig) {
        let [bob, alice] = &self.sides;
        self.network.link(bob.address.ip(), alice.address.ip(), line);
    }

    /// Fingerprint of everything that went over the line; the same for the same seeds.
    pub const fn trace_hash(&self) -> u64 {
        self.network.trace_hash()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.let_out();
            let timeouts = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout());
            let arrival = self.network.next_arrival().map(Moment::from_nanos);
            let Some(next) = timeouts.chain(arrival).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.let_in();
        }
        self.now = self.now.max(end);
    }

    fn let_out(&mut self) {
        let mut out = Vec::new();
        for side in &mut self.sides {
            while let Some(transmit) = side.endpoint.poll_transmit(self.now, SEGMENTS, &mut out) {
                for datagram in out.chunks(transmit.segment_size.unwrap_or(out.len())) {
                    self.wire.push(datagram.to_vec());
                    if side.sent < side.cut_from {
                        self.network.send(self.now.as_nanos(), side.address, transmit.to, datagram);
                    }
                    side.sent += 1;
                }
            }
            while let Some((_, event)) = side.endpoint.poll_event() {
                match event {
                    SessionEvent::Up { .. } => side.up = true,
                    SessionEvent::Body { bytes, .. } => side.bodies.push(bytes),
                    SessionEvent::Suspect => side.suspected += 1,
                    SessionEvent::Ended(reason) => side.ended = Some(reason),
                    SessionEvent::Moved { .. }
                    | SessionEvent::Stream(_)
                    | SessionEvent::Recovered
                    | SessionEvent::Hint { .. } => {}
                }
            }
        }
    }

    fn let_in(&mut self) {
        while let Some(datagram) = self.network.deliver(self.now.as_nanos()) {
            let mut bytes = datagram.bytes;
            if let Some(side) = self.sides.iter_mut().find(|side| side.address == datagram.to) {
                side.endpoint.handle_datagram(received(datagram.from), &mut bytes, self.now);
            }
        }
        for side in &mut self.sides {
            if side.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                side.endpoint.handle_timeout(self.now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn trace(seed: u64) -> u64 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let seeds = [rng.random(), rng.random()];
        let mut pair = Pair::new(&People::default(), seeds, bad_line(), &mut rng);
        assert!(pair.come_up() && pair.say(0, b"over a bad line") && pair.say(1, b"and back"));
        pair.run_for(Duration::from_secs(5));
        pair.trace_hash()
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
    }
}
