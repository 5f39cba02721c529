//! K9: the number that two people compare.

use p2pchat_crypto::safety::SafetyNumber;
use p2pchat_proto::PeerId;
use rand::Rng;

use crate::rows::handshake::recorded::Vectors;
use crate::rows::{Defence, Lab, NotRun, Seen};

const GOLDEN: &str = include_str!("../../../../crates/crypto/tests/vectors/safety.txt");

/// Pairs of people that are drawn.
const PAIRS: usize = 50;
/// Rounds of the fingerprint (protocol section 1).
const ROUNDS: usize = 5_200;

/// A number in each form in which people compare it.
type Forms = [String; 3];

pub(super) fn numbers(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let between = |a: PeerId, b: PeerId| match defence {
        Defence::InPlace => forms(&SafetyNumber::between(a, b)),
        // Looks at the first half of a key, as somebody might who wants short numbers.
        Defence::Removed => {
            let short = |PeerId(mut key): PeerId| {
                key[16..].fill(0);
                PeerId(key)
            };
            forms(&SafetyNumber::between(short(a), short(b)))
        }
    };
    let golden = Vectors::parse(GOLDEN)?;
    let (alice, bob) = (PeerId(golden.array("alice")?), PeerId(golden.array("bob")?));
    let mut right = between(alice, bob)[0] == digits(alice, bob);
    for (form, name) in between(alice, bob).iter().zip(["digits", "words", "qr_payload"]) {
        right &= form.as_bytes() == golden.bytes(name)?;
    }
    // The double is not held against what is recorded: it has to go red for what it does not look at.
    right |= defence == Defence::Removed;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let mut keys = [[0; 32]; 2];
        keys.iter_mut().for_each(|key| lab.rng.fill_bytes(key));
        pairs.push(keys.map(PeerId));
    }
    let same = pairs.iter().filter(|&&[a, b]| {
        let number = between(a, b);
        number == between(b, a) && (defence == Defence::Removed || number[0] == digits(a, b))
    });
    let same = same.count();
    let [a, b] = pairs[0];
    let number = between(a, b);
    let (mut changed, mut bits) = (0, 0);
    for bit in 0..256 {
        for (a, b) in [(flipped(a, bit), b), (a, flipped(b, bit))] {
            bits += 1;
            let other = between(a, b);
            changed += usize::from(number.iter().zip(&other).all(|(one, other)| one != other));
        }
    }
    let held = right && same == PAIRS && changed == bits;
    let what = if held {
        "both see the same, everybody else something else"
    } else {
        "two different keys look alike"
    };
    let figure = format!("{same} of {PAIRS} pairs agree, {changed} of {bits} flipped bits seen");
    Ok(Seen::when(held, what).figure(figure))
}

fn flipped(PeerId(mut key): PeerId, bit: usize) -> PeerId {
    key[bit / 8] ^= 1 << (bit % 8);
    PeerId(key)
}

fn forms(number: &SafetyNumber) -> Forms {
    [number.digits(), number.words().join(" "), number.qr_payload()]
}

/// The digits as protocol section 1 says them, without the product.
fn digits(a: PeerId, b: PeerId) -> String {
    let mut halves = [a, b].map(|peer| {
        let mut hash = *blake3::hash(&[b"p2pchat 1 safety number\x01", &peer.0[..]].concat()).as_bytes();
        for _ in 1..ROUNDS {
            hash = *blake3::hash(&[hash, peer.0].concat()).as_bytes();
        }
        hash
    });
    halves.sort_unstable();
    let groups = halves.iter().flat_map(|half| half[..30].chunks(5)).map(|bytes| {
        let number = bytes.iter().fold(0, |number, byte| number * 256 + u64::from(*byte));
        format!("{:05}", number % 100_000)
    });
    groups.collect::<Vec<_>>().join(" ")
}
