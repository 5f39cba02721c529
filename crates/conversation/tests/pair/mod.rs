//! Two sides with their stores, and what a session carries between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use p2pchat_conversation::{
    BatchId, Conversations, Delivery, Effect, Event, Memory, Outgoing, QueryId, Rows, Write,
};
use p2pchat_proto::codec::decode;
use p2pchat_proto::conversation::{DeviceEpoch, MessageId, Sync, Text};
use p2pchat_proto::{PeerId, WallTime};

pub(crate) const NOW: WallTime = WallTime(1_000);

/// One side: its conversations, its store, and what its user saw.
pub(crate) struct Node {
    pub(crate) me: PeerId,
    pub(crate) peer: PeerId,
    pub(crate) epoch: DeviceEpoch,
    pub(crate) conversations: Conversations,
    pub(crate) memory: Memory,
    /// Batches that the store has not made durable.
    pub(crate) commits: VecDeque<(BatchId, Vec<Write>)>,
    /// Answers that the store has not given.
    pub(crate) loads: VecDeque<(QueryId, Rows)>,
    /// Bodies on their way to the other side.
    pub(crate) sent: VecDeque<(u8, Vec<u8>)>,
    /// Texts that became durable here, by their authors.
    pub(crate) written: Vec<String>,
    pub(crate) arrived: Vec<(MessageId, String)>,
    /// One's own messages that the store calls failed.
    pub(crate) given_up: BTreeSet<MessageId>,
    /// Those that a session was given, with their text.
    pub(crate) sent_once: BTreeSet<MessageId>,
    /// Events of somebody's messages, not yet marked as shown.
    pub(crate) unseen: VecDeque<MessageId>,
    pub(crate) shown: Vec<MessageId>,
    pub(crate) receipts: BTreeMap<MessageId, Vec<Delivery>>,
    pub(crate) up: bool,
    /// Epochs that were begun because the other side held more.
    /// Messages of its own that it was told are called otherwise, and how.
    pub(crate) renamed: Vec<(MessageId, MessageId)>,
    pub(crate) renewals: u64,
}

/// What a backup has of a node.
#[derive(Clone)]
pub(crate) struct Backup {
    pub(crate) memory: Memory,
    pub(crate) written: Vec<String>,
    pub(crate) arrived: Vec<(MessageId, String)>,
}

impl Node {
    pub(crate) fn new(me: u8, peer: u8) -> Self {
        let (me, peer, epoch) = (PeerId([me; 32]), PeerId([peer; 32]), DeviceEpoch(u64::from(me)));
        Self {
            me,
            peer,
            epoch,
            conversations: Conversations::new(me, epoch),
            memory: Memory::new(),
            commits: VecDeque::new(),
            loads: VecDeque::new(),
            sent: VecDeque::new(),
            written: Vec::new(),
            arrived: Vec::new(),
            given_up: BTreeSet::new(),
            sent_once: BTreeSet::new(),
            unseen: VecDeque::new(),
            shown: Vec::new(),
            receipts: BTreeMap::new(),
            up: false,
            renamed: Vec::new(),
            renewals: 0,
        }
    }

    pub(crate) fn back_up(&self) -> Backup {
        let Self { memory, written, arrived, .. } = self;
        Backup { memory: memory.clone(), written: written.clone(), arrived: arrived.clone() }
    }

    pub(crate) fn go_back_to(&mut self, backup: Backup) {
        Backup { memory: self.memory, written: self.written, arrived: self.arrived } = backup;
        self.crash();
    }

    pub(crate) fn compose(&mut self, text: &str) -> MessageId {
        let message = self.conversations.compose(self.peer, text.to_owned(), NOW).unwrap();
        self.drain();
        message
    }

    pub(crate) fn session_up(&mut self) {
        self.up = true;
        self.conversations.session_up(self.peer);
        self.drain();
    }

    pub(crate) fn session_down(&mut self) {
        self.up = false;
        self.conversations.session_down(self.peer);
        self.drain();
    }

    pub(crate) fn receive(&mut self, kind: u8, body: &[u8]) {
        self.conversations.handle_body(self.peer, kind, body, NOW).unwrap();
        self.drain();
    }

    pub(crate) fn answer(&mut self) -> bool {
        let Some((query, rows)) = self.loads.pop_front() else { return false };
        self.conversations.loaded(query, rows).unwrap();
        self.drain();
        true
    }

    /// Makes the oldest `count` batches durable at once, as a store does that folds them.
    pub(crate) fn commit(&mut self, count: usize) -> bool {
        let mut last = None;
        for (batch, writes) in self.commits.drain(..count.min(self.commits.len())) {
            self.memory.apply(&writes);
            for write in writes {
                match write {
                    Write::Composed { text, .. } => self.written.push(text.to_string()),
                    Write::Arrived { message, text, .. } => self.arrived.push((message, text.to_string())),
                    Write::GivenUp { to, epoch, seqs } => {
                        let author = self.me;
                        self.given_up.extend(seqs.map(|seq| MessageId { author, to, epoch, seq }));
                    }
                    Write::Delivered { .. }
                    | Write::Handed { .. }
                    | Write::Held { .. }
                    | Write::Forgotten { .. }
                    | Write::Succeeded { .. }
                    | Write::Renewed { .. } => {}
                }
            }
            last = Some(batch);
        }
        let Some(last) = last else { return false };
        self.conversations.committed(last);
        self.drain();
        true
    }

    pub(crate) fn show(&mut self) -> bool {
        let Some(message) = self.unseen.pop_front() else { return false };
        self.shown.push(message);
        self.conversations.shown(message);
        self.drain();
        true
    }

    /// Everything that is not in the store is gone; the front end shows the history again.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.conversations = Conversations::resume(self.me, self.epoch, self.memory.heads());
        self.commits.clear();
        self.loads.clear();
        self.sent.clear();
        self.receipts.clear();
        self.unseen = self.arrived.last().map(|(message, _)| *message).into_iter().collect();
        self.shown = self.arrived.iter().rev().skip(1).rev().map(|(message, _)| *message).collect();
    }

    /// Notes what leaves, and sees that the store knew of it before.
    pub(crate) fn note_sent(&mut self, kind: u8, body: &[u8]) {
        let marked = self.memory.rows(self.peer).handed;
        if kind == Sync::KIND {
            let sync: Sync = decode(body).unwrap();
            assert!(sync.next <= marked, "{} in a sync where {marked} may have left", sync.next);
        } else if kind == Text::KIND {
            let text: Text = decode(body).unwrap();
            assert!(text.seq < marked, "{} leaves where {marked} may have", text.seq);
            let (author, to) = (self.me, self.peer);
            let message = MessageId { author, to, epoch: text.epoch, seq: text.seq };
            self.sent_once.extend(Some(message).filter(|_| !text.text.is_empty()));
        }
    }

    pub(crate) fn drain(&mut self) {
        while let Some(peer) = self.conversations.poll_rewound() {
            self.renewals += 1;
            self.conversations.renew(peer, DeviceEpoch(self.epoch.0 + 100 * self.renewals));
        }
        while let Some(effect) = self.conversations.poll_effect() {
            match effect {
                Effect::Commit { batch, writes } => self.commits.push_back((batch, writes)),
                Effect::Load { query, peer } => self.loads.push_back((query, self.memory.rows(peer))),
            }
        }
        while let Some(Outgoing { to, kind, body }) = self.conversations.poll_send() {
            assert_eq!(to, self.peer);
            assert!(self.up, "a body for a session that is gone");
            let body = body.to_vec();
            self.note_sent(kind, &body);
            self.sent.push_back((kind, body));
        }
        while let Some(event) = self.conversations.poll_event() {
            match event {
                Event::Message { message, mine: false, .. } => self.unseen.push_back(message),
                Event::Message { message, was, .. } => self.renamed.extend(was.map(|was| (*was, message))),
                Event::Receipt { message, was, state, .. } => {
                    self.renamed.extend(was.map(|was| (*was, message)));
                    self.receipts.entry(message).or_default().push(state)
                }
            }
        }
    }
}

/// Two nodes, and the bodies between them.
pub(crate) struct Pair {
    pub(crate) nodes: [Node; 2],
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self { nodes: [Node::new(1, 2), Node::new(2, 1)] }
    }

    pub(crate) fn connect(&mut self) {
        for node in &mut self.nodes {
            node.sent.clear();
        }
        for node in &mut self.nodes {
            node.session_up();
        }
    }

    /// The session breaks; `side` notices, the other one goes on talking to nobody.
    pub(crate) fn break_at(&mut self, side: usize) {
        self.nodes[side].session_down();
        for node in &mut self.nodes {
            node.sent.clear();
        }
    }

    /// Carries one body from `side` to the other, if both think there is a session.
    pub(crate) fn carry(&mut self, side: usize) -> bool {
        let Some((kind, body)) = self.nodes[side].sent.pop_front() else { return false };
        if self.nodes[0].up && self.nodes[1].up {
            self.nodes[1 - side].receive(kind, &body);
        }
        true
    }

    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                moved |= self.nodes[side].answer();
                moved |= self.carry(side);
                moved |= self.nodes[side].commit(1);
                moved |= self.nodes[side].show();
            }
            if !moved {
                return;
            }
        }
    }

    pub(crate) fn check_everything_arrived_once_in_order_and_was_read(&self) {
        for side in [0, 1] {
            let (author, reader) = (&self.nodes[side], &self.nodes[1 - side]);
            let arrived: Vec<_> = reader.arrived.iter().map(|(_, text)| text).collect();
            assert_eq!(arrived, author.written.iter().collect::<Vec<_>>());
            assert!(reader.arrived.iter().enumerate().all(|(n, (message, _))| message.seq == n as u64));
            let ids: Vec<_> = reader.arrived.iter().map(|(message, _)| *message).collect();
            assert_eq!(reader.shown, ids, "shown once each, in order");
            assert_eq!(author.conversations.undelivered(reader.me), 0);
            let rows = author.memory.rows(reader.me);
            assert_eq!((rows.outbox.len(), rows.read), (0, author.written.len() as u64));
        }
    }

    pub(crate) fn check_what_was_not_given_up_arrived_once_in_order(&self) {
        for side in [0, 1] {
            let (author, reader) = (&self.nodes[side], &self.nodes[1 - side]);
            let (me, to, epoch) = (author.me, author.peer, author.epoch);
            let id = |seq: usize| MessageId { author: me, to, epoch, seq: seq as u64 };
            let written = author.written.iter().enumerate().map(|(seq, text)| (id(seq), text.clone()));
            let came: BTreeSet<_> = reader.arrived.iter().map(|(message, _)| *message).collect();
            // What had left in a session that broke may have come before it was given up.
            let expected = written.filter(|(message, _)| {
                let may_have_come = author.sent_once.contains(message) && came.contains(message);
                !author.given_up.contains(message) || may_have_come
            });
            assert_eq!(reader.arrived, expected.collect::<Vec<_>>());
            assert_eq!(author.conversations.undelivered(reader.me), 0);
            assert_eq!(author.memory.rows(reader.me).outbox.len(), 0);
            assert_eq!(author.conversations.oldest_waiting(), None);
        }
    }
}
