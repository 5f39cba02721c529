//! Files: numbers for people to type, the policy, and what a transfer looks like to its user.

use std::collections::BTreeMap;

use p2pchat_proto::broker::Reason;
use p2pchat_proto::transfer::{DeclineReason, FailureReason};
use p2pchat_proto::{PeerId, TransferId};
use p2pchat_session::StreamId;
use p2pchat_transfer::{
    self as transfer, CarrierEvent, CarrierFault, CommandError, Party, Source, State, TransferFailure, Update,
};

use super::Engine;
use super::talking::Bond;
use super::talking::send;
use crate::config::AcceptPolicy;
use crate::effect::Effect;
use crate::event::{CommandId, Direction, Event, FileEvent, FileState, TransferNumber};
use crate::failure::Failure;
use crate::now::Now;

/// Numbers of transfers, both ways round, while they last.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: u32,
    by_number: BTreeMap<TransferNumber, TransferId>,
    by_id: BTreeMap<TransferId, TransferNumber>,
}

impl Numbers {
    fn of(&mut self, transfer: TransferId) -> TransferNumber {
        if let Some(&number) = self.by_id.get(&transfer) {
            return number;
        }
        self.last = self.last.saturating_add(1);
        let number = TransferNumber(self.last);
        self.by_number.insert(number, transfer);
        self.by_id.insert(transfer, number);
        number
    }

    fn forget(&mut self, transfer: TransferId) {
        if let Some(number) = self.by_id.remove(&transfer) {
            self.by_number.remove(&number);
        }
    }
}

impl Engine {
    /// Offers a file that the driver holds open. The transfer, where it came to be; the command's
    /// outcome is an event in any case.
    pub fn offer_file(&mut self, id: CommandId, to: PeerId, source: Source, now: Now) -> Option<TransferId> {
        let to = self.now_known_as(to);
        let transfer = if self.live.contains_key(&to) {
            let transfer = self.transfers.offer(to, source, now.moment);
            let number = Some(self.numbers.of(transfer));
            self.events.push_back(Event::Done { id, message: None, transfer: number, request: None });
            Some(transfer)
        } else {
            let who = self.people.label(to);
            self.failed(id, Failure::NotOnline { who });
            None
        };
        self.settle(now);
        transfer
    }

    /// Which transfer has this number, while it lasts.
    pub fn transfer_of(&self, number: TransferNumber) -> Option<TransferId> {
        self.numbers.by_number.get(&number).copied()
    }

    /// What a carrier reports.
    pub fn carrier_event(&mut self, transfer: TransferId, event: CarrierEvent, now: Now) {
        self.transfers.carrier_event(transfer, event, now.moment);
        self.settle(now);
    }

    pub(super) fn accept_file(&mut self, id: CommandId, number: TransferNumber, now: Now) {
        let outcome = self.on_transfer(number, |transfers, transfer| transfers.accept(transfer, now.moment));
        self.file_command_done(id, outcome);
    }

    pub(super) fn decline_file(&mut self, id: CommandId, number: TransferNumber, reason: &str, now: Now) {
        let why = DeclineReason::Person(Reason::new(reason));
        let outcome =
            self.on_transfer(number, |transfers, transfer| transfers.decline(transfer, why, now.moment));
        self.file_command_done(id, outcome);
    }

    pub(super) fn cancel_file(&mut self, id: CommandId, number: TransferNumber, now: Now) {
        let outcome = self.on_transfer(number, |transfers, transfer| transfers.cancel(transfer, now.moment));
        self.file_command_done(id, outcome);
    }

    pub(super) fn cancel_all_files(&mut self, now: Now) {
        let running: Vec<TransferId> = self.numbers.by_id.keys().copied().collect();
        for transfer in running {
            // One that has ended meanwhile needs no end.
            let _ended = self.transfers.cancel(transfer, now.moment);
        }
    }

    pub(super) fn settle_transfers(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some(effect) = self.transfers.poll_effect() {
            moved = true;
            match effect {
                transfer::Effect::Send { to, kind, body } => {
                    send(&self.live, &mut self.endpoint, to, StreamId::CONTROL, kind, &body, now);
                }
                transfer::Effect::StartCarrier(spec) => self.effects.push_back(Effect::StartCarrier(spec)),
                transfer::Effect::Candidates { transfer, attempt, list } => {
                    self.effects.push_back(Effect::DialCarrier { transfer, attempt, list });
                }
                transfer::Effect::Publish { transfer, hash } => {
                    self.effects.push_back(Effect::Publish { transfer, hash });
                }
                transfer::Effect::StopCarrier { transfer } => {
                    self.effects.push_back(Effect::StopCarrier { transfer });
                }
            }
        }
        while let Some(update) = self.transfers.poll_event() {
            moved = true;
            self.transfer_changed(update, now);
        }
        moved
    }

    fn on_transfer(
        &mut self,
        number: TransferNumber,
        act: impl FnOnce(&mut transfer::Transfers, TransferId) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let transfer = self.transfer_of(number).ok_or(CommandError::NoSuchTransfer)?;
        act(&mut self.transfers, transfer)
    }

    fn file_command_done(&mut self, id: CommandId, outcome: Result<(), CommandError>) {
        match outcome {
            Ok(()) => self.done(id),
            Err(error) => self.failed(id, command_failure(error)),
        }
    }

    fn transfer_changed(&mut self, update: Update, now: Now) {
        let transfer = update.transfer;
        let ended = update.state.is_end();
        let number = self.numbers.of(transfer);
        let offered = update.state == State::Offered && update.direction == transfer::Direction::Incoming;
        if offered && let Some(take) = self.decide_file(update.peer) {
            // Nobody is asked, so nobody is shown an offer: what becomes of it follows at once.
            let answered = if take {
                self.transfers.accept(transfer, now.moment)
            } else {
                self.transfers.decline(transfer, DeclineReason::Policy, now.moment)
            };
            if let Err(error) = answered {
                self.events.push_back(Event::Error(command_failure(error)));
            }
            return;
        }
        let event = self.file_event(number, update);
        self.events.push_back(Event::File(Box::new(event)));
        if ended {
            self.numbers.forget(transfer);
        }
    }

    /// Whether a file of `peer` is taken or refused without asking; `None` where the user is asked.
    fn decide_file(&self, peer: PeerId) -> Option<bool> {
        if self.files_from_connected && self.was_asked_for(peer) {
            return Some(true);
        }
        match self.accept_files {
            AcceptPolicy::Everyone => Some(true),
            AcceptPolicy::Contacts => Some(self.people.is_pinned(peer)),
            AcceptPolicy::Ask => None,
            AcceptPolicy::Nobody => Some(false),
        }
    }

    /// Whether the session with `peer` is there because this user asked for it.
    fn was_asked_for(&self, peer: PeerId) -> bool {
        let meeting = self.live.get(&peer).and_then(|session| self.meetings.get(session));
        meeting.is_some_and(|meeting| matches!(meeting.bond, Bond::Connecting { .. }))
    }

    fn file_event(&self, number: TransferNumber, update: Update) -> FileEvent {
        let Update { peer, direction, state, name, bytes, total, rate, tcp, .. } = update;
        let shown = Shown::of(state, direction, &name, &self.people.label(peer));
        FileEvent {
            transfer: number,
            peer,
            peer_name: self.people.shown(peer),
            direction: match direction {
                transfer::Direction::Incoming => Direction::In,
                transfer::Direction::Outgoing => Direction::Out,
            },
            state: shown.state,
            name,
            bytes,
            total,
            rate,
            tcp,
            path: shown.path,
            blake3: shown.hash.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            reason: shown.reason,
        }
    }
}

/// A state of a transfer in the words of events.
struct Shown {
    state: FileState,
    path: Option<String>,
    hash: Option<[u8; 32]>,
    reason: Option<Failure>,
}

impl Shown {
    fn of(state: State, direction: transfer::Direction, file: &str, peer: &str) -> Self {
        let plain = |state| Self { state, path: None, hash: None, reason: None };
        match state {
            State::Offered => plain(FileState::Offered),
            State::Accepted => plain(FileState::Accepted),
            State::Running => plain(FileState::Running),
            State::Verifying => plain(FileState::Verifying),
            State::Declined(why) => {
                let reason = match direction {
                    transfer::Direction::Incoming => declined_here(why),
                    transfer::Direction::Outgoing => declined(why),
                };
                let reason = Failure::FileRefused { name: file.to_owned(), reason };
                Self { reason: Some(reason), ..plain(FileState::Declined) }
            }
            State::Done { path, hash } => Self { path, hash: Some(hash), ..plain(FileState::Done) },
            State::Failed(why) => {
                Self { reason: Some(transfer_failure(file, peer, why)), ..plain(FileState::Failed) }
            }
            State::Cancelled(by) => {
                let reason = match by {
                    Party::Here => "cancelled here".to_owned(),
                    Party::Peer => format!("cancelled by {peer}"),
                };
                let reason = Some(Failure::FileBroken { name: file.to_owned(), reason });
                Self { reason, ..plain(FileState::Cancelled) }
            }
        }
    }
}

fn declined(why: DeclineReason) -> String {
    match why {
        DeclineReason::Person(reason) if reason.as_str().is_empty() => {
            "the other side declined it".to_owned()
        }
        DeclineReason::Person(reason) => reason.as_str().to_owned(),
        DeclineReason::Policy => "the other side takes no files from you".to_owned(),
        DeclineReason::Unsupported => "the other side does not understand the offer".to_owned(),
        DeclineReason::TooManyOffers => "too many offers wait at the other side".to_owned(),
    }
}

fn declined_here(why: DeclineReason) -> String {
    match why {
        DeclineReason::Person(_) => "declined here",
        DeclineReason::Policy => "--accept-files takes none of this person here",
        DeclineReason::Unsupported => "the offer is not understood here",
        DeclineReason::TooManyOffers => "too many offers wait here",
    }
    .to_owned()
}

fn transfer_failure(file: &str, peer: &str, why: TransferFailure) -> Failure {
    let name = file.to_owned();
    match why {
        TransferFailure::Here(fault) => fault_failure(name, fault),
        TransferFailure::Peer(why) => peer_failure(name, peer, why),
        TransferFailure::NoCarrier(loss) => Failure::FileBroken { name, reason: loss.to_string() },
        TransferFailure::NoWord => Failure::FileBroken { name, reason: format!("{peer} fell silent") },
        TransferFailure::SessionLost => {
            Failure::FileBroken { name, reason: format!("the session with {peer} was lost") }
        }
        TransferFailure::SessionClosed => {
            Failure::FileBroken { name, reason: format!("the session with {peer} was closed") }
        }
    }
}

/// What the other side says of its end.
fn peer_failure(name: String, peer: &str, why: FailureReason) -> Failure {
    let what = match why {
        FailureReason::Corrupt => return Failure::FileCorrupt { name },
        FailureReason::SourceChanged => return Failure::FileChanged { name },
        FailureReason::Broken => "could not make a connection that lasts",
        FailureReason::DiskFull => "has no room left on the disk",
        FailureReason::NotWritable => "could not write the file",
        FailureReason::NotReadable => "could not read the file",
        FailureReason::Unknown => "does not know the transfer any more",
    };
    Failure::FileBroken { name, reason: format!("{peer} {what}") }
}

fn fault_failure(name: String, fault: CarrierFault) -> Failure {
    match fault {
        CarrierFault::SourceChanged => Failure::FileChanged { name },
        CarrierFault::SourceUnreadable { reason } => Failure::FileMissing { path: name, reason },
        CarrierFault::DiskFull { path } => Failure::DiskFull { path },
        CarrierFault::NotWritable { path, reason } => {
            Failure::FileBroken { name, reason: format!("{path}: {reason}") }
        }
        CarrierFault::Corrupt => Failure::FileCorrupt { name },
    }
}

fn command_failure(error: CommandError) -> Failure {
    match error {
        CommandError::NoSuchTransfer => Failure::NoSuch { what: "transfer" },
        CommandError::NotPending => Failure::NoSuch { what: "offered file" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(direction: transfer::Direction, why: DeclineReason) -> Option<Failure> {
        Shown::of(State::Declined(why), direction, "song.mp3", "bob").reason
    }

    #[test]
    fn who_declined_is_told_apart_from_who_was_declined() {
        let refused = |reason: &str| {
            Some(Failure::FileRefused { name: "song.mp3".to_owned(), reason: reason.to_owned() })
        };
        let person = || DeclineReason::Person(Reason::new("too large"));
        assert_eq!(told(transfer::Direction::Outgoing, person()), refused("too large"));
        assert_eq!(told(transfer::Direction::Incoming, person()), refused("declined here"));
        let nameless = DeclineReason::Person(Reason::default());
        assert_eq!(told(transfer::Direction::Outgoing, nameless), refused("the other side declined it"));
    }
}
