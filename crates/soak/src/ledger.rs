//! How many bytes go to addresses that have not shown that they are the peer's.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::broken::{Broken, hold};

/// Bytes to an address for each that came from it, before it is validated (protocol section 5).
const FACTOR: u64 = 3;
/// Tries of INIT or PUNCH at an endpoint that the other side announced (protocol section 4).
const TRIES: u64 = 12;
/// Bytes of the larger of the two, INIT (protocol section 4).
const INIT_LEN: u64 = 80;
/// Bytes that an introduction may cost an endpoint that it names, before that has said anything: the
/// schedule of protocol section 4.
const ALLOWANCE: u64 = TRIES * INIT_LEN;

/// What one process sent where, and heard from where.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    introductions: u64,
    accounts: BTreeMap<SocketAddr, Account>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Account {
    sent: u64,
    received: u64,
    /// It answered something that only who received it could answer: RESP, FIN or DATA.
    validated: bool,
}

impl Ledger {
    /// A handshake begins.
    pub(crate) fn introduced(&mut self) {
        self.introductions += 1;
    }

    pub(crate) fn received(&mut self, from: SocketAddr, bytes: &[u8]) {
        let account = self.accounts.entry(from).or_default();
        account.received += bytes.len() as u64;
        account.validated |= matches!(bytes.first(), Some(0x52..=0x54));
    }

    pub(crate) fn sent(&mut self, to: SocketAddr, len: usize) -> Result<(), Broken> {
        let account = self.accounts.entry(to).or_default();
        account.sent += len as u64;
        let Account { sent, received, validated } = *account;
        let most = FACTOR * received + ALLOWANCE * self.introductions;
        hold(validated || sent <= most, "nobody is flooded who did not ask for it", || {
            format!(
                "{sent} bytes to {to}, which sent {received} and shares {} introductions",
                self.introductions
            )
        })
    }
}
