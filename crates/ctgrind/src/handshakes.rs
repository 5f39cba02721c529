//! What two sides do together. Both are run without a secret first; then each is run again with its secrets
//! marked, against what the other one said, and has to say and come to the same.

use std::error::Error;

use p2pchat_crypto::data::SessionKeys;
use p2pchat_crypto::handshake::{Initiator, Responder};
use p2pchat_crypto::introduction::{Introduction, Role, Suite};
use p2pchat_crypto::link::{BrokerSecret, ClientHandshake, LinkOpener, LinkSealer, ServerHandshake};
use p2pchat_crypto::offer::{AcceptTerms, Expected, PendingRequest, RequestTerms, VerifiedRequest};
use p2pchat_crypto::{Identity, Seed, TicketWindow, rekey};
use p2pchat_proto::offer::{Addressee, Purpose, SignedOffer, Suites};
use p2pchat_proto::{BrokerKey, RequestId, UdpEndpoints, WallTime};

use crate::resting::{SECRET, resumption};
use crate::{Bench, Done, Operation, Recorded};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "handshake-initiator", run: initiator },
    Operation { name: "handshake-responder", run: responder },
    Operation { name: "packets-chacha20", run: |bench| packets(bench, Suite::ChaCha20Poly1305) },
    Operation { name: "packets-aes256", run: |bench| packets(bench, Suite::Aes256Gcm) },
    Operation { name: "rekey-initiator", run: rekey_initiator },
    Operation { name: "rekey-responder", run: rekey_responder },
    Operation { name: "link-client", run: link_client },
    Operation { name: "link-broker", run: link_broker },
    Operation { name: "offer-asker", run: offer_asker },
    Operation { name: "offer-accepter", run: offer_accepter },
];

const WINDOW: TicketWindow = TicketWindow(3);
const BROKER: BrokerKey = BrokerKey([9; 32]);
const REQUEST: RequestId = RequestId([3; 16]);
const NOW: WallTime = WallTime(1_800_000_000_000);
const SUITES: Suites = Suites::CHACHA20_POLY1305;
/// Of the one who asks, and of the one who accepts.
const SEEDS: [u8; 2] = [2, 1];
/// What both draw, by side, in the handshake and in the rekey.
const DRAWN: [[u8; 2]; 2] = [[20, 21], [22, 23]];

type Of<T> = Result<T, Box<dyn Error>>;

/// One side of a session, before and after.
struct Side {
    me: Identity,
    introduction: Introduction,
    drawn: Recorded,
}

impl Side {
    fn plain(role: Role, suite: Suite) -> Of<Self> {
        let number = number(role);
        Ok(Self {
            me: identity([SEEDS[number]; 32]),
            introduction: resumption(SECRET, role, suite)?.introduction(role, WINDOW),
            drawn: Recorded::new(DRAWN[0][number]),
        })
    }

    /// The same, and everything that it alone knows, or the other one and it, is a secret.
    fn secret(bench: &mut Bench<'_>, role: Role, suite: Suite) -> Of<Self> {
        let number = number(role);
        Ok(Self {
            me: identity(bench.secret([SEEDS[number]; 32])),
            introduction: resumption(bench.secret(SECRET), role, suite)?.introduction(role, WINDOW),
            drawn: bench.random(DRAWN[0][number]),
        })
    }
}

const fn number(role: Role) -> usize {
    match role {
        Role::Initiator => 0,
        Role::Responder => 1,
    }
}

fn identity(seed: [u8; 32]) -> Identity {
    Identity::from_seed(&Seed::from_bytes(seed))
}

/// What two said without a secret, and what they came to.
struct Said {
    messages: ([u8; 48], [u8; 48], [u8; 64]),
    keys: [SessionKeys; 2],
}

fn said(suite: Suite) -> Of<Said> {
    let [mut bob, mut alice] = [Side::plain(Role::Initiator, suite)?, Side::plain(Role::Responder, suite)?];
    let (initiator, first) = Initiator::start(&bob.introduction, &bob.me, &mut bob.drawn);
    let (responder, second) = Responder::respond(&alice.introduction, &alice.me, &first, &mut alice.drawn)?;
    let (bobs, third) = initiator.read_response(&second)?;
    Ok(Said { messages: (first, second, third), keys: [bobs, responder.finish(&third)?] })
}

/// The initiator's keys, from its secrets.
fn begun(
    bench: &mut Bench<'_>,
    Said { messages: (first, second, third), .. }: &Said,
    suite: Suite,
) -> Of<SessionKeys> {
    let mut bob = Side::secret(bench, Role::Initiator, suite)?;
    let (initiator, message) = Initiator::start(&bob.introduction, &bob.me, &mut bob.drawn);
    bench.gives(&message, first)?;
    let (keys, message) = initiator.read_response(second)?;
    bench.gives(&message, third)?;
    Ok(keys)
}

fn initiator(bench: &mut Bench<'_>) -> Done {
    let suite = Suite::ChaCha20Poly1305;
    let said = said(suite)?;
    let keys = begun(bench, &said, suite)?;
    bench.gives(keys.resumption().expose(), said.keys[0].resumption().expose())
}

/// The responder's keys, from its secrets.
fn answered(
    bench: &mut Bench<'_>,
    Said { messages: (first, second, third), .. }: &Said,
    suite: Suite,
) -> Of<SessionKeys> {
    let mut alice = Side::secret(bench, Role::Responder, suite)?;
    let (responder, message) = Responder::respond(&alice.introduction, &alice.me, first, &mut alice.drawn)?;
    bench.gives(&message, second)?;
    Ok(responder.finish(third)?)
}

fn responder(bench: &mut Bench<'_>) -> Done {
    let suite = Suite::ChaCha20Poly1305;
    let said = said(suite)?;
    let keys = answered(bench, &said, suite)?;
    bench.gives(keys.resumption().expose(), said.keys[1].resumption().expose())
}

fn packets(bench: &mut Bench<'_>, suite: Suite) -> Done {
    let said = said(suite)?;
    let keys = begun(bench, &said, suite)?.into_epoch();
    let [bobs, alices] = said.keys.map(SessionKeys::into_epoch);
    let sealed = |key: &p2pchat_crypto::data::SealKey, text: [u8; 7]| {
        let mut packet = text.to_vec();
        let tag = key.seal_in_place(5, b"header", &mut packet);
        packet.extend(tag);
        packet
    };
    let text = bench.secret(*b"content");
    bench.gives(&sealed(&keys.seal, text), &sealed(&bobs.seal, *b"content"))?;
    let mut packet = sealed(&alices.seal, *b"content");
    let opened = keys.open.open_in_place(5, b"header", &mut packet).ok_or("it does not open")?;
    bench.gives(opened, b"content")
}

fn rekeyed(Said { keys: [bobs, alices], .. }: &Said) -> Of<([u8; 48], [u8; 48], SessionKeys)> {
    let [bob, alice] = SEEDS.map(|seed| identity([seed; 32]));
    let [mut bobs_drawn, mut alices_drawn] = DRAWN[1].map(Recorded::new);
    let (initiator, first) = rekey::Initiator::start(bobs, &bob, &mut bobs_drawn)?;
    let (_, second) = rekey::respond(alices, &alice, 1, &first, &mut alices_drawn)?;
    Ok((first, second, initiator.finish(bobs, 1, &second)?))
}

fn rekey_initiator(bench: &mut Bench<'_>) -> Done {
    let suite = Suite::ChaCha20Poly1305;
    let said = said(suite)?;
    let (first, second, right) = rekeyed(&said)?;
    let current = begun(bench, &said, suite)?;
    let me = identity(bench.secret([SEEDS[0]; 32]));
    let (initiator, message) = rekey::Initiator::start(&current, &me, &mut bench.random(DRAWN[1][0]))?;
    bench.gives(&message, &first)?;
    let next = initiator.finish(&current, 1, &second)?;
    bench.gives(next.resumption().expose(), right.resumption().expose())
}

fn rekey_responder(bench: &mut Bench<'_>) -> Done {
    let suite = Suite::ChaCha20Poly1305;
    let said = said(suite)?;
    let (first, second, right) = rekeyed(&said)?;
    let current = answered(bench, &said, suite)?;
    let me = identity(bench.secret([SEEDS[1]; 32]));
    let (next, message) = rekey::respond(&current, &me, 1, &first, &mut bench.random(DRAWN[1][1]))?;
    bench.gives(&message, &second)?;
    bench.gives(next.resumption().expose(), right.resumption().expose())
}

/// A record each way over a link.
fn linked(
    bench: &mut Bench<'_>,
    mine: (LinkSealer, LinkOpener),
    other: (LinkSealer, LinkOpener),
    same: LinkSealer,
) -> Done {
    let ((mut sealer, mut opener), (mut others, _), mut same) = (mine, other, same);
    let [mut sealed, mut right, mut to_me] = [const { Vec::new() }; 3];
    let text = bench.secret(*b"content");
    sealer.seal(&text, &mut sealed)?;
    same.seal(b"content", &mut right)?;
    // The length in front is public.
    bench.gives(&sealed[2..], &right[2..])?;
    others.seal(b"content", &mut to_me)?;
    let mut record = to_me.split_off(2);
    opener.open(&mut record)?;
    bench.gives(&record, b"content")
}

fn link_client(bench: &mut Bench<'_>) -> Done {
    let broker = BrokerSecret::from_bytes(SECRET);
    let (plain, first) = ClientHandshake::start(&mut Recorded::new(20));
    let (sealer, opener, _, second) = ServerHandshake::respond(&broker, &first, &mut Recorded::new(21))?;
    let (same, ..) = plain.finish(&second)?;
    let (client, message) = ClientHandshake::start(&mut bench.random(20));
    bench.gives(&message, &first)?;
    let (mine, to_me, to) = client.finish(&second)?;
    bench.gives(&to.key.0, &broker.public().0)?;
    linked(bench, (mine, to_me), (sealer, opener), same)
}

fn link_broker(bench: &mut Bench<'_>) -> Done {
    let (client, first) = ClientHandshake::start(&mut Recorded::new(20));
    let broker = BrokerSecret::from_bytes(SECRET);
    let (same, _, _, second) = ServerHandshake::respond(&broker, &first, &mut Recorded::new(21))?;
    let (sealer, opener, _) = client.finish(&second)?;
    let broker = BrokerSecret::from_bytes(bench.secret(SECRET));
    let (mine, to_me, _, message) = ServerHandshake::respond(&broker, &first, &mut bench.random(21))?;
    bench.gives(&message, &second)?;
    linked(bench, (mine, to_me), (sealer, opener), same)
}

fn request(bob: &Identity, alice: &Identity, drawn: &mut Recorded) -> Of<PendingRequest> {
    let terms = RequestTerms {
        request: REQUEST,
        to: Addressee::Peer(alice.peer_id()),
        broker_key: BROKER,
        made: NOW,
        purpose: Purpose::Chat,
        suites: SUITES,
    };
    Ok(PendingRequest::new(bob, terms, drawn)?)
}

fn verified(bob: &Identity, alice: &Identity, offer: &SignedOffer) -> Of<VerifiedRequest> {
    let expected = Expected {
        me: alice.peer_id(),
        my_name: None,
        from: bob.peer_id(),
        pin: None,
        request: REQUEST,
        broker_key: BROKER,
        now: NOW,
    };
    Ok(VerifiedRequest::verify(offer.clone(), expected)?)
}

/// The ephemeral key of the one who asks. Identities are public here, since offers name them.
fn offer_asker(bench: &mut Bench<'_>) -> Done {
    let [bob, alice] = SEEDS.map(|seed| identity([seed; 32]));
    let pending = request(&bob, &alice, &mut bench.random(20))?;
    bench.show(&pending.offer().body)?;
    bench.show(&pending.offer().signature)?;
    let terms = AcceptTerms { made: NOW, suites: SUITES };
    let (accept, mut alices) =
        verified(&bob, &alice, pending.offer())?.accept(&alice, terms, &mut Recorded::new(21))?;
    let mut bobs = pending.accepted(&bob, &accept, alice.peer_id(), BROKER, NOW)?;
    bench.gives(&bobs.introduction.my_ticket().0, &alices.introduction.peer_ticket().0)?;
    let sealed = bobs.endpoints.seal(&UdpEndpoints::default());
    bench.show(&sealed.as_slice()[12..])?;
    if alices.endpoints.open(&sealed)? == UdpEndpoints::default() {
        Ok(())
    } else {
        Err("other endpoints".into())
    }
}

/// That of the one who accepts.
fn offer_accepter(bench: &mut Bench<'_>) -> Done {
    let [bob, alice] = SEEDS.map(|seed| identity([seed; 32]));
    let pending = request(&bob, &alice, &mut Recorded::new(20))?;
    let terms = AcceptTerms { made: NOW, suites: SUITES };
    let (accept, mut alices) =
        verified(&bob, &alice, pending.offer())?.accept(&alice, terms, &mut bench.random(21))?;
    bench.show(&accept.body)?;
    bench.show(&accept.signature)?;
    let mut bobs = pending.accepted(&bob, &accept, alice.peer_id(), BROKER, NOW)?;
    bench.gives(&alices.introduction.my_ticket().0, &bobs.introduction.peer_ticket().0)?;
    let sealed = alices.endpoints.seal(&UdpEndpoints::default());
    bench.show(&sealed.as_slice()[12..])?;
    if bobs.endpoints.open(&sealed)? == UdpEndpoints::default() {
        Ok(())
    } else {
        Err("other endpoints".into())
    }
}
