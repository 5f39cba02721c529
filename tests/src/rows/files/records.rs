//! F1, F2, F7: what is done to the records of a file, and to its declared size.

use std::time::Duration;

use p2pchat_crypto::carrier::{RecordOpener, RecordSealer};
use p2pchat_proto::carrier::{CarrierNonce, RECORD_HEADER_LEN, RecordHeader};
use p2pchat_proto::transfer::{CHUNK_LEN, FileOffer, OfferedName, SecretBytes, TOTAL_MAX, TransferBody};
use p2pchat_proto::{Moment, PeerId, TransferId};
use p2pchat_transfer::hello::{Hellos, Proven};
use p2pchat_transfer::receiver::{Opened, Receiver};
use p2pchat_transfer::tree::TreeHasher;
use p2pchat_transfer::{BodyError, CarrierFault, CarrierReport, Transfers};

use super::line::{
    Damage, Line, NAME, Record, SUITE, TRANSFER, Victim, below, connect, content, hellos, honest,
    until_closed, wire,
};
use crate::rows::{Defence, Lab, NotRun, Seen};

const C: usize = CHUNK_LEN;
/// How long a connection that was refused may stay open: the time of a hello and some more.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// Damaged orders of chunks that are tried.
const ORDERS: usize = 120;

/// What has to come of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The file is published, byte by byte what was sent.
    Whole,
    /// Nothing is published.
    Refused,
}

/// How much of the hello comes before the records; it holds the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nonce {
    Whole,
    Missing,
    Short,
}

struct Case {
    name: &'static str,
    total: usize,
    nonce: Nonce,
    bend: fn(&mut Vec<Record>),
    behind: usize,
    verdict: Verdict,
}

const fn case(name: &'static str, total: usize, verdict: Verdict, bend: fn(&mut Vec<Record>)) -> Case {
    Case { name, total, nonce: Nonce::Whole, bend, behind: 0, verdict }
}

/// The shapes of age's test vectors for streams, by their names. A record says its own length, so
/// what trails is either within the last one, which then is too long, or behind it. That is no
/// error here as it is in age, where a stream ends with its file: the last record is sealed as the
/// last and the size is the declared one, so the receiver closes the socket without reading on. To
/// call trailing bytes an error it would have to wait for an end of the stream that the sender may
/// withhold, over a file that is whole, and no byte of which they could change.
fn cases() -> Vec<Case> {
    use Verdict::{Refused, Whole};
    let asis: fn(&mut Vec<Record>) = |_| {};
    vec![
        case("257_chunks", 256 * C + 100, Whole, asis),
        case("257_chunks_full", 257 * C, Whole, asis),
        case("258_chunks", 257 * C + 100, Whole, asis),
        case("bad_tag", 100, Refused, |r| r[0].damage = Damage::Tag),
        case("bad_tag_second_chunk", C + 100, Refused, |r| r[1].damage = Damage::Tag),
        case("bad_tag_second_chunk_full", 2 * C, Refused, |r| r[1].damage = Damage::Tag),
        case("empty_payload", 0, Whole, asis),
        case("last_chunk_empty", C, Refused, |r| {
            r[0].last = false;
            r.push(Record { index: 1, content: Vec::new(), last: true, damage: Damage::None });
        }),
        case("last_chunk_full", C, Whole, asis),
        case("last_chunk_full_second", 2 * C, Whole, asis),
        case("missing_tag", 100, Refused, |r| r[0].damage = Damage::NoTag),
        case("no_chunks", 100, Refused, Vec::clear),
        case("no_final", 100, Refused, |r| r[0].last = false),
        case("no_final_full", C, Refused, |r| r[0].last = false),
        case("no_final_two_chunks", C + 100, Refused, |r| r[1].last = false),
        case("no_final_two_chunks_full", 2 * C, Refused, |r| r[1].last = false),
        Case { nonce: Nonce::Missing, ..case("no_nonce", 100, Refused, asis) },
        case("short_chunk", 2 * C, Refused, |r| r[0].content.truncate(100)),
        Case { nonce: Nonce::Short, ..case("short_nonce", 100, Refused, asis) },
        case("short_second_chunk", 2 * C + 100, Refused, |r| r[1].content.truncate(100)),
        case("three_chunks", 2 * C + 100, Whole, asis),
        Case { behind: 3 * C, ..case("trailing_garbage_long", 100, Whole, asis) },
        case("trailing_garbage_short", 100, Refused, |r| r[0].damage = Damage::Garbage(1)),
        case("two_chunks", C + 100, Whole, asis),
        case("two_final_chunks", C + 100, Refused, |r| r[0].last = true),
        case("two_final_chunks_full", 2 * C, Refused, |r| r[0].last = true),
        case("two_final_chunks_second", 2 * C + 100, Refused, |r| r[1].last = true),
        case("two_final_chunks_short", 200, Refused, |r| {
            let rest = r[0].content.split_off(100);
            r.push(Record { index: 1, content: rest, last: true, damage: Damage::None });
        }),
    ]
}

pub(super) fn streams(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let cases = cases();
    let mut wrong = Vec::new();
    for case in &cases {
        let content = content(&mut lab.rng, case.total);
        let mut records = honest(&content);
        (case.bend)(&mut records);
        let verdict = match defence {
            Defence::InPlace => received(case, &content, &records)?,
            Defence::Removed => trusted(case, &records)?,
        };
        if verdict != case.verdict {
            wrong.push(case.name);
        }
    }
    let what = if wrong.is_empty() {
        "every verdict is that of the table".to_owned()
    } else {
        format!("other verdicts: {}", wrong.join(", "))
    };
    Ok(Seen::when(wrong.is_empty(), what).figure(format!("{} streams, up to 258 chunks", cases.len())))
}

/// What the product's driver makes of it, over a real connection.
fn received(case: &Case, content: &[u8], records: &[Record]) -> Result<Verdict, NotRun> {
    let mut victim = Victim::receiving(case.total as u64)?.listening()?;
    let published = match case.nonce {
        Nonce::Whole => {
            let mut line = Line::dial(victim.at, 1)?;
            let mut bytes = wire(records, || line.sealer());
            bytes.resize(bytes.len() + case.behind, 0x5a);
            line.send(&bytes);
            if bytes.is_empty() {
                hangs_up(&mut line.socket)?;
                false
            } else {
                is_published(&mut victim, content)?
            }
        }
        Nonce::Missing | Nonce::Short => {
            let mut socket = connect(victim.at)?;
            let hello = hellos().dial(CarrierNonce([1; 16]))?;
            let cut = if case.nonce == Nonce::Short { hello.len() - 12 } else { 0 };
            std::io::Write::write_all(&mut socket, &hello[..cut])?;
            socket.shutdown(std::net::Shutdown::Write)?;
            hangs_up(&mut socket)?;
            false
        }
    };
    let left = victim.left();
    let right = left == [(NAME.to_owned(), content.to_vec())];
    Ok(match (published, right, left.is_empty()) {
        (true, true, _) => Verdict::Whole,
        (false, _, true) => Verdict::Refused,
        _ => return Err(NotRun(format!("{}: published {published}, but {} files", case.name, left.len()))),
    })
}

fn hangs_up(socket: &mut std::net::TcpStream) -> Result<(), NotRun> {
    let came = until_closed(socket, REFUSED_WITHIN).ok_or(NotRun("it is not refused in time".to_owned()))?;
    if came.is_empty() { Ok(()) } else { Err(NotRun("a stranger is answered".to_owned())) }
}

/// Whether the driver takes what came, and names it.
fn is_published(victim: &mut Victim, content: &[u8]) -> Result<bool, NotRun> {
    let report = victim.next()?;
    if matches!(report, CarrierReport::Lost { .. } | CarrierReport::Failed(_)) {
        return Ok(false);
    }
    if report != CarrierReport::Received {
        return Err(NotRun(format!("{report:?}")));
    }
    let published = victim.publish(*blake3::hash(content).as_bytes())?;
    Ok(matches!(published, CarrierReport::Published { .. }))
}

/// Both ends of a carrier in this process.
fn ends(mut sender: Hellos, mut receiver: Hellos) -> Result<(Hellos, Hellos, [Proven; 2]), NotRun> {
    let hello = sender.dial(CarrierNonce([1; 16]))?;
    let (answer, at_receiver) = receiver.accept(&hello, CarrierNonce([2; 16]))?;
    let at_sender = sender.dialed(CarrierNonce([1; 16]), &answer)?;
    Ok((sender, receiver, [at_sender, at_receiver]))
}

/// The double: it opens what opens, and takes the end of the connection for the end of the file.
fn trusted(case: &Case, records: &[Record]) -> Result<Verdict, NotRun> {
    let (sender, receiver, [at_sender, at_receiver]) = ends(hellos(), hellos())?;
    let bytes = wire(records, || sender.sealer(SUITE, &at_sender));
    let mut opener: RecordOpener = receiver.opener(SUITE, &at_receiver);
    let mut rest = &bytes[..];
    while let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() {
        let Ok(header) = RecordHeader::from_bytes(*header) else { return Ok(Verdict::Refused) };
        let Some((body, after)) = after.split_at_checked(header.ciphertext_len()) else { break };
        if opener.open(&mut body.to_vec(), header.last).is_err() {
            return Ok(Verdict::Refused);
        }
        rest = after;
    }
    Ok(if case.nonce == Nonce::Whole { Verdict::Whole } else { Verdict::Refused })
}

/// F2. Records of two carriers, in any order but the right one.
pub(super) fn orders(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let content = content(&mut lab.rng, 4 * C + 11);
    let (sender, receiver, [at_sender, at_receiver]) = ends(hellos(), hellos())?;
    let own = pieces(&content, 0, sender.sealer(SUITE, &at_sender));
    let foreign = foreign(&content)?;
    let mut wrong_bytes = 0;
    let mut lost_chunks = 0;
    for _ in 0..ORDERS {
        let (bent, plain) = bent(lab, &own, &foreign);
        let untouched = bent.iter().zip(&own).take_while(|(bent, right)| bent == right).count();
        match defence {
            Defence::InPlace => {
                let opener = receiver.opener(SUITE, &at_receiver);
                let total = content.len() as u64;
                let mut receiver = Receiver::new(total, 0, TreeHasher::new(total), opener);
                let (file, _) = feed(&mut receiver, &bent, content.len());
                let right = (untouched * C).min(content.len());
                if file[..right] != content[..right] || file[right..].iter().any(|byte| *byte != 0xee) {
                    wrong_bytes += 1;
                }
                if receiver.held() != untouched as u64 || !resumes(receiver, file, &content)? {
                    lost_chunks += 1;
                }
            }
            Defence::Removed => {
                // Not sealed: chunks are written where they come.
                let file: Vec<u8> = plain.iter().flat_map(|place| chunk(&content, *place)).collect();
                if file != content {
                    wrong_bytes += 1;
                }
            }
        }
    }
    let what = format!("{wrong_bytes} with wrong bytes, {lost_chunks} that lost a verified chunk");
    Ok(Seen::when(wrong_bytes + lost_chunks == 0, what).figure(format!("{ORDERS} orders")))
}

type Sealed = ([u8; RECORD_HEADER_LEN], Vec<u8>);

/// The chunks from `have` on, sealed in order.
fn pieces(content: &[u8], have: u64, mut sealer: RecordSealer) -> Vec<Sealed> {
    let missing = honest(content).into_iter().skip(usize::try_from(have).unwrap_or(usize::MAX));
    let sealed = missing.filter_map(|mut record| {
        let header = RecordHeader::new(record.content.len(), record.last).ok()?;
        sealer.seal(&mut record.content, record.last).ok()?;
        Some((header.to_bytes(), record.content))
    });
    sealed.collect()
}

/// The same content sealed for another transfer, another attempt, and from receiver to sender.
fn foreign(content: &[u8]) -> Result<Vec<Vec<Sealed>>, NotRun> {
    let mut all = Vec::new();
    for (transfer, secret, turned) in
        [([8; 16], [9; 32], false), (TRANSFER.0, [1; 32], false), (TRANSFER.0, [9; 32], true)]
    {
        let hellos = || Hellos::new(TransferId(transfer), &SecretBytes::new(secret));
        let (mut dialer, mut listener) = (hellos(), hellos());
        let (first, second) = if turned { (2, 1) } else { (1, 2) };
        let hello = dialer.dial(CarrierNonce([first; 16]))?;
        let (_, proven) = listener.accept(&hello, CarrierNonce([second; 16]))?;
        all.push(pieces(content, 0, listener.sealer(SUITE, &proven)));
    }
    Ok(all)
}

/// An order that is not the right one, and the places of the chunks in it.
fn bent(lab: &mut Lab, own: &[Sealed], foreign: &[Vec<Sealed>]) -> (Vec<Sealed>, Vec<usize>) {
    let mut places: Vec<usize> = (0..own.len()).collect();
    let mut records = own.to_vec();
    let (a, b) = (below(&mut lab.rng, own.len()), below(&mut lab.rng, own.len() - 1));
    let b = if b >= a { b + 1 } else { b };
    match below(&mut lab.rng, 4) {
        0 => {
            places.swap(a, b);
            records.swap(a, b);
        }
        1 => {
            places.remove(a);
            records.remove(a);
        }
        2 => {
            places.insert(a, b);
            records.insert(a, own[b].clone());
        }
        _ => {
            let other = &foreign[below(&mut lab.rng, foreign.len())];
            places[a] = b;
            records[a] = other[a].clone();
        }
    }
    (records, places)
}

fn chunk(content: &[u8], place: usize) -> Vec<u8> {
    content.chunks(C).nth(place).unwrap_or_default().to_vec()
}

/// Feeds records until one is refused; what was given out lies in the file.
fn feed(receiver: &mut Receiver, records: &[Sealed], len: usize) -> (Vec<u8>, bool) {
    let mut file = vec![0xee; len];
    let all = feed_into(receiver, records, &mut file);
    (file, all)
}

fn feed_into(receiver: &mut Receiver, records: &[Sealed], file: &mut [u8]) -> bool {
    for (header, body) in records {
        let Ok(header) = RecordHeader::from_bytes(*header) else { return false };
        match receiver.open(header, body.clone()) {
            Ok(Opened::Chunk { offset, content }) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                file[at..at + content.len()].copy_from_slice(&content);
            }
            Ok(Opened::Nothing(_)) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Whether another carrier completes what the first one began, and the whole is right.
fn resumes(receiver: Receiver, mut file: Vec<u8>, content: &[u8]) -> Result<bool, NotRun> {
    let (have, total) = (receiver.held(), content.len() as u64);
    let (sender, again, [at_sender, at_receiver]) = ends(hellos(), hellos())?;
    let records = pieces(content, have, sender.sealer(SUITE, &at_sender));
    let tree = receiver.into_tree();
    let mut receiver = Receiver::new(total, have, tree, again.opener(SUITE, &at_receiver));
    let all = feed_into(&mut receiver, &records, &mut file);
    let verified = receiver.finish(blake3::hash(content).as_bytes()).is_ok();
    Ok(all && verified && file == content)
}

/// F7. What was declared and what comes differ.
pub(super) fn sizes(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (mut most, mut written_at_all): (u64, u64) = (0, 0);
    let mut wrong = Vec::new();
    let cases = [(0, 1), (1, 0), (C, C - 1), (C, C + 1), (C + 1, C), (100, 40 * C), (2 * C, 40 * C)];
    for (declared, sent) in cases {
        let content = content(&mut lab.rng, sent);
        let beyond = match defence {
            Defence::InPlace => {
                let mut victim = Victim::receiving(declared as u64)?.listening()?;
                let mut line = Line::dial(victim.at, 1)?;
                let bytes = wire(&honest(&content), || line.sealer());
                line.send(&bytes);
                let published = is_published(&mut victim, &content)?;
                let written = victim.unfinished();
                written_at_all += written;
                let left = victim.left().len();
                if published || left > 0 {
                    wrong.push(format!("{declared} declared, {sent} sent: published"));
                }
                written.saturating_sub(declared as u64)
            }
            // Opens and writes until the connection ends, whatever was declared.
            Defence::Removed => {
                let (sender, receiver, [at_sender, at_receiver]) = ends(hellos(), hellos())?;
                let mut opener = receiver.opener(SUITE, &at_receiver);
                let mut written = 0;
                for (header, mut body) in pieces(&content, 0, sender.sealer(SUITE, &at_sender)) {
                    opener.open(&mut body, RecordHeader::from_bytes(header)?.last)?;
                    written += body.len() as u64;
                }
                written.saturating_sub(declared as u64)
            }
        };
        most = most.max(beyond);
    }
    if defence == Defence::InPlace {
        wrong.extend(undeclarable()?);
        if written_at_all == 0 {
            return Err(NotRun("nothing was written that could be too much".to_owned()));
        }
    }
    let what = if wrong.is_empty() {
        format!("at most {most} bytes beyond what was declared")
    } else {
        wrong.join("; ")
    };
    let held = most == 0 && wrong.is_empty();
    Ok(Seen::when(held, what).figure(format!("{} sizes and two that cannot be", cases.len())))
}

/// A size that no offer may say, and one that no disk holds.
fn undeclarable() -> Result<Vec<String>, NotRun> {
    let mut wrong = Vec::new();
    let offer = FileOffer {
        transfer: TRANSFER,
        count: 1,
        total: TOTAL_MAX,
        names: vec![OfferedName::new(NAME)],
        manifest: None,
    };
    let (kind, mut body) = TransferBody::from(offer).to_bytes()?;
    // The total stands behind the id and the count.
    body[20..28].copy_from_slice(&u64::MAX.to_be_bytes());
    let peer = PeerId([3; 32]);
    let mut transfers = Transfers::new([1; 32]);
    transfers.session_up(peer, SUITE, Moment::ZERO);
    if !matches!(transfers.handle_body(peer, kind, &body, Moment::ZERO), Err(BodyError::Malformed(_))) {
        wrong.push("an offer of u64::MAX bytes is taken".to_owned());
    }
    let mut victim = Victim::receiving(TOTAL_MAX)?;
    let report = victim.next()?;
    if !matches!(report, CarrierReport::Failed(CarrierFault::DiskFull { .. })) {
        wrong.push(format!("no quota for {TOTAL_MAX} bytes: {report:?}"));
    }
    Ok(wrong)
}
