//! The side that accepted: PUNCH to open its NAT, RESP to every INIT, silence otherwise.

use core::net::SocketAddr;
use std::collections::VecDeque;

use p2pchat_crypto::{Identity, Introduction, ResumptionSecret, handshake};
use p2pchat_proto::datagram::{Datagram, FIN_LEN, ReceiverId};
use p2pchat_proto::{Moment, PeerId, UdpEndpoints};
use rand::CryptoRng;

use super::fanout::Fanout;
use super::rates::{PerSecond, TicketRates, UNVALIDATED_PER_SECOND};
use super::{ConnectionStart, HANDSHAKE_GIVE_UP, Path, is_authentic, with_mac};
use crate::allowance::Allowance;
use crate::connection::{Confirmation, Link};
use crate::wire::Transmit;

/// Handshakes that wait for their FIN (protocol section 4). A fifth replaces the oldest.
const PENDING_MAX: usize = 4;
/// RESPs that wait for being sent. What is beyond is dropped; INIT comes again.
const ANSWERS_MAX: usize = 8;

/// Waits for INIT, then for FIN.
pub(crate) struct Responding {
    introduction: Introduction,
    /// The secret of an earlier session, where the introduction comes from one.
    base: Option<ResumptionSecret>,
    fanout: Fanout,
    punch: Vec<u8>,
    pending: VecDeque<Pending>,
    answers: VecDeque<Answer>,
    /// INITs of this ticket.
    pub(crate) rates: TicketRates,
    give_up: Moment,
}

/// RESP is out, FIN is not here.
struct Pending {
    noise: handshake::Responder,
    /// Noise message 1, by which a repeated INIT is known.
    message: [u8; handshake::MESSAGE_1_LEN],
    /// Where this side receives.
    receiver: ReceiverId,
    /// Where the initiator does.
    peer: ReceiverId,
    /// A repeated INIT is answered with the same bytes.
    resp: Vec<u8>,
    /// When the INIT came.
    began: Moment,
    /// To whom it went.
    answered: Answered,
}

/// Who could know a RESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Nobody,
    One(SocketAddr),
    Several,
}

impl Answered {
    fn add(&mut self, to: SocketAddr) {
        *self = match *self {
            Self::Nobody => Self::One(to),
            Self::One(known) if known == to => Self::One(to),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

struct Answer {
    receiver: ReceiverId,
    path: Path,
}

/// A new INIT, authentic and within the limits.
pub(crate) struct NewInit<'a> {
    /// Where this side will receive.
    pub(crate) receiver: ReceiverId,
    /// Where the initiator does.
    pub(crate) sender: ReceiverId,
    pub(crate) message: &'a [u8; handshake::MESSAGE_1_LEN],
    pub(crate) path: Path,
    pub(crate) now: Moment,
}

impl Responding {
    pub(crate) fn start(introduction: Introduction, endpoints: &UdpEndpoints, now: Moment) -> Self {
        let punch = with_mac(&introduction, &Datagram::Punch { ticket: introduction.my_ticket().0 });
        Self {
            introduction,
            base: None,
            fanout: Fanout::new(endpoints, punch.len(), now),
            punch,
            pending: VecDeque::new(),
            answers: VecDeque::new(),
            rates: TicketRates::new(),
            give_up: now + HANDSHAKE_GIVE_UP,
        }
    }

    /// Answers a contact, from whom an INIT has come.
    pub(crate) fn resume(introduction: Introduction, base: ResumptionSecret, now: Moment) -> Self {
        Self { base: Some(base), ..Self::start(introduction, &UdpEndpoints::default(), now) }
    }

    pub(crate) const fn peer(&self) -> PeerId {
        self.introduction.peer()
    }

    /// The secret of an earlier session, where it resumes one.
    pub(crate) const fn base(&self) -> Option<&ResumptionSecret> {
        self.base.as_ref()
    }

    pub(crate) fn add_endpoints(&mut self, endpoints: &UdpEndpoints, now: Moment) {
        self.fanout.add(endpoints, now);
    }

    /// Whether `bytes`, an INIT or a FIN, come from the introduced peer.
    pub(crate) fn is_authentic(&self, bytes: &[u8]) -> bool {
        is_authentic(&self.introduction, bytes)
    }

    /// Which handshake an INIT that came before began.
    pub(crate) fn begun_by(&self, message: &[u8; handshake::MESSAGE_1_LEN]) -> Option<ReceiverId> {
        let pending = self.pending.iter().find(|pending| pending.message == *message);
        pending.map(|pending| pending.receiver)
    }

    /// Computes and queues the RESP to a new INIT. Answers with the handshake that had to go.
    pub(crate) fn respond(
        &mut self,
        init: &NewInit<'_>,
        me: &Identity,
        rng: &mut dyn CryptoRng,
    ) -> Result<Option<ReceiverId>, handshake::HandshakeError> {
        let (noise, message) = handshake::Responder::respond(&self.introduction, me, init.message, rng)?;
        let resp = Datagram::Resp { sender: init.receiver, receiver: init.sender, noise: message };
        let resp = with_mac(&self.introduction, &resp);
        let replaced = if self.pending.len() >= PENDING_MAX { self.pending.pop_front() } else { None };
        self.pending.push_back(Pending {
            noise,
            message: *init.message,
            receiver: init.receiver,
            peer: init.sender,
            resp,
            began: init.now,
            answered: Answered::Nobody,
        });
        self.answer(init.receiver, init.path);
        Ok(replaced.map(|pending| pending.receiver))
    }

    /// Takes an authentic FIN: the session, or oneself without the handshake that failed.
    pub(crate) fn on_fin(
        mut self,
        receiver: ReceiverId,
        message: &[u8; handshake::MESSAGE_3_LEN],
        path: Path,
    ) -> Result<ConnectionStart, Box<Self>> {
        let Some(index) = self.pending.iter().position(|pending| pending.receiver == receiver) else {
            return Err(Box::new(self));
        };
        let Some(pending) = self.pending.remove(index) else {
            return Err(Box::new(self));
        };
        let Ok(keys) = pending.noise.finish(message) else {
            return Err(Box::new(self));
        };
        // FIN proves that RESP was read: where it went to one address only, that one is proven.
        let proven = pending.answered == Answered::One(path.remote);
        let allowance = if proven { Allowance::Validated } else { Allowance::earned(FIN_LEN as u64) };
        let link = Link::new(&self.introduction, pending.peer);
        let confirmation = Confirmation::awaiting(self.introduction);
        let (give_up, base, began) = (self.give_up, self.base, pending.began);
        Ok(ConnectionStart { link, path, allowance, keys, confirmation, give_up, base, began })
    }

    /// When [`Self::is_over`] or [`Self::poll_transmit`] has something next.
    pub(crate) fn wakeup(&self, budget: &PerSecond<UNVALIDATED_PER_SECOND>) -> Moment {
        self.fanout.wakeup(budget).unwrap_or(Moment::NEVER).min(self.give_up)
    }

    pub(crate) fn is_over(&self, now: Moment) -> bool {
        self.give_up <= now
    }

    pub(crate) fn poll_transmit(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        while let Some(answer) = self.answers.pop_front() {
            // The initiator repeats an INIT whose answer the budget does not allow.
            let pending = self.pending.iter_mut().find(|pending| pending.receiver == answer.receiver);
            if let Some(pending) = pending.filter(|_| budget.take(now)) {
                pending.answered.add(answer.path.remote);
                out.extend_from_slice(&pending.resp);
                return Some(answer.path.transmit());
            }
        }
        let to = self.fanout.take_due(budget, now)?;
        out.extend_from_slice(&self.punch);
        Some(Path { remote: to, local_ip: None }.transmit())
    }

    /// Sends the RESP of this handshake, once more if it was sent before.
    pub(crate) fn answer(&mut self, receiver: ReceiverId, path: Path) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(Answer { receiver, path });
        }
    }
}
