//! What a log says of a client: its course at INFO, people and addresses at DEBUG, datagrams at
//! TRACE; no text, no file name, no secret at any level.

use p2pchat_engine::Event;
use p2pchat_session::{Received, Transmit};
use tracing::{debug, info, trace, warn};

/// One event, before the front end gets it.
pub(crate) fn event(event: &Event) {
    match event {
        Event::Ready(ready) => {
            info!("ready");
            debug!(peer = %ready.peer, name = %ready.name, udp = ?ready.udp, udp6 = ?ready.udp6, "this client");
        }
        Event::Broker(broker) => {
            let code = broker.reason.as_ref().map(|failure| failure.code());
            info!(state = ?broker.state, code, "broker");
            debug!(address = %broker.address, key = ?broker.key, "broker");
        }
        Event::Request(request) => {
            info!(request = %request.request, direction = ?request.direction, state = ?request.state, "request");
            debug!(request = %request.request, peer = ?request.peer, trust = ?request.trust, "request");
        }
        Event::Session(session) => {
            info!(state = ?session.state, reason = session.reason.as_deref(), "session");
            let remote = session.link.as_ref().map(|link| link.remote);
            debug!(peer = %session.peer, ?remote, trust = ?session.trust, "session");
        }
        Event::Message(message) => {
            debug!(peer = %message.peer, seq = message.message.seq, mine = message.mine, "message");
        }
        Event::Receipt(receipt) => {
            debug!(peer = %receipt.peer, seq = receipt.message.seq, state = ?receipt.state, "receipt");
        }
        Event::File(file) => {
            let code = file.reason.as_ref().map(|failure| failure.code());
            debug!(peer = %file.peer, transfer = file.transfer.0, state = ?file.state, bytes = file.bytes, code, "file");
        }
        Event::Trust(trust) => {
            let mismatch = trust.pinned.is_some();
            info!(was = ?trust.was, is = ?trust.is, mismatch, "trust");
            debug!(peer = %trust.peer, pinned = ?trust.pinned, "trust");
        }
        Event::Standing(standing) => info!(?standing, "standing"),
        Event::Presence(person) => debug!(peer = %person.peer, status = ?person.status, "presence"),
        Event::Failed { id, failure } => info!(id = id.0, code = failure.code(), "command failed"),
        Event::Error(failure) => warn!(code = failure.code(), "failure"),
        Event::Stopped(stopped) => {
            let code = stopped.failure.as_ref().map(|failure| failure.code());
            info!(code, "stopped");
        }
        Event::Typing { peer, .. } => debug!(%peer, "typing"),
        Event::People { .. } | Event::Info { .. } | Event::Recalled { .. } | Event::Done { .. } => {}
    }
}

/// Datagrams that came as one buffer.
pub(super) fn received(received: &Received, len: usize) {
    trace!(from = %received.from, len, segment = received.segment_size, "received");
}

/// Datagrams that leave as one buffer.
pub(super) fn sent(transmit: &Transmit, len: usize) {
    trace!(to = %transmit.to, len, segment = transmit.segment_size, "sent");
}
