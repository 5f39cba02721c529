//! What is kept of somebody, so that the two meet again without a broker (protocol section 5).

use core::time::Duration;

use p2pchat_crypto::{ResumptionSecret, Suite};
use p2pchat_proto::{PeerId, UdpEndpoints, WallTime};

/// Secrets of one contact that are kept at once: the last that the other side is proven to hold, and
/// the one that came after it (protocol section 5).
pub const GENERATIONS_MAX: usize = 2;
/// Age at which a secret is erased, by the clock that people read (protocol section 5).
pub const GENERATION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Endpoints of a contact that are kept, the latest first: a home, an office, a telephone and one to
/// spare. All that ever worked would be a diary.
pub const CONTACT_ENDPOINTS_MAX: usize = 4;

/// One secret that a session left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The secret.
    pub secret: ResumptionSecret,
    /// What sealed the data of that session, and will again.
    pub suite: Suite,
    /// When it was made, by this side's clock.
    pub made: WallTime,
    /// Whether the other side is proven to hold it: something authentic came that only its holder
    /// could send.
    pub proven: bool,
}

/// Somebody who may come back without asking, and what the two begin with then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub peer: PeerId,
    /// Its Noise static key, proven by the last session.
    pub peer_noise: [u8; 32],
    /// Where sessions with it ran, the latest first, at most [`CONTACT_ENDPOINTS_MAX`].
    pub endpoints: UdpEndpoints,
    /// At most [`GENERATIONS_MAX`] secrets, the oldest first.
    pub generations: Vec<Generation>,
}

/// What a session says of its secrets.
#[derive(Debug)]
pub(crate) struct SecretNews {
    /// The secret that the new one comes after: of the session that was resumed, or of the epoch before.
    pub(crate) base: Option<ResumptionSecret>,
    pub(crate) secret: ResumptionSecret,
    /// Whether the peer has just proven it. Otherwise this side is about to prove it to the peer.
    pub(crate) proven: bool,
}

impl Contact {
    pub(crate) fn has(&self, secret: &ResumptionSecret) -> bool {
        self.place(secret).is_some()
    }

    /// Takes what a session says. Whether that changed what is kept.
    ///
    /// At every moment the two sides have a generation in common, whatever is lost on the way and
    /// whichever of them crashes, as long as what is kept is on the disk before the next datagram
    /// leaves:
    ///
    /// - Nothing leaves under a new secret before it is kept. So what the peer proves, it has kept.
    /// - An older one goes only when the peer proves a newer one; what was begun beside it stays.
    /// - A side that answers keeps the new one beside the one that it was begun with, which the other
    ///   side has just shown to hold, and drops those that came of attempts before.
    pub(crate) fn take(&mut self, news: &SecretNews, suite: Suite, now: WallTime) -> bool {
        let before = self.generations.clone();
        let new = Generation { secret: news.secret.clone(), suite, made: now, proven: news.proven };
        let base = news.base.as_ref().and_then(|base| self.place(base));
        if news.proven {
            self.prove(new, news.base.is_some(), base);
        } else {
            let keep = base.or_else(|| self.generations.iter().rposition(|known| known.proven));
            let kept = keep.and_then(|place| self.generations.get(place).cloned());
            let kept = kept.map(|kept| Generation { proven: true, ..kept });
            self.generations = kept.into_iter().chain([new]).collect();
        }
        let excess = self.generations.len().saturating_sub(GENERATIONS_MAX);
        self.generations.drain(..excess);
        before != self.generations
    }

    /// The session is at this address.
    pub(crate) fn is_at(&mut self, endpoint: core::net::SocketAddr) -> bool {
        let others = self.endpoints.as_slice().iter().copied().filter(|other| *other != endpoint);
        let all = core::iter::once(endpoint).chain(others).take(CONTACT_ENDPOINTS_MAX);
        let endpoints = UdpEndpoints::new(all);
        let changed = endpoints != self.endpoints;
        self.endpoints = endpoints;
        changed
    }

    /// Erases what is too old. Whether anything was.
    pub(crate) fn expire(&mut self, now: WallTime) -> bool {
        let before = self.generations.len();
        // A clock that was set back makes nothing old.
        let age = |made: WallTime| Duration::from_millis(now.0.saturating_sub(made.0));
        self.generations.retain(|known| age(known.made) < GENERATION_LIFETIME);
        self.generations.len() != before
    }

    /// When the last of it is too old.
    pub(crate) fn until(&self) -> Option<WallTime> {
        let lifetime = u64::try_from(GENERATION_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        self.generations.iter().map(|known| WallTime(known.made.0.saturating_add(lifetime))).max()
    }

    fn prove(&mut self, new: Generation, has_base: bool, base: Option<usize>) {
        // What one begun with the broker's help takes the place of cannot be told: the other side may have
        // proven them in another order, where both asked at once.
        if let Some(mut place) = self.place(&new.secret) {
            if has_base {
                self.generations.drain(..place);
                place = 0;
            }
            if let Some(known) = self.generations.get_mut(place) {
                known.proven = true;
            }
            return;
        }
        // One that was begun with what has gone meanwhile: what came instead was begun beside it.
        if let Some(place) = base {
            self.generations.drain(..=place);
        }
        self.generations.push(new);
    }

    fn place(&self, secret: &ResumptionSecret) -> Option<usize> {
        self.generations.iter().position(|known| known.secret == *secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn secret(n: u8) -> ResumptionSecret {
        ResumptionSecret::from_bytes([n; 32])
    }

    /// A contact with these secrets, `true` for the proven ones.
    fn contact(kept: &[(u8, bool)]) -> Contact {
        let suite = Suite::ChaCha20Poly1305;
        let generation =
            |&(n, proven): &(u8, bool)| Generation { secret: secret(n), suite, made: NOW, proven };
        let generations = kept.iter().map(generation).collect();
        let endpoints = UdpEndpoints::default();
        Contact { peer: PeerId([1; 32]), peer_noise: [2; 32], endpoints, generations }
    }

    fn after(kept: &[(u8, bool)], base: Option<u8>, new: u8, proven: bool) -> Vec<(u8, bool)> {
        let mut contact = contact(kept);
        let news = SecretNews { base: base.map(secret), secret: secret(new), proven };
        let changed = contact.take(&news, Suite::ChaCha20Poly1305, NOW);
        let left: Vec<_> = contact.generations.iter().map(|g| (g.secret.expose()[0], g.proven)).collect();
        assert_eq!(changed, left != kept);
        left
    }

    const P: (u8, bool) = (1, true);

    #[test]
    fn a_new_secret_stands_beside_the_proven_one_until_it_is_proven_itself() {
        assert_eq!(after(&[P], Some(1), 2, false), [P, (2, false)]);
        assert_eq!(after(&[P, (2, false)], Some(1), 2, true), [(2, true)]);
        assert_eq!(after(&[P], Some(1), 2, true), [(2, true)], "who began keeps it when it is proven");
        assert_eq!(after(&[], None, 2, false), [(2, false)]);
        assert_eq!(after(&[], None, 2, true), [(2, true)]);
    }

    #[test]
    fn an_attempt_takes_the_place_of_the_one_before_it_and_never_of_what_is_proven() {
        assert_eq!(after(&[P, (2, false)], Some(1), 3, false), [P, (3, false)]);
        assert_eq!(after(&[P, (2, false)], Some(2), 3, false), [(2, true), (3, false)]);
        assert_eq!(after(&[P, (2, false)], None, 3, false), [P, (3, false)], "by way of the broker");
        assert_eq!(after(&[P, (2, false)], Some(2), 3, true), [(3, true)]);
    }

    #[test]
    fn what_was_begun_from_both_sides_at_once_stays_until_something_newer_is_proven() {
        let begun = [P, (2, false)];
        assert_eq!(after(&begun, Some(1), 3, true), [(2, false), (3, true)]);
        assert_eq!(after(&[(2, false), (3, true)], Some(1), 2, true), [(2, true), (3, true)]);
        assert_eq!(after(&[(2, true)], Some(1), 3, true), [(2, true), (3, true)], "its base has gone");
        assert_eq!(after(&[(2, true), (3, true)], Some(3), 4, false), [(3, true), (4, false)]);
        assert_eq!(after(&[(2, true), (3, true)], Some(2), 4, false), [(2, true), (4, false)]);
    }

    #[test]
    fn two_sessions_by_way_of_the_broker_leave_one_in_common_in_whichever_order_they_are_proven() {
        let news = |n| SecretNews { base: None, secret: secret(n), proven: true };
        let begun = |n| SecretNews { proven: false, ..news(n) };
        // Who answers has begun with a secret before it is proven; who asks learns both at once.
        let orders = [
            vec![news(2), news(3)],
            vec![news(3), news(2)],
            vec![begun(2), news(2), begun(3), news(3)],
            vec![begun(3), begun(2), news(3), news(2)],
            vec![begun(2), news(3), news(2)],
        ];
        let kept = orders.map(|order| {
            let mut contact = contact(&[P]);
            order.iter().for_each(|news| {
                contact.take(news, Suite::ChaCha20Poly1305, NOW);
            });
            contact
        });
        for one in &kept {
            for other in &kept {
                assert!(one.generations.iter().any(|generation| other.has(&generation.secret)), "{kept:?}");
            }
        }
        // The next renewal leaves nothing older.
        assert_eq!(after(&[(2, true), (3, true)], Some(3), 4, true), [(4, true)]);
    }

    #[test]
    fn a_secret_is_erased_when_it_is_thirty_days_old() {
        let mut contact = contact(&[P, (2, false)]);
        contact.generations[1].made = WallTime(NOW.0 + 1000);
        let lifetime = u64::try_from(GENERATION_LIFETIME.as_millis()).unwrap();
        assert!(!contact.expire(WallTime(0)) && !contact.expire(WallTime(NOW.0 + lifetime - 1)));
        assert!(contact.expire(WallTime(NOW.0 + lifetime)));
        assert_eq!(contact.generations.len(), 1);
        assert!(contact.expire(WallTime(NOW.0 + lifetime + 1000)));
        assert!(contact.generations.is_empty());
    }

    #[test]
    fn the_latest_endpoints_are_kept_and_no_more_than_four() {
        let mut contact = contact(&[]);
        let at = |n: u16| core::net::SocketAddr::from(([10, 0, 0, 1], n));
        (1..=6).for_each(|n| assert!(contact.is_at(at(n))));
        assert!(!contact.is_at(at(6)));
        assert!(contact.is_at(at(4)));
        assert_eq!(contact.endpoints.as_slice(), [at(4), at(6), at(5), at(3)]);
    }
}
