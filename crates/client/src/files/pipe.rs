//! The stream of records of one carrier: two threads at each end, and a few buffers that go round.
//!
//! The sender reads the file on one thread, and hashes, seals and writes to the socket on the
//! other; the receiver reads from the socket, opens and hashes on one and writes the file on the
//! other. A buffer that is in nobody's hands waits in a channel. Where there is none a thread
//! waits, and that is all the flow control there is above TCP's.
//!
//! Everything blocks. Who wants a stream to end shuts its socket down.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver as Queue, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

use p2pchat_proto::carrier::{RECORD_HEADER_LEN, RECORD_TAG_LEN, RecordHeader};
use p2pchat_proto::transfer::CHUNK_LEN;
use p2pchat_transfer::receiver::{Opened, Receiver};
use p2pchat_transfer::sender::{Pieces, SendError, Sender, Taken};
use p2pchat_transfer::{CarrierFault, CarrierLoss};

use super::part::Part;
use super::report::{Meter, Reporter};
use super::source::OpenSource;

/// Buffers of one carrier, 2 MiB in all: enough that of two threads of the same speed neither
/// waits for the other.
const BUFFERS: usize = 8;

/// Why a stream ended before its last record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another carrier may go on.
    Loss(CarrierLoss),
    /// None can.
    Fault(CarrierFault),
}

const BROKEN: Trouble = Trouble::Loss(CarrierLoss::Broken);
const DAMAGED: Trouble = Trouble::Loss(CarrierLoss::Damaged);

/// Sends all that `sender` wants to be given.
pub(super) fn send(
    socket: &TcpStream,
    source: &OpenSource,
    sender: &mut Sender,
    reporter: &Reporter,
) -> Result<(), Trouble> {
    let (empty, empties) = pool();
    let (full, fulls) = sync_channel(BUFFERS);
    let pieces = sender.pieces();
    scope(|scope| {
        spawn(scope, "p2pchat-read", move || read_pieces(source, pieces, &empties, &full))?;
        write_records(socket, sender, fulls, empty, reporter)
    })
}

/// Receives until the last record, writing what is opened to `part`.
pub(super) fn receive(
    socket: &TcpStream,
    part: &Part,
    receiver: &mut Receiver,
    reporter: &Reporter,
) -> Result<(), Trouble> {
    let (empty, empties) = pool();
    let (full, fulls) = sync_channel(BUFFERS);
    scope(|scope| {
        let writer = spawn(scope, "p2pchat-write", move || write_chunks(part, fulls, &empty, reporter))?;
        let read = read_records(socket, receiver, &empties, full);
        let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
        // A disk that takes no more is why the reading ended, whatever that says of itself.
        written.map_err(Trouble::Fault).and(read)
    })
}

/// Runs `work` on a thread of the scope. Without threads this carrier is of no use.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Trouble> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(|_| BROKEN)
}

/// A channel full of empty buffers, each with room for a chunk and its tag.
fn pool() -> (SyncSender<Vec<u8>>, Queue<Vec<u8>>) {
    let (empty, empties) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        give_back(&empty, Vec::with_capacity(CHUNK_LEN + RECORD_TAG_LEN));
    }
    (empty, empties)
}

/// A buffer that nobody waits for any more is freed.
fn give_back(empty: &SyncSender<Vec<u8>>, buffer: Vec<u8>) {
    let _nobody_waits = empty.try_send(buffer);
}

/// Ends when everything was read, when a read failed, or when the other thread is gone: each thread
/// owns its ends of both channels, so that its end ends the other's waiting.
fn read_pieces(
    source: &OpenSource,
    pieces: Pieces,
    empties: &Queue<Vec<u8>>,
    full: &SyncSender<Result<Vec<u8>, CarrierFault>>,
) {
    for piece in pieces {
        let Ok(mut buffer) = empties.recv() else { return };
        buffer.resize(piece.len, 0);
        let chunk = source.read(piece.offset, &mut buffer).map(|()| buffer);
        let failed = chunk.is_err();
        if full.send(chunk).is_err() || failed {
            return;
        }
    }
}

fn write_records(
    socket: &TcpStream,
    sender: &mut Sender,
    fulls: Queue<Result<Vec<u8>, CarrierFault>>,
    empty: SyncSender<Vec<u8>>,
    reporter: &Reporter,
) -> Result<(), Trouble> {
    let mut meter = Meter::new(reporter);
    for chunk in fulls {
        let chunk = chunk.map_err(Trouble::Fault)?;
        let buffer = match sender.take(chunk) {
            Ok(Taken::Record { header, body }) => {
                write_record(socket, &header, &body).map_err(|_| BROKEN)?;
                body
            }
            Ok(Taken::Hashed(buffer)) => buffer,
            Err(SendError::WrongLength) => return Err(Trouble::Fault(CarrierFault::SourceChanged)),
            Err(SendError::Exhausted) => return Err(BROKEN),
        };
        meter.passed(sender.passed());
        give_back(&empty, buffer);
    }
    // All of it is with the system; what happens to the connection now is for the receiver to notice.
    let _receiver_was_faster = socket.shutdown(Shutdown::Write);
    Ok(())
}

/// Header and body in one call to the system, mostly.
fn write_record(mut socket: &TcpStream, header: &[u8; RECORD_HEADER_LEN], body: &[u8]) -> io::Result<()> {
    let written = loop {
        match socket.write_vectored(&[IoSlice::new(header), IoSlice::new(body)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => break written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    socket.write_all(header.get(written..).unwrap_or_default())?;
    socket.write_all(body.get(written.saturating_sub(RECORD_HEADER_LEN)..).unwrap_or_default())
}

/// Ends at the last record, at one that cannot be right, or when the other thread is gone, which
/// then says why.
fn read_records(
    mut socket: &TcpStream,
    receiver: &mut Receiver,
    empties: &Queue<Vec<u8>>,
    full: SyncSender<(u64, Vec<u8>)>,
) -> Result<(), Trouble> {
    let mut unused = None;
    while !receiver.is_complete() {
        let mut header = [0; RECORD_HEADER_LEN];
        socket.read_exact(&mut header).map_err(|_| BROKEN)?;
        let header = RecordHeader::from_bytes(header).map_err(|_| DAMAGED)?;
        receiver.admit(header).map_err(|_| DAMAGED)?;
        let Some(mut buffer) = unused.take().or_else(|| empties.recv().ok()) else { return Ok(()) };
        buffer.resize(header.ciphertext_len(), 0);
        socket.read_exact(&mut buffer).map_err(|_| BROKEN)?;
        match receiver.open(header, buffer).map_err(|_| DAMAGED)? {
            Opened::Chunk { offset, content } => {
                if full.send((offset, content)).is_err() {
                    return Ok(());
                }
            }
            Opened::Nothing(buffer) => unused = Some(buffer),
        }
    }
    Ok(())
}

fn write_chunks(
    part: &Part,
    fulls: Queue<(u64, Vec<u8>)>,
    empty: &SyncSender<Vec<u8>>,
    reporter: &Reporter,
) -> Result<(), CarrierFault> {
    let mut meter = Meter::new(reporter);
    for (offset, chunk) in fulls {
        part.write(offset, &chunk)?;
        meter.passed(offset.saturating_add(chunk.len() as u64));
        give_back(empty, chunk);
    }
    Ok(())
}
