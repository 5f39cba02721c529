//! Bytes on one QUIC stream, from memory to memory: quinn as it comes, its chunks not copied.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn::{ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TransportConfig};
use rustls::pki_types::CertificateDer;

use super::bulk::{CHUNK, WARM_UP};
use super::quinn::{NAME, bytes, certificate, hex, trusting};
use super::runtime;
use crate::Result;
use crate::cpu;
use crate::role::say;

/// An endpoint with datagrams of so many bytes at most.
fn endpoint(most: u16, server: Option<ServerConfig>) -> Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(most)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let runtime = quinn::default_runtime().ok_or("no runtime")?;
    Ok(Endpoint::new(config, server, socket, runtime)?)
}

/// Looks for datagrams of so many bytes.
fn transport(most: u16) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(most);
    let mut transport = TransportConfig::default();
    transport.mtu_discovery_config(Some(mtu));
    Arc::new(transport)
}

/// Takes what comes, as [`super::bulk::take`], in datagrams of `most` bytes at most.
pub fn take(most: u16) -> Result {
    runtime()?.block_on(async {
        let (certificate, key) = certificate()?;
        let mut config = ServerConfig::with_single_cert(vec![certificate.clone()], key)?;
        config.transport_config(transport(most));
        let endpoint = endpoint(most, Some(config))?;
        say("ready", format_args!("{}/{}", endpoint.local_addr()?, hex(&certificate)))?;
        let connection = endpoint.accept().await.ok_or("nobody comes")?.await?;
        let mut receive = connection.accept_uni().await?;
        let (mut came, mut start) = (0, None);
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
            came += chunk.bytes.len();
            if start.is_none() && came >= WARM_UP {
                start = Some((Instant::now(), cpu::time(), came));
            }
        }
        let (start, processor, before) = start.ok_or("no more than the warm-up came")?;
        let (took, processor) = (start.elapsed(), cpu::time() - processor);
        say("bytes", came - before)?;
        say("cpu", processor.as_nanos())?;
        say("result", took.as_nanos())?;
        connection.closed().await;
        Ok(())
    })
}

/// Gives so many bytes behind the warm-up, as [`super::bulk::give`], in datagrams of `most` bytes at most.
pub fn give(to: &str, count: usize, most: u16) -> Result {
    let (address, certificate) = to.split_once('/').ok_or("no certificate")?;
    let (address, certificate) = (address.parse::<SocketAddr>()?, CertificateDer::from(bytes(certificate)?));
    runtime()?.block_on(async {
        let endpoint = endpoint(most, None)?;
        let mut config = ClientConfig::new(trusting(certificate)?);
        config.transport_config(transport(most));
        let connection = endpoint.connect_with(config, address, NAME)?.await?;
        let mut send = connection.open_uni().await?;
        let source = Bytes::from(vec![7; CHUNK]);
        for _ in 0..WARM_UP / CHUNK {
            send.write_chunk(source.clone()).await?;
        }
        let start = cpu::time();
        for _ in 0..count / CHUNK {
            send.write_chunk(source.clone()).await?;
        }
        send.finish()?;
        send.stopped().await?;
        say("cpu", (cpu::time() - start).as_nanos())?;
        say("result", count)
    })
}
