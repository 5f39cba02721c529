//! What one client may cost the broker.

use core::time::Duration;

use crate::rate::Rate;

/// Time for the link's handshake and the hello (protocol section 2).
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A client that said nothing for so long is gone: two heartbeats of 15 s and some (protocol section 12).
pub const DEAD_AFTER: Duration = Duration::from_secs(40);
/// Most messages that wait for one client to read (protocol section 12).
pub const QUEUE_MESSAGES_MAX: usize = 512;
/// Most bytes that wait for one client to read (protocol section 12).
pub const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Most requests of one identity that are open or accepted at a time. A message to many people asks
/// them 8 at a time (protocol section 6), so only a flood meets it.
pub const REQUESTS_FROM_MAX: usize = 64;
/// Most requests that wait for one identity at a time: more than a person can look at.
pub const REQUESTS_TO_MAX: usize = 256;
/// Calls that wait for one write of a name (our choice: a client that is patient has one, and one from
/// each login that it replaced).
pub const WAITERS_MAX: usize = 16;
/// Most names that one broker keeps, of about 200 bytes each in memory.
pub const ACCOUNTS_MAX: usize = 1_000_000;
/// Most addresses or pairs that one rate limit tells apart, of about 100 bytes each.
pub const RATE_KEYS_MAX: usize = 65_536;
/// Shortest time that a client is asked to stay away while the broker restarts, in milliseconds.
pub const RECONNECT_LEAST_MS: u32 = 1_000;
/// How far the clients' return is spread beyond that, in milliseconds.
pub const RECONNECT_SPREAD_MS: u32 = 4_000;
/// Seconds after which a client that met a full broker should try again.
pub const RETRY_WHEN_FULL_S: u32 = 30;

/// What an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most connections at a time from one [`Address`](crate::Address), loopback exempt.
    pub connections_per_address: usize,
    /// New connections from one address, loopback exempt: each costs a key exchange.
    pub connects: Rate,
    /// Tries to register a name from one address, loopback exempt: 5 an hour (protocol section 3).
    pub registrations: Rate,
    /// Requests of one connection.
    pub requests: Rate,
    /// Requests of one identity to one other.
    pub requests_per_pair: Rate,
    /// Pages of the directory for one connection.
    pub pages: Rate,
    /// Messages of any kind on one connection; what exceeds it ends the connection.
    pub messages: Rate,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            connections_per_address: 256,
            connects: Rate { burst: 120, refill: Duration::from_millis(500) },
            registrations: Rate { burst: 5, refill: Duration::from_secs(3600 / 5) },
            requests: Rate { burst: 64, refill: Duration::from_secs(1) },
            requests_per_pair: Rate { burst: 6, refill: Duration::from_secs(10) },
            pages: Rate { burst: 128, refill: Duration::from_millis(200) },
            messages: Rate { burst: 1_000, refill: Duration::from_millis(10) },
        }
    }
}
