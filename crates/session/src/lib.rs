//! The encrypted, reliable session over UDP, without a socket, a clock or randomness of its own.
//!
//! Two people were introduced: they share tickets, MAC keys and a psk, and know each other's static
//! keys ([`p2pchat_crypto::Introduction`]). From there to messages that arrive once and in order is
//! the work of this crate. An [`Endpoint`] holds all sessions behind a program's sockets.
//!
//! # Life of a session
//!
//! ```text
//! initiator                                     responder
//! INIT to every endpoint, again and again  -->  MAC, limits, then a key exchange
//!                                          <--  RESP, the same for the same INIT
//!                                          <--  PUNCH, which opens the responder's NAT
//! FIN to where RESP came from              -->  the static key is the introduced one
//!                                          <--  DATA: Ping; the initiator is up
//! DATA: Ack; the responder is up           -->
//! DATA: streams of bodies                  <->  ...
//! DATA: streams that either side opens     <->  ...
//! DATA: two messages on stream 0           <->  new keys, every two minutes of talk
//! DATA: Close                              -->  DATA: Close
//! ```
//!
//! Before a MAC was right nothing is answered, allocated, remembered or computed; a stranger at the
//! port finds nobody. After the handshake the same goes for an AEAD tag and a packet number that was
//! not used. What breaks the protocol inside of a packet that opened is the peer's own act
//! ([`Misbehaviour`]) and ends the session; what is damaged on the way ends nothing.
//!
//! Whoever had a session may begin another one without an introduction from outside, if both sides
//! kept what the first one left: a [`Contact`]. Then both answer INIT under a ticket that comes from it
//! ([`Endpoint::remember`], [`Endpoint::dial`]).
//!
//! # Driving it
//!
//! Everything goes in by method calls with the time of the call, and comes out by polling. **After
//! every call that changes something, drain [`Endpoint::poll_contact`], [`Endpoint::poll_transmit`] and
//! [`Endpoint::poll_event`], then sleep until [`Endpoint::poll_timeout`]** and call [`Endpoint::handle_timeout`]. While output
//! waits, `poll_timeout` is now: to forget the draining costs time and never correctness.
//!
//! ```
//! use p2pchat_proto::Moment;
//! use p2pchat_session::{Endpoint, Received};
//!
//! fn turn(endpoint: &mut Endpoint, arrived: Option<(Received, Vec<u8>)>, now: Moment) -> Option<Moment> {
//!     match arrived {
//!         Some((received, mut bytes)) => endpoint.handle_datagram(received, &mut bytes, now),
//!         None => endpoint.handle_timeout(now),
//!     }
//!     while let Some(contact) = endpoint.poll_contact() {
//!         // keep it, before anything is sent
//!     }
//!     let mut out = Vec::new();
//!     while let Some(transmit) = endpoint.poll_transmit(now, 10, &mut out) {
//!         // send `out` to `transmit.to`, cut into `transmit.segment_size`
//!     }
//!     while let Some((session, event)) = endpoint.poll_event() {
//!         // act on it
//!     }
//!     endpoint.poll_timeout()
//! }
//! ```
//!
//! # Where to read on
//!
//! - `endpoint`: sessions by ticket and receiver id, and what is checked in which order.
//! - `handshake`: [`HANDSHAKE_GIVE_UP`], INIT and PUNCH on their schedule, the limits on INIT.
//! - `connection`: RFC 9002 recovery behind a [`Controller`], acknowledgements, [`KEEPALIVE_FIRST`],
//!   [`LOST_AFTER`], the authenticated end; keys by epoch, [`REKEY_AFTER`], [`PACKETS_MAX`].
//! - `streams`: credit, reassembly with bounds, bodies; streams for groups and bulk ([`StreamEvent`]).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod allowance;
mod connection;
mod contact;
mod endpoint;
mod event;
mod handshake;
mod held;
mod ranges;
mod replay;
mod stats;
mod streams;
#[cfg(test)]
mod tests;
mod wire;

pub use connection::acks::ACK_DELAY;
pub use connection::congestion::Controller;
pub use connection::epochs::{REKEY_AFTER, REKEY_AFTER_PACKETS, REKEY_OVERDUE};
pub use connection::hints::HINT_INTERVAL;
pub use connection::mtu::{DATAGRAM_SIZE, DATAGRAM_SIZE_LEAST, DATAGRAM_SIZE_MAX, DATAGRAM_SIZE_NEAR};
pub use connection::rtt::{INITIAL_RTT, RttEstimator};
pub use connection::{KEEPALIVE_FIRST, KEEPALIVE_LATER, LOST_AFTER, PACKETS_MAX, SUSPECT_AFTER_PTO};
pub use contact::{CONTACT_ENDPOINTS_MAX, Contact, GENERATION_LIFETIME, GENERATIONS_MAX, Generation};
pub use endpoint::{CONTACTS_MAX, Endpoint, EndpointConfig};
pub use event::{
    CloseCode, EndReason, Misbehaviour, SendError, SessionEvent, SessionId, StreamError, StreamEvent,
    StreamHead, StreamId, TransferPurpose,
};
pub use handshake::{DIAL_GIVE_UP, HANDSHAKE_GIVE_UP};
pub use held::Held;
pub use replay::REPLAY_WINDOW;
pub use stats::{PathInfo, SessionInfo, SocketStats};
pub use streams::opened::outgoing::{STREAM_BUFFER_MAX, STREAMS_BUFFER_MAX};
pub use streams::send::SEND_BUFFER_MAX;
pub use wire::{Ecn, Received, Transmit};
