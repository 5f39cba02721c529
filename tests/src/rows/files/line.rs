//! A carrier with the product's driver at one end and the attacker at the other.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use p2pchat_client::files::{FileConfig, FileDriver, open_source};
use p2pchat_crypto::Suite;
use p2pchat_crypto::carrier::{RecordOpener, RecordSealer};
use p2pchat_proto::TransferId;
use p2pchat_proto::carrier::{CarrierNonce, LISTENER_HELLO_LEN, RecordHeader};
use p2pchat_proto::transfer::{Attempt, CHUNK_LEN, SecretBytes};
use p2pchat_transfer::hello::{Hellos, Proven};
use p2pchat_transfer::{CarrierEnd, CarrierEvent, CarrierReport, CarrierSpec, SafeName};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::{Failure, PROMPT};
use crate::rows::NotRun;

/// The transfer of every attack.
pub(super) const TRANSFER: TransferId = TransferId([7; 16]);
/// What seals its records.
pub(super) const SUITE: Suite = Suite::ChaCha20Poly1305;
/// The secret of its attempt.
const SECRET: [u8; 32] = [9; 32];
/// The name under which the file is published.
pub(super) const NAME: &str = "song.mp3";

/// The product's driver with one transfer.
pub(super) struct Victim {
    driver: FileDriver,
    events: mpsc::Receiver<(TransferId, CarrierEvent)>,
    runtime: Runtime,
    pub(super) at: SocketAddr,
    downloads: PathBuf,
    // Last: the driver removes what is unfinished before the directory goes.
    _home: TempDir,
}

impl Victim {
    /// A receiver of a file that is said to have `total` bytes, which listens.
    pub(super) fn receiving(total: u64) -> Result<Self, NotRun> {
        let mut victim = Self::new()?;
        let name = SafeName::parse_or_rename(NAME);
        victim.start(CarrierEnd::Receiver { name }, total)?;
        Ok(victim)
    }

    /// A sender of the file at `source`, which listens.
    pub(super) fn sending(source: &Path) -> Result<Self, NotRun> {
        let mut victim = Self::new()?;
        let (said, open) = open_source(source).map_err(|failure| NotRun(failure.message().to_string()))?;
        victim.driver.attach(TRANSFER, open);
        victim.start(CarrierEnd::Sender, said.size)?;
        Ok(victim)
    }

    fn new() -> Result<Self, NotRun> {
        let home = tempfile::tempdir()?;
        let downloads = home.path().join("downloads");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (reports, events) = mpsc::channel(64);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = FileConfig {
            bind_tcp: vec![loopback],
            advertise_tcp: Vec::new(),
            download_dir: downloads.clone(),
        };
        let driver = FileDriver::new(config, reports);
        Ok(Self { driver, events, runtime, at: loopback, downloads, _home: home })
    }

    fn start(&mut self, end: CarrierEnd, total: u64) -> Result<(), NotRun> {
        let spec = CarrierSpec {
            transfer: TRANSFER,
            attempt: Attempt(0),
            end,
            suite: SUITE,
            secret: SecretBytes::new(SECRET),
            total,
            have: 0,
        };
        let _in_runtime = self.runtime.enter();
        self.driver.start(spec);
        drop(_in_runtime);
        Ok(())
    }

    /// Waits until it listens.
    pub(super) fn listening(mut self) -> Result<Self, NotRun> {
        let report = self.next()?;
        let CarrierReport::Listening { at: Some(at), .. } = report else {
            return Err(NotRun(format!("the driver does not listen: {report:?}")));
        };
        self.at = at;
        Ok(self)
    }

    /// What the driver reports next, apart from how far it is.
    pub(super) fn next(&mut self) -> Result<CarrierReport, NotRun> {
        loop {
            let came = self.runtime.block_on(async { timeout(PROMPT, self.events.recv()).await });
            let Ok(Some((_, CarrierEvent { report, .. }))) = came else {
                return Err(NotRun("the driver reports nothing".to_owned()));
            };
            if !matches!(report, CarrierReport::Connected | CarrierReport::Progress { .. }) {
                return Ok(report);
            }
        }
    }

    /// Lets it compare with `hash` and name the file.
    pub(super) fn publish(&mut self, hash: [u8; 32]) -> Result<CarrierReport, NotRun> {
        self.driver.publish(TRANSFER, hash);
        self.next()
    }

    /// Most bytes of an unfinished file, as it lies there now.
    pub(super) fn unfinished(&self) -> u64 {
        let sizes = fs::read_dir(&self.downloads).into_iter().flatten().filter_map(Result::ok);
        sizes.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
    }

    /// Ends it; what lies in its download directory then.
    pub(super) fn left(mut self) -> Vec<(String, Vec<u8>)> {
        self.driver.stop(TRANSFER);
        self.runtime.block_on(self.driver.close());
        let entries = fs::read_dir(&self.downloads).into_iter().flatten().filter_map(Result::ok);
        entries
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, fs::read(entry.path()).unwrap_or_default())
            })
            .collect()
    }
}

/// The attacker's end. It holds the secret: what it may do is what a hostile peer may do.
pub(super) struct Line {
    pub(super) socket: TcpStream,
    hellos: Hellos,
    proven: Proven,
}

impl Line {
    /// A connection whose hello was right.
    pub(super) fn dial(to: SocketAddr, nonce: u8) -> Result<Self, NotRun> {
        let mut hellos = hellos();
        let nonce = CarrierNonce([nonce; 16]);
        let hello = hellos.dial(nonce)?;
        let mut socket = connect(to)?;
        socket.write_all(&hello)?;
        let mut answer = [0; LISTENER_HELLO_LEN];
        socket.read_exact(&mut answer)?;
        let proven = hellos.dialed(nonce, &answer)?;
        Ok(Self { socket, hellos, proven })
    }

    /// The keys of its records, to seal.
    pub(super) fn sealer(&self) -> RecordSealer {
        self.hellos.sealer(SUITE, &self.proven)
    }

    /// The keys of its records, to open.
    pub(super) fn opener(&self) -> RecordOpener {
        self.hellos.opener(SUITE, &self.proven)
    }

    /// Sends all of it, as far as the other side takes it, and says that there is no more.
    pub(super) fn send(&mut self, wire: &[u8]) {
        // Whoever refuses hangs up, and that is what is looked for.
        let _refused = self.socket.write_all(wire);
        let _refused = self.socket.shutdown(Shutdown::Write);
    }
}

/// The hellos of the attempt, as whoever holds its secret makes them.
pub(super) fn hellos() -> Hellos {
    Hellos::new(TRANSFER, &SecretBytes::new(SECRET))
}

/// A connection that proves nothing.
pub(super) fn connect(to: SocketAddr) -> Result<TcpStream, NotRun> {
    let socket = TcpStream::connect(to).map_err(Failure::system("dial the file port"))?;
    socket.set_read_timeout(Some(PROMPT))?;
    socket.set_write_timeout(Some(PROMPT))?;
    Ok(socket)
}

/// Reads until the other side hangs up: what came, or nothing if it does not within `within`.
pub(super) fn until_closed(socket: &mut TcpStream, within: Duration) -> Option<Vec<u8>> {
    let mut came = Vec::new();
    socket.set_read_timeout(Some(within)).ok()?;
    match socket.read_to_end(&mut came) {
        Ok(_) => Some(came),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(came),
        Err(_) => None,
    }
}

/// One record as the attacker wants it.
#[derive(Clone)]
pub(super) struct Record {
    /// Its place among the nonces.
    pub(super) index: usize,
    pub(super) content: Vec<u8>,
    pub(super) last: bool,
    pub(super) damage: Damage,
}

/// What is done to a record after it was sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    None,
    /// One bit of its tag.
    Tag,
    /// Its tag is left out.
    NoTag,
    /// So many bytes follow within it.
    Garbage(usize),
}

/// The records of `content` as an honest sender makes them.
pub(super) fn honest(content: &[u8]) -> Vec<Record> {
    let record = |index, content: &[u8]| Record {
        index,
        content: content.to_vec(),
        last: false,
        damage: Damage::None,
    };
    let mut records: Vec<_> =
        content.chunks(CHUNK_LEN).enumerate().map(|(index, chunk)| record(index, chunk)).collect();
    if records.is_empty() {
        records.push(record(0, &[]));
    }
    if let Some(last) = records.last_mut() {
        last.last = true;
    }
    records
}

/// The bytes of `records`. `sealer` gives the keys anew, so that any place can be sealed with any flag.
pub(super) fn wire(records: &[Record], sealer: impl Fn() -> RecordSealer) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut keys = sealer();
    let mut next = 0;
    for record in records {
        if record.index != next {
            (keys, next) = (sealer(), 0);
        }
        while next < record.index {
            // The place of the nonce is all that is wanted.
            let _place = keys.seal(&mut Vec::new(), false);
            next += 1;
        }
        let mut body = record.content.clone();
        if keys.seal(&mut body, record.last).is_err() {
            continue;
        }
        next += 1;
        if record.last {
            // These keys seal no more.
            (keys, next) = (sealer(), 0);
        }
        let mut said = record.content.len();
        match record.damage {
            Damage::None => {}
            Damage::Tag => {
                if let Some(byte) = body.last_mut() {
                    *byte ^= 1;
                }
            }
            Damage::NoTag => body.truncate(record.content.len()),
            Damage::Garbage(more) => {
                body.resize(body.len() + more, 0x5a);
                said += more;
            }
        }
        if let Ok(header) = RecordHeader::new(said, record.last) {
            wire.extend(header.to_bytes());
        } else {
            // A header that the codec does not make.
            wire.extend((u32::try_from(body.len()).unwrap_or(u32::MAX) & 0x7fff_ffff).to_be_bytes());
        }
        wire.extend(body);
    }
    wire
}

/// Bytes without a pattern.
pub(super) fn content(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    rng.fill_bytes(&mut content);
    content
}

/// A number below `bound`.
pub(super) fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    rng.random_range(0..bound.max(1))
}
