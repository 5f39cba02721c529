//! The world test: people, lines, faults and actions, all from one seed, held against a plain model.
//!
//! [`Plan`] is what a seed stands for: two to four people on hosts of an
//! [`Internet`](p2pchat_netsim::Internet), some behind NATs, with lines as people have them; a
//! [`Storm`](p2pchat_netsim::Storm) of faults; and what people do meanwhile. [`World`] runs it: real
//! engines with a store that lasts longer than their processes, the real registry behind real links,
//! one virtual clock. `model` is what should be: every conversation as plain lists.
//!
//! # Rules
//!
//! At every step:
//!
//! - a message is stored and shown once, in order, none is left out, and none that nobody wrote;
//! - a receipt comes once, never goes back, and says nothing but the truth;
//! - an engine that is woken at its `poll_timeout` does something, or asks to be woken later;
//! - an address that cannot have answered yet gets at most three times the bytes that came from it, and of
//!   INIT and PUNCH twelve each, if somebody named it;
//! - what a program holds stays under its caps ([`p2pchat_session::Held`]);
//! - no key seals twice under one nonce, in whichever process ([`p2pchat_crypto::ledger`]);
//! - nobody has a session with somebody whom no way leads to.
//!
//! When the faults are over: a session that was lost comes back by itself; everybody whom a way leads to
//! can be asked and talked to; every message that its author's store kept was shown; no queue holds
//! anything; sessions at rest cost a keepalive now and then; and programs that are ended end in time.
//!
//! # Replay
//!
//! ML-KEM draws from the system, so the bytes differ from run to run, and nothing else does: the same
//! seed gives the same datagrams at the same times ([`Totals::shape`]).
#![allow(clippy::expect_used, reason = "this is a test: what cannot be without a mistake in it may end it")]

mod acts;
mod after;
mod broken;
mod broker;
mod check;
mod ledger;
mod member;
mod model;
mod places;
mod plan;
mod run;
mod trace;
mod world;

pub use broken::Broken;
pub use plan::{Deed, Forgery, Plan};
pub use run::{Failure, Tally, live, soak};
pub use trace::Trace;
pub use world::{Totals, World};
