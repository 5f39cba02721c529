//! What contacts come back with, sealed in the file of the pins until there is a store.
//!
//! ```text
//! version u8 = 1 | Noise static [32] | endpoints: length u16, bytes | generations u8 |
//!   each: suite u8 | proven u8 | made u64, milliseconds | secret [32]
//! ```
//!
//! Sealed under the key of everything at rest (protocol section 13) for [`PURPOSE`] and the PeerId of the
//! contact, so that no line serves for somebody else.

use p2pchat_crypto::{ResumptionSecret, StoreKey, Suite};
use p2pchat_engine::Failure;
use p2pchat_proto::{PeerId, UdpEndpoints, WallTime, codec};
use p2pchat_session::{CONTACTS_MAX, Contact, GENERATIONS_MAX, Generation};
use rand::CryptoRng;

use super::home::damaged;
use super::pins::{Line, Pins};

/// How a line begins.
const RESUME: &str = "resume";
const PURPOSE: &[u8] = b"p2pchat 1 pins";
const FORMAT: u8 = 1;
/// Bytes of one generation.
const GENERATION_LEN: usize = 42;
/// Most bytes of what is sealed: the head, endpoints at their cap, and the generations.
const SEALED_MAX: usize = 1 + 32 + 2 + 256 + 1 + GENERATIONS_MAX * GENERATION_LEN + 40;

/// A line as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) peer: PeerId,
    bytes: Vec<u8>,
}

impl Sealed {
    pub(super) fn to_text(&self) -> String {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{RESUME} {} {hex}", self.peer)
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

/// The line that `text` is, if it is one of these: sealed or damaged. A person whose name is the same
/// word has more fields.
pub(super) fn parse_sealed(text: &str) -> Option<Line> {
    let mut fields = text.split(' ');
    let [Some(RESUME), peer, hex, None] = [fields.next(), fields.next(), fields.next(), fields.next()] else {
        return None;
    };
    let peer = peer.and_then(|peer| peer.parse().ok());
    let sealed = peer.zip(hex.and_then(from_hex)).map(|(peer, bytes)| Sealed { peer, bytes });
    Some(sealed.map_or_else(|| Line::Damaged(text.to_owned()), Line::Sealed))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() > 2 * SEALED_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    let pair = |pair: &[u8]| pair.iter().try_fold(0, |byte, &at| Some(byte << 4 | digit(at)?));
    text.as_bytes().chunks(2).map(pair).collect()
}

impl Pins {
    /// What was kept of those who are pinned and may come back. What does not open is set aside: it
    /// stays in the file as a comment, and a failure for each says so.
    pub fn contacts(&mut self, key: &StoreKey) -> (Vec<Contact>, Vec<Failure>) {
        let may: std::collections::BTreeSet<PeerId> =
            self.iter().filter(|pin| pin.may_reconnect).map(|pin| pin.peer).collect();
        let (mut contacts, mut failures) = (Vec::new(), Vec::new());
        let path = self.home.path(super::pins::FILE).unwrap_or_default();
        for (number, line) in self.lines.iter_mut().enumerate() {
            let text = match line {
                Line::Comment(_) | Line::Pin(_) => continue,
                Line::Damaged(text) => core::mem::take(text),
                Line::Sealed(sealed) => match sealed.open(key) {
                    Some(contact) => {
                        contacts.extend(Some(contact).filter(|contact| may.contains(&contact.peer)));
                        continue;
                    }
                    None => sealed.to_text(),
                },
            };
            *line = Line::Comment(format!("# does not open: {text}"));
            let reason = format!(
                "line {} is damaged, or sealed by another identity; it is set aside as a comment, and the next \
                 session with this contact goes through the broker",
                number.saturating_add(1)
            );
            failures.push(damaged(&path, reason));
        }
        if !failures.is_empty() {
            failures.extend(self.save().err());
        }
        (contacts, failures)
    }

    /// Keeps what a contact comes back with, in the place of what was kept of it; erases that where
    /// there are no generations.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] if there are too many. [`Failure::Local`] and [`Failure::DiskFull`] if it
    /// cannot be written.
    pub fn keep(
        &mut self,
        contact: &Contact,
        key: &StoreKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Failure> {
        let place = self.lines.iter().position(|line| match line {
            Line::Sealed(sealed) => sealed.peer == contact.peer,
            Line::Comment(_) | Line::Pin(_) | Line::Damaged(_) => false,
        });
        if contact.generations.is_empty() {
            let Some(place) = place else { return Ok(()) };
            self.lines.remove(place);
            return self.save();
        }
        let sealed = Line::Sealed(Sealed::seal(contact, key, rng)?);
        match place.and_then(|place| self.lines.get_mut(place)) {
            Some(line) => *line = sealed,
            None => {
                let kept = self.lines.iter().filter(|line| matches!(line, Line::Sealed(_))).count();
                if kept >= CONTACTS_MAX {
                    let what = format!("more than {CONTACTS_MAX} contacts who come back by themselves");
                    return Err(Failure::NotAllowed { what });
                }
                self.lines.push(sealed);
            }
        }
        self.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Home, Pin};
    use p2pchat_crypto::{Identity, Seed};
    use p2pchat_proto::BrokerKey;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const FILE: &str = "pins";

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

    fn home() -> (tempfile::TempDir, Home, Pins) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let mut pins = Pins::load(&home).unwrap();
        (1..=3).for_each(|n| pins.pin(pinned(n, n != 3)).unwrap());
        (directory, home, pins)
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    #[test]
    fn what_is_kept_of_a_contact_comes_back_and_is_replaced_and_erased() {
        let (directory, home, mut pins) = home();
        let me = identity(1);
        for kept in [contact(1, 2), contact(2, 1), contact(3, 2), contact(4, 1)] {
            pins.keep(&kept, me.store(), &mut rng()).unwrap();
        }
        let load = || Pins::load(&home).unwrap().contacts(me.store());
        assert_eq!(load(), (vec![contact(1, 2), contact(2, 1)], vec![]), "three may not, four is nobody");
        pins.keep(&contact(1, 1), me.store(), &mut rng()).unwrap();
        assert_eq!(load().0, [contact(1, 1), contact(2, 1)]);
        pins.keep(&contact(1, 0), me.store(), &mut rng()).unwrap();
        assert_eq!(load().0, [contact(2, 1)]);
        assert!(pins.remove(PeerId([2; 32])).unwrap());
        assert_eq!(load().0, []);
        assert_eq!(Pins::load(&home).unwrap().iter().count(), 2, "the people stay");
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_secret_stands_in_the_file() {
        let (directory, _, mut pins) = home();
        pins.keep(&contact(1, 2), identity(1).store(), &mut rng()).unwrap();
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(text.contains("\nresume "));
        for secret in ["00".repeat(8), "01".repeat(8)] {
            assert!(!text.contains(&secret), "{text}");
        }
    }

    #[test]
    fn a_file_without_what_is_kept_loads_as_before() {
        let (_directory, home, _) = home();
        let mut pins = Pins::load(&home).unwrap();
        assert_eq!(pins.contacts(identity(1).store()), (vec![], vec![]));
        assert_eq!(pins.iter().count(), 3);
    }

    #[test]
    fn what_does_not_open_is_set_aside_with_an_error_and_stays_in_the_file() {
        let (directory, home, mut pins) = home();
        let path = directory.path().join(FILE);
        pins.keep(&contact(1, 1), identity(1).store(), &mut rng()).unwrap();
        pins.keep(&contact(2, 1), identity(1).store(), &mut rng()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let line = good.lines().find(|line| line.starts_with("resume")).unwrap().to_owned();
        let flipped = line.replace(&line[100..101], if &line[100..101] == "0" { "1" } else { "0" });
        let of_two = line.replace(&PeerId([1; 32]).to_string(), &PeerId([3; 32]).to_string());
        for bad in [flipped, of_two, line[..line.len() - 2].to_owned(), "resume me again".to_owned()] {
            fs::write(&path, good.replace(&line, &bad)).unwrap();
            let (contacts, failures) = Pins::load(&home).unwrap().contacts(identity(1).store());
            assert_eq!(contacts, [contact(2, 1)], "{bad}");
            let [Failure::Local { reason, .. }] = &failures[..] else { panic!("{failures:?}") };
            assert!(reason.contains("line 5") && reason.contains("set aside"), "{reason}");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("# does not open: {bad}\n")), "{text}");
            let again = Pins::load(&home).unwrap().contacts(identity(1).store());
            assert_eq!(again, (vec![contact(2, 1)], vec![]), "it is said once");
        }
        fs::write(&path, &good).unwrap();
        let (contacts, failures) = Pins::load(&home).unwrap().contacts(identity(2).store());
        assert_eq!((contacts.len(), failures.len()), (0, 2), "another identity's");
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
