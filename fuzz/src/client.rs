//! Clients' engines, a broker that lies, and commands and bytes in any order.
//!
//! Three people at one broker, over a network that is cut and healed: their users command anything, the
//! broker says what an input spells instead of what it should, and bytes of nobody come in between.
//! ML-KEM draws from the system, so a run's keys differ from its replay's; nothing else does.

#[allow(dead_code, reason = "the engine's tests use the rest")]
#[path = "../../crates/engine/tests/world/mod.rs"]
mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use p2pchat_conversation::{BatchId, QueryId, Rows};
use p2pchat_engine::event::{Direction, RequestEvent, TransferNumber};
use p2pchat_engine::{AcceptPolicy, Command, Event, Target};
use p2pchat_netsim::LinkConfig;
use p2pchat_proto::broker::{Cancelled, CancelledWhy, FromBroker};
use p2pchat_proto::conversation::MessageId;
use p2pchat_proto::limits::TEXT_MAX;
use p2pchat_proto::{PeerId, RequestId};
use p2pchat_session::Received;

use self::world::{Manner, World, name};
use crate::input::Input;
use crate::meter::Meter;

/// Operations of one input; a minute of virtual time may pass in each.
const OPERATIONS_MAX: usize = 120;
/// Requests and messages that the users remember, to name them again.
const REMEMBERED_MAX: usize = 32;
/// Texts that each says, so that a run takes milliseconds.
const SAID_MAX: usize = 200;
/// Bytes that three engines, a broker and a network may hold: at most six sessions of two streams each,
/// and what was said, in the engines and in the stores.
const MEMORY_MAX: usize = 64 * 1024 * 1024;

const NAMES: [&str; 3] = ["alice", "bob", "carol"];
const LENGTHS: [usize; 8] = [1, 5, 40, 200, 1_000, 3_000, TEXT_MAX, TEXT_MAX + 1];

/// What the broker does not say as it should.
#[derive(Default)]
struct Lies {
    /// What it says next instead.
    instead: VecDeque<FromBroker>,
    /// Whose the next request or answer is said to be.
    of: Option<PeerId>,
}

impl Lies {
    fn tell(&mut self, message: &mut FromBroker) {
        if let Some(lie) = self.instead.pop_front() {
            *message = lie;
        }
        let from = match message {
            FromBroker::Incoming(incoming) => &mut incoming.from,
            FromBroker::Answered(answered) => &mut answered.from,
            _ => return,
        };
        *from = self.of.take().unwrap_or(*from);
    }
}

struct Play {
    world: World,
    lies: Rc<RefCell<Lies>>,
    requests: Vec<RequestId>,
    /// Who made each request, as the one who made it was told.
    asked: BTreeMap<RequestId, PeerId>,
    /// Who made each request, as the one was told who got it.
    came: BTreeMap<RequestId, PeerId>,
    messages: Vec<MessageId>,
    /// Of each text, by its number: who wrote it, and to whom.
    said: Vec<[usize; 2]>,
    /// Of each two, the last text that arrived: they come in order and once.
    heard: BTreeMap<(usize, PeerId), usize>,
    meter: Meter,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut play = Play::new(input.byte());
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.operation() else { break };
        play.operate(operation, &mut input);
        play.hear();
    }
    play.heal();
}

impl Play {
    fn new(manners: u8) -> Self {
        let meter = Meter::default();
        let mut world = World::new(1);
        world.quiet = true;
        let lies: Rc<RefCell<Lies>> = Rc::default();
        let told = lies.clone();
        world.broker.tamper = Some(Box::new(move |message| told.borrow_mut().tell(message)));
        let line = LinkConfig { delay: 20_000_000, ..LinkConfig::default() };
        for (index, called) in NAMES.iter().enumerate() {
            let accept = match manners >> (2 * index) & 3 {
                0 => AcceptPolicy::Everyone,
                1 => AcceptPolicy::Ask,
                2 => AcceptPolicy::Contacts,
                _ => AcceptPolicy::Nobody,
            };
            world.join(called, Manner { accept, ..Manner::default() }, &line);
        }
        world.run_for(Duration::from_secs(2));
        let mut play = Self {
            world,
            lies,
            requests: Vec::new(),
            asked: BTreeMap::new(),
            came: BTreeMap::new(),
            messages: Vec::new(),
            said: Vec::new(),
            heard: BTreeMap::new(),
            meter,
        };
        play.hear();
        play
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        let who = usize::from(input.byte()) % NAMES.len();
        match operation % 16 {
            0 | 1 => {
                let command = self.command(input);
                self.world.command(who, command);
            }
            2 => {
                let other = (who + 1 + usize::from(input.byte() % 2)) % NAMES.len();
                self.world.connect(who, NAMES[other]);
            }
            3 | 4 => self.say(who, input),
            5 | 6 => self.world.run_for(Duration::from_millis(1 << (input.byte() % 17))),
            7 => {
                let other = (who + 1) % NAMES.len();
                let [a, b] = [who, other].map(|index| self.world.people[index].address.ip());
                self.world.net.partition(a, b, input.flag());
            }
            8 if self.world.broker.up => self.world.kill_broker(),
            8 => self.world.broker.up = true,
            9 => self.world.broker.repeat = input.flag(),
            10 => {
                if let Ok((_, lie)) = FromBroker::from_record(input.bytes())
                    && self.lies.borrow().instead.len() < REMEMBERED_MAX
                {
                    self.lies.borrow_mut().instead.push_back(lie);
                }
            }
            11 => {
                // A lie about a request that there is.
                let why = [CancelledWhy::Gone, CancelledWhy::Expired, CancelledWhy::TakenBack];
                let why = why[input.index(why.len()).unwrap()];
                if let Some(request) = self.request(input) {
                    self.lies.borrow_mut().instead.push_back(Cancelled { request, why }.into());
                }
            }
            12 => {
                let now = self.world.clock();
                self.world.people[who].engine.broker_received(input.bytes(), now);
            }
            13 => {
                let now = self.world.clock();
                let from = match input.byte() % 4 {
                    0 => SocketAddr::from(([203, 0, 113, 9], 9)),
                    other => self.world.people[usize::from(other) % NAMES.len()].address,
                };
                let received = Received { from, local_ip: None, ecn: None, segment_size: None };
                let mut bytes = input.bytes().to_vec();
                self.world.people[who].engine.handle_datagram(received, &mut bytes, now);
            }
            14 => {
                // A store that answers what nobody asked.
                let (now, number) = (self.world.clock(), input.scaled());
                let engine = &mut self.world.people[who].engine;
                if input.flag() {
                    engine.committed(BatchId(number), now);
                } else {
                    engine.loaded(QueryId(number), Rows::default(), now);
                }
            }
            _ => match input.byte() {
                255 => {
                    let now = self.world.clock();
                    self.world.people[who].engine.stop(now);
                }
                128.. => self.lies.borrow_mut().of = Some(self.world.people[who].peer),
                _ => {}
            },
        }
        self.world.settle();
    }

    fn command(&mut self, input: &mut Input<'_>) -> Command {
        let peer = |world: &World, byte: u8| match world.people.get(usize::from(byte % 4)) {
            Some(member) => member.peer,
            None => PeerId([byte; 32]),
        };
        let kind = input.byte();
        let argument = input.byte();
        let transfer = TransferNumber(u32::from(argument));
        match kind % 12 {
            0 => Command::People { prefix: NAMES[0][..usize::from(argument % 4)].to_owned() },
            1 => {
                let wait = Duration::from_secs(u64::from(input.byte()) * 8);
                Command::Connect { to: Target::Peer(peer(&self.world, argument)), wait }
            }
            2 => {
                let wait = Duration::from_secs(u64::from(input.byte()));
                Command::Connect { to: Target::Name(name(NAMES[usize::from(argument) % 3])), wait }
            }
            3 => Command::CancelRequest { request: self.request(input).unwrap_or(RequestId([argument; 16])) },
            4 => {
                let request = self.request(input).unwrap_or(RequestId([argument; 16]));
                Command::Accept { request, once: argument & 1 == 1 }
            }
            5 => {
                let request = self.request(input).unwrap_or(RequestId([argument; 16]));
                Command::Decline { request, reason: "n".repeat(usize::from(argument) * 8) }
            }
            6 => Command::Close { peer: peer(&self.world, argument) },
            7 => match input.index(self.messages.len()) {
                Some(index) => Command::Shown { message: self.messages[index] },
                None => Command::Info,
            },
            8 => Command::AcceptFile { transfer },
            9 => Command::DeclineFile { transfer, reason: String::new() },
            10 => Command::CancelFile { transfer },
            _ => Command::Info,
        }
    }

    fn request(&self, input: &mut Input<'_>) -> Option<RequestId> {
        input.index(self.requests.len()).map(|index| self.requests[index])
    }

    /// A text that is told apart from every other by the number in front of it.
    fn say(&mut self, who: usize, input: &mut Input<'_>) {
        let other = (who + 1 + usize::from(input.byte() % 2)) % NAMES.len();
        let len = LENGTHS[usize::from(input.byte() % 8)];
        if self.said.len() < SAID_MAX {
            let mut text = format!("{} ", self.said.len());
            text.extend(core::iter::repeat_n('x', len.saturating_sub(text.len())));
            self.said.push([who, other]);
            self.world.say(who, other, &text);
        }
    }

    fn hear(&mut self) {
        for index in 0..NAMES.len() {
            for event in core::mem::take(&mut self.world.people[index].events) {
                match event {
                    Event::Request(event) => {
                        remember(&mut self.requests, event.request);
                        self.attribute(index, &event);
                    }
                    Event::Message(message) => {
                        remember(&mut self.messages, message.message);
                        if message.mine {
                            continue;
                        }
                        let number = message.text.split(' ').next().and_then(|number| number.parse().ok());
                        let number: usize = number.expect("a text that nobody wrote");
                        let [author, to] = self.said[number];
                        assert_eq!(message.peer, self.world.people[author].peer, "said by somebody else");
                        assert_eq!(index, to, "said to somebody else");
                        let last = self.heard.insert((index, message.peer), number);
                        assert!(last.is_none_or(|last| last < number), "{number} came after {last:?}");
                    }
                    _ => {}
                }
            }
        }
        let held = self.meter.held();
        assert!(held < MEMORY_MAX, "{held} bytes are held");
    }

    /// Whatever the broker says, a request is shown as that of who made it.
    fn attribute(&mut self, index: usize, event: &RequestEvent) {
        match event.direction {
            Direction::Out => {
                self.asked.insert(event.request, self.world.people[index].peer);
            }
            Direction::In => {
                self.came.extend(event.peer.map(|peer| (event.request, peer)));
            }
        }
        if let (Some(asked), Some(came)) = (self.asked.get(&event.request), self.came.get(&event.request)) {
            assert_eq!(asked, came, "a request of somebody else");
        }
    }

    /// The broker is honest and there, the network whole: nobody waits for something past.
    fn heal(&mut self) {
        self.world.broker.up = true;
        self.world.broker.repeat = false;
        *self.lies.borrow_mut() = Lies::default();
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            let [a, b] = [a, b].map(|index: usize| self.world.people[index].address.ip());
            self.world.net.partition(a, b, false);
        }
        self.world.run_for(Duration::from_secs(90));
        self.hear();
        for index in 0..NAMES.len() {
            self.world.command(index, Command::Info);
            let now = self.world.clock();
            self.world.people[index].engine.stop(now);
        }
        self.world.run_for(Duration::from_secs(90));
        for member in &self.world.people {
            let stopped = member.events.iter().filter(|event| matches!(event, Event::Stopped(_))).count();
            assert!(stopped <= 1 && member.engine.is_idle(), "a client does not stop");
        }
    }
}

fn remember<T: PartialEq>(list: &mut Vec<T>, new: T) {
    if !list.contains(&new) {
        if list.len() >= REMEMBERED_MAX {
            list.remove(0);
        }
        list.push(new);
    }
}
