//! The end that waits: takes connections of the same user, reads their lines, writes what is for them.

use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p2pchat_client::Failure;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use super::{IDLE_MAX, LINES_WAITING_MAX, LineBuffer, OUT_WAITING_MAX, READ_AT_ONCE, socket};

/// How long to wait where the system gives no connection for now: for want of file handles, mostly.
const RETRY: Duration = Duration::from_millis(200);

/// What happens at the door.
#[derive(Debug)]
pub enum Knock {
    /// A connection came.
    Came(Visitor),
    /// It says a line.
    Said {
        /// Which.
        seat: u32,
        /// Without its end.
        line: String,
    },
    /// It says nothing more.
    Gone {
        /// Which.
        seat: u32,
        /// Why nothing more can be read, where it is not its end.
        failure: Option<Failure>,
    },
}

/// One connection. Dropped, it ends once what waits for it is written.
#[derive(Debug)]
pub struct Visitor {
    /// Its number, never 0 and never that of another one.
    pub seat: u32,
    out: mpsc::Sender<String>,
    /// Where the first line is written at once.
    first: Option<Arc<OwnedWriteHalf>>,
    reader: AbortHandle,
    writer: Option<JoinHandle<()>>,
}

impl Visitor {
    /// One without a connection, and what would be written to it.
    #[cfg(test)]
    pub(crate) fn imagined(seat: u32) -> (Self, mpsc::Receiver<String>) {
        let (out, lines) = mpsc::channel(OUT_WAITING_MAX);
        let reader = tokio::spawn(async {}).abort_handle();
        (Self { seat, out, first: None, reader, writer: None }, lines)
    }

    /// Writes the first line, now: false where nobody is there to read it any more.
    #[must_use]
    pub fn greet(&mut self, mut line: String) -> bool {
        let Some(stream) = self.first.take() else { return self.put(line) };
        line.push('\n');
        // Nothing was written yet, so there is room for all of it.
        stream.try_write(line.as_bytes()).is_ok_and(|len| len == line.len())
    }

    /// Lets a line be written; false where too many wait, or nobody reads.
    #[must_use]
    pub fn put(&self, line: String) -> bool {
        self.out.try_send(line).is_ok()
    }

    /// Ends it; what ends once everything that is for it is written.
    pub fn leave(mut self) -> Option<JoinHandle<()>> {
        self.writer.take()
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// See the module.
#[derive(Debug)]
pub struct Door {
    directory: PathBuf,
    listener: UnixListener,
    knocks: mpsc::Sender<Knock>,
    knocking: mpsc::Receiver<Knock>,
    last_seat: u32,
}

impl Door {
    /// Opens the socket of a profile that this process holds. Inside a runtime.
    ///
    /// # Errors
    ///
    /// [`Failure::Local`].
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Local {
            what: format!("serve other commands in {}", directory.display()),
            reason: error.to_string(),
        };
        let listener = socket::listen(directory).and_then(UnixListener::from_std).map_err(failed)?;
        let (knocks, knocking) = mpsc::channel(LINES_WAITING_MAX);
        Ok(Self { directory: directory.to_owned(), listener, knocks, knocking, last_seat: 0 })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        socket::path(&self.directory)
    }

    /// What happens next. Nothing is lost where this is not waited for to the end.
    pub async fn next(&mut self) -> Knock {
        loop {
            let accepted = tokio::select! {
                Some(knock) = self.knocking.recv() => return knock,
                accepted = self.listener.accept(), if self.last_seat < u32::MAX => accepted,
            };
            match accepted {
                Ok((stream, _)) if is_mine(&stream) => return Knock::Came(self.seat(stream)),
                Ok(_) => {}
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    fn seat(&mut self, stream: UnixStream) -> Visitor {
        self.last_seat = self.last_seat.saturating_add(1);
        let seat = self.last_seat;
        let (read, write) = stream.into_split();
        let (out, lines) = mpsc::channel(OUT_WAITING_MAX);
        let write = Arc::new(write);
        let first = Some(Arc::clone(&write));
        let reader = tokio::spawn(read_all(seat, read, self.knocks.clone())).abort_handle();
        let writer = Some(tokio::spawn(write_all(write, lines)));
        Visitor { seat, out, first, reader, writer }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // What stays is replaced by the next process.
        let _ = socket::remove(&self.directory);
    }
}

/// Whether the other end is of the same user, whatever the file's mode has become.
fn is_mine(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|other| other.uid() == rustix::process::geteuid().as_raw())
}

async fn read_all(seat: u32, mut stream: OwnedReadHalf, knocks: mpsc::Sender<Knock>) {
    let mut buffer = LineBuffer::default();
    let mut bytes = vec![0; READ_AT_ONCE];
    let failure = loop {
        let read = match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => break None,
            Ok(read) => read,
        };
        match buffer.take(bytes.get(..read).unwrap_or_default()) {
            Ok(lines) => {
                for line in lines {
                    if knocks.send(Knock::Said { seat, line }).await.is_err() {
                        return;
                    }
                }
            }
            Err(failure) => break Some(failure),
        }
    };
    // Nobody is at the door any more: nobody to tell.
    let _ = knocks.send(Knock::Gone { seat, failure }).await;
}

async fn write_all(stream: Arc<OwnedWriteHalf>, mut lines: mpsc::Receiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if !matches!(timeout(IDLE_MAX, write_line(&stream, line.as_bytes())).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn write_line(stream: &OwnedWriteHalf, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        stream.writable().await?;
        match stream.try_write(line) {
            Ok(len) => line = line.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
