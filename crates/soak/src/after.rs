//! What has to be true once nothing goes wrong any more.

use p2pchat_engine::Command;
use p2pchat_netsim::seconds;

use crate::broken::{Broken, hold};
use crate::plan::{Deed, called};
use crate::world::{Totals, World};

/// How long those who lost one another may take to be together again by themselves, nanoseconds: the
/// broker's silence is noticed within 40 s, its link comes back within 30 s, a request is repeated
/// within 60 s, and a handshake takes at most 20 s; twice that, as each of them may meet the next.
const BY_THEMSELVES: u64 = seconds(300);
/// How long those may take who are told to connect now, nanoseconds.
const WHEN_TOLD: u64 = seconds(240);
/// How often somebody who was told to connect and did not succeed does it again, nanoseconds.
const AGAIN: u64 = seconds(40);
/// How often it is looked whether all is well, nanoseconds.
const LOOK: u64 = seconds(5);
/// How long it takes until nobody waits for anybody any more, nanoseconds: people's patience with a
/// request, and a handshake between two whom no way joins.
const SETTLES: u64 = seconds(90);
/// How long a world is watched in which nothing happens, nanoseconds.
const REST: u64 = seconds(60);
/// How long it is waited for a moment in which no queue holds anything, nanoseconds.
const EMPTIES: u64 = seconds(180);
/// Most datagrams that a session costs in a minute of rest, both sides counted. Always: a keepalive of each
/// every 20 s, acknowledged (18 with the first after 10 s), and keys that are made anew (6). Behind a NAT
/// that forgets within those 20 s each keepalive comes from a new port: two paths are challenged four times
/// in the longest round trip, one of them answers, and packets are acknowledged (20, three times). Where the
/// line loses keepalive and probes: two probes twice, then two paths are challenged four times, answered,
/// and all is acknowledged (32, twice). That is 148.
const REST_DATAGRAMS: u64 = 160;
/// Most datagrams that making a session costs, both sides counted, over a line that loses: handshake
/// messages on their schedule, pings, and what the two then tell one another.
const HANDSHAKE_DATAGRAMS: u64 = 100;

impl World {
    /// Runs the plan from its beginning to a world in which all is said; what happened, or what is
    /// not as it should be.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn live(&mut self) -> Result<Totals, Broken> {
        self.run_to(self.plan.calm)?;
        self.calm = true;
        self.by_themselves()?;
        self.told()?;
        self.rest()?;
        self.empty()?;
        self.end()?;
        Ok(self.totals())
    }

    /// Lost sessions come back.
    fn by_themselves(&mut self) -> Result<(), Broken> {
        let end = self.now + BY_THEMSELVES;
        loop {
            let missing = self.broken_promise()?;
            let Some((asker, peer)) = missing else { return Ok(()) };
            hold(self.now < end, "a session that was lost comes back by itself", || {
                format!("{} has none with {}", called(asker), called(peer))
            })?;
            self.run_to(self.now + LOOK)?;
        }
    }

    fn broken_promise(&mut self) -> Result<Option<(usize, usize)>, Broken> {
        for (asker, peer) in self.promises.clone() {
            if self.can_meet(asker, peer) && !self.are_together(asker, peer)? {
                return Ok(Some((asker, peer)));
            }
        }
        // Whoever ended a process is back by now, or will be soon.
        Ok(self.people.iter().find(|member| member.away).map(|member| (member.who, member.who)))
    }

    /// Everybody asks everybody, and all arrives.
    fn told(&mut self) -> Result<(), Broken> {
        let end = self.now + WHEN_TOLD;
        let pairs = self.neighbours();
        let mut ask_at = self.now;
        loop {
            let mut apart = Vec::new();
            for (a, b) in &pairs {
                if !self.are_together(*a, *b)? {
                    apart.push((*a, *b));
                }
            }
            if self.now >= ask_at {
                ask_at = self.now + AGAIN;
                for (who, to) in &apart {
                    self.act(&Deed::Connect { who: *who, to: *to })?;
                }
            }
            let missing = pairs
                .iter()
                .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
                .find_map(|(from, to)| self.model.missing(from, to));
            if apart.is_empty() && missing.is_none() {
                return Ok(());
            }
            hold(self.now < end, "every session that can be is there, and every message arrived", || {
                format!("apart: {apart:?}; missing: {missing:?}")
            })?;
            self.run_to(self.now + LOOK)?;
        }
    }

    /// Nothing happens, and costs next to nothing.
    fn rest(&mut self) -> Result<(), Broken> {
        self.run_to(self.now + SETTLES)?;
        let (before, sessions) = (self.totals.datagrams, self.totals.sessions);
        self.run_to(self.now + REST)?;
        let count = self.totals.datagrams - before;
        // Also those count who have a session that began where a way led, and follows them.
        let pairs = self.plan.pairs().filter(|(a, b)| self.could_meet(*a, *b)).count() as u64;
        // A NAT that forgets a mapping between two keepalives, of which one was lost, ends a session.
        let made = self.totals.sessions - sessions;
        let most = pairs * REST_DATAGRAMS + made * HANDSHAKE_DATAGRAMS;
        hold(count <= most, "a world at rest is quiet", || {
            format!("{count} datagrams in a minute of {pairs} sessions, of which {made} ends are new")
        })
    }

    /// Every queue is empty at some moment: a line that loses may end a session at any other, or keep
    /// some bytes of it waiting.
    fn empty(&mut self) -> Result<(), Broken> {
        let end = self.now + EMPTIES;
        loop {
            let found = (0..self.people.len()).try_for_each(|who| self.check_rest(who));
            if found.is_ok() || self.now >= end {
                return found;
            }
            self.run_to(self.now + LOOK)?;
        }
    }

    /// Everybody leaves, and nothing is left.
    fn end(&mut self) -> Result<(), Broken> {
        for who in 0..self.people.len() {
            self.leave(who)?;
        }
        self.run_to(self.now + LOOK)?;
        let before = self.totals.datagrams;
        self.run_to(self.now + REST)?;
        let left = self.people.iter().filter(|member| member.process.is_some()).count();
        let sent = self.totals.datagrams - before;
        let online = self.broker.online();
        hold((left, sent, online) == (0, 0, 0), "whoever leaves is gone", || {
            format!("{left} processes, {sent} datagrams, {online} online at the broker")
        })
    }

    /// Whether both of two people say that they have a session with the other.
    fn are_together(&mut self, a: usize, b: usize) -> Result<bool, Broken> {
        Ok(self.says_to_be_with(a, b)? && self.says_to_be_with(b, a)?)
    }

    fn says_to_be_with(&mut self, who: usize, other: usize) -> Result<bool, Broken> {
        self.reports.remove(&who);
        self.command(who, Command::Info)?;
        let peer = self.people[other].peer;
        Ok(self.reports.get(&who).is_some_and(|report| report.contains(&(peer, true))))
    }
}
