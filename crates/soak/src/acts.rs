//! What people do, and what they see.

use core::time::Duration;

use p2pchat_conversation::Write;
use p2pchat_engine::event::{Direction, RequestState, SessionState};
use p2pchat_engine::{Command, CommandId, Event, Target};
use p2pchat_netsim::{millis, seconds};
use p2pchat_proto::PeerId;
use rand::RngExt;

use crate::broken::{Broken, hold};
use crate::member::Job;
use crate::plan::{Deed, called};
use crate::trace::Happening;
use crate::world::{Errand, World};

/// Longest that somebody thinks before an answer, nanoseconds.
const THINKS_MAX: u64 = seconds(5);
/// Longest that somebody takes to look at a message, nanoseconds.
const LOOKS_MAX: u64 = seconds(2);
/// How long somebody waits who cannot act because the machine sleeps, nanoseconds.
const LATER: u64 = millis(500);
/// How long somebody waits for an answer to a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may say good-bye, nanoseconds: the client's `FAREWELL`.
const FAREWELL: u64 = millis(600);
/// Least time between two processes of one person.
const RESTART_LEAST: u64 = millis(10);

impl World {
    /// Does what is due, or puts it off while whoever has to do it sleeps.
    pub(crate) fn run(&mut self, errand: Errand) -> Result<(), Broken> {
        let actor = match &errand {
            Errand::Answer { who, .. } | Errand::Look { who, .. } | Errand::Start { who } => Some(*who),
            Errand::Deed(
                Deed::Connect { who, .. }
                | Deed::Write { who, .. }
                | Deed::Close { who, .. }
                | Deed::Quit { who, .. },
            ) => Some(*who),
            Errand::BrokerBack | Errand::Deed(Deed::BrokerGone { .. }) => None,
        };
        if actor.is_some_and(|who| self.internet.is_asleep(self.people[who].seat.host)) {
            self.errand(self.now + LATER, errand);
            return Ok(());
        }
        match errand {
            Errand::Answer { who, life, request, from } => {
                if self.people[who].life != life {
                    return Ok(());
                }
                let draw = self.rng.random_range(0..10u8);
                let command = match draw {
                    0 if !self.calm => {
                        if let Some(asker) = from.and_then(|from| self.number_of(from)) {
                            self.promises.remove(&(asker, who));
                        }
                        Command::Decline { request, reason: "not now".to_owned() }
                    }
                    1 | 2 => Command::Accept { request, once: true },
                    _ => Command::Accept { request, once: false },
                };
                self.command(who, command)
            }
            Errand::Look { who, life, message, from } => {
                if self.people[who].life == life && self.runs(who) {
                    self.model.read(from, who, message);
                    self.command(who, Command::Shown { message })?;
                }
                Ok(())
            }
            Errand::Start { who } => {
                let Self { people, internet, now, rng, trace, .. } = self;
                trace.push(*now, Happening::Said { who, what: "starts".to_owned() });
                people[who].start(internet, *now, rng);
                self.settle(who).map(|_| ())
            }
            Errand::BrokerBack => {
                self.trace.push(self.now, Happening::World("the broker is back".to_owned()));
                self.broker.up = true;
                Ok(())
            }
            Errand::Deed(deed) => self.act(&deed),
        }
    }

    /// Whether somebody's process is there to be told something.
    fn runs(&self, who: usize) -> bool {
        self.people[who].process.as_ref().is_some_and(|process| process.stopping.is_none())
    }

    pub(crate) fn act(&mut self, deed: &Deed) -> Result<(), Broken> {
        self.trace.push(self.now, Happening::World(format!("{deed:?}")));
        match *deed {
            Deed::Connect { who, to } => {
                // Half of the time by identity, as somebody does who has the contact.
                let peer = self.people[to].peer;
                let known = self.people[who].pins.iter().any(|pin| pin.peer == peer);
                let target = if known && self.rng.random() {
                    Target::Peer(peer)
                } else {
                    Target::Name(self.people[to].name())
                };
                self.command(who, Command::Connect { to: target, wait: PATIENCE })
            }
            Deed::Write { who, to, count, len } => {
                for _ in 0..count {
                    if self.runs(who) {
                        let id = CommandId(self.next_command + 1);
                        let text = self.model.write(who, to, len, id);
                        let to = self.people[to].peer;
                        self.command(who, Command::Message { to, text })?;
                    }
                }
                Ok(())
            }
            Deed::Close { who, to } => {
                self.promises.remove(&(who, to));
                self.promises.remove(&(to, who));
                let peer = self.people[to].peer;
                self.command(who, Command::Close { peer })
            }
            Deed::Quit { who, kill, away } => self.quit(who, kill, away),
            Deed::BrokerGone { away } => {
                if self.broker.up {
                    self.broker.die(self.now);
                    self.errand(self.now + away, Errand::BrokerBack);
                }
                Ok(())
            }
        }
    }

    fn quit(&mut self, who: usize, kill: bool, away: u64) -> Result<(), Broken> {
        if !self.runs(who) {
            return Ok(());
        }
        self.totals.restarts += 1;
        self.people[who].away = true;
        let ready = self.now + if kill { 0 } else { FAREWELL };
        self.errand(ready + away.max(RESTART_LEAST), Errand::Start { who });
        if kill {
            return self.end_process(who);
        }
        self.leave(who)
    }

    /// Somebody ends a program in order: it has a moment to say good-bye.
    pub(crate) fn leave(&mut self, who: usize) -> Result<(), Broken> {
        let now = self.clock_of(who);
        if let Some(process) = &mut self.people[who].process {
            process.stopping = Some(self.now + FAREWELL);
            process.engine.stop(now);
        }
        self.settle(who).map(|_| ())
    }

    /// Tells somebody's engine to do something.
    pub(crate) fn command(&mut self, who: usize, command: Command) -> Result<(), Broken> {
        if !self.runs(who) {
            return Ok(());
        }
        self.next_command += 1;
        let id = CommandId(self.next_command);
        let now = self.clock_of(who);
        let announced = self.announced_by(who);
        if let Some(process) = &mut self.people[who].process {
            process.engine.announce(announced);
            process.engine.handle_command(id, command, now);
        }
        self.settle(who).map(|_| ())
    }

    /// A process is gone, with all that only it knew. Some of what its store was about to write is
    /// written, and nobody was told.
    pub(crate) fn end_process(&mut self, who: usize) -> Result<(), Broken> {
        let Some(process) = self.people[who].process.take() else { return Ok(()) };
        self.trace.push(self.now, Happening::Said { who, what: "is gone".to_owned() });
        self.internet.close(process.socket);
        if let Some(conn) = process.conn {
            self.broker.hang_up(conn, self.now);
        }
        let written = self.rng.random_range(0..=process.jobs.len());
        for (_, job) in process.jobs.into_iter().take(written) {
            match job {
                Job::Commit(_, writes) => self.keep(who, &writes)?,
                Job::Load(..) => {}
            }
        }
        self.model.process_ended(who);
        self.promises.retain(|(asker, _)| *asker != who);
        self.askers.retain(|(asker, _)| *asker != who);
        self.reports.remove(&who);
        Ok(())
    }

    /// Somebody's store writes.
    pub(crate) fn keep(&mut self, who: usize, writes: &[Write]) -> Result<(), Broken> {
        for write in writes {
            match write {
                Write::Composed { to, text, .. } => {
                    let to = self.known(*to)?;
                    self.model.composed(who, to, text)?;
                }
                Write::Arrived { message, text, .. } => {
                    let from = self.known(message.author)?;
                    self.model.arrived(from, who, text)?;
                }
                Write::Delivered { .. }
                | Write::GivenUp { .. }
                | Write::Handed { .. }
                | Write::Held { .. }
                | Write::Forgotten { .. }
                | Write::Succeeded { .. }
                | Write::Renewed { .. } => {}
            }
        }
        self.people[who].apply(writes);
        Ok(())
    }

    fn known(&self, peer: PeerId) -> Result<usize, Broken> {
        self.number_of(peer).ok_or_else(|| Broken::new("everybody is somebody", peer.short()))
    }

    /// What somebody is shown.
    pub(crate) fn events(&mut self, who: usize) -> Result<bool, Broken> {
        let mut moved = false;
        while let Some(process) = self.people[who].process.as_mut()
            && let Some(event) = process.engine.poll_event()
        {
            moved = true;
            self.see(who, event)?;
        }
        Ok(moved)
    }

    fn see(&mut self, who: usize, event: Event) -> Result<(), Broken> {
        let life = self.people[who].life;
        match event {
            Event::Message(message) => {
                let peer = self.known(message.peer)?;
                if message.mine {
                    return Ok(());
                }
                self.model.shown(peer, who, &message.text)?;
                let at = self.now + self.rng.random_range(0..LOOKS_MAX);
                self.errand(at, Errand::Look { who, life, message: message.message, from: peer });
            }
            Event::Receipt(receipt) => {
                let peer = self.known(receipt.peer)?;
                self.model.told(who, peer, receipt.message, receipt.state)?;
            }
            Event::Done { id, message, .. } => {
                if message.is_some() {
                    self.model.answered(who, id, message)?;
                }
            }
            Event::Failed { id, failure } => {
                self.said(who, format!("failed: {failure:?}"));
                self.model.answered(who, id, None)?;
            }
            Event::Request(request) => {
                let peer = request.peer.and_then(|peer| self.number_of(peer));
                let about = peer.map_or("somebody", called);
                self.said(who, format!("request {:?} {:?}, {about}", request.direction, request.state));
                match (request.direction, request.state) {
                    (Direction::In, RequestState::Open) => {
                        let at = self.now + self.rng.random_range(0..THINKS_MAX);
                        let (request, from) = (request.request, request.peer);
                        self.errand(at, Errand::Answer { who, life, request, from });
                    }
                    (Direction::Out, RequestState::Accepted) => {
                        if let Some(peer) = peer {
                            self.askers.insert((who, peer));
                        }
                    }
                    (Direction::In, RequestState::Accepted) => {
                        if let Some(peer) = peer {
                            self.askers.remove(&(who, peer));
                        }
                    }
                    (
                        _,
                        RequestState::Open
                        | RequestState::Declined
                        | RequestState::Cancelled
                        | RequestState::Expired,
                    ) => {}
                }
            }
            Event::Session(session) => {
                let peer = self.known(session.peer)?;
                let about = called(peer);
                self.said(who, format!("session with {about} {:?} {:?}", session.state, session.reason));
                self.session(who, peer, session.state)?;
            }
            Event::Info { sessions, .. } => {
                let report = sessions.iter().map(|session| {
                    (session.peer, matches!(session.state, SessionState::Up | SessionState::Suspect))
                });
                self.reports.insert(who, report.collect());
            }
            Event::Broker(broker) => {
                self.said(who, format!("broker {:?} {:?}", broker.state, broker.reason));
            }
            Event::Error(failure) => self.said(who, format!("error: {failure:?}")),
            Event::Ready(_)
            | Event::Presence(_)
            | Event::People { .. }
            | Event::Trust(_)
            | Event::Standing(_)
            | Event::File(_)
            | Event::Recalled { .. }
            | Event::Typing { .. }
            | Event::Stopped(_) => {}
        }
        Ok(())
    }

    fn said(&mut self, who: usize, what: String) {
        self.trace.push(self.now, Happening::Said { who, what });
    }

    fn session(&mut self, who: usize, peer: usize, state: SessionState) -> Result<(), Broken> {
        match state {
            SessionState::Up => {
                self.totals.sessions += 1;
                hold(self.could_meet(who, peer), "nobody gets through where no way is", || {
                    format!("{} and {}", called(who), called(peer))
                })?;
                // The side that asked for the latest session asks again.
                if self.askers.contains(&(who, peer)) {
                    self.promises.insert((who, peer));
                } else {
                    self.promises.remove(&(who, peer));
                }
            }
            SessionState::Connecting | SessionState::Suspect => {}
            SessionState::Lost => self.totals.lost += 1,
            SessionState::Closed => {
                self.promises.remove(&(who, peer));
            }
        }
        Ok(())
    }
}
