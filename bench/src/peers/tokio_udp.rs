//! Bare UDP on tokio, as the product's client runs it: everything on one thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use tokio::net::UdpSocket;

use super::{MESSAGE_LEN, WARM_UP_SHARE, nanos_each, runtime};
use crate::Result;
use crate::role::say;

/// Sends back whatever comes.
pub fn echo() -> Result {
    runtime()?.block_on(async {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        say("ready", socket.local_addr()?)?;
        let mut buffer = [0; 2048];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await?;
            socket.send_to(&buffer[..len], from).await?;
        }
    })
}

/// Says how long a round trip takes, in nanoseconds.
pub fn ping(to: SocketAddr, count: usize) -> Result {
    runtime()?.block_on(async {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        round_trips(&socket, to, count / WARM_UP_SHARE).await?;
        let start = Instant::now();
        round_trips(&socket, to, count).await?;
        say("result", nanos_each(start, count))
    })
}

async fn round_trips(socket: &UdpSocket, to: SocketAddr, count: usize) -> Result {
    let mut buffer = [7; 2048];
    for _ in 0..count {
        socket.send_to(&buffer[..MESSAGE_LEN], to).await?;
        socket.recv_from(&mut buffer).await?;
    }
    Ok(())
}
