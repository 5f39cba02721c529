//! What the registry wants done.

use p2pchat_proto::broker::{Call, FromBroker, RefusedCode};

use crate::names::Account;

/// One connection, numbered by the shell; a number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// One write that the registry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The shell could not store an account. A local failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFailed;

/// One thing for the shell to do. Commands are to be carried out in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say `message` to a client. Never waits: what does not fit its queue ends the connection.
    Send {
        /// To whom.
        conn: ConnId,
        /// The call that it answers, or 0.
        call: Call,
        /// What.
        message: FromBroker,
    },
    /// End the connection once what was sent to it has left.
    Close {
        /// Which.
        conn: ConnId,
        /// Why, for the log.
        why: CloseReason,
    },
    /// Store `account` durably, replacing what its name had, then call
    /// [`Registry::persisted`](crate::Registry::persisted).
    Persist {
        /// To be handed back.
        ticket: Ticket,
        /// What to store.
        account: Account,
    },
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No valid hello in time.
    HelloTimedOut,
    /// Nothing was heard for as long as a live client would not be silent.
    Silent,
    /// Too many came from its address lately. It is not told: telling costs the key exchange that
    /// this limit is to save.
    TooOften,
    /// The client was told why.
    Refused(RefusedCode),
    /// A newer login of the same identity took over.
    Replaced,
    /// The client said goodbye.
    Left,
    /// The broker stops.
    Draining,
}
