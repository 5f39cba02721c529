//! The wall clock, for people to read.

use std::time::{SystemTime, UNIX_EPOCH};

use p2pchat_proto::WallTime;

/// Now, as this machine's clock shows it.
#[expect(clippy::disallowed_methods, reason = "the front end is a shell: it owns the clock that it shows")]
pub fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
