//! Somebody whose key takes the place of the one before.

use p2pchat_conversation::Memory;
use p2pchat_crypto::succession;
use p2pchat_engine::rotation::{Rotation, RotationProgress, RotationTerms};
use p2pchat_engine::{Engine, Failure, Kept};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::broker::Rotate;
use p2pchat_proto::conversation::DeviceEpoch;
use p2pchat_proto::succession::KeptSuccession;
use p2pchat_proto::{BrokerKey, WallTime};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::{Manner, World, name};

/// Whether both keys have signed that, by the statement in it.
pub fn is_signed(rotate: &Rotate, hash: &[u8; 32], broker: BrokerKey) -> bool {
    let stated = succession::read(&rotate.succession).expect("a statement");
    let signatures = [&rotate.by_old, &rotate.by_new];
    succession::verify_call([stated.old, rotate.new], hash, broker, &rotate.name, signatures)
}

impl World {
    /// What the members of these numbers state: that the second takes the place of the first.
    pub fn statement(old: usize, new: usize) -> KeptSuccession {
        let (old, new) = (Self::identity(old), Self::identity(new));
        succession::state(&old, &new, WallTime(7)).expect("two people")
    }

    /// Somebody's process ends, its name goes to the key of the next member, and that one begins with all
    /// that was kept. Its number.
    pub fn rotate(&mut self, who: usize, called: &str, link: &LinkConfig) -> usize {
        let new = self.people.len();
        let now = self.clock();
        let conn = self.people[who].conn.expect("a link to the broker");
        let rotate = Rotate {
            name: name(called),
            new: Self::identity(new).peer_id(),
            by_old: [0; 64],
            by_new: [0; 64],
            succession: Self::statement(who, new),
        };
        self.broker.registry.rotate(conn, 0, rotate, now.moment);
        self.settle();
        self.people[who].engine.stop(now);
        self.settle();
        let store = core::mem::take(&mut self.people[who].store);
        let pins = core::mem::take(&mut self.people[who].pins);
        self.join(called, Manner { pins: pins.clone(), ..Manner::default() }, link);
        self.resume(new, called, store, Manner { pins, ..Manner::default() });
        new
    }

    /// Has the broker give a name to another key, over a link of its own.
    pub fn tell(&mut self, terms: RotationTerms) -> Result<BrokerKey, Failure> {
        let now = self.clock();
        let (mut rotation, mut bytes) = Rotation::start(terms, &mut ChaCha20Rng::seed_from_u64(self.now));
        let conn = self.broker.connected([127, 0, 0, 1].into(), now);
        let done = loop {
            self.broker.received(conn, &bytes, now);
            self.broker.settle();
            let said = core::mem::take(&mut self.broker.out);
            let (mine, others): (Vec<_>, Vec<_>) = said.into_iter().partition(|(to, _)| *to == conn);
            self.broker.out = others.into();
            assert!(!mine.is_empty(), "nobody says anything more");
            let came: Vec<u8> = mine.into_iter().flat_map(|(_, bytes)| bytes).collect();
            match rotation.received(&came) {
                Ok(RotationProgress::Goes(next)) => bytes = next,
                Ok(RotationProgress::Done(key)) => break Ok(key),
                Err(failure) => break Err(failure),
            }
        };
        self.broker.hang_up(conn);
        self.settle();
        done
    }

    /// Puts another process in the place of somebody's, who goes on with what `store` holds.
    fn resume(&mut self, who: usize, called: &str, store: Memory, manner: Manner) {
        self.lives += 1;
        let address = self.people[who].address;
        let manner = Manner { broker_key: Some(self.broker_key()), ..manner };
        let (config, seed) = Self::config(who, called, manner.clone(), address, self.lives);
        let kept = Kept { epoch: DeviceEpoch(99), heads: store.heads(), recipients: store.recipients() };
        let engine = Engine::resume(config, seed, kept, self.clock());
        let member = &mut self.people[who];
        if let Some(conn) = member.conn.take() {
            self.broker.hang_up(conn);
        }
        (member.engine, member.store, member.pins) = (engine, store, manner.pins);
        member.events.clear();
        self.settle();
    }
}
