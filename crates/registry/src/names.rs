//! Who holds which name: first come, bound to a key, kept when given up.

use core::fmt;
use std::collections::BTreeMap;

use p2pchat_proto::broker::Call;
use p2pchat_proto::succession::{KeptSuccession, SUCCESSIONS_MAX};
use p2pchat_proto::{Name, PeerId};

use crate::command::{ConnId, Ticket};
use crate::limits::{ACCOUNTS_MAX, WAITERS_MAX};

/// One name and its owner, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: Name,
    /// The identity that it is bound to.
    pub peer: PeerId,
    /// Whether it is in use.
    pub state: AccountState,
    /// Who had it before by their own word, the last one at the end; at most [`SUCCESSIONS_MAX`].
    pub former: Vec<Former>,
}

/// An identity in whose place another one has taken a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Who.
    pub peer: PeerId,
    /// What it stated then, for those who knew it.
    pub succession: KeptSuccession,
}

/// Whether a name is in use by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// In use.
    Held,
    /// Given up: nobody is found under it, and only the same identity can take it again.
    Reserved,
}

/// Stored accounts that contradict each other: two entries of a name, or two names held by an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict(pub Name);

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the entry of {} contradicts another", self.0)
    }
}

impl core::error::Error for Conflict {}

/// A call that is answered when a write is done.
pub(crate) type Waiter = (ConnId, Call);

/// How a try to change a binding went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing to change: it is as asked.
    Already,
    /// To be stored; the waiter hears then.
    Write(Ticket, Account),
    /// The same write is under way; the waiter hears then.
    Joined,
    /// The name belongs to another identity.
    Taken,
    /// The identity holds, or is registering, this other name.
    HoldsOther(Name),
    /// An opposite write is under way, or as many calls as may wait for this one, or the broker keeps as
    /// many names as it may.
    Unavailable,
}

/// A write that ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) name: Name,
    pub(crate) peer: PeerId,
    pub(crate) state: AccountState,
    /// Who had the name until now, where it changed hands.
    pub(crate) was: Option<PeerId>,
    pub(crate) stored: bool,
    pub(crate) waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Entry {
    peer: PeerId,
    /// What the store holds, if it holds the name.
    stored: Option<AccountState>,
    former: Vec<Former>,
    write: Option<Write>,
}

#[derive(Debug)]
struct Write {
    target: AccountState,
    /// Who is to have the name, with what the present one has stated, where it changes hands.
    moves: Option<(PeerId, Former)>,
    waiting: Vec<Waiter>,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    entries: BTreeMap<Name, Entry>,
    /// Names held or being registered.
    of_peer: BTreeMap<PeerId, Name>,
    writes: BTreeMap<Ticket, Name>,
    next_ticket: u64,
}

impl Names {
    pub(crate) fn load(accounts: impl IntoIterator<Item = Account>) -> Result<Self, Conflict> {
        let mut names = Self::default();
        for Account { name, peer, state, former } in accounts {
            let entry = Entry { peer, stored: Some(state), former, write: None };
            let twice = names.entries.insert(name.clone(), entry).is_some();
            let other = match state {
                AccountState::Held => names.of_peer.insert(peer, name.clone()).is_some(),
                AccountState::Reserved => false,
            };
            if twice || other {
                return Err(Conflict(name));
            }
        }
        Ok(names)
    }

    /// Who is found under `name`.
    pub(crate) fn holder(&self, name: &Name) -> Option<PeerId> {
        let entry = self.entries.get(name)?;
        (entry.stored == Some(AccountState::Held)).then_some(entry.peer)
    }

    /// The name under which `peer` is found.
    pub(crate) fn name_of(&self, peer: &PeerId) -> Option<&Name> {
        let name = self.of_peer.get(peer)?;
        let entry = self.entries.get(name)?;
        (entry.stored == Some(AccountState::Held) && entry.peer == *peer).then_some(name)
    }

    /// What was stated by `peer`, who had `name` once, and by each of its successors.
    pub(crate) fn successions(&self, name: &Name, peer: &PeerId) -> Vec<KeptSuccession> {
        let found = self.entries.get(name).filter(|entry| entry.stored == Some(AccountState::Held));
        let former = found.filter(|entry| entry.peer != *peer).map_or(&[][..], |entry| &entry.former);
        let from = former.iter().rposition(|former| former.peer == *peer).unwrap_or(former.len());
        former.iter().skip(from).map(|former| former.succession.clone()).collect()
    }

    /// Whether `name` is, or is about to be, held by `peer`.
    pub(crate) fn is_bound_to(&self, name: &Name, peer: &PeerId) -> bool {
        self.of_peer.get(peer) == Some(name)
    }

    pub(crate) fn register(&mut self, name: Name, peer: PeerId, waiter: Waiter) -> Change {
        let full = self.entries.len() >= ACCOUNTS_MAX;
        let known = self.entries.get_mut(&name);
        if known.as_ref().is_some_and(|entry| entry.peer != peer) {
            return Change::Taken;
        }
        if let Some(held) = self.of_peer.get(&peer)
            && *held != name
        {
            return Change::HoldsOther(held.clone());
        }
        if let Some(entry) = known {
            if let Some(write) = &mut entry.write {
                return write.join(AccountState::Held, waiter);
            }
            if entry.stored == Some(AccountState::Held) {
                return Change::Already;
            }
        } else if full {
            return Change::Unavailable;
        }
        self.of_peer.insert(peer, name.clone());
        self.begin(name, peer, AccountState::Held, waiter)
    }

    /// Gives the name of `old` to `new`, of whom nobody else has a claim to it.
    pub(crate) fn rotate(
        &mut self,
        name: &Name,
        [old, new]: [PeerId; 2],
        succession: KeptSuccession,
        waiter: Waiter,
    ) -> Change {
        let Some(entry) = self.entries.get_mut(name) else { return Change::Taken };
        if entry.peer == new && entry.former.last().is_some_and(|former| former.peer == old) {
            return Change::Already;
        }
        if entry.peer != old || entry.stored != Some(AccountState::Held) {
            return Change::Taken;
        }
        let same = |write: &Write| write.moves.as_ref().is_some_and(|(to, _)| *to == new);
        match &mut entry.write {
            Some(write) if same(write) => return write.join(AccountState::Held, waiter),
            Some(_) => return Change::Unavailable,
            None => {}
        }
        if let Some(held) = self.of_peer.get(&new) {
            return Change::HoldsOther(held.clone());
        }
        let moves = (new, Former { peer: old, succession });
        let former = with_one_more(&entry.former, moves.1.clone());
        entry.write = Some(Write { target: AccountState::Held, moves: Some(moves), waiting: vec![waiter] });
        // Nobody else may register it, and the new identity nothing else, while it is being written.
        self.of_peer.insert(new, name.clone());
        let account = Account { name: name.clone(), peer: new, state: AccountState::Held, former };
        Change::Write(self.ticket(name), account)
    }

    pub(crate) fn unregister(&mut self, peer: PeerId, waiter: Waiter) -> Change {
        let Some(name) = self.of_peer.get(&peer).cloned() else {
            return Change::Already;
        };
        if let Some(write) = self.entries.get_mut(&name).and_then(|entry| entry.write.as_mut()) {
            return write.join(AccountState::Reserved, waiter);
        }
        self.begin(name, peer, AccountState::Reserved, waiter)
    }

    /// The shell stored what `ticket` stands for, or failed to.
    pub(crate) fn settle(&mut self, ticket: Ticket, stored: bool) -> Option<Settled> {
        let name = self.writes.remove(&ticket)?;
        let entry = self.entries.get_mut(&name)?;
        let write = entry.write.take()?;
        let was = match write.moves {
            Some((new, former)) if stored => {
                self.of_peer.remove(&entry.peer);
                entry.former = with_one_more(&entry.former, former);
                Some(core::mem::replace(&mut entry.peer, new))
            }
            Some((new, _)) => {
                self.of_peer.remove(&new);
                None
            }
            None => None,
        };
        let peer = entry.peer;
        if stored {
            entry.stored = Some(write.target);
        }
        let now = entry.stored;
        if now != Some(AccountState::Held) {
            self.of_peer.remove(&peer);
        }
        if now.is_none() {
            self.entries.remove(&name);
        }
        Some(Settled { name, peer, state: write.target, was, stored, waiting: write.waiting })
    }

    fn begin(&mut self, name: Name, peer: PeerId, state: AccountState, waiter: Waiter) -> Change {
        let fresh = Entry { peer, stored: None, former: Vec::new(), write: None };
        let entry = self.entries.entry(name.clone()).or_insert(fresh);
        entry.write = Some(Write { target: state, moves: None, waiting: vec![waiter] });
        let former = entry.former.clone();
        Change::Write(self.ticket(&name), Account { name, peer, state, former })
    }

    fn ticket(&mut self, name: &Name) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.writes.insert(ticket, name.clone());
        ticket
    }
}

/// The last [`SUCCESSIONS_MAX`] of them.
fn with_one_more(former: &[Former], last: Former) -> Vec<Former> {
    let mut all = former.to_vec();
    all.push(last);
    all.drain(..all.len().saturating_sub(SUCCESSIONS_MAX));
    all
}

impl Write {
    fn join(&mut self, target: AccountState, waiter: Waiter) -> Change {
        if self.target != target || self.waiting.len() >= WAITERS_MAX {
            return Change::Unavailable;
        }
        self.waiting.push(waiter);
        Change::Joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn waiter(n: u64) -> Waiter {
        (ConnId(n), 1)
    }

    fn ticket(change: Change) -> Ticket {
        let Change::Write(ticket, _) = change else { panic!("{change:?}") };
        ticket
    }

    #[test]
    fn a_name_is_reserved_while_it_is_written_and_found_only_afterwards() {
        let mut names = Names::default();
        let write = ticket(names.register(name("alice"), ALICE, waiter(1)));
        assert_eq!(names.register(name("alice"), BOB, waiter(2)), Change::Taken);
        assert_eq!(names.holder(&name("alice")), None);
        let settled = names.settle(write, true).unwrap();
        assert_eq!(settled.waiting, [waiter(1)]);
        assert_eq!(names.holder(&name("alice")), Some(ALICE));
        assert_eq!(names.settle(write, true), None);
    }

    #[test]
    fn a_failed_write_frees_the_name() {
        let mut names = Names::default();
        let write = ticket(names.register(name("alice"), ALICE, waiter(1)));
        assert!(!names.settle(write, false).unwrap().stored);
        ticket(names.register(name("alice"), BOB, waiter(2)));
        ticket(names.register(name("other"), ALICE, waiter(1)));
    }

    #[test]
    fn a_name_given_up_comes_back_to_its_owner_only() {
        let held =
            Account { name: name("alice"), peer: ALICE, state: AccountState::Held, former: Vec::new() };
        let mut names = Names::load([held]).unwrap();
        let write = ticket(names.unregister(ALICE, waiter(1)));
        assert_eq!(names.register(name("alice"), ALICE, waiter(1)), Change::Unavailable);
        names.settle(write, true).unwrap();
        assert_eq!(names.holder(&name("alice")), None);
        assert_eq!(names.unregister(ALICE, waiter(1)), Change::Already);
        assert_eq!(names.register(name("alice"), BOB, waiter(2)), Change::Taken);
        let again = ticket(names.register(name("alice"), ALICE, waiter(1)));
        assert!(!names.settle(again, false).unwrap().stored);
        assert_eq!(names.register(name("alice"), BOB, waiter(2)), Change::Taken);
    }

    #[test]
    fn an_identity_holds_one_name_and_asking_again_writes_nothing() {
        let mut names = Names::default();
        let write = ticket(names.register(name("alice"), ALICE, waiter(1)));
        assert_eq!(names.register(name("alice"), ALICE, waiter(3)), Change::Joined);
        assert_eq!(names.register(name("alicia"), ALICE, waiter(1)), Change::HoldsOther(name("alice")));
        assert_eq!(names.settle(write, true).unwrap().waiting, [waiter(1), waiter(3)]);
        assert_eq!(names.register(name("alice"), ALICE, waiter(1)), Change::Already);
    }

    #[test]
    fn no_more_calls_wait_for_a_write_than_may() {
        let mut names = Names::default();
        let mut changes = (0..=WAITERS_MAX as u64).map(|n| names.register(name("alice"), ALICE, waiter(n)));
        let write = ticket(changes.next().unwrap());
        let changes: Vec<_> = changes.collect();
        let (last, joined) = changes.split_last().unwrap();
        assert!(joined.iter().all(|change| *change == Change::Joined));
        assert_eq!(*last, Change::Unavailable);
        assert_eq!(names.settle(write, true).unwrap().waiting.len(), WAITERS_MAX);
    }

    #[test]
    fn stored_accounts_that_contradict_each_other_are_refused() {
        let account =
            |text, peer| Account { name: name(text), peer, state: AccountState::Held, former: Vec::new() };
        assert_eq!(
            Names::load([account("alice", ALICE), account("alice", BOB)]).unwrap_err(),
            Conflict(name("alice"))
        );
        assert_eq!(
            Names::load([account("alice", ALICE), account("alicia", ALICE)]).unwrap_err(),
            Conflict(name("alicia"))
        );
    }
}
