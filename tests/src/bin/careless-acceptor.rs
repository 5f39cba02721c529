//! A double for the harness: a server that takes connections as fast as it can, and when the system
//! has no room for another one, asks again at once.

use std::io::{self, Write};
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let mut guests = Vec::new();
    loop {
        if let Ok((guest, _)) = listener.accept() {
            guests.push(guest);
        }
    }
}
