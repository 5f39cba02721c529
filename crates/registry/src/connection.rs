//! What is known of one connection.

use std::collections::BTreeSet;

use p2pchat_proto::{Moment, PeerId};

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
    pub(crate) watching: BTreeSet<PeerId>,
    /// Number of the last presence message.
    pub(crate) presence_version: u64,
    pub(crate) messages: Bucket,
    pub(crate) requests: Bucket,
    pub(crate) pages: Bucket,
}

impl Member {
    pub(crate) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            watching: BTreeSet::new(),
            presence_version: 0,
            messages: Bucket::default(),
            requests: Bucket::default(),
            pages: Bucket::default(),
        }
    }
}
