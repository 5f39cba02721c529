//! The product's session.

use std::net::SocketAddr;
use std::sync::Arc;

use p2pchat_crypto::{Identity, Introduction};
use p2pchat_harness::sim::people::People;
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{Endpoint, EndpointConfig, Received, SessionEvent, SessionId, StreamId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{End, LINE_LEN, SEGMENTS, addresses};
use crate::Result;

/// Any kind: the session carries it unread.
const KIND: u8 = 1;

/// One end of a session.
pub struct Session {
    endpoint: Endpoint,
    session: SessionId,
    up: bool,
    heard: usize,
}

/// Two who were just introduced.
pub fn ends(seed: u64) -> Result<[Session; 2]> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let people = People::default();
    let (bobs, alices) = people.introduce(&mut rng);
    Ok(introduced(&people, bobs, alices, rng.random()))
}

/// Bob and alice with an introduction each, who know where the other is.
pub fn introduced(people: &People, bobs: Introduction, alices: Introduction, seed: u64) -> [Session; 2] {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let [bob, alice] = addresses();
    let mut end = |me: &Arc<Identity>, introduction, peer| {
        let mut endpoint = Endpoint::new(EndpointConfig::default(), me.clone(), rng.random(), Moment::ZERO);
        let session = endpoint.introduce(introduction, &UdpEndpoints::new([peer]), Moment::ZERO);
        Session { endpoint, session, up: false, heard: 0 }
    };
    [end(&people.bob, bobs, alice), end(&people.alice, alices, bob)]
}

impl End for Session {
    fn take(&mut self, from: SocketAddr, mut datagram: Vec<u8>, now: u64) -> Result {
        let received = Received { from, local_ip: None, ecn: None, segment_size: None };
        self.endpoint.handle_datagram(received, &mut datagram, Moment::from_nanos(now));
        Ok(())
    }

    fn wake(&mut self, now: u64) {
        self.endpoint.handle_timeout(Moment::from_nanos(now));
    }

    fn due(&mut self) -> Option<u64> {
        self.endpoint.poll_timeout().map(Moment::as_nanos)
    }

    fn give(&mut self, now: u64, out: &mut dyn FnMut(SocketAddr, &[u8])) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(Moment::from_nanos(now), SEGMENTS, &mut buffer)
        {
            let size = transmit.segment_size.unwrap_or(buffer.len());
            buffer.chunks(size).for_each(|datagram| out(transmit.to, datagram));
        }
        while let Some((_, event)) = self.endpoint.poll_event() {
            match event {
                SessionEvent::Up { .. } => self.up = true,
                SessionEvent::Body { .. } => self.heard += 1,
                _ => {}
            }
        }
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn say(&mut self, now: u64) -> Result {
        let line = [b'a'; LINE_LEN];
        Ok(self.endpoint.send(self.session, StreamId::CONVERSATION, KIND, &line, Moment::from_nanos(now))?)
    }

    fn heard(&self) -> usize {
        self.heard
    }
}
