//! How a session follows its peer from address to address.

use core::net::{IpAddr, SocketAddr};

use p2pchat_proto::Moment;
use p2pchat_proto::datagram::TAG_LEN;
use p2pchat_proto::frame::Frame;

use super::mtu::{DATAGRAM_SIZE, DATAGRAM_SIZE_LEAST, Mtu};
use super::path::{Arrival, Sally};
use super::{Connection, Phase, settle};
use crate::event::SessionEvent;
use crate::handshake::Path;
use crate::handshake::rates::{PerSecond, UNVALIDATED_PER_SECOND};
use crate::wire::Transmit;

/// Bytes that have to be allowed to an address that proved nothing before a packet is made for it: an
/// acknowledgement of a few ranges, or a line of a few words.
pub(super) const ROOM_LEAST: u64 = 100;
/// Probe timeouts without an answer from which on other paths are tried (protocol section 9).
const DISTRESS_PTO: u32 = 2;

impl Connection {
    /// An authentic packet came along another path than the one in use, or that is not proven.
    pub(super) fn on_path(&mut self, from: Path, arrival: Arrival, now: Moment) {
        self.paths.on_received(from, arrival, self.recovery.rtt.pto(), now);
    }

    /// Probe timeouts go by without an answer.
    pub(super) fn on_unanswered_probe(&mut self, now: Moment) {
        if self.unheard >= DISTRESS_PTO && matches!(self.phase, Phase::Up { .. }) {
            self.paths.on_silence(self.recovery.rtt.pto(), now);
        }
    }

    /// Moves if it is time to.
    pub(super) fn settle_path(&mut self, now: Moment) {
        if self.paths.deadline() > now || !matches!(self.phase, Phase::Up { .. }) {
            return;
        }
        if let Some(left) = self.paths.verdict(now) {
            let Path { remote, local_ip } = self.paths.current();
            // Another port is another mapping of the same NAT; another address may be another network
            // (RFC 9000 section 9.4).
            self.begin_path(left.remote.ip() != remote.ip() || left.local_ip != local_ip, now);
            self.events.push(SessionEvent::Moved { remote, local_ip });
        }
    }

    /// This side has lost one of its addresses.
    pub(crate) fn on_local_ip_gone(&mut self, ip: IpAddr, now: Moment) {
        if self.paths.on_local_ip_gone(ip) {
            self.begin_path(true, now);
        }
    }

    /// This side has these addresses now.
    pub(crate) fn on_addresses(&mut self, here: &[IpAddr], now: Moment) {
        if let Some(ip) = self.paths.current().local_ip.filter(|ip| !here.contains(ip)) {
            self.on_local_ip_gone(ip, now);
        }
        // A NAT may have changed although no address did.
        self.paths.ask_where_seen(now);
        self.ping |= matches!(self.phase, Phase::Up { .. });
    }

    /// This side slept, and what it reads now may be long past.
    pub(crate) const fn on_woken(&mut self) {
        self.ping |= matches!(self.phase, Phase::Up { .. });
    }

    /// What is sent from now on goes along another path than before. Nothing is known of it if it is
    /// another `network`.
    fn begin_path(&mut self, network: bool, now: Moment) {
        let streams = &mut self.streams;
        let controller = network.then(|| (self.controller)(DATAGRAM_SIZE as u64));
        self.recovery.on_moved(controller, now, &mut |outcome, content| settle(streams, outcome, content));
        if network {
            self.recovery.mtu = Mtu::new(self.paths.current().remote);
        }
        self.unheard = 0;
    }

    /// Bytes that a datagram may have now. While nothing is heard, what nearly every path takes, and then
    /// what every one does: the path may have become narrower.
    pub(super) fn datagram_size(&self) -> usize {
        let most = match self.recovery.unanswered_probes() {
            0 => usize::MAX,
            1 => DATAGRAM_SIZE,
            _ => DATAGRAM_SIZE_LEAST,
        };
        self.recovery.mtu.size().min(most)
    }

    /// A packet that tries a larger size.
    pub(super) fn write_mtu_probe(&mut self, out: &mut Vec<u8>, now: Moment) -> Option<Transmit> {
        if self.epochs.are_spent(now) || !self.paths.is_validated() {
            return None;
        }
        let size = self.recovery.mtu.probe_due(now)?;
        let (start, number) = (out.len(), self.next_number());
        self.begin_packet(out);
        Frame::Ping.encode(out);
        // Padding is zeros.
        out.resize(start.saturating_add(size).saturating_sub(TAG_LEN), 0);
        self.seal_packet(start, out);
        self.recovery.sent.push_aside(size as u64);
        self.recovery.mtu.on_probe(number, size, self.recovery.rtt.pto(), now);
        Some(self.paths.current().transmit())
    }

    /// The system refused a datagram of so many bytes to `to`.
    pub(crate) fn on_too_large(&mut self, to: SocketAddr, bytes: usize, now: Moment) {
        if self.paths.current().remote == to && self.recovery.mtu.on_refused(bytes, now) {
            self.recovery.on_datagram_size();
        }
    }

    /// When a larger size is to be tried.
    pub(super) fn mtu_deadline(&self) -> Option<Moment> {
        let tries = matches!(self.phase, Phase::Up { .. }) && self.paths.is_validated();
        self.recovery.mtu.deadline().filter(|_| tries)
    }

    /// A packet for the sake of a path: a challenge, or the answer to one.
    pub(super) fn write_sally(
        &mut self,
        budget: &mut PerSecond<UNVALIDATED_PER_SECOND>,
        out: &mut Vec<u8>,
        now: Moment,
    ) -> Option<Transmit> {
        if self.epochs.are_spent(now) {
            return None;
        }
        let Sally { path, frame } = self.paths.poll(budget, now)?;
        let start = out.len();
        self.begin_packet(out);
        frame.encode(out);
        self.seal_packet(start, out);
        let size = out.len().saturating_sub(start) as u64;
        self.recovery.sent.push_aside(size);
        Some(path.transmit())
    }

    /// Bytes that the next datagram may have; `None` if none may leave until more came.
    pub(super) fn room(&self, datagram: usize) -> Option<usize> {
        let room = self.paths.room();
        let room = (room >= ROOM_LEAST).then_some(room)?;
        Some(usize::try_from(room).unwrap_or(usize::MAX).min(datagram))
    }

    /// When a path is to be challenged or judged.
    pub(super) fn path_deadline(&self) -> Option<Moment> {
        matches!(self.phase, Phase::Up { .. }).then(|| self.paths.deadline())
    }
}
