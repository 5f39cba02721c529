//! The program `p2pchat-broker`: arguments, lines on stdout, one-line errors, exit codes.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use p2pchat_proto::{BrokerKey, Name};
use p2pchat_registry::AccountState;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::accounts::{Accounts, AccountsError};
use crate::console::{StopSigns, leave_no_core_file};
use crate::home::{Home, HomeError};
use crate::key::{self, KeyError};
use crate::server::{self, Config, Limits, ServeError, StartError};

/// Most connections that one process can be asked to take: beyond it ports and memory end first.
const MAX_CONNECTIONS: usize = 1_000_000;
/// File descriptors beside those of connections: listener, files, runtime.
const OTHER_FILES: u64 = 64;

/// Signaling broker of p2pchat: lets people find each other, and reads nothing of what they say.
#[derive(Debug, Parser)]
#[command(name = "p2pchat-broker", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Run(Run),
    /// Print the broker's key, by which clients know it.
    Key(Place),
    /// Look at the registered names, while the broker is stopped.
    Accounts {
        #[command(subcommand)]
        command: AccountsCommand,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Where to listen. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7770")]
    listen: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Most connections at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections, value_parser = parse_count)]
    max_connections: usize,
}

#[derive(Debug, Args)]
struct Place {
    /// Directory of the accounts and the key [default: $XDG_DATA_HOME/p2pchat-broker, else ~/.local/share/p2pchat-broker].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File of the key, made at the first start [default: DIR/broker.key].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum AccountsCommand {
    /// Print each name with the identity that it is bound to, and `held` or `reserved`.
    List {
        /// Directory of the accounts.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Free a name, so that anybody can register it.
    Remove {
        /// The name.
        name: Name,
        /// Directory of the accounts.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

/// Why the program ends with 1.
#[derive(Debug)]
enum Failure {
    Listen(SocketAddr, io::Error),
    Start(StartError),
    Serve(ServeError),
    Home(HomeError),
    Key(KeyError),
    Accounts(AccountsError),
    NoAccount(Name),
    NoHome,
    Runtime(io::Error),
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(at, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {} is taken on {}; stop what listens there or choose another with --listen",
                    at.port(),
                    at.ip()
                )
            }
            Self::Listen(at, error) => {
                write!(f, "cannot listen on {at}: {error}; choose another address with --listen")
            }
            Self::Start(error) => error.fmt(f),
            Self::Serve(error) => error.fmt(f),
            Self::Home(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Accounts(error) => error.fmt(f),
            Self::NoAccount(name) => write!(f, "no account {name}; `accounts list` shows them all"),
            Self::NoHome => f.write_str("neither XDG_DATA_HOME nor HOME is set; say where with --data"),
            Self::Runtime(error) => {
                write!(f, "the system gives no threads or signals: {error}; raise its limits")
            }
            Self::Output(error) => write!(f, "cannot write to stdout: {error}; send it somewhere else"),
        }
    }
}

/// The parser's error: it writes paragraphs, the first of which says what is wrong.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.lines().take_while(|line| !line.is_empty());
    let words: Vec<_> = first.flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Runs the program. The exit code is 0 when done, 1 on a failure and 2 on wrong usage.
pub fn main() -> ExitCode {
    leave_no_core_file();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error)
            if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            // With standard error closed the exit code still says it.
            let _closed = writeln!(io::stderr(), "p2pchat-broker: {}; see --help", in_one_line(&error));
            return ExitCode::from(2);
        }
        // Help, or the version.
        Err(shown) => shown.exit(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    let result = match arguments.command {
        Command::Run(run) => serve(&run),
        Command::Key(place) => show_key(&place),
        Command::Accounts { command: AccountsCommand::List { data } } => list(data),
        Command::Accounts { command: AccountsCommand::Remove { name, data } } => remove(name, data),
    };
    let Err(failure) = result else { return ExitCode::SUCCESS };
    // Where even stderr is closed, the exit code is all that is left to say.
    writeln!(io::stderr(), "p2pchat-broker: {failure}").ok();
    ExitCode::FAILURE
}

fn serve(run: &Run) -> Result<(), Failure> {
    allow_files(run.max_connections);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    let result = runtime.block_on(async {
        let failed = |error| Failure::Listen(run.listen, error);
        let listener = TcpListener::bind(run.listen).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let limits = Limits { max_connections: run.max_connections, ..Limits::default() };
        let config = Config::open(&dir(run.place.data.clone())?, run.place.key.as_deref(), limits)
            .map_err(Failure::Start)?;
        let signs = StopSigns::watch().map_err(Failure::Runtime)?;
        announce(at, config.key(), signs.listens_to_keys()).map_err(Failure::Output)?;
        server::run(listener, config, signs.wait()).await.map_err(Failure::Serve)
    });
    // The keyboard's thread may wait for a line that never comes.
    runtime.shutdown_background();
    result
}

fn announce(at: SocketAddr, key: BrokerKey, keys: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let from_here = SocketAddr::new(reachable(at.ip()), at.port());
    writeln!(out, "listening on {at}\nkey {key}")?;
    writeln!(out, "p2pchat --broker {from_here}#{key} --name NAME listen")?;
    out.flush()?;
    if keys {
        writeln!(io::stderr(), "q and Enter stop the broker")?;
    }
    Ok(())
}

/// Where a client on this machine finds a broker that listens on `ip`.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn show_key(place: &Place) -> Result<(), Failure> {
    let path = match &place.key {
        Some(path) => path.clone(),
        None => Home::open(&dir(place.data.clone())?).map_err(Failure::Home)?.key(),
    };
    let mut rng = key::system_rng().map_err(Failure::Key)?;
    let secret = key::open_or_create(&path, &mut rng).map_err(Failure::Key)?;
    writeln!(io::stdout(), "{}", secret.public()).map_err(Failure::Output)
}

fn list(data: Option<PathBuf>) -> Result<(), Failure> {
    let home = Home::open(&dir(data)?).map_err(Failure::Home)?;
    let _lock = home.lock().map_err(Failure::Home)?;
    let (_, accounts) = Accounts::open(&home.accounts()).map_err(Failure::Accounts)?;
    let mut out = io::stdout().lock();
    for account in accounts {
        let state = match account.state {
            AccountState::Held => "held",
            AccountState::Reserved => "reserved",
        };
        writeln!(out, "{}\t{}\t{state}", account.name, account.peer).map_err(Failure::Output)?;
    }
    Ok(())
}

fn remove(name: Name, data: Option<PathBuf>) -> Result<(), Failure> {
    let home = Home::open(&dir(data)?).map_err(Failure::Home)?;
    let _lock = home.lock().map_err(Failure::Home)?;
    let (mut accounts, _) = Accounts::open(&home.accounts()).map_err(Failure::Accounts)?;
    let found = accounts.remove(&name).map_err(Failure::Accounts)?;
    if found { Ok(()) } else { Err(Failure::NoAccount(name)) }
}

fn dir(data: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let from =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    data.or_else(|| from("XDG_DATA_HOME").map(|dir| dir.join("p2pchat-broker")))
        .or_else(|| from("HOME").map(|dir| dir.join(".local/share/p2pchat-broker")))
        .ok_or(Failure::NoHome)
}

/// Lets the process have as many files as it may want connections; the system's hard limit stands.
fn allow_files(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=MAX_CONNECTIONS) => Ok(count),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {MAX_CONNECTIONS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
