//! An endpoint over one socket, turned as the client's driver turns its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use p2pchat_crypto::{Identity, Introduction};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{Endpoint, EndpointConfig, SessionEvent, SessionId, Transmit};

use super::alarm::Alarm;
use super::{Batch, Sent, Udp, socket};
use crate::Result;

/// One end of a session.
pub struct Drive {
    pub endpoint: Endpoint,
    pub session: SessionId,
    udp: Udp,
    batch: Batch,
    alarm: Alarm,
    start: Instant,
    unsent: Option<Transmit>,
    transmit: Vec<u8>,
}

impl Drive {
    /// An end that was introduced to somebody, who is at `peer` where that is known. Inside a runtime.
    pub fn new(me: Arc<Identity>, introduction: Introduction, peer: Option<SocketAddr>) -> Result<Self> {
        let config = EndpointConfig { ipv6: false, loopback: true, ..EndpointConfig::default() };
        let mut endpoint = Endpoint::new(config, me, rand::random(), Moment::ZERO);
        let session = endpoint.introduce(introduction, &UdpEndpoints::new(peer), Moment::ZERO);
        Ok(Self {
            endpoint,
            session,
            udp: socket()?,
            batch: Batch::new(),
            alarm: Alarm::new(),
            start: Instant::now(),
            unsent: None,
            transmit: Vec::new(),
        })
    }

    /// Where it is.
    pub fn local(&self) -> SocketAddr {
        self.udp.local()
    }

    /// Now.
    pub fn now(&self) -> Moment {
        since(self.start)
    }

    /// What happened, where something did.
    pub fn event(&mut self) -> Option<SessionEvent> {
        self.endpoint.poll_event().map(|(_, event)| event)
    }

    /// Sends what there is, waits until something comes or is due, and takes it.
    pub async fn turn(&mut self) {
        self.transmit();
        if let Some(due) = self.endpoint.poll_timeout() {
            let start = self.start;
            self.alarm.fire_by(due, || due.saturating_since(since(start)));
        }
        let Self { udp, alarm, unsent, .. } = self;
        let full = unsent.is_some();
        let sources = poll_fn(|context| {
            if udp.poll_readable(context).is_ready() {
                return Poll::Ready(());
            }
            alarm.poll(context)
        });
        tokio::select! {
            biased;
            () = sources => {}
            () = udp.writable(), if full => {}
        }
        let now = self.now();
        if self.udp.receive(&mut self.batch) {
            for (received, datagrams) in self.batch.drain() {
                self.endpoint.handle_datagram(received, datagrams, now);
            }
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
    }

    fn transmit(&mut self) {
        let now = self.now();
        let segments = self.udp.max_segments();
        loop {
            if self.unsent.is_none() {
                self.unsent = self.endpoint.poll_transmit(now, segments, &mut self.transmit);
            }
            let Some(transmit) = &self.unsent else { return };
            match self.udp.send(transmit, &self.transmit) {
                Sent::Full => return,
                Sent::TooLarge => {
                    let size = transmit.segment_size.unwrap_or(self.transmit.len());
                    self.endpoint.too_large(transmit.to, size, now);
                }
                Sent::Yes | Sent::Lost | Sent::FromElsewhere(_) => {}
            }
            self.unsent = None;
        }
    }
}

fn since(start: Instant) -> Moment {
    Moment::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
