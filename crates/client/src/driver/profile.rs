//! The profile as the driver keeps it: what the engine learned goes to the files at once.

use std::sync::Arc;

use p2pchat_conversation::Write;
use p2pchat_crypto::Identity;
use p2pchat_engine::event::MessageEvent;
use p2pchat_engine::{Engine, Failure, Kept, Mark, Now, Pin};
use p2pchat_proto::{BrokerKey, Name, PeerId, Standing, WallTime};
use p2pchat_session::Contact;

use super::udp::Sockets;
use crate::config::BrokerAddress;
use crate::profile::{self, Decision, Home, Papers};
use crate::random::system_rng;
use crate::store::{Book, KeptMessage};

/// See the module.
pub(crate) struct Profile {
    home: Home,
    papers: Papers,
    me: Arc<Identity>,
}

/// What a client goes on with.
pub(crate) struct Conversations {
    pub(crate) book: Book,
    pub(crate) kept: Kept,
    /// Messages of others that no front end has shown.
    pub(crate) unread: Vec<MessageEvent>,
}

/// Most messages of one conversation that are shown at the start: a few screens.
const UNREAD_MAX: usize = 200;

impl Profile {
    pub(crate) fn load(home: Home, me: Arc<Identity>) -> Result<Self, Failure> {
        let papers = Papers::open(&home, &me)?;
        Ok(Self { home, papers, me })
    }

    /// The UDP port of last time.
    pub(crate) const fn last_port(&self) -> Option<u16> {
        self.papers.udp_port()
    }

    /// Keeps the UDP port for next time. A convenience: without room for it, everything else works.
    pub(crate) fn keep_port(&mut self, sockets: &Sockets) {
        let Some(udp) = sockets.iter().next() else { return };
        if let Err(failure) = self.papers.set_udp_port(udp.local().port()) {
            tracing::warn!(code = failure.code(), "the UDP port could not be kept for next time");
        }
    }

    /// The key that the broker must have.
    pub(crate) fn broker_key(&self, address: &BrokerAddress) -> Option<BrokerKey> {
        self.papers.expected(address)
    }

    pub(crate) fn pin_broker(&mut self, host_port: &str, key: BrokerKey) -> Result<(), Failure> {
        if self.papers.brokers().key(host_port) == Some(key) {
            return Ok(());
        }
        self.papers.remember_broker(host_port, key)
    }

    /// Everybody who is known.
    pub(crate) fn pins(&self) -> Vec<Pin> {
        self.papers
            .pins()
            .iter()
            .map(|pin| Pin { peer: pin.peer, name: pin.name.clone(), broker: pin.broker })
            .collect()
    }

    /// Who is known at a broker, and what the user calls them.
    pub(crate) fn known(&self, broker: Option<BrokerKey>) -> Vec<(PeerId, Name)> {
        let here = self.papers.pins().iter().filter(|pin| Some(pin.broker) == broker);
        let called =
            |pin: &profile::Pin| self.papers.marks().of(pin.peer).petname.unwrap_or_else(|| pin.name.clone());
        here.map(|pin| (pin.peer, called(pin))).collect()
    }

    pub(crate) fn pin(&mut self, pin: Pin, now: WallTime) -> Result<(), Failure> {
        let Pin { peer, name, broker } = pin;
        let may_reconnect = self.papers.pins().of_peer(peer).all(|pin| pin.may_reconnect);
        self.papers.pin(profile::Pin { name, peer, broker, since: now, may_reconnect })
    }

    pub(crate) fn repin(&mut self, pin: Pin, instead_of: PeerId, now: WallTime) -> Result<(), Failure> {
        let Pin { peer, name, broker } = pin;
        let pin = profile::Pin { name, peer, broker, since: now, may_reconnect: true };
        self.papers.repin(pin, instead_of)
    }

    pub(crate) fn follow(&mut self, old: PeerId, new: PeerId, now: WallTime) -> Result<(), Failure> {
        self.papers.follow(old, new, now)
    }

    /// Tells the engine what the user decided about people, and who sees this user.
    pub(crate) fn remind(&self, engine: &mut Engine, require_verified: bool, now: Now) {
        engine.remember_replaced(self.papers.replaced().clone());
        self.papers.marks().iter().for_each(|mark| engine.remember_mark(mark.clone(), now));
        engine.remember_standing(self.papers.standing());
        if require_verified {
            engine.require_verified();
        }
    }

    /// Keeps how this user stands towards others.
    pub(crate) fn stand(&mut self, standing: Standing) -> Result<(), Failure> {
        self.papers.set_standing(standing)
    }

    pub(crate) fn mark(&mut self, mark: Mark) -> Result<(), Failure> {
        self.papers.mark(mark)
    }

    /// What was kept of conversations; `None` in a profile that is kept nowhere.
    /// What is older than it is kept goes first.
    pub(crate) fn conversations(&mut self, now: WallTime) -> Result<Option<Conversations>, Failure> {
        let Some(mut book) = Book::of(&self.home, Arc::clone(&self.me))? else { return Ok(None) };
        let mut rng = system_rng()?;
        let followed = self.papers.followed().iter();
        let moves: Vec<Write> = followed.map(|&(old, new)| Write::Succeeded { old, new }).collect();
        if !moves.is_empty() {
            let moved = book.apply(&moves, &mut rng);
            moved.map_err(|error| book.failure(error))?;
            self.papers.all_followed()?;
        }
        let mut read = |book: &mut Book| {
            book.sweep(now, &mut rng)?;
            Ok((book.kept()?, book.unread(UNREAD_MAX)?))
        };
        match read(&mut book) {
            Ok((kept, unread)) => {
                let shown = |message: &KeptMessage| !self.papers.marks().of(message.peer).blocked;
                let unread =
                    unread.into_iter().filter(shown).map(|message| self.shown_late(message)).collect();
                Ok(Some(Conversations { book, kept, unread }))
            }
            Err(error) => Err(book.failure(error)),
        }
    }

    /// Keeps a decision; whom it is about. One that cannot be written lasts until the program ends.
    pub(crate) fn decide(
        &mut self,
        decision: &Decision,
        now: WallTime,
    ) -> (Vec<PeerId>, Result<(), Failure>) {
        let former = decision.instead_of(&self.papers);
        let kept = decision.keep(&mut self.papers, self.me.peer_id(), now);
        if kept.is_err() && !self.papers.is_unsaved() {
            return (Vec::new(), kept);
        }
        (former.into_iter().chain([decision.peer()]).collect(), kept)
    }

    /// Writes what could not be written before.
    pub(crate) fn keep_again(&mut self) -> Result<(), Failure> {
        self.papers.keep_again()
    }

    /// Everything that is known of somebody.
    pub(crate) fn known_of(&self, peer: PeerId) -> (Vec<Pin>, Mark) {
        let pins = self.papers.pins().of_peer(peer);
        let pins = pins.map(|pin| Pin { peer, name: pin.name.clone(), broker: pin.broker });
        (pins.collect(), self.papers.marks().of(peer))
    }

    /// What the user calls somebody.
    pub(crate) fn name(&self, peer: PeerId) -> Option<Name> {
        let pinned = || self.papers.pins().of_peer(peer).next().map(|pin| pin.name.clone());
        self.papers.marks().of(peer).petname.or_else(pinned)
    }

    fn shown_late(&self, kept: KeptMessage) -> MessageEvent {
        let KeptMessage { peer, message, text, sent_at, mine, .. } = kept;
        let name = self.name(peer);
        MessageEvent { peer, name, message, was: None, text: text.into(), sent_at, mine, late: true }
    }

    /// What was kept of those who may come back, and what was wrong with the rest.
    pub(crate) fn contacts(&mut self) -> (Vec<Contact>, Vec<Failure>) {
        self.papers.contacts()
    }

    /// Keeps what a contact comes back with. It is on the disk when this returns.
    pub(crate) fn keep_contact(&mut self, contact: &Contact) -> Result<(), Failure> {
        self.papers.keep(contact)
    }
}
