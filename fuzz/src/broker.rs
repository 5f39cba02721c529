//! The broker's registry, and clients who do anything.
//!
//! The first byte chooses: well-behaved calls, each compared with the model of the registry's own tests
//! (`model`), or anything from anywhere under narrow limits ([`Crowd`]).

#[path = "../../crates/registry/tests/support/model.rs"]
mod model;
#[allow(dead_code, reason = "the registry's tests use the rest")]
#[path = "../../crates/registry/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use p2pchat_proto::broker::*;
use p2pchat_proto::{Name, PeerId, WallTime};
use p2pchat_registry::{Account, AccountState, Config, ConnId, Rate, StoreFailed, Ticket};

use self::model::{IDS, NAMES, Op, PEERS, Pair};
use self::support::{World, accept, decline, endpoints, id, name, peer, register, request};
use crate::input::Input;
use crate::meter::Meter;

/// Operations of one input.
const OPERATIONS_MAX: usize = 500;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 6;
/// Commands that one input of a client may cause: everybody hears of everything that everybody has open.
const COMMANDS_MAX: usize = 1_000;
/// Bytes that a registry may hold for so few clients and what they may have open, with the commands that
/// wait; the world's record of what was said is emptied after each operation.
const MEMORY_MAX: usize = 2 * 1024 * 1024;
/// Bytes that stay when everybody has gone: names are kept, and some room for commands.
const MEMORY_AFTER_MAX: usize = 160 * 1024;
/// By then every bucket is full again: five registrations of 12 minutes, and a sweep.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.flag() {
        let mut crowd = Crowd::new();
        for _ in 0..OPERATIONS_MAX {
            let Some(operation) = input.operation() else { break };
            crowd.operate(operation, &mut input);
            crowd.check();
        }
        crowd.go_home();
    } else {
        let mut pair = Pair::new();
        for _ in 0..OPERATIONS_MAX {
            let Some(operation) = input.operation() else { break };
            pair.step(behaved(operation, &mut input));
        }
        pair.everybody_leaves();
    }
}

fn behaved(operation: u8, input: &mut Input<'_>) -> Op {
    let mut who = || input.byte();
    let one = |byte: u8, of: usize| usize::from(byte) % of;
    match operation % 12 {
        0 | 1 => Op::Join(who() % PEERS),
        2 => Op::Leave(who() % PEERS),
        3 => Op::Register(who() % PEERS, one(who(), NAMES.len())),
        4 => Op::Unregister(who() % PEERS),
        5 => Op::Written(who() % 4 != 0),
        6 => {
            let (from, to, named, id) = (who() % PEERS, who(), who(), who() % IDS);
            let to = (to < 200).then_some(to % PEERS);
            let name = (named < 100).then(|| one(named, NAMES.len()));
            Op::Request { from, to, name, id }
        }
        7 => Op::Accept(who() % PEERS, who() % IDS),
        8 => Op::Decline(who() % PEERS, who() % IDS),
        9 => Op::Cancel(who() % PEERS, who() % IDS),
        10 => Op::Endpoints(who() % PEERS, who() % IDS),
        _ => Op::Pass(1 + u64::from(who() % 34)),
    }
}

/// Anybody, from anywhere.
struct Crowd {
    world: World,
    /// Connections in the order in which they came, gone ones included: their numbers may come late.
    conns: Vec<ConnId>,
    /// Who owns which name: stored, or being stored.
    owners: BTreeMap<Name, PeerId>,
    stored: BTreeMap<Name, AccountState>,
    /// Writes of which the registry asked, seen so far.
    asked: Option<Ticket>,
    /// Who said hello and was welcomed, while it counts.
    welcomed: BTreeMap<ConnId, PeerId>,
    meter: Meter,
}

/// Narrow enough to be met.
fn config() -> Config {
    Config {
        max_connections: CONNECTIONS_MAX,
        connections_per_address: 3,
        connects: Rate { burst: 8, refill: Duration::from_millis(500) },
        messages: Rate { burst: 40, refill: Duration::from_millis(10) },
        requests: Rate { burst: 10, refill: Duration::from_secs(1) },
        pages: Rate { burst: 3, refill: Duration::from_millis(200) },
        ..Config::default()
    }
}

fn address(byte: u8) -> IpAddr {
    match byte % 6 {
        0 => Ipv4Addr::LOCALHOST.into(),
        1 => Ipv6Addr::LOCALHOST.into(),
        2 | 3 => Ipv4Addr::new(192, 0, 2, byte % 8).into(),
        // Two networks, of many addresses each.
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(byte & 1), 0, 0, 0, u16::from(byte)).into(),
    }
}

impl Crowd {
    fn new() -> Self {
        let meter = Meter::default();
        Self {
            world: World::new(config()),
            conns: Vec::new(),
            owners: BTreeMap::new(),
            stored: BTreeMap::new(),
            asked: None,
            welcomed: BTreeMap::new(),
            meter,
        }
    }

    fn conn(&self, input: &mut Input<'_>) -> ConnId {
        // The last few, so that most are there, and one that never came.
        let recent = self.conns.len().saturating_sub(CONNECTIONS_MAX + 2);
        let recent = &self.conns[recent..];
        input.index(recent.len()).map_or(ConnId(u64::MAX), |index| recent[index])
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        let now = self.world.now;
        match operation % 16 {
            // A shell numbers what it accepts, and has fewer sockets than endless ones.
            0 if self.world.open.len() < 2 * CONNECTIONS_MAX => {
                let conn = self.world.connect_from(address(input.byte()));
                self.conns.push(conn);
            }
            1 | 2 => {
                let (conn, who, how) = (self.conn(input), input.byte(), input.byte());
                let versions = match how {
                    255 => vec![],
                    254 => vec![2, 3],
                    253 => vec![1; VERSIONS_MAX + 1],
                    _ => vec![3, 1],
                };
                let hello =
                    Hello { versions, features: u64::from(how), peer: peer(who % 5), signature: [0; 64] };
                self.world.registry.login(conn, 1, &hello, WallTime(7), now);
            }
            3 => {
                let conn = self.conn(input);
                match input.byte() % 3 {
                    0 => self.world.registry.hello_forged(conn),
                    1 => self.world.registry.malformed(conn),
                    _ => self.world.registry.unknown_kind(conn, 2, input.byte(), now),
                }
            }
            4 => {
                let conn = self.conn(input);
                if self.world.open.contains(&conn) {
                    self.world.disconnect(conn);
                } else {
                    self.world.registry.disconnected(conn);
                }
            }
            5 => self.write(input),
            6 => self.world.pass(Duration::from_millis(1 << (input.byte() % 20))),
            7 => {
                // Time went without the registry being asked.
                self.world.now = now + Duration::from_millis(1 << (input.byte() % 20));
                self.world.registry.handle_timeout(self.world.now);
            }
            8 if input.byte() == 255 => self.world.registry.drain(),
            9 => {
                let conn = self.conn(input);
                if let Ok((call, message)) = ToBroker::from_record(input.bytes()) {
                    self.world.registry.handle(conn, call, message, now);
                }
            }
            _ => {
                let conn = self.conn(input);
                let message = message(operation, input);
                self.world.registry.handle(conn, u32::from(input.byte()), message, now);
            }
        }
        self.world.drain();
    }

    /// A write ends, in any order, well or not; or one that was never asked for.
    fn write(&mut self, input: &mut Input<'_>) {
        let well = input.byte() % 4 != 0;
        let Some(index) = input.index(self.world.writes.len()) else {
            return self.world.registry.persisted(Ticket(input.long()), Ok(()));
        };
        let (ticket, account) = self.world.writes.remove(index);
        // What was answered before is noted before the answer changes it.
        self.note_writes();
        let Account { name, state, .. } = account;
        if well {
            self.stored.insert(name, state);
        } else if !self.stored.contains_key(&name) {
            self.owners.remove(&name);
        }
        self.world.registry.persisted(ticket, if well { Ok(()) } else { Err(StoreFailed) });
    }

    /// Nobody is given a name that another has, and one who has a name gets no second one.
    fn note_writes(&mut self) {
        for (ticket, account) in &self.world.writes {
            if self.asked.is_some_and(|asked| *ticket <= asked) {
                continue;
            }
            self.asked = Some(*ticket);
            let Account { name, peer, state, .. } = account;
            assert_eq!(*self.owners.entry(name.clone()).or_insert(*peer), *peer, "a name of two owners");
            if *state == AccountState::Held {
                let others = self.owners.iter().filter(|(other, owner)| *owner == peer && *other != name);
                for (other, _) in others {
                    assert_eq!(
                        self.stored.get(other),
                        Some(&AccountState::Reserved),
                        "two names of one owner"
                    );
                }
            }
        }
    }

    fn check(&mut self) {
        self.note_writes();
        let mut commands = 0;
        for (conn, said) in core::mem::take(&mut self.world.sent) {
            commands += said.len();
            for (call, message) in said {
                let asked = matches!(
                    message,
                    FromBroker::Reply(_)
                        | FromBroker::Welcome(_)
                        | FromBroker::Pong(_)
                        | FromBroker::Unsupported(_)
                        | FromBroker::Succeeded(_)
                );
                assert!(asked || call == 0, "{message:?} to {conn:?} as an answer");
                match message {
                    FromBroker::Welcome(_) => {
                        assert_eq!(self.welcomed.get(&conn), None, "welcomed twice");
                        self.welcomed.insert(conn, PeerId([0; 32]));
                    }
                    FromBroker::Refused(_) | FromBroker::Unsupported(_) | FromBroker::Restarting(_) => {}
                    said => assert!(self.welcomed.contains_key(&conn), "{said:?} to nobody who said hello"),
                }
            }
        }
        assert!(commands < COMMANDS_MAX, "{commands} messages because of one");
        let open = |conn: &ConnId| self.world.open.contains(conn) && !self.world.closed.contains_key(conn);
        let online = self.welcomed.keys().filter(|conn| open(conn)).count();
        assert_eq!(self.world.registry.online(), online);
        let held = self.meter.held();
        assert!(held < MEMORY_MAX, "{held} bytes are held");
    }

    fn go_home(&mut self) {
        for conn in core::mem::take(&mut self.conns) {
            self.world.disconnect(conn);
        }
        self.check();
        while let Some((ticket, _)) = self.world.writes.pop() {
            self.world.registry.persisted(ticket, Ok(()));
        }
        self.world.drain();
        self.world.pass(FORGOTTEN_AFTER);
        assert_eq!(self.world.registry.poll_timeout(), None);
        assert_eq!(self.world.registry.online(), 0);
        let said: usize = self.world.sent.values().map(Vec::len).sum();
        assert_eq!(said, 0, "said to nobody");
        (self.welcomed, self.world.closed) = (BTreeMap::new(), BTreeMap::new());
        let held = self.meter.held();
        assert!(held < MEMORY_AFTER_MAX, "{held} bytes stay");
    }
}

fn message(operation: u8, input: &mut Input<'_>) -> ToBroker {
    let a = input.byte();
    let b = input.byte();
    let names = ["ann", "ben", "cat", "dora", "emil"];
    let one = |byte: u8| names[usize::from(byte) % names.len()];
    match operation % 16 {
        10 => register(one(a)).into(),
        11 => match a % 4 {
            0 => Unregister.into(),
            1 => Ping.into(),
            2 if b == 255 => Bye.into(),
            2 => Ping.into(),
            _ => Unsupported { kind: b }.into(),
        },
        12 => {
            let prefix = one(b)[..usize::from(a % 4)].to_owned();
            Directory { prefix, cursor: (a & 4 == 0).then(|| name(one(a))) }.into()
        }
        13 => {
            // Seven identities, each list in an order of its own.
            let list =
                |count: u8, step: u8| (0..count).map(|n| peer((a ^ n.wrapping_mul(step)) % 7)).collect();
            Watch { add: list(b % 8, 1), remove: list(b / 8 % 8, 3) }.into()
        }
        14 => {
            let to = (a & 0x80 == 0).then(|| peer(a % 5));
            request(b % 16, to, (a & 0x60 == 0).then(|| one(b))).into()
        }
        _ => match a % 4 {
            0 => accept(id(b % 16)).into(),
            1 => decline(id(b % 16)).into(),
            2 => Cancel { request: id(b % 16) }.into(),
            _ => endpoints(id(b % 16)).into(),
        },
    }
}
