//! F11, F12, F14, F15: who may speak at the file port, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use p2pchat_proto::carrier::{CarrierNonce, DIALER_HELLO_LEN, DialerHello};
use p2pchat_proto::transfer::{
    Attempt, FileCandidates, FileDone, FileOffer, OfferedName, SecretBytes, TcpCandidates, TransferBody,
};
use p2pchat_proto::{Moment, PeerId, TransferId};
use p2pchat_transfer::hello::Hellos;
use p2pchat_transfer::{CarrierReport, Effect, State, Transfers};
use rand::{Rng, RngExt};

use super::line::{
    Line, NAME, SUITE, TRANSFER, Victim, connect, content, hellos, honest, until_closed, wire,
};
use crate::actions::{TRANSFER as TRANSFER_WITHIN, offer_file, random_content};
use crate::event::{event, file, session};
use crate::peer::Setup;
use crate::process::PROMPT;
use crate::relay::TcpRelay;
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::world::{MEETING, World, free_port, listen, only_file};

/// Time after which a stranger must be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Offers of one peer that nobody answers.
const OFFERS: u32 = 1000;
/// Most of them that may wait (`p2pchat_transfer::control::PENDING_MAX`).
const PENDING: usize = p2pchat_transfer::control::PENDING_MAX;
/// Hellos that are bent.
const HELLOS: usize = 2000;
/// As many strangers as a port keeps, and some more.
const STRANGERS: usize = 12;
/// How long the double is given to serve the real peer.
const SERVED: Duration = Duration::from_millis(500);

/// F11. Strangers are at the port before the peer.
pub(super) fn strangers(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    match defence {
        Defence::InPlace => at_the_port(),
        Defence::Removed => at_a_door_without_a_clock(),
    }
}

fn at_the_port() -> Result<Seen, NotRun> {
    let world = World::new()?;
    // The peers' way to each other is not there before it is named: strangers are first.
    let (to_alice, to_bob) = (TcpRelay::start()?, TcpRelay::start()?);
    let ports = [free_port()?, free_port()?];
    let person = |name, port, relay: &TcpRelay| -> Result<Setup, NotRun> {
        Ok(world.person(name)?.accept_everything().files_through(port, relay.address()))
    };
    let mut alice = listen(&person("alice", ports[0], &to_alice)?)?;
    let mut bob = person("bob", ports[1], &to_bob)?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    let song = world.file(NAME, &random_content(11, 300_000))?;
    offer_file(&mut bob, &song)?;
    alice.wait(&file("in", "accepted"), MEETING)?;

    let mut first: Vec<_> = (0..4).map(|_| first_at(ports[0])).collect::<Result<_, _>>()?;
    let begin = Instant::now();
    first[1].write_all(b"D")?;
    first[2].write_all(&[b'D'; DIALER_HELLO_LEN])?;
    first[3].write_all(b"GET / HTTP/1.1\r\n\r\n and so on, far longer than a hello may be")?;
    let mut answered = 0;
    let mut stayed = 0;
    for socket in &mut first {
        match until_closed(socket, GONE_WITHIN.saturating_sub(begin.elapsed()).max(Duration::from_millis(1)))
        {
            Some(came) => answered += came.len(),
            None => stayed += 1,
        }
    }
    let gone = begin.elapsed();
    let mut crowd = Vec::new();
    for port in ports {
        for _ in 0..STRANGERS {
            crowd.extend(TcpStream::connect(port));
        }
    }
    to_alice.set_target(ports[0]);
    to_bob.set_target(ports[1]);
    let done = alice.wait(&file("in", "done"), TRANSFER_WITHIN)?;
    let same = fs::read(done.text("path"))? == fs::read(&song)?;
    let held = answered == 0 && stayed == 0 && same;
    let what = format!("{stayed} strangers stayed, {answered} bytes of answer, file whole: {same}");
    Ok(Seen::when(held, what).figure(format!(
        "gone after {:.1} s, {} in the crowd",
        gone.as_secs_f64(),
        crowd.len()
    )))
}

/// The port is open for as long as a carrier is being made.
fn first_at(port: SocketAddr) -> Result<TcpStream, NotRun> {
    let deadline = Instant::now() + PROMPT;
    loop {
        match TcpStream::connect(port) {
            Ok(socket) => return Ok(socket),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::yield_now(),
        }
    }
}

/// The double takes who comes and waits for what they say.
fn at_a_door_without_a_clock() -> Result<Seen, NotRun> {
    let door = TcpListener::bind(("127.0.0.1", 0))?;
    let at = door.local_addr()?;
    thread::spawn(move || {
        for mut socket in door.incoming().flatten() {
            let mut hello = [0; DIALER_HELLO_LEN];
            if socket.read_exact(&mut hello).is_ok()
                && let Ok((answer, _)) = hellos().accept(&hello, CarrierNonce([2; 16]))
            {
                let _gone = socket.write_all(&answer);
            }
        }
    });
    let stranger = connect(at)?;
    let mut peer = connect(at)?;
    peer.write_all(&hellos().dial(CarrierNonce([1; 16]))?)?;
    peer.set_read_timeout(Some(SERVED))?;
    let served = peer.read_exact(&mut [0]).is_ok();
    drop(stranger);
    Ok(Seen::when(served, format!("the real peer is served: {served}")))
}

/// F12. One id again and again, and offers without end.
pub(super) fn offers(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let (same, waiting) = match defence {
        Defence::InPlace => (open_offers(|_| 0)?, open_offers(|number| number)?),
        Defence::Removed => (listed(|_| 0)?, listed(|number| number)?),
    };
    let held = same == 1 && waiting == PENDING;
    let what = format!("{same} from one id, {waiting} of {OFFERS} wait");
    Ok(Seen::when(held, what).figure(format!("{OFFERS} offers, {PENDING} may wait")))
}

/// How many offers a receiver shows of a peer that makes 1,000.
fn open_offers(id: fn(u32) -> u32) -> Result<usize, NotRun> {
    let peer = PeerId([3; 32]);
    let mut transfers = Transfers::new([1; 32]);
    transfers.session_up(peer, SUITE, Moment::ZERO);
    let mut open = BTreeMap::new();
    let mut shown = 0;
    for number in 0..OFFERS {
        let (kind, body) = offer(id(number))?;
        transfers.handle_body(peer, kind, &body, Moment::ZERO)?;
        while let Some(update) = transfers.poll_event() {
            shown += usize::from(update.state == State::Offered);
            open.insert(update.transfer, update.state);
        }
        while transfers.poll_effect().is_some() {}
    }
    // An id that is offered again must not be shown again either.
    Ok(if open.len() == 1 { shown } else { open.values().filter(|state| **state == State::Offered).count() })
}

fn offer(id: u32) -> Result<(u8, Vec<u8>), NotRun> {
    let mut transfer = [0; 16];
    transfer[..4].copy_from_slice(&id.to_be_bytes());
    let names = vec![OfferedName::new(NAME)];
    let offer = FileOffer { transfer: TransferId(transfer), count: 1, total: 5, names, manifest: None };
    Ok(TransferBody::from(offer).to_bytes()?)
}

/// The double: it lists what it is offered, and shows the list.
fn listed(id: fn(u32) -> u32) -> Result<usize, NotRun> {
    let mut list = Vec::new();
    for number in 0..OFFERS {
        let (kind, body) = offer(id(number))?;
        if let Some(TransferBody::FileOffer(offer)) = TransferBody::from_bytes(kind, &body)? {
            list.push(offer);
        }
    }
    Ok(list.len())
}

/// F14. Content comes although nobody accepted.
pub(super) fn unasked(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let unasked = content(&mut lab.rng, 100_000);
    let (opened, written) = match defence {
        Defence::InPlace => before_the_answer(&unasked)?,
        Defence::Removed => {
            let door = TcpListener::bind(("127.0.0.1", 0))?;
            let at = door.local_addr()?;
            let taking = thread::spawn(move || {
                let mut file = Vec::new();
                let (mut socket, _) = door.accept()?;
                socket.read_to_end(&mut file)?;
                Ok::<_, std::io::Error>(file.len())
            });
            connect(at)?.write_all(&unasked)?;
            (1, taking.join().unwrap_or(Ok(0))?)
        }
    };
    let what = format!("{opened} ports opened, {written} bytes written before the answer");
    Ok(Seen::when(opened == 0 && written == 0, what).figure(format!("{} bytes sent unasked", unasked.len())))
}

/// The real programs, and a sender that does not wait: ports opened and bytes kept at the receiver.
fn before_the_answer(unasked: &[u8]) -> Result<(usize, usize), NotRun> {
    let mut opened = effects_before_the_answer()?;
    let world = World::new()?;
    let port = free_port()?;
    let alice = world.person("alice")?.arguments(["--accept", "everyone", "--accept-files", "ask"]);
    let mut alice = listen(&alice.files_through(port, port))?;
    let mut bob = world.person("bob")?.start(&["connect", "--to", "alice"])?;
    bob.wait(&session("up"), MEETING)?;
    let song = world.file(NAME, unasked)?;
    offer_file(&mut bob, &song)?;
    alice.wait(&file("in", "offered"), MEETING)?;
    if let Ok(mut socket) = TcpStream::connect(port) {
        opened += 1;
        let _refused = socket.write_all(unasked);
    }
    // An answer from alice's program shows that whatever it had to do before is done.
    alice.info()?;
    let downloads = alice.home().join("downloads");
    let entries = fs::read_dir(&downloads).into_iter().flatten().filter_map(Result::ok);
    let written: usize = entries.filter_map(|entry| entry.metadata().ok()).map(|m| m.len() as usize).sum();
    alice.send_line("/accept 1")?;
    alice.wait(&file("in", "done"), TRANSFER_WITHIN)?;
    if only_file(&downloads).is_none() {
        return Err(NotRun("the file does not come after the answer either".to_owned()));
    }
    let errors = alice.take_events().iter().filter(|said| event("error").matches(said)).count();
    Ok((opened, written + errors))
}

/// What the control plane does when a sender goes on without an answer: nothing.
fn effects_before_the_answer() -> Result<usize, NotRun> {
    let peer = PeerId([3; 32]);
    let mut transfers = Transfers::new([1; 32]);
    transfers.session_up(peer, SUITE, Moment::ZERO);
    let names = vec![OfferedName::new(NAME)];
    let list = TcpCandidates::new([SocketAddr::from(([192, 0, 2, 1], 9))]);
    let bodies: [TransferBody; 3] = [
        FileOffer { transfer: TRANSFER, count: 1, total: 5, names, manifest: None }.into(),
        FileCandidates { transfer: TRANSFER, attempt: Attempt(0), list }.into(),
        FileDone { transfer: TRANSFER, first: 0, hashes: vec![[1; 32]] }.into(),
    ];
    for body in bodies {
        let (kind, bytes) = body.to_bytes()?;
        // Some of it is refused, which is as good.
        let _refused = transfers.handle_body(peer, kind, &bytes, Moment::ZERO);
    }
    let mut started = 0;
    while let Some(effect) = transfers.poll_effect() {
        started += match effect {
            Effect::StartCarrier(_) | Effect::Candidates { .. } | Effect::Publish { .. } => 1,
            Effect::Send { .. } | Effect::StopCarrier { .. } => 0,
        };
    }
    Ok(started)
}

const REFLECTED: Promise = "a hello that comes back is refused";
const REPLAYED: Promise = "a hello that was heard is refused";
const OTHER: Promise = "a hello of another attempt is refused";
const CHANGED: Promise = "a hello of which a bit was changed is refused";
const CHOSEN: Promise = "the receiver takes the carrier that the sender chose, and no other";

/// A side without one of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Careless {
    /// Forgets what it dialled with.
    Dialled,
    /// Forgets what it heard.
    Heard,
    /// Has one secret for all attempts.
    Attempts,
    /// Looks at the transfer, not at the MAC.
    Mac,
    /// Takes the first connection that is proven.
    Choice,
}

const CARELESS: [(Careless, Promise); 5] = [
    (Careless::Dialled, REFLECTED),
    (Careless::Heard, REPLAYED),
    (Careless::Attempts, OTHER),
    (Careless::Mac, CHANGED),
    (Careless::Choice, CHOSEN),
];

/// F15. Hellos that come back, come again, or belong elsewhere; and a choice that differs.
pub(super) fn hello(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let seen = each(defence, &CARELESS, |careless| {
        let mut broken = BTreeSet::new();
        for _ in 0..HELLOS {
            broken.extend(bent(careless, lab)?);
        }
        let follows = match careless {
            None => follows_the_sender(lab)?,
            Some(Careless::Choice) => follows_the_first(lab)?,
            Some(Careless::Dialled | Careless::Heard | Careless::Attempts | Careless::Mac) => true,
        };
        broken.extend((!follows).then_some(CHOSEN));
        Ok(broken)
    })?;
    Ok(seen.figure(format!("{HELLOS} hellos, 3 sockets")))
}

/// Bends one hello; the promise that broke, if it was taken.
fn bent(careless: Option<Careless>, lab: &mut Lab) -> Result<Option<Promise>, NotRun> {
    let mut alice = hellos();
    let mut hello = alice.dial(nonce(lab))?;
    let mut bob = hellos();
    let other = SecretBytes::new([lab.rng.random_range(10..255); 32]);
    let (promise, mut victim) = match lab.rng.random_range(0..4) {
        0 if careless == Some(Careless::Dialled) => (REFLECTED, hellos()),
        0 => (REFLECTED, alice),
        1 => {
            bob.accept(&hello, nonce(lab))?;
            (REPLAYED, if careless == Some(Careless::Heard) { hellos() } else { bob })
        }
        2 if careless == Some(Careless::Attempts) => (OTHER, bob),
        2 => (OTHER, Hellos::new(TRANSFER, &other)),
        _ => {
            let at = lab.rng.random_range(0..hello.len());
            hello[at] ^= 1 << lab.rng.random_range(0..8);
            (CHANGED, bob)
        }
    };
    let taken = if careless == Some(Careless::Mac) {
        DialerHello::from_bytes(&hello).is_some_and(|hello| hello.transfer == TRANSFER) && promise == CHANGED
    } else {
        victim.accept(&hello, nonce(lab)).is_ok()
    };
    Ok(taken.then_some(promise))
}

/// The double: of three connections it keeps the first, and the sender chose the last.
fn follows_the_first(lab: &mut Lab) -> Result<bool, NotRun> {
    let door = TcpListener::bind(("127.0.0.1", 0))?;
    let at = door.local_addr()?;
    let mut nonces = [nonce(lab), nonce(lab), nonce(lab)].into_iter();
    let receiver = thread::spawn(move || {
        let (mut hellos, mut kept) = (hellos(), None);
        for nonce in nonces.by_ref() {
            let (mut socket, _) = door.accept()?;
            let mut hello = [0; DIALER_HELLO_LEN];
            socket.read_exact(&mut hello)?;
            if let Ok((answer, _)) = hellos.accept(&hello, nonce) {
                socket.write_all(&answer)?;
                kept.get_or_insert(socket);
            }
        }
        let Some(mut kept) = kept else { return Ok(false) };
        kept.set_read_timeout(Some(SERVED))?;
        Ok::<_, std::io::Error>(kept.read(&mut [0]).is_ok_and(|read| read > 0))
    });
    let mut lines = [Line::dial(at, 1)?, Line::dial(at, 2)?, Line::dial(at, 3)?];
    lines[2].send(b"the file");
    receiver.join().map_err(|_| NotRun("the double panicked".to_owned()))?.map_err(NotRun::from)
}

fn nonce(lab: &mut Lab) -> CarrierNonce {
    let mut nonce = [0; 16];
    lab.rng.fill_bytes(&mut nonce);
    CarrierNonce(nonce)
}

/// Three connections are proven, and the sender takes the last one: so does the receiver.
fn follows_the_sender(lab: &mut Lab) -> Result<bool, NotRun> {
    let content = content(&mut lab.rng, 400_000);
    let mut victim = Victim::receiving(content.len() as u64)?.listening()?;
    let mut lines = [Line::dial(victim.at, 1)?, Line::dial(victim.at, 2)?, Line::dial(victim.at, 3)?];
    let [first, second, third] = &mut lines;
    let bytes = wire(&honest(&content), || third.sealer());
    third.send(&bytes);
    let closed = [first, second].map(|line| until_closed(&mut line.socket, GONE_WITHIN));
    let silent = closed.iter().all(|came| came.as_ref().is_some_and(Vec::is_empty));
    let report = victim.next()?;
    if report != CarrierReport::Received {
        return Err(NotRun(format!("{report:?}")));
    }
    let published = victim.publish(*blake3::hash(&content).as_bytes())?;
    let whole = victim.left() == [(NAME.to_owned(), content)];
    Ok(silent && whole && matches!(published, CarrierReport::Published { .. }))
}
