//! What a user keeps of conversations: one file, on a thread of its own.
//!
//! From the outside in:
//!
//! 1. [`Store`] is the driver's end. It hands writes and questions to a thread, which folds everything
//!    that waits into one transaction: a durable commit takes about 2 ms, and nothing that goes on
//!    meanwhile waits for it.
//! 2. [`Book`] is the same file called in place, for commands that run when no chat does.
//! 3. Below, a conversation is a head and a log ([`p2pchat_proto::kept`]), each lies in pages, and a page
//!    is sealed and has a name that tells nothing.
//! 4. The file is redb's. It is checked whole, without being written to, before it is opened. A damaged
//!    one is set aside and never overwritten.

mod book;
mod changes;
mod error;
mod file;
mod log;
mod pages;
mod quiet;
mod recall;
mod retention;
#[cfg(test)]
mod tests;
mod thread;

pub use book::{Book, Summary};
pub use error::StoreError;
pub(crate) use file::set_aside;
pub use p2pchat_engine::history::KeptMessage;
pub use recall::{Found, Look, Newest, Place, Recall};
pub(crate) use thread::{Answer, Store};
