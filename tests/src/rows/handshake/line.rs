//! Two endpoints of the product in virtual time, and an attacker who carries their datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_crypto::Introduction;
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{Endpoint, EndpointConfig, Received, SessionEvent, SessionId};
use rand_chacha::ChaCha20Rng;

use super::people::Two;
use super::second::{Person, bytes};
use crate::rows::NotRun;

/// One person's endpoint and what came out of it.
pub(crate) struct Side {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) session: SessionId,
    pub(crate) events: Vec<SessionEvent>,
}

impl Side {
    /// Somebody at `address` who was introduced to somebody at `peer`.
    pub(crate) fn new(
        me: &Person,
        address: &str,
        introduction: Introduction,
        peer: &str,
        now: Moment,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, NotRun> {
        let config = EndpointConfig::default();
        let mut endpoint = Endpoint::new(config, me.identity.clone(), bytes(rng), now);
        let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer.parse()?]), now);
        Ok(Self { endpoint, address: address.parse()?, session, events: Vec::new() })
    }

    /// Everything that is to be sent now, and where.
    pub(crate) fn sends(&mut self, now: Moment) -> Vec<(SocketAddr, Vec<u8>)> {
        let (mut sent, mut out) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.endpoint.poll_transmit(now, 1, &mut out) {
            sent.push((transmit.to, out.clone()));
        }
        self.hears();
        sent
    }

    fn hears(&mut self) {
        while let Some((_, event)) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }

    /// Takes a datagram, whatever it is.
    pub(crate) fn takes(&mut self, from: SocketAddr, datagram: &[u8], now: Moment) {
        let received = Received { from, local_ip: None, ecn: None, segment_size: None };
        self.endpoint.handle_datagram(received, &mut datagram.to_vec(), now);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.events.iter().any(|event| matches!(event, SessionEvent::Up { .. }))
    }

    /// Bodies that reached the application.
    pub(crate) fn bodies(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, SessionEvent::Body { .. })).count()
    }

    /// Takes a datagram and answers whether that left any trace: an answer, an event, an exchange
    /// of keys, another session or another deadline.
    pub(crate) fn is_moved_by(&mut self, from: SocketAddr, datagram: &[u8], now: Moment) -> bool {
        let traces = |side: &Self| {
            let stats = side.endpoint.stats();
            let counts = (stats.answered, stats.key_exchanges, side.endpoint.len(), side.events.len());
            (counts, side.endpoint.poll_timeout(), stats.received - stats.dropped)
        };
        let before = traces(self);
        self.takes(from, datagram, now);
        let sent = self.sends(now);
        !sent.is_empty() || traces(self) != before
    }
}

/// Bob, who asked, alice, and the line between them. A datagram takes 10 ms.
pub(crate) struct Line {
    pub(crate) now: Moment,
    pub(crate) bob: Side,
    pub(crate) alice: Side,
    /// All that was sent so far: whether by bob, and the datagram.
    pub(crate) sent: Vec<(bool, Vec<u8>)>,
}

/// Where the two are.
pub(crate) const ALICE_AT: &str = "10.0.0.1:7001";
pub(crate) const BOB_AT: &str = "10.0.0.2:7002";
/// On the line.
const DELAY: Duration = Duration::from_millis(10);
/// Turns of a line after which nothing comes any more.
const TURNS: usize = 4000;

impl Line {
    /// Two introduced people before the first datagram.
    pub(crate) fn introduced(two: &Two, rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let (bobs, alices) = two.introduced(rng)?;
        Self::between(two, bobs.introduction, alices.introduction, rng)
    }

    /// The same with what they were introduced by.
    pub(crate) fn between(
        two: &Two,
        bobs: Introduction,
        alices: Introduction,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, NotRun> {
        let now = Moment::from_nanos(1_000_000_000);
        let bob = Side::new(&two.bob, BOB_AT, bobs, ALICE_AT, now, rng)?;
        let alice = Side::new(&two.alice, ALICE_AT, alices, BOB_AT, now, rng)?;
        Ok(Self { now, bob, alice, sent: Vec::new() })
    }

    /// Carries datagrams to and fro until `done` or until `within` is over.
    pub(crate) fn run(&mut self, within: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + within;
        for _ in 0..TURNS {
            self.bob.hears();
            self.alice.hears();
            if done(self) {
                return true;
            }
            let (of_bob, of_alice) = (self.bob.sends(self.now), self.alice.sends(self.now));
            if of_bob.is_empty() && of_alice.is_empty() {
                let timeouts = [self.bob.endpoint.poll_timeout(), self.alice.endpoint.poll_timeout()];
                let Some(next) = timeouts.into_iter().flatten().min().filter(|at| *at <= end) else {
                    return false;
                };
                self.now = self.now.max(next);
            } else {
                self.now = self.now + DELAY;
            }
            for (_, datagram) in of_bob {
                self.alice.takes(self.bob.address, &datagram, self.now);
                self.sent.push((true, datagram));
            }
            for (_, datagram) in of_alice {
                self.bob.takes(self.alice.address, &datagram, self.now);
                self.sent.push((false, datagram));
            }
            for side in [&mut self.bob, &mut self.alice] {
                if side.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    side.endpoint.handle_timeout(self.now);
                }
            }
        }
        false
    }

    /// Until both are up.
    pub(crate) fn meet(&mut self, within: Duration) -> bool {
        self.run(within, |line| line.bob.is_up() && line.alice.is_up())
    }
}
