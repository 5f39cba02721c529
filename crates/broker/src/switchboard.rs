//! The task that owns the registry: what connections say goes in, what it commands is done.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use p2pchat_proto::broker::{Call, FromBroker, Hello, Rotate, ToBroker};
use p2pchat_registry::{Command, ConnId, Registry};
use tokio::sync::mpsc;

use crate::clock::{self, Clock};
use crate::outbox::{Outbox, Standing};
use crate::writer::{Results, Writer};

/// What a connection has to report.
#[derive(Debug)]
pub(crate) enum Said {
    /// It came, and what is sent to it goes there.
    Connected { ip: IpAddr, outbox: Arc<Outbox> },
    /// Its hello, and the signature was right.
    Hello(Call, Hello),
    /// Its hello, and the signature was wrong.
    Forged,
    /// It moves its name to another identity, and the signatures were right.
    Rotate(Call, Rotate),
    /// It does, and they were wrong.
    ForgedRotation,
    /// Anything else that it may say.
    Message(Call, ToBroker),
    /// A kind of a later version.
    UnknownKind(Call, u8),
    /// Something that is no message.
    Malformed,
    /// It is gone.
    Disconnected,
}

/// What the switchboard is fed with. Bounded: connections wait for it, it waits for nobody.
pub(crate) type Inbox = mpsc::Sender<(ConnId, Said)>;

/// Messages of all connections together that may wait for the registry.
pub(crate) const INBOX_MAX: usize = 256;
/// Most of them that are taken at once, between two looks at the clock.
const TAKEN_AT_ONCE: usize = 64;

/// The thread that writes accounts ended by itself.
#[derive(Debug)]
pub(crate) struct WriterStopped;

#[derive(Debug)]
pub(crate) struct Switchboard {
    registry: Registry,
    outboxes: BTreeMap<ConnId, Arc<Outbox>>,
    writer: Writer,
    clock: Clock,
}

impl Switchboard {
    pub(crate) fn new(registry: Registry, writer: Writer, clock: Clock) -> Self {
        Self { registry, outboxes: BTreeMap::new(), writer, clock }
    }

    /// Works until `stop`, then tells every client to come back later.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<(ConnId, Said)>,
        mut results: mpsc::UnboundedReceiver<Results>,
        stop: tokio_util::sync::CancellationToken,
    ) -> Result<Writer, WriterStopped> {
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            let due = self.registry.poll_timeout().map(|moment| self.clock.instant(moment));
            tokio::select! {
                () = stop.cancelled() => break,
                stored = results.recv() => {
                    for (ticket, result) in stored.ok_or(WriterStopped)? {
                        self.registry.persisted(ticket, result);
                    }
                }
                _ = inbox.recv_many(&mut taken, TAKEN_AT_ONCE) => {
                    for (conn, said) in taken.drain(..) {
                        self.hear(conn, said);
                    }
                }
                () = sleep_until(due) => {}
            }
            // Under load the clock is looked at here, whatever woke the task.
            self.registry.handle_timeout(self.clock.now());
            self.obey();
        }
        // Whoever has just come is told, too.
        inbox.close();
        while let Ok((conn, said)) = inbox.try_recv() {
            self.hear(conn, said);
        }
        tracing::info!(online = self.registry.online(), "stopping");
        self.registry.drain();
        self.obey();
        Ok(self.writer)
    }

    fn hear(&mut self, conn: ConnId, said: Said) {
        let now = self.clock.now();
        match said {
            Said::Connected { ip, outbox } => {
                tracing::debug!(conn = conn.0, %ip, "connected");
                self.outboxes.insert(conn, outbox);
                self.registry.connected(conn, ip, now);
            }
            Said::Hello(call, hello) => {
                tracing::debug!(conn = conn.0, peer = %hello.peer, "login");
                self.registry.login(conn, call, &hello, clock::wall(), now);
            }
            Said::Forged => self.registry.hello_forged(conn),
            Said::Rotate(call, rotate) => {
                tracing::debug!(conn = conn.0, "rotation");
                self.registry.rotate(conn, call, rotate, now);
            }
            Said::ForgedRotation => self.registry.rotation_forged(conn),
            Said::Message(call, message) => self.registry.handle(conn, call, message, now),
            Said::UnknownKind(call, kind) => self.registry.unknown_kind(conn, call, kind, now),
            Said::Malformed => self.registry.malformed(conn),
            Said::Disconnected => {
                tracing::debug!(conn = conn.0, "disconnected");
                self.outboxes.remove(&conn);
                self.registry.disconnected(conn);
            }
        }
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(command) = self.registry.poll_command() {
            match command {
                Command::Send { conn, call, message } => self.send(conn, call, &message),
                Command::Close { conn, why } => {
                    tracing::debug!(conn = conn.0, ?why, "closing");
                    if let Some(outbox) = self.outboxes.get(&conn) {
                        outbox.close();
                    }
                }
                Command::Persist { ticket, account } => self.writer.write(ticket, account),
            }
        }
    }

    fn send(&mut self, conn: ConnId, call: Call, message: &FromBroker) {
        let Some(outbox) = self.outboxes.get(&conn) else { return };
        let record = match message.to_record(call) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(conn = conn.0, %error, "a message of the broker exceeds its cap");
                return;
            }
        };
        match outbox.push(record) {
            Standing::Open | Standing::Closing => {}
            Standing::Overrun => {
                tracing::info!(conn = conn.0, "does not read what is sent to it");
                self.outboxes.remove(&conn);
                self.registry.disconnected(conn);
            }
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
