//! The control socket: how a second process of the same user uses the profile that this one holds.
//!
//! It is `control.sock` in the profile's directory and speaks JSON mode: a connection is a front end
//! with a desk of its own. One line more than that language has is a [`Call`]: a whole command, which
//! the process that holds the profile runs to its end, so that it does and says what it would by
//! itself. [`Door`] is the end that waits, [`Line`] and its kin the other one.

mod call;
mod door;
mod lines;
mod reach;
mod socket;

use core::time::Duration;

pub use call::{
    Call, ContactsCall, DoctorCall, Envelope, HistoryCall, HistoryPlace, KnownCall, ListCall, Said, SendCall,
    StatusCall, TransfersCall, is_call, read, write,
};
pub use door::{Door, Knock, Visitor};
pub use lines::LineBuffer;
pub use reach::{Answer, Place, ask, hold, strange, through};
pub use socket::{connect, listen};

/// Connections at once. Commands of one user end soon; what only listens gives way to what speaks.
pub const CALLERS_MAX: usize = 16;
/// Lines of all connections that were read and that nobody took yet.
const LINES_WAITING_MAX: usize = 64;
/// Lines for one connection that were not written yet; whoever lets more wait is cut off.
const OUT_WAITING_MAX: usize = 1024;
/// How long a connection may stay without a first line, and without reading what is written to it.
pub const IDLE_MAX: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const READ_AT_ONCE: usize = 16 * 1024;
