//! What was sent and is not settled: one entry a packet number, from the oldest open one up.

use std::collections::VecDeque;

use p2pchat_proto::Moment;

use crate::streams::StreamRange;

/// A packet that was sent.
#[derive(Debug)]
pub(crate) struct SentPacket {
    pub(crate) at: Moment,
    /// Bytes of the datagram.
    pub(crate) size: u64,
    pub(crate) fate: Fate,
    pub(crate) content: Content,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It asks for an acknowledgement, and none came.
    InFlight,
    /// It asks for none.
    Unasked,
    /// It tries something out, along another path or with another size, and what becomes of it tells
    /// nothing of the others.
    Aside,
    /// Acknowledged.
    Acked,
    /// Counted as lost at this moment; an acknowledgement may still prove that wrong.
    Lost(Moment),
}

/// What has to happen again, or is settled, with the packet that carried it.
#[derive(Debug, Default)]
pub(crate) struct Content {
    first: Option<StreamRange>,
    /// Beyond the first, so that a packet with one range allocates nothing.
    more: Vec<StreamRange>,
    /// Highest number in its acknowledgement.
    pub(crate) acked_up_to: Option<u64>,
    /// Whether it granted credit.
    pub(crate) credit: bool,
}

impl Content {
    pub(crate) fn push(&mut self, range: StreamRange) {
        if self.first.is_none() {
            self.first = Some(range);
        } else {
            self.more.push(range);
        }
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamRange> {
        self.first.iter().chain(&self.more)
    }
}

/// The sent packets by number. Numbers leave no gap, so the place of a packet is its number less
/// [`Self::base`].
#[derive(Debug, Default)]
pub(crate) struct SentPackets {
    base: u64,
    list: VecDeque<SentPacket>,
    /// Bytes of the packets in flight.
    pub(crate) bytes_in_flight: u64,
    /// Number of the packets in flight.
    pub(crate) in_flight: usize,
}

impl SentPackets {
    /// Packets that are kept.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The number of the next packet.
    pub(crate) fn next_number(&self) -> u64 {
        self.base.saturating_add(self.list.len() as u64)
    }

    /// Notes the packet with [`Self::next_number`].
    pub(crate) fn push(&mut self, packet: SentPacket) {
        if packet.fate == Fate::InFlight {
            self.bytes_in_flight = self.bytes_in_flight.saturating_add(packet.size);
            self.in_flight = self.in_flight.saturating_add(1);
        }
        self.list.push_back(packet);
    }

    /// Notes the packet with [`Self::next_number`] that asks for nothing and carries nothing to repeat.
    pub(crate) fn push_unasked(&mut self, size: u64) {
        let fate = Fate::Unasked;
        self.push(SentPacket { at: Moment::ZERO, size, fate, content: Content::default() });
    }

    /// Notes the packet with [`Self::next_number`] that tries something out.
    pub(crate) fn push_aside(&mut self, size: u64) {
        let fate = Fate::Aside;
        self.push(SentPacket { at: Moment::ZERO, size, fate, content: Content::default() });
    }

    /// Settles one packet: its new fate, and what it was.
    pub(crate) fn settle(&mut self, number: u64, fate: Fate) -> Option<Settled> {
        let index = usize::try_from(number.checked_sub(self.base)?).ok()?;
        let packet = self.list.get_mut(index)?;
        let was = core::mem::replace(&mut packet.fate, fate);
        let settled = Settled { at: packet.at, size: packet.size, was };
        if was == Fate::InFlight && fate != Fate::InFlight {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(settled.size);
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        Some(settled)
    }

    /// The packet with this number, if it is kept.
    pub(crate) fn packet(&self, number: u64) -> Option<&SentPacket> {
        self.list.get(usize::try_from(number.checked_sub(self.base)?).ok()?)
    }

    /// The packets in flight, from the oldest.
    pub(crate) fn open(&self) -> impl Iterator<Item = &SentPacket> {
        self.list.iter().filter(|packet| packet.fate == Fate::InFlight)
    }

    /// The oldest kept number.
    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    /// The oldest packet, if more than `most` are kept.
    pub(crate) fn oldest_beyond(&self, most: usize) -> Option<u64> {
        (self.list.len() > most).then_some(self.base)
    }

    /// Forgets the oldest packet.
    pub(crate) fn drop_oldest(&mut self) {
        if self.list.pop_front().is_some() {
            self.base = self.base.saturating_add(1);
        }
    }

    /// Forgets what is settled at the front; a lost packet is kept while it was lost after
    /// what `lost_since` tells.
    pub(crate) fn forget(&mut self, lost_since: impl Fn() -> Moment) {
        while let Some(front) = self.list.front() {
            let done = match front.fate {
                Fate::InFlight => false,
                Fate::Unasked | Fate::Aside | Fate::Acked => true,
                Fate::Lost(at) => at < lost_since(),
            };
            if !done {
                break;
            }
            self.drop_oldest();
        }
    }

    /// Starts to number at `next`, where nothing was sent.
    #[cfg(test)]
    pub(crate) fn start_at(&mut self, next: u64) {
        assert_eq!(self.in_flight, 0);
        self.list.clear();
        self.base = next;
    }
}

/// What [`SentPackets::settle`] found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) at: Moment,
    pub(crate) size: u64,
    pub(crate) was: Fate,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(fate: Fate) -> SentPacket {
        SentPacket { at: Moment::ZERO, size: 100, fate, content: Content::default() }
    }

    #[test]
    fn numbers_follow_each_other_whatever_is_forgotten() {
        let mut sent = SentPackets::default();
        for number in 0..10 {
            assert_eq!(sent.next_number(), number);
            sent.push(packet(if number % 2 == 0 { Fate::InFlight } else { Fate::Unasked }));
        }
        assert_eq!((sent.bytes_in_flight, sent.in_flight), (500, 5));
        sent.settle(0, Fate::Acked);
        sent.settle(2, Fate::Acked);
        sent.forget(|| Moment::NEVER);
        assert_eq!((sent.base(), sent.next_number()), (4, 10));
        assert_eq!((sent.bytes_in_flight, sent.in_flight), (300, 3));
    }

    #[test]
    fn settling_twice_counts_once() {
        let mut sent = SentPackets::default();
        sent.push(packet(Fate::InFlight));
        assert_eq!(sent.settle(0, Fate::Lost(Moment::ZERO)).unwrap().was, Fate::InFlight);
        assert_eq!(sent.settle(0, Fate::Acked).unwrap().was, Fate::Lost(Moment::ZERO));
        assert_eq!((sent.bytes_in_flight, sent.in_flight), (0, 0));
        assert!(sent.settle(1, Fate::Acked).is_none(), "never sent");
    }

    #[test]
    fn a_lost_packet_is_kept_for_a_while() {
        let mut sent = SentPackets::default();
        sent.push(packet(Fate::InFlight));
        let lost = Moment::from_nanos(100);
        sent.settle(0, Fate::Lost(lost));
        sent.forget(|| lost);
        assert!(sent.packet(0).is_some());
        sent.forget(|| Moment::from_nanos(101));
        assert!(sent.packet(0).is_none());
    }
}
