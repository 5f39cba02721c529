//! B1, B2, B3: logins that are used where they were not meant, and brokers that are not who they seem.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use p2pchat_crypto::link::{BrokerSecret, ServerHandshake, frame, hello, verify_hello};
use p2pchat_proto::broker::{FromBroker, Hello, RefusedCode, ToBroker};
use p2pchat_proto::{BrokerKey, PeerId};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::broker::Broker;
use crate::caller::{Caller, identity, record};
use crate::double::LyingBroker;
use crate::process::PROMPT;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, World};

/// The exit code of a broken trust (cli.md).
const EXIT_TRUST: i32 = 6;
/// How long a client may take to say its hello to a rogue.
const HELLO: Duration = Duration::from_secs(5);

/// A login that covers neither the link nor the broker.
fn loose_signature(seed: u8) -> [u8; 64] {
    hello(&identity(seed), &[0; 32], BrokerKey([0; 32]))
}

/// The double: a broker that asks for no more than that.
fn loose_broker(seed: u64) -> Result<LyingBroker, NotRun> {
    Ok(LyingBroker::verifying(seed, |peer, _, _, signature| {
        verify_hello(peer, &[0; 32], BrokerKey([0; 32]), signature)
    })?)
}

/// Whether the broker at `to` takes a login of `peer` with this signature, on a link of its own.
fn welcomes(to: SocketAddr, peer: PeerId, signature: [u8; 64]) -> Result<bool, NotRun> {
    let mut attacker = Caller::connect(to, identity(66))?;
    attacker.hello(peer, signature);
    match attacker.hear() {
        Some((_, FromBroker::Welcome(_))) => Ok(true),
        Some((_, FromBroker::Refused(refused))) if refused.code == RefusedCode::Signature => Ok(false),
        other => Err(NotRun(format!("no word about the login: {other:?}"))),
    }
}

/// B1.
pub(super) fn replayed_login(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let victim = identity(1).peer_id();
    let (again, elsewhere) = match defence {
        Defence::InPlace => {
            let world = World::new()?;
            let other = Broker::start(&world.directory("other broker")?, &world.trace)?;
            let heard = Caller::login(world.broker.address(), identity(1))?.signature();
            (welcomes(world.broker.address(), victim, heard)?, welcomes(other.address(), victim, heard)?)
        }
        Defence::Removed => {
            let (first, other) = (loose_broker(1)?, loose_broker(2)?);
            let heard = loose_signature(1);
            let _victim_is_there = welcomes(first.address(), victim, heard)?;
            (welcomes(first.address(), victim, heard)?, welcomes(other.address(), victim, heard)?)
        }
    };
    let what = format!("welcome on a second link: {again}, at another broker: {elsewhere}");
    Ok(Seen::when(!again && !elsewhere, what).figure("2 replays"))
}

/// B2.
pub(super) fn relayed_login(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let taken = match defence {
        Defence::InPlace => {
            let world = World::new()?;
            let rogue = Rogue::start(&mut lab.rng)?;
            let url = format!("{}#{}", rogue.address, rogue.key);
            let _victim = world.stranger("victim")?.broker(&url).start(&["listen"])?;
            let login = rogue.login()?.ok_or(NotRun("the victim does not log in".to_owned()))?;
            welcomes(world.broker.address(), login.peer, login.signature)?
        }
        Defence::Removed => {
            let (real, rogue) = (loose_broker(1)?, Rogue::start(&mut lab.rng)?);
            let mut victim = Caller::connect(rogue.address, identity(1))?;
            victim.hello(identity(1).peer_id(), loose_signature(1));
            let login = rogue.login()?.ok_or(NotRun("the victim does not log in".to_owned()))?;
            welcomes(real.address(), login.peer, login.signature)?
        }
    };
    Ok(Seen::when(!taken, format!("the real broker takes the victim's login from the rogue: {taken}")))
}

/// B3.
pub(super) fn wrong_key(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let rogue = Rogue::start(&mut lab.rng)?;
    let (exit, told) = match defence {
        Defence::InPlace => {
            let world = World::new()?;
            let url = world.broker.url_through(rogue.address);
            let victim = world.stranger("victim")?.broker(&url).plain();
            (victim.run(&["listen"], MEETING)?.exit, rogue.login()?)
        }
        // A client that takes any key.
        Defence::Removed => {
            let mut caller = Caller::connect(rogue.address, identity(1))?;
            let (peer, signature) = (caller.me.peer_id(), caller.signature());
            caller.hello(peer, signature);
            (0, rogue.login()?)
        }
    };
    let held = exit == EXIT_TRUST && told.is_none();
    Ok(Seen::when(held, format!("exit {exit}, the rogue learned who it was: {}", told.is_some())))
}

/// A broker with a key of its own that takes one login and answers nothing.
struct Rogue {
    address: SocketAddr,
    key: BrokerKey,
    heard: Receiver<Option<Hello>>,
}

impl Rogue {
    fn start(rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let secret = BrokerSecret::generate(rng)?;
        let key = secret.public();
        let (said, heard) = mpsc::channel();
        let mut rng = ChaCha20Rng::from_rng(rng);
        thread::spawn(move || {
            let Ok((mut socket, _)) = listener.accept() else { return };
            let login = (|| {
                socket.set_read_timeout(Some(HELLO)).ok()?;
                let first = record(&mut socket)?;
                let (_, mut opener, _, second) = ServerHandshake::respond(&secret, &first, &mut rng).ok()?;
                socket.write_all(&frame(&second)).ok()?;
                let mut bytes = record(&mut socket)?;
                opener.open(&mut bytes).ok()?;
                let Ok((_, ToBroker::Hello(hello))) = ToBroker::from_record(&bytes) else { return None };
                Some(hello)
            })();
            let _row_is_over = said.send(login);
        });
        Ok(Self { address, key, heard })
    }

    /// The login that it heard; none where the client went away first.
    fn login(&self) -> Result<Option<Hello>, NotRun> {
        Ok(self.heard.recv_timeout(HELLO + PROMPT)?)
    }
}
