//! Somebody on the path turns bits.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use p2pchat_harness::actions::{TRANSFER, offer_file, pass_file, random_content, say};
use p2pchat_harness::event::{Event, event, session};
use p2pchat_harness::peer::Peer;
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::relay::tcp::Flip;
use p2pchat_harness::relay::{Direction, Faults, TcpRelay};
use p2pchat_harness::world::{Paths, World};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

const SEED: u64 = 7;
/// Datagrams of a handshake in one direction, repetitions and the first data included.
const HANDSHAKE_DATAGRAMS: u64 = 6;
/// Three records: two whole chunks and a part.
const FILE_LEN: usize = 600_000;
/// Bytes of the dialer's hello and of the listener's, and the header of the first record.
const HELLO_AND_HEADER: u64 = 49 + 33 + 4;

fn socket_counter(peer: &mut Peer, counter: &str) -> u64 {
    peer.info().unwrap().field("socket")[counter].as_u64().unwrap()
}

#[test]
fn one_bit_in_any_datagram_changes_no_word_and_ends_no_session() {
    let world = World::new().unwrap();
    let paths = Paths::new(SEED).unwrap();
    paths.set_udp_faults(Faults { flip: 0.2, ..Faults::default() });
    let (mut alice, mut bob) = paths.alice_and_bob(&world).unwrap();
    for number in 0..100 {
        say(&mut alice, &mut bob, &format!("alice {number}")).unwrap();
        say(&mut bob, &mut alice, &format!("bob {number}")).unwrap();
    }
    let file = world.file("song.mp3", &random_content(SEED, FILE_LEN)).unwrap();
    pass_file(&mut bob, &mut alice, &file).unwrap().assert_equal_to(&file);
    let flipped: u64 = paths.udp().iter().map(|relay| relay.counts(Direction::In).flipped).sum();
    assert!(flipped > 50, "{flipped} bits were turned");
    let refused: u64 = [&mut alice, &mut bob]
        .map(|peer| socket_counter(peer, "mac_failed") + socket_counter(peer, "dropped"))
        .iter()
        .sum();
    assert!(refused > 20, "only {refused} of the damaged datagrams were refused");
    for peer in [&mut alice, &mut bob] {
        let more = peer.take_events();
        let extra = more.iter().find(|e| e.name() == "message" && e.field("mine") == false);
        assert!(extra.is_none(), "seed {SEED}: {extra:?}");
        assert!(!more.iter().any(|e| session("lost").matches(e)), "seed {SEED}");
    }
}

#[test]
fn a_handshake_survives_one_bit_in_each_of_its_datagrams() {
    let world = World::new().unwrap();
    for number in 0..HANDSHAKE_DATAGRAMS {
        let paths = Paths::new(SEED + number).unwrap();
        paths.set_udp_faults(Faults { flip_nth: Some(number), ..Faults::default() });
        let (mut alice, mut bob) = paths.alice_and_bob(&world).unwrap();
        say(&mut bob, &mut alice, "through").unwrap();
        say(&mut alice, &mut bob, "and back").unwrap();
        assert_eq!((bob.quit().unwrap(), alice.quit().unwrap()), (0, 0));
    }
}

fn damaged(relay: &TcpRelay, direction: Direction, offset: u64, bit: u8) {
    relay.set_flips(vec![Flip { direction, offset, bit }]);
}

/// Waits until the transfer is over on both sides; how it ended for the receiver.
fn ended(from: &mut Peer, to: &mut Peer, path: &Path) -> Event {
    let number = offer_file(from, path).unwrap();
    let over = |peer: &mut Peer, direction: &'static str, number: Option<u64>| loop {
        let mut step = event("file").with("direction", direction);
        if let Some(number) = number {
            step = step.with("transfer", number);
        }
        let step = peer.expect(&step, TRANSFER);
        if ["done", "failed", "cancelled", "declined"].contains(&step.text("state")) {
            break step;
        }
    };
    over(from, "out", Some(number));
    over(to, "in", None)
}

/// Whole files in a download directory; a partial one has no final name.
fn published(peer: &Peer) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(peer.home().join("downloads")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let whole = paths.filter(|path| path.is_file() && !path.to_string_lossy().contains(".part"));
    whole.map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn one_bit_anywhere_on_one_file_path_publishes_no_wrong_byte_and_another_carrier_takes_over() {
    let world = World::new().unwrap();
    let paths = Paths::new(SEED).unwrap();
    let (mut alice, mut bob) = paths.alice_and_bob(&world).unwrap();
    let content = random_content(SEED, FILE_LEN);
    let file = world.file("song.mp3", &content).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    // Each field of the hellos and of the first record, then anywhere.
    let positions = [0, 1, 17, 33, 48, 49, 50, 52, 53, 54, 82, 83, 86, 100].into_iter();
    let anywhere: Vec<u64> = (0..10).map(|_| rng.random_range(HELLO_AND_HEADER..FILE_LEN as u64)).collect();
    for (number, offset) in positions.chain(anywhere).enumerate() {
        for relay in paths.tcp() {
            relay.set_flips(Vec::new());
        }
        let relay = paths.tcp()[number % 2];
        let direction = if rng.random_bool(0.5) { Direction::In } else { Direction::Out };
        damaged(relay, direction, offset, rng.random_range(0..8));
        let end = ended(&mut bob, &mut alice, &file);
        assert!(["done", "failed"].contains(&end.text("state")), "byte {offset}: {end}");
        let found = published(&alice);
        assert!(found.iter().all(|bytes| *bytes == content), "byte {offset}, seed {SEED}");
        say(&mut alice, &mut bob, &format!("after byte {offset}")).unwrap();
    }
    let flipped: u64 = paths.tcp().iter().map(|relay| relay.flipped()).sum();
    assert!(flipped >= 5, "only {flipped} bits were turned");
    assert!(published(&alice).len() >= 5, "most transfers found another carrier");
}

#[test]
fn a_transfer_whose_every_carrier_is_damaged_fails_with_8_and_leaves_nothing_under_its_name() {
    let world = World::new().unwrap();
    let paths = Paths::new(SEED).unwrap();
    let (mut alice, mut bob) = paths.alice_and_bob(&world).unwrap();
    let content = random_content(SEED, FILE_LEN);
    let file = world.file("song.mp3", &content).unwrap();
    for relay in paths.tcp() {
        // In the first record: a later one would let every carrier bring some of the file.
        let flip = |direction| Flip { direction, offset: 200, bit: 3 };
        relay.set_flips(vec![flip(Direction::In), flip(Direction::Out)]);
    }
    let end = ended(&mut bob, &mut alice, &file);
    assert_eq!(end.text("state"), "failed", "{end}");
    assert_eq!(published(&alice), Vec::<Vec<u8>>::new());
    assert!(paths.tcp().iter().any(|relay| relay.flipped() > 0));
    say(&mut bob, &mut alice, "that did not work").unwrap();

    for relay in paths.tcp() {
        relay.set_flips(Vec::new());
    }
    pass_file(&mut bob, &mut alice, &file).unwrap().assert_equal_to(&file);
    assert_eq!(bob.quit().unwrap(), 0);

    // The one-shot command says so by its exit code.
    for relay in paths.tcp() {
        relay.set_closed(true);
    }
    let carol = world.person("carol").unwrap().plain();
    let carol = carol.files_through(paths.real_tcp()[1], paths.tcp()[1].address());
    let sent = carol.run(&["send", "--to", "alice", &file.display().to_string()], TRANSFER).unwrap();
    assert_eq!(sent.exit, 8, "{sent:?}");
    assert!(alice.process.take_lines().iter().all(|line| !line.text.contains("panicked")));
    alice.quit().unwrap();
    alice.process.wait_exit(PROMPT).unwrap();
}
