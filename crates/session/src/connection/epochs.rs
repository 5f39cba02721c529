//! The keys of a session, epoch by epoch: which one seals, which ones open, and when the next are
//! due (protocol section 5).
//!
//! ```text
//! initiator                                        responder
//! seals n, opens n                                 seals n, opens n
//! message 1, under n                          -->  opens n and n+1
//!                                             <--  message 2, under n
//! seals n+1, opens n and n+1                  -->  the first n+1: seals n+1; n opens 3 PTO longer
//! the first n+1: n opens 3 PTO longer         <--  whatever comes next, under n+1
//! ```
//!
//! So at any time at most two receive keys exist, and their epochs differ in the byte that the header
//! carries. Packet numbers go on through all epochs.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use p2pchat_crypto::data::{Epoch, OpenKey, SealKey, SessionKeys, TAG_LEN};
use p2pchat_crypto::rekey::{self, Initiator};
use p2pchat_crypto::{Identity, ResumptionSecret, Role};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::DataHeader;
use p2pchat_proto::rekey::{RekeyBody, RekeyMessage, RekeyStep};
use rand_chacha::ChaCha20Rng;

use super::{LOST_AFTER, NUMBERS_FOR_CLOSE, PACKETS_MAX};
use crate::contact::SecretNews;
use crate::event::Misbehaviour;

/// Age at which keys are renewed that sealed or opened bytes of a stream (protocol section 12).
pub const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Packets of both directions at which keys are renewed, whatever their age (protocol section 12).
pub const REKEY_AFTER_PACKETS: u64 = 1 << 22;
/// Time from then until a session ends whose keys were not renewed (protocol section 12).
pub const REKEY_OVERDUE: Duration = Duration::from_secs(180);

/// Probe timeouts for which the key of an epoch opens late packets (protocol section 12); [`LOST_AFTER`] at most,
/// as a sleep makes one that holds up the next epoch until this one is overdue.
const OLD_KEY_PTO: u32 = 3;
/// Age or packets without which the initiator has no reason to renew keys: a twelfth and a quarter of
/// what it waits for, so that neither its clock nor packets that were lost make an honest one guilty.
/// A peer cannot make this side compute key exchanges at the rate of its round trips.
const REKEY_LEAST: Duration = Duration::from_secs(10);
const REKEY_LEAST_PACKETS: u64 = REKEY_AFTER_PACKETS / 4;

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No key is there for its epoch, or its number is beyond the last one of it.
    NoKey,
    /// Its tag is wrong.
    Forged,
}

/// See the module.
pub(crate) struct Epochs {
    me: Arc<Identity>,
    rng: ChaCha20Rng,
    role: Role,
    /// What the epoch after the newest comes from; wiped when the session begins to end.
    newest: Option<SessionKeys>,
    /// The initiator's, between its message and the answer.
    exchange: Option<Initiator>,
    seal: Sealing,
    /// When this side held its part of the newest epoch first. The initiator's [`Sealing::since`] is
    /// later than that of its peer, so whatever it waits from there has gone by for the peer, too.
    held_since: Moment,
    /// The newest under which a packet was authentic.
    open: Opening,
    /// The one after it: agreed, and no packet came under it.
    next: Option<Next>,
    /// The one before it, and until when.
    old: Option<(Opening, Moment)>,
    /// Whether bytes of a stream came or went since [`Sealing::since`].
    traffic: bool,
    /// When it was noticed that the keys have to be renewed.
    due: Option<Moment>,
    /// What is to be told of the secrets that further sessions begin with.
    news: VecDeque<SecretNews>,
}

struct Sealing {
    key: SealKey,
    epoch: u32,
    packets: u64,
    since: Moment,
}

struct Opening {
    key: OpenKey,
    epoch: u32,
    packets: u64,
}

struct Next {
    open: Opening,
    /// The responder's, until the peer has proven the epoch.
    seal: Option<SealKey>,
    /// What a session could begin with in the epoch before.
    base: Option<ResumptionSecret>,
}

impl Epochs {
    pub(crate) fn new(keys: SessionKeys, me: Arc<Identity>, rng: ChaCha20Rng, now: Moment) -> Self {
        let Epoch { seal, open } = keys.keys();
        let epoch = keys.epoch();
        Self {
            me,
            rng,
            role: keys.role(),
            newest: Some(keys),
            exchange: None,
            seal: Sealing { key: seal, epoch, packets: 0, since: now },
            held_since: now,
            open: Opening::new(open, epoch),
            next: None,
            old: None,
            traffic: false,
            due: None,
            news: VecDeque::new(),
        }
    }

    /// The next thing to be told of a secret.
    pub(crate) fn poll_news(&mut self) -> Option<SecretNews> {
        self.news.pop_front()
    }

    /// Tells of the secret of epoch 0, which comes after `base`.
    pub(crate) fn tell(&mut self, base: Option<ResumptionSecret>, proven: bool) {
        if let Some(secret) = self.resumption() {
            self.news.push_back(SecretNews { base, secret, proven });
        }
    }

    /// What another session can begin with, of the newest epoch.
    pub(crate) fn resumption(&self) -> Option<ResumptionSecret> {
        self.newest.as_ref().map(SessionKeys::resumption)
    }

    /// The peer's Noise static key.
    pub(crate) fn peer_noise(&self) -> Option<[u8; 32]> {
        self.newest.as_ref().map(SessionKeys::peer_noise)
    }

    /// The peer has proven epoch 0: from now on its age counts.
    pub(crate) const fn begin(&mut self, now: Moment) {
        self.seal.since = now;
    }

    /// The epoch under which this side seals.
    pub(crate) const fn epoch(&self) -> u32 {
        self.seal.epoch
    }

    /// Since when it does.
    pub(crate) const fn since(&self) -> Moment {
        self.seal.since
    }

    /// What the header of the next packet says.
    pub(crate) const fn header_byte(&self) -> u8 {
        low_byte(self.seal.epoch)
    }

    /// Turns `content` into ciphertext and returns its tag. The header's epoch is
    /// [`Self::header_byte`], its number one that was never used in the session.
    pub(crate) fn seal(&mut self, number: u64, header: &[u8], content: &mut [u8]) -> [u8; TAG_LEN] {
        self.seal.packets = self.seal.packets.saturating_add(1);
        self.seal.key.seal_in_place(number, header, content)
    }

    /// Opens a packet. The first of a new epoch makes it the current one on this side, too.
    pub(crate) fn open<'a>(
        &mut self,
        header: DataHeader,
        header_bytes: &[u8],
        sealed: &'a mut [u8],
        pto: impl FnOnce() -> Duration,
        now: Moment,
    ) -> Result<&'a mut [u8], Refused> {
        if self.is_overdue(now) {
            return Err(Refused::NoKey);
        }
        self.drop_old(now);
        let opening = if self.open.is_for(header) {
            &mut self.open
        } else {
            let next = self.next.as_mut().map(|next| &mut next.open);
            let old = self.old.as_mut().map(|(old, _)| old);
            let others = old.into_iter().chain(next);
            { others }.find(|opening| opening.is_for(header)).ok_or(Refused::NoKey)?
        };
        let content = opening.key.open_in_place(header.packet_number, header_bytes, sealed);
        let content = content.ok_or(Refused::Forged)?;
        opening.packets = opening.packets.saturating_add(1);
        let epoch = opening.epoch;
        if self.next.as_ref().is_some_and(|next| next.open.epoch == epoch) {
            self.advance(pto(), now);
        }
        Ok(content)
    }

    /// Bytes of a stream came or went.
    pub(crate) const fn on_traffic(&mut self) {
        self.traffic = true;
    }

    /// Whether nothing more may be sealed but that the session is over: the numbers of the key are
    /// used up, or it should have been renewed long ago.
    pub(crate) fn are_spent(&self, now: Moment) -> bool {
        self.seal.packets >= PACKETS_MAX.saturating_sub(NUMBERS_FOR_CLOSE) || self.is_overdue(now)
    }

    /// Whether even that may not be sealed.
    pub(crate) const fn are_exhausted(&self) -> bool {
        self.seal.packets >= PACKETS_MAX
    }

    /// When [`Self::attend`] has something to do, or [`Self::are_spent`] changes, by time alone.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let old = self.old.as_ref().map(|(_, until)| *until);
        let rekey = match self.due {
            Some(due) => Some(due + REKEY_OVERDUE),
            None => self.traffic.then(|| self.seal.since + REKEY_AFTER),
        };
        old.into_iter().chain(rekey).min()
    }

    /// Does what is due. The initiator's first message, if it is time for one.
    pub(crate) fn attend(&mut self, now: Moment) -> Option<RekeyBody> {
        self.drop_old(now);
        let aged = self.traffic && self.seal.since + REKEY_AFTER <= now;
        if self.due.is_none() && (aged || self.packets() >= REKEY_AFTER_PACKETS) {
            self.due = Some(now);
        }
        if self.due.is_none() || self.role != Role::Initiator {
            return None;
        }
        if self.exchange.is_some() || self.next.is_some() || self.old.is_some() {
            return None;
        }
        let newest = self.newest.as_ref()?;
        // There is no epoch after 2^32 - 1: then the keys become overdue, and the session ends.
        let (exchange, noise) = Initiator::start(newest, &self.me, &mut self.rng).ok()?;
        self.exchange = Some(exchange);
        let message = RekeyMessage { epoch: newest.epoch().saturating_add(1), noise };
        Some(RekeyBody { step: RekeyStep::Start, message })
    }

    /// Takes a message of the peer: the answer to it, if there is one.
    pub(crate) fn take(&mut self, body: &RekeyBody, now: Moment) -> Result<Option<RekeyBody>, Misbehaviour> {
        match (self.role, body.step) {
            (Role::Responder, RekeyStep::Start) => self.respond(body.message, now).map(Some),
            (Role::Initiator, RekeyStep::Answer) => self.finish(body.message, now).map(|()| None),
            (Role::Initiator, RekeyStep::Start) | (Role::Responder, RekeyStep::Answer) => {
                Err(Misbehaviour::Rekey)
            }
        }
    }

    /// The session begins to end: there will be no further epoch, and nothing is left to make one of.
    pub(crate) fn wipe(&mut self) {
        self.newest = None;
        self.exchange = None;
        self.due = None;
        self.traffic = false;
    }

    fn respond(&mut self, message: RekeyMessage, now: Moment) -> Result<RekeyBody, Misbehaviour> {
        let early = now < self.held_since + REKEY_LEAST && self.packets() < REKEY_LEAST_PACKETS;
        let current = self.newest.as_ref().filter(|_| self.next.is_none() && !early);
        let current = current.ok_or(Misbehaviour::Rekey)?;
        let RekeyMessage { epoch, noise } = message;
        let answer = rekey::respond(current, &self.me, epoch, &noise, &mut self.rng);
        let (keys, noise) = answer.map_err(|_| Misbehaviour::Rekey)?;
        let Epoch { seal, open } = keys.keys();
        self.old = None;
        self.held_since = now;
        self.renew(keys, Opening::new(open, epoch), Some(seal));
        Ok(RekeyBody { step: RekeyStep::Answer, message: RekeyMessage { epoch, noise } })
    }

    fn finish(&mut self, message: RekeyMessage, now: Moment) -> Result<(), Misbehaviour> {
        let exchange = self.exchange.take().ok_or(Misbehaviour::Rekey)?;
        let current = self.newest.as_ref().ok_or(Misbehaviour::Rekey)?;
        let RekeyMessage { epoch, noise } = message;
        let keys = exchange.finish(current, epoch, &noise).map_err(|_| Misbehaviour::Rekey)?;
        let Epoch { seal, open } = keys.keys();
        self.seal_with(seal, epoch, now);
        self.renew(keys, Opening::new(open, epoch), None);
        Ok(())
    }

    /// Nothing leaves under these keys before their secret is told of.
    fn renew(&mut self, keys: SessionKeys, open: Opening, seal: Option<SealKey>) {
        let base = self.resumption();
        self.next = Some(Next { open, seal, base: base.clone() });
        self.newest = Some(keys);
        self.tell(base, false);
    }

    fn seal_with(&mut self, key: SealKey, epoch: u32, now: Moment) {
        self.seal = Sealing { key, epoch, packets: 0, since: now };
        self.traffic = false;
    }

    /// The peer has proven the next epoch.
    fn advance(&mut self, pto: Duration, now: Moment) {
        let Some(Next { open, seal, base }) = self.next.take() else {
            return;
        };
        if let Some(key) = seal {
            self.seal_with(key, open.epoch, now);
        }
        let old = core::mem::replace(&mut self.open, open);
        self.old = Some((old, now + pto.saturating_mul(OLD_KEY_PTO).min(LOST_AFTER)));
        self.due = None;
        self.tell(base, true);
    }

    fn drop_old(&mut self, now: Moment) {
        if self.old.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.old = None;
        }
    }

    fn is_overdue(&self, now: Moment) -> bool {
        self.due.is_some_and(|due| due + REKEY_OVERDUE <= now)
    }

    /// Packets of both directions under the current keys.
    const fn packets(&self) -> u64 {
        self.seal.packets.saturating_add(self.open.packets)
    }
}

impl Opening {
    const fn new(key: OpenKey, epoch: u32) -> Self {
        Self { key, epoch, packets: 0 }
    }

    /// Whether this may be the key of a packet. An honest peer seals at most [`PACKETS_MAX`] under
    /// each, so no number of an epoch lies beyond that many for it and each one before.
    fn is_for(&self, header: DataHeader) -> bool {
        let numbers_end = (self.epoch as u64).saturating_add(1).saturating_mul(PACKETS_MAX);
        header.epoch == low_byte(self.epoch)
            && header.packet_number < numbers_end
            && self.packets < PACKETS_MAX
    }
}

#[cfg(test)]
impl Epochs {
    /// Goes on as if this side had sealed so many packets under its key.
    pub(crate) fn skip_to(&mut self, packets: u64) {
        self.seal.packets = packets;
    }

    /// How many receive keys there are.
    pub(crate) fn receive_keys(&self) -> usize {
        1 + usize::from(self.next.is_some()) + usize::from(self.old.is_some())
    }

    /// Whether the secrets that further epochs would come from are gone.
    pub(crate) fn is_wiped(&self) -> bool {
        self.newest.is_none() && self.exchange.is_none()
    }
}

/// What a header carries of an epoch.
const fn low_byte(epoch: u32) -> u8 {
    let [.., byte] = epoch.to_be_bytes();
    byte
}

#[cfg(test)]
#[path = "epochs_tests.rs"]
mod tests;
