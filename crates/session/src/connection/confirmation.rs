//! What a side does between its keys and the first packet of the peer.

use p2pchat_crypto::Introduction;
use p2pchat_proto::Moment;
use p2pchat_proto::datagram::{FIN_LEN, RESP_LEN};

use crate::allowance::Allowance;
use crate::handshake::fanout::Schedule;
use crate::handshake::rates::{PerSecond, UNVALIDATED_PER_SECOND};
use crate::handshake::{Path, is_authentic};

/// Addresses that FIN goes to (our choice): the first that RESP came from, and others if that one
/// stays silent.
const SOURCES_MAX: usize = 4;
/// FINs that go to the first of them alone: those of the first 150 ms.
const FIRST_ALONE: u32 = 4;

/// What a side does until the first packet opens.
pub(crate) enum Confirmation {
    /// The initiator repeats FIN.
    Repeating(Repeating),
    /// The responder pings, and knows a repeated FIN by the introduction.
    Awaiting { introduction: Introduction },
}

/// FIN, and where it goes: to whoever sent RESP, and where the introduction does not name that address,
/// no more than what came from there allows.
pub(crate) struct Repeating {
    introduction: Introduction,
    /// What was answered; it comes again.
    resp: [u8; RESP_LEN],
    fin: Vec<u8>,
    schedule: Schedule,
    tries: u32,
    sources: Vec<Source>,
}

/// Where an authentic handshake datagram came from.
struct Source {
    path: Path,
    allowance: Allowance,
    /// The introduction names it: it is tried on the schedule, as with INIT.
    named: bool,
    tried: bool,
}

impl Confirmation {
    pub(crate) fn repeating(
        introduction: Introduction,
        resp: [u8; RESP_LEN],
        fin: Vec<u8>,
        from: Path,
        named: bool,
        now: Moment,
    ) -> Self {
        let first = Source { named, ..Source::new(from, RESP_LEN as u64) };
        let (schedule, sources) = (Schedule::new(now), vec![first]);
        Self::Repeating(Repeating { introduction, resp, fin, schedule, tries: 0, sources })
    }

    pub(crate) const fn awaiting(introduction: Introduction) -> Self {
        Self::Awaiting { introduction }
    }
}

impl Repeating {
    /// When FIN is due, if it may go anywhere.
    pub(super) fn due(&self) -> Option<Moment> {
        self.sources.iter().any(Source::has_room).then(|| self.schedule.due())
    }

    /// Where FIN goes now.
    pub(super) fn take_due(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        now: Moment,
    ) -> Option<(Path, &[u8])> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let turn = self.tries.saturating_sub(FIRST_ALONE.saturating_sub(1));
        self.tries = self.tries.saturating_add(1);
        self.schedule.advance();
        // A try that the budget does not allow is lost, as a datagram may be.
        if !budget.take(now) {
            return None;
        }
        let count = self.sources.iter().filter(|source| source.has_room()).count();
        let index = usize::try_from(turn).ok()?.checked_rem(count)?;
        let source = self.sources.iter_mut().filter(|source| source.has_room()).nth(index)?;
        source.allowance.take(FIN_LEN as u64);
        source.tried = true;
        Some((source.path, &self.fin))
    }

    /// The peer's RESP came again: FIN may not have arrived, or not from where the peer looks.
    pub(super) fn on_repeated_resp(&mut self, bytes: &[u8], from: Path) -> bool {
        let repeated = bytes == self.resp;
        if repeated {
            self.heard(from, bytes.len() as u64);
        }
        repeated
    }

    /// A PUNCH that names this session. Whether it is the peer's.
    pub(super) fn on_punch(&mut self, bytes: &[u8], from: Path) -> bool {
        let authentic = is_authentic(&self.introduction, bytes);
        if authentic {
            self.heard(from, bytes.len() as u64);
        }
        authentic
    }

    fn heard(&mut self, from: Path, bytes: u64) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.path == from) {
            source.allowance.on_received(bytes);
        } else if self.sources.len() < SOURCES_MAX {
            self.sources.push(Source::new(from, bytes));
        }
    }

    /// What may go along the path on which the first packet of `bytes` came. Nobody can seal one who
    /// did not get FIN: where it went to one address only, that one is proven.
    pub(super) fn confirmed_from(&self, from: Path, bytes: u64) -> Allowance {
        let known = self.sources.iter().find(|source| source.path == from);
        let others_tried = self.sources.iter().any(|source| source.tried && source.path != from);
        if known.is_some_and(|source| source.tried) && !others_tried {
            return Allowance::Validated;
        }
        let mut allowance = known.map_or(Allowance::Left(0), |source| source.allowance);
        allowance.on_received(bytes);
        allowance
    }
}

impl Source {
    const fn new(path: Path, bytes: u64) -> Self {
        Self { path, allowance: Allowance::earned(bytes), named: false, tried: false }
    }

    const fn has_room(&self) -> bool {
        self.named || self.allowance.room() >= FIN_LEN as u64
    }
}
