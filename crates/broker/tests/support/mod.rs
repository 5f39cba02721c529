//! A broker in this process and a small client of it, for tests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use p2pchat_broker::server::{self, Config, Limits, ServeError};
use p2pchat_crypto::link::{ClientHandshake, LinkIdentity, LinkOpener, LinkSealer, frame, hello};
use p2pchat_crypto::{Identity, Seed};
use p2pchat_proto::broker::*;
use p2pchat_proto::limits::PROTOCOL_VERSION;
use p2pchat_proto::offer::SignedOffer;
use p2pchat_proto::{BrokerKey, Name, PeerId, RequestId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest that a test waits for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a free port of loopback.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) addr: SocketAddr,
    pub(crate) key: BrokerKey,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Broker {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(dir, Limits::default()).await
    }

    pub(crate) async fn start_with(dir: &Path, limits: Limits) -> Self {
        let config = Config::open(dir, None, limits).unwrap();
        let key = config.key();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server::run(listener, config, stop.clone().cancelled_owned()));
        Self { addr, key, stop, task }
    }

    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has stopped well.
    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// A logged-in client with the identity of `seed`.
    pub(crate) async fn client(&self, seed: u8) -> Client {
        Client::login(self.addr, identity(seed)).await
    }
}

/// The identity of 32 equal bytes.
pub(crate) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&Seed::from_bytes([seed; 32]))
}

/// A client that does what it is told and nothing by itself.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: PeerId,
    socket: TcpStream,
    sealer: LinkSealer,
    opener: LinkOpener,
    pub(crate) link: LinkIdentity,
    call: Call,
    waiting: VecDeque<(Call, FromBroker)>,
}

#[allow(dead_code, reason = "each test crate uses a part of it")]
impl Client {
    /// The handshake is done, nothing else.
    pub(crate) async fn connect(addr: SocketAddr, peer: PeerId) -> Self {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let (handshake, first) = ClientHandshake::start(&mut rand::rng());
        socket.write_all(&frame(&first)).await.unwrap();
        let second = read_record(&mut socket).await.unwrap();
        let (sealer, opener, link) = handshake.finish(&second).unwrap();
        Self { peer, socket, sealer, opener, link, call: 0, waiting: VecDeque::new() }
    }

    pub(crate) async fn login(addr: SocketAddr, me: Identity) -> Self {
        let mut client = Self::connect(addr, me.peer_id()).await;
        let signature = hello(&me, &client.link.hash, client.link.key);
        let call = client.hello(me.peer_id(), signature).await;
        let (answered, FromBroker::Welcome(welcome)) = client.next().await else { panic!("no welcome") };
        assert_eq!((answered, welcome.version), (call, PROTOCOL_VERSION));
        client
    }

    pub(crate) async fn hello(&mut self, peer: PeerId, signature: [u8; 64]) -> Call {
        self.say(Hello { versions: vec![PROTOCOL_VERSION], features: 0, peer, signature }).await
    }

    /// Says `message` and gives its number.
    pub(crate) async fn say(&mut self, message: impl Into<ToBroker>) -> Call {
        self.call += 1;
        let record = message.into().to_record(self.call).unwrap();
        self.say_bytes(&record).await;
        self.call
    }

    /// Says these bytes in a record.
    pub(crate) async fn say_bytes(&mut self, plaintext: &[u8]) {
        let mut sealed = Vec::new();
        self.sealer.seal(plaintext, &mut sealed).unwrap();
        self.raw(&sealed).await;
    }

    /// Puts these bytes on the wire as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Says `message` and waits for its outcome; what comes before is heard later.
    pub(crate) async fn call(&mut self, message: impl Into<ToBroker>) -> Outcome {
        let call = self.say(message).await;
        let mut before = VecDeque::new();
        loop {
            match self.next().await {
                (to, FromBroker::Reply(reply)) if to == call => {
                    before.append(&mut self.waiting);
                    self.waiting = before;
                    return reply.outcome;
                }
                other => before.push_back(other),
            }
        }
    }

    /// The next that the broker says by itself.
    pub(crate) async fn heard(&mut self) -> FromBroker {
        let (call, message) = self.next().await;
        assert_eq!(call, 0, "{message:?}");
        message
    }

    pub(crate) async fn next(&mut self) -> (Call, FromBroker) {
        self.try_next().await.expect("the broker hung up")
    }

    /// The next message, or `None` where the broker hung up.
    pub(crate) async fn try_next(&mut self) -> Option<(Call, FromBroker)> {
        if let Some(message) = self.waiting.pop_front() {
            return Some(message);
        }
        let mut record = read_record(&mut self.socket).await?;
        self.opener.open(&mut record).unwrap();
        Some(FromBroker::from_record(&record).unwrap())
    }

    /// Waits until the broker hung up and checks that it said nothing before.
    pub(crate) async fn hung_up(&mut self) {
        assert_eq!(self.try_next().await, None);
    }

    pub(crate) async fn register(&mut self, text: &str) {
        assert_eq!(self.call(register(text)).await, Outcome::Done);
    }
}

/// A whole record, or `None` where the other side hung up.
pub(crate) async fn read_record(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let read = async {
        let length = socket.read_u16().await.ok()?;
        let mut record = vec![0; usize::from(length)];
        socket.read_exact(&mut record).await.ok()?;
        Some(record)
    };
    tokio::time::timeout(PATIENCE, read).await.expect("nothing came")
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn register(text: &str) -> Register {
    Register { name: name(text), token: None }
}

pub(crate) fn request(n: u8, to: &str) -> Request {
    Request { request: RequestId([n; 16]), to: None, name: Some(name(to)), offer: offer(n) }
}

pub(crate) fn offer(n: u8) -> SignedOffer {
    SignedOffer { body: vec![n; 1500], signature: [n; 64] }
}
