//! A double: a UDP port that answers whoever sends to it, as a port without introductions might.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::process::Failure;

/// Most bytes of one UDP datagram over IPv4.
const DATAGRAM_MAX: usize = 65_507;
/// How often its thread looks whether it still exists.
const LOOK: Duration = Duration::from_millis(50);
/// What it says to everybody.
const ANSWER: &[u8] = b"nobody of that name";

/// A running port; it closes when this is dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    heard: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Echo {
    /// A port of loopback that answers.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn start() -> Result<Self, Failure> {
        let make = || {
            let socket = UdpSocket::bind(("127.0.0.1", 0))?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = make().map_err(Failure::system("bind the double's socket"))?;
        let (heard, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (heard.clone(), ended.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; DATAGRAM_MAX];
            while !end.load(Ordering::Relaxed) {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
                counter.fetch_add(1, Ordering::Relaxed);
                let _lost = socket.send_to(ANSWER, from);
            }
        });
        Ok(Self { address, heard, ended })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that came.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
