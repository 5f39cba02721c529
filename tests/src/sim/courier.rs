//! Bob and alice in the middle of their handshake, and a courier who decides over each datagram.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_crypto::Introduction;
use p2pchat_proto::datagram::{DATA, INIT, MAC_LEN};
use p2pchat_proto::{Moment, UdpEndpoints};
use p2pchat_session::{EndReason, Endpoint, SessionEvent, SessionId, StreamId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::START;
use super::people::{People, alices_address, bobs_address};
use super::target::{endpoint, received};

/// One way between the two.
pub const DELAY: Duration = Duration::from_millis(20);

/// A duty that both sides neglect: the double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neglect {
    /// None: the product as it is.
    Nothing,
    /// A datagram of the handshake leaves once.
    Repeats,
    /// A handshake that ran out of time begins again.
    GivingUp,
    /// Each INIT is the first of its introduction.
    Memory,
    /// A MAC is not looked at: what comes has the right one when it is looked at.
    Mac,
    /// Everything goes to where the last datagram came from.
    Path,
    /// An address from which a message of the handshake came counts as announced.
    Naming,
}

/// One of the two.
#[derive(Debug)]
pub struct Party {
    /// Its sessions.
    pub endpoint: Endpoint,
    /// Where it is.
    pub address: SocketAddr,
    /// How often a session came up.
    pub ups: u32,
    /// How the sessions ended.
    pub ended: Vec<EndReason>,
    /// What it was shown on the stream of the conversation.
    pub bodies: Vec<Vec<u8>>,
    /// Key exchanges of endpoints that were thrown away.
    exchanged: u64,
    session: SessionId,
    last_source: SocketAddr,
}

/// A datagram that has just left.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Who sent it, 0 is bob.
    pub who: usize,
    /// Its first byte.
    pub kind: u8,
    /// How many of this kind this side sent before.
    pub nth: usize,
    /// It.
    pub bytes: &'a [u8],
}

/// What becomes of a datagram: how long each copy takes, none if it is lost.
pub type Fate<'a> = &'a mut dyn FnMut(&Sight<'_>) -> Vec<Duration>;

/// Both of them and what is on its way.
#[derive(Debug)]
pub struct Courier {
    /// The time.
    pub now: Moment,
    /// Bob, who asked, and alice.
    pub parties: [Party; 2],
    /// Everything that left: when, who sent it, to whom, and its bytes.
    pub wire: Vec<(Moment, usize, SocketAddr, Vec<u8>)>,
    people: People,
    introduced: u64,
    neglect: Neglect,
    counts: BTreeMap<(usize, u8), usize>,
    once: BTreeSet<(SocketAddr, Vec<u8>)>,
    flights: BTreeMap<(Moment, u64), (usize, SocketAddr, Vec<u8>)>,
    ticket: u64,
    rng: ChaCha20Rng,
}

/// Nothing happens to anything.
pub fn carried(_: &Sight<'_>) -> Vec<Duration> {
    vec![DELAY]
}

impl Courier {
    /// Two who were just introduced.
    pub fn new(neglect: Neglect, rng: &mut ChaCha20Rng) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(rng.random());
        let (people, introduced) = (People::default(), rng.random());
        let addresses = [bobs_address(), alices_address()];
        let mut party = |who: usize| {
            let me = if who == 0 { &people.bob } else { &people.alice };
            let mut endpoint = endpoint(me, rng.random(), START);
            let introduction = introduction(&people, introduced, who);
            let session = endpoint.introduce(introduction, &UdpEndpoints::new([addresses[1 - who]]), START);
            let (address, last_source) = (addresses[who], addresses[1 - who]);
            let (ups, ended, bodies, exchanged) = (0, Vec::new(), Vec::new(), 0);
            Party { endpoint, address, ups, ended, bodies, exchanged, session, last_source }
        };
        let parties = [party(0), party(1)];
        Self {
            now: START,
            parties,
            wire: Vec::new(),
            people,
            introduced,
            neglect,
            counts: BTreeMap::new(),
            once: BTreeSet::new(),
            flights: BTreeMap::new(),
            ticket: 0,
            rng,
        }
    }

    /// Runs until `done` or for a while; whether it was done.
    pub fn run(&mut self, during: Duration, fate: Fate<'_>, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + during;
        loop {
            (0..2).for_each(|who| self.let_out(who, fate));
            if done(self) {
                return true;
            }
            let timeouts = self.parties.iter().filter_map(|party| party.endpoint.poll_timeout());
            let arrival = self.flights.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timeouts.chain(arrival).min().filter(|next| *next <= end) else {
                self.now = self.now.max(end);
                return false;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, from, bytes) = entry.remove();
                self.hand(to, from, &bytes);
            }
            let now = self.now;
            let due = |party: &&mut Party| party.endpoint.poll_timeout().is_some_and(|at| at <= now);
            self.parties.iter_mut().filter(due).for_each(|party| party.endpoint.handle_timeout(now));
        }
    }

    /// The same over a good line, to its end.
    pub fn run_for(&mut self, during: Duration) {
        self.run(during, &mut carried, |_| false);
    }

    /// Hands a datagram to one of them.
    pub fn hand(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let is_init = bytes.first() == Some(&INIT);
        if self.neglect == Neglect::Mac
            && bytes.first().is_some_and(|kind| *kind != DATA)
            && let Some(covered) = bytes.len().checked_sub(MAC_LEN)
        {
            bytes.truncate(covered);
            let mac = introduction(&self.people, self.introduced, 1 - to).mac(&bytes);
            bytes.extend(mac);
        }
        if self.neglect == Neglect::Memory && to == 1 && is_init {
            let fresh = endpoint(&self.people.alice, self.rng.random(), self.now);
            let old = std::mem::replace(&mut self.parties[to].endpoint, fresh);
            self.parties[to].exchanged += old.stats().key_exchanges;
            self.introduce(to);
        }
        let (party, is_data) = (&mut self.parties[to], bytes.first() == Some(&DATA));
        if self.neglect == Neglect::Naming && !is_data {
            party.endpoint.add_endpoints(party.session, &UdpEndpoints::new([from]), self.now);
        }
        party.last_source = from;
        party.endpoint.handle_datagram(received(from), &mut bytes, self.now);
    }

    /// One of them says something; whether it was taken.
    pub fn say(&mut self, who: usize, body: &[u8]) -> bool {
        let party = &mut self.parties[who];
        party.endpoint.send(party.session, StreamId::CONVERSATION, 1, body, self.now).is_ok()
    }

    /// One of them is at another address from now on.
    pub fn move_to(&mut self, who: usize, address: SocketAddr) {
        self.parties[who].address = address;
    }

    /// Bytes that went to an address.
    pub fn sent_to(&self, address: SocketAddr) -> u64 {
        let there = self.wire.iter().filter(|(_, _, to, _)| *to == address);
        there.map(|(.., bytes)| bytes.len() as u64).sum()
    }

    /// Whether both are up.
    pub fn are_up(&self) -> bool {
        self.parties.iter().all(|party| party.ups > 0)
    }

    /// Whether nothing is left of any session.
    pub fn is_over(&self) -> bool {
        let idle = |party: &Party| party.endpoint.is_empty() && party.endpoint.poll_timeout().is_none();
        self.parties.iter().all(idle)
    }

    /// X25519 computations of both so far.
    pub fn exchanges(&self) -> u64 {
        self.parties.iter().map(|party| party.endpoint.stats().key_exchanges + party.exchanged).sum()
    }

    fn introduce(&mut self, who: usize) {
        let introduction = introduction(&self.people, self.introduced, who);
        let peer = UdpEndpoints::new([self.parties[1 - who].address]);
        let party = &mut self.parties[who];
        party.session = party.endpoint.introduce(introduction, &peer, self.now);
    }

    fn let_out(&mut self, who: usize, fate: Fate<'_>) {
        self.hear(who);
        let mut out = Vec::new();
        while let Some(transmit) = self.parties[who].endpoint.poll_transmit(self.now, 1, &mut out) {
            let to = if self.neglect == Neglect::Path { self.parties[who].last_source } else { transmit.to };
            let kind = out.first().copied().unwrap_or_default();
            if self.neglect == Neglect::Repeats && kind != DATA && !self.once.insert((to, out.clone())) {
                continue;
            }
            self.wire.push((self.now, who, to, out.clone()));
            let nth = self.counts.entry((who, kind)).or_default();
            let sight = Sight { who, kind, nth: *nth, bytes: &out };
            *nth += 1;
            if to == self.parties[1 - who].address {
                for delay in fate(&sight) {
                    let from = self.parties[who].address;
                    self.flights.insert((self.now + delay, self.ticket), (1 - who, from, out.clone()));
                    self.ticket += 1;
                }
            }
        }
        self.hear(who);
    }

    fn hear(&mut self, who: usize) {
        while let Some((id, event)) = self.parties[who].endpoint.poll_event() {
            let party = &mut self.parties[who];
            match event {
                SessionEvent::Up { .. } => (party.session, party.ups) = (id, party.ups + 1),
                SessionEvent::Body { stream: StreamId::CONVERSATION, bytes, .. } => party.bodies.push(bytes),
                SessionEvent::Ended(reason) => {
                    party.ended.push(reason);
                    if self.neglect == Neglect::GivingUp {
                        self.introduce(who);
                    }
                }
                SessionEvent::Body { .. }
                | SessionEvent::Moved { .. }
                | SessionEvent::Suspect
                | SessionEvent::Recovered
                | SessionEvent::Hint { .. }
                | SessionEvent::Stream(_) => {}
            }
        }
    }
}

/// Bob's half of an introduction, or alice's: the same each time.
fn introduction(people: &People, seed: u64, who: usize) -> Introduction {
    let (bobs, alices) = people.introduce(&mut ChaCha20Rng::seed_from_u64(seed));
    if who == 0 { bobs } else { alices }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_meet_in_three_messages_and_what_they_say_arrives() {
        let mut two = Courier::new(Neglect::Nothing, &mut ChaCha20Rng::seed_from_u64(1));
        assert!(two.run(Duration::from_secs(1), &mut carried, Courier::are_up));
        assert!(two.say(0, b"hello") && two.say(1, b"and back"));
        two.run_for(Duration::from_secs(1));
        let heard = two.parties.each_ref().map(|party| party.bodies.clone());
        assert_eq!(heard, [vec![b"and back".to_vec()], vec![b"hello".to_vec()]]);
        assert_eq!(two.exchanges(), 3 + 2 + 1);
    }
}
