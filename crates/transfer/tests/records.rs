//! Records on their way from a sender to a receiver, and everything that may be done to them.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use p2pchat_crypto::Suite;
use p2pchat_crypto::carrier::{CarrierError, RecordOpener, RecordSealer};
use p2pchat_proto::TransferId;
use p2pchat_proto::carrier::{CarrierNonce, RecordHeader};
use p2pchat_proto::transfer::{CHUNK_LEN, SecretBytes};
use p2pchat_transfer::hello::{HelloError, Hellos};
use p2pchat_transfer::receiver::{FinishError, Opened, ReceiveError, Receiver};
use p2pchat_transfer::sender::{SendError, Sender, Taken};
use p2pchat_transfer::tree::TreeHasher;
use proptest::prelude::*;

type Record = ([u8; 4], Vec<u8>);
type Bend = fn(&mut Vec<Record>);

const SUITE: Suite = Suite::ChaCha20Poly1305;

/// Both ends of one carrier.
fn ends(transfer: u8, secret: u8, nonce: u8) -> (RecordSealer, RecordOpener) {
    let hellos = || Hellos::new(TransferId([transfer; 16]), &SecretBytes::new([secret; 32]));
    let (mut sender, mut receiver) = (hellos(), hellos());
    let hello = sender.dial(CarrierNonce([nonce; 16])).unwrap();
    let (answer, at_receiver) = receiver.accept(&hello, CarrierNonce([!nonce; 16])).unwrap();
    let at_sender = sender.dialed(CarrierNonce([nonce; 16]), &answer).unwrap();
    (sender.sealer(SUITE, &at_sender), receiver.opener(SUITE, &at_receiver))
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 9)) as u8).collect()
}

fn hash(content: &[u8]) -> [u8; 32] {
    *blake3::hash(content).as_bytes()
}

/// All records of `content` from chunk `have` on, and the hash that the sender states.
fn sealed(content: &[u8], have: u64, tree: TreeHasher, sealer: RecordSealer) -> (Vec<Record>, [u8; 32]) {
    let mut sender = Sender::new(content.len() as u64, have, tree, sealer);
    let mut records = Vec::new();
    for piece in sender.pieces() {
        let start = piece.offset as usize;
        match sender.take(content[start..start + piece.len].to_vec()).unwrap() {
            Taken::Record { header, body } => records.push((header, body)),
            Taken::Hashed(_) => {}
        }
    }
    assert_eq!(sender.pieces().next(), None);
    (records, sender.into_tree().finish().unwrap())
}

/// Feeds records until one is refused; what was given out lies in `file`. Whether all were taken.
fn feed(receiver: &mut Receiver, file: &mut [u8], records: &[Record]) -> bool {
    for (header, body) in records {
        let Ok(header) = RecordHeader::from_bytes(*header) else { return false };
        match receiver.open(header, body.clone()) {
            Ok(Opened::Chunk { offset, content }) => {
                file[offset as usize..][..content.len()].copy_from_slice(&content);
            }
            Ok(Opened::Nothing(_)) => {}
            Err(_) => return false,
        }
    }
    true
}

fn fresh(total: usize) -> TreeHasher {
    TreeHasher::new(total as u64)
}

#[test]
fn files_of_every_edge_length_arrive_whole() {
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN, 3 * CHUNK_LEN + 7] {
        let content = content(len);
        let (sealer, opener) = ends(1, 2, 3);
        let (records, stated) = sealed(&content, 0, fresh(len), sealer);
        assert_eq!(records.len(), len.div_ceil(CHUNK_LEN).max(1));
        assert_eq!(stated, hash(&content));
        let mut file = vec![0; len];
        let mut receiver = Receiver::new(len as u64, 0, fresh(len), opener);
        assert!(feed(&mut receiver, &mut file, &records) && receiver.is_complete());
        assert_eq!(file, content);
        assert_eq!(*receiver.finish(&stated).unwrap().hash(), stated);
    }
}

#[test]
fn a_later_carrier_goes_on_where_the_first_ended() {
    let content = content(4 * CHUNK_LEN + 9);
    let (sealer, opener) = ends(1, 2, 3);
    let (records, _) = sealed(&content, 0, fresh(content.len()), sealer);
    let mut file = vec![0; content.len()];
    let mut receiver = Receiver::new(content.len() as u64, 0, fresh(content.len()), opener);
    assert!(feed(&mut receiver, &mut file, &records[..3]));
    assert_eq!(receiver.held(), 3);
    let tree = receiver.into_tree();
    // The receiver's word of what it holds may lag behind what it holds, and the sender may know
    // nothing of what it sent before.
    for have in [0, 2, 3] {
        let (sealer, opener) = ends(1, 4, 5);
        let (records, stated) = sealed(&content, have, fresh(content.len()), sealer);
        assert_eq!(records.len() as u64, 5 - have);
        let mut file = file.clone();
        let mut receiver = Receiver::new(content.len() as u64, have, tree.clone(), opener);
        assert!(feed(&mut receiver, &mut file, &records));
        assert_eq!(file, content);
        assert!(receiver.finish(&stated).is_ok());
    }
}

#[test]
fn a_sender_counts_the_bytes_that_it_passed_and_those_that_were_held() {
    let content = content(2 * CHUNK_LEN + 7);
    let (sealer, _) = ends(1, 1, 1);
    let mut sender = Sender::new(content.len() as u64, 1, fresh(content.len()), sealer);
    let mut passed = vec![sender.passed()];
    for chunk in content.chunks(CHUNK_LEN) {
        sender.take(chunk.to_vec()).unwrap();
        passed.push(sender.passed());
    }
    assert_eq!(passed, [0, CHUNK_LEN, 2 * CHUNK_LEN, content.len()].map(|bytes| bytes as u64));
}

#[test]
fn a_receiver_that_holds_all_is_told_the_end_by_an_empty_record() {
    let content = content(2 * CHUNK_LEN);
    let mut tree = fresh(content.len());
    assert!(content.chunks(CHUNK_LEN).all(|chunk| tree.push(chunk)));
    let (sealer, opener) = ends(1, 2, 3);
    let (records, stated) = sealed(&content, 2, fresh(content.len()), sealer);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].1.len(), 16);
    let mut receiver = Receiver::new(content.len() as u64, 2, tree, opener);
    assert!(feed(&mut receiver, &mut [], &records));
    assert!(receiver.finish(&stated).is_ok());
}

#[test]
fn a_source_of_another_length_is_not_sent() {
    for given in [0, CHUNK_LEN - 1, CHUNK_LEN + 1] {
        let mut sender = Sender::new(2 * CHUNK_LEN as u64, 0, fresh(2 * CHUNK_LEN), ends(1, 2, 3).0);
        assert_eq!(sender.take(vec![0; given]).unwrap_err(), SendError::WrongLength);
    }
}

/// How a stream of three chunks is bent, and how many of its records may still be taken.
fn verdicts() -> Vec<(&'static str, Bend, usize)> {
    fn header(last: bool, len: usize) -> [u8; 4] {
        RecordHeader::new(len, last).unwrap().to_bytes()
    }
    vec![
        ("no record at all", |r| r.clear(), 0),
        ("no final record", |r| drop(r.pop()), 2),
        ("final flag taken away", |r| r[2].0 = header(false, 5), 2),
        ("final flag on the first", |r| r[0].0 = header(true, CHUNK_LEN), 0),
        ("final flag on the one before the last", |r| r[1].0 = header(true, CHUNK_LEN), 1),
        ("two final records", |r| r.push(r[2].clone()), 3),
        ("an empty final record after the final one", |r| r.push((header(true, 0), vec![0; 16])), 3),
        ("an empty final record instead", |r| r[2] = (header(true, 0), r[2].1[..16].to_vec()), 2),
        ("garbage behind the final record", |r| r.push(([0xff; 4], vec![0xff; 99])), 3),
        ("a short chunk", |r| r[0] = (header(false, 100), r[0].1[..116].to_vec()), 0),
        ("a long last chunk", |r| r[2] = (header(true, 6), [&r[2].1[..], &[0]].concat()), 2),
        ("a bad tag on the first", |r| *r[0].1.last_mut().unwrap() ^= 1, 0),
        ("a bad tag on the second", |r| *r[1].1.last_mut().unwrap() ^= 1, 1),
        ("a tag missing", |r| r[1].1.truncate(CHUNK_LEN), 1),
        ("a body cut to nothing", |r| r[1].1.clear(), 1),
        ("a flipped bit in the content", |r| r[1].1[7] ^= 0x80, 1),
        ("the first record twice", |r| r.insert(1, r[0].clone()), 1),
        ("the first record missing", |r| drop(r.remove(0)), 0),
        ("two records swapped", |r| r.swap(0, 1), 0),
        ("a header of no length", |r| r[1].0 = [0; 4], 1),
        ("a header of all length", |r| r[1].0 = [0x7f, 0xff, 0xff, 0xff], 1),
    ]
}

#[test]
fn a_bent_stream_is_refused_at_the_first_bent_record() {
    let content = content(2 * CHUNK_LEN + 5);
    for (what, bend, taken) in verdicts() {
        let (sealer, opener) = ends(1, 2, 3);
        let (mut records, stated) = sealed(&content, 0, fresh(content.len()), sealer);
        bend(&mut records);
        let mut file = vec![0xee; content.len()];
        let mut receiver = Receiver::new(content.len() as u64, 0, fresh(content.len()), opener);
        let all = feed(&mut receiver, &mut file, &records);
        assert_eq!(receiver.held(), taken as u64, "{what}");
        let right = (taken * CHUNK_LEN).min(content.len());
        assert_eq!(file[..right], content[..right], "{what}");
        assert!(file[right..].iter().all(|byte| *byte == 0xee), "{what}: a wrong byte came out");
        let whole = taken == 3;
        assert_eq!(all, records.len() == taken, "{what}");
        assert_eq!(receiver.finish(&stated).is_ok(), whole, "{what}");
    }
}

#[test]
fn records_of_another_file_attempt_or_connection_do_not_open() {
    let content = content(CHUNK_LEN + 5);
    for (transfer, secret, nonce) in [(9, 2, 3), (1, 9, 3), (1, 2, 9)] {
        let (foreign, _) = sealed(&content, 0, fresh(content.len()), ends(transfer, secret, nonce).0);
        let mut receiver = Receiver::new(content.len() as u64, 0, fresh(content.len()), ends(1, 2, 3).1);
        assert!(!feed(&mut receiver, &mut vec![0; content.len()], &foreign));
        assert_eq!(receiver.held(), 0);
    }
}

#[test]
fn a_stream_longer_or_shorter_than_offered_is_refused_where_it_differs() {
    let content = content(CHUNK_LEN + 5);
    for declared in [0, 1, CHUNK_LEN, CHUNK_LEN + 4, CHUNK_LEN + 6, 9 * CHUNK_LEN, usize::MAX] {
        let (sealer, opener) = ends(1, 2, 3);
        let (records, stated) = sealed(&content, 0, fresh(content.len()), sealer);
        let mut receiver = Receiver::new(declared as u64, 0, fresh(declared), opener);
        let mut file = vec![0; content.len()];
        assert!(!feed(&mut receiver, &mut file, &records), "{declared}");
        assert!(receiver.held() <= 1, "{declared}");
        assert_eq!(receiver.finish(&stated), Err(FinishError::Incomplete), "{declared}");
    }
}

#[test]
fn every_refusal_has_words_of_its_own() {
    let words = [
        HelloError::Malformed.to_string(),
        HelloError::OtherTransfer.to_string(),
        HelloError::WrongMac.to_string(),
        HelloError::Replayed.to_string(),
        HelloError::TooMany.to_string(),
        SendError::WrongLength.to_string(),
        SendError::Exhausted.to_string(),
        ReceiveError::Misplaced.to_string(),
        ReceiveError::Sealed(CarrierError::Unauthentic).to_string(),
        FinishError::Incomplete.to_string(),
        FinishError::Corrupt.to_string(),
    ];
    assert!(words.iter().all(|text| !text.is_empty()), "{words:?}");
    let told_apart: std::collections::BTreeSet<&String> = words.iter().collect();
    assert_eq!(told_apart.len(), words.len(), "{words:?}");
}

#[test]
fn a_whole_file_with_another_hash_is_corrupt() {
    let content = content(10);
    let (sealer, opener) = ends(1, 2, 3);
    let (records, mut stated) = sealed(&content, 0, fresh(10), sealer);
    let mut receiver = Receiver::new(10, 0, fresh(10), opener);
    assert!(feed(&mut receiver, &mut [0; 10], &records));
    stated[0] ^= 1;
    assert_eq!(receiver.finish(&stated), Err(FinishError::Corrupt));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn records_in_any_other_order_never_give_a_wrong_byte(
        order in proptest::collection::vec(0usize..5, 0..8),
        flip in proptest::option::of((0usize..8, any::<prop::sample::Index>(), 0u8..8)),
    ) {
        let content = content(4 * CHUNK_LEN + 11);
        let (sealer, opener) = ends(1, 2, 3);
        let (records, stated) = sealed(&content, 0, fresh(content.len()), sealer);
        let mut bent: Vec<Record> = order.iter().map(|index| records[*index].clone()).collect();
        if let Some((at, byte, bit)) = flip
            && let Some((_, body)) = bent.get_mut(at)
        {
            let byte = byte.index(body.len());
            body[byte] ^= 1 << bit;
        }
        let untouched = bent.iter().zip(&records).take_while(|(bent, right)| bent == right).count();
        let mut file = vec![0xee; content.len()];
        let mut receiver = Receiver::new(content.len() as u64, 0, fresh(content.len()), opener);
        feed(&mut receiver, &mut file, &bent);
        let right = (untouched * CHUNK_LEN).min(content.len());
        prop_assert_eq!(receiver.held(), untouched as u64);
        prop_assert!(file[..right] == content[..right]);
        prop_assert!(file[right..].iter().all(|byte| *byte == 0xee));
        prop_assert_eq!(receiver.finish(&stated).is_ok(), untouched == 5);
    }
}
