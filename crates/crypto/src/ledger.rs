//! What was sealed, and with which key and nonce: for simulations that assert that no pair of them
//! serves twice, whatever crashed, was cloned, repeated or rekeyed.
//!
//! While a [`Ledger`] is open, every AEAD of this crate notes in it what it seals on this thread: packets,
//! records of files and of the broker link, handshake messages, boxes of endpoints. (Not key files:
//! their nonce is random, and their key costs too much to be met by chance.) Keys are kept as
//! fingerprints. Nothing of it is compiled without the feature `simulation`.

use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;
use std::collections::{HashMap, HashSet};

/// Length of a nonce of every AEAD that is watched, in bytes (RFC 8439 section 2.8).
const NONCE_LEN: usize = 12;

thread_local! {
    static OPEN: RefCell<Option<Book>> = const { RefCell::new(None) };
}

/// Tells keys apart and says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

/// A key and nonce that sealed once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Of which key.
    pub key: Fingerprint,
    /// Under which nonce.
    pub nonce: [u8; NONCE_LEN],
    /// Whether it was the same associated data and plaintext, and so gave the same bytes.
    pub same: bool,
}

/// Sees everything that is sealed on this thread, from its opening until it is dropped.
pub struct Ledger(PhantomData<*const ()>);

#[derive(Default)]
struct Book {
    sealed: HashMap<(Fingerprint, [u8; NONCE_LEN]), [u8; 16]>,
    keys: HashSet<Fingerprint>,
    seals: u64,
    reuses: Vec<Reuse>,
    strict: bool,
}

impl Ledger {
    /// Opens one that keeps what it sees.
    ///
    /// # Panics
    /// If one is open on this thread.
    pub fn open() -> Self {
        Self::with(Book::default())
    }

    /// Opens one that panics where a key seals twice under one nonce, so that the trace shows who.
    ///
    /// # Panics
    /// If one is open on this thread.
    pub fn strict() -> Self {
        Self::with(Book { strict: true, ..Book::default() })
    }

    fn with(book: Book) -> Self {
        let before = OPEN.with_borrow_mut(|open| open.replace(book));
        assert!(before.is_none(), "one ledger at a time");
        Self(PhantomData)
    }

    /// How often something was sealed.
    pub fn seals(&self) -> u64 {
        look(|book| book.seals)
    }

    /// With how many keys.
    pub fn keys(&self) -> usize {
        look(|book| book.keys.len())
    }

    /// Every pair that came again, in order.
    pub fn reuses(&self) -> Vec<Reuse> {
        look(|book| book.reuses.clone())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(Option::take);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("seals", &self.seals()).finish_non_exhaustive()
    }
}

impl Fingerprint {
    pub(crate) fn of(key: &[u8; 32]) -> Self {
        Self(short(&blake3::derive_key("p2pchat ledger of simulations", key)))
    }
}

/// Notes that `key` is about to seal. Costs nothing to speak of where no ledger is open.
#[expect(clippy::panic, reason = "a strict ledger is opened for this")]
pub(crate) fn note(
    key: impl FnOnce() -> Fingerprint,
    nonce: [u8; NONCE_LEN],
    associated: &[u8],
    plaintext: &[u8],
) {
    let reuse = OPEN.with_borrow_mut(|open| open.as_mut()?.note(key(), nonce, associated, plaintext));
    if let Some(reuse) = reuse {
        panic!("a key seals twice under one nonce: {reuse:?}");
    }
}

fn look<T: Default>(at: impl FnOnce(&Book) -> T) -> T {
    OPEN.with_borrow(|open| open.as_ref().map(at)).unwrap_or_default()
}

fn short(hash: &[u8; 32]) -> [u8; 16] {
    hash.first_chunk().copied().unwrap_or_default()
}

impl Book {
    /// The reuse that must not be survived.
    fn note(
        &mut self,
        key: Fingerprint,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        plaintext: &[u8],
    ) -> Option<Reuse> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&associated.len().to_be_bytes()).update(associated).update(plaintext);
        let content = short(hasher.finalize().as_bytes());
        self.seals = self.seals.saturating_add(1);
        self.keys.insert(key);
        let before = self.sealed.insert((key, nonce), content)?;
        let reuse = Reuse { key, nonce, same: before == content };
        self.reuses.push(reuse);
        self.strict.then_some(reuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::Aead;
    use crate::introduction::Suite;
    use crate::schedule::SealingKey;

    const NONCE: [u8; 12] = [7; 12];

    fn aead(key: u8) -> Aead {
        Aead::new(Suite::ChaCha20Poly1305, &SealingKey::new([key; 32]))
    }

    #[test]
    fn a_pair_that_seals_twice_is_seen_and_others_are_not() {
        aead(1).seal(NONCE, b"", &mut [1]);
        let ledger = Ledger::open();
        aead(1).seal(NONCE, b"", &mut [1]);
        aead(2).seal(NONCE, b"", &mut [1]);
        aead(1).seal([8; 12], b"", &mut [1]);
        assert_eq!((ledger.seals(), ledger.keys(), ledger.reuses()), (3, 2, vec![]));
        aead(1).seal(NONCE, b"", &mut [1]);
        aead(2).seal(NONCE, b"a", &mut [1]);
        let same: Vec<_> = ledger.reuses().iter().map(|reuse| reuse.same).collect();
        assert_eq!(same, [true, false]);
        drop(ledger);
        assert_eq!(Ledger::open().seals(), 0);
    }

    #[test]
    #[should_panic(expected = "a key seals twice under one nonce")]
    fn a_strict_ledger_ends_it_there() {
        let _ledger = Ledger::strict();
        aead(1).seal(NONCE, b"", &mut [1]);
        aead(1).seal(NONCE, b"", &mut [2]);
    }

    #[test]
    fn every_aead_that_counts_is_seen() {
        use crate::testing::{BOTH_SUITES, identity, rng};

        let ledger = Ledger::open();
        let mut before = 0;
        let mut sealed = |what: &str, at_least: u64| {
            assert!(ledger.seals() >= before + at_least, "{what}");
            before = ledger.seals();
        };
        let (bob, alice) = (identity(2), identity(1));
        let (mut bobs, _) = crate::simulation::introduce(&bob, &alice, BOTH_SUITES, &mut rng(4)).unwrap();
        bobs.endpoints.seal(&p2pchat_proto::UdpEndpoints::new([]));
        sealed("a box of endpoints", 1);
        let broker = crate::link::BrokerSecret::generate(&mut rng(1)).unwrap();
        let (handshake, first) = crate::link::ClientHandshake::start(&mut rng(2));
        let (.., second) = crate::link::ServerHandshake::respond(&broker, &first, &mut rng(3)).unwrap();
        sealed("message 2 of the broker link, key and payload", 2);
        let (mut sealer, ..) = handshake.finish(&second).unwrap();
        sealer.seal(b"a record", &mut Vec::new()).unwrap();
        sealed("a record of the broker link", 1);
    }
}
