//! The security and end-to-end harness: the real binaries, driven and attacked.
//!
//! What a test is made of, from the inside out:
//!
//! 1. [`binaries`] finds what was built; [`process`] runs one of them and hears it; every process
//!    ends with its owner, by its own id.
//! 2. [`broker`] and [`peer`] are the two programs as a test meets them: the broker by its
//!    address and key, a peer by the events of JSON mode.
//! 3. [`world`] puts them together: a broker, two people, a session.
//! 4. [`caller`] and [`raw`]: a client of the broker and a reader of plain mode in the harness's own hands.
//! 5. [`relay`] sits on a path and drops, doubles, reorders, flips and records; [`stranger`] sends
//!    what nobody asked for; [`double`] is a broker that lies; [`memory`] reads what a process holds.
//! 6. [`sim`] is two sessions in virtual time, and a peer made by hand; [`town`] is whole clients and the
//!    broker's rules; [`meter`] counts memory, [`load`]
//!    says what a process costs; [`echo`] is a port that answers everybody.
//! 7. [`rows`] are the attacks of `make harness`, each with its counter-proof.
//! 8. [`crash`] kills one of two people who talk, again and again.
//! 9. [`demo`] is the main job on one machine, for people to look at.
//!
//! Nothing sleeps to wait for something: each wait blocks on what has to come, with a deadline,
//! and its failure shows what every process of the test said until then.
#![expect(
    clippy::disallowed_methods,
    reason = "the harness is a shell: its deadlines and time stamps are those of the machine"
)]
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says what was seen; the demo uses the methods that return"
)]

pub mod actions;
pub mod binaries;
pub mod broker;
pub mod caller;
pub mod crash;
pub mod demo;
pub mod double;
pub mod echo;
pub mod event;
pub mod homes;
pub mod load;
pub mod memory;
pub mod meter;
pub mod peer;
pub mod process;
pub mod raw;
pub mod relay;
pub mod rows;
pub mod sim;
pub mod stranger;
pub mod town;
pub mod trace;
pub mod world;

/// Says that something could not be shown on this system; a test runner does not swallow it.
pub fn skipped(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}
