//! What contacts come back with. Among the papers it is sealed once more, so that its secrets are opened once,
//! at the start, and lie in no text.
//!
//! ```text
//! version u8 = 1 | Noise static [32] | endpoints: length u16, bytes | generations u8 |
//!   each: suite u8 | proven u8 | made u64, milliseconds | secret [32]
//! ```
//!
//! Sealed under the key of everything at rest (protocol section 13) for [`PURPOSE`] and the PeerId of the
//! contact, so that none serves for somebody else.

use p2pchat_crypto::{ResumptionSecret, StoreKey, Suite};
use p2pchat_engine::Failure;
use p2pchat_proto::{PeerId, UdpEndpoints, WallTime, codec};
use p2pchat_session::{CONTACTS_MAX, Contact, GENERATIONS_MAX, Generation};
use rand::CryptoRng;

use super::pins::Pins;

const PURPOSE: &[u8] = b"p2pchat 1 pins";
const FORMAT: u8 = 1;
/// Bytes of one generation.
const GENERATION_LEN: usize = 42;
/// Most bytes of what is sealed: the head, endpoints at their cap, and the generations.
const SEALED_MAX: usize = 1 + 32 + 2 + 256 + 1 + GENERATIONS_MAX * GENERATION_LEN + 40;

/// What is kept of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) peer: PeerId,
    bytes: Vec<u8>,
}

impl Sealed {
    pub(super) fn to_text(&self) -> String {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {hex}", self.peer)
    }

    fn seal(contact: &Contact, key: &StoreKey, rng: &mut dyn CryptoRng) -> Result<Self, Failure> {
        let failure = |reason: String| Failure::Local { what: "keep a contact".to_owned(), reason };
        let endpoints = codec::encode(&contact.endpoints).map_err(|error| failure(error.to_string()))?;
        let length = u16::try_from(endpoints.len()).unwrap_or(u16::MAX).to_be_bytes();
        let count = u8::try_from(contact.generations.len()).unwrap_or(u8::MAX);
        let heads: Vec<[u8; 10]> = contact.generations.iter().map(head).collect();
        let mut parts: Vec<&[u8]> =
            vec![&[FORMAT], &contact.peer_noise, &length, &endpoints, core::slice::from_ref(&count)];
        for (head, generation) in heads.iter().zip(&contact.generations) {
            parts.push(head);
            parts.push(generation.secret.expose());
        }
        let sealed = key.seal(&purpose(contact.peer), &parts, rng);
        Ok(Self { peer: contact.peer, bytes: sealed.map_err(|error| failure(error.to_string()))? })
    }

    fn open(&self, key: &StoreKey) -> Option<Contact> {
        let content = key.open(&purpose(self.peer), &self.bytes).ok()?;
        let mut rest = content.as_slice();
        let [FORMAT] = take(&mut rest)? else { return None };
        let peer_noise = take(&mut rest)?;
        let length = u16::from_be_bytes(take(&mut rest)?);
        let (endpoints, after) = rest.split_at_checked(length.into())?;
        rest = after;
        let endpoints: UdpEndpoints = codec::decode(endpoints).ok()?;
        let [count] = take(&mut rest)?;
        if usize::from(count) > GENERATIONS_MAX {
            return None;
        }
        let mut generations = Vec::new();
        for _ in 0..count {
            let [suite, proven] = take(&mut rest)?;
            let made = WallTime(u64::from_be_bytes(take(&mut rest)?));
            let secret = ResumptionSecret::from_bytes(take(&mut rest)?);
            let (suite, proven) = (suite_of(suite)?, flag(proven)?);
            generations.push(Generation { secret, suite, made, proven });
        }
        rest.is_empty().then_some(Contact { peer: self.peer, peer_noise, endpoints, generations })
    }
}

/// What stands before a secret.
fn head(generation: &Generation) -> [u8; 10] {
    let suite = match generation.suite {
        Suite::ChaCha20Poly1305 => 0,
        Suite::Aes256Gcm => 1,
    };
    let [a, b, c, d, e, f, g, h] = generation.made.0.to_be_bytes();
    [suite, generation.proven.into(), a, b, c, d, e, f, g, h]
}

const fn suite_of(byte: u8) -> Option<Suite> {
    match byte {
        0 => Some(Suite::ChaCha20Poly1305),
        1 => Some(Suite::Aes256Gcm),
        _ => None,
    }
}

const fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn purpose(peer: PeerId) -> Vec<u8> {
    [PURPOSE, &peer.0].concat()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

/// The fields of a line.
pub(super) fn parse(text: &str) -> Option<Sealed> {
    let (peer, hex) = text.split_once(' ')?;
    Some(Sealed { peer: peer.parse().ok()?, bytes: from_hex(hex, SEALED_MAX)? })
}

/// At most so many bytes.
pub(super) fn from_hex(text: &str, max: usize) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() > 2 * max || !text.len().is_multiple_of(2) {
        return None;
    }
    let pair = |pair: &[u8]| pair.iter().try_fold(0, |byte, &at| Some(byte << 4 | digit(at)?));
    text.as_bytes().chunks(2).map(pair).collect()
}

impl Pins {
    /// What is kept of contacts.
    pub(super) fn sealed(&self) -> impl Iterator<Item = &Sealed> {
        self.sealed.iter()
    }

    /// One that was read, and checked against the others.
    pub(super) fn push_sealed(&mut self, sealed: Sealed) {
        self.sealed.push(sealed);
    }

    /// What was kept of those who are pinned and may come back. What does not open is taken out, and a line
    /// for each says so.
    pub(super) fn contacts(&mut self, key: &StoreKey) -> (Vec<Contact>, Vec<String>) {
        let may: std::collections::BTreeSet<PeerId> =
            self.iter().filter(|pin| pin.may_reconnect).map(|pin| pin.peer).collect();
        let (mut contacts, mut damage) = (Vec::new(), Vec::new());
        self.sealed.retain(|sealed| match sealed.open(key) {
            Some(contact) => {
                contacts.extend(Some(contact).filter(|contact| may.contains(&contact.peer)));
                true
            }
            None => {
                damage.push(format!(
                    "what {} comes back with is damaged, or sealed by another identity; it is taken out, and \
                     the next session with this contact goes through the broker",
                    sealed.peer.short()
                ));
                false
            }
        });
        (contacts, damage)
    }

    /// Keeps what a contact comes back with, in the place of what was kept of it; erases that where
    /// there are no generations.
    pub(super) fn keep(
        &mut self,
        contact: &Contact,
        key: &StoreKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Failure> {
        let place = self.sealed.iter().position(|sealed| sealed.peer == contact.peer);
        if contact.generations.is_empty() {
            if let Some(place) = place {
                self.sealed.remove(place);
            }
            return Ok(());
        }
        let sealed = Sealed::seal(contact, key, rng)?;
        if let Some(old) = place.and_then(|place| self.sealed.get_mut(place)) {
            *old = sealed;
            return Ok(());
        }
        if self.sealed.len() >= CONTACTS_MAX {
            let what = format!("more than {CONTACTS_MAX} contacts who come back by themselves");
            return Err(Failure::NotAllowed { what });
        }
        self.sealed.push(sealed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Pin;
    use p2pchat_crypto::{Identity, Seed};
    use p2pchat_proto::BrokerKey;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn identity(n: u8) -> Identity {
        Identity::from_seed(&Seed::from_bytes([n; 32]))
    }

    fn contact(n: u8, generations: u8) -> Contact {
        let generation = |n: u8| Generation {
            secret: ResumptionSecret::from_bytes([n; 32]),
            suite: if n.is_multiple_of(2) { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 },
            made: WallTime(1_800_000_000_000 + u64::from(n)),
            proven: n == 0,
        };
        let endpoints = ["192.0.2.1:7000", "[2001:db8::1]:7000"].map(|at| at.parse().unwrap());
        let generations = (0..generations).map(generation).collect();
        Contact {
            peer: PeerId([n; 32]),
            peer_noise: [n; 32],
            endpoints: UdpEndpoints::new(endpoints),
            generations,
        }
    }

    fn pinned(n: u8, may_reconnect: bool) -> Pin {
        let (since, broker) = (WallTime(0), BrokerKey([9; 32]));
        Pin { name: format!("p{n}").parse().unwrap(), peer: PeerId([n; 32]), broker, since, may_reconnect }
    }

    fn pins() -> Pins {
        let mut pins = Pins::default();
        (1..=3).for_each(|n| pins.pin(pinned(n, n != 3)).unwrap());
        pins
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    #[test]
    fn what_is_kept_of_a_contact_comes_back_and_is_replaced_and_erased() {
        let (mut pins, me) = (pins(), identity(1));
        for kept in [contact(1, 2), contact(2, 1), contact(3, 2), contact(4, 1)] {
            pins.keep(&kept, me.store(), &mut rng()).unwrap();
        }
        let load = |pins: &Pins| pins.clone().contacts(me.store());
        assert_eq!(
            load(&pins),
            (vec![contact(1, 2), contact(2, 1)], vec![]),
            "three may not, four is nobody"
        );
        pins.keep(&contact(1, 1), me.store(), &mut rng()).unwrap();
        assert_eq!(load(&pins).0, [contact(1, 1), contact(2, 1)]);
        pins.keep(&contact(1, 0), me.store(), &mut rng()).unwrap();
        assert_eq!(load(&pins).0, [contact(2, 1)]);
        pins.remove(PeerId([2; 32]));
        assert_eq!(load(&pins).0, []);
        assert_eq!(pins.iter().count(), 2, "the people stay");
    }

    #[test]
    fn whoever_is_replaced_leaves_nothing_to_come_back_with() {
        let (mut pins, me) = (pins(), identity(1));
        pins.keep(&contact(1, 2), me.store(), &mut rng()).unwrap();
        pins.repin(Pin { name: "p1".parse().unwrap(), ..pinned(7, true) }, PeerId([1; 32])).unwrap();
        assert_eq!(pins.contacts(me.store()), (vec![], vec![]));
        assert_eq!(pins.sealed().count(), 0);
    }

    #[test]
    fn no_secret_stands_in_the_text() {
        let mut pins = pins();
        pins.keep(&contact(1, 2), identity(1).store(), &mut rng()).unwrap();
        let text: String = pins.sealed().map(Sealed::to_text).collect();
        assert!(text.starts_with(&PeerId([1; 32]).to_string()));
        for secret in ["00".repeat(8), "01".repeat(8)] {
            assert!(!text.contains(&secret), "{text}");
        }
    }

    #[test]
    fn what_does_not_open_is_taken_out_with_an_error() {
        let (mut good, me) = (pins(), identity(1));
        good.keep(&contact(1, 1), me.store(), &mut rng()).unwrap();
        good.keep(&contact(2, 1), me.store(), &mut rng()).unwrap();
        let line = good.sealed[0].to_text();
        let digit = if &line[100..101] == "0" { "1" } else { "0" };
        let flipped = [&line[..100], digit, &line[101..]].concat();
        let of_three = line.replace(&PeerId([1; 32]).to_string(), &PeerId([3; 32]).to_string());
        for bad in [flipped, of_three, line[..line.len() - 2].to_owned(), format!("{} ", PeerId([1; 32]))] {
            let mut pins = good.clone();
            pins.sealed[0] = parse(&bad).unwrap();
            let (contacts, damage) = pins.contacts(me.store());
            assert_eq!(contacts, [contact(2, 1)], "{bad}");
            assert!(matches!(&damage[..], [what] if what.contains("taken out")), "{damage:?}");
            assert_eq!(pins.contacts(me.store()), (vec![contact(2, 1)], vec![]), "it is said once");
        }
        let (contacts, damage) = good.contacts(identity(2).store());
        assert_eq!((contacts.len(), damage.len()), (0, 2), "another identity's");
    }

    #[test]
    fn the_longest_line_is_within_its_bound() {
        let addresses = (0..8u16).map(|n| std::net::SocketAddr::from(([0xfd; 16], 60_000 + n)));
        let kept = Contact { endpoints: UdpEndpoints::new(addresses), ..contact(1, 2) };
        let me = identity(1);
        let sealed = Sealed::seal(&kept, me.store(), &mut rng()).unwrap();
        assert!(sealed.bytes.len() <= SEALED_MAX && sealed.to_text().len() < 1000);
        assert_eq!(sealed.open(me.store()), Some(kept));
    }
}
