//! Many logged-in clients of a broker that say nothing more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use p2pchat_crypto::link::{ClientHandshake, LinkSealer, frame, hello};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_proto::broker::{Hello, Register, ToBroker};
use p2pchat_proto::limits::PROTOCOL_VERSION;

use crate::Result;
use crate::role::say;

/// Logs in `count` clients with a name each, and keeps their links open.
pub fn hold(broker: &str, count: usize) -> Result {
    let address: SocketAddr = broker.split('#').next().unwrap_or_default().parse()?;
    let links = (0..count).map(|number| link(address, number)).collect::<Result<Vec<_>>>()?;
    say("ready", links.len())?;
    loop {
        std::thread::park();
    }
}

fn link(address: SocketAddr, number: usize) -> Result<TcpStream> {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let me = Identity::from_seed(&Seed::from_bytes(seed));
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (handshake, first) = ClientHandshake::start(&mut rand::rng());
    socket.write_all(&frame(&first))?;
    let second = record(&mut socket)?;
    let (mut sealer, _, link) = handshake.finish(&second).map_err(|error| format!("{error:?}"))?;
    let signature = hello(&me, &link.hash, link.key);
    let versions = vec![PROTOCOL_VERSION];
    let hello = Hello { versions, features: 0, peer: me.peer_id(), signature };
    call(&mut socket, &mut sealer, 1, hello.into())?;
    let name = format!("idle-{number}").parse()?;
    call(&mut socket, &mut sealer, 2, Register { name, token: None }.into())?;
    Ok(socket)
}

/// Says something and waits for a record, whatever is in it.
fn call(socket: &mut TcpStream, sealer: &mut LinkSealer, number: u32, message: ToBroker) -> Result {
    let plaintext = message.to_record(number).map_err(|error| format!("{error:?}"))?;
    let mut sealed = Vec::new();
    sealer.seal(&plaintext, &mut sealed).map_err(|error| format!("{error:?}"))?;
    socket.write_all(&sealed)?;
    record(socket).map(drop)
}

fn record(socket: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    socket.read_exact(&mut length)?;
    let mut record = vec![0; usize::from(u16::from_be_bytes(length))];
    socket.read_exact(&mut record)?;
    Ok(record)
}
