//! All conversations of one user.

use std::collections::{BTreeMap, btree_map};

use p2pchat_proto::conversation::{DeviceEpoch, MessageId};
use p2pchat_proto::limits::TEXT_MAX;
use p2pchat_proto::{PeerId, WallTime};

use crate::conversation::Conversation;
use crate::effect::{
    BatchId, BodyError, ComposeError, Effect, Event, LoadError, Numbering, Outgoing, QueryId, Rows,
};
use crate::outputs::Outputs;

/// All direct conversations of one user, each begun when it is first needed.
#[derive(Debug)]
pub struct Conversations {
    me: PeerId,
    epoch: DeviceEpoch,
    /// What the next message is called by, for each peer to whom something was written before.
    heads: BTreeMap<PeerId, Numbering>,
    peers: BTreeMap<PeerId, Conversation>,
    queries: BTreeMap<QueryId, PeerId>,
    out: Outputs,
}

impl Conversations {
    /// Conversations in an epoch in which nothing was ever written.
    pub fn new(me: PeerId, epoch: DeviceEpoch) -> Self {
        Self::resume(me, epoch, BTreeMap::new())
    }

    /// Conversations that go on from what the next message for each peer is called by; those that are new
    /// begin in `epoch`.
    pub fn resume(me: PeerId, epoch: DeviceEpoch, heads: BTreeMap<PeerId, Numbering>) -> Self {
        let (peers, queries) = (BTreeMap::new(), BTreeMap::new());
        Self { me, epoch, heads, peers, queries, out: Outputs::default() }
    }

    /// Writes a message. It is shown and sent once it is durable.
    ///
    /// # Errors
    /// If it is too long, or too much waits for `to`; then nothing is kept of it.
    pub fn compose(
        &mut self,
        to: PeerId,
        text: String,
        sent_at: WallTime,
    ) -> Result<MessageId, ComposeError> {
        if text.is_empty() {
            return Err(ComposeError::Empty);
        }
        if text.len() > TEXT_MAX {
            return Err(ComposeError::TooLong { len: text.len(), max: TEXT_MAX });
        }
        let (conversation, out) = self.with(to);
        conversation.compose(text, sent_at, out)
    }

    /// A session with `peer` is up; one that was up before is gone.
    pub fn session_up(&mut self, peer: PeerId) {
        let (conversation, out) = self.with(peer);
        conversation.session_up(out);
    }

    /// The session with `peer` is gone, and with it whatever was not polled for it.
    pub fn session_down(&mut self, peer: PeerId) {
        if let Some(conversation) = self.peers.get_mut(&peer) {
            conversation.session_down(&mut self.out);
        }
    }

    /// Takes a body that came on the conversation stream of the session with `from`, at `now` by this
    /// side's clock. Unknown kinds are ignored.
    ///
    /// # Errors
    /// If it is one that no honest peer sends. The session is to be closed.
    pub fn handle_body(
        &mut self,
        from: PeerId,
        kind: u8,
        body: &[u8],
        now: WallTime,
    ) -> Result<(), BodyError> {
        let Some(conversation) = self.peers.get_mut(&from) else { return Err(BodyError::BeforeSync) };
        conversation.handle_body(kind, body, now, &mut self.out)
    }

    /// A message was shown to the user, and so were all that came before it: sends the read
    /// receipt. One's own messages, unknown ones and repetitions change nothing.
    pub fn shown(&mut self, message: MessageId) {
        if message.author != self.me {
            let (conversation, out) = self.with(message.author);
            conversation.shown(message.epoch, message.seq, out);
        }
    }

    /// Whether others are told what was shown here. As receipts tell of all messages before, they hear of
    /// those that were shown meanwhile as well once they are told again.
    pub const fn tell_read(&mut self, tell: bool) {
        self.out.silent = !tell;
    }

    /// The batch and all before it are durable.
    pub fn committed(&mut self, batch: BatchId) {
        while let Some(peer) = self.out.committed(batch) {
            if let Some(conversation) = self.peers.get_mut(&peer) {
                conversation.committed(batch, &mut self.out);
            }
        }
    }

    /// What was said with `peer` is forgotten by the store: what waits for them is given up. How many messages
    /// a session carries already: they may arrive, and are given up once it is over.
    pub fn forget(&mut self, peer: PeerId) -> usize {
        self.peers.get_mut(&peer).map_or(0, |conversation| conversation.forget(&mut self.out))
    }

    /// Gives up what was written at `before` or earlier, is durable, and is not carried by a session; of each
    /// conversation in the order of its messages, so that none goes before an earlier one.
    pub fn expire(&mut self, before: WallTime) {
        for conversation in self.peers.values_mut() {
            conversation.expire(before, &mut self.out);
        }
    }

    /// When the message was written that is the next one for [`Self::expire`].
    pub fn oldest_waiting(&self) -> Option<WallTime> {
        self.peers.values().filter_map(Conversation::oldest_waiting).min()
    }

    /// Reads what waits for `peer`, where that was not done yet.
    pub fn look_after(&mut self, peer: PeerId) {
        self.with(peer);
    }

    /// The answer to a query. An answer to no query is ignored.
    ///
    /// # Errors
    /// If it cannot be used, or if what the peer had said meanwhile cannot be.
    pub fn loaded(&mut self, query: QueryId, rows: Rows) -> Result<(), LoadError> {
        let Some(peer) = self.queries.remove(&query) else { return Ok(()) };
        let Some(conversation) = self.peers.get_mut(&peer) else { return Ok(()) };
        conversation.loaded(rows, &mut self.out)
    }

    /// Whether nothing of what can be polled here is there.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.out.is_empty()
    }

    /// The next thing to do; to be called until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.poll_effect()
    }

    /// The next body to send; to be called until there is none, after [`Self::poll_effect`], so that the store
    /// works while they are sent.
    pub fn poll_send(&mut self) -> Option<Outgoing<'_>> {
        self.out.poll_send()
    }

    /// The next thing to show; to be called until there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.poll_event()
    }

    /// Somebody holds messages of which this side does not know: it went back to an older state, as from a
    /// backup. [`Self::renew`] is to follow, with an epoch that never was.
    pub fn poll_rewound(&mut self) -> Option<PeerId> {
        self.out.poll_rewound()
    }

    /// One's messages to `peer` are numbered in `epoch` from now on, so that none of them can be taken for
    /// one that is not known here any more.
    pub fn renew(&mut self, peer: PeerId, epoch: DeviceEpoch) {
        let (conversation, out) = self.with(peer);
        conversation.renew(epoch, out);
    }

    /// Whether anything was ever said with `peer`, as far as it is kept.
    pub fn knows(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer) || self.heads.contains_key(&peer)
    }

    /// Whether nothing of the conversation with `peer` is on its way to the store or from it.
    pub fn is_at_rest(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_none_or(Conversation::is_loaded) && !self.out.is_writing(peer)
    }

    /// `new` has taken the place of `old`: the conversation with the one goes on with the other, of whom
    /// nothing is known. To be called when it [is at rest](Self::is_at_rest) and no session carries it.
    pub fn succeed(&mut self, old: PeerId, new: PeerId) {
        let begun = self.peers.remove(&old).map(|conversation| conversation.numbering());
        let known = self.heads.remove(&old);
        if let Some(numbering) = begun.or(known) {
            self.heads.insert(new, numbering);
        }
        self.out.drop_sends(old);
        self.out.succeeded(old, new);
    }

    /// One's own messages that `peer` does not store.
    pub fn undelivered(&self, peer: PeerId) -> usize {
        self.peers.get(&peer).map_or(0, Conversation::waiting)
    }

    /// Those who do not store everything that was written to them, as far as this process has to do with them.
    pub fn recipients(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.peers.iter().filter(|(_, conversation)| conversation.waiting() > 0).map(|(&peer, _)| peer)
    }

    fn with(&mut self, peer: PeerId) -> (&mut Conversation, &mut Outputs) {
        let conversation = match self.peers.entry(peer) {
            btree_map::Entry::Occupied(entry) => entry.into_mut(),
            btree_map::Entry::Vacant(entry) => {
                let begins = Numbering { epoch: self.epoch, next: 0 };
                let numbering = self.heads.get(&peer).copied().unwrap_or(begins);
                self.queries.insert(self.out.load(peer), peer);
                entry.insert(Conversation::new(self.me, peer, numbering))
            }
        };
        (conversation, &mut self.out)
    }
}
