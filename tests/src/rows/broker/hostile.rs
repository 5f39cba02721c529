//! B16: a broker that does to a client what no broker should.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime};

use p2pchat_crypto::link::{BrokerSecret, LinkOpener, LinkSealer, ServerHandshake, frame};
use p2pchat_crypto::offer::{PendingRequest, RequestTerms, suites};
use p2pchat_proto::broker::{
    AnswerBody, Answered, Call, Cancelled, CancelledWhy, DIRECTORY_PAGE, DirectoryEntry, Endpoints,
    FromBroker, Incoming, Outcome, PresenceDelta, PresenceSnapshot, Reply, Restarting, SealedEndpoints,
    Status, ToBroker, WATCH_BATCH, Welcome,
};
use p2pchat_proto::codec::encode;
use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::offer::{Addressee, Purpose, SignedOffer};
use p2pchat_proto::{BrokerKey, PeerId, RequestId, UdpEndpoints, WallTime};
use rand::{Rng, RngExt};

use super::swallows::{self, ENDS, GENTLE, LEFT};
use crate::caller::{identity, record};
use crate::memory::resident;
use crate::meter;
use crate::peer::Peer;
use crate::process::{Failure, PROMPT};
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::town::Without;
use crate::world::World;

/// What is said of each kind.
const FLOOD: usize = 10_000;
/// Records that a broker sends which does not read what is answered.
const FLOOD_UNREAD: usize = 100_000;
/// Requests with an offer that is right, each of somebody else.
const ASKERS: u8 = 100;
/// What the client may grow by in all.
const GROWTH_MAX: u64 = 24 << 20;
/// A kind that no version knows; the client's answer to it shows that it has read so far.
const MARK: u8 = 0xfe;
/// How long the trap waits for a datagram that is late.
const LATE: Duration = Duration::from_millis(300);

const STILL: Promise = "no datagram goes where a broker wants it";
const SMALL: Promise = "what a broker says is not kept";

/// Clients with one thing wrong.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// Takes the broker's word for where people are.
    Believes,
    /// Keeps everything that it hears.
    Hoards,
    /// Waits for a broker, however long.
    Waits,
    /// Comes back at once, however often it was sent away.
    Hurries,
}

const DOUBLES: [(Client, Promise); 5] = [
    (Client::Believes, STILL),
    (Client::Hoards, SMALL),
    (Client::Waits, ENDS),
    (Client::Waits, LEFT),
    (Client::Hurries, GENTLE),
];

/// B16.
pub(super) fn broker(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let mut figure = String::new();
    let seen = each(defence, &DOUBLES, |client| {
        let trap = UdpSocket::bind(("127.0.0.1", 0))?;
        trap.set_read_timeout(Some(LATE))?;
        let (mut broken, mut growth) = (BTreeSet::new(), 0);
        match client {
            None => {
                let (grew, scripts) = every_script(&trap, lab)?;
                growth = grew;
                broken.extend(swallows::all(None, lab)?);
                let all = scripts + swallows::COUNT;
                figure = format!("{all} scripts, grew by {} KiB", growth >> 10);
            }
            Some(Client::Believes) => believe(&answers(&trap, 16, lab)?, &trap)?,
            Some(Client::Hoards) => growth = hoard(&trap, lab)?,
            Some(Client::Waits) => broken.extend(swallows::all(Some(Without::AnyClock), lab)?),
            Some(Client::Hurries) => broken.extend(swallows::all(Some(Without::Patience), lab)?),
        }
        broken.extend(trap.recv(&mut [0; 2048]).is_ok().then_some(STILL));
        broken.extend((growth > GROWTH_MAX).then_some(SMALL));
        Ok(broken)
    })?;
    Ok(seen.figure(figure))
}

/// The double: it keeps what the broker floods it with; how much that is.
fn hoard(trap: &UdpSocket, lab: &mut Lab) -> Result<u64, NotRun> {
    let (kept, took) = meter::measure(|| answers(trap, FLOOD * 4, lab));
    drop(kept?);
    Ok(took.kept as u64)
}

/// The double: a client that takes the broker's word for where people are.
fn believe(said: &[FromBroker], from: &UdpSocket) -> Result<(), NotRun> {
    for message in said {
        let FromBroker::Endpoints(Endpoints { sealed, .. }) = message else { continue };
        let open = sealed.as_slice().get(8..sealed.as_slice().len() - 16).unwrap_or_default();
        let Ok(endpoints) = p2pchat_proto::codec::decode::<UdpEndpoints>(open) else { continue };
        for endpoint in endpoints.as_slice() {
            from.send_to(b"is that you?", endpoint)?;
        }
    }
    Ok(())
}

type Script = fn(&mut Speaker, &UdpSocket, &mut Lab) -> Result<(), NotRun>;

/// What it does, one connection each.
const SCRIPTS: [(&str, Script); 12] = [
    ("hangs up", |_, _, _| Ok(())),
    ("unknown kinds", |speaker, _, lab| {
        for _ in 0..FLOOD {
            let kind = lab.rng.random_range(0x90..MARK);
            speaker.plaintext(&noise(lab, kind));
        }
        Ok(())
    }),
    ("a malformed body", |speaker, _, lab| {
        let kind = lab.rng.random_range(0x81..0x8d);
        speaker.plaintext(&noise(lab, kind));
        Ok(())
    }),
    ("replies to no call", |speaker, _, lab| {
        for _ in 0..FLOOD / 50 {
            let entry = |number: usize| DirectoryEntry {
                name: format!("user-{number}").parse().unwrap_or_else(|_| unreachable!("a name")),
                peer: PeerId([7; 32]),
                status: Status::Online,
            };
            let people = (0..DIRECTORY_PAGE).map(entry).collect();
            for outcome in
                [Outcome::Page { people, more: true }, Outcome::BoundTo(PeerId([7; 32])), Outcome::Done]
            {
                speaker.say(lab.rng.random(), Reply { outcome });
            }
        }
        Ok(())
    }),
    ("requests with garbage for an offer", |speaker, _, lab| {
        for _ in 0..FLOOD {
            let offer = SignedOffer { body: noise(lab, 1), signature: [9; 64] };
            speaker.say(0, Incoming { request: request(lab), from: PeerId([7; 32]), name: None, offer });
        }
        Ok(())
    }),
    ("requests of many people", |speaker, _, lab| {
        for asker in 1..=ASKERS {
            let request = request(lab);
            let offer = honest_offer(asker, request, speaker.key, lab)?;
            let (from, name) = (identity(asker).peer_id(), format!("asker-{asker}").parse().ok());
            speaker.say(0, Incoming { request, from, name, offer });
        }
        Ok(())
    }),
    ("answers and endpoints of its own", |speaker, trap, lab| {
        for message in answers(trap, FLOOD / 3, lab)? {
            speaker.say(0, message);
        }
        Ok(())
    }),
    ("presence of everybody", |speaker, _, lab| {
        for version in 0..100 {
            let peers = (0..WATCH_BATCH).map(|_| (PeerId(lab.rng.random()), Status::Online)).collect();
            speaker.say(0, PresenceSnapshot { version, peers });
            speaker.say(
                0,
                PresenceDelta { version: 0, peer: PeerId(lab.rng.random()), status: Status::Offline },
            );
        }
        Ok(())
    }),
    ("records in another order", |speaker, _, lab| {
        let (first, second) = (speaker.seal(&noise(lab, MARK)), speaker.seal(&noise(lab, MARK)));
        speaker.raw(&second);
        speaker.raw(&first);
        Ok(())
    }),
    ("a record twice", |speaker, _, lab| {
        let record = speaker.seal(&noise(lab, MARK));
        speaker.raw(&record);
        speaker.raw(&record);
        Ok(())
    }),
    ("answers are not read", |speaker, _, lab| {
        speaker.reads = false;
        let plaintext = noise(lab, 0x99);
        for _ in 0..FLOOD_UNREAD {
            speaker.plaintext(&plaintext);
        }
        Ok(())
    }),
    ("restarts at once", |speaker, _, _| {
        speaker.say(0, Restarting { reconnect_in: 0 });
        Ok(())
    }),
];

/// Every script against the real program: how much it grew, and how many there were.
fn every_script(trap: &UdpSocket, lab: &mut Lab) -> Result<(u64, usize), NotRun> {
    let world = World::new()?;
    let stage = Stage::new(lab)?;
    let mut alice = world.stranger("alice")?.broker(&stage.url()?).start(&["listen"])?;
    let mut speaker = stage.next(lab)?;
    let before = alive(&mut alice, "the first login")?;
    let mut most = before;
    for (name, script) in SCRIPTS {
        script(&mut speaker, trap, lab)?;
        speaker.end();
        // It comes back, so it has done with what was said, and it answers its user.
        speaker = stage
            .next(lab)
            .map_err(|NotRun(why)| NotRun(format!("after `{name}`: {why}\n{}", world.trace)))?;
        most = most.max(alive(&mut alice, name)?);
    }
    let info = alice.info()?;
    if info.field("socket")["answered"].as_u64() != Some(0) {
        return Err(NotRun(format!("it spoke to somebody: {info}")));
    }
    if alice.quit()? != 0 {
        return Err(NotRun("it does not end as it should".to_owned()));
    }
    Ok((most.saturating_sub(before), SCRIPTS.len()))
}

/// Its memory, once it answered its user.
fn alive(alice: &mut Peer, after: &str) -> Result<u64, NotRun> {
    alice.info().map_err(|failure| NotRun(format!("after `{after}`: {failure}")))?;
    Ok(resident(alice.process.id())?.now)
}

/// Where clients dial.
struct Stage {
    listener: String,
    secret: BrokerSecret,
    came: Receiver<TcpStream>,
}

impl Stage {
    fn new(lab: &mut Lab) -> Result<Self, NotRun> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?.to_string();
        let (comes, came) = mpsc::channel();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if comes.send(socket).is_err() {
                    return;
                }
            }
        });
        Ok(Self { listener: address, secret: BrokerSecret::generate(&mut lab.rng)?, came })
    }

    fn url(&self) -> Result<String, NotRun> {
        Ok(format!("{}#{}", self.listener, self.secret.public()))
    }

    /// The next client, logged in and with its name.
    fn next(&self, lab: &mut Lab) -> Result<Speaker, NotRun> {
        let mut socket = self.came.recv_timeout(PROMPT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PROMPT))?;
        socket.set_write_timeout(Some(LATE * 10))?;
        let no_login = |before: &str| NotRun(format!("the client hangs up before its {before}"));
        let first = record(&mut socket).ok_or_else(|| no_login("handshake"))?;
        let (sealer, mut opener, _, second) = ServerHandshake::respond(&self.secret, &first, &mut lab.rng)?;
        socket.write_all(&frame(&second)).map_err(Failure::system("answer a handshake"))?;
        let key = self.secret.public();
        let reader = socket.try_clone()?;
        let mut speaker = Speaker { socket, sealer, key, reads: false };
        let mut hear = || heard(&mut &reader, &mut opener);
        let Some((call, ToBroker::Hello(_))) = hear() else { return Err(no_login("login")) };
        let welcome = Welcome { version: PROTOCOL_VERSION, now: wall(), features: 0, next_key: None };
        speaker.say(call, welcome);
        let Some((call, ToBroker::Register(_))) = hear() else { return Err(no_login("name")) };
        speaker.say(call, Reply { outcome: Outcome::Done });
        speaker.reads = true;
        Ok(speaker)
    }
}

fn heard(socket: &mut &TcpStream, opener: &mut LinkOpener) -> Option<(Call, ToBroker)> {
    let mut own = socket.try_clone().ok()?;
    let mut bytes = record(&mut own)?;
    opener.open(&mut bytes).ok()?;
    ToBroker::from_record(&bytes).ok()
}

/// The attacker's end of one link. What the client answers is read and thrown away.
struct Speaker {
    socket: TcpStream,
    sealer: LinkSealer,
    key: BrokerKey,
    reads: bool,
}

impl Speaker {
    fn say(&mut self, call: Call, message: impl Into<FromBroker>) {
        if let Ok(plaintext) = message.into().to_record(call) {
            self.plaintext(&plaintext);
        }
    }

    fn plaintext(&mut self, plaintext: &[u8]) {
        let sealed = self.seal(plaintext);
        self.raw(&sealed);
    }

    fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let _fits = self.sealer.seal(plaintext, &mut sealed);
        sealed
    }

    /// A client that went away hears no more.
    fn raw(&mut self, bytes: &[u8]) {
        let _gone = self.socket.write_all(bytes);
        if self.reads {
            self.throw_away();
        }
    }

    fn throw_away(&self) {
        if self.socket.set_nonblocking(true).is_ok() {
            let mut socket = &self.socket;
            while std::io::Read::read(&mut socket, &mut [0; 4096]).is_ok_and(|read| read > 0) {}
            let _blocks_again = self.socket.set_nonblocking(false);
        }
    }

    /// Ends what it says, and hears the client out.
    fn end(mut self) {
        let _gone = self.socket.shutdown(Shutdown::Write);
        if self.reads {
            let _heard = std::io::copy(&mut self.socket, &mut std::io::sink());
        }
    }
}

fn noise(lab: &mut Lab, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; lab.rng.random_range(6..80)];
    lab.rng.fill_bytes(&mut bytes);
    bytes[0] = kind;
    bytes
}

fn request(lab: &mut Lab) -> RequestId {
    RequestId(lab.rng.random())
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn honest_offer(
    asker: u8,
    request: RequestId,
    broker_key: BrokerKey,
    lab: &mut Lab,
) -> Result<SignedOffer, NotRun> {
    let to = Addressee::Name("alice".parse()?);
    let terms =
        RequestTerms { request, to, broker_key, made: wall(), purpose: Purpose::Chat, suites: suites() };
    Ok(PendingRequest::new(&identity(asker), terms, &mut lab.rng)?.offer().clone())
}

/// Answers nobody waits for, with endpoints that nobody sealed: those of the trap.
fn answers(trap: &UdpSocket, count: usize, lab: &mut Lab) -> Result<Vec<FromBroker>, NotRun> {
    let endpoints = encode(&UdpEndpoints::new([trap.local_addr()?]))?;
    let sealed = [&1_u64.to_be_bytes()[..], &endpoints, &[0; 16]].concat();
    let sealed = SealedEndpoints::new(sealed).ok_or(NotRun("endpoints do not fit".to_owned()))?;
    let mut all: Vec<FromBroker> = Vec::new();
    for _ in 0..count {
        let (request, from) = (request(lab), PeerId([7; 32]));
        let offer = SignedOffer { body: noise(lab, 1), signature: [9; 64] };
        let answer = AnswerBody::Accept { offer, endpoints: sealed.clone() };
        all.push(Answered { request, from, answer }.into());
        all.push(Endpoints { request, sealed: sealed.clone() }.into());
        all.push(Cancelled { request, why: CancelledWhy::Gone }.into());
    }
    Ok(all)
}
