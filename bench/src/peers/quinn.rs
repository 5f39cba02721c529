//! Messages of one length on one QUIC stream: quinn with the primitives that the product uses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{MESSAGE_LEN, WARM_UP_SHARE, nanos_each, runtime};
use crate::Result;
use crate::role::say;

/// Whose certificate it is.
pub const NAME: &str = "localhost";

/// A certificate that signs itself, and its key.
pub fn certificate() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;
    Ok((certified.cert.der().clone(), key))
}

/// A client that trusts this certificate alone, with the primitives that the product uses.
pub fn trusting(certificate: CertificateDer<'static>) -> Result<Arc<QuicClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(QuicClientConfig::try_from(tls)?))
}

/// Sends back whatever comes on a stream. Ready says the address and the certificate.
pub fn echo() -> Result {
    runtime()?.block_on(async {
        let (certificate, key) = certificate()?;
        let config = ServerConfig::with_single_cert(vec![certificate.clone()], key)?;
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into())?;
        say("ready", format_args!("{}/{}", endpoint.local_addr()?, hex(&certificate)))?;
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await?;
            let (send, receive) = connection.accept_bi().await?;
            // How the stream ends is how the run ends.
            let _ended = bounce(send, receive).await;
        }
        Ok(())
    })
}

async fn bounce(mut send: SendStream, mut receive: RecvStream) -> Result {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(len) = receive.read(&mut buffer).await? {
        send.write_all(&buffer[..len]).await?;
    }
    Ok(())
}

/// Says how many nanoseconds a message takes, of which `in_flight` are under way.
pub fn ping(to: &str, count: usize, in_flight: usize) -> Result {
    let (address, certificate) = to.split_once('/').ok_or("no certificate")?;
    let (address, certificate) = (address.parse::<SocketAddr>()?, CertificateDer::from(bytes(certificate)?));
    runtime()?.block_on(async {
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        endpoint.set_default_client_config(ClientConfig::new(trusting(certificate)?));
        let connection: Connection = endpoint.connect(address, NAME)?.await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        exchange(&mut send, &mut receive, count / WARM_UP_SHARE, in_flight).await?;
        let start = Instant::now();
        exchange(&mut send, &mut receive, count, in_flight).await?;
        say("result", nanos_each(start, count))
    })
}

/// Writes as many messages as came back, so that never more than `in_flight` are under way.
async fn exchange(send: &mut SendStream, receive: &mut RecvStream, count: usize, in_flight: usize) -> Result {
    let (mut sent, mut came) = (0, 0);
    let message = [7; MESSAGE_LEN];
    let mut buffer = vec![0; 64 * 1024];
    while came < count * MESSAGE_LEN {
        while sent < count && sent < came / MESSAGE_LEN + in_flight {
            send.write_all(&message).await?;
            sent += 1;
        }
        came += receive.read(&mut buffer).await?.ok_or("the other end closed the stream")?;
    }
    Ok(())
}

/// For a line of output.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Out of one.
pub fn bytes(hex: &str) -> Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}
