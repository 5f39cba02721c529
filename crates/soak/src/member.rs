//! One person's machine: the process, its store, its socket and its link to the broker.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use p2pchat_conversation::{BatchId, Memory, QueryId, Write};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_engine::{AcceptPolicy, Engine, EngineConfig, Kept, Now, Pin, Ports};
use p2pchat_netsim::{Internet, SocketId};
use p2pchat_proto::conversation::DeviceEpoch;
use p2pchat_proto::{BrokerKey, Moment, Name, PeerId, WallTime};
use p2pchat_registry::ConnId;
use p2pchat_session::Contact;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::ledger::Ledger;
use crate::plan::{PORT, Seat, called};

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

/// One person, awake or not, with a process or between two.
pub(crate) struct Member {
    pub(crate) who: usize,
    pub(crate) seat: Seat,
    pub(crate) me: Arc<Identity>,
    pub(crate) peer: PeerId,
    pub(crate) process: Option<Process>,
    /// How many processes there were.
    pub(crate) life: u32,
    /// The process ended and is to be started again.
    pub(crate) away: bool,
    store: Memory,
    epoch: DeviceEpoch,
    pub(crate) pins: Vec<Pin>,
    /// What is kept of others, as it would be on the disk.
    pub(crate) contacts: Vec<Contact>,
    pub(crate) broker_key: Option<BrokerKey>,
}

/// What ends with the process.
pub(crate) struct Process {
    pub(crate) engine: Engine,
    pub(crate) socket: SocketId,
    pub(crate) conn: Option<ConnId>,
    /// What the store has still to do, in order, and when each is done.
    pub(crate) jobs: VecDeque<(u64, Job)>,
    pub(crate) ledger: Ledger,
    /// The machine's addresses as it knows them.
    pub(crate) here: Vec<IpAddr>,
    /// Until when it may say good-bye.
    pub(crate) stopping: Option<u64>,
    /// Wakes in a row that changed nothing, and the moment of the first.
    pub(crate) idle_wakes: (Moment, u32),
}

pub(crate) enum Job {
    Commit(BatchId, Vec<Write>),
    Load(QueryId, PeerId),
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("who", &self.who).field("life", &self.life).finish_non_exhaustive()
    }
}

impl Member {
    pub(crate) fn new(who: usize, seat: Seat, rng: &mut ChaCha20Rng) -> Self {
        let me = Arc::new(Identity::from_seed(&Seed::from_bytes(rng.random())));
        let peer = me.peer_id();
        Self {
            who,
            seat,
            me,
            peer,
            process: None,
            life: 0,
            away: false,
            store: Memory::new(),
            epoch: DeviceEpoch(rng.random()),
            pins: Vec::new(),
            contacts: Vec::new(),
            broker_key: None,
        }
    }

    pub(crate) fn name(&self) -> Name {
        called(self.who).parse().expect("a name")
    }

    /// What the machine's clocks show.
    pub(crate) fn clock(&self, internet: &Internet, at: u64) -> Now {
        now_of(internet, &self.seat, at)
    }

    /// When the process wants to be woken, in the network's time; `None` while nothing can wake it.
    pub(crate) fn due(&self, internet: &Internet) -> Option<u64> {
        let process = self.process.as_ref()?;
        if internet.is_asleep(self.seat.host) {
            return None;
        }
        let timer = process.engine.poll_timeout();
        let timer = (timer < Moment::NEVER).then(|| internet.clock(self.seat.host).when(timer.as_nanos()));
        let job = process.jobs.front().map(|(due, _)| *due);
        [timer.flatten(), job, process.stopping].into_iter().flatten().min()
    }

    /// Starts a process with what the store kept.
    pub(crate) fn start(&mut self, internet: &mut Internet, at: u64, rng: &mut ChaCha20Rng) {
        let config = EngineConfig {
            me: Arc::clone(&self.me),
            name: self.name(),
            broker: "broker.example:7770".to_owned(),
            broker_key: self.broker_key,
            pins: self.pins.clone(),
            contacts: self.contacts.clone(),
            accept: AcceptPolicy::Ask,
            accept_files: AcceptPolicy::Ask,
            read_receipts: true,
            expire: None,
            files_from_connected: false,
            ports: Ports { v4: PORT, v6: 0 },
            loopback_only: false,
        };
        let everywhere = (std::net::Ipv4Addr::UNSPECIFIED, PORT).into();
        let socket = internet.bind(self.seat.host, everywhere).expect("the last process closed its socket");
        let now = self.clock(internet, at);
        let (heads, recipients) = (self.store.heads(), self.store.recipients());
        let kept = Kept { epoch: self.epoch, heads, recipients };
        let engine = Engine::resume(config, rng.random(), kept, now);
        self.life += 1;
        self.away = false;
        self.process = Some(Process {
            engine,
            socket,
            conn: None,
            jobs: VecDeque::new(),
            ledger: Ledger::default(),
            here: internet.addresses(self.seat.host),
            stopping: None,
            idle_wakes: (Moment::ZERO, 0),
        });
    }

    pub(crate) fn keep(&mut self, contact: Contact) {
        self.contacts.retain(|kept| kept.peer != contact.peer);
        self.contacts.extend(Some(contact).filter(|kept| !kept.generations.is_empty()));
    }

    pub(crate) fn apply(&mut self, writes: &[Write]) {
        self.store.apply(writes);
    }

    pub(crate) fn rows(&self, peer: PeerId) -> p2pchat_conversation::Rows {
        self.store.rows(peer)
    }
}

/// What a machine's clocks show.
pub(crate) fn now_of(internet: &Internet, seat: &Seat, at: u64) -> Now {
    let clock = internet.clock(seat.host);
    Now { moment: Moment::from_nanos(clock.monotonic(at)), wall: WallTime(clock.wall(at) / MILLI) }
}
