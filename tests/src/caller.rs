//! A client of a broker that says what it is told, in whatever order, and nothing by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use p2pchat_crypto::link::{ClientHandshake, LinkIdentity, LinkOpener, LinkSealer, frame, hello};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_proto::PeerId;
use p2pchat_proto::broker::{Call, FromBroker, Hello, Outcome, Register, ToBroker};
use p2pchat_proto::limits::PROTOCOL_VERSION;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::process::{Failure, PROMPT};

/// A link whose handshake is done.
pub struct Caller {
    /// Who it will say that it is.
    pub me: Identity,
    /// What the handshake proved.
    pub link: LinkIdentity,
    socket: TcpStream,
    sealer: LinkSealer,
    opener: LinkOpener,
    call: Call,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("me", &self.me.peer_id()).finish_non_exhaustive()
    }
}

/// The identity whose seed is 32 times this byte.
pub fn identity(seed: u8) -> Identity {
    Identity::from_seed(&Seed::from_bytes([seed; 32]))
}

impl Caller {
    /// Dials and shakes hands.
    ///
    /// # Errors
    /// If there is no broker at the address.
    pub fn connect(to: SocketAddr, me: Identity) -> Result<Self, Failure> {
        let mut rng = ChaCha20Rng::from_seed(*blake3::hash(&me.peer_id().0).as_bytes());
        let mut socket = dial(to)?;
        let (handshake, first) = ClientHandshake::start(&mut rng);
        socket.write_all(&frame(&first)).map_err(Failure::system("shake hands"))?;
        let second = record(&mut socket).ok_or_else(no_answer)?;
        let (sealer, opener, link) = handshake.finish(&second).map_err(|_| no_answer())?;
        Ok(Self { me, link, socket, sealer, opener, call: 0 })
    }

    /// Dials, shakes hands and logs in.
    ///
    /// # Errors
    /// If the broker does not welcome it.
    pub fn login(to: SocketAddr, me: Identity) -> Result<Self, Failure> {
        let mut caller = Self::connect(to, me)?;
        let (peer, signature) = (caller.me.peer_id(), caller.signature());
        caller.hello(peer, signature);
        match caller.hear() {
            Some((_, FromBroker::Welcome(_))) => Ok(caller),
            _ => Err(no_answer()),
        }
    }

    /// The right signature of a login on this link.
    pub fn signature(&self) -> [u8; 64] {
        hello(&self.me, &self.link.hash, self.link.key)
    }

    /// Says hello as `peer`.
    pub fn hello(&mut self, peer: PeerId, signature: [u8; 64]) {
        self.say(Hello { versions: vec![PROTOCOL_VERSION], features: 0, peer, signature });
    }

    /// Says `message`; its number. A broker that hung up does not hear it.
    pub fn say(&mut self, message: impl Into<ToBroker>) -> Call {
        self.call += 1;
        if let Ok(record) = message.into().to_record(self.call) {
            self.say_bytes(&record);
        }
        self.call
    }

    /// Says these bytes in a record.
    pub fn say_bytes(&mut self, plaintext: &[u8]) {
        let mut sealed = Vec::new();
        if self.sealer.seal(plaintext, &mut sealed).is_ok() {
            self.raw(&sealed);
        }
    }

    /// Puts these bytes on the wire as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _hung_up = self.socket.write_all(bytes);
    }

    /// Says `message` and waits for its outcome; what comes before is lost.
    pub fn call(&mut self, message: impl Into<ToBroker>) -> Option<Outcome> {
        let call = self.say(message);
        loop {
            match self.hear()? {
                (to, FromBroker::Reply(reply)) if to == call => return Some(reply.outcome),
                _ => {}
            }
        }
    }

    /// Registers a name and waits for the outcome.
    pub fn register(&mut self, name: &str) -> Option<Outcome> {
        let name = name.parse().ok()?;
        self.call(Register { name, token: None })
    }

    /// What the broker says next; none where it hung up, or says nothing for long.
    pub fn hear(&mut self) -> Option<(Call, FromBroker)> {
        let mut bytes = record(&mut self.socket)?;
        self.opener.open(&mut bytes).ok()?;
        FromBroker::from_record(&bytes).ok()
    }

    /// How long [`Caller::hear`] waits.
    pub fn wait_for(&self, time: Duration) {
        let _as_before = self.socket.set_read_timeout(Some(time));
    }

    /// Hangs up.
    pub fn hang_up(self) {
        let _gone = self.socket.shutdown(Shutdown::Both);
    }
}

/// A connection that said nothing.
///
/// # Errors
/// If nobody listens.
pub fn dial(to: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect(to).map_err(Failure::system("dial the broker"))?;
    let set = || {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PROMPT))?;
        socket.set_read_timeout(Some(PROMPT))
    };
    set().map_err(Failure::system("set up a connection"))?;
    Ok(socket)
}

/// A whole record of a link; none where the other side hung up or says nothing for long.
pub fn record(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    socket.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    socket.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn no_answer() -> Failure {
    let error = std::io::ErrorKind::ConnectionAborted.into();
    Failure::System { what: "log in at the broker".to_owned(), error }
}
