//! A plain copy over TCP: read, write, nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use crate::Result;
use crate::role::say;

/// Bytes of one read: a chunk of the product's.
const BUFFER: usize = 256 * 1024;

/// Takes one file after the other, each on a connection of its own, and says one byte when it has it all.
pub fn take(path: &str) -> Result {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    say("ready", listener.local_addr()?)?;
    loop {
        let (mut from, _) = listener.accept()?;
        copy(&mut from, &mut File::create(path)?)?;
        from.write_all(&[1])?;
    }
}

/// Sends a file and says how long it took until the other side had it, in nanoseconds.
pub fn give(to: SocketAddr, path: &str) -> Result {
    let start = Instant::now();
    let mut socket = TcpStream::connect(to)?;
    copy(&mut File::open(path)?, &mut socket)?;
    socket.shutdown(std::net::Shutdown::Write)?;
    socket.read_exact(&mut [0])?;
    say("result", start.elapsed().as_nanos())
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result {
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = from.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..len])?;
    }
}
