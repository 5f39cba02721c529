//! The side that asked: INIT to every endpoint until RESP comes.

use p2pchat_crypto::{Identity, Introduction, ResumptionSecret, handshake};
use p2pchat_proto::datagram::{Datagram, FIN_LEN, ReceiverId};
use p2pchat_proto::{Moment, PeerId, UdpEndpoints};
use rand::CryptoRng;

use super::fanout::Fanout;
use super::rates::{PerSecond, UNVALIDATED_PER_SECOND};
use super::{ConnectionStart, DIAL_GIVE_UP, HANDSHAKE_GIVE_UP, Path, is_authentic, with_mac};
use crate::allowance::Allowance;
use crate::connection::{Confirmation, Link};
use crate::event::Misbehaviour;
use crate::wire::Transmit;

/// INIT is out, RESP is not here.
pub(crate) struct Initiating {
    peer: PeerId,
    /// One for each introduction that the two may share. The first answer decides.
    attempts: Vec<Attempt>,
    began: Moment,
    /// When it is over without an answer.
    unanswered: Moment,
}

/// INIT of one introduction.
pub(crate) struct Attempt {
    introduction: Introduction,
    /// The secret of an earlier session, where it comes from one.
    base: Option<ResumptionSecret>,
    /// Where this side receives.
    receiver: ReceiverId,
    noise: handshake::Initiator,
    /// Retransmissions are the same bytes.
    init: Vec<u8>,
    fanout: Fanout,
}

/// An authentic RESP.
pub(crate) struct Resp<'a> {
    /// Where the responder receives.
    pub(crate) sender: ReceiverId,
    /// Which attempt it answers.
    pub(crate) receiver: ReceiverId,
    pub(crate) message: &'a [u8; handshake::MESSAGE_2_LEN],
    /// All of it.
    pub(crate) bytes: &'a [u8],
    pub(crate) path: Path,
}

impl Initiating {
    pub(crate) fn new(peer: PeerId, attempts: Vec<Attempt>, now: Moment) -> Self {
        let introduced = attempts.iter().any(|attempt| attempt.base.is_none());
        let patience = if introduced { HANDSHAKE_GIVE_UP } else { DIAL_GIVE_UP };
        Self { peer, attempts, began: now, unanswered: now + patience }
    }

    pub(crate) fn attempt(
        introduction: Introduction,
        base: Option<ResumptionSecret>,
        receiver: ReceiverId,
        me: &Identity,
        endpoints: &UdpEndpoints,
        rng: &mut dyn CryptoRng,
        now: Moment,
    ) -> Attempt {
        let (noise, message) = handshake::Initiator::start(&introduction, me, rng);
        let ticket = introduction.my_ticket().0;
        let init = with_mac(&introduction, &Datagram::Init { sender: receiver, ticket, noise: message });
        let fanout = Fanout::new(endpoints, init.len(), now);
        Attempt { introduction, base, receiver, noise, init, fanout }
    }

    pub(crate) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether it begins with what an earlier session left.
    pub(crate) fn resumes(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.base.is_some())
    }

    /// Gives up what was begun with a secret that is not `kept` any more.
    pub(crate) fn retain(&mut self, kept: impl Fn(&ResumptionSecret) -> bool) {
        self.attempts.retain(|attempt| attempt.base.as_ref().is_none_or(&kept));
    }

    /// Whether nothing is left to begin with.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    pub(crate) fn add_endpoints(&mut self, endpoints: &UdpEndpoints, now: Moment) {
        self.attempts.iter_mut().for_each(|attempt| attempt.fanout.add(endpoints, now));
    }

    /// Whether `bytes`, a RESP to `receiver`, come from the introduced peer.
    pub(crate) fn is_authentic_resp(&self, receiver: ReceiverId, bytes: &[u8]) -> bool {
        let attempt = self.attempts.iter().find(|attempt| attempt.receiver == receiver);
        attempt.is_some_and(|attempt| is_authentic(&attempt.introduction, bytes))
    }

    /// Whether `bytes`, a PUNCH, come from the introduced peer.
    pub(crate) fn is_authentic_punch(&self, bytes: &[u8]) -> bool {
        self.attempts.iter().any(|attempt| is_authentic(&attempt.introduction, bytes))
    }

    /// A PUNCH came from there. It counts for the attempt whose peer sealed it alone.
    pub(crate) fn on_punch(&mut self, path: Path, bytes: &[u8], now: Moment) {
        let authentic = |attempt: &&mut Attempt| is_authentic(&attempt.introduction, bytes);
        if let Some(attempt) = self.attempts.iter_mut().find(authentic) {
            attempt.fanout.learn(path.remote, bytes.len() as u64, now);
        }
    }

    /// Takes an authentic RESP to `receiver`: the session, which sends FIN. The other attempts are
    /// over: two FINs would leave the other side with two secrets and this one with either.
    pub(crate) fn on_resp(mut self, resp: &Resp<'_>, now: Moment) -> Result<ConnectionStart, Misbehaviour> {
        let Resp { sender, receiver, message, bytes, path } = resp;
        let give_up = self.give_up();
        let place = self.attempts.iter().position(|attempt| attempt.receiver == *receiver);
        let Some(attempt) = place.map(|place| self.attempts.swap_remove(place)) else {
            return Err(Misbehaviour::Handshake);
        };
        let Attempt { introduction, base, noise, fanout, .. } = attempt;
        let named = fanout.names(path.remote);
        let Ok((keys, message)) = noise.read_response(message) else {
            return Err(Misbehaviour::Handshake);
        };
        let fin = with_mac(&introduction, &Datagram::Fin { receiver: *sender, noise: message });
        debug_assert_eq!(fin.len(), FIN_LEN, "protocol section 4");
        let resp = *bytes.first_chunk().ok_or(Misbehaviour::Handshake)?;
        let link = Link::new(&introduction, *sender);
        let confirmation = Confirmation::repeating(introduction, resp, fin, *path, named, now);
        // FIN has an account of its own, and nothing else leaves before the first packet.
        let allowance = Allowance::Left(0);
        let (path, began) = (*path, self.began);
        Ok(ConnectionStart { link, path, allowance, keys, confirmation, give_up, base, began })
    }

    /// When [`Self::is_over`] or [`Self::poll_transmit`] has something next.
    pub(crate) fn wakeup(&self, budget: &PerSecond<UNVALIDATED_PER_SECOND>) -> Moment {
        let due = self.attempts.iter().filter_map(|attempt| attempt.fanout.wakeup(budget)).min();
        due.unwrap_or(Moment::NEVER).min(self.unanswered)
    }

    pub(crate) fn is_over(&self, now: Moment) -> bool {
        self.unanswered <= now
    }

    pub(crate) fn poll_transmit(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let (to, init) = self.attempts.iter_mut().find_map(|attempt| {
            let to = attempt.fanout.take_due(budget, now)?;
            Some((to, &attempt.init))
        })?;
        out.extend_from_slice(init);
        Some(Path { remote: to, local_ip: None }.transmit())
    }

    fn give_up(&self) -> Moment {
        self.began + HANDSHAKE_GIVE_UP
    }
}
