//! The conversation with one peer.

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use p2pchat_proto::codec::decode;
use p2pchat_proto::conversation::{DeviceEpoch, Held, MessageId, Receipt, ReceiptState, Sync, Text};
use p2pchat_proto::{PeerId, WallTime};

use crate::effect::{
    BatchId, BodyError, ComposeError, Delivery, Event, LoadError, Marks, Numbering, Rows, Write,
};
use crate::inbox::{Inbox, Opened, Verdict};
use crate::outbox::{Outbox, Progress};
use crate::outputs::Outputs;

/// Both directions of one direct conversation, and the session that carries it.
#[derive(Debug)]
pub(crate) struct Conversation {
    me: PeerId,
    /// The epoch of one's own numbers.
    epoch: DeviceEpoch,
    peer: PeerId,
    /// Until the store has answered.
    loading: bool,
    /// Set from when the peer was found to hold what this side does not know of until the numbers of
    /// another epoch are durable.
    rewound: Option<Rewound>,
    /// What was shown before that, the highest message of each epoch: a front end may show a history
    /// before it needs the conversation.
    shown_early: BTreeMap<DeviceEpoch, u64>,
    outbox: Outbox,
    /// Of one's own messages, everything before is not to be delivered in a session to come.
    given_up: u64,
    inbox: Inbox,
    session: Option<Session>,
    /// Sessions so far.
    sessions: u64,
}

#[derive(Debug)]
enum Session {
    /// Nothing is said here, as the store has not answered or has to keep something first.
    Loading {
        /// What the peer said meanwhile.
        theirs: Option<Sync>,
    },
    /// Said here what is held of the peer's messages; waits for the peer's word.
    Stated {
        /// What was said.
        stated: Vec<Held>,
        /// Whether the peer has said numbers that are behind what is held of them, and so will find that
        /// out and say other ones.
        behind: bool,
    },
    /// Both sides have said it.
    Synced {
        /// The epoch in which the peer writes.
        theirs: DeviceEpoch,
        /// The marks of it that the peer knows.
        told: Marks,
    },
}

/// The peer holds messages of the epoch that this side does not know of: it went back to an older state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewound {
    /// Another epoch is needed.
    Found,
    /// There is one, durable with this batch.
    Renewed(BatchId),
}

impl Conversation {
    /// A conversation of which only one's own next number is known until the store has answered.
    pub(crate) fn new(me: PeerId, peer: PeerId, Numbering { epoch, next }: Numbering) -> Self {
        Self {
            me,
            epoch,
            peer,
            loading: true,
            rewound: None,
            shown_early: BTreeMap::new(),
            outbox: Outbox::new(next),
            given_up: 0,
            inbox: Inbox::default(),
            session: None,
            sessions: 0,
        }
    }

    /// What the next message is called by.
    pub(crate) fn numbering(&self) -> Numbering {
        Numbering { epoch: self.epoch, next: self.outbox.next() }
    }

    /// Whether the store has answered what was asked of it.
    pub(crate) const fn is_loaded(&self) -> bool {
        !self.loading
    }

    /// Messages that the peer does not store.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    pub(crate) fn compose(
        &mut self,
        text: String,
        sent_at: WallTime,
        out: &mut Outputs,
    ) -> Result<MessageId, ComposeError> {
        self.outbox.check_room(text.len())?;
        let text: Arc<str> = text.into();
        let message = self.mine(self.outbox.next());
        let write = Write::Composed { to: self.peer, message, text: Arc::clone(&text), sent_at };
        let batch = out.write(self.peer, write);
        self.outbox.push(text, sent_at, self.session.as_ref().map(|_| self.sessions), batch);
        if let Some(Session::Synced { .. }) = self.session {
            self.mark(self.outbox.next(), out);
        }
        Ok(message)
    }

    pub(crate) fn session_up(&mut self, out: &mut Outputs) {
        self.session_down(out);
        self.sessions += 1;
        self.session = Some(Session::Loading { theirs: None });
        if !self.is_waiting() {
            self.state(out);
        }
    }

    /// Whether the store has to do something before anything is said: what came and is not durable cannot be
    /// stated, and the peer has to hear of it before it numbers anything. That numbers were given up has to be known
    /// as well, as the peer counts them as held from then on.
    fn is_waiting(&self) -> bool {
        let unmarked = self.outbox.first() > self.outbox.marked();
        self.loading || self.rewound.is_some() || !self.inbox.is_durable() || unmarked
    }

    /// Nothing leaves before the store knows that it may have. So whatever the peer holds beyond that mark was sent
    /// by a later state of the store than the one at hand, and what lies before it is the same in both. It is moved
    /// only where both sides have said that they agree, or over what is given up.
    fn mark(&mut self, upto: u64, out: &mut Outputs) {
        if upto > self.outbox.will_be_marked() {
            let (to, epoch) = (self.peer, self.epoch);
            let batch = out.write(to, Write::Handed { to, epoch, upto });
            self.outbox.mark(upto, batch);
        }
    }

    /// From now on messages have numbers of `epoch`, also those that wait.
    pub(crate) fn renew(&mut self, epoch: DeviceEpoch, out: &mut Outputs) {
        self.give_up(out);
        for seqs in self.outbox.withdrawn(None) {
            self.fail(seqs, out);
        }
        self.given_up = 0;
        let before = self.mine(0);
        self.epoch = epoch;
        let renumbered = self.outbox.renumber(before);
        for (seq, was) in (0..).zip(renumbered) {
            let (message, state) = (self.mine(seq), Delivery::Queued);
            out.event(Event::Receipt { peer: self.peer, message, was: Some(Box::new(was)), state });
        }
        self.rewound = Some(Rewound::Renewed(out.write(self.peer, Write::Renewed { to: self.peer, epoch })));
    }

    pub(crate) fn session_down(&mut self, out: &mut Outputs) {
        self.session = None;
        self.outbox.stop();
        out.drop_sends(self.peer);
        self.give_up(out);
    }

    /// Nothing of what waits now is to be delivered any more. Of how many that cannot be said, as a session
    /// carries them already: they are given up when it ends.
    pub(crate) fn forget(&mut self, out: &mut Outputs) -> usize {
        self.given_up = self.outbox.committed();
        let waiting = self.outbox.held_back(WallTime(u64::MAX));
        for seqs in waiting {
            self.outbox.withdraw(seqs.clone(), None);
            self.fail(seqs, out);
        }
        self.give_up(out);
        self.outbox.under_way()
    }

    /// Gives up what was written at `before` or earlier and no session carries.
    pub(crate) fn expire(&mut self, before: WallTime, out: &mut Outputs) {
        if self.loading {
            return;
        }
        for seqs in self.outbox.held_back(before) {
            let (to, epoch) = (self.peer, self.epoch);
            let batch = out.write(to, Write::GivenUp { to, epoch, seqs: seqs.clone() });
            // Nothing before them waits that no session carries.
            self.mark(seqs.end, out);
            self.outbox.withdraw(seqs, Some(batch));
        }
    }

    /// When the first message was written that no session carries.
    pub(crate) fn oldest_waiting(&self) -> Option<WallTime> {
        self.outbox.oldest_held_back().filter(|_| !self.loading)
    }

    /// Lets go of what is given up. Where numbers were named in a session that goes on, they stay.
    fn give_up(&mut self, out: &mut Outputs) {
        let named = matches!(self.session, Some(Session::Stated { .. } | Session::Synced { .. }));
        if !self.loading && !named {
            for gone in self.outbox.give_up(self.given_up) {
                self.fail(gone, out);
            }
            self.mark(self.outbox.first(), out);
        }
    }

    fn fail(&self, seqs: Range<u64>, out: &mut Outputs) {
        seqs.for_each(|seq| self.receipt(seq, Delivery::Failed, out));
    }

    pub(crate) fn loaded(&mut self, rows: Rows, out: &mut Outputs) -> Result<(), LoadError> {
        self.inbox.restore(&rows.held);
        self.outbox.restore(rows.outbox, rows.read, rows.handed)?;
        self.loading = false;
        self.give_up(out);
        for (epoch, seq) in core::mem::take(&mut self.shown_early) {
            self.shown(epoch, seq, out);
        }
        if self.is_waiting() {
            return Ok(());
        }
        self.go_on(out).map_err(|error| LoadError::Peer(self.peer, error))
    }

    /// The store has done what was waited for: says what is to be said, and takes what was heard meanwhile.
    fn go_on(&mut self, out: &mut Outputs) -> Result<(), BodyError> {
        let Some(Session::Loading { theirs }) = &mut self.session else { return Ok(()) };
        let theirs = theirs.take();
        self.state(out);
        match theirs {
            Some(sync) => self.synced(sync, out),
            None => Ok(()),
        }
    }

    pub(crate) fn handle_body(
        &mut self,
        kind: u8,
        body: &[u8],
        now: WallTime,
        out: &mut Outputs,
    ) -> Result<(), BodyError> {
        match kind {
            Text::KIND => self.handle_text(decode(body).map_err(BodyError::Malformed)?, now, out),
            Receipt::KIND => self.handle_receipt(decode(body).map_err(BodyError::Malformed)?, out),
            Sync::KIND => self.handle_sync(decode(body).map_err(BodyError::Malformed)?, out),
            // A later version's; this one said in its offer what it understands (protocol section 8).
            _ => Ok(()),
        }
    }

    /// Messages of the peer's epoch up to this one were shown.
    pub(crate) fn shown(&mut self, epoch: DeviceEpoch, seq: u64, out: &mut Outputs) {
        if self.loading {
            let early = self.shown_early.entry(epoch).or_default();
            *early = seq.max(*early);
            return;
        }
        let upto = seq.saturating_add(1);
        if let Some(marks) = self.inbox.show(epoch, upto, out.open_batch()) {
            out.write(self.peer, Write::Held { peer: self.peer, epoch, marks });
        }
    }

    /// All batches up to this one are durable.
    pub(crate) fn committed(&mut self, batch: BatchId, out: &mut Outputs) {
        self.outbox.commit_marks(batch);
        // One without a character only holds the number of a message that its author gave up.
        let (me, peer) = (self.me, self.peer);
        self.inbox.commit(batch, |text| {
            let Text { epoch, seq, sent_at, late, text } = text;
            let (message, was) = (MessageId { author: peer, to: me, epoch, seq }, None);
            if !text.is_empty() {
                out.event(Event::Message { peer, message, was, text, sent_at, mine: false, late });
            }
        });
        if let Some(Rewound::Renewed(of)) = self.rewound
            && of <= batch
        {
            self.rewound = None;
        }
        if !self.is_waiting() && self.go_on(out).is_err() {
            // Whatever the peer says next ends the session.
            self.session_down(out);
        }
        self.tell(out);
        for seqs in self.outbox.withdrawn(Some(batch)) {
            self.fail(seqs, out);
        }
        self.give_up(out);
        let durable = self.outbox.commit(batch);
        for seq in durable.clone() {
            self.show_mine(seq, out);
        }
        self.hand_over(out);
        self.receipts(durable.start.max(self.outbox.handed())..durable.end, Delivery::Queued, out);
    }

    /// Says what is held of the peer's messages.
    fn state(&mut self, out: &mut Outputs) {
        let sync = Sync {
            held: self.inbox.held(out.silent),
            epoch: self.epoch,
            first: self.outbox.first(),
            next: self.outbox.handed(),
        };
        out.send(self.peer, Sync::KIND, &sync);
        self.session = Some(Session::Stated { stated: sync.held, behind: false });
    }

    fn handle_sync(&mut self, sync: Sync, out: &mut Outputs) -> Result<(), BodyError> {
        match &mut self.session {
            None => Err(BodyError::BeforeSync),
            // Where both sides went back, each says its numbers twice.
            Some(Session::Loading { theirs }) if theirs.is_none() || self.rewound.is_some() => {
                *theirs = Some(sync);
                Ok(())
            }
            Some(Session::Stated { .. }) => self.synced(sync, out),
            Some(Session::Loading { .. } | Session::Synced { .. }) => Err(BodyError::SecondSync),
        }
    }

    /// The peer has said what it holds, and where its own numbers stand.
    fn synced(&mut self, sync: Sync, out: &mut Outputs) -> Result<(), BodyError> {
        let ours = sync.held.iter().find(|held| held.epoch == self.epoch);
        let (marks, beyond) = ours.map_or_else(Default::default, |held| {
            (Marks { stored: held.contiguous, read: held.read }, held.beyond.clone())
        });
        let last = beyond.last().map_or(0, |range| range.end).max(marks.stored);
        if !self.outbox.has_sent(last) {
            self.rewound = Some(Rewound::Found);
            out.rewound(self.peer);
            self.session = Some(Session::Loading { theirs: Some(sync) });
            return Ok(());
        }
        let progress = self.outbox.acknowledge(marks)?;
        self.progressed(progress, out);
        let opened = self.inbox.open(sync.epoch, sync.first, sync.next, out.open_batch());
        if let Err(BodyError::Rewound { .. }) = opened
            && let Some(Session::Stated { behind, .. }) = &mut self.session
            && !core::mem::replace(behind, true)
        {
            // It is told so by what was stated, and says its numbers in another epoch then.
            return Ok(());
        }
        let Opened { marks, forgotten } = opened?;
        if let Some(epoch) = forgotten {
            out.write(self.peer, Write::Forgotten { peer: self.peer, epoch });
        }
        if let Some(marks) = marks {
            out.write(self.peer, Write::Held { peer: self.peer, epoch: sync.epoch, marks });
        }
        let Some(Session::Stated { stated, .. }) = &self.session else { return Err(BodyError::BeforeSync) };
        let told = stated.iter().find(|held| held.epoch == sync.epoch);
        let told = told.map_or_else(Marks::default, |h| Marks { stored: h.contiguous, read: h.read });
        let told = Marks { stored: told.stored.max(sync.first), ..told };
        self.session = Some(Session::Synced { theirs: sync.epoch, told });
        self.tell(out);
        self.mark(self.outbox.next(), out);
        self.outbox.start(beyond);
        self.hand_over(out);
        Ok(())
    }

    fn handle_text(&mut self, text: Text, now: WallTime, out: &mut Outputs) -> Result<(), BodyError> {
        let Some(Session::Synced { theirs, .. }) = self.session else { return Err(BodyError::BeforeSync) };
        if text.epoch != theirs {
            return Err(BodyError::ForeignEpoch);
        }
        let message = MessageId { author: self.peer, to: self.me, epoch: text.epoch, seq: text.seq };
        let (sent_at, late, content) = (text.sent_at, text.late, Arc::clone(&text.text));
        match self.inbox.take(text, out.open_batch())? {
            Verdict::Duplicate => {}
            Verdict::Next(marks) => {
                if !content.is_empty() {
                    let arrived = Write::Arrived { message, text: content, sent_at, arrived_at: now, late };
                    out.write(self.peer, arrived);
                }
                out.write(self.peer, Write::Held { peer: self.peer, epoch: message.epoch, marks });
            }
        }
        Ok(())
    }

    fn handle_receipt(&mut self, receipt: Receipt, out: &mut Outputs) -> Result<(), BodyError> {
        let Some(Session::Synced { .. }) = self.session else { return Err(BodyError::BeforeSync) };
        if receipt.epoch != self.epoch {
            return Err(BodyError::ForeignEpoch);
        }
        let marks = match receipt.state {
            ReceiptState::Stored => Marks { stored: receipt.upto, read: 0 },
            ReceiptState::Read => Marks { stored: 0, read: receipt.upto },
        };
        let progress = self.outbox.acknowledge(marks)?;
        self.progressed(progress, out);
        self.hand_over(out);
        Ok(())
    }

    /// Tells the user and the store how far one's own messages got.
    fn progressed(&mut self, progress: Progress, out: &mut Outputs) {
        if progress.stored.is_empty() && progress.read.is_empty() {
            return;
        }
        let marks = self.outbox.marks();
        out.write(self.peer, Write::Delivered { to: self.peer, epoch: self.epoch, marks });
        self.receipts(progress.stored, Delivery::Stored, out);
        self.receipts(progress.read, Delivery::Read, out);
        self.outbox.forget_read();
    }

    /// Sends the receipts that the peer lacks.
    fn tell(&mut self, out: &mut Outputs) {
        let Some(Session::Synced { theirs, told }) = &mut self.session else { return };
        let held = self.inbox.marks(*theirs);
        let epoch = *theirs;
        for (state, upto, told) in [
            (ReceiptState::Stored, held.stored, &mut told.stored),
            (ReceiptState::Read, held.read, &mut told.read),
        ] {
            if upto > *told && !(out.silent && state == ReceiptState::Read) {
                *told = upto;
                out.send(self.peer, Receipt::KIND, &Receipt { state, epoch, upto });
            }
        }
    }

    /// Hands to the session what it has room for.
    fn hand_over(&mut self, out: &mut Outputs) {
        while let Some((seq, first_time)) = self.outbox.hand_over() {
            let Some(entry) = self.outbox.entry(seq) else { break };
            let late = entry.session != Some(self.sessions);
            let text = Arc::clone(&entry.text);
            let body = Text { epoch: self.epoch, seq, sent_at: entry.sent_at, late, text };
            out.send(self.peer, Text::KIND, &body);
            if first_time && !self.outbox.is_gone(seq) {
                self.receipt(seq, Delivery::Sent, out);
            }
        }
    }

    fn show_mine(&self, seq: u64, out: &mut Outputs) {
        let Some(entry) = self.outbox.entry(seq) else { return };
        out.event(Event::Message {
            peer: self.peer,
            message: self.mine(seq),
            was: entry.was.clone(),
            text: Arc::clone(&entry.text),
            sent_at: entry.sent_at,
            mine: true,
            late: entry.session.is_none(),
        });
    }

    fn receipts(&self, seqs: Range<u64>, state: Delivery, out: &mut Outputs) {
        for seq in seqs.filter(|seq| !self.outbox.is_gone(*seq)) {
            self.receipt(seq, state, out);
        }
    }

    fn receipt(&self, seq: u64, state: Delivery, out: &mut Outputs) {
        out.event(Event::Receipt { peer: self.peer, message: self.mine(seq), was: None, state });
    }

    fn mine(&self, seq: u64) -> MessageId {
        MessageId { author: self.me, to: self.peer, epoch: self.epoch, seq }
    }
}
