//! File transfer: who offers what to whom, and how bytes become records and files again, without
//! a socket, a file or a clock.
//!
//! 1. [`control`]: [`Transfers`], the control plane of all transfers with all peers. It decides, and
//!    file bytes never pass through it.
//! 2. [`carrier`]: what it and a driver say to each other: [`CarrierSpec`] down, [`CarrierEvent`] up.
//! 3. [`hello`]: how two sockets of one attempt know each other. [`sender`] and [`receiver`]: the
//!    data plane, owned buffers in and out. A [`Verified`] is the only key to a file's final name.
//! 4. [`name`]: names from strangers become names that are safe to create.
//! 5. [`tree`]: the hash of a file, made of its chunks while they pass.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod carrier;
pub mod control;
pub mod hello;
pub mod name;
pub mod receiver;
pub mod sender;
pub mod tree;

pub use carrier::{CarrierEnd, CarrierEvent, CarrierFault, CarrierLoss, CarrierReport, CarrierSpec};
pub use control::{
    BodyError, CommandError, Direction, Effect, Party, SessionEnd, Source, State, TransferFailure, Transfers,
    Update,
};
pub use name::SafeName;
pub use receiver::{Receiver, Verified};
pub use sender::Sender;
