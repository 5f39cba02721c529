//! One connection: handshake, records in, records out.
//!
//! An idle one holds its socket, two keys and a handful of words. It waits until there is
//! something to read, reads into a buffer that all connections of a thread share, and keeps only
//! a record that is not whole; what it sends is sealed when the socket takes it.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use p2pchat_crypto::link::{LinkOpener, LinkSealer, MESSAGE_1_LEN, ServerHandshake, frame, verify_hello};
use p2pchat_crypto::succession;
use p2pchat_proto::PeerId;
use p2pchat_proto::broker::{LinkError, Rotate, ToBroker};
use p2pchat_proto::limits::LINK_RECORD_MAX;
use p2pchat_registry::ConnId;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::outbox::{Outbox, Standing};
use crate::record::Reassembly;
use crate::server::Shared;
use crate::switchboard::{Inbox, Said};

/// Bytes that are read at once.
const SCRATCH: usize = 16 * 1024;
/// Bytes that are sealed before the socket has taken those before.
const SEALED_AT_ONCE: usize = 16 * 1024;
/// Longest record before the hello was taken: a hello with its header and tag, rounded up.
const HELLO_RECORD_MAX: usize = 1100;
/// Time for a client to take the last that is sent to it.
const FAREWELL: Duration = Duration::from_secs(3);
/// Time for it to hang up then.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// Serves `socket` until it ends, and reports both ends to the switchboard.
pub(crate) async fn serve(socket: TcpStream, ip: IpAddr, conn: ConnId, shared: Arc<Shared>, inbox: Inbox) {
    let outbox = Arc::new(Outbox::default());
    if inbox.send((conn, Said::Connected { ip, outbox: outbox.clone() })).await.is_err() {
        return;
    }
    let presence = Presence { conn, inbox };
    let mut connection = Connection {
        socket,
        outbox,
        presence,
        shared,
        link: None,
        greeted: false,
        peer: None,
        reassembly: Reassembly::default(),
        sealed: Vec::new(),
        written: 0,
    };
    if let Err(end) = connection.run().await {
        tracing::debug!(conn = conn.0, ?end, "link ended");
    }
}

/// Reports the connection's end when dropped, so that even a panic leaves no ghost behind.
struct Presence {
    conn: ConnId,
    inbox: Inbox,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let report = (self.conn, Said::Disconnected);
        let Err(tokio::sync::mpsc::error::TrySendError::Full(report)) = self.inbox.try_send(report) else {
            return;
        };
        let inbox = self.inbox.clone();
        tokio::spawn(async move { inbox.send(report).await });
    }
}

/// Why a connection ended other than by the broker's will.
#[derive(Debug)]
enum End {
    /// The client hung up, or the way to it broke.
    Socket(#[expect(dead_code, reason = "for the log")] io::ErrorKind),
    /// What came is no handshake, or does not open.
    Link(#[expect(dead_code, reason = "for the log")] p2pchat_crypto::link::LinkError),
    /// A length that no record may have.
    Length,
    /// The client does not read what is sent to it.
    Overrun,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Socket(error.kind())
    }
}

impl From<p2pchat_crypto::link::LinkError> for End {
    fn from(error: p2pchat_crypto::link::LinkError) -> Self {
        Self::Link(error)
    }
}

struct Connection {
    socket: TcpStream,
    outbox: Arc<Outbox>,
    presence: Presence,
    shared: Arc<Shared>,
    link: Option<Box<Link>>,
    /// Whether a hello came.
    greeted: bool,
    /// Whose, once its signature was right.
    peer: Option<PeerId>,
    reassembly: Reassembly,
    /// What is on its way into the socket, and how much of it is in.
    sealed: Vec<u8>,
    written: usize,
}

struct Link {
    sealer: LinkSealer,
    opener: LinkOpener,
    hash: [u8; 32],
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            self.seal()?;
            let standing = self.outbox.standing();
            match standing {
                Standing::Open => {}
                Standing::Closing => return self.farewell().await,
                Standing::Overrun => return Err(End::Overrun),
            }
            let interest = if self.sealed.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE.add(Interest::WRITABLE)
            };
            let ready = tokio::select! {
                ready = self.socket.ready(interest) => ready?,
                () = self.outbox.changed() => continue,
            };
            if ready.is_writable() {
                write(&self.socket, &mut self.sealed, &mut self.written)?;
            }
            if ready.is_readable() || ready.is_read_closed() {
                for said in self.read()? {
                    let report = (self.presence.conn, said);
                    if self.presence.inbox.send(report).await.is_err() {
                        // The broker stops: what it had to say is in the outbox.
                        return self.farewell().await;
                    }
                }
            }
        }
    }

    /// Seals and writes what waits, for as long as the socket takes it at once: mostly it takes
    /// all, and waiting for it would cost a wake-up.
    fn seal(&mut self) -> Result<(), End> {
        let Some(link) = &mut self.link else { return Ok(()) };
        while self.sealed.is_empty() {
            while self.sealed.len() < SEALED_AT_ONCE
                && let Some(record) = self.outbox.pop()
            {
                link.sealer.seal(&record, &mut self.sealed)?;
            }
            if self.sealed.is_empty() {
                break;
            }
            write(&self.socket, &mut self.sealed, &mut self.written)?;
        }
        Ok(())
    }

    /// What the client said, as far as one read of the socket brings it.
    fn read(&mut self) -> Result<Vec<Said>, End> {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let read = match self.socket.try_read(scratch) {
                Ok(0) => return Err(End::Socket(io::ErrorKind::UnexpectedEof)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut input = scratch.get(..read).unwrap_or_default();
            let mut said = Vec::new();
            while let Some(record) =
                self.reassembly.next(&mut input, self.record_max()).map_err(|_| End::Length)?
            {
                said.extend(self.take(record)?);
            }
            Ok(said)
        })
    }

    /// A stranger gets no room for more than it needs to introduce itself.
    fn record_max(&self) -> usize {
        match (&self.link, self.greeted) {
            (None, _) => MESSAGE_1_LEN,
            (Some(_), false) => HELLO_RECORD_MAX,
            (Some(_), true) => LINK_RECORD_MAX,
        }
    }

    fn take(&mut self, mut record: Vec<u8>) -> Result<Option<Said>, End> {
        let Some(link) = &mut self.link else {
            let (sealer, opener, hash, response) =
                ServerHandshake::respond(&self.shared.secret, &record, &mut rand::rng())?;
            self.sealed = frame(&response);
            self.link = Some(Box::new(Link { sealer, opener, hash }));
            write(&self.socket, &mut self.sealed, &mut self.written)?;
            return Ok(None);
        };
        link.opener.open(&mut record)?;
        Ok(Some(match ToBroker::from_record(&record) {
            Ok((call, ToBroker::Hello(hello))) if !self.greeted => {
                self.greeted = true;
                if verify_hello(hello.peer, &link.hash, self.shared.key, &hello.signature) {
                    self.peer = Some(hello.peer);
                    Said::Hello(call, hello)
                } else {
                    Said::Forged
                }
            }
            Ok((call, ToBroker::Rotate(rotate))) if self.greeted => {
                let signed = self.peer.is_some_and(|old| {
                    is_signed(&rotate, old, |signatures| {
                        let keys = [old, rotate.new];
                        succession::verify_call(keys, &link.hash, self.shared.key, &rotate.name, signatures)
                    })
                });
                if signed { Said::Rotate(call, rotate) } else { Said::ForgedRotation }
            }
            Ok((call, message)) => Said::Message(call, message),
            Err(LinkError::UnknownKind { kind, call }) => Said::UnknownKind(call, kind),
            Err(LinkError::Short | LinkError::Body(_)) => Said::Malformed,
        }))
    }

    /// Sends what waits, then hangs up.
    async fn farewell(&mut self) -> Result<(), End> {
        let Ok(sent) = tokio::time::timeout(FAREWELL, self.send_rest()).await else { return Ok(()) };
        sent?;
        if self.link.is_none() {
            return Ok(());
        }
        tokio::time::timeout(LINGER, self.drop_input()).await.unwrap_or(Ok(()))
    }

    async fn send_rest(&mut self) -> Result<(), End> {
        // Whoever is refused before the handshake is told so after it.
        while self.link.is_none() && !self.outbox.is_empty() {
            self.socket.readable().await?;
            self.read()?;
        }
        loop {
            self.seal()?;
            if self.sealed.is_empty() {
                break;
            }
            self.socket.writable().await?;
            write(&self.socket, &mut self.sealed, &mut self.written)?;
        }
        Ok(self.socket.shutdown().await?)
    }

    /// Reads until the client hangs up. Unread input would make the system reset the connection,
    /// and the client lose the last that it was told.
    async fn drop_input(&mut self) -> Result<(), End> {
        loop {
            self.socket.readable().await?;
            let read = SCRATCH_BUFFER.with_borrow_mut(|scratch| self.socket.try_read(scratch));
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether both identities have signed the call, and the statement in it, which is about these two.
fn is_signed(rotate: &Rotate, old: PeerId, call: impl FnOnce([&[u8; 64]; 2]) -> bool) -> bool {
    call([&rotate.by_old, &rotate.by_new])
        && succession::read(&rotate.succession).is_ok_and(|said| (said.old, said.new) == (old, rotate.new))
}

/// Writes what `socket` takes of `sealed` from `written` on; frees it when all is in.
fn write(socket: &TcpStream, sealed: &mut Vec<u8>, written: &mut usize) -> Result<(), End> {
    while let Some(rest) = sealed.get(*written..).filter(|rest| !rest.is_empty()) {
        match socket.try_write(rest) {
            Ok(0) => return Err(End::Socket(io::ErrorKind::WriteZero)),
            Ok(now) => *written += now,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    (*sealed, *written) = (Vec::new(), 0);
    Ok(())
}
