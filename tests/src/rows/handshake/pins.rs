//! H15: somebody else under a name that is pinned.

use std::net::UdpSocket;
use std::thread;
use std::time::Instant;

use p2pchat_crypto::Identity;
use p2pchat_crypto::Seed;
use p2pchat_crypto::offer::{Expected, OfferError, VerifiedRequest};
use p2pchat_proto::codec::decode;
use p2pchat_proto::offer::OfferBody;

use super::people::Two;
use super::second::{self, Person, bytes};
use crate::double::LyingBroker;
use crate::double::lies::{self, Claim};
use crate::event::event;
use crate::peer::Peer;
use crate::process::PROMPT;
use crate::relay::{Direction, UdpRelay};
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::{MEETING, Paths, World};

/// What no program sends.
const LAST: &[u8] = b"last";

pub(crate) fn other_key(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let two = Two::draw(&mut lab.rng);
    let mallory = Person::draw(&mut lab.rng);
    let (offer, _) = second::request(&mallory, two.alice.peer_id(), &mut lab.rng)?;
    let request = decode::<OfferBody>(&offer.body)?.request;
    let pin = (defence == Defence::InPlace).then_some(two.bob.peer_id());
    let expected = Expected { from: mallory.peer_id(), pin, ..two.expected(request) };
    let asked = VerifiedRequest::verify(offer, expected).err();
    let pending = two.request(&mut lab.rng)?;
    let (accept, _) = second::accept(&mallory, &pending.offer().clone(), |_| {}, &mut lab.rng)?;
    let answered = two.accepted(pending, &accept, mallory.peer_id()).err();
    let cores = asked == Some(OfferError::Pin) && answered == Some(OfferError::From);
    let stage = Stage { mallory: bytes(&mut lab.rng) };
    Ok(match defence {
        Defence::InPlace => {
            let held = cores && stage.asks_as_bob(true)? && stage.answers_as_alice()?;
            Seen::when(held, "both programs say key_changed or tampered, and no datagram leaves")
        }
        Defence::Removed => {
            let noticed = asked.is_some() || stage.asks_as_bob(false)?;
            Seen::when(noticed, "without a pin mallory's request is shown as that of a new person")
        }
    })
}

/// Programs at a broker that lies, all their datagrams through relays.
struct Stage {
    /// The seed of the one in between.
    mallory: [u8; 32],
}

impl Stage {
    fn mallory(&self) -> Identity {
        Identity::from_seed(&Seed::from_bytes(self.mallory))
    }

    /// Whether alice notices that mallory asks under bob's name; `pinned` if she knows bob's key.
    fn asks_as_bob(&self, pinned: bool) -> Result<bool, NotRun> {
        let (world, broker) = (World::new()?, LyingBroker::start(1)?);
        if pinned {
            pin_each_other(&world, &broker)?;
        }
        let paths = Paths::new(1)?;
        let alice = world.stranger("alice")?.broker(&broker.url());
        let mut alice = paths.listen(&alice)?;
        broker.lie(lies::replace_asker(self.mallory(), "alice".parse()?));
        let bob = world.stranger("bob")?.broker(&broker.url()).accept_everything();
        let bob = paths.ask(&bob, "alice")?;
        if !pinned {
            let open = event("request").with("direction", "in").with("state", "open");
            let request = alice.wait(&open, MEETING)?;
            return Ok(request.text("peer") != self.mallory().peer_id().to_string());
        }
        is_found_out(alice, bob, &broker, &paths)
    }

    /// Whether bob notices that mallory accepts in alice's place, under either login.
    fn answers_as_alice(&self) -> Result<bool, NotRun> {
        let mut found_out = true;
        for claim in [Claim::AskedPersonsLogin, Claim::OwnLogin] {
            let (world, broker) = (World::new()?, LyingBroker::start(1)?);
            pin_each_other(&world, &broker)?;
            let paths = Paths::new(1)?;
            let person = |name| -> Result<_, NotRun> {
                Ok(world.stranger(name)?.broker(&broker.url()).accept_everything())
            };
            let alice = paths.listen(&person("alice")?)?;
            broker.lie(lies::replace_accepter(self.mallory(), claim));
            let bob = paths.ask(&person("bob")?, "alice")?;
            found_out &= is_found_out(bob, alice, &broker, &paths)?;
        }
        Ok(found_out)
    }
}

/// Both meet once, each by the user's own word, so that each knows the other's key; then they part.
fn pin_each_other(world: &World, broker: &LyingBroker) -> Result<(), NotRun> {
    let paths = Paths::new(2)?;
    let mut alice = paths.listen(&world.stranger("alice")?.broker(&broker.url()))?;
    let bob = world.stranger("bob")?.broker(&broker.url()).accept_everything();
    let mut bob = paths.ask(&bob, "alice")?;
    alice.wait(&event("request").with("direction", "in").with("state", "open"), MEETING)?;
    alice.send_line("/accept bob")?;
    for peer in [&mut alice, &mut bob] {
        peer.wait(&event("trust").with("is", "pinned"), MEETING)?;
    }
    bob.quit()?;
    alice.quit()?;
    Ok(())
}

/// The victim says so, and until both have ended nobody sent a datagram.
fn is_found_out(
    mut victim: Peer,
    mut other: Peer,
    broker: &LyingBroker,
    paths: &Paths,
) -> Result<bool, NotRun> {
    loop {
        let said = victim.wait(&event("error"), MEETING)?;
        if ["key_changed", "tampered"].contains(&said.text("code")) {
            break;
        }
    }
    // Each goes through all that it still has to do, and ends, if it did not end by itself.
    for peer in [&mut victim, &mut other] {
        if peer.info().is_ok() {
            peer.quit()?;
        }
    }
    let session = victim.take_events().iter().any(|event| event.name() == "session");
    Ok(broker.told() > 0 && !session && paths.udp().into_iter().all(is_unused))
}

/// Whether nothing ever came to a relay but one datagram that is sent to it here: what came before it was
/// counted before it.
fn is_unused(relay: &UdpRelay) -> bool {
    let came = || relay.counts(Direction::In).came;
    let sent = UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.send_to(LAST, relay.address()));
    let deadline = Instant::now() + PROMPT;
    while came() == 0 && Instant::now() < deadline {
        thread::yield_now();
    }
    let only = came() == 1 && relay.recording(Direction::In).contains(LAST);
    sent.is_ok() && only && relay.counts(Direction::Out).came == 0
}
