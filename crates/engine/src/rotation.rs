//! A name goes to another key: one link to the broker, for nothing else.
//!
//! ```text
//! Shaking ──► Greeting ──► Registering ──► Rotating ──► over
//! ```
//!
//! The login is the old identity's. It registers first, so that a broker that has never heard of the name, or
//! has lost its accounts, knows whose it is; where the name went to the new key already, that is refused and
//! the rotation says so.

use std::sync::Arc;

use p2pchat_crypto::link::{ClientHandshake, LinkIdentity, LinkOpener, LinkSealer, frame, hello};
use p2pchat_crypto::{Identity, succession};
use p2pchat_proto::broker::{Call, FromBroker, Hello, Outcome, RefusedCode, Register, Rotate, ToBroker};
use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::succession::KeptSuccession;
use p2pchat_proto::{BrokerKey, Name};
use rand::CryptoRng;

use crate::failure::Failure;
use crate::link::refused_reason;
use crate::records::Records;

/// What is to be done, and where.
#[derive(Debug, Clone)]
pub struct RotationTerms {
    /// The identity that holds the name.
    pub old: Arc<Identity>,
    /// The one that is to hold it.
    pub new: Arc<Identity>,
    /// What both have stated.
    pub statement: KeptSuccession,
    /// The name.
    pub name: Name,
    /// The broker, `host:port`.
    pub broker: String,
    /// Its key, where it is known.
    pub broker_key: Option<BrokerKey>,
}

/// See the module. The driver opens a connection, hands on what comes, and sends what it is given.
pub struct Rotation {
    terms: RotationTerms,
    records: Records,
    state: State,
}

enum State {
    Shaking(Box<ClientHandshake>),
    Talking(Channel, Step),
    Over,
}

struct Channel {
    sealer: LinkSealer,
    opener: LinkOpener,
    link: LinkIdentity,
    last: Call,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Welcome,
    Registered,
    Rotated,
}

/// How far it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationProgress {
    /// These bytes are to be sent, if any, and more has to come.
    Goes(Vec<u8>),
    /// The name belongs to the new key, at the broker that has this one.
    Done(BrokerKey),
}

impl core::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rotation").field("name", &self.terms.name).finish_non_exhaustive()
    }
}

impl Rotation {
    /// For a connection that was opened; its first bytes.
    pub fn start(terms: RotationTerms, rng: &mut dyn CryptoRng) -> (Self, Vec<u8>) {
        let (handshake, first) = ClientHandshake::start(rng);
        let state = State::Shaking(Box::new(handshake));
        (Self { terms, records: Records::default(), state }, frame(&first))
    }

    /// Takes bytes of the broker.
    ///
    /// # Errors
    /// [`Failure::BrokerKeyChanged`], [`Failure::BrokerRefused`]; [`Failure::NameTaken`] if the name is
    /// neither the old key's nor the new one's, [`Failure::NameHeld`] if one of them has another.
    pub fn received(&mut self, bytes: &[u8]) -> Result<RotationProgress, Failure> {
        self.records.push(bytes);
        let mut out = Vec::new();
        while let Some(record) = self.records.take() {
            match self.take(record)? {
                RotationProgress::Goes(bytes) => out.extend(bytes),
                done @ RotationProgress::Done(_) => return Ok(done),
            }
        }
        Ok(RotationProgress::Goes(out))
    }

    fn take(&mut self, mut record: Vec<u8>) -> Result<RotationProgress, Failure> {
        match core::mem::replace(&mut self.state, State::Over) {
            State::Shaking(handshake) => {
                let shaken = handshake.finish(&record);
                let (sealer, opener, link) = shaken.map_err(|_| self.refused("the handshake failed"))?;
                if let Some(pinned) = self.terms.broker_key.filter(|pinned| *pinned != link.key) {
                    let (address, came) = (self.terms.broker.clone(), link.key);
                    return Err(Failure::BrokerKeyChanged { address, pinned, came });
                }
                let old = &self.terms.old;
                let signature = hello(old, &link.hash, link.key);
                let versions = vec![PROTOCOL_VERSION];
                let said = Hello { versions, features: 0, peer: old.peer_id(), signature };
                let channel = Channel { sealer, opener, link, last: 0 };
                self.say(channel, said.into(), Step::Welcome)
            }
            State::Talking(mut channel, step) => {
                let opened = channel.opener.open(&mut record);
                opened.map_err(|_| self.refused("a record that does not open"))?;
                let message = FromBroker::from_record(&record);
                let (call, message) = message.map_err(|_| self.refused("a malformed message"))?;
                self.heard(channel, step, call, message)
            }
            State::Over => Err(self.refused("it went on after the end")),
        }
    }

    fn heard(
        &mut self,
        channel: Channel,
        step: Step,
        call: Call,
        message: FromBroker,
    ) -> Result<RotationProgress, Failure> {
        let answers = call == channel.last;
        match (message, step) {
            (FromBroker::Refused(refused), _) => Err(self.refused(refused_reason(refused.code))),
            (FromBroker::Replaced(_), _) => Err(Failure::Replaced),
            (FromBroker::Restarting(_), _) => Err(Failure::BrokerUnreachable {
                address: self.terms.broker.clone(),
                reason: "it restarts".to_owned(),
            }),
            (FromBroker::Welcome(_), Step::Welcome) if answers => {
                let said = Register { name: self.terms.name.clone(), token: None };
                self.say(channel, said.into(), Step::Registered)
            }
            // Where the name is somebody's, that is the new key maybe.
            (FromBroker::Reply(reply), Step::Registered)
                if answers && matches!(reply.outcome, Outcome::Done | Outcome::NameTaken) =>
            {
                let said = self.rotate(&channel.link);
                self.say(channel, said.into(), Step::Rotated)
            }
            (FromBroker::Reply(reply), Step::Rotated) if answers && reply.outcome == Outcome::Done => {
                Ok(RotationProgress::Done(channel.link.key))
            }
            (FromBroker::Reply(reply), Step::Registered | Step::Rotated) if answers => {
                Err(self.failure(reply.outcome))
            }
            (FromBroker::Unsupported(_), Step::Rotated) if answers => {
                Err(self.refused("it is too old to give a name to another key"))
            }
            // Requests of others, presence: nothing of it is for this link.
            (_, _) => {
                self.state = State::Talking(channel, step);
                Ok(RotationProgress::Goes(Vec::new()))
            }
        }
    }

    fn rotate(&self, link: &LinkIdentity) -> Rotate {
        let RotationTerms { old, new, name, statement, .. } = &self.terms;
        let [by_old, by_new] = succession::call(old, new, &link.hash, link.key, name);
        let succession = statement.clone();
        Rotate { name: name.clone(), new: new.peer_id(), by_old, by_new, succession }
    }

    fn say(
        &mut self,
        mut channel: Channel,
        message: ToBroker,
        step: Step,
    ) -> Result<RotationProgress, Failure> {
        channel.last = channel.last.saturating_add(1);
        let mut bytes = Vec::new();
        let record = message.to_record(channel.last).map_err(|error| Failure::Internal(error.to_string()))?;
        let sealed = channel.sealer.seal(&record, &mut bytes);
        sealed.map_err(|error| Failure::Internal(error.to_string()))?;
        self.state = State::Talking(channel, step);
        Ok(RotationProgress::Goes(bytes))
    }

    fn failure(&self, outcome: Outcome) -> Failure {
        match outcome {
            Outcome::NameTaken => Failure::NameTaken { name: self.terms.name.clone() },
            Outcome::NameHeld(name) => Failure::NameHeld { name },
            Outcome::RateLimited(_) => self.refused(refused_reason(RefusedCode::RateLimited)),
            Outcome::Unavailable => self.refused("it could not store the name"),
            Outcome::Done
            | Outcome::Page { .. }
            | Outcome::Unknown
            | Outcome::NotOnline
            | Outcome::BoundTo(_)
            | Outcome::NoSuchRequest => self.refused("an answer that does not fit"),
        }
    }

    fn refused(&self, reason: &str) -> Failure {
        Failure::BrokerRefused { address: self.terms.broker.clone(), reason: reason.to_owned() }
    }
}
