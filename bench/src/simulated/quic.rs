//! QUIC: quinn's state machine with its defaults, and one stream that is never ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, ServerConfig,
    StreamId,
};

use super::{End, LINE_LEN, SEGMENTS, addresses};
use crate::Result;
use crate::peers::quinn::{NAME, certificate, trusting};

/// One end of a connection.
pub struct Quic {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    start: Instant,
    stream: Option<StreamId>,
    heard: usize,
    /// What the endpoint itself has to send.
    waiting: Vec<(SocketAddr, Vec<u8>)>,
}

/// A client and a server.
pub fn ends(seed: u64) -> Result<[Quic; 2]> {
    Configs::new()?.ends(seed)
}

/// What many connections have in common.
pub struct Configs {
    client: ClientConfig,
    server: Arc<ServerConfig>,
}

impl Configs {
    /// A new certificate, and somebody who trusts it.
    pub fn new() -> Result<Self> {
        let (certificate, key) = certificate()?;
        let server = Arc::new(ServerConfig::with_single_cert(vec![certificate.clone()], key)?);
        Ok(Self { client: ClientConfig::new(trusting(certificate)?), server })
    }

    /// A client and a server of their own.
    pub fn ends(&self, seed: u64) -> Result<[Quic; 2]> {
        let start = Instant::now();
        let end = |server: Option<Arc<ServerConfig>>, place: u8| {
            let mut bytes = [place; 32];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), server, true, Some(bytes));
            Quic { endpoint, connection: None, start, stream: None, heard: 0, waiting: Vec::new() }
        };
        let (mut client, server) = (end(None, 1), end(Some(self.server.clone()), 2));
        client.connection =
            Some(client.endpoint.connect(start, self.client.clone(), addresses()[1], NAME)?);
        Ok([client, server])
    }
}

impl Quic {
    fn instant(&self, now: u64) -> Instant {
        self.start + Duration::from_nanos(now)
    }

    /// Carries events between endpoint and connection until neither has any.
    fn settle(&mut self) {
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while connection.poll().is_some() {}
        self.stream = self.stream.or_else(|| connection.streams().accept(Dir::Uni));
    }

    fn read(&mut self) -> Result {
        let (Some((_, connection)), Some(stream)) = (&mut self.connection, self.stream) else {
            return Ok(());
        };
        if stream.initiator() == connection.side() {
            return Ok(());
        }
        let mut receive = connection.recv_stream(stream);
        let mut chunks = receive.read(true)?;
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.heard += chunk.bytes.len();
        }
        let _credit_goes_with_the_next_packet = chunks.finalize();
        Ok(())
    }
}

impl End for Quic {
    fn take(&mut self, from: SocketAddr, datagram: Vec<u8>, now: u64) -> Result {
        let now = self.instant(now);
        let mut buffer = Vec::new();
        let data = BytesMut::from(&datagram[..]);
        match self.endpoint.handle(now, from, None, None, data, &mut buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut buffer, None);
                self.connection = Some(accepted.map_err(|error| error.cause)?);
            }
            Some(DatagramEvent::Response(transmit)) => {
                buffer.truncate(transmit.size);
                self.waiting.push((transmit.destination, buffer));
            }
            None => {}
        }
        self.settle();
        self.read()
    }

    fn wake(&mut self, now: u64) {
        let now = self.instant(now);
        if let Some((_, connection)) = &mut self.connection {
            connection.handle_timeout(now);
        }
        self.settle();
    }

    fn due(&mut self) -> Option<u64> {
        let (_, connection) = self.connection.as_mut()?;
        let due = connection.poll_timeout()?.saturating_duration_since(self.start);
        Some(super::nanos(due))
    }

    fn give(&mut self, now: u64, out: &mut dyn FnMut(SocketAddr, &[u8])) {
        let now = self.instant(now);
        self.settle();
        self.waiting.drain(..).for_each(|(to, datagram)| out(to, &datagram));
        let Some((_, connection)) = &mut self.connection else { return };
        let mut buffer = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, SEGMENTS, &mut buffer) {
            let size = transmit.segment_size.unwrap_or(transmit.size);
            buffer[..transmit.size].chunks(size).for_each(|datagram| out(transmit.destination, datagram));
            buffer.clear();
        }
        self.settle();
    }

    fn is_up(&self) -> bool {
        self.connection.as_ref().is_some_and(|(_, connection)| !connection.is_handshaking())
    }

    fn say(&mut self, _now: u64) -> Result {
        let (_, connection) = self.connection.as_mut().ok_or("no connection")?;
        let opened = self.stream.or_else(|| connection.streams().open(Dir::Uni));
        let stream = opened.ok_or("no stream")?;
        self.stream = Some(stream);
        let written = connection.send_stream(stream).write(&[b'a'; LINE_LEN])?;
        if written == LINE_LEN { Ok(()) } else { Err("no room for a line".into()) }
    }

    fn heard(&self) -> usize {
        self.heard / LINE_LEN
    }
}
