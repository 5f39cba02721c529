//! What the engine asks of its driver.

use p2pchat_conversation::{BatchId, QueryId, Write};
use p2pchat_proto::transfer::{Attempt, TcpCandidates};
use p2pchat_proto::{BrokerKey, PeerId, Standing, TransferId};
use p2pchat_session::Contact;
use p2pchat_transfer::CarrierSpec;

use crate::people::{Mark, Pin};

/// One thing for the driver to do. Datagrams are polled apart, with
/// [`Engine::poll_transmit`](crate::Engine::poll_transmit).
#[derive(Debug)]
pub enum Effect {
    /// Open a TCP connection to the broker, closing any other; report
    /// [`broker_opened`](crate::Engine::broker_opened) or [`broker_closed`](crate::Engine::broker_closed).
    DialBroker,
    /// Bytes for that connection.
    ToBroker(Vec<u8>),
    /// Close that connection, once what was sent before has left.
    CloseBroker,
    /// Keep the broker's key.
    PinBroker(BrokerKey),
    /// Keep an identity.
    Pin(Pin),
    /// Keep an identity in the place of the one that has its name at that broker, in one write: at no
    /// time does the name belong to nobody.
    Repin {
        /// Whom to keep.
        pin: Pin,
        /// Whom to forget at that broker.
        instead_of: PeerId,
    },
    /// Keep that one identity has taken the place of another, by the word of both: every pin, and what was
    /// decided but for the comparison of keys. To be on the disk before the write that moves what was said.
    Follow {
        /// The identity until now.
        old: PeerId,
        /// The one from now on.
        new: PeerId,
    },
    /// Keep what the user decided about an identity.
    Mark(Mark),
    /// Keep how this user stands towards others.
    Stand(Standing),
    /// Keep what a contact and this user meet again with, in the place of what was kept of the same
    /// contact; erase that where there are no generations. To be on the disk before the next datagram
    /// leaves, sealed.
    KeepContact(Contact),
    /// Write to the store; answer [`committed`](crate::Engine::committed).
    Commit {
        /// Number of the batch.
        batch: BatchId,
        /// What to write, all of it or nothing.
        writes: Vec<Write>,
    },
    /// Read from the store; answer [`loaded`](crate::Engine::loaded).
    Load {
        /// Number of the query.
        query: QueryId,
        /// Whose conversation.
        peer: PeerId,
    },
    /// Make an attempt at a file's carrier; report [`carrier_event`](crate::Engine::carrier_event).
    StartCarrier(CarrierSpec),
    /// Dial these for a carrier as well.
    DialCarrier {
        /// For which transfer.
        transfer: TransferId,
        /// For which attempt.
        attempt: Attempt,
        /// Where the other side listens.
        list: TcpCandidates,
    },
    /// Compare a received file with its sender's hash, and give it its name.
    Publish {
        /// Which transfer.
        transfer: TransferId,
        /// What the sender says the content hashes to.
        hash: [u8; 32],
    },
    /// A transfer ended: close what belongs to it, remove what is unfinished.
    StopCarrier {
        /// Which transfer.
        transfer: TransferId,
    },
}
