//! Two endpoints on a seeded network, in virtual time.

mod amplification;
mod bulk;
mod delivery;
mod ends;
mod handshake;
mod hostile;
mod limits;
mod moves;
mod mtu;
mod operations;
mod pair;
pub(crate) mod people;
mod priority;
mod rekey;
mod replay;
mod resume;
mod roaming;
mod streams;
mod transport;
mod wander;
