//! What a seed stands for: who is where, what goes wrong, who does what.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use p2pchat_netsim::{
    Access, Clock, Fault, HostId, InterfaceId, Internet, LinkConfig, Loss, NatConfig, NatId, NetId, Ports,
    Rate, Reordering, Schedule, Storm, Trouble, millis, seconds,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Where the network's time begins on everybody's wall clock: 2026-01-01T00:00:00Z, nanoseconds.
pub(crate) const WALL_START: u64 = 1_767_225_600_000_000_000;
/// Furthest that a wall clock is wrong at the start, nanoseconds: within what an offer's age may be
/// off even before the broker has corrected it (protocol section 2).
const WALL_OFF_MAX: u64 = seconds(300);
/// Smallest and largest MTU of a line, bytes of UDP payload: what a session begins with, and Ethernet.
const MTU: core::ops::RangeInclusive<usize> = 1_200..=1_500;
/// Slowest and fastest limited line, bytes a second.
const RATES: core::ops::RangeInclusive<u64> = 20_000..=2_000_000;
/// Longest text that is written, bytes: the protocol's longest.
const TEXT_MAX: usize = p2pchat_proto::limits::TEXT_MAX;
/// Port of everybody's socket.
pub(crate) const PORT: u16 = 7_000;
/// Last number of the addresses of the first person's first and second interface, and of the first
/// interface that is taken elsewhere. A storm gives the next free ones above the first two.
const FIRST_HOST: u8 = 10;
const SECOND_HOST: u8 = 50;
const TRAVELLER: u8 = 150;

/// Something that somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Asks for a chat.
    Connect {
        /// Who.
        who: usize,
        /// Whom.
        to: usize,
    },
    /// Writes some messages.
    Write {
        /// Who.
        who: usize,
        /// To whom.
        to: usize,
        /// How many.
        count: usize,
        /// Bytes of each.
        len: usize,
    },
    /// Ends a session.
    Close {
        /// Who.
        who: usize,
        /// With whom.
        to: usize,
    },
    /// Ends the process and starts it again later, with what its store kept.
    Quit {
        /// Whose.
        who: usize,
        /// Whether it is killed, and has no time to say anything.
        kill: bool,
        /// Nanoseconds until the start.
        away: u64,
    },
    /// The broker's process dies, and comes back later with its accounts.
    BrokerGone {
        /// Nanoseconds until it is back.
        away: u64,
    },
}

/// A NAT of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Router {
    /// In the internet.
    pub nat: NatId,
    /// How it behaves.
    pub config: NatConfig,
}

/// Somebody's machine.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// In the internet.
    pub host: HostId,
    /// One way's delay to the broker, nanoseconds: that of its link to it.
    pub delay: u64,
    /// Whether its system tells of other addresses, as Linux does.
    pub told: bool,
}

/// For a while, each datagram to somebody is preceded by a copy in the name of an address that has
/// nothing to do with it.
#[derive(Debug, Clone, Copy)]
pub struct Forgery {
    /// To whom.
    pub who: usize,
    /// Whose address.
    pub victim: SocketAddr,
    /// From when on, nanoseconds.
    pub from: u64,
    /// Until when.
    pub until: u64,
}

/// Everything that follows from a seed before anything happens.
#[derive(Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The NATs.
    pub routers: Vec<Router>,
    /// The people's machines.
    pub seats: Vec<Seat>,
    /// The broker's machine.
    pub broker: Seat,
    /// Every interface, and where it is at first.
    pub addresses: Vec<(InterfaceId, NetId, IpAddr)>,
    /// What goes wrong with the network.
    pub faults: Schedule,
    /// Somebody on the way says that what comes to somebody comes from elsewhere.
    pub forgeries: Vec<Forgery>,
    /// What people do, by time.
    pub deeds: BTreeMap<u64, Vec<Deed>>,
    /// When the last fault is made good and the last deed done.
    pub calm: u64,
}

impl Plan {
    /// The plan of a seed, and the internet in which it happens, with the faults planned there.
    pub fn new(seed: u64) -> (Self, Internet) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut internet = Internet::new(seed);
        let broker = broker(&mut internet, &mut rng);
        let routers = routers(&mut internet, &mut rng);
        let people = rng.random_range(2..=4usize);
        let seats: Vec<Seat> =
            (0..people).map(|index| seat(&mut internet, &routers, index, &mut rng)).collect();
        let storm = storm(&mut rng);
        let mut faults = spare_the_brokers_clock(storm.schedule(rng.random(), &internet), broker.host);
        journeys(&internet, &routers, &seats, &storm, &mut rng, &mut faults);
        internet.plan(faults.clone());
        let forgeries = forgeries(people, &storm, &mut rng);
        let deeds = deeds(&seats, storm.until, &mut rng);
        let calm = storm.until.max(faults.end().unwrap_or_default());
        let places = internet.interfaces().map(|id| (id, internet.place(id)));
        let addresses = places.map(|(id, (net, ip))| (id, net, ip)).collect();
        (Self { seed, routers, seats, broker, addresses, faults, forgeries, deeds, calm }, internet)
    }

    /// In whose name what comes to somebody is told beforehand.
    pub(crate) fn forged(&self, who: usize, at: u64) -> Option<SocketAddr> {
        let mut all = self.forgeries.iter();
        let found = all.find(|forgery| forgery.who == who && (forgery.from..forgery.until).contains(&at));
        found.map(|forgery| forgery.victim)
    }

    /// Pairs of people, the first with the smaller number.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.seats.len();
        (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
    }
}

fn broker(internet: &mut Internet, rng: &mut ChaCha20Rng) -> Seat {
    let host = internet.host(Clock::new(0, WALL_START));
    let ip = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    let delay = millis(rng.random_range(1..40));
    let line = LinkConfig { delay, ..LinkConfig::default() };
    internet.attach(host, Internet::PUBLIC, ip, Access::both(line));
    Seat { host, delay, told: false }
}

/// None, one or two, of which the second may be behind the first, which is a carrier's then.
fn routers(internet: &mut Internet, rng: &mut ChaCha20Rng) -> Vec<Router> {
    let mut routers: Vec<Router> = Vec::new();
    for index in 0..rng.random_range(0..=2u8) {
        let config = nat(rng);
        let carrier = routers.first().filter(|_| rng.random_bool(0.4)).map(|carrier| carrier.nat);
        let (net, ip) = match carrier {
            Some(carrier) => (internet.inside(carrier), Ipv4Addr::new(100, 64, 0, 1 + index)),
            None => (Internet::PUBLIC, Ipv4Addr::new(198, 51, 100, 1 + index)),
        };
        routers.push(Router { nat: internet.nat(net, ip.into(), access(rng), config), config });
    }
    routers
}

fn nat(rng: &mut ChaCha20Rng) -> NatConfig {
    let kinds = [NatConfig::OPEN, NatConfig::HOME, NatConfig::SYMMETRIC];
    let kind = kinds[rng.random_range(0..kinds.len())];
    let timeout = seconds([15, 30, 120][rng.random_range(0..3)]);
    let ports = if rng.random() { Ports::Random } else { Ports::Preserve };
    NatConfig { timeout, ports, inbound_refresh: rng.random(), ..kind }
}

/// The public net, and those behind the NATs.
fn nets(internet: &Internet, routers: &[Router]) -> Vec<NetId> {
    let inside = routers.iter().map(|router| internet.inside(router.nat));
    core::iter::once(Internet::PUBLIC).chain(inside).collect()
}

/// An address on a net: no two nets have the same, or nobody on both could tell them apart.
fn ip_on(net: usize, host: u8) -> IpAddr {
    match u8::try_from(net) {
        Ok(0) | Err(_) => Ipv4Addr::new(192, 0, 2, host).into(),
        Ok(net) => Ipv4Addr::new(192, 168, net, host).into(),
    }
}

/// A machine with one interface, or with two: a cable and the air.
fn seat(internet: &mut Internet, routers: &[Router], index: usize, rng: &mut ChaCha20Rng) -> Seat {
    let off = rng.random_range(0..=2 * WALL_OFF_MAX);
    let clock = Clock::new(rng.random_range(0..seconds(1_000_000)), WALL_START - WALL_OFF_MAX + off);
    let host = internet.host(clock);
    let nets = nets(internet, routers);
    let mut delay = 0;
    for first in if rng.random_bool(0.25) { [FIRST_HOST, SECOND_HOST].as_slice() } else { &[FIRST_HOST] } {
        let net = rng.random_range(0..nets.len());
        let access = Access { mtu: rng.random_bool(0.2).then(|| rng.random_range(MTU)), ..access(rng) };
        delay = delay.max(access.up.delay + millis(20));
        let ip = ip_on(net, first + u8::try_from(index).unwrap_or(u8::MAX));
        internet.attach(host, nets[net], ip, access);
    }
    Seat { host, delay, told: rng.random() }
}

/// People take their machines from net to net.
fn journeys(
    internet: &Internet,
    routers: &[Router],
    seats: &[Seat],
    storm: &Storm,
    rng: &mut ChaCha20Rng,
    faults: &mut Schedule,
) {
    let nets = nets(internet, routers);
    for number in 0..rng.random_range(0..=2u8) {
        let interfaces = internet.interfaces_of(seats[rng.random_range(0..seats.len())].host);
        let (interface, net) =
            (interfaces[rng.random_range(0..interfaces.len())], rng.random_range(0..nets.len()));
        let ip = ip_on(net, TRAVELLER + number);
        faults.at(rng.random_range(storm.from..=storm.until), Fault::Move { interface, net: nets[net], ip });
    }
}

fn access(rng: &mut ChaCha20Rng) -> Access {
    let mtu = rng.random_bool(0.5).then(|| rng.random_range(MTU));
    Access { up: line(mtu, rng), down: line(mtu, rng), mtu: None }
}

/// A line as people have them: most are good, some lose, some are slow.
fn line(mtu: Option<usize>, rng: &mut ChaCha20Rng) -> LinkConfig {
    let bad = rng.random_bool(0.3);
    let share = |rng: &mut ChaCha20Rng, most| if bad { rng.random_range(0.0..most) } else { 0.0 };
    LinkConfig {
        delay: millis(rng.random_range(1..=if bad { 200 } else { 40 })),
        jitter: millis(rng.random_range(0..=if bad { 50 } else { 3 })),
        loss: if bad {
            Loss::Burst { share: rng.random_range(0.0..0.12), mean_length: rng.random_range(1.0..5.0) }
        } else {
            Loss::None
        },
        duplication: share(rng, 0.05),
        reordering: Reordering { share: share(rng, 0.1), hold: millis(rng.random_range(1..60)) },
        corruption: share(rng, 0.01),
        rate: rng.random_bool(0.3).then(|| {
            let bytes_per_second = rng.random_range(RATES);
            Rate { bytes_per_second, queue: (bytes_per_second / 5).max(20_000) }
        }),
        mtu,
    }
}

fn storm(rng: &mut ChaCha20Rng) -> Storm {
    Storm {
        from: seconds(2),
        until: seconds(rng.random_range(40..400)),
        troubles: rng.random_range(0..=12),
        longest: seconds(rng.random_range(1..=90)),
        kinds: Trouble::ALL.to_vec(),
    }
}

/// People correct their clocks by the broker's; nobody corrects the broker's.
fn spare_the_brokers_clock(faults: Schedule, broker: HostId) -> Schedule {
    let spared = |fault: &Fault| matches!(fault, Fault::Jump { host, .. } if *host == broker);
    faults.iter().filter(|(_, fault)| !spared(fault)).map(|(at, fault)| (at, fault.clone())).collect()
}

fn forgeries(people: usize, storm: &Storm, rng: &mut ChaCha20Rng) -> Vec<Forgery> {
    let forgery = |number: u8, rng: &mut ChaCha20Rng| {
        let from = rng.random_range(storm.from..=storm.until);
        let until = storm.until.min(from + rng.random_range(0..seconds(60)));
        let victim = (Ipv4Addr::new(203, 0, 113, 1 + number), PORT).into();
        Forgery { who: rng.random_range(0..people), victim, from, until }
    };
    (0..rng.random_range(0..=2u8)).map(|number| forgery(number, rng)).collect()
}

fn deeds(seats: &[Seat], until: u64, rng: &mut ChaCha20Rng) -> BTreeMap<u64, Vec<Deed>> {
    let mut deeds: BTreeMap<u64, Vec<Deed>> = BTreeMap::new();
    let mut add = |at: u64, deed: Deed| deeds.entry(at).or_default().push(deed);
    let pair = |rng: &mut ChaCha20Rng| {
        let who = rng.random_range(0..seats.len());
        (who, (who + rng.random_range(1..seats.len())) % seats.len())
    };
    // Somebody begins, so that no plan is about people who never met.
    let (who, to) = pair(rng);
    add(millis(rng.random_range(0..1_500)), Deed::Connect { who, to });
    for _ in 0..rng.random_range(8..40) {
        let (who, to) = pair(rng);
        let at = rng.random_range(0..until);
        let away = millis(rng.random_range(10..60_000)).min(until - at);
        let deed = match rng.random_range(0..100u8) {
            0..20 => Deed::Connect { who, to },
            20..60 => Deed::Write { who, to, count: rng.random_range(1..4), len: rng.random_range(0..300) },
            60..75 => Deed::Write { who, to, count: rng.random_range(5..60), len: rng.random_range(0..300) },
            75..83 => Deed::Write { who, to, count: 1, len: rng.random_range(0..=TEXT_MAX) },
            83..89 => Deed::Close { who, to },
            89..97 => Deed::Quit { who, kill: rng.random(), away },
            _ => Deed::BrokerGone { away },
        };
        add(at, deed);
    }
    deeds
}

/// What a person needs to know to follow a failure.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan of seed {}, calm from {:.3} s on", self.seed, in_seconds(self.calm))?;
        for (number, router) in self.routers.iter().enumerate() {
            writeln!(f, "  NAT {number} is {:?}, {:?}", router.nat, router.config)?;
        }
        writeln!(f, "  the broker is {:?}", self.broker.host)?;
        for (who, seat) in self.seats.iter().enumerate() {
            writeln!(f, "  {} is {:?}", called(who), seat)?;
        }
        for (interface, net, ip) in &self.addresses {
            writeln!(f, "  {interface:?} is {ip} on {net:?}")?;
        }
        for forgery in &self.forgeries {
            writeln!(f, "  {forgery:?}")?;
        }
        write!(f, "faults:\n{}deeds:\n", self.faults)?;
        for (at, deeds) in &self.deeds {
            for deed in deeds {
                writeln!(f, "{:>10.3} s  {deed:?}", in_seconds(*at))?;
            }
        }
        Ok(())
    }
}

/// The name of the person with this number.
pub(crate) const fn called(who: usize) -> &'static str {
    const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
    NAMES[who % NAMES.len()]
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(crate) fn in_seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
