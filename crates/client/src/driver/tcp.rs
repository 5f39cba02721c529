//! The TCP connection to the broker: a task of its own that only moves bytes.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Records that may wait to be written before the connection counts as stuck.
const WRITE_QUEUE: usize = 256;
/// Reports that may wait for the driver.
const REPORT_QUEUE: usize = 64;
/// Bytes read at once: a whole record of the link.
const READ_BUFFER: usize = 64 * 1024;

/// What happened on the connection.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is open; the broker's address as this machine sees it.
    Opened(SocketAddr),
    /// Bytes came.
    Bytes(Vec<u8>),
    /// It ended, or could not be made.
    Closed(String),
}

/// At most one connection, and the reports of it alone.
#[derive(Default)]
pub(crate) struct BrokerConnection {
    current: Option<Current>,
    /// The one before, while it writes what is left.
    ending: Option<JoinHandle<()>>,
}

struct Current {
    opened: bool,
    task: JoinHandle<()>,
    writes: mpsc::Sender<Vec<u8>>,
    reports: mpsc::Receiver<Report>,
}

impl BrokerConnection {
    /// Begins a new connection, giving up any other.
    pub(crate) fn dial(&mut self, host_port: String) {
        self.close();
        let (writes, to_write) = mpsc::channel(WRITE_QUEUE);
        let (report, reports) = mpsc::channel(REPORT_QUEUE);
        let task = tokio::spawn(run(host_port, to_write, report));
        self.current = Some(Current { opened: false, task, writes, reports });
    }

    /// Hands bytes to the connection.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        // A full queue is a broker that does not read; its silence ends the link in time.
        if let Some(current) = &self.current {
            let _full_or_gone = current.writes.try_send(bytes);
        }
    }

    /// Closes the connection once what waits is written.
    pub(crate) fn close(&mut self) {
        let Some(Current { opened, task, .. }) = self.current.take() else { return };
        if opened {
            // Without a sender the task writes what is left and ends.
            self.ending = Some(task);
        } else {
            // It has nothing to write, and might dial for minutes.
            task.abort();
        }
    }

    /// Waits until what was sent before [`close`](Self::close) has left, at most `patience`.
    pub(crate) async fn finish(&mut self, patience: Duration) {
        if let Some(ending) = self.ending.take() {
            // Late or failed, there is nothing left to be done about it.
            let _ended = tokio::time::timeout(patience, ending).await;
        }
    }

    /// The next report; none ever comes where there is no connection.
    pub(crate) fn poll_report(&mut self, context: &mut Context<'_>) -> Poll<Report> {
        let Some(current) = &mut self.current else { return Poll::Pending };
        let report = core::task::ready!(current.reports.poll_recv(context)).unwrap_or_else(|| {
            self.current = None;
            Report::Closed("the connection ended".to_owned())
        });
        if let (Report::Opened(_), Some(current)) = (&report, &mut self.current) {
            current.opened = true;
        }
        Poll::Ready(report)
    }
}

async fn run(host_port: String, mut writes: mpsc::Receiver<Vec<u8>>, reports: mpsc::Sender<Report>) {
    let closed = match exchange(&host_port, &mut writes, &reports).await {
        Ok(()) => "the broker closed the connection".to_owned(),
        Err(error) => error.to_string(),
    };
    // Nobody listens any more where the connection was given up.
    let _given_up = reports.send(Report::Closed(closed)).await;
}

async fn exchange(
    host_port: &str,
    writes: &mut mpsc::Receiver<Vec<u8>>,
    reports: &mpsc::Sender<Report>,
) -> std::io::Result<()> {
    let stream = TcpStream::connect(host_port).await?;
    stream.set_nodelay(true)?;
    let address = stream.peer_addr()?;
    if reports.send(Report::Opened(address)).await.is_err() {
        return Ok(());
    }
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        tokio::select! {
            bytes = writes.recv() => match bytes {
                Some(bytes) => writer.write_all(&bytes).await?,
                None => return writer.shutdown().await,
            },
            count = reader.read(&mut buffer) => {
                let Some(bytes) = buffer.get(..count?).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
                if reports.send(Report::Bytes(bytes.to_vec())).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
