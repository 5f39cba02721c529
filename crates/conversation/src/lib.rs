//! Direct conversations: messages, receipts, outbox and sync (protocol section 6), without I/O.
//!
//! [`Conversations`] keeps one conversation for each peer. Its promise: whatever sessions break,
//! whatever is lost on the way and whoever crashes, each message is stored and shown at the other
//! side exactly once, in the order in which it was written.
//!
//! # A message's way
//!
//! 1. [`Conversations::compose`] numbers it and puts it into the outbox. The write goes out as
//!    [`Effect::Commit`]; nothing else happens before [`Conversations::committed`] names its batch.
//! 2. Then it is shown here ([`Event::Message`] with `mine`), and handed to the session, if there
//!    is one with room ([`Delivery::Sent`]); else it waits ([`Delivery::Queued`]). That it may leave is
//!    durable before ([`Write::Handed`]): with the message itself where both sides of a session have said what
//!    they hold, else once they have.
//! 3. The other side commits it together with the new mark of what it holds, and only then shows it
//!    and sends a receipt: [`Delivery::Stored`]. What it already holds it drops without a word.
//! 4. When its front end has shown it ([`Conversations::shown`]), it says so: [`Delivery::Read`].
//!
//! # A session's start
//!
//! [`Conversations::session_up`] loads what the store knows of the peer ([`Effect::Load`], once for
//! each peer), sends a [`Sync`](p2pchat_proto::conversation::Sync) and waits for the other side's. The two say all that the
//! former session's end left open: marks that were lost on the way are caught up with, and what the
//! other side does not hold is sent again, in order. Where it holds what never left, as far as this side's
//! store knows, this side went back to an older state, as from a backup ([`Conversations::poll_rewound`]).
//!
//! # Whoever is at the other end
//!
//! Everything in [`Conversations::handle_body`] may be hostile; what no honest peer would send is
//! a [`BodyError`]. For each peer at most
//! [`IN_FLIGHT_MESSAGES`](p2pchat_proto::conversation::IN_FLIGHT_MESSAGES) messages and
//! [`IN_FLIGHT_BYTES`](p2pchat_proto::conversation::IN_FLIGHT_BYTES) an epoch wait for the store,
//! and at most [`EPOCHS_MAX`](p2pchat_proto::conversation::EPOCHS_MAX) epochs are kept apart.
//!
//! # The store
//!
//! Batches are committed in the order of their numbers, each whole or not at all. [`Memory`] is a
//! store that lasts as long as the process.
//!
//! After every call, drain [`Conversations::poll_effect`], [`Conversations::poll_send`] and
//! [`Conversations::poll_event`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod conversation;
mod conversations;
mod effect;
mod inbox;
mod memory;
mod outbox;
mod outputs;

pub use conversations::Conversations;
pub use effect::{
    BatchId, BodyError, ComposeError, Delivery, Effect, Event, HeldRow, LoadError, Marks, Numbering,
    OutboxRow, Outgoing, QueryId, Rows, Write,
};
pub use memory::Memory;
pub use outbox::{OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};
