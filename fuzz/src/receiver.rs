//! The receiver of a file, and records in any order and shape.
//!
//! The first bytes say how long the file is, how long it was declared to be, and what the receiver holds;
//! each operation after them bends the stream, feeds a record, or breaks the carrier.

use std::sync::OnceLock;

use p2pchat_crypto::Suite;
use p2pchat_crypto::carrier::{RecordOpener, RecordSealer, TAG_LEN};
use p2pchat_proto::TransferId;
use p2pchat_proto::carrier::{CarrierNonce, DIALER_HELLO_LEN, LISTENER_HELLO_LEN, RecordHeader};
use p2pchat_proto::transfer::{CHUNK_LEN, SecretBytes};
use p2pchat_transfer::hello::Hellos;
use p2pchat_transfer::receiver::{FinishError, Opened, Receiver};
use p2pchat_transfer::sender::{Sender, Taken};
use p2pchat_transfer::tree::{Chunks, TreeHasher};

use crate::input::Input;

/// Operations of one input.
const OPERATIONS_MAX: usize = 100;
/// Lengths of files: nothing, the edges of a chunk, and several chunks.
const LENGTHS: [usize; 6] = [0, 5, CHUNK_LEN, CHUNK_LEN + 5, 2 * CHUNK_LEN, 2 * CHUNK_LEN + 77];
/// Carriers that are sealed before the first run: attempts at one file.
const CARRIERS: u8 = 2;

type Record = ([u8; 4], Vec<u8>);

/// One file, and what its sender seals: by attempt and by what the receiver is said to hold.
struct File {
    content: Vec<u8>,
    hash: [u8; 32],
    sealed: Vec<Vec<Record>>,
}

fn ends(attempt: u8) -> (RecordSealer, RecordOpener) {
    let hellos = || Hellos::new(TransferId([1; 16]), &SecretBytes::new([attempt; 32]));
    let (mut sender, mut receiver) = (hellos(), hellos());
    let hello = sender.dial(CarrierNonce([3; 16])).unwrap();
    let (answer, at_receiver) = receiver.accept(&hello, CarrierNonce([4; 16])).unwrap();
    let at_sender = sender.dialed(CarrierNonce([3; 16]), &answer).unwrap();
    let suite = Suite::ChaCha20Poly1305;
    (sender.sealer(suite, &at_sender), receiver.opener(suite, &at_receiver))
}

/// The secret's byte of an attempt of which the receiver holds `have` chunks.
fn secret(attempt: u8, have: u64) -> u8 {
    attempt * 16 + have as u8 + 1
}

fn files() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| LENGTHS.map(file).into())
}

fn file(len: usize) -> File {
    let content: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 9) ^ len) as u8).collect();
    let chunks = Chunks::of(len as u64).count();
    let attempts = (0..CARRIERS).flat_map(|attempt| (0..=chunks).map(move |have| (attempt, have)));
    let sealed = attempts.map(|(attempt, have)| {
        let mut sender =
            Sender::new(len as u64, have, TreeHasher::new(len as u64), ends(secret(attempt, have)).0);
        let mut records = Vec::new();
        for piece in sender.pieces() {
            let start = usize::try_from(piece.offset).unwrap();
            match sender.take(content[start..start + piece.len].to_vec()).unwrap() {
                Taken::Record { header, body } => records.push((header, body)),
                Taken::Hashed(_) => {}
            }
        }
        records
    });
    let sealed = sealed.collect();
    File { hash: *blake3::hash(&content).as_bytes(), content, sealed }
}

/// A receiver, what it gave out, and the records that are about to come.
struct Transfer {
    file: &'static File,
    declared: u64,
    receiver: Receiver,
    /// What was written.
    written: Vec<u8>,
    records: Vec<Record>,
    /// Whether the carrier refused a record: a driver feeds none after it.
    over: bool,
    attempt: u8,
    /// Whether the records are of another attempt: none of them opens.
    strange: bool,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    hellos(&mut input);
    let file = &files()[input.index(LENGTHS.len()).unwrap()];
    let declared = match input.byte() {
        0..=159 => file.content.len() as u64,
        160..=199 => LENGTHS[input.index(LENGTHS.len()).unwrap()] as u64,
        200..=229 => (file.content.len() as u64).wrapping_add_signed(i64::from(input.byte() as i8)),
        _ => input.long(),
    };
    let mut transfer = Transfer::new(file, declared);
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.operation() else { break };
        transfer.operate(operation, &mut input);
    }
    transfer.finish(input.byte());
}

/// What a stranger sends first opens nothing.
fn hellos(input: &mut Input<'_>) {
    let mut hellos = Hellos::new(TransferId([1; 16]), &SecretBytes::new([0xee; 32]));
    let bytes = input.bytes();
    if let Some(hello) = bytes.first_chunk::<DIALER_HELLO_LEN>() {
        assert!(hellos.accept(hello, CarrierNonce([9; 16])).is_err());
    }
    if let Some(answer) = bytes.first_chunk::<LISTENER_HELLO_LEN>() {
        assert!(hellos.dialed(CarrierNonce([9; 16]), answer).is_err());
    }
}

impl Transfer {
    fn new(file: &'static File, declared: u64) -> Self {
        let receiver = Receiver::new(declared, 0, TreeHasher::new(declared), ends(secret(0, 0)).1);
        let records = file.sealed[0].clone();
        Self {
            file,
            declared,
            receiver,
            written: Vec::new(),
            records,
            over: false,
            attempt: 0,
            strange: false,
        }
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        let at = input.index(self.records.len());
        match (operation % 12, at) {
            (0..=3, Some(_)) => {
                let record = self.records.remove(0);
                self.feed(&record);
            }
            (4, Some(at)) => {
                let (byte, mask) = (usize::from(input.short()) * 5, input.byte());
                let body = &mut self.records[at].1;
                if let Some(byte) = byte.checked_rem(body.len()) {
                    body[byte] ^= mask;
                }
            }
            (5, Some(at)) => {
                let (byte, mask) = (usize::from(input.byte() % 4), input.byte());
                self.records[at].0[byte] ^= mask;
            }
            (6, Some(at)) => {
                let len = (input.scaled() as usize).min(self.records[at].1.len());
                self.records[at].1.truncate(len);
            }
            (7, Some(at)) => {
                let to = input.index(self.records.len()).unwrap();
                self.records.swap(at, to);
            }
            (8, Some(at)) => drop(self.records.remove(at)),
            (9, Some(at)) if self.records.len() < 8 => {
                let record = self.records[at].clone();
                self.records.insert(at, record);
            }
            (10, _) => self.next_attempt(input),
            (11, _) if self.records.len() < 8 => {
                // The right length and a body of somebody else, or any length at all.
                let len = (input.scaled() as usize).min(CHUNK_LEN);
                if let Ok(header) = RecordHeader::new(len, input.flag()) {
                    self.records
                        .insert(at.unwrap_or(0), (header.to_bytes(), vec![input.byte(); len + TAG_LEN]));
                }
            }
            _ => {}
        }
    }

    /// The carrier breaks, and another goes on; the receiver's word of what it holds may lag behind.
    fn next_attempt(&mut self, input: &mut Input<'_>) {
        let none = Receiver::new(0, 0, TreeHasher::new(0), ends(0).1);
        let tree = core::mem::replace(&mut self.receiver, none).into_tree();
        let chunks = Chunks::of(self.file.content.len() as u64).count();
        let have = u64::from(input.byte()) % (chunks + 1);
        let have = have.min(tree.hashed());
        self.attempt = (self.attempt + 1) % CARRIERS;
        self.receiver = Receiver::new(self.declared, have, tree, ends(secret(self.attempt, have)).1);
        // Records of another attempt are refused, wherever in the file they begin.
        self.strange = input.byte() >= 192;
        let (attempt, begin) = if self.strange {
            ((self.attempt + 1) % CARRIERS, u64::from(input.byte()) % (chunks + 1))
        } else {
            (self.attempt, have)
        };
        let index = u64::from(attempt) * (chunks + 1) + begin;
        self.records = self.file.sealed[usize::try_from(index).unwrap()].clone();
        self.over = false;
    }

    fn feed(&mut self, (header, body): &Record) {
        if self.over {
            return;
        }
        let Ok(header) = RecordHeader::from_bytes(*header) else {
            self.over = true;
            return;
        };
        let held = self.receiver.held();
        let admitted = self.receiver.admit(header).is_ok();
        let opened = self.receiver.open(header, body.clone());
        assert!(!self.strange || opened.is_err(), "a record of another attempt opens");
        match opened {
            Ok(Opened::Chunk { offset, content }) => {
                assert!(admitted && self.receiver.held() == held + 1);
                assert_eq!(offset, self.written.len() as u64, "a gap");
                self.written.extend(content);
                assert!(self.written.len() as u64 <= self.declared, "more than was declared");
                assert!(self.file.content.starts_with(&self.written), "a wrong byte came out");
            }
            Ok(Opened::Nothing(buffer)) => {
                assert!(admitted && self.receiver.held() == held && buffer.len() <= CHUNK_LEN);
            }
            Err(_) => {
                assert_eq!(self.receiver.held(), held);
                self.over = true;
            }
        }
    }

    /// Only the whole file is verified, and only under its own hash.
    fn finish(self, how: u8) {
        let whole = self.receiver.is_complete() && self.written == self.file.content;
        let mut stated = self.file.hash;
        let honest = how < 200;
        if !honest {
            stated[usize::from(how % 32)] ^= 1 << (how % 8);
        }
        match self.receiver.finish(&stated) {
            Ok(verified) => {
                assert!(whole && honest && verified.hash() == &self.file.hash);
                assert_eq!(self.declared, self.file.content.len() as u64);
            }
            Err(FinishError::Corrupt) => assert!(!honest, "the right file was refused"),
            Err(FinishError::Incomplete) => {
                assert!(!whole || self.declared != self.file.content.len() as u64)
            }
        }
    }
}
