//! Bare UDP with blocking calls: the least that two processes can do.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{MESSAGE_LEN, WARM_UP_SHARE, nanos_each};
use crate::Result;
use crate::role::say;

/// Sends back whatever comes.
pub fn echo() -> Result {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    say("ready", socket.local_addr()?)?;
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..len], from)?;
    }
}

/// Says how long a round trip takes, in nanoseconds.
pub fn ping(to: SocketAddr, count: usize) -> Result {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let round_trips = |count: usize| -> Result {
        let mut buffer = [7; 2048];
        for _ in 0..count {
            socket.send_to(&buffer[..MESSAGE_LEN], to)?;
            socket.recv_from(&mut buffer)?;
        }
        Ok(())
    };
    round_trips(count / WARM_UP_SHARE)?;
    let start = Instant::now();
    round_trips(count)?;
    say("result", nanos_each(start, count))
}
