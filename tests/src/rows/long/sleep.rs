//! T19 with real processes: one stops for a minute, as if its machine slept.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::actions::say;
use crate::event::{event, message, session};
use crate::peer::Peer;
use crate::process::{Failure, PROMPT};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World, listen};

/// How long they sleep (the issue of the session).
const SLEEP: Duration = Duration::from_secs(60);
/// Until both have heard each other again (the issue of the session).
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// For how long that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

const ALICE: usize = 0;
const BOB: usize = 1;

/// Two people, of whom one sleeps.
struct Night {
    people: [Peer; 2],
    sleeper: usize,
    without_broker: bool,
    _world: World,
}

impl Night {
    fn begin(sleeper: usize, without_broker: bool, accept: &str) -> Result<Self, NotRun> {
        let mut world = World::new()?;
        let mut alice = listen(&world.person("alice")?)?;
        let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
        alice.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
        alice.send_line(accept)?;
        for peer in [&mut alice, &mut bob] {
            peer.wait(&session("up"), MEETING)?;
        }
        // Sessions that never measured a round trip wait longer for an answer.
        say(&mut bob, &mut alice, "good night")?;
        say(&mut alice, &mut bob, "sleep well")?;
        let mut people = [alice, bob];
        if without_broker {
            world.broker.kill()?;
            for peer in &mut people {
                peer.wait(&event("broker").with("state", "lost"), PROMPT)?;
            }
        }
        people[sleeper].process.signal(Signal::STOP)?;
        people[1 - sleeper].send_line("while you slept")?;
        Ok(Self { people, sleeper, without_broker, _world: world })
    }

    /// How long it takes after the sleep until each has heard the other; none where it takes too long.
    fn end(mut self) -> Result<Option<Duration>, Failure> {
        let [sleeper, awake] = [self.sleeper, 1 - self.sleeper];
        // Nobody knows it yet: this was said while the other one slept.
        self.people[awake].wait(&session("lost"), PROMPT)?;
        self.people[sleeper].process.signal(Signal::CONT)?;
        let begin = Instant::now();
        self.people[sleeper].send_line("I slept")?;
        for (who, text) in [(awake, "I slept"), (sleeper, "while you slept")] {
            match self.people[who].wait(&message(text), PATIENCE) {
                Ok(_) => {}
                Err(Failure::TimedOut { .. }) => return Ok(None),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Some(begin.elapsed()))
    }
}

pub(super) fn a_minute(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    // The double has nothing by which it could come back.
    let accept = if defence == Defence::InPlace { "/accept" } else { "/accept --once" };
    let mut nights = Vec::new();
    for without_broker in [false, true] {
        for sleeper in [ALICE, BOB] {
            if defence == Defence::InPlace || without_broker {
                nights.push(Night::begin(sleeper, without_broker, accept)?);
            }
        }
    }
    // Not waiting for anything: this is what happens to them.
    std::thread::sleep(SLEEP);
    let mut figures = Vec::new();
    let mut held = true;
    for night in nights {
        let broker = if night.without_broker { "dead" } else { "there" };
        let took = night.end()?;
        held &= took.is_some_and(|took| took < BACK_WITHIN);
        let took = took.map_or_else(|| "never".to_owned(), |took| format!("{:.3} s", took.as_secs_f64()));
        figures.push(format!("{took} (broker {broker})"));
    }
    let seen = "stopped for 60 s and continued; a line each way";
    Ok(Seen::when(held, seen).figure(figures.join(", ")))
}
