//! What arrives at the port of a running program.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use p2pchat_proto::PeerId;
use p2pchat_proto::datagram::{DATA, FIN, FIN_LEN, INIT, INIT_LEN, PUNCH, PUNCH_LEN, RESP, RESP_LEN};
use rand::{Rng, RngExt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::actions::say;
use crate::echo::Echo;
use crate::event::{event, session};
use crate::peer::Peer;
use crate::process::PROMPT;
use crate::rows::guest::Guest;
use crate::rows::{Defence, Lab, NotRun, Row, Seen};
use crate::stranger::Stranger;
use crate::world::{MEETING, World, listen, udp_address};

/// Most bytes of one UDP datagram over IPv4 (RFC 768: 65,535 less both headers).
const DATAGRAM_MAX: usize = 65_507;
/// Datagrams of random length.
const RANDOM: usize = 500;
/// Forged ICMP messages in each direction.
const UNREACHABLE: usize = 50;
/// What a session that did not go on would say.
const ENDINGS: [&str; 3] = ["suspect", "lost", "closed"];

/// Garbage and forged ICMP.
pub(super) const GARBAGE: Row = Row {
    id: "T16",
    attack: "garbage of 0 to 65,507 bytes, a closed port that answers with ICMP, and forged ICMP at a peer",
    expected: "no answer, and the session goes on",
    run: garbage,
};

fn garbage(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    if defence == Defence::Removed {
        let echo = Echo::start()?;
        let answers = throw(echo.address(), lab)?;
        // The socket is gone at the end of the line, and its port closed.
        let closed = UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?;
        let ends = is_refused(closed)?;
        let what = format!("{answers} answers; a socket that believes ICMP ends: {ends}");
        // Both halves have to be attacks.
        return Ok(Seen::when(answers == 0 || !ends, what));
    }
    let world = World::new()?;
    let mut alice = listen(&world.person("alice")?.accept_everything())?;
    let ready = alice.wait(&event("ready"), PROMPT)?;
    let (who, alices) = (ready.text("peer").parse()?, ready.text("udp").parse()?);
    let outlived = outlives_a_closed_port(&world, &mut alice, (who, alices), lab)?;
    alice.take_events();
    let mut bob = world.person("bob")?.accept_everything().start(&["connect", "--to", "alice"])?;
    let bobs = udp_address(&mut bob)?;
    say(&mut bob, &mut alice, "before")?;
    let mut answers = 0;
    let mut icmp = "ICMP of a closed port, and forged";
    for (target, other) in [(alices, bobs), (bobs, alices)] {
        answers += throw(target, lab)?;
        if unreachable(target, other).is_err() {
            icmp = "ICMP of a closed port; not forged: only root may";
        }
        say(&mut alice, &mut bob, "still here")?;
        say(&mut bob, &mut alice, "so am I")?;
    }
    let lost = [alice.take_events(), bob.take_events()]
        .concat()
        .iter()
        .any(|event| event.name() == "session" && ENDINGS.contains(&event.text("state")));
    let session = if lost { "was disturbed" } else { "went on" };
    let what = format!("{answers} answers; the session {session}; outlived a closed port: {outlived}");
    Ok(Seen::when(answers == 0 && !lost && outlived, what).figure(icmp))
}

/// Whether a session goes on whose other side has its port closed for a while: what `alice` sends there comes
/// back as ICMP, as anybody between the two could make it. It has to count as silence and no more.
fn outlives_a_closed_port(
    world: &World,
    alice: &mut Peer,
    (who, at): (PeerId, SocketAddr),
    lab: &mut Lab,
) -> Result<bool, NotRun> {
    let mut guest = Guest::meet(world, who, at, lab)?;
    let id = guest.peer_id().to_string();
    let of_guest = |state| session(state).with("peer", id.as_str());
    alice.wait(&of_guest("up"), MEETING)?;
    let port = guest.close_port()?;
    if !is_refused(port)? {
        return Err(NotRun("the system does not tell who sends to a closed port".to_owned()));
    }
    // By then it has sent several times what nobody answered.
    alice.wait(&of_guest("suspect"), MEETING)?;
    guest.reopen(port)?;
    let recovered = alice.wait(&of_guest("up"), PROMPT).is_ok();
    guest.close()?;
    alice.wait(&of_guest("closed"), MEETING)?;
    guest.leave();
    Ok(recovered)
}

/// Whether a connected socket learns that `port` is closed. Who believed that would end.
fn is_refused(port: SocketAddr) -> Result<bool, NotRun> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(port)?;
    socket.set_read_timeout(Some(PROMPT))?;
    socket.send(b"are you there?")?;
    Ok(socket.recv(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// Throws everything at a port; how many answers came.
fn throw(target: SocketAddr, lab: &mut Lab) -> Result<u64, NotRun> {
    let mut stranger = Stranger::at(target, lab.rng.random())?;
    let kinds = [(INIT, INIT_LEN), (RESP, RESP_LEN), (FIN, FIN_LEN), (PUNCH, PUNCH_LEN), (DATA, 33)];
    for (kind, len) in kinds {
        for len in [1, len - 1, len, len + 1, 1200, 1500, 9000, DATAGRAM_MAX] {
            for version in [0, 1, 2, 255] {
                let mut datagram = vec![0; len];
                lab.rng.fill_bytes(&mut datagram);
                let start = [kind, version, 0, 0];
                datagram.iter_mut().zip(start).for_each(|(byte, start)| *byte = start);
                stranger.send(&datagram);
            }
        }
    }
    for n in 0..RANDOM {
        let len = match n % 5 {
            0 => lab.rng.random_range(0..4),
            1 => DATAGRAM_MAX,
            _ => lab.rng.random_range(0..2000),
        };
        let mut datagram = vec![0; len];
        lab.rng.fill_bytes(&mut datagram);
        stranger.send(&datagram);
    }
    Ok(stranger.answers()?)
}

/// Tells the machine that what `target` sent to `other` found a closed port (RFC 792).
fn unreachable(target: SocketAddr, other: SocketAddr) -> std::io::Result<()> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (target, other) else { return Ok(()) };
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    // The start of the datagram that is said to have failed: IPv4 header, UDP header.
    message.extend([0x45, 0, 0, 61, 0, 0, 0, 0, 64, 17, 0, 0]);
    message.extend(from.ip().octets());
    message.extend(to.ip().octets());
    message.extend([from.port(), to.port(), 41, 0].iter().flat_map(|field| field.to_be_bytes()));
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
    for _ in 0..UNREACHABLE {
        socket.send_to(&message, &here)?;
    }
    Ok(())
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}
