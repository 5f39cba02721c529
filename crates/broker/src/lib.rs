//! The signaling broker: listener, link, accounts
