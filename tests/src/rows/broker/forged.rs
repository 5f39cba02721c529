//! B7: what a client says in the name of others.
//!
//! Against the running broker. The doubles are the same rules in a shell that believes a client about one
//! thing that the broker knows better.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use p2pchat_crypto::offer::{PendingRequest, RequestTerms, suites};
use p2pchat_proto::broker::{
    Answer, AnswerBody, Answered, Call, Cancel, Cancelled, CancelledWhy, Endpoints, FromBroker, Hello,
    Incoming, Ping, PresenceDelta, Reason, Register, Replaced, Request, SealedEndpoints, Status, ToBroker,
};
use p2pchat_proto::codec::decode;
use p2pchat_proto::offer::{Addressee, OfferBody, Purpose, SignedOffer};
use p2pchat_proto::{BrokerKey, Moment, Name, PeerId, RequestId, WallTime};
use p2pchat_registry::{Command, Config, ConnId, Registry};

use crate::caller::{Caller, identity};
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::world::World;

const FROM: Promise = "`from` is the login of who spoke";
const NAME: Promise = "`name` is the one that this login registered";
const ID: Promise = "the id of somebody else's request cannot be taken";
const OWNER: Promise = "only the two of a request speak in it, each in their part";
const KINDS: Promise = "what only a broker says is passed on from nobody";

/// What a shell takes a client's word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Believes {
    /// An offer, about who sent it.
    Author,
    /// An offer, about the name of who sent it.
    AuthorsName,
    /// Whoever says so, that an id is free.
    FreeId,
    /// Whoever speaks in a request, that it is theirs.
    Owner,
    /// A client, that it is the broker.
    Broker,
}

const DOUBLES: [(Believes, Promise); 5] = [
    (Believes::Author, FROM),
    (Believes::AuthorsName, NAME),
    (Believes::FreeId, ID),
    (Believes::Owner, OWNER),
    (Believes::Broker, KINDS),
];

/// The three: alice asks bob, and mallory means harm. Their seeds are one more.
const NAMES: [&str; 3] = ["alice", "bob", "mallory"];
const ALICE: usize = 0;
const BOB: usize = 1;
const MALLORY: usize = 2;
/// What mallory says that is not hers to say.
const FORGED: usize = 16;

/// What each of the three hears.
type Heard = [Vec<FromBroker>; 3];

/// A broker at which the three are logged in.
trait Office {
    /// Its key.
    fn key(&self) -> BrokerKey;
    /// One of them says something; what all hear of it, replies and pongs apart.
    fn say(&mut self, who: usize, message: ToBroker) -> Result<Heard, NotRun>;
    /// One of them says what only a broker says.
    fn pretend(&mut self, who: usize, message: FromBroker) -> Result<Heard, NotRun>;
}

/// B7.
pub(super) fn forged(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let seen = each(defence, &DOUBLES, |believes| match believes {
        None => {
            let world = World::new()?;
            let to = world.broker.address();
            let login = |who| Ok::<_, NotRun>(Caller::login(to, identity(seed(who)))?);
            script(&mut Running([login(ALICE)?, login(BOB)?, login(MALLORY)?]), lab)
        }
        Some(believes) => script(&mut Bent::new(believes)?, lab),
    })?;
    Ok(seen.figure(format!("{FORGED} forged messages")))
}

fn seed(who: usize) -> u8 {
    u8::try_from(who + 1).unwrap_or(u8::MAX)
}

fn peer(who: usize) -> PeerId {
    identity(seed(who)).peer_id()
}

fn script(office: &mut dyn Office, lab: &mut Lab) -> Result<BTreeSet<Promise>, NotRun> {
    let mut broken = BTreeSet::new();
    for (who, name) in NAMES.iter().enumerate() {
        office.say(who, Register { name: name.parse()?, token: None }.into())?;
    }
    // Everything that mallory says is an offer that alice once made.
    let signed = offer(ALICE, office.key(), lab)?;
    let ask = |request| -> ToBroker {
        Request { request, to: None, name: "bob".parse::<Name>().ok(), offer: signed.clone() }.into()
    };
    let (own, hers) = (RequestId([5; 16]), RequestId([6; 16]));

    let [_, bob, _] = office.say(MALLORY, ask(own))?;
    let [FromBroker::Incoming(incoming)] = bob.as_slice() else {
        return Err(NotRun(format!("bob is not asked: {bob:?}")));
    };
    broken.extend((incoming.from != peer(MALLORY)).then_some(FROM));
    broken.extend((incoming.name.as_ref().map(Name::as_str) != Some(NAMES[MALLORY])).then_some(NAME));
    let [.., mallory] = office.say(BOB, accept(own, &signed)?)?;
    let [FromBroker::Answered(answered)] = mallory.as_slice() else {
        return Err(NotRun(format!("mallory is not answered: {mallory:?}")));
    };
    broken.extend((answered.from != peer(BOB)).then_some(FROM));

    // Now a request of alice's, into which mallory speaks in every way there is.
    let [_, bob, _] = office.say(ALICE, ask(hers))?;
    if bob.len() != 1 {
        return Err(NotRun(format!("bob is not asked by alice: {bob:?}")));
    }
    broken.extend(anybody(&office.say(MALLORY, ask(hers))?).then_some(ID));
    for accepted in [false, true] {
        if accepted {
            let [alice, ..] = office.say(BOB, accept(hers, &signed)?)?;
            if alice.len() != 1 && broken.is_empty() {
                return Err(NotRun(format!("alice is not answered: {alice:?}")));
            }
        }
        let decline = AnswerBody::Decline { reason: Reason::new("no") };
        let forged: [ToBroker; 4] = [
            Endpoints { request: hers, sealed: sealed()? }.into(),
            Answer { request: hers, answer: decline }.into(),
            accept(hers, &signed)?,
            Cancel { request: hers }.into(),
        ];
        for message in forged {
            broken.extend(anybody(&office.say(MALLORY, message)?).then_some(OWNER));
        }
    }
    let AnswerBody::Accept { offer, endpoints } = accept_body(&signed)? else { return Ok(broken) };
    let from = peer(BOB);
    let foreign: [FromBroker; 6] = [
        Incoming { request: RequestId([7; 16]), from, name: None, offer: offer.clone() }.into(),
        Answered { request: hers, from, answer: AnswerBody::Accept { offer, endpoints } }.into(),
        FromBroker::Endpoints(Endpoints { request: hers, sealed: sealed()? }),
        Cancelled { request: hers, why: CancelledWhy::Gone }.into(),
        PresenceDelta { version: 9, peer: from, status: Status::Offline }.into(),
        Replaced.into(),
    ];
    for message in foreign {
        broken.extend(anybody(&office.pretend(MALLORY, message)?).then_some(KINDS));
    }
    Ok(broken)
}

/// Whether one of the two honest ones hears anything.
fn anybody([alice, bob, _]: &Heard) -> bool {
    !alice.is_empty() || !bob.is_empty()
}

fn accept(request: RequestId, offer: &SignedOffer) -> Result<ToBroker, NotRun> {
    Ok(Answer { request, answer: accept_body(offer)? }.into())
}

fn accept_body(offer: &SignedOffer) -> Result<AnswerBody, NotRun> {
    Ok(AnswerBody::Accept { offer: offer.clone(), endpoints: sealed()? })
}

fn sealed() -> Result<SealedEndpoints, NotRun> {
    SealedEndpoints::new(vec![6; 40]).ok_or_else(|| NotRun("endpoints do not fit".to_owned()))
}

/// An offer of `author` for bob, as honest as can be.
fn offer(author: usize, broker_key: BrokerKey, lab: &mut Lab) -> Result<SignedOffer, NotRun> {
    let terms = RequestTerms {
        request: RequestId([5; 16]),
        to: Addressee::Name(NAMES[BOB].parse()?),
        broker_key,
        made: WallTime(0),
        purpose: Purpose::Chat,
        suites: suites(),
    };
    Ok(PendingRequest::new(&identity(seed(author)), terms, &mut lab.rng)?.offer().clone())
}

/// Whether it is the broker's own business with one client.
fn own_business(message: &FromBroker) -> bool {
    matches!(message, FromBroker::Reply(_) | FromBroker::Pong(_) | FromBroker::Unsupported(_))
}

/// The running broker, and three links to it.
struct Running([Caller; 3]);

impl Running {
    /// What all heard until their pongs came: the speaker's first, so that the rest has been said.
    fn hear(&mut self, speaker: usize, answered: Option<Call>) -> Result<Heard, NotRun> {
        let mut heard = Heard::default();
        let others = (0..NAMES.len()).filter(|who| *who != speaker);
        for who in std::iter::once(speaker).chain(others) {
            let caller = &mut self.0[who];
            // A name is stored before it is answered, and nobody waits for the disk.
            let reply = answered.filter(|_| who == speaker);
            while let Some(reply) = reply {
                match caller.hear() {
                    Some((call, FromBroker::Reply(_))) if call == reply => break,
                    Some((_, message)) if own_business(&message) => {}
                    Some((_, message)) => heard[who].push(message),
                    None => return Err(NotRun(format!("{} gets no reply", NAMES[who]))),
                }
            }
            let ping = caller.say(Ping);
            loop {
                match caller.hear() {
                    Some((call, FromBroker::Pong(_))) if call == ping => break,
                    Some((_, message)) if own_business(&message) => {}
                    Some((_, message)) => heard[who].push(message),
                    None => return Err(NotRun(format!("{} is hung up on", NAMES[who]))),
                }
            }
        }
        Ok(heard)
    }
}

impl Office for Running {
    fn key(&self) -> BrokerKey {
        self.0[BOB].link.key
    }

    fn say(&mut self, who: usize, message: ToBroker) -> Result<Heard, NotRun> {
        let call = self.0[who].say(message);
        self.hear(who, Some(call))
    }

    fn pretend(&mut self, who: usize, message: FromBroker) -> Result<Heard, NotRun> {
        self.0[who].say_bytes(&message.to_record(0)?);
        self.hear(who, None)
    }
}

/// The registry in a shell that believes something.
struct Bent {
    registry: Registry,
    believes: Believes,
    /// Who asked whom, by id.
    asked: BTreeMap<RequestId, (usize, usize)>,
    /// Ids that were given for ids that were taken.
    given: BTreeMap<RequestId, RequestId>,
    call: Call,
}

const NOW: Moment = Moment::from_nanos(1);

impl Bent {
    fn new(believes: Believes) -> Result<Self, NotRun> {
        let registry = Registry::new(Config::default(), None, []);
        let mut registry = registry.map_err(|conflict| NotRun(format!("{conflict:?}")))?;
        for who in [ALICE, BOB, MALLORY] {
            registry.connected(conn(who), IpAddr::V4(Ipv4Addr::LOCALHOST), NOW);
            let hello = Hello { versions: vec![1], features: 0, peer: peer(who), signature: [0; 64] };
            registry.login(conn(who), 1, &hello, WallTime(0), NOW);
        }
        while registry.poll_command().is_some() {}
        Ok(Self { registry, believes, asked: BTreeMap::new(), given: BTreeMap::new(), call: 1 })
    }

    /// On whose link a message counts.
    fn speaker(&self, who: usize, message: &ToBroker) -> usize {
        let (request, asks) = match message {
            ToBroker::Answer(answer) => (answer.request, false),
            ToBroker::Cancel(cancel) => (cancel.request, true),
            ToBroker::Endpoints(endpoints) => (endpoints.request, true),
            ToBroker::Hello(_)
            | ToBroker::Register(_)
            | ToBroker::Unregister(_)
            | ToBroker::Directory(_)
            | ToBroker::Watch(_)
            | ToBroker::Profile(_)
            | ToBroker::Request(_)
            | ToBroker::Ping(_)
            | ToBroker::Bye(_)
            | ToBroker::Rotate(_)
            | ToBroker::SuccessionOf(_)
            | ToBroker::Unsupported(_) => return who,
        };
        match self.asked.get(&request) {
            Some((asker, asked)) if self.believes == Believes::Owner => {
                if asks {
                    *asker
                } else {
                    *asked
                }
            }
            _ => who,
        }
    }

    fn bend(&self, message: FromBroker) -> Result<FromBroker, NotRun> {
        let author = |offer: &SignedOffer| decode::<OfferBody>(&offer.body).map(|body| body.from);
        let FromBroker::Incoming(mut incoming) = message else { return Ok(message) };
        let author = author(&incoming.offer)?;
        if self.believes == Believes::Author {
            incoming.from = author;
        }
        let named = (0..NAMES.len()).find(|who| peer(*who) == author);
        if let (Believes::AuthorsName, Some(who)) = (self.believes, named) {
            incoming.name = NAMES[who].parse().ok();
        }
        incoming.request = self.given.get(&incoming.request).copied().unwrap_or(incoming.request);
        Ok(incoming.into())
    }

    fn commands(&mut self) -> Result<Heard, NotRun> {
        let mut heard = Heard::default();
        while let Some(command) = self.registry.poll_command() {
            match command {
                Command::Send { message, .. } if own_business(&message) => {}
                Command::Send { conn: to, message, .. } => {
                    let message = self.bend(message)?;
                    let who = (0..NAMES.len()).find(|who| conn(*who) == to);
                    who.into_iter().for_each(|who| heard[who].push(message.clone()));
                }
                Command::Persist { ticket, .. } => self.registry.persisted(ticket, Ok(())),
                Command::Close { .. } => return Err(NotRun("somebody is hung up on".to_owned())),
            }
        }
        Ok(heard)
    }
}

fn conn(who: usize) -> ConnId {
    ConnId(u64::from(seed(who)))
}

impl Office for Bent {
    fn key(&self) -> BrokerKey {
        BrokerKey([1; 32])
    }

    fn say(&mut self, who: usize, mut message: ToBroker) -> Result<Heard, NotRun> {
        if let ToBroker::Request(request) = &mut message {
            let taken = self.asked.get(&request.request).is_some_and(|(asker, _)| *asker != who);
            if taken && self.believes == Believes::FreeId {
                let own = RequestId([0xff; 16]);
                self.given.insert(own, request.request);
                request.request = own;
            }
            self.asked.entry(request.request).or_insert((who, BOB));
        }
        self.call += 1;
        let speaker = conn(self.speaker(who, &message));
        self.registry.handle(speaker, self.call, message, NOW);
        self.commands()
    }

    fn pretend(&mut self, who: usize, message: FromBroker) -> Result<Heard, NotRun> {
        if self.believes != Believes::Broker {
            return Ok(Heard::default());
        }
        let mut heard = Heard::default();
        let others = heard.iter_mut().enumerate().filter(|(other, _)| *other != who);
        others.for_each(|(_, heard)| heard.push(message.clone()));
        Ok(heard)
    }
}
