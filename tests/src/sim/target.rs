//! Whom a peer made by hand attacks.

use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat_crypto::{Identity, Introduction};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{
    EndReason, Endpoint, EndpointConfig, Received, SessionEvent, SessionId, SocketStats, StreamId,
};

/// A datagram that leaves, and to whom.
pub type Sent = (SocketAddr, Vec<u8>);

/// One who was introduced to the attacker, and receives.
pub trait Target {
    /// Takes what came from `from`.
    fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Moment);

    /// What it sends since it was asked last.
    fn sent(&mut self, now: Moment) -> Vec<Sent>;

    /// Does what is due.
    fn wait(&mut self, now: Moment);

    /// The bodies that it was shown on the stream of the conversation, in order.
    fn bodies(&self) -> &[Vec<u8>];

    /// How many packets it took for authentic and new.
    fn accepted(&self, now: Moment) -> u64;

    /// Whether it ended the session.
    fn has_ended(&self) -> bool;

    /// Whether it takes the session for closed by its peer; never, unless it says so.
    fn was_closed(&self) -> bool {
        false
    }

    /// Where it believes its peer to be, while there is a session; nowhere, unless it says so.
    fn path(&self, _: Moment) -> Option<SocketAddr> {
        None
    }
}

/// The product: an endpoint that waits for one introduced peer.
#[derive(Debug)]
pub struct Product {
    /// It.
    pub endpoint: Endpoint,
    /// Its session with the attacker.
    pub session: SessionId,
    /// How the session ended.
    pub ended: Option<EndReason>,
    bodies: Vec<Vec<u8>>,
    accepted: u64,
}

impl Product {
    /// An endpoint that was just introduced, and knows nothing of where the peer is.
    pub fn new(me: &Arc<Identity>, introduction: Introduction, seed: u64, now: Moment) -> Self {
        let mut endpoint = endpoint(me, seed, now);
        let session = endpoint.introduce(introduction, &UdpEndpoints::default(), now);
        Self { endpoint, session, ended: None, bodies: Vec::new(), accepted: 0 }
    }

    /// Its counters.
    pub fn stats(&self) -> SocketStats {
        self.endpoint.stats()
    }

    fn hear(&mut self, now: Moment) {
        self.accepted = self.accepted(now);
        while let Some((_, event)) = self.endpoint.poll_event() {
            match event {
                SessionEvent::Body { stream: StreamId::CONVERSATION, bytes, .. } => self.bodies.push(bytes),
                SessionEvent::Ended(reason) => self.ended = Some(reason),
                SessionEvent::Body { .. }
                | SessionEvent::Up { .. }
                | SessionEvent::Moved { .. }
                | SessionEvent::Stream(_)
                | SessionEvent::Suspect
                | SessionEvent::Recovered
                | SessionEvent::Hint { .. } => {}
            }
        }
    }
}

impl Target for Product {
    fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Moment) {
        self.endpoint.handle_datagram(received(from), &mut datagram.to_vec(), now);
        self.hear(now);
    }

    fn sent(&mut self, now: Moment) -> Vec<Sent> {
        let (mut sent, mut out) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.endpoint.poll_transmit(now, 1, &mut out) {
            sent.push((transmit.to, out.clone()));
        }
        self.hear(now);
        sent
    }

    fn wait(&mut self, now: Moment) {
        self.endpoint.handle_timeout(now);
        self.hear(now);
    }

    fn bodies(&self) -> &[Vec<u8>] {
        &self.bodies
    }

    fn accepted(&self, now: Moment) -> u64 {
        self.endpoint.info(self.session, now).map_or(self.accepted, |info| info.received)
    }

    fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    fn was_closed(&self) -> bool {
        matches!(self.ended, Some(EndReason::ClosedByPeer(_)))
    }

    fn path(&self, now: Moment) -> Option<SocketAddr> {
        self.endpoint.info(self.session, now).map(|info| info.remote)
    }
}

/// An endpoint of the product without sessions.
pub fn endpoint(me: &Arc<Identity>, seed: u64, now: Moment) -> Endpoint {
    let mut bytes = [0; 32];
    for (chunk, byte) in bytes.chunks_mut(8).zip(me.peer_id().0) {
        chunk.copy_from_slice(&(seed ^ u64::from(byte)).to_be_bytes());
    }
    Endpoint::new(EndpointConfig::default(), me.clone(), bytes, now)
}

/// One datagram of this sender.
pub const fn received(from: SocketAddr) -> Received {
    Received { from, local_ip: None, ecn: None, segment_size: None }
}
