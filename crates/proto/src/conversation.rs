//! Bodies on the conversation streams: text, receipts, sync.

use core::fmt;

use crate::codec::{Decode, Encode};
use crate::id::PeerId;

/// One life of an installation's message numbers, drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct DeviceEpoch(pub u64);

/// Names one message in a direct conversation, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct MessageId {
    /// Who wrote it.
    pub author: PeerId,
    /// In which epoch of the author's numbers.
    pub epoch: DeviceEpoch,
    /// From 0, without gaps, for each conversation of the author.
    pub seq: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}-{}", self.author, self.epoch.0, self.seq)
    }
}
