//! What is known of one connection.

use std::collections::BTreeSet;

use p2pchat_proto::broker::{FEATURE_HELD_BACK, FEATURE_STANDING};
use p2pchat_proto::{Moment, PeerId, Standing};

use crate::address::Address;
use crate::rate::Bucket;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: Address,
    /// When it last said something; at first, when it came.
    pub(crate) heard: Moment,
    /// The moment under which it stands among the wake-ups.
    pub(crate) wakes: Moment,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    /// It has not said who it is.
    Greeting,
    /// Logged in.
    Member(Box<Member>),
    /// Being closed: what it says no longer counts.
    Closing,
}

/// A connection that is logged in.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) peer: PeerId,
    /// How it stands towards others; `None` until it says so, where it wants to be held back until then.
    pub(crate) standing: Option<Standing>,
    /// Whether it understands every status.
    pub(crate) understands: bool,
    pub(crate) watching: BTreeSet<PeerId>,
    /// Number of the last presence message.
    pub(crate) presence_version: u64,
    pub(crate) messages: Bucket,
    pub(crate) requests: Bucket,
    pub(crate) pages: Bucket,
}

impl Member {
    pub(crate) fn new(peer: PeerId, features: u64) -> Self {
        let held_back = features & FEATURE_HELD_BACK != 0;
        Self {
            peer,
            standing: (!held_back).then(Standing::default),
            understands: features & FEATURE_STANDING != 0,
            watching: BTreeSet::new(),
            presence_version: 0,
            messages: Bucket::default(),
            requests: Bucket::default(),
            pages: Bucket::default(),
        }
    }
}
