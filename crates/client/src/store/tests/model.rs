//! The file beside a store in memory.

use std::collections::BTreeSet;

use super::*;

/// Writes of two people as conversations make them, by what a model of bytes says.
fn random_writes(epoch: DeviceEpoch, plan: &[(u8, u8, u16)]) -> Vec<Write> {
    let mut next: BTreeMap<u8, u64> = BTreeMap::new();
    let mut stored: BTreeMap<u8, u64> = BTreeMap::new();
    let mut came: BTreeMap<u8, u64> = BTreeMap::new();
    let mut epochs: BTreeMap<u8, DeviceEpoch> = BTreeMap::new();
    let mut given_up: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
    let mut writes = Vec::new();
    for &(who, what, size) in plan {
        let text: String = char::from(b'a' + who).to_string().repeat(size.into());
        let own = epochs.entry(who).or_insert(epoch);
        let epoch = *own;
        match what % 10 {
            3 => {
                let next = next.get(&who).copied().unwrap_or_default();
                writes.push(Write::Handed {
                    to: peer(who),
                    epoch,
                    upto: next.saturating_sub(u64::from(size % 3)),
                });
                // Of an epoch that is gone.
                let gone = DeviceEpoch(epoch.0.wrapping_sub(1));
                writes.push(Write::Handed { to: peer(who), epoch: gone, upto: next });
            }
            0..3 => {
                let seq = next.entry(who).or_default();
                let message = MessageId { author: me().peer_id(), to: peer(who), epoch, seq: *seq };
                *seq += 1;
                writes.push(Write::Composed {
                    to: peer(who),
                    message,
                    text: text.into(),
                    sent_at: WallTime(1),
                });
            }
            4 => {
                *own = DeviceEpoch(epoch.0.wrapping_add(1));
                let stored = core::mem::take(stored.entry(who).or_default());
                let gone = given_up.remove(&who).unwrap_or_default();
                let waiting =
                    (stored..next.get(&who).copied().unwrap_or_default()).filter(|seq| !gone.contains(seq));
                let waiting = waiting.count() as u64;
                next.insert(who, waiting);
                writes.push(Write::Renewed { to: peer(who), epoch: *own });
            }
            5 | 6 => {
                let upto = next.get(&who).copied().unwrap_or_default();
                let stored = stored.entry(who).or_default();
                *stored = (*stored + u64::from(size % 5)).min(upto);
                let marks = Marks { stored: *stored, read: *stored / 2 };
                writes.push(Write::Delivered { to: peer(who), epoch, marks });
            }
            7 => {
                let (start, end) = (stored.get(&who).copied(), next.get(&who).copied());
                let end = end.unwrap_or_default();
                let start = (start.unwrap_or_default() + u64::from(size % 3)).min(end);
                let seqs = start..(start + u64::from(size % 4)).min(end);
                given_up.entry(who).or_default().extend(seqs.clone());
                writes.push(Write::GivenUp { to: peer(who), epoch, seqs });
            }
            _ => {
                let seq = came.entry(who).or_default();
                writes.push(arrived(who, *seq, &text));
                *seq += 1;
                writes.push(held(who, *seq));
            }
        }
    }
    writes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_gives_back_what_a_store_in_memory_does_whatever_is_folded_and_opened_again(
        plan in proptest::collection::vec((2..5_u8, any::<u8>(), 1..6_000_u16), 1..60),
        fold in 1..9_usize,
        reopened in 1..9_usize,
    ) {
        let (_directory, path) = home();
        let mut book = open(&path);
        let mut memory = Memory::new();
        for (at, writes) in random_writes(book.epoch(), &plan).chunks(fold).enumerate() {
            apply(&mut book, writes);
            memory.apply(writes);
            if at % reopened == 0 {
                drop(book);
                book = open(&path);
            }
        }
        for who in 2..5 {
            prop_assert_eq!(book.rows(peer(who)).unwrap(), memory.rows(peer(who)));
        }
        let heads: BTreeMap<_, _> = memory.heads().into_iter().collect();
        prop_assert_eq!(book.heads().unwrap(), heads);
    }
}
