//! The two ends of each measurement.

pub mod bulk;
pub mod client;
pub mod links;
pub mod packets;
pub mod quinn;
pub mod quinn_bulk;
pub mod strangers;
pub mod tcp;
pub mod tokio_udp;
pub mod udp;

use std::time::Instant;

/// Bytes of a message.
pub const MESSAGE_LEN: usize = 64;
/// Messages that are under way at once where messages a second are measured.
pub const IN_FLIGHT: usize = 64;
/// Round trips, or messages, before the clock starts: one part in so many of those that count.
pub const WARM_UP_SHARE: usize = 10;

/// Nanoseconds for each of `count` things since `start`.
pub fn nanos_each(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// A runtime as the product's client has it: everything on one thread.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
