//! The side that is asked.

use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::offer::{Addressee, OfferBody, OfferKind, Purpose, SignedOffer};
use p2pchat_proto::{PeerId, RequestId};
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};

use super::check::{self, Common, Exchange};
use super::{AcceptTerms, Accepted, Expected, OfferError, kem_of_mine};
use crate::identity::Identity;
use crate::introduction::Role;
use crate::kem::{Encapsulated, is_encapsulation_key};
use crate::secret::random;

/// A request whose offer is right: somebody may be asked about it.
#[derive(Debug)]
pub struct VerifiedRequest {
    offer: SignedOffer,
    body: OfferBody,
}

impl VerifiedRequest {
    /// Checks an offer that came as a request. That its id is new is for [`super::RequestMemory`].
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn verify(offer: SignedOffer, expected: Expected<'_>) -> Result<Self, OfferError> {
        if expected.pin.is_some_and(|pin| pin != expected.from) {
            return Err(OfferError::Pin);
        }
        let common = Common {
            kind: OfferKind::Request,
            me: expected.me,
            from: expected.from,
            request: expected.request,
            broker_key: expected.broker_key,
            now: expected.now,
        };
        let body = check::open(&offer, &common)?;
        let for_me = match &body.to {
            Addressee::Peer(peer) => *peer == expected.me,
            Addressee::Name(name) => expected.my_name == Some(name),
        };
        if !for_me {
            return Err(OfferError::To);
        }
        if body.answers.is_some() {
            return Err(OfferError::Answers);
        }
        if !is_encapsulation_key(&body.kem) {
            return Err(OfferError::Kem);
        }
        Ok(Self { offer, body })
    }

    /// Who asks.
    pub const fn from(&self) -> PeerId {
        self.body.from
    }

    /// The request's id.
    pub const fn request(&self) -> RequestId {
        self.body.request
    }

    /// What for.
    pub const fn purpose(&self) -> Purpose {
        self.body.purpose
    }

    /// Says yes: the signed offer for the other side, and what this side keeps.
    ///
    /// # Errors
    /// [`OfferError::Suites`] for terms without ChaCha20-Poly1305, [`OfferError::Randomness`],
    /// [`OfferError::KemUnavailable`].
    pub fn accept(
        self,
        me: &Identity,
        terms: AcceptTerms,
        rng: &mut dyn CryptoRng,
    ) -> Result<(SignedOffer, Accepted), OfferError> {
        let encapsulated = Encapsulated::to(&self.body.kem).map_err(kem_of_mine)?;
        self.accept_with(me, terms, encapsulated, rng)
    }

    pub(crate) fn accept_with(
        self,
        me: &Identity,
        terms: AcceptTerms,
        encapsulated: Encapsulated,
        rng: &mut dyn CryptoRng,
    ) -> Result<(SignedOffer, Accepted), OfferError> {
        let ephemeral = StaticSecret::from(*random(rng)?);
        let body = OfferBody {
            version: PROTOCOL_VERSION,
            kind: OfferKind::Accept,
            request: self.body.request,
            from: me.peer_id(),
            to: Addressee::Peer(self.body.from),
            noise_static: me.noise_public(),
            eph_x25519: PublicKey::from(&ephemeral).to_bytes(),
            kem: encapsulated.ciphertext,
            suites: terms.suites,
            features: 0,
            broker_key: self.body.broker_key,
            made: terms.made,
            purpose: self.body.purpose,
            answers: Some(check::digest(&self.offer)),
        };
        let accept = check::sign(me, &body)?;
        let accepted = check::introduce(&Exchange {
            role: Role::Responder,
            me: me.peer_id(),
            my_suites: terms.suites,
            ephemeral: &ephemeral,
            kem: &encapsulated.secret,
            request: &self.offer,
            accept: &accept,
            peer: &self.body,
        })?;
        Ok((accept, accepted))
    }
}
