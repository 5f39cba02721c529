//! What counts in the end: the flag over the environment over the config file over the default.

mod file;

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use p2pchat_client::{AcceptPolicy, BrokerAddress, Failure};

pub use file::ConfigFile;

use crate::args::{Color, Elsewhere, Global, Switch};
use crate::span::Lifetime;

/// Where the broker is, unless somebody says otherwise.
const DEFAULT_BROKER: &str = "127.0.0.1:7770";
/// How long `connect` waits for deliveries at the end of its input.
const DEFAULT_LINGER: u32 = 30;
/// How long an answer is waited for.
const DEFAULT_TIMEOUT: u32 = 60;

/// See the module. What is `None` has a default that depends on the command or the profile.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--broker`
    pub broker: BrokerAddress,
    /// `--json`
    pub json: bool,
    /// `--quiet`
    pub quiet: bool,
    /// `--verbose`, how often
    pub verbose: u8,
    /// `--log`
    pub log: Option<PathBuf>,
    /// `--color`
    pub color: Color,
    /// `--bind`
    pub bind: Vec<SocketAddr>,
    /// `--advertise`
    pub advertise: Vec<SocketAddr>,
    /// `--bind-tcp`
    pub bind_tcp: Vec<SocketAddr>,
    /// `--advertise-tcp`
    pub advertise_tcp: Vec<SocketAddr>,
    /// `--accept`
    pub accept: Option<AcceptPolicy>,
    /// `--require-verified`
    pub require_verified: bool,
    /// `--read-receipts`
    pub read_receipts: bool,
    /// `--expire`; for ever where that is none
    pub expire: Option<Duration>,
    /// `--accept-files`
    pub accept_files: Option<AcceptPolicy>,
    /// `--download-dir`
    pub download_dir: Option<PathBuf>,
    /// Where the passphrase is
    pub passphrase: PassphraseSource,
    /// `--linger`
    pub linger: Duration,
    /// `--timeout`
    pub timeout: Duration,
}

/// Where the key's passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A terminal, where there is one.
    Terminal,
    /// The first line of a file.
    File(PathBuf),
    /// The first line of a file descriptor.
    Descriptor(u32),
}

impl Elsewhere {
    /// Where the passphrase of the file comes from.
    pub fn source(&self) -> PassphraseSource {
        match (&self.export_passphrase_file, self.export_passphrase_fd) {
            (Some(path), _) => PassphraseSource::File(path.clone()),
            (None, Some(number)) => PassphraseSource::Descriptor(number),
            (None, None) => PassphraseSource::Terminal,
        }
    }
}

impl Settings {
    /// Puts flags (with their environment) over the file.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the file says two things that exclude each other.
    pub fn new(global: &Global, file: &ConfigFile) -> Result<Self, Failure> {
        let default_broker = || BrokerAddress { host_port: DEFAULT_BROKER.to_owned(), key: None };
        let passphrase = match (&global.passphrase_file, global.passphrase_fd) {
            (None, None) => (file.passphrase_file.clone(), file.passphrase_fd),
            (path, descriptor) => (path.clone(), descriptor),
        };
        let passphrase = match passphrase {
            (None, None) => PassphraseSource::Terminal,
            (Some(path), None) => PassphraseSource::File(path),
            (None, Some(descriptor)) => PassphraseSource::Descriptor(descriptor),
            (Some(_), Some(_)) => {
                return Err(Failure::Usage(
                    "the config file has both passphrase_file and passphrase_fd".to_owned(),
                ));
            }
        };
        let seconds = |flag: Option<u32>, file: Option<u32>, default: u32| {
            Duration::from_secs(flag.or(file).unwrap_or(default).into())
        };
        Ok(Self {
            broker: global.broker.clone().or_else(|| file.broker.clone()).unwrap_or_else(default_broker),
            json: global.json || (file.json && !global.plain),
            quiet: global.quiet || (file.quiet && global.verbose == 0),
            verbose: if global.verbose > 0 { global.verbose } else { file.verbose },
            log: global.log.clone().or_else(|| file.log.clone()),
            color: global.color.or(file.color).unwrap_or_default(),
            bind: either(&global.bind, &file.bind),
            advertise: either(&global.advertise, &file.advertise),
            bind_tcp: either(&global.bind_tcp, &file.bind_tcp),
            advertise_tcp: either(&global.advertise_tcp, &file.advertise_tcp),
            accept: global.accept.or(file.accept).map(Into::into),
            require_verified: global.require_verified || file.require_verified,
            read_receipts: match global.read_receipts {
                Some(switch) => switch == Switch::On,
                None => file.read_receipts.unwrap_or(true),
            },
            expire: global.expire.or(file.expire).and_then(|Lifetime(after)| after),
            accept_files: global.accept_files.or(file.accept_files).map(Into::into),
            download_dir: global.download_dir.clone().or_else(|| file.download_dir.clone()),
            passphrase,
            linger: seconds(global.linger, file.linger, DEFAULT_LINGER),
            timeout: seconds(global.timeout, file.timeout, DEFAULT_TIMEOUT),
        })
    }
}

fn either(flag: &[SocketAddr], file: &[SocketAddr]) -> Vec<SocketAddr> {
    if flag.is_empty() { file.to_vec() } else { flag.to_vec() }
}
