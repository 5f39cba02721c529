//! How much memory a decoder can be talked into.
//!
//! Each decoder is fed with bytes that say more than they hold: every kind, and in every place where
//! a length may stand a length that nobody can mean. What is counted is what the process asked its
//! allocator for at the worst moment of the call, the decoded value included.

use p2pchat_crypto::{Seed, keyfile};
use p2pchat_proto::broker::{FromBroker, ToBroker};
use p2pchat_proto::codec::{DECODE_MEMORY, decode};
use p2pchat_proto::conversation::{Receipt, Sync, Text};
use p2pchat_proto::datagram::Datagram;
use p2pchat_proto::frame::{Frame, Frames};
use p2pchat_proto::limits::{BODY_MAX, ENDPOINTS_MAX};
use p2pchat_proto::offer::{OfferBody, SignedOffer};
use p2pchat_proto::rekey::RekeyBody;
use p2pchat_proto::transfer::TransferBody;
use p2pchat_proto::{UdpEndpoints, carrier};
use rand::{Rng, RngExt};

use crate::meter;
use crate::rows::{Defence, Lab, NotRun, Row, Seen};

/// A decoder: its name, the most memory that a call may take, in bytes, and the call.
type Decoder = (&'static str, usize, fn(&[u8]));

/// Most bytes of addresses that a frame may hold when decoded: [`p2pchat_proto::limits::ENDPOINTS_MAX`]
/// of 32.
const CANDIDATES: usize = 512;
/// The one whose inputs are valid ones, changed: of anything else it reads the first bytes only.
const KEY_FILE: &str = "key file";
/// Where a key file says how its key is made, the memory for it first (`keyfile`'s page).
const KEY_COST_AT: usize = 17;
/// Lengths that lie.
const LENGTHS: [u64; 8] = [u64::MAX, 1 << 63, 1 << 40, 1 << 32, 1 << 26, 1 << 20, (1 << 20) - 1024, 4096];
/// Kinds that are tried: those of frames, of bodies and of what goes to a broker, and those that come
/// from one.
const KINDS: [std::ops::Range<u8>; 2] = [0..0x30, 0x80..0x90];
/// Places at which a length is put, from the start of a body on.
const PLACES: usize = 96;
/// Random inputs for each decoder.
const RANDOM: usize = 2_000;

const DECODERS: [Decoder; 12] = [
    ("datagram", 0, |bytes| used(Datagram::decode(bytes))),
    ("frames", CANDIDATES, |bytes| Frames::new(bytes).for_each(used)),
    ("to broker", DECODE_MEMORY, |bytes| used(ToBroker::from_record(bytes))),
    ("from broker", DECODE_MEMORY, |bytes| used(FromBroker::from_record(bytes))),
    ("offer", DECODE_MEMORY, |bytes| {
        used(decode::<SignedOffer>(bytes));
        used(decode::<OfferBody>(bytes));
    }),
    ("endpoints", DECODE_MEMORY, |bytes| used(decode::<UdpEndpoints>(bytes))),
    ("text", DECODE_MEMORY, |bytes| used(decode::<Text>(bytes))),
    ("receipt, sync", DECODE_MEMORY, |bytes| {
        used(decode::<Receipt>(bytes));
        used(decode::<Sync>(bytes));
    }),
    ("transfer", DECODE_MEMORY, |bytes| {
        used(bytes.split_first().map(|(kind, body)| TransferBody::from_bytes(*kind, body)));
    }),
    ("rekey", 0, |bytes| {
        used(bytes.split_first().map(|(kind, body)| RekeyBody::from_bytes(*kind, body)));
    }),
    ("record", 0, |bytes| {
        used(bytes.first_chunk().map(|header| carrier::RecordHeader::from_bytes(*header)));
    }),
    (KEY_FILE, 4096, |bytes| {
        used(keyfile::is_locked(bytes));
        used(keyfile::open(bytes, None));
    }),
];

/// Every decoder.
pub(super) const LENGTHS_THAT_LIE: Row = Row {
    id: "R2",
    attack: "lengths that promise more than came, at every decoder",
    expected: "each takes at most the memory of its kind",
    run: lengths,
};

fn lengths(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let careless: [Decoder; 1] = [("trusting", DECODE_MEMORY, trusting)];
    let decoders = match defence {
        Defence::InPlace => &DECODERS[..],
        Defence::Removed => &careless[..],
    };
    let (mut inputs, mut worst, mut beyond) = (0_u64, (0, ""), Vec::new());
    for (name, most, decode) in decoders {
        let mut peak = 0;
        let mut each = |bytes: &[u8]| {
            inputs += 1;
            let ((), took) = meter::measure(|| decode(bytes));
            peak = peak.max(took.peak);
        };
        hostile(lab, &mut each);
        if *name == KEY_FILE {
            key_files(lab, &mut each)?;
        }
        worst = worst.max((peak, name));
        if peak > *most {
            beyond.push(format!("{name} took {peak} bytes"));
        }
        // What holds lists takes memory for them, so of this one none was ever looked at.
        if *most > 0 && peak == 0 {
            beyond.push(format!("{name} was never reached"));
        }
    }
    let what = if beyond.is_empty() { "each within its bound".to_owned() } else { beyond.join(", ") };
    let figure = format!("{inputs} inputs; most: {} KiB ({})", worst.0 / 1024, worst.1);
    Ok(Seen::when(beyond.is_empty(), what).figure(figure))
}

/// A decoder that makes room for what is announced.
fn trusting(bytes: &[u8]) {
    let announced =
        bytes.get(5..).and_then(<[u8]>::first_chunk).map_or(0, |length| u64::from_be_bytes(*length));
    // The harness's machine has to survive it.
    let room = usize::try_from(announced).unwrap_or(usize::MAX).min(64 << 20);
    used(Vec::<u8>::with_capacity(room));
}

/// Takes a decoded value, so that it is made whatever the compiler thinks of it.
fn used<T>(value: T) {
    std::hint::black_box(value);
}

fn hostile(lab: &mut Lab, each: &mut dyn FnMut(&[u8])) {
    for kind in KINDS.into_iter().flatten() {
        for filler in [0, 1, 0xff] {
            // A kind and a call's number, or a kind and what follows it; and bodies without a kind.
            for start in [[kind, 0, 0, 0, 1], [0, 0, 0, 1, kind]] {
                let mut bytes = vec![filler; 256];
                bytes[..5].copy_from_slice(&start);
                with_lengths(bytes, each);
            }
        }
    }
    with_lengths(candidates(), each);
    for filler in [0, 1, 0x7f, 0xff] {
        for len in [BODY_MAX, BODY_MAX + 1, 4 * BODY_MAX] {
            each(&vec![filler; len]);
        }
    }
    for _ in 0..RANDOM {
        let mut bytes = vec![0; lab.rng.random_range(0..3000)];
        lab.rng.fill_bytes(&mut bytes);
        each(&bytes);
    }
}

/// As it is, and with a length that lies in every place.
fn with_lengths(mut bytes: Vec<u8>, each: &mut dyn FnMut(&[u8])) {
    each(&bytes);
    for place in 0..PLACES.min(bytes.len() - 8) {
        let before: [u8; 8] = bytes[place..place + 8].try_into().unwrap_or_default();
        for length in LENGTHS {
            bytes[place..place + 8].copy_from_slice(&length.to_be_bytes());
            each(&bytes);
        }
        bytes[place..place + 8].copy_from_slice(&before);
    }
}

/// Key files with and without a passphrase: as they are, with lengths that lie in every place, with each
/// byte changed, cut and extended.
fn key_files(lab: &mut Lab, each: &mut dyn FnMut(&[u8])) -> Result<(), NotRun> {
    let open = keyfile::seal(&Seed::from_bytes(lab.rng.random()), None, &mut lab.rng)?;
    // What a passphrase adds stands in the header; nobody pays for the key here.
    let mut locked = open.clone();
    locked[KEY_COST_AT] = 1;
    if keyfile::open(&open, None).is_err() || keyfile::is_locked(&locked) != Ok(true) {
        return Err(NotRun("the key files to be changed are none".to_owned()));
    }
    for file in [open, locked] {
        with_lengths(file.clone(), each);
        for at in 0..file.len() {
            each(&file[..at]);
            for mask in [1, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= mask;
                each(&changed);
            }
        }
        for longer in [1, 8, BODY_MAX] {
            each(&[&file[..], &vec![0xff; longer]].concat());
        }
    }
    Ok(())
}

/// The one frame that takes memory, as an honest peer fills it.
fn candidates() -> Vec<u8> {
    let mut bytes = Vec::new();
    let list = vec![([192, 0, 2, 1], 7000).into(); ENDPOINTS_MAX];
    Frame::Candidates { transfer: None, list }.encode(&mut bytes);
    bytes
}
