//! G9: homes that go back in time, or are there twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use p2pchat_conversation::{Conversations, Effect, Event, Memory, Outgoing, Write};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, WallTime};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};

/// Plans of who writes what and when a copy is made and put back.
const PLANS: u64 = 500;
/// Messages in each part of a plan, at most.
const MESSAGES: u32 = 12;
/// Starts of a home that went back before it meets anybody, at most.
const STARTS: u32 = 3;
/// Of the part of a plan that counts: what is written after the home went back.
const AFTER: &str = "after";

/// Between the epochs that a home may begin and those of its copy, which are random in the product.
const APART: u64 = 1_000;

const HEARD: Promise = "what is written after going back is delivered";
const FOUND_OUT: Promise = "and so is what was written before a restart and the first meeting";
const ONCE: Promise = "nothing is shown twice";

/// A client that does without one of the defences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Careless {
    /// Begins no new epoch where the other side holds more than it.
    Epoch,
    /// Takes all that it has for handed over when it starts.
    Mark,
}

/// One machine: what it has in memory, and its store.
struct Machine {
    me: PeerId,
    peer: PeerId,
    conversations: Conversations,
    memory: Memory,
    /// Texts that its user was told are kept.
    written: Vec<String>,
    arrived: Vec<(MessageId, String)>,
    next_epoch: u64,
    /// How often it was found to have gone back.
    rewound: usize,
    careless: Option<Careless>,
}

impl Machine {
    fn new(me: u8, peer: u8, careless: Option<Careless>) -> Self {
        let (me, peer) = (PeerId([me; 32]), PeerId([peer; 32]));
        let conversations = Conversations::new(me, DeviceEpoch(1));
        Self {
            me,
            peer,
            conversations,
            memory: Memory::new(),
            written: Vec::new(),
            arrived: Vec::new(),
            next_epoch: 2,
            rewound: 0,
            careless,
        }
    }

    /// What a copy of its home becomes, once it is started.
    fn copy(&self) -> Self {
        let conversations = Conversations::resume(self.me, DeviceEpoch(1), self.memory.heads());
        Self {
            conversations,
            memory: self.memory.clone(),
            written: self.written.clone(),
            arrived: self.arrived.clone(),
            next_epoch: self.next_epoch + APART,
            ..*self
        }
    }

    /// Started again on what its store holds. The machine and so the epoch is the same.
    fn restart(&mut self) {
        self.conversations = Conversations::resume(self.me, DeviceEpoch(1), self.memory.heads());
    }

    /// What it sends, once everything is done that it asks for.
    fn settle(&mut self) -> Result<VecDeque<(u8, Vec<u8>)>, NotRun> {
        let mut sent = VecDeque::new();
        loop {
            while let Some(peer) = self.conversations.poll_rewound() {
                self.rewound += 1;
                if self.careless != Some(Careless::Epoch) {
                    self.conversations.renew(peer, DeviceEpoch(self.next_epoch));
                    self.next_epoch += 1;
                }
            }
            match self.conversations.poll_effect() {
                Some(Effect::Commit { batch, writes }) => {
                    self.memory.apply(&writes);
                    self.note(&writes);
                    self.conversations.committed(batch);
                }
                Some(Effect::Load { query, peer }) => {
                    let mut rows = self.memory.rows(peer);
                    if self.careless == Some(Careless::Mark) {
                        rows.handed = self.memory.heads().get(&peer).map_or(0, |numbering| numbering.next);
                    }
                    self.conversations.loaded(query, rows)?;
                }
                None => break,
            }
        }
        while let Some(Outgoing { kind, body, .. }) = self.conversations.poll_send() {
            sent.push_back((kind, body.to_vec()));
        }
        while let Some(event) = self.conversations.poll_event() {
            if let Event::Message { message, mine: false, .. } = event {
                self.conversations.shown(message);
            }
        }
        Ok(sent)
    }

    fn note(&mut self, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Composed { text, .. } => self.written.push(text.to_string()),
                Write::Arrived { message, text, .. } => self.arrived.push((*message, text.to_string())),
                Write::Delivered { .. }
                | Write::GivenUp { .. }
                | Write::Handed { .. }
                | Write::Renewed { .. }
                | Write::Held { .. }
                | Write::Forgotten { .. }
                | Write::Succeeded { .. } => {}
            }
        }
    }

    fn said_after(&self) -> Vec<&String> {
        self.written.iter().filter(|text| text.starts_with(AFTER)).collect()
    }

    fn heard_after(&self) -> Vec<&String> {
        self.arrived.iter().map(|(_, text)| text).filter(|text| text.starts_with(AFTER)).collect()
    }
}

/// Two machines with a session that may break between any two bodies.
struct Two {
    machines: [Machine; 2],
    rng: ChaCha20Rng,
    /// Messages so far: each has another text.
    messages: u64,
}

impl Two {
    /// What they write in one session, each in its own order, until nothing is left to say or it breaks.
    fn talk(&mut self, part: &str, breaks: bool) -> Result<(), NotRun> {
        let mut lines = [VecDeque::new(), VecDeque::new()];
        for machine in &mut self.machines {
            machine.conversations.session_up(machine.peer);
        }
        let mut left = [(); 2].map(|()| self.rng.random_range(0..MESSAGES));
        loop {
            for side in 0..2 {
                let machine = &mut self.machines[side];
                if left[side] > 0 && self.rng.random_bool(0.5) {
                    left[side] -= 1;
                    self.messages += 1;
                    let text = format!("{part} {side} {}", self.messages);
                    machine.conversations.compose(machine.peer, text, WallTime(1))?;
                }
                lines[side].extend(machine.settle()?);
            }
            if breaks && self.rng.random_bool(0.02) {
                break;
            }
            let from = usize::from(self.rng.random_bool(0.5));
            match lines[from].pop_front() {
                Some((kind, body)) => self.take(1 - from, kind, &body)?,
                None if left == [0, 0] && lines.iter().all(VecDeque::is_empty) => break,
                None => {}
            }
        }
        for machine in &mut self.machines {
            machine.conversations.session_down(machine.peer);
            machine.settle()?;
            if breaks && self.rng.random_bool(0.25) {
                machine.restart();
            }
        }
        Ok(())
    }

    /// The first one went back, and does not meet the other one: it writes, with a session of which nothing comes or
    /// with none, and is started again, some times.
    fn crash_before_meeting(&mut self) -> Result<(), NotRun> {
        for _ in 0..self.rng.random_range(0..=STARTS) {
            let machine = &mut self.machines[0];
            if self.rng.random_bool(0.5) {
                machine.conversations.session_up(machine.peer);
                machine.settle()?;
            }
            for _ in 0..self.rng.random_range(0..MESSAGES) {
                self.messages += 1;
                let text = format!("{AFTER} 0 {}", self.messages);
                machine.conversations.compose(machine.peer, text, WallTime(1))?;
            }
            machine.settle()?;
            machine.restart();
        }
        Ok(())
    }

    /// An error is what ends a session as that of a forger.
    fn take(&mut self, to: usize, kind: u8, body: &[u8]) -> Result<(), NotRun> {
        let machine = &mut self.machines[to];
        let taken = machine.conversations.handle_body(machine.peer, kind, body, WallTime(2));
        taken.map_err(|error| NotRun(format!("a body was taken for a forger's: {error}")))
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
struct Tally {
    lost: usize,
    doubled: usize,
    rewound: usize,
}

impl Tally {
    fn add(&mut self, author: &Machine, reader: &Machine) {
        let (said, heard) = (author.said_after(), reader.heard_after());
        self.lost += said.iter().filter(|text| !heard.contains(text)).count();
        let mut ids: BTreeMap<MessageId, usize> = BTreeMap::new();
        reader.arrived.iter().for_each(|(id, _)| *ids.entry(*id).or_default() += 1);
        self.doubled += ids.values().filter(|count| **count > 1).count();
        self.doubled += heard.len() - heard.iter().collect::<BTreeSet<_>>().len();
        self.rewound += usize::from(author.rewound > 0);
    }
}

/// The row.
pub(super) fn restored(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let doubles = [(Careless::Epoch, HEARD), (Careless::Mark, FOUND_OUT)];
    let seed = lab.seed;
    let mut found = 0;
    let seen = each(defence, &doubles, |careless| {
        // One after the other, so that it is known which of the two is missed.
        let at_once = plans(seed, careless, false)?;
        let restarted = plans(seed ^ 1, careless, true)?;
        found = at_once.rewound + restarted.rewound;
        if found == 0 {
            return Err(NotRun("no home that went back was found out".to_owned()));
        }
        let broken = [
            (at_once.lost > 0, HEARD),
            (restarted.lost > 0, FOUND_OUT),
            (at_once.doubled + restarted.doubled > 0, ONCE),
        ];
        Ok(broken.into_iter().filter(|(broken, _)| *broken).map(|(_, promise)| promise).collect())
    })?;
    Ok(seen.figure(format!("{found} homes found to have gone back in {} plans", 2 * PLANS)))
}

/// What becomes of all plans, in half of which a home that went back is started again before it meets anybody.
fn plans(seed: u64, careless: Option<Careless>, crashes: bool) -> Result<Tally, NotRun> {
    let mut tally = Tally::default();
    for plan in 0..PLANS {
        let rng = ChaCha20Rng::seed_from_u64(seed ^ (plan << 16));
        let machines = [Machine::new(1, 2, careless), Machine::new(2, 1, careless)];
        let mut two = Two { machines, rng, messages: 0 };
        two.talk("before", true)?;
        let copy = two.machines[0].copy();
        two.talk("gone", true)?;
        // Either the copy takes the place of the home, or it runs beside it, and the home comes back later.
        let cloned = two.rng.random_bool(0.5);
        let home = std::mem::replace(&mut two.machines[0], copy);
        if crashes {
            two.crash_before_meeting()?;
        }
        two.talk(AFTER, true)?;
        // What one session finds out, the next one has behind it.
        (0..2).try_for_each(|_| two.talk("", false))?;
        tally.add(&two.machines[0], &two.machines[1]);
        tally.add(&two.machines[1], &two.machines[0]);
        if cloned {
            two.machines[0] = home;
            two.machines[0].restart();
            two.machines[1].written.clear();
            two.machines[1].arrived.clear();
            if crashes {
                two.crash_before_meeting()?;
            }
            two.talk(AFTER, false)?;
            (0..2).try_for_each(|_| two.talk("", false))?;
            tally.add(&two.machines[0], &two.machines[1]);
        }
    }
    Ok(tally)
}
