//! The side that asked: INIT to every endpoint until RESP comes.

use p2pchat_crypto::{Identity, Introduction, handshake};
use p2pchat_proto::datagram::{Datagram, FIN_LEN, ReceiverId};
use p2pchat_proto::{Moment, UdpEndpoints};
use rand::CryptoRng;

use super::fanout::Fanout;
use super::rates::{PerSecond, UNVALIDATED_PER_SECOND};
use super::{ConnectionStart, HANDSHAKE_GIVE_UP, Path, is_authentic, with_mac};
use crate::connection::{Confirmation, Link};
use crate::event::Misbehaviour;
use crate::wire::Transmit;

/// INIT is out, RESP is not here.
pub(crate) struct Initiating {
    introduction: Introduction,
    noise: handshake::Initiator,
    /// Retransmissions are the same bytes.
    init: Vec<u8>,
    fanout: Fanout,
    give_up: Moment,
}

impl Initiating {
    pub(crate) fn start(
        introduction: Introduction,
        receiver: ReceiverId,
        me: &Identity,
        endpoints: &UdpEndpoints,
        rng: &mut dyn CryptoRng,
        now: Moment,
    ) -> Self {
        let (noise, message) = handshake::Initiator::start(&introduction, me, rng);
        let ticket = introduction.my_ticket().0;
        let init = with_mac(&introduction, &Datagram::Init { sender: receiver, ticket, noise: message });
        let fanout = Fanout::new(endpoints, now);
        Self { introduction, noise, init, fanout, give_up: now + HANDSHAKE_GIVE_UP }
    }

    pub(crate) fn add_endpoints(&mut self, endpoints: &UdpEndpoints, now: Moment) {
        self.fanout.add(endpoints, now);
    }

    /// Whether `bytes`, a RESP or a PUNCH, come from the introduced peer.
    pub(crate) fn is_authentic(&self, bytes: &[u8]) -> bool {
        is_authentic(&self.introduction, bytes)
    }

    /// An authentic PUNCH came from there.
    pub(crate) fn on_punch(&mut self, path: Path, now: Moment) {
        self.fanout.learn(path.remote, now);
    }

    /// Takes an authentic RESP: the session, which sends FIN.
    pub(crate) fn on_resp(
        self,
        sender: ReceiverId,
        message: &[u8; handshake::MESSAGE_2_LEN],
        path: Path,
        now: Moment,
    ) -> Result<ConnectionStart, Misbehaviour> {
        let Ok((keys, message)) = self.noise.read_response(message) else {
            return Err(Misbehaviour::Handshake);
        };
        let fin = with_mac(&self.introduction, &Datagram::Fin { receiver: sender, noise: message });
        debug_assert_eq!(fin.len(), FIN_LEN, "protocol section 4");
        let link = Link::new(&self.introduction, path, sender);
        let confirmation = Confirmation::repeating(fin, now);
        Ok(ConnectionStart { link, keys, confirmation, give_up: self.give_up })
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
        let to = self.fanout.take_due(budget, now)?;
        out.extend_from_slice(&self.init);
        Some(Path { remote: to, local_ip: None }.transmit())
    }
}
