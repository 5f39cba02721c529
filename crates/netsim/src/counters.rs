//! What happened so far, as numbers.

use crate::link::Passage;
use crate::trace::Step;

/// What happened so far in a direction of a link, a NAT, or a whole network.
///
/// At any time `sent + duplicated` is `delivered` and [`dropped`](Self::dropped) and what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Handed in.
    pub sent: u64,
    /// Taken out at the other end, copies included.
    pub delivered: u64,
    /// Dropped because the link was cut, or its ends were parted.
    pub partitioned: u64,
    /// Dropped because they were larger than the MTU.
    pub oversized: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Lost on the line.
    pub lost: u64,
    /// Second copies that were made.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Damaged by one flipped bit.
    pub corrupted: u64,
    /// Sent where no link goes, or to an address that nobody has.
    pub unroutable: u64,
    /// Came to a port of a NAT that no mapping has.
    pub unmapped: u64,
    /// Came to a mapping of a NAT from somebody whom its filter does not let in.
    pub filtered: u64,
    /// Would have needed room in a NAT's full table.
    pub exhausted: u64,
    /// Sent from behind a NAT to its outer address, which it does not turn around.
    pub unturned: u64,
    /// Arrived at an interface that is unplugged, or that has another address by now.
    pub vanished: u64,
    /// Arrived at a host that sleeps, and did not fit into what it keeps.
    pub asleep: u64,
    /// Arrived at a host where no socket is bound to that address and port.
    pub unheard: u64,
}

impl Counters {
    /// Everything that was dropped, for whatever reason.
    pub const fn dropped(&self) -> u64 {
        self.partitioned
            + self.oversized
            + self.overflowed
            + self.lost
            + self.unroutable
            + self.unmapped
            + self.filtered
            + self.exhausted
            + self.unturned
            + self.vanished
            + self.asleep
            + self.unheard
    }

    /// Counts where a datagram ended. A step that is not its end counts nothing.
    pub(crate) const fn end(&mut self, step: Step) {
        let count = match step {
            Step::Unroutable => &mut self.unroutable,
            Step::Partitioned => &mut self.partitioned,
            Step::Oversized => &mut self.oversized,
            Step::Overflowed => &mut self.overflowed,
            Step::Lost => &mut self.lost,
            Step::Delivered => &mut self.delivered,
            Step::Unmapped => &mut self.unmapped,
            Step::Filtered => &mut self.filtered,
            Step::Exhausted => &mut self.exhausted,
            Step::Unturned => &mut self.unturned,
            Step::Vanished => &mut self.vanished,
            Step::Asleep => &mut self.asleep,
            Step::Unheard => &mut self.unheard,
            Step::Passed
            | Step::Doubled
            | Step::Translated
            | Step::Kept
            | Step::Refused
            | Step::Fault
            | Step::Sent => {
                return;
            }
        };
        *count += 1;
    }

    /// Counts what a line does to a datagram that it lets pass.
    pub(crate) const fn passage(&mut self, passage: &Passage) {
        self.reordered += passage.reordered as u64;
        self.corrupted += passage.flipped_bit.is_some() as u64;
        self.duplicated += passage.copy_at.is_some() as u64;
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            delivered: self.delivered + other.delivered,
            partitioned: self.partitioned + other.partitioned,
            oversized: self.oversized + other.oversized,
            overflowed: self.overflowed + other.overflowed,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            corrupted: self.corrupted + other.corrupted,
            unroutable: self.unroutable + other.unroutable,
            unmapped: self.unmapped + other.unmapped,
            filtered: self.filtered + other.filtered,
            exhausted: self.exhausted + other.exhausted,
            unturned: self.unturned + other.unturned,
            vanished: self.vanished + other.vanished,
            asleep: self.asleep + other.asleep,
            unheard: self.unheard + other.unheard,
        }
    }
}
