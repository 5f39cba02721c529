//! Connections without end, at a program that may open few files.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::binaries;
use crate::load::Load;
use crate::process::{Failure, PROMPT, Process, command};
use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::world::{World, listen};

/// The server without a pause.
const CARELESS: &str = "careless-acceptor";
/// Files that the server may have open.
const FILES: usize = 64;
/// Connections that are made: more than fit.
const CONNECTIONS: usize = 200;
/// How long the server is watched while it has no room.
const WATCHED: Duration = Duration::from_secs(3);
/// How often the careless server is watched until it is seen to spin.
const PERIODS: usize = 10;
/// Share of a core that a server without room may use.
const CORES_MAX: f64 = 0.2;
/// How long it may take until a client is served again: the time for a hello, 5 s, and its retries.
const SERVED_AGAIN: Duration = Duration::from_secs(40);

/// Files.
pub(super) const FULL: Row = Row {
    id: "R5",
    attack: "200 silent connections to a broker that may open 64 files",
    expected: "it waits without spinning, and serves again when they are gone",
    run: full,
};

fn full(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let world = World::new()?;
    match defence {
        Defence::InPlace => {
            let data = world.directory("limited")?;
            let mut broker = limited(binaries::BROKER, &data, &world)?;
            let key = |line: &crate::process::Line| {
                line.text.split_whitespace().find(|word| word.contains('#')).map(str::to_owned)
            };
            let url = broker.find("line with its address and key", PROMPT, key)?;
            let address = url.split('#').next().unwrap_or_default().parse()?;
            let connections = crowd(address)?;
            let cores = watch(&broker)?;
            drop(connections);
            let again = serves_again(&world, &url);
            let what = match &again {
                Ok(()) => "it waited, and served when there was room",
                Err(_) => "nobody was served again",
            };
            Ok(Seen::when(cores <= CORES_MAX && again.is_ok(), what).figure(format!("{cores:.2} cores")))
        }
        Defence::Removed => {
            let data = world.directory("careless")?;
            let mut server = limited(CARELESS, &data, &world)?;
            let address = server.find("its address", PROMPT, |line| line.text.parse().ok())?;
            let _connections = crowd(address)?;
            // Others on the machine may leave it no core to spin on for a while.
            let mut cores = watch(&server)?;
            for _ in 1..PERIODS {
                if cores > CORES_MAX {
                    break;
                }
                cores = watch(&server)?;
            }
            Ok(Seen::when(cores <= CORES_MAX, "it spun").figure(format!("{cores:.2} cores")))
        }
    }
}

/// Starts a server that may open [`FILES`] files.
fn limited(program: &'static str, data: &Path, world: &World) -> Result<Process, Failure> {
    let mut command = command(Path::new("/bin/sh"), data);
    command.args(["-c", &format!("ulimit -n {FILES} && exec \"$@\""), "sh"]).arg(binaries::find(program)?);
    if program == binaries::BROKER {
        command.args(["run", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    }
    Process::spawn(program, command, &world.trace)
}

/// Fills a server with connections that say nothing.
fn crowd(address: SocketAddr) -> Result<Vec<TcpStream>, NotRun> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        // The system takes what the server does not, up to the length of its queue.
        let Ok(connection) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else { break };
        connections.push(connection);
    }
    if connections.len() < FILES {
        return Err(NotRun(format!("only {} connections could be made", connections.len())));
    }
    Ok(connections)
}

/// How many cores a server keeps busy for a while.
fn watch(server: &Process) -> Result<f64, NotRun> {
    let before = Load::of(server.id())?;
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
    Ok(Load::of(server.id())?.cores_since(&before))
}

/// Waits until somebody new is served.
fn serves_again(world: &World, url: &str) -> Result<(), Failure> {
    let end = Instant::now() + SERVED_AGAIN;
    loop {
        let alice = world.stranger("alice")?.broker(url);
        let served = listen(&alice);
        if served.is_ok() || Instant::now() > end {
            return served.map(drop);
        }
    }
}
