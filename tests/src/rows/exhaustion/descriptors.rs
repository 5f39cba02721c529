//! Connections without end, at programs that may open few files.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::actions::{TRANSFER, offer_file, random_content};
use crate::binaries;
use crate::event::{file, session};
use crate::load::Load;
use crate::peer::{Peer, Setup};
use crate::process::{Failure, PROMPT, Process, command};
use crate::relay::TcpRelay;
use crate::rows::{Defence, Lab, NotRun, Promise, Row, Seen, each};
use crate::world::{MEETING, World, free_port, listen};

/// The server without a pause, without a bound, and without an end to what it keeps.
const CARELESS: &str = "careless-acceptor";
/// Files that a program may have open.
const FILES: usize = 64;
/// Connections that are made: more than fit.
const CONNECTIONS: usize = 200;
/// How long a program is watched while it has no room.
const WATCHED: Duration = Duration::from_secs(2);
/// How often the careless server is watched until it is seen to spin.
const PERIODS: usize = 15;
/// Share of a core that a program without room may use.
const CORES_MAX: f64 = 0.2;
/// How long it may take until a client is served again: the time for a hello, 5 s, and its retries.
const SERVED_AGAIN: Duration = Duration::from_secs(40);
/// What strangers at a file port leave of the files: the carrier's socket, the file, its directory,
/// and a new link to the broker, each twice.
const ROOM_LEFT: usize = 8;

/// Connections at a file port that have proven nothing (protocol section 7). Others are closed, while
/// there are files for them.
const GUESTS_MAX: usize = 8;

const WAITS: Promise = "who has no file left for a connection waits without spinning";
const AGAIN: Promise = "who is left by the crowd serves again";
const ROOM: Promise = "a crowd at a file port leaves files for the peer, who is served";

/// A defence that the careless server does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Pause,
    Bound,
    Ends,
}

const DOUBLES: [(Without, Promise); 3] =
    [(Without::Pause, WAITS), (Without::Bound, ROOM), (Without::Ends, AGAIN)];

/// Files.
pub(super) const FULL: Row = Row {
    id: "R5",
    attack: "200 silent connections to a broker and to a file port, where 64 files may be open, and none",
    expected: "each waits without spinning, and serves when there is room",
    run: full,
};

fn full(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let mut figures = Vec::new();
    let seen = each(defence, &DOUBLES, |without| {
        let world = World::new()?;
        let mut broken = BTreeSet::new();
        match without {
            None => {
                broker(&world, &mut broken, &mut figures)?;
                file_port(&world, &mut broken, &mut figures)?;
            }
            Some(without) => careless(&world, without, &mut broken, &mut figures)?,
        }
        Ok(broken)
    })?;
    Ok(seen.figure(figures.join(", ")))
}

fn broker(world: &World, broken: &mut BTreeSet<Promise>, figures: &mut Vec<String>) -> Result<(), NotRun> {
    let data = world.directory("limited")?;
    let mut broker = limited(binaries::BROKER, &data, world)?;
    let key = |line: &crate::process::Line| {
        line.text.split_whitespace().find(|word| word.contains('#')).map(str::to_owned)
    };
    let url = broker.find("line with its address and key", PROMPT, key)?;
    let address = url.split('#').next().unwrap_or_default().parse()?;
    let connections = crowd(address);
    if connections.len() < FILES {
        return Err(NotRun(format!("only {} connections could be made", connections.len())));
    }
    let cores = watch(broker.id())?;
    drop(connections);
    broken.extend((cores > CORES_MAX).then_some(WAITS));
    broken.extend(serves_again(world, &url).is_err().then_some(AGAIN));
    figures.push(format!("broker {cores:.2} cores"));
    Ok(())
}

/// Alice takes files at a port that a crowd fills before bob finds it: first while she may open 64
/// files, then while she may open none.
fn file_port(world: &World, broken: &mut BTreeSet<Promise>, figures: &mut Vec<String>) -> Result<(), NotRun> {
    let doors = [TcpRelay::start()?, TcpRelay::start()?];
    let ports = [free_port()?, free_port()?];
    for (door, port) in doors.iter().zip(ports) {
        door.set_target(port);
    }
    let person = |name, who: usize| -> Result<Setup, NotRun> {
        Ok(world.person(name)?.accept_everything().files_through(ports[who], doors[who].address()))
    };
    let mut alice = listen(&person("alice", 0)?)?;
    let mut bob = person("bob", 1)?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    let id = alice.process.id();

    limit(id, FILES)?;
    let (song, besiegers) = besieged(world, "few.bin", &doors, ports[0], &mut alice, &mut bob)?;
    let (cores, open) = (watch(id)?, open_files(id)?);
    // The crowd stays where it is.
    let came = arrives(&song, &doors, &mut alice)?;
    broken.extend((cores > CORES_MAX).then_some(WAITS));
    broken.extend((open + ROOM_LEFT > FILES || !came).then_some(ROOM));
    figures.push(format!("file port {cores:.2} with {open} files open"));
    drop(besiegers);

    let (song, first) = besieged(world, "none.bin", &doors, ports[0], &mut alice, &mut bob)?;
    // Those that are too many are taken and closed: each holds a file for a moment.
    wait_until("the first crowd is down to the guests", || {
        first.iter().filter(|socket| is_open(socket)).count() <= GUESTS_MAX
    })?;
    limit(id, open_files(id)?)?;
    let crowd = crowd(ports[0]);
    let (cores, waiting) = (watch(id)?, crowd.iter().filter(|socket| is_open(socket)).count());
    limit(id, FILES)?;
    drop((first, crowd));
    if waiting <= GUESTS_MAX {
        return Err(NotRun(format!("only {waiting} connections wait for a file")));
    }
    broken.extend((cores > CORES_MAX).then_some(WAITS));
    broken.extend((!arrives(&song, &doors, &mut alice)?).then_some(AGAIN));
    figures.push(format!("{cores:.2} with none left for {waiting}"));
    Ok(())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) -> Result<(), NotRun> {
    let deadline = Instant::now() + PROMPT;
    while !done() {
        if Instant::now() > deadline {
            return Err(NotRun(format!("not in time: {what}")));
        }
        thread::yield_now();
    }
    Ok(())
}

/// Bob offers a file, and a crowd is at alice's port while he cannot reach it.
fn besieged(
    world: &World,
    name: &str,
    doors: &[TcpRelay; 2],
    port: SocketAddr,
    alice: &mut Peer,
    bob: &mut Peer,
) -> Result<(PathBuf, Vec<TcpStream>), NotRun> {
    doors.iter().for_each(|door| door.set_closed(true));
    let song = world.file(name, &random_content(5, 300_000))?;
    offer_file(bob, &song)?;
    alice.wait(&file("in", "accepted"), MEETING)?;
    wait_until("the file port opens", || TcpStream::connect(port).is_ok())?;
    Ok((song, crowd(port)))
}

/// Whether the file comes, whole, once its sender finds the port.
fn arrives(song: &Path, doors: &[TcpRelay; 2], alice: &mut Peer) -> Result<bool, NotRun> {
    doors.iter().for_each(|door| door.set_closed(false));
    let Ok(done) = alice.wait(&file("in", "done"), TRANSFER) else { return Ok(false) };
    Ok(fs::read(done.text("path"))? == fs::read(song)?)
}

/// The double: it takes what it can, keeps it, and asks for more at once.
fn careless(
    world: &World,
    without: Without,
    broken: &mut BTreeSet<Promise>,
    figures: &mut Vec<String>,
) -> Result<(), NotRun> {
    let data = world.directory("careless")?;
    let mut server = limited(CARELESS, &data, world)?;
    let address = server.find("its address", PROMPT, |line| line.text.parse().ok())?;
    let crowd = crowd(address);
    let full = Instant::now() + PROMPT;
    while open_files(server.id())? < FILES && Instant::now() < full {
        thread::yield_now();
    }
    match without {
        Without::Pause => {
            // Others on the machine may leave it no core to spin on for a while.
            let spins = (0..PERIODS).map(|_| watch(server.id())).find(|cores| match cores {
                Ok(cores) => *cores > CORES_MAX,
                Err(_) => true,
            });
            let Some(cores) = spins.transpose()? else { return Ok(()) };
            broken.insert(WAITS);
            figures.push(format!("{cores:.2} cores"));
        }
        Without::Bound => broken.extend((open_files(server.id())? + ROOM_LEFT > FILES).then_some(ROOM)),
        Without::Ends => {
            drop(crowd);
            watch(server.id())?;
            broken.extend((open_files(server.id())? >= FILES).then_some(AGAIN));
        }
    }
    Ok(())
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

/// Files that a running program may have open from now on.
fn limit(id: u32, files: usize) -> Result<(), NotRun> {
    let files = u64::try_from(files)?;
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    // The upper bound is this process's own, as the program got it from here.
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum })?;
    Ok(())
}

fn open_files(id: u32) -> Result<usize, NotRun> {
    Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count())
}

/// Fills a port with connections that say nothing. The system takes what the program does not, up to
/// the length of its queue.
fn crowd(address: SocketAddr) -> Vec<TcpStream> {
    let dial = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    (0..CONNECTIONS).map_while(dial).collect()
}

/// Whether the other side has not ended a connection, or not taken it yet.
fn is_open(socket: &TcpStream) -> bool {
    let blocked = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    socket.set_nonblocking(true).is_ok() && socket.peek(&mut [0]).is_err_and(|error| blocked(&error))
}

/// How many cores a program keeps busy for a while.
fn watch(id: u32) -> Result<f64, NotRun> {
    let before = Load::of(id)?;
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
    Ok(Load::of(id)?.cores_since(&before))
}

/// Waits until somebody new is served.
fn serves_again(world: &World, url: &str) -> Result<(), Failure> {
    let end = Instant::now() + SERVED_AGAIN;
    loop {
        let carol = world.stranger("carol")?.broker(url);
        let served = listen(&carol);
        if served.is_ok() || Instant::now() > end {
            return served.map(drop);
        }
    }
}
