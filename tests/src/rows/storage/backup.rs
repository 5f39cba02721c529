//! G9: homes that go back in time, or are there twice.

use std::collections::{BTreeMap, VecDeque};

use p2pchat_conversation::{Conversations, Effect, Event, Memory, Write};
use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::{PeerId, WallTime};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Seen};

/// Plans of who writes what and when a copy is made and put back.
const PLANS: u64 = 500;
/// Messages in each part of a plan, at most.
const MESSAGES: u32 = 12;
/// Of the part of a plan that counts: what is written after the home went back.
const AFTER: &str = "after";

/// Between the epochs that a home may begin and those of its copy, which are random in the product.
const APART: u64 = 1_000;

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
    /// Whether it begins a new epoch where the other side holds more than it.
    renews: bool,
}

impl Machine {
    fn new(me: u8, peer: u8, renews: bool) -> Self {
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
            renews,
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
                if self.renews {
                    self.conversations.renew(peer, DeviceEpoch(self.next_epoch));
                    self.next_epoch += 1;
                }
            }
            match self.conversations.poll_effect() {
                Some(Effect::Send { kind, body, .. }) => sent.push_back((kind, body)),
                Some(Effect::Commit { batch, writes }) => {
                    self.memory.apply(&writes);
                    self.note(&writes);
                    self.conversations.committed(batch);
                }
                Some(Effect::Load { query, peer }) => {
                    self.conversations.loaded(query, self.memory.rows(peer))?;
                }
                None => break,
            }
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
                    let text = format!("{part} {side} {}", left[side]);
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
        self.rewound += usize::from(author.rewound > 0);
    }
}

/// The row.
pub(super) fn restored(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let renews = defence == Defence::InPlace;
    let mut tally = Tally::default();
    for plan in 0..PLANS {
        let rng = ChaCha20Rng::seed_from_u64(lab.seed ^ (plan << 16));
        let mut two = Two { machines: [Machine::new(1, 2, renews), Machine::new(2, 1, renews)], rng };
        two.talk("before", true)?;
        let copy = two.machines[0].copy();
        two.talk("gone", true)?;
        // Either the copy takes the place of the home, or it runs beside it, and the home comes back later.
        let cloned = two.rng.random_bool(0.5);
        let home = std::mem::replace(&mut two.machines[0], copy);
        // It may crash before the session that settles it; what it wrote until then is beyond this row (ADR 21).
        if two.rng.random_bool(0.5) {
            two.machines[0].conversations.session_up(two.machines[0].peer);
            two.machines[0].settle()?;
            two.machines[0].restart();
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
            two.talk(AFTER, false)?;
            (0..2).try_for_each(|_| two.talk("", false))?;
            tally.add(&two.machines[0], &two.machines[1]);
        }
    }
    let Tally { lost, doubled, rewound } = tally;
    if rewound == 0 {
        return Err(NotRun("no home that went back was found out".to_owned()));
    }
    let what =
        format!("{lost} messages written after going back lost, {doubled} shown twice, nobody a forger");
    let figure = format!("{rewound} homes found to have gone back in {PLANS} plans");
    Ok(Seen::when(lost == 0 && doubled == 0, what).figure(figure))
}
