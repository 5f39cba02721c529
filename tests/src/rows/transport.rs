//! Datagrams and frames of a session.
//!
//! - [`clocks`]: clocks that leap, and machines that sleep.
//! - [`hole`]: a path that swallows large datagrams.
//! - [`losses`]: lines that lose, and what arrives over them.
//! - [`packets`]: what somebody on the path does to packets: doubles, forges, flips, mixes up.
//! - [`numbers`]: that no key ever seals two packets under one number.
//! - [`rekey`]: keys that are renewed, and keys that are not.
//! - [`peer`]: what an accepted peer, who holds the keys, sends on purpose.
//! - [`paths`]: who moves a session to another address.
//! - [`port`]: what arrives at the port of a running program.
//! - [`truncation`]: sessions that are cut off.

mod clocks;
mod hole;
mod losses;
mod numbers;
mod packets;
mod paths;
mod peer;
mod port;
mod rekey;
mod truncation;

use p2pchat_crypto::Introduction;
use rand::RngExt;

use super::{Defence, Lab, NotRun, Row};
use crate::sim::START;
use crate::sim::careless::{Careless, Missing};
use crate::sim::hand::Hand;
use crate::sim::people::People;
use crate::sim::target::{Product, Target};

/// The rows of this subject.
pub const ROWS: &[Row] = &[
    packets::DOUBLED,
    packets::WINDOW,
    packets::FORGED_NUMBER,
    packets::MIXED_UP,
    packets::FLIPPED,
    packets::OTHER_KEY,
    numbers::USED_UP,
    numbers::UNIQUE,
    numbers::RESENT,
    rekey::RENEWED,
    rekey::OVERDUE,
    peer::ACKS,
    peer::ENDLESS_GAPS,
    packets::JUMPED,
    paths::MOVED,
    port::GARBAGE,
    truncation::CUT,
    losses::LADDER_OF_LOSSES,
    clocks::LEAPT,
    hole::SWALLOWED,
    peer::UNKNOWN,
];

/// The product, or the double without one defence, in a session with a peer made by hand.
struct Session {
    hand: Hand,
    target: Box<dyn Target>,
}

impl Session {
    fn new(defence: Defence, missing: Missing, lab: &mut Lab) -> Result<Self, NotRun> {
        let people = People::default();
        let (bobs, alices) = people.introduce(&mut lab.rng);
        let mut target = target(defence, missing, &people, alices, lab.rng.random());
        let hand = Hand::meet(&mut *target, &bobs, &people.bob, &mut lab.rng, START)?;
        Ok(Self { hand, target })
    }

    /// Whether the target takes a datagram.
    fn takes(&mut self, datagram: &[u8]) -> bool {
        let before = self.target.accepted(START);
        self.target.take(self.hand.address, datagram, START);
        self.target.accepted(START) > before
    }

    /// What the target answers to a datagram.
    fn answers(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.target.take(self.hand.address, datagram, START);
        self.target.sent(START).into_iter().map(|(_, bytes)| bytes).collect()
    }
}

fn target(
    defence: Defence,
    missing: Missing,
    people: &People,
    introduction: Introduction,
    seed: u64,
) -> Box<dyn Target> {
    match defence {
        Defence::InPlace => Box::new(Product::new(&people.alice, introduction, seed, START)),
        Defence::Removed => Box::new(Careless::new(&people.alice, introduction, missing)),
    }
}
