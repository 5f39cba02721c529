//! The shell of the product's client, from the same source, without the engine: its sockets and its
//! alarm, and an endpoint that is driven over them as the client drives its own.

#![expect(dead_code, unreachable_pub, reason = "the client needs more of it than a measurement")]

#[path = "../../../crates/client/src/driver/alarm.rs"]
mod alarm;
#[path = "../../../crates/client/src/driver/udp.rs"]
mod udp;
#[path = "../../../crates/client/src/driver/watch.rs"]
mod watch;

pub mod drive;

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};

use crate::Result;

pub(crate) use udp::{Batch, Sent, Udp};

/// A socket on loopback.
pub fn socket() -> Result<Udp> {
    Ok(Udp::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?)
}

/// Waits for datagrams and takes what is there; how many came, and their bytes.
pub async fn take(udp: &Udp, batch: &mut Batch) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    poll_fn(|context| udp.poll_readable(context)).await;
    if udp.receive(batch) {
        for (received, datagrams) in batch.drain() {
            count += datagrams.len().div_ceil(received.segment_size.unwrap_or(datagrams.len()).max(1));
            bytes += datagrams.len();
        }
    }
    (count, bytes)
}
