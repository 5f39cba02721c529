//! What two people compare to know that nobody is in between.
//!
//! Each identity has a fingerprint of its own: 5,200 rounds of BLAKE3 over label, version and
//! PeerId. A safety number is the fingerprints of two, sorted, so that both see the same: as 60
//! digits, as twelve words, or as a QR code of the full keys. Somebody who wants to match half of
//! it has to search for one key whose own fingerprint fits; a short hash over both keys could be
//! searched for on two sides at once.

use bip39::Language;
use p2pchat_proto::PeerId;

const LABEL: &[u8] = b"p2pchat 1 safety number";
/// Version of the fingerprint.
const VERSION: u8 = 1;
/// Rounds of the hash (protocol section 1).
const ROUNDS: u32 = 5200;
/// Groups of five digits for one identity, each from five bytes.
const GROUPS: usize = 6;
/// Words for one identity, 11 bits each.
const WORDS: usize = 6;
/// Bits that choose one of the 2,048 words of the BIP 39 list.
const WORD_BITS: u32 = 11;

/// What the two identities of a conversation have in common to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetyNumber {
    halves: [([u8; 32], PeerId); 2],
}

impl SafetyNumber {
    /// That of two identities, the same in whichever order.
    pub fn between(a: PeerId, b: PeerId) -> Self {
        let mut halves = [(fingerprint(a), a), (fingerprint(b), b)];
        halves.sort_unstable();
        Self { halves }
    }

    /// 60 digits in twelve groups of five, separated by spaces.
    pub fn digits(&self) -> String {
        let groups = self.halves.iter().flat_map(|(fingerprint, _)| groups(fingerprint));
        groups.map(|group| format!("{group:05}")).collect::<Vec<_>>().join(" ")
    }

    /// The same as twelve words of the BIP 39 English list, six for each identity.
    pub fn words(&self) -> [&'static str; 12] {
        let [(one, _), (two, _)] = &self.halves;
        let mut all = [""; 12];
        all.iter_mut().zip(words(one).into_iter().chain(words(two))).for_each(|(to, word)| *to = word);
        all
    }

    /// The text of a QR code with both full keys. All its characters are in the alphanumeric mode
    /// of QR codes (ISO/IEC 18004).
    pub fn qr_payload(&self) -> String {
        let [(_, one), (_, two)] = &self.halves;
        format!("P2PCHAT:1:{one}:{two}").to_ascii_uppercase()
    }
}

/// The six words of one identity, the same in every safety number that it is part of.
pub fn peer_words(peer: PeerId) -> [&'static str; WORDS] {
    words(&fingerprint(peer))
}

fn fingerprint(peer: PeerId) -> [u8; 32] {
    let mut hash = blake3::hash(&[LABEL, &[VERSION], &peer.0].concat());
    for _ in 1..ROUNDS {
        hash = blake3::Hasher::new().update(hash.as_bytes()).update(&peer.0).finalize();
    }
    *hash.as_bytes()
}

fn groups(fingerprint: &[u8; 32]) -> [u64; GROUPS] {
    let mut groups = [0; GROUPS];
    for (group, bytes) in groups.iter_mut().zip(fingerprint.chunks_exact(5)) {
        *group = bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)) % 100_000;
    }
    groups
}

fn words(fingerprint: &[u8; 32]) -> [&'static str; WORDS] {
    let list = Language::English.word_list();
    // The first 66 bits, from the front, are within the first 16 bytes.
    let bits = fingerprint.first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    let mut words = [""; WORDS];
    let mut left = bits;
    for word in &mut words {
        left = left.rotate_left(WORD_BITS);
        let index = usize::try_from(left & 0x7ff).unwrap_or_default();
        *word = list.get(index).copied().unwrap_or_default();
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_words_and_qr_payload_have_their_shape() {
        let number = SafetyNumber::between(PeerId([1; 32]), PeerId([2; 32]));
        let digits = number.digits();
        let groups: Vec<&str> = digits.split(' ').collect();
        assert_eq!(groups.len(), 2 * GROUPS);
        assert!(groups.iter().all(|g| g.len() == 5 && g.bytes().all(|b| b.is_ascii_digit())));
        let list = Language::English.word_list();
        assert!(number.words().iter().all(|word| list.contains(word)));
        let payload = number.qr_payload();
        assert!(payload.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b':'));
        for peer in [PeerId([1; 32]), PeerId([2; 32])] {
            assert!(payload.contains(&peer.to_string().to_ascii_uppercase()));
        }
    }

    #[test]
    fn the_words_are_the_first_66_bits_of_the_fingerprint() {
        let list = Language::English.word_list();
        let mut fingerprint = [0; 32];
        assert_eq!(words(&fingerprint), [list[0]; 6]);
        fingerprint[..8].fill(0xff);
        fingerprint[8] = 0b1100_0000;
        assert_eq!(words(&fingerprint), [list[2047]; 6]);
        fingerprint[8..].fill(0xff);
        assert_eq!(words(&fingerprint), [list[2047]; 6]);
        fingerprint[8] = 0b1011_1111;
        assert_eq!(words(&fingerprint)[5], list[2046]);
        fingerprint[0] = 0b0111_1111;
        assert_eq!(words(&fingerprint)[0], list[1023]);
    }

    #[test]
    fn the_digits_are_the_first_30_bytes_of_the_fingerprint() {
        let mut fingerprint = [0; 32];
        fingerprint[4] = 42;
        fingerprint[5..10].copy_from_slice(&100_001_u64.to_be_bytes()[3..]);
        fingerprint[25..].fill(0xff);
        assert_eq!(groups(&fingerprint), [42, 1, 0, 0, 0, ((1 << 40) - 1) % 100_000]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn both_sides_see_the_same_and_everybody_else_something_else(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            prop_assume!(a != b && b != c && a != c);
            let [a, b, c] = [a, b, c].map(PeerId);
            let number = SafetyNumber::between(a, b);
            prop_assert_eq!(&number, &SafetyNumber::between(b, a));
            let other = SafetyNumber::between(a, c);
            prop_assert_ne!(number.digits(), other.digits());
            prop_assert_ne!(number.words(), other.words());
            prop_assert_ne!(number.qr_payload(), other.qr_payload());
            let halves = [peer_words(a), peer_words(b)];
            let words = number.words();
            let (first, second) = words.split_at(WORDS);
            let seen: [[&str; WORDS]; 2] = [first.try_into().unwrap(), second.try_into().unwrap()];
            prop_assert!(seen == halves || [seen[1], seen[0]] == halves);
        }
    }
}
