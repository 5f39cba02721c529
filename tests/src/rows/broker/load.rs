//! B12, B13: clients that are slow, and lengths that promise much.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use p2pchat_proto::broker::FromBroker;

use crate::caller::{Caller, dial, identity};
use crate::memory::resident;
use crate::meter;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::World;

/// Pause between two bytes.
const DRIP: Duration = Duration::from_secs(1);
/// When a client that did not log in is closed (protocol section 2), and room for a busy machine.
const CLOSED_BETWEEN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_millis(6_500));
/// How long a slow client tries.
const TRIES: Duration = Duration::from_secs(7);

/// B12. Three clients at once: one drips, one says nothing, one drips after the handshake.
pub(super) fn slowloris(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let (times, kinds) = match defence {
        Defence::InPlace => {
            let world = World::new()?;
            let address = world.broker.address();
            let slow = [Slow::Drips, Slow::Silent, Slow::AfterHandshake];
            let threads = slow.map(|slow| thread::spawn(move || closed_after(address, slow)));
            let times: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Ok(None)))
                .collect::<Result<_, _>>()?;
            (times, slow.len())
        }
        Defence::Removed => {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let address = listener.local_addr()?;
            thread::spawn(move || {
                // Waits for a whole message, however long that takes.
                let patient = |mut socket: TcpStream| socket.read_exact(&mut [0; 34]);
                listener.accept().map(|(socket, _)| patient(socket))
            });
            (vec![closed_after(address, Slow::Drips)?], 1)
        }
    };
    let (least, most) = CLOSED_BETWEEN;
    let held = times.iter().all(|time| time.is_some_and(|time| (least..most).contains(&time)));
    let shown = |time: &Option<Duration>| match time {
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
        None => format!("open after {} s", TRIES.as_secs()),
    };
    let shown: Vec<_> = times.iter().map(shown).collect();
    Ok(Seen::when(held, format!("closed: {}", shown.join(", ")))
        .figure(format!("{kinds} clients, {}", shown.join(", "))))
}

#[derive(Debug, Clone, Copy)]
enum Slow {
    Drips,
    Silent,
    AfterHandshake,
}

/// How long the broker keeps a slow client; none where it does not close it.
fn closed_after(to: SocketAddr, slow: Slow) -> Result<Option<Duration>, NotRun> {
    if let Slow::AfterHandshake = slow {
        let begin = Instant::now();
        let mut caller = Caller::connect(to, identity(7))?;
        caller.wait_for(DRIP);
        // Its hello would be 200 bytes long.
        let mut bytes = [0, 200].into_iter().chain(std::iter::repeat(9));
        while begin.elapsed() < TRIES {
            caller.raw(&[bytes.next().unwrap_or(9)]);
            let waiting = Instant::now();
            // The broker says why it hangs up, or just hangs up; either takes less than the pause.
            if caller.hear().is_none() && waiting.elapsed() < DRIP {
                return Ok(Some(begin.elapsed()));
            }
        }
        return Ok(None);
    }
    let begin = Instant::now();
    let mut socket = dial(to)?;
    socket.set_read_timeout(Some(DRIP))?;
    // Its message would be 32 bytes long.
    let mut bytes = [0, 32].into_iter().chain(std::iter::repeat(9));
    while begin.elapsed() < TRIES {
        if let Slow::Drips = slow {
            let _closed = socket.write_all(&[bytes.next().unwrap_or(9)]);
        }
        match socket.read(&mut [0; 64]) {
            Ok(0) => return Ok(Some(begin.elapsed())),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(Some(begin.elapsed())),
        }
    }
    Ok(None)
}

/// Connections that promise much, of each kind.
const EACH: usize = 150;
/// What they may cost the broker in all.
const GROWTH_MAX: u64 = 8 << 20;
/// Most that the double makes room for at once.
const ROOM_MAX: usize = 64 << 20;
/// What a record's length may say before the handshake, before the login and after it.
const PREFIXES: [u16; 7] = [0, 1, 31, 33, 1100, 1101, u16::MAX];
/// Kinds whose body begins with the length of a list or a text.
const LISTS: [u8; 4] = [0x02, 0x04, 0x05, 0x01];

/// B13.
pub(super) fn lengths(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let connections = EACH * 2 + PREFIXES.len() * 4 + LISTS.len();
    let (growth, served) = match defence {
        Defence::InPlace => promised_to_the_broker()?,
        // Makes room for what is promised, as far as the harness's machine can.
        Defence::Removed => {
            let prefixes = PREFIXES.into_iter().chain(std::iter::repeat_n(u16::MAX, EACH));
            let records = prefixes.map(usize::from);
            let lists = LISTS.map(|_| usize::try_from(u64::MAX).unwrap_or(usize::MAX).min(ROOM_MAX));
            let promised: Vec<usize> = records.chain(lists).collect();
            let (rooms, took) = meter::measure(|| {
                promised.iter().map(|len| Vec::with_capacity(*len)).collect::<Vec<Vec<u8>>>()
            });
            drop(rooms);
            (took.peak as u64, true)
        }
    };
    let held = growth <= GROWTH_MAX && served;
    let what = format!("{} KiB more at most, others served: {served}", growth / 1024);
    Ok(Seen::when(held, what).figure(format!("{} KiB for {connections} connections", growth / 1024)))
}

/// How much the broker's peak grows, and whether it still serves.
fn promised_to_the_broker() -> Result<(u64, bool), NotRun> {
    let world = World::new()?;
    let to = world.broker.address();
    Caller::login(to, identity(1))?;
    let before = resident(world.broker.id())?;
    let mut strangers = Vec::new();
    for prefix in PREFIXES.into_iter().chain(std::iter::repeat_n(u16::MAX, EACH)) {
        let mut socket = dial(to)?;
        socket.write_all(&[&prefix.to_be_bytes()[..], &[1]].concat())?;
        strangers.push(socket);
    }
    let mut known = Vec::new();
    for prefix in PREFIXES {
        let mut caller = Caller::connect(to, identity(2))?;
        caller.raw(&[&prefix.to_be_bytes()[..], &[1]].concat());
        known.push(caller);
    }
    for (number, prefix) in PREFIXES.into_iter().chain(std::iter::repeat_n(u16::MAX, EACH)).enumerate() {
        // Each stays logged in: another key for each.
        let mut caller = Caller::login(to, identity(u8::try_from(number % 250).unwrap_or(0) + 3))?;
        caller.raw(&[&prefix.to_be_bytes()[..], &[1]].concat());
        known.push(caller);
    }
    let mut refused = 0;
    for kind in LISTS {
        let mut caller = Caller::login(to, identity(254))?;
        let body = [&[kind, 0, 0, 0, 9][..], &u64::MAX.to_be_bytes(), &[7; 40]].concat();
        caller.say_bytes(&body);
        let answer = caller.hear();
        refused += usize::from(matches!(answer, None | Some((_, FromBroker::Refused(_)))));
    }
    let served = Caller::login(to, identity(1)).is_ok() && refused == LISTS.len();
    let after = resident(world.broker.id())?;
    drop((strangers, known));
    let growth = after.now.saturating_sub(before.now).max(after.peak.saturating_sub(before.peak));
    Ok((growth, served))
}
