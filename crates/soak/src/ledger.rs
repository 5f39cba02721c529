//! How much goes to addresses that have not shown that they are the peer's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::broken::{Broken, hold};

/// Bytes to an address for each that came from it, before it is validated (protocol section 5).
const FACTOR: u64 = 3;
/// Tries of one INIT or PUNCH at one endpoint that the other side announced (protocol section 4).
const TRIES: u32 = 12;
/// First bytes of the datagrams (protocol section 4).
const INIT: u8 = 0x51;
const PUNCH: u8 = 0x55;
const ANSWERS: core::ops::RangeInclusive<u8> = 0x52..=0x54;

/// What one process sent where, and heard from where.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<SocketAddr, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Bytes, besides those of INIT and PUNCH.
    sent: u64,
    received: u64,
    /// What went there came to somebody.
    reached: bool,
    /// And somebody said something after that, RESP, FIN or DATA, which may be the answer.
    validated: bool,
    /// What is on its way there, until that is settled.
    under_way: BTreeSet<Vec<u8>>,
    /// Each INIT and PUNCH that went there before, and how often: a repetition has the same bytes.
    tries: BTreeMap<Vec<u8>, u32>,
}

impl Ledger {
    /// A datagram came from there.
    pub(crate) fn received(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.accounts.entry(from).or_default().received += bytes.len() as u64;
        if bytes.first().is_some_and(|kind| ANSWERS.contains(kind)) {
            // An answer may come from anywhere.
            for account in self.accounts.values_mut().filter(|account| account.reached) {
                account.validated = true;
                account.under_way.clear();
            }
        }
    }

    /// A datagram came to another program, which this one may have sent.
    pub(crate) fn delivered(&mut self, bytes: &[u8]) {
        for account in self.accounts.values_mut().filter(|account| !account.validated) {
            account.reached |= account.under_way.contains(bytes) || account.tries.contains_key(bytes);
        }
    }

    /// A datagram came in the name of an address that sent nothing.
    pub(crate) fn forged(&mut self, from: SocketAddr, len: usize) {
        self.accounts.entry(from).or_default().received += len as u64;
    }

    /// A datagram leaves; `named` are the addresses that somebody announced, or had in an earlier process.
    pub(crate) fn sent(
        &mut self,
        to: SocketAddr,
        bytes: &[u8],
        named: &BTreeSet<SocketAddr>,
    ) -> Result<(), Broken> {
        let account = self.accounts.entry(to).or_default();
        if matches!(bytes.first(), Some(&(INIT | PUNCH))) {
            let heard = account.received > 0;
            hold(heard || named.contains(&to), "nobody is asked whom nobody named", || to.to_string())?;
            let tries = account.tries.entry(bytes.to_vec()).or_default();
            *tries += 1;
            return hold(*tries <= TRIES, "nobody is asked without an end", || {
                format!("the same {} bytes go to {to} for the {tries}th time", bytes.len())
            });
        }
        account.sent += bytes.len() as u64;
        if !account.validated {
            account.under_way.insert(bytes.to_vec());
        }
        let Account { sent, received, validated, .. } = account;
        hold(*validated || *sent <= FACTOR * *received, "nobody is flooded who did not ask for it", || {
            format!("{sent} bytes to {to}, which sent {received}")
        })
    }
}
