//! What a client holds, in numbers: what simulations compare with what it may hold.

use p2pchat_session::Held;

/// How much a client holds at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// People whom this user wants to talk to and who have not answered.
    pub wishes: usize,
    /// Requests that wait for this user.
    pub incoming: usize,
    /// Calls to the broker whose reply matters.
    pub calls: usize,
    /// Sessions, from their introduction to their end.
    pub meetings: usize,
    /// Things for the driver to do, and for the user to see, that were not polled.
    pub unpolled: usize,
    /// What the sessions hold.
    pub session: Held,
}
