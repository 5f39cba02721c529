//! Somebody who meets a real program, with every secret of the meeting at hand.

use std::net::{SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use p2pchat_crypto::{Identity, Seed};
use p2pchat_proto::broker::{AnswerBody, Answered, FromBroker, Outcome, Request};
use p2pchat_proto::codec::decode;
use p2pchat_proto::datagram::{DataHeader, Datagram, ReceiverId};
use p2pchat_proto::frame::{CloseCode, Frame};
use p2pchat_proto::offer::OfferBody;
use p2pchat_proto::{PeerId, RequestId, WallTime};
use rand::RngExt;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::caller::Caller;
use crate::process::PROMPT;
use crate::relay::recording::Secret;
use crate::rows::handshake::second::{self, Keys, Person, Shared, XK, array};
use crate::rows::{Lab, NotRun};
use crate::world::World;

/// The initiator's direction in the key schedule (protocol section 13).
const SENT: &str = "i2r";
/// The responder's.
const HEARD: &str = "r2i";

/// One side of a session whose other side is the program.
pub(crate) struct Guest {
    /// Logged in as long as the session lasts.
    caller: Caller,
    socket: UdpSocket,
    me: Person,
    /// Whom they met, and where.
    alice: PeerId,
    at: SocketAddr,
    shared: Shared,
    /// Of the handshake: `ee` and `se`.
    exchanges: [[u8; 32]; 2],
    split: [[u8; 32]; 2],
    session: [u8; 32],
    receiver: ReceiverId,
}

impl Guest {
    /// Asks `alice`, whose program takes datagrams at `at`, and shakes hands with it.
    pub(crate) fn meet(world: &World, alice: PeerId, at: SocketAddr, lab: &mut Lab) -> Result<Self, NotRun> {
        let seed: [u8; 32] = lab.rng.random();
        let me = Person::of(seed);
        let mut caller = Caller::login(world.broker.address(), Identity::from_seed(&Seed::from_bytes(seed)))?;
        let (shared, her_static) = introduce(&mut caller, &me, alice, lab)?;
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.connect(at)?;
        socket.set_read_timeout(Some(PROMPT))?;
        let ephemeral = StaticSecret::from(lab.rng.random::<[u8; 32]>());
        let keys =
            Keys { ephemeral: Some(ephemeral.to_bytes()), ..Keys::initiator(&me, her_static, &shared) };
        let mut noise = keys.build(XK, true)?;
        let mine = ReceiverId(lab.rng.random());
        let ticket = shared.ticket(me.peer_id());
        let first = Datagram::Init { sender: mine, ticket, noise: array(&second::write(&mut noise)?)? };
        socket.send(&sealed(&first, &me, &shared))?;
        let (receiver, message) = response(&socket)?;
        noise.read_message(&message, &mut [])?;
        let theirs = PublicKey::from(array::<32>(&message[..32])?);
        let exchanges = [&ephemeral, &me.noise].map(|key| key.diffie_hellman(&theirs).to_bytes());
        let last = Datagram::Fin { receiver, noise: array(&second::write(&mut noise)?)? };
        socket.send(&sealed(&last, &me, &shared))?;
        let (one, two) = noise.dangerously_get_raw_split();
        let session = second::session_secret(&mut noise);
        let guest =
            Self { caller, socket, me, alice, at, shared, exchanges, split: [one, two], session, receiver };
        // A responder is sure of the keys when it has opened something.
        guest.say(0, &Frame::Ping)?;
        Ok(guest)
    }

    /// What only the two of them know, and what packets are sealed with.
    pub(crate) fn secrets(&self) -> (Vec<Secret>, Vec<Secret>) {
        let derived = |what: &str, context, sender| forms(what, &self.shared.key(context, sender));
        let (mine, hers) = (Some(self.me.peer_id()), Some(self.alice));
        let all = vec![
            derived("the psk", "p2pchat 1 psk", None),
            forms("the introduction's secret", &self.shared.secret),
            forms("the introduction's X25519 exchange", &self.shared.dh),
            derived("the guest's MAC key", "p2pchat 1 mac", mine),
            derived("the program's MAC key", "p2pchat 1 mac", hers),
            derived("the guest's key for endpoints", "p2pchat 1 endpoints", mine),
            derived("the program's key for endpoints", "p2pchat 1 endpoints", hers),
            forms("the handshake's exchange ee", &self.exchanges[0]),
            forms("the handshake's exchange se", &self.exchanges[1]),
            forms("the handshake's first key", &self.split[0]),
            forms("the handshake's second key", &self.split[1]),
            forms("the session's secret", &self.session),
        ];
        let sealing = [("the key of what it heard", SENT), ("the key of what it said", HEARD)];
        let sealing = sealing.map(|(what, way)| forms(what, &second::data_key(&self.session, way, 0).0));
        (all, sealing.into())
    }

    /// Ends the session in order.
    pub(crate) fn close(&self) -> Result<(), NotRun> {
        self.say(2, &Frame::Close { code: CloseCode::Done })
    }

    fn say(&self, packet_number: u64, frame: &Frame<'_>) -> Result<(), NotRun> {
        let header = DataHeader { epoch: 0, receiver: self.receiver, packet_number }.encode();
        let mut frames = Vec::new();
        frame.encode(&mut frames);
        let packet = second::data_packet(&self.session, SENT, packet_number, &header, &frames)?;
        self.socket.send(&packet)?;
        Ok(())
    }

    /// Who they are to the program.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.me.peer_id()
    }

    /// Closes the port of the session; which one it was.
    pub(crate) fn close_port(&mut self) -> Result<SocketAddr, NotRun> {
        let port = self.socket.local_addr()?;
        self.socket = UdpSocket::bind(("127.0.0.1", 0))?;
        Ok(port)
    }

    /// Opens it again, and is heard.
    pub(crate) fn reopen(&mut self, port: SocketAddr) -> Result<(), NotRun> {
        self.socket = UdpSocket::bind(port)?;
        self.socket.connect(self.at)?;
        self.say(1, &Frame::Ping)
    }

    /// Leaves the broker.
    pub(crate) fn leave(self) {
        self.caller.hang_up();
    }
}

/// A request of `me` that `alice` accepts.
fn introduce(
    caller: &mut Caller,
    me: &Person,
    alice: PeerId,
    lab: &mut Lab,
) -> Result<(Shared, [u8; 32]), NotRun> {
    let (offer, ephemerals) = second::request(me, alice, &mut lab.rng)?;
    let (key, made) = (caller.link.key, now()?);
    let request = RequestId(lab.rng.random());
    let offer = me.resign(&offer, |body| {
        (body.broker_key, body.made, body.request) = (key, made, request);
    })?;
    let asked = Request { request, to: Some(alice), name: None, offer: offer.clone() };
    if caller.call(asked) != Some(Outcome::Done) {
        return Err(NotRun("the broker did not take the guest's request".to_owned()));
    }
    loop {
        match caller.hear() {
            Some((
                _,
                FromBroker::Answered(Answered { answer: AnswerBody::Accept { offer: accept, .. }, .. }),
            )) => {
                let hers = decode::<OfferBody>(&accept.body)?.noise_static;
                return Ok((second::accepted(&ephemerals, &offer, &accept)?, hers));
            }
            Some(_) => {}
            None => return Err(NotRun("the guest's request was not answered".to_owned())),
        }
    }
}

fn now() -> Result<WallTime, NotRun> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(WallTime(u64::try_from(since.as_millis())?))
}

fn sealed(datagram: &Datagram, me: &Person, shared: &Shared) -> Vec<u8> {
    let mut bytes = Vec::new();
    datagram.encode(&mut bytes);
    let mac = shared.mac(me.peer_id(), &bytes);
    bytes.extend(mac);
    bytes
}

/// The program's answer to INIT; what comes before it is of no use.
fn response(socket: &UdpSocket) -> Result<(ReceiverId, [u8; 48]), NotRun> {
    let mut buffer = [0; 1500];
    loop {
        let length = socket.recv(&mut buffer)?;
        if let Some(Datagram::Resp { sender, noise, .. }) = Datagram::decode(&buffer[..length]) {
            return Ok((sender, noise));
        }
    }
}

/// A secret as bytes, and as a careless line would print it.
pub(crate) fn forms(what: &str, bytes: &[u8]) -> Secret {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    let mut forms =
        vec![bytes.to_vec(), hex.to_ascii_uppercase().into_bytes(), hex.into_bytes(), list.into_bytes()];
    if let Ok(bytes) = bytes.try_into() {
        forms.push(PeerId(bytes).to_string().into_bytes());
    }
    Secret { what: what.to_owned(), forms }
}
