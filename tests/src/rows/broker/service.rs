//! B14, B17: a broker that crashes, and what it could know.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use p2pchat_proto::broker::Outcome;

use crate::actions::say;
use crate::caller::{Caller, identity};
use crate::double::LyingBroker;
use crate::event::{event, session};
use crate::memory::look;
use crate::peer::Setup;
use crate::process::PROMPT;
use crate::relay::recording::Secret;
use crate::relay::{Direction, TcpRelay};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World};

/// The longest pause between two tries, with room for the try itself.
const RECONNECT: Duration = Duration::from_secs(75);
/// The exit code of a name that is taken (cli.md).
const EXIT_NOT_ALLOWED: i32 = 4;

/// B14.
pub(super) fn crash(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    match defence {
        Defence::InPlace => crash_of_the_program(),
        Defence::Removed => {
            // It keeps names for as long as it runs.
            let register = |broker: &LyingBroker, who| -> Result<Option<Outcome>, NotRun> {
                Ok(Caller::login(address(broker)?, identity(who))?.register("alice"))
            };
            register(&LyingBroker::start(1)?, 1)?;
            let thief = register(&LyingBroker::start(2)?, 2)?;
            Ok(Seen::when(thief != Some(Outcome::Done), format!("the thief of a name is told {thief:?}")))
        }
    }
}

fn address(broker: &LyingBroker) -> Result<SocketAddr, NotRun> {
    let url = broker.url();
    Ok(url.split('#').next().unwrap_or_default().parse()?)
}

fn crash_of_the_program() -> Result<Seen, NotRun> {
    let mut world = World::new()?;
    let (mut alice, mut bob) = world.alice_and_bob()?;
    drop((alice.take_events(), bob.take_events()));
    world.broker.kill()?;
    for peer in [&mut alice, &mut bob] {
        peer.wait(&event("broker").with("state", "lost"), PROMPT)?;
    }
    say(&mut bob, &mut alice, "the broker is gone")?;
    say(&mut alice, &mut bob, "who needs it")?;
    let begin = Instant::now();
    world.broker.restart()?;
    for peer in [&mut alice, &mut bob] {
        peer.wait(&event("broker").with("state", "connected"), RECONNECT)?;
    }
    let back = begin.elapsed();
    say(&mut alice, &mut bob, "it is back")?;
    let thief = Setup::new("alice", &world.directory("thief")?, &world.trace).broker(&world.broker.url());
    let thief = thief.plain().run(&["listen"], MEETING)?.exit;
    let mut carol = world.person("carol")?.start(&["connect", "--to", "alice"])?;
    carol.wait(&session("up"), MEETING)?;
    let events = [alice.take_events(), bob.take_events()].concat();
    let ended = events.iter().filter(|said| session("lost").matches(said) || session("closed").matches(said));
    let ended = ended.count();
    let held = thief == EXIT_NOT_ALLOWED && ended == 0;
    let what = format!("the thief of a name ends with {thief}, {ended} sessions ended, all are back");
    Ok(Seen::when(held, what).figure(format!("back after {:.1} s", back.as_secs_f64())))
}

/// What two people say, as nobody else would.
const TEXTS: [&str; 2] = ["the heron lands at midnight on pier 93", "and the lamp of pier 93 will be out"];
/// A name that the broker must know, which shows that looking works.
const KNOWN: &str = "alice-of-pier-93";

/// B17.
pub(super) fn content(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let world = World::new()?;
    let links = [TcpRelay::before(world.broker.address())?, TcpRelay::before(world.broker.address())?];
    let through = |name, link: &TcpRelay| -> Result<Setup, NotRun> {
        let url = world.broker.url_through(link.address());
        Ok(world.stranger(name)?.broker(&url).accept_everything())
    };
    let (mut alice, mut bob) = world.meet(&through(KNOWN, &links[0])?, &through("bob", &links[1])?)?;
    match defence {
        Defence::InPlace => {
            say(&mut alice, &mut bob, TEXTS[0])?;
            say(&mut bob, &mut alice, TEXTS[1])?;
        }
        // Chats go by way of the broker, in the open.
        Defence::Removed => {
            for (link, text) in links.iter().zip(TEXTS) {
                TcpStream::connect(link.address())?.write_all(text.as_bytes())?;
                arrives(link, text)?;
            }
        }
    }
    let secrets: Vec<_> = TEXTS.iter().map(|text| Secret::bytes(*text, *text)).collect();
    let mut found = Vec::new();
    let mut searched = 0;
    let mut search = |wherever: &str, bytes: &[u8]| {
        searched += bytes.len() as u64;
        let held = secrets.iter().filter(|secret| secret.is_in(bytes));
        found.extend(held.map(|secret| format!("{:?} in {wherever}", secret.what)));
    };
    for (name, bytes) in files_below(world.broker.data())? {
        search(&name, &bytes);
    }
    let said = world.trace.to_string();
    let of_broker = said.lines().filter(|line| line.split_whitespace().nth(1) == Some("broker"));
    search("its output", of_broker.collect::<Vec<_>>().join("\n").as_bytes());
    for link in &links {
        for direction in [Direction::In, Direction::Out] {
            let recording = link.recording(direction);
            searched += recording.len() as u64;
            let held = secrets.iter().filter(|secret| recording.holds(secret));
            found.extend(held.map(|secret| format!("{:?} on a link", secret.what)));
        }
    }
    let everything = [&secrets[..], &[Secret::bytes(KNOWN, KNOWN)]].concat();
    let memory = look(world.broker.id(), &everything)?;
    if !memory.found.iter().any(|what| what == KNOWN) {
        return Err(NotRun("the search is blind: the broker's memory does not hold a name".to_owned()));
    }
    found.extend(
        memory.found.into_iter().filter(|what| what != KNOWN).map(|what| format!("{what:?} in memory")),
    );
    let what = if found.is_empty() { "nowhere; its names are found".to_owned() } else { found.join(", ") };
    let searched = (searched + memory.read) >> 10;
    Ok(Seen::when(found.is_empty(), what).figure(format!("{searched} KiB searched")))
}

fn arrives(link: &TcpRelay, text: &str) -> Result<(), NotRun> {
    let deadline = Instant::now() + PROMPT;
    while !link.recording(Direction::In).contains(text.as_bytes()) {
        if Instant::now() > deadline {
            return Err(NotRun("the relay is deaf".to_owned()));
        }
        thread::yield_now();
    }
    Ok(())
}

fn files_below(directory: &Path) -> Result<Vec<(String, Vec<u8>)>, NotRun> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    Ok(found)
}
