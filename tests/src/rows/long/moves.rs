//! T15 with real processes: addresses that change under two people, mostly without a broker.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::Broker;
use crate::event::{event, message, session};
use crate::homes::{FIRST, HOMES, Homes};
use crate::peer::{Peer, Setup};
use crate::process::{Failure, PROMPT};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::trace::Trace;
use crate::world::MEETING;

/// How long a line may take after an address has changed (the issue of the session).
const GAP_MAX: Duration = Duration::from_secs(2);
/// For how long a line is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// Until a session counts as lost (protocol section 12), with room for what it says then.
const LOST: Duration = Duration::from_secs(45);
/// The longest pause between two attempts to find somebody, and the attempt.
const FOUND: Duration = Duration::from_secs(90);

const ALICE: usize = 0;
const BOB: usize = 1;

/// Two who met over a broker.
struct Movers {
    // Processes go before the places where they run.
    people: [Peer; HOMES],
    broker: Broker,
    homes: Homes,
    said: u32,
    _files: TempDir,
}

/// What the two do without, in the counter-proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Each holds on to the address that it began with.
    Moving,
    /// Nothing is kept by which they could come back.
    Keeping,
}

impl Movers {
    /// Two whose broker is dead now.
    fn alone(without: Without) -> Result<Self, NotRun> {
        let mut movers = Self::meet(without)?;
        movers.kill_broker()?;
        movers.line(BOB)?.ok_or_else(|| NotRun("nothing arrives before anybody moves".to_owned()))?;
        Ok(movers)
    }

    fn kill_broker(&mut self) -> Result<(), Failure> {
        self.broker.kill()?;
        for peer in &mut self.people {
            peer.wait(&event("broker").with("state", "lost"), PROMPT)?;
        }
        Ok(())
    }

    fn meet(without: Without) -> Result<Self, NotRun> {
        let homes = Homes::new()?;
        let files = tempfile::tempdir().map_err(Failure::system("make a temporary directory"))?;
        let trace = Trace::default();
        let listen = SocketAddr::from((homes.router_ip(), 0));
        let broker = homes.at_router(|| Broker::start_at(listen, &files.path().join("broker"), &trace))?;
        let start = |at: usize, name: &str, words: &[&str]| {
            let home = files.path().join(name);
            std::fs::create_dir_all(&home).map_err(Failure::system("make a home"))?;
            let setup = Setup::new(name, &home, &trace).bind_everywhere().broker(&broker.url());
            let setup = if without == Without::Moving {
                setup.arguments(["--bind".to_owned(), format!("10.0.{at}.{FIRST}:0")])
            } else {
                setup
            };
            homes.at_home(at, || setup.start(words))
        };
        let mut alice = start(ALICE, "alice", &["listen", "--accept", "ask"])?;
        alice.wait(&event("broker").with("state", "connected"), PROMPT)?;
        let mut bob = start(BOB, "bob", &["connect", "--to", "alice"])?;
        alice.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
        let once = without == Without::Keeping;
        alice.send_line(if once { "/accept --once" } else { "/accept" })?;
        for peer in [&mut alice, &mut bob] {
            peer.wait(&session("up"), MEETING)?;
        }
        Ok(Self { people: [alice, bob], broker, homes, said: 0, _files: files })
    }

    /// How long a line of one takes to be shown to the other.
    fn line(&mut self, from: usize) -> Result<Option<Duration>, Failure> {
        self.said += 1;
        let text = format!("line {}", self.said);
        let begin = Instant::now();
        self.people[from].send_line(&text)?;
        match self.people[1 - from].wait(&message(&text), PATIENCE) {
            Ok(_) => Ok(Some(begin.elapsed())),
            Err(Failure::TimedOut { .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// One after the other, and each time the one who moved or the one who stayed speaks first.
pub(super) fn one_at_a_time(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let without = if defence == Defence::InPlace { Without::Nothing } else { Without::Moving };
    let mut movers = Movers::alone(without)?;
    let mut longest = Duration::ZERO;
    let moves = [(ALICE, 3, ALICE), (BOB, 3, ALICE), (ALICE, 4, BOB), (BOB, FIRST, BOB)];
    for (who, host, first) in moves {
        movers.homes.rehome(who, host)?;
        for from in [first, 1 - first] {
            let Some(took) = movers.line(from)? else {
                let seen = format!("no line within {PATIENCE:?} of a move to 10.0.{who}.{host}");
                return Ok(Seen::broken(seen));
            };
            longest = longest.max(took);
        }
    }
    let figure = format!("longest {:.3} s", longest.as_secs_f64());
    let seen = format!("{} moves, broker dead, a line each way after each", moves.len());
    Ok(Seen::when(longest < GAP_MAX, seen).figure(figure))
}

/// Both in the same moment, and only the broker, which finds each at its new address, knows both.
pub(super) fn both_with_a_broker(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let mut movers = Movers::meet(Without::Nothing)?;
    if defence == Defence::Removed {
        movers.kill_broker()?;
    }
    for who in [ALICE, BOB] {
        movers.homes.rehome(who, 7)?;
    }
    let (Some(first), Some(_)) = (movers.line(BOB)?, movers.line(ALICE)?) else {
        return Ok(Seen::broken(format!("no line within {PATIENCE:?} of the moves")));
    };
    let figure = format!("{:.1} s", first.as_secs_f64());
    Ok(Seen::held("a line each way, long before either gives the session up").figure(figure))
}

/// Both in the same moment: nobody knows where the other is, until one is where it was known to be.
pub(super) fn both_at_once(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let without = if defence == Defence::InPlace { Without::Nothing } else { Without::Keeping };
    let mut movers = Movers::alone(without)?;
    for who in [ALICE, BOB] {
        movers.homes.rehome(who, 7)?;
    }
    for who in [ALICE, BOB] {
        let peer = &mut movers.people[who];
        for state in ["suspect", "lost"] {
            peer.wait(&session(state), LOST)?;
        }
        if without == Without::Nothing {
            peer.wait(&session("connecting").holding("reason", "directly"), PROMPT)?;
            peer.wait(&session("connecting").holding("reason", "no answer where they were last"), LOST)?;
        }
    }
    movers.homes.rehome(BOB, FIRST)?;
    let begin = Instant::now();
    for who in [ALICE, BOB] {
        match movers.people[who].wait(&session("up"), FOUND) {
            Ok(_) => {}
            Err(Failure::TimedOut { .. }) => {
                return Ok(Seen::broken(format!("no session within {FOUND:?} of the return")));
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    let figure = format!("{:.1} s after the return", begin.elapsed().as_secs_f64());
    let lines = [movers.line(ALICE)?, movers.line(BOB)?];
    let held = lines.iter().all(|took| took.is_some_and(|took| took < GAP_MAX));
    let seen = "suspect, lost, looked for and told so; up again when one was back where it was known";
    Ok(Seen::when(held, seen).figure(figure))
}
