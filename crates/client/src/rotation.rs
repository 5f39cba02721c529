//! Another key in the place of the user's own, step by step, so that whatever happens in between the home
//! works with the old key or with the new one, and another try ends it:
//!
//! 1. the new key and the statement of both go into the papers, sealed;
//! 2. the broker gives the name to the new key, and keeps the statement;
//! 3. the key file holds the new key instead, in one step;
//! 4. the papers forget what was shared with the old one.

use std::sync::Arc;
use std::time::Duration;

use p2pchat_crypto::keyfile::Passphrase;
use p2pchat_crypto::{Identity, Seed, succession};
use p2pchat_engine::Failure;
use p2pchat_engine::rotation::{Rotation as Call, RotationProgress, RotationTerms};
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::BrokerAddress;
use crate::profile::{Home, Papers, Rotation};
use crate::random::system_rng;

/// How long the broker may take for all of it: twice what a login may (protocol section 2).
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes read at once.
const READ_BUFFER: usize = 4096;

/// Makes the key that is to take the place of the one in the key file, and keeps it; the one that was kept
/// before, if a try did not come to its end.
///
/// # Errors
/// Those of [`Home::seed`]; [`Failure::Local`], [`Failure::DiskFull`].
pub fn begin(
    home: &Home,
    papers: &mut Papers,
    passphrase: Option<&Passphrase>,
    now: WallTime,
) -> Result<Rotation, Failure> {
    let failed = |reason: String| Failure::Local { what: "make a new key".to_owned(), reason };
    let seed = home.seed(passphrase)?;
    if let Some(rotation) = papers.rotation(&seed)? {
        return Ok(rotation);
    }
    let next = seed.successor(&mut system_rng()?).map_err(|error| failed(error.to_string()))?;
    let [old, new] = [&seed, &next].map(Identity::from_seed);
    let statement = succession::state(&old, &new, now).map_err(|error| failed(error.to_string()))?;
    let rotation = Rotation { seed: next, statement };
    papers.begin_rotation(&rotation)?;
    Ok(rotation)
}

/// Has the broker give the name to the new key; the broker's key.
///
/// # Errors
/// [`Failure::BrokerUnreachable`]; those of [`p2pchat_engine::rotation::Rotation::received`].
pub async fn tell(
    broker: &BrokerAddress,
    broker_key: Option<BrokerKey>,
    old: Arc<Identity>,
    rotation: &Rotation,
    name: Name,
) -> Result<BrokerKey, Failure> {
    let address = broker.host_port.clone();
    let unreachable =
        |reason: String| Failure::BrokerUnreachable { address: broker.host_port.clone(), reason };
    let new = Arc::new(Identity::from_seed(&rotation.seed));
    let statement = rotation.statement.clone();
    let terms = RotationTerms { old, new, statement, name, broker: address, broker_key };
    let told = tokio::time::timeout(PATIENCE, exchange(&broker.host_port, terms)).await;
    match told {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn exchange(host_port: &str, terms: RotationTerms) -> std::io::Result<Result<BrokerKey, Failure>> {
    let mut stream = TcpStream::connect(host_port).await?;
    stream.set_nodelay(true)?;
    let mut rng = match system_rng() {
        Ok(rng) => rng,
        Err(failure) => return Ok(Err(failure)),
    };
    let (mut call, first) = Call::start(terms, &mut rng);
    stream.write_all(&first).await?;
    let mut buffer = [0; READ_BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        match call.received(bytes) {
            Ok(RotationProgress::Goes(bytes)) => stream.write_all(&bytes).await?,
            Ok(RotationProgress::Done(key)) => return Ok(Ok(key)),
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Puts the new key into the key file; who the user is from then on.
///
/// # Errors
/// Those of [`Home::replace_seed`]; [`Failure::Local`], [`Failure::DiskFull`].
pub fn end(home: &Home, seed: &Seed, passphrase: Option<&Passphrase>) -> Result<PeerId, Failure> {
    home.replace_seed(seed, passphrase, &mut system_rng()?)?;
    let me = Arc::new(Identity::from_seed(seed));
    // It forgets what was of the old one, as it does after a crash in between.
    Papers::open(home, &me)?;
    Ok(me.peer_id())
}
