//! Whose datagram it is, and what is checked before anything else looks at it.
//!
//! In this order, and each step drops what does not pass: layout, a known ticket or receiver id,
//! the MAC, the limits, and only then a key exchange. Nothing is allocated before the MAC.

use p2pchat_crypto::Role;
use p2pchat_crypto::handshake::{MESSAGE_1_LEN, MESSAGE_2_LEN, MESSAGE_3_LEN};
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{DATA_HEADER_LEN, DataHeader, Datagram, ReceiverId};
use p2pchat_proto::endpoint::is_dialable;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::resume::Caller;
use super::{Endpoint, Entry, Session};
use crate::connection::Connection;
use crate::connection::receive::Opened;
use crate::event::{EndReason, SessionId};
use crate::handshake::initiator::Resp;
use crate::handshake::rates::take_repeat;
use crate::handshake::responder::NewInit;
use crate::handshake::{ConnectionStart, Path};
use crate::stats::SocketStats;
use crate::wire::Received;

/// X25519 computations of a responder for INIT: `es` and `ee`, and the key of the latter
/// (Noise section 7.5, XK).
const EXCHANGES_FOR_INIT: u64 = 3;
/// X25519 computations of an initiator for RESP: `ee` and `se`.
const EXCHANGES_FOR_RESP: u64 = 2;
/// X25519 computations of a responder for FIN: `se`.
const EXCHANGES_FOR_FIN: u64 = 1;

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    /// It was for this session.
    By(SessionId),
    /// Likewise, and an answer was made.
    Answered(SessionId),
    /// Its MAC or tag is wrong.
    Forged,
    /// Dropped for another reason.
    Dropped,
}

impl Endpoint {
    /// Takes what a socket received; `bytes` are opened in place. Hostile bytes become statistics.
    pub fn handle_datagram(&mut self, received: Received, bytes: &mut [u8], now: Moment) {
        self.now = now;
        self.notice_sleep(now);
        if bytes.is_empty() {
            self.count(Handled::Dropped);
        }
        let segment = received.segment_size.filter(|size| *size > 0).unwrap_or(bytes.len()).max(1);
        let mut touched = None;
        for datagram in bytes.chunks_mut(segment) {
            let handled = self.handle_one(&received, datagram, now);
            self.count(handled);
            if let Handled::By(id) | Handled::Answered(id) = handled
                && touched != Some(id)
            {
                touched.replace(id).into_iter().for_each(|other| self.take_from(other));
            }
        }
        touched.into_iter().for_each(|id| self.take_from(id));
    }

    /// A session got something: its wakeup is asked for when it has nothing more to send.
    fn take_from(&mut self, id: SessionId) {
        self.make_ready(id);
        self.collect(id);
    }

    fn count(&mut self, handled: Handled) {
        let SocketStats { received, answered, mac_failed, dropped, .. } = &mut self.stats;
        let add = |counter: &mut u64| *counter = counter.saturating_add(1);
        add(received);
        match handled {
            Handled::By(_) => {}
            Handled::Answered(_) => add(answered),
            Handled::Forged => {
                add(mac_failed);
                add(dropped);
            }
            Handled::Dropped => add(dropped),
        }
    }

    fn handle_one(&mut self, received: &Received, bytes: &mut [u8], now: Moment) -> Handled {
        let path = Path { remote: received.from, local_ip: received.local_ip };
        match Datagram::decode(bytes) {
            Some(Datagram::Data(header)) => self.on_data(header, bytes, path, now),
            // Their answers go to where they came from.
            Some(_) | None if !is_dialable(received.from) => Handled::Dropped,
            Some(Datagram::Init { sender, ticket, noise }) => {
                self.on_init(sender, ticket, &noise, bytes, path, now)
            }
            Some(Datagram::Resp { sender, receiver, noise }) => {
                self.on_resp(sender, receiver, &noise, bytes, path, now)
            }
            Some(Datagram::Fin { receiver, noise }) => self.on_fin(receiver, &noise, bytes, path, now),
            Some(Datagram::Punch { ticket }) => self.on_punch(ticket, bytes, path, now),
            None => Handled::Dropped,
        }
    }

    fn on_data(&mut self, header: DataHeader, bytes: &mut [u8], path: Path, now: Moment) -> Handled {
        let Some((id, Session::Connected(connection))) = self.named_by(header.receiver) else {
            return Handled::Dropped;
        };
        let Some((header_bytes, sealed)) = bytes.split_at_mut_checked(DATA_HEADER_LEN) else {
            return Handled::Dropped;
        };
        match connection.handle_packet(header, header_bytes, sealed, path, now) {
            Opened::Yes => Handled::By(id),
            Opened::Stale => Handled::Dropped,
            Opened::Forged => Handled::Forged,
        }
    }

    fn on_init(
        &mut self,
        sender: ReceiverId,
        ticket: [u8; 8],
        message: &[u8; MESSAGE_1_LEN],
        bytes: &[u8],
        path: Path,
        now: Moment,
    ) -> Handled {
        let id = match self.by_ticket.get(&ticket).copied() {
            Some(id) => id,
            None => match self.answer_contact(ticket, bytes, now) {
                Caller::Nobody => return Handled::Dropped,
                Caller::Forged => return Handled::Forged,
                Caller::Answer(id) => id,
            },
        };
        let Some(Entry { session: Session::Responding(responding), .. }) = self.sessions.get_mut(&id) else {
            return Handled::Dropped;
        };
        if !responding.is_authentic(bytes) {
            return Handled::Forged;
        }
        let contact = responding.base().and_then(|_| self.contacts.rates(responding.peer()));
        if let Some(receiver) = responding.begun_by(message) {
            if !take_repeat(&mut responding.rates, contact, now) {
                self.stats.limited = self.stats.limited.saturating_add(1);
                return Handled::Dropped;
            }
            self.stats.repeated = self.stats.repeated.saturating_add(1);
            responding.answer(receiver, path);
            return Handled::Answered(id);
        }
        if !self.inits.take(&mut responding.rates, contact, path.remote.ip(), now) {
            self.stats.limited = self.stats.limited.saturating_add(1);
            return Handled::Dropped;
        }
        let receiver = self.draw_receiver(id);
        let Some(Entry { session: Session::Responding(responding), .. }) = self.sessions.get_mut(&id) else {
            return Handled::Dropped;
        };
        self.stats.key_exchanges = self.stats.key_exchanges.saturating_add(EXCHANGES_FOR_INIT);
        let init = NewInit { receiver, sender, message, path, now };
        match responding.respond(&init, &self.me, &mut self.rng) {
            Ok(replaced) => {
                if let Some(replaced) = replaced {
                    self.by_receiver.remove(&replaced);
                }
                Handled::Answered(id)
            }
            Err(_) => {
                self.by_receiver.remove(&receiver);
                Handled::Dropped
            }
        }
    }

    fn on_resp(
        &mut self,
        sender: ReceiverId,
        receiver: ReceiverId,
        message: &[u8; MESSAGE_2_LEN],
        bytes: &[u8],
        path: Path,
        now: Moment,
    ) -> Handled {
        let Some((id, session)) = self.named_by(receiver) else {
            return Handled::Dropped;
        };
        let initiating = match session {
            Session::Initiating(initiating) => initiating,
            Session::Connected(connection) => {
                let repeated = connection.on_repeated_resp(bytes, path);
                return if repeated { Handled::By(id) } else { Handled::Dropped };
            }
            Session::Responding(_) => return Handled::Dropped,
        };
        if !initiating.is_authentic_resp(receiver, bytes) {
            return Handled::Forged;
        }
        let Some(Entry { session: Session::Initiating(initiating), wakeup, ready }) =
            self.sessions.remove(&id)
        else {
            return Handled::Dropped;
        };
        self.stats.key_exchanges = self.stats.key_exchanges.saturating_add(EXCHANGES_FOR_RESP);
        let resp = Resp { sender, receiver, message, bytes, path };
        match initiating.on_resp(&resp, now) {
            Ok(start) => {
                self.connect(id, start, Place { wakeup, ready, receiver }, now);
                Handled::Answered(id)
            }
            Err(how) => {
                self.wakeups.put_off(id, wakeup, Moment::NEVER);
                self.end(id, EndReason::PeerMisbehaved(how));
                Handled::Dropped
            }
        }
    }

    fn on_fin(
        &mut self,
        receiver: ReceiverId,
        message: &[u8; MESSAGE_3_LEN],
        bytes: &[u8],
        path: Path,
        now: Moment,
    ) -> Handled {
        let Some((id, session)) = self.named_by(receiver) else {
            return Handled::Dropped;
        };
        let authentic = match session {
            Session::Connected(connection) => {
                return if connection.on_repeated_fin(bytes, path, now) {
                    Handled::Answered(id)
                } else {
                    Handled::Forged
                };
            }
            Session::Responding(responding) => responding.is_authentic(bytes),
            Session::Initiating(_) => return Handled::Dropped,
        };
        if !authentic {
            return Handled::Forged;
        }
        let Some(Entry { session: Session::Responding(responding), wakeup, ready }) =
            self.sessions.remove(&id)
        else {
            return Handled::Dropped;
        };
        self.stats.key_exchanges = self.stats.key_exchanges.saturating_add(EXCHANGES_FOR_FIN);
        match responding.on_fin(receiver, message, path) {
            Ok(start) => {
                self.connect(id, start, Place { wakeup, ready, receiver }, now);
                Handled::Answered(id)
            }
            Err(responding) => {
                // This handshake is over; others of the same ticket may still succeed.
                self.by_receiver.remove(&receiver);
                self.sessions.insert(id, Entry { session: Session::Responding(responding), wakeup, ready });
                Handled::Dropped
            }
        }
    }

    fn on_punch(&mut self, ticket: [u8; 8], bytes: &[u8], path: Path, now: Moment) -> Handled {
        let Some(id) = self.by_ticket.get(&ticket).copied() else {
            return Handled::Dropped;
        };
        let initiating = match self.sessions.get_mut(&id).map(|entry| &mut entry.session) {
            Some(Session::Initiating(initiating)) => initiating,
            Some(Session::Connected(connection)) => {
                let of_use = connection.on_punch(bytes, path);
                return if of_use { Handled::By(id) } else { Handled::Dropped };
            }
            Some(Session::Responding(_)) | None => return Handled::Dropped,
        };
        if !initiating.is_authentic_punch(bytes) {
            return Handled::Forged;
        }
        initiating.on_punch(path, bytes, now);
        Handled::By(id)
    }

    /// A handshake is done: its session has keys, and one receiver id.
    fn connect(&mut self, id: SessionId, start: ConnectionStart, place: Place, now: Moment) {
        if start.link.role == Role::Responder {
            self.by_ticket.retain(|_, session| *session != id);
        }
        self.by_receiver.retain(|receiver, session| *session != id || *receiver == place.receiver);
        let rng = ChaCha20Rng::from_rng(&mut self.rng);
        let mut connection =
            Box::new(Connection::new(start, self.me.clone(), rng, self.config.controller, now));
        connection.withhold_credit(self.withheld);
        let Place { wakeup, ready, .. } = place;
        self.sessions.insert(id, Entry { session: Session::Connected(connection), wakeup, ready });
    }

    fn named_by(&mut self, receiver: ReceiverId) -> Option<(SessionId, &mut Session)> {
        let id = *self.by_receiver.get(&receiver)?;
        Some((id, &mut self.sessions.get_mut(&id)?.session))
    }
}

/// What a session keeps of its entry when its state changes.
struct Place {
    wakeup: Moment,
    ready: bool,
    receiver: ReceiverId,
}
