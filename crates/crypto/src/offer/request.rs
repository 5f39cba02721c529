//! The side that asks.

use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::offer::{Addressee, OfferBody, OfferKind, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, WallTime};
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};

use super::check::{self, Common, Exchange};
use super::{Accepted, OfferError, RequestTerms, kem_of_mine, kem_of_peer};
use crate::identity::Identity;
use crate::introduction::Role;
use crate::kem::KemKeys;
use crate::secret::{random, redacted};

/// A request that was sent, or is about to be, and waits for its answer.
pub struct PendingRequest {
    offer: SignedOffer,
    request: RequestId,
    to: Addressee,
    suites: Suites,
    ephemeral: StaticSecret,
    kem: KemKeys,
}

redacted!(PendingRequest);

impl PendingRequest {
    /// Draws the keys of one request and signs its offer.
    ///
    /// # Errors
    /// [`OfferError::Suites`] for terms without ChaCha20-Poly1305, [`OfferError::Randomness`],
    /// [`OfferError::KemUnavailable`].
    pub fn new(me: &Identity, terms: RequestTerms, rng: &mut dyn CryptoRng) -> Result<Self, OfferError> {
        Self::with_kem(me, terms, KemKeys::generate().map_err(kem_of_mine)?, rng)
    }

    pub(crate) fn with_kem(
        me: &Identity,
        terms: RequestTerms,
        kem: KemKeys,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, OfferError> {
        let ephemeral = StaticSecret::from(*random(rng)?);
        let body = OfferBody {
            version: PROTOCOL_VERSION,
            kind: OfferKind::Request,
            request: terms.request,
            from: me.peer_id(),
            to: terms.to.clone(),
            noise_static: me.noise_public(),
            eph_x25519: PublicKey::from(&ephemeral).to_bytes(),
            kem: kem.encapsulation_key().to_vec(),
            suites: terms.suites,
            features: 0,
            broker_key: terms.broker_key,
            made: terms.made,
            purpose: terms.purpose,
            answers: None,
        };
        let offer = check::sign(me, &body)?;
        Ok(Self { offer, request: terms.request, to: terms.to, suites: terms.suites, ephemeral, kem })
    }

    /// The signed offer, to be sent to the broker.
    pub const fn offer(&self) -> &SignedOffer {
        &self.offer
    }

    /// The request's id.
    pub const fn request(&self) -> RequestId {
        self.request
    }

    /// Takes the answer. `from` is who answered by the broker's login, `broker_key` that of this
    /// side's own link, `now` by the corrected clock. Whatever is wrong ends the request.
    ///
    /// A damaged KEM ciphertext is no error here: it shows when the peer's endpoints do not open.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn accepted(
        self,
        me: &Identity,
        accept: &SignedOffer,
        from: PeerId,
        broker_key: BrokerKey,
        now: WallTime,
    ) -> Result<Accepted, OfferError> {
        match self.to {
            Addressee::Peer(peer) if peer != from => return Err(OfferError::From),
            Addressee::Peer(_) | Addressee::Name(_) => {}
        }
        let expected = Common {
            kind: OfferKind::Accept,
            me: me.peer_id(),
            from,
            request: self.request,
            broker_key,
            now,
        };
        let body = check::open(accept, &expected)?;
        if body.to != Addressee::Peer(me.peer_id()) {
            return Err(OfferError::To);
        }
        if body.answers != Some(check::digest(&self.offer)) {
            return Err(OfferError::Answers);
        }
        let kem = self.kem.decapsulate(&body.kem).map_err(kem_of_peer)?;
        check::introduce(&Exchange {
            role: Role::Initiator,
            me: me.peer_id(),
            my_suites: self.suites,
            ephemeral: &self.ephemeral,
            kem: &kem,
            request: &self.offer,
            accept,
            peer: &body,
        })
    }
}
