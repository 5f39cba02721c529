//! Datagrams as many as go, through the sockets of the product's client.

use std::net::SocketAddr;
use std::time::Instant;

use p2pchat_session::Transmit;

use super::runtime;
use crate::Result;
use crate::driver::{Batch, Sent, socket, take};
use crate::role::say;

/// Bytes of a packet.
pub const PACKET_LEN: usize = 1200;
/// What one system call takes at most: what fits a UDP datagram over IPv4 (RFC 768).
const BATCH_MAX: usize = 65_507;
/// Packets before the clock starts.
const WARM_UP: usize = 10_000;

/// Takes packets and says, once `count` came, how many nanoseconds each took.
pub fn receive(count: usize) -> Result {
    runtime()?.block_on(async {
        let (udp, mut batch) = (socket()?, Batch::new());
        say("ready", udp.local())?;
        let mut came = 0;
        while came < WARM_UP {
            came += take(&udp, &mut batch).await.0;
        }
        let (start, mut came) = (Instant::now(), 0);
        while came < count {
            came += take(&udp, &mut batch).await.0;
        }
        say("result", super::nanos_each(start, came))?;
        std::future::pending().await
    })
}

/// Sends packets without an end, `segments` in each system call, or as many as the system takes for 0.
pub fn send(to: SocketAddr, segments: usize) -> Result {
    runtime()?.block_on(async {
        let udp = socket()?;
        let most = udp.max_segments().min(BATCH_MAX / PACKET_LEN);
        let segments = if segments == 0 { most } else { segments.min(most) };
        let contents = vec![7; PACKET_LEN * segments];
        let segment_size = (segments > 1).then_some(PACKET_LEN);
        let transmit = Transmit { to, local_ip: None, ecn: None, segment_size };
        say("ready", segments)?;
        loop {
            match udp.send(&transmit, &contents) {
                Sent::Yes => {}
                Sent::Full => udp.writable().await,
                refused => return Err(format!("{refused:?}").into()),
            }
        }
    })
}

/// Takes whatever comes and does nothing with it. Ready says where.
pub fn sink() -> Result {
    runtime()?.block_on(async {
        let (udp, mut batch) = (socket()?, Batch::new());
        say("ready", udp.local())?;
        loop {
            take(&udp, &mut batch).await;
        }
    })
}
