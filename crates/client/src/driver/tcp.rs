//! The TCP connection to the broker: a task of its own that only moves bytes.

use std::net::{IpAddr, SocketAddr};
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
    /// It is open.
    Opened {
        /// The broker's address as this machine sees it.
        to: SocketAddr,
        /// The address of this machine that it runs from.
        from: IpAddr,
    },
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
    /// Where it runs from, once it is open.
    from: Option<IpAddr>,
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
        self.current = Some(Current { from: None, task, writes, reports });
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
        let Some(Current { from, task, .. }) = self.current.take() else { return };
        if from.is_some() {
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
        if let (Report::Opened { from, .. }, Some(current)) = (&report, &mut self.current) {
            current.from = Some(*from);
        }
        Poll::Ready(report)
    }

    /// Gives up a connection from an address that is none of `here` any more; whether it was one. Nothing
    /// comes to it, and TCP would find out in many seconds.
    pub(crate) fn leave_behind(&mut self, here: &[IpAddr]) -> bool {
        let gone = |current: &mut Current| current.from.is_some_and(|from| !here.contains(&from));
        self.current.take_if(gone).is_some_and(|current| {
            current.task.abort();
            true
        })
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
    let (to, from) = (stream.peer_addr()?, stream.local_addr()?.ip().to_canonical());
    if reports.send(Report::Opened { to, from }).await.is_err() {
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

#[cfg(test)]
mod tests {
    use core::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_given_up_where_its_address_is_gone_and_only_then() {
        let broker = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = BrokerConnection::default();
        let [here, elsewhere] = ["127.0.0.1", "192.0.2.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert!(!connection.leave_behind(&[elsewhere]), "there is none");
        connection.dial(broker.local_addr().unwrap().to_string());
        assert!(!connection.leave_behind(&[elsewhere]), "it may run from anywhere yet");
        let report = poll_fn(|context| connection.poll_report(context)).await;
        assert!(
            matches!(report, Report::Opened { to, from } if to.ip() == here && from == here),
            "{report:?}"
        );
        assert!(!connection.leave_behind(&[elsewhere, here]));
        assert!(connection.leave_behind(&[elsewhere]));
        let nothing = poll_fn(|context| Poll::Ready(connection.poll_report(context))).await;
        assert!(nothing.is_pending(), "{nothing:?}");
        assert!(!connection.leave_behind(&[elsewhere]));
    }
}
