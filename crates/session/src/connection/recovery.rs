//! Which packets are lost, and when to probe (RFC 9002 sections 5 and 6).

use core::net::SocketAddr;
use core::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::frame::Ack;

use super::congestion::{Controller, pace};
use super::mtu::{DATAGRAM_SIZE, Mtu};
use super::pacing::{PACED_RTT_MIN, Pacer};
use super::packets::{Content, Fate, SentPacket, SentPackets};
use super::reordering::Reordering;
use super::reserve::{self, LetOut, Reserve};
use super::rtt::RttEstimator;
use crate::stats::PathInfo;

/// Probe timeouts for which a lost packet is kept, in case it arrives after all.
const LOST_KEPT_PTO: u32 = 2;
/// Probe timeouts over which everything has to be lost to count as persistent congestion (RFC 9002
/// section 7.6.1, kPersistentCongestionThreshold).
const PERSISTENT_PTO: u32 = 3;
/// Fewer packets in flight than this are a thin stream (protocol section 5).
const THIN: usize = 4;
/// Probes of a thin stream that back off linearly (protocol section 5).
const LINEAR_PROBES: u32 = 4;
/// Timeouts from the last news of the peer after which a probe leaves, whatever was sent since (our choice).
const PUT_OFF: u32 = 2;
/// Longest time between two probes, so that many fall into the time after which a session is lost,
/// even if a machine that slept took its sleep for a round trip, and that one arrives within 3 s after
/// an outage or a sleep of the peer.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// How much later than it was due something is done by who slept (our choice: no load delays it that long).
const SLEPT_AFTER: Duration = Duration::from_secs(2);
/// Packets in flight that are looked through for the content of a probe.
const REPEATED_MAX: usize = 64;
/// Sent packets that are kept. More are only there when the peer takes and does not acknowledge;
/// then the oldest counts as lost.
pub(crate) const SENT_KEPT_MAX: usize = 1 << 16;
/// Packets of one probe (RFC 9002 section 6.2.4 allows two).
pub(crate) const PROBE_PACKETS: u32 = 2;

/// The peer acknowledged a packet that was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckOfUnsent;

/// What became of a packet, for whoever owns its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The peer has it.
    Acked,
    /// The peer may lack it.
    Lost,
}

/// What is to be done when the timer of [`Recovery::deadline`] expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Packets were counted as lost.
    Losses,
    /// Probes are to be sent.
    Probe,
}

/// Loss detection and the probe timer of one session.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) sent: SentPackets,
    pub(crate) rtt: RttEstimator,
    pub(crate) controller: Box<dyn Controller>,
    pub(crate) pacer: Pacer,
    pub(crate) mtu: Mtu,
    reserve: Reserve,
    largest_acked: Option<u64>,
    /// Packets below this number went along another path, and tell nothing of this one.
    path_start: u64,
    reordering: Reordering,
    /// When the first round-trip time was measured.
    measured: Option<Moment>,
    /// What was sent before was on its way while this side slept.
    awake_since: Moment,
    /// When the oldest packet that was overtaken counts as lost by time.
    loss_at: Option<Moment>,
    /// When the newest packet that asks was sent.
    last_asked: Moment,
    /// When the newest probe was sent.
    last_probe: Moment,
    /// When something new was acknowledged, or the oldest packet since then was sent.
    silent_since: Moment,
    /// Timeouts since the last acknowledgement of something new.
    pto_count: u32,
    /// Whether the stream was thin at the first of them. The probes themselves do not count.
    thin: bool,
    /// Packets that a probe still has to send, whatever the window says.
    pub(crate) probes: u32,
    /// Whether it is the window that holds back what waits.
    window_limited: bool,
    pub(crate) lost: u64,
    /// Packets that counted as lost and arrived.
    spurious: u64,
    /// Times that the probe timer expired.
    timeouts: u64,
}

impl Recovery {
    pub(crate) fn new(controller: Box<dyn Controller>) -> Self {
        Self {
            sent: SentPackets::default(),
            rtt: RttEstimator::new(),
            controller,
            pacer: Pacer::new(DATAGRAM_SIZE as u64),
            mtu: Mtu::new(SocketAddr::from(([0; 4], 0))),
            reserve: Reserve::new(),
            largest_acked: None,
            path_start: 0,
            reordering: Reordering::new(),
            measured: None,
            awake_since: Moment::ZERO,
            loss_at: None,
            last_asked: Moment::ZERO,
            last_probe: Moment::ZERO,
            silent_since: Moment::ZERO,
            pto_count: 0,
            thin: false,
            probes: 0,
            window_limited: false,
            lost: 0,
            spurious: 0,
            timeouts: 0,
        }
    }

    /// Whether the window and the pace let out a packet of which `needed` bytes must find room, while
    /// `waiting` wait.
    pub(crate) fn lets_out(&mut self, needed: u64, waiting: u64, now: Moment) -> bool {
        let window = self.controller.window();
        let room = window.saturating_sub(self.sent.bytes_in_flight);
        if needed > room {
            self.pacer.stop();
            self.window_limited = true;
            return false;
        }
        let (controller, rtt) = (self.controller.as_ref(), self.rtt.smoothed());
        let lets_out = self.pacer.lets_out(0, rtt, || pace(controller, self.rtt.assumed()), now);
        // What the pace holds back fills the window soon (RFC 9002 section 7.8).
        self.window_limited = !lets_out && waiting >= room;
        lets_out
    }

    /// Whether window and pace let out a packet of which `needed` bytes must find room, of them
    /// `urgent` that are no bulk, while `waiting` wait.
    pub(crate) fn lets_out_beside_bulk(
        &mut self,
        urgent: Option<u64>,
        needed: u64,
        waiting: u64,
        now: Moment,
    ) -> LetOut {
        let (window, datagram) = (self.controller.window(), self.mtu.size() as u64);
        let room = window.saturating_sub(self.sent.bytes_in_flight);
        let (controller, rtt) = (self.controller.as_ref(), self.rtt.smoothed());
        let rate = || pace(controller, self.rtt.assumed());
        let finds_room = needed.saturating_add(reserve::left_in(window, datagram)) <= room;
        let lets_out = finds_room && self.pacer.lets_out(reserve::of(datagram), rtt, rate, now);
        self.window_limited = !lets_out && (!finds_room || waiting >= room);
        if lets_out {
            return LetOut::All;
        }
        if !finds_room {
            self.pacer.stop();
        }
        let Some(urgent) = urgent else { return LetOut::Nothing };
        // While nothing is heard it is probes that go beyond the window.
        let is_heard = !self.is_backing_off();
        let goes = (urgent <= room
            || (is_heard && self.reserve.take(urgent, datagram, self.rtt.assumed(), now)))
            && self.pacer.lets_out(0, rtt, rate, now);
        if goes { LetOut::Urgent } else { LetOut::Nothing }
    }

    /// What is known of the path.
    pub(crate) fn path(&self) -> PathInfo {
        let paced = self.rtt.smoothed().filter(|rtt| *rtt >= PACED_RTT_MIN);
        PathInfo {
            rtt_least: self.rtt.least(),
            rtt_variation: self.rtt.variation(),
            pto: self.rtt.pto(),
            window: self.controller.window(),
            threshold: self.controller.threshold(),
            in_flight: self.sent.bytes_in_flight,
            pace: paced.map(|rtt| pace(self.controller.as_ref(), rtt)),
            reductions: self.controller.reductions(),
            spurious: self.spurious,
            timeouts: self.timeouts,
        }
    }

    /// Nothing waits for the window or the pace.
    pub(crate) const fn nothing_waits(&mut self) {
        self.pacer.stop();
        self.window_limited = false;
    }

    /// Notes a packet that left.
    pub(crate) fn on_sent(&mut self, size: u64, asks: bool, content: Content, now: Moment) {
        let fate = if asks { Fate::InFlight } else { Fate::Unasked };
        self.sent.push(SentPacket { at: now, size, fate, content });
        if asks {
            self.last_asked = now;
            if self.sent.in_flight <= 1 {
                self.silent_since = now;
            }
            if self.probes > 0 {
                self.last_probe = now;
            }
            self.probes = self.probes.saturating_sub(1);
            self.pacer.on_sent(size);
            self.controller.on_sent(size, self.sent.bytes_in_flight, now);
        } else {
            // An acknowledgement asks for none; behind a settled front it need not be kept.
            self.forget_settled(now);
        }
    }

    /// Takes the peer's acknowledgement. `settle` gets what the settled packets carried.
    pub(crate) fn on_ack(
        &mut self,
        ack: &Ack<'_>,
        now: Moment,
        settle: &mut impl FnMut(Outcome, &Content),
    ) -> Result<(), AckOfUnsent> {
        if ack.largest >= self.sent.next_number() {
            return Err(AckOfUnsent);
        }
        self.note_sleep(now);
        let probe = self.mtu.probe_number();
        if probe.is_some_and(|probe| ack.ranges().any(|range| range.contains(&probe))) {
            self.mtu.on_probe_arrived(now);
            self.on_datagram_size();
        }
        let mut newly_asked = false;
        let mut largest_at = None;
        let largest_before = self.largest_acked.unwrap_or(0);
        let app_limited = !self.window_limited;
        for range in ack.ranges() {
            if *range.end() < self.sent.base() {
                break;
            }
            for number in (*range.start()).max(self.sent.base())..=*range.end() {
                let Some(settled) = self.sent.settle(number, Fate::Acked) else { break };
                if settled.was == Fate::Acked {
                    continue;
                }
                if settled.was != Fate::Aside {
                    self.largest_acked = self.largest_acked.max(Some(number));
                }
                let ahead = largest_before.max(ack.largest).saturating_sub(number);
                match settled.was {
                    Fate::InFlight => {
                        newly_asked = true;
                        self.mtu.on_arrived(number, settled.size);
                        if number < largest_before {
                            self.on_late(ahead, settled.at, false, now);
                        }
                        self.controller.on_acked(settled.size, settled.at, app_limited, &self.rtt, now);
                    }
                    Fate::Lost(_) if number < self.path_start => {}
                    Fate::Lost(_) => {
                        self.on_late(ahead, settled.at, true, now);
                        self.controller.on_spurious_loss(settled.size, settled.at, now);
                    }
                    Fate::Unasked | Fate::Aside | Fate::Acked => {}
                }
                if number == ack.largest && settled.was != Fate::Aside {
                    largest_at = Some(settled.at);
                }
                if let Some(packet) = self.sent.packet(number) {
                    settle(Outcome::Acked, &packet.content);
                }
            }
        }
        if let Some(at) = largest_at.filter(|at| newly_asked && *at >= self.awake_since) {
            self.rtt.on_sample(now.saturating_since(at), ack.delay);
            self.measured.get_or_insert(now);
            self.reordering.on_progress(self.rtt.assumed(), now);
        }
        if newly_asked {
            self.pto_count = 0;
            self.probes = 0;
            self.silent_since = now;
        }
        self.detect_losses(now, settle);
        self.forget_settled(now);
        Ok(())
    }

    /// What is sent from now on goes along another path; what is on the old one is sent again, and says
    /// nothing of the new one. With a controller for it nothing is known of it (RFC 9000 section 9.4),
    /// without one it is the same network.
    pub(crate) fn on_moved(
        &mut self,
        controller: Option<Box<dyn Controller>>,
        now: Moment,
        settle: &mut impl FnMut(Outcome, &Content),
    ) {
        self.pto_count = 0;
        self.probes = 0;
        if let Some(controller) = controller {
            self.controller = controller;
            self.pacer = Pacer::new(DATAGRAM_SIZE as u64);
            self.rtt = RttEstimator::new();
            self.reordering = Reordering::new();
            self.measured = None;
        }
        self.loss_at = None;
        self.path_start = self.sent.next_number();
        for number in self.sent.base()..self.path_start {
            let Some(packet) = self.sent.packet(number) else { break };
            if packet.fate == Fate::InFlight {
                settle(Outcome::Lost, &packet.content);
                self.sent.settle(number, Fate::Lost(now));
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    /// Makes room for one more sent packet.
    pub(crate) fn make_room(&mut self, now: Moment, settle: &mut impl FnMut(Outcome, &Content)) {
        while let Some(number) = self.sent.oldest_beyond(SENT_KEPT_MAX) {
            let was = self.sent.settle(number, Fate::Lost(now)).map(|settled| settled.was);
            if let Some(packet) = self.sent.packet(number).filter(|_| was == Some(Fate::InFlight)) {
                self.lost = self.lost.saturating_add(1);
                settle(Outcome::Lost, &packet.content);
            }
            self.sent.drop_oldest();
        }
    }

    /// When [`Self::on_timeout`] has to be called.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        if self.loss_at.is_some() {
            return self.loss_at;
        }
        // Probes that wait have no timer: they leave at once, and start it again.
        (self.sent.in_flight > 0 && self.probes == 0).then(|| self.probe_at())
    }

    /// What is due is done in time by who is awake. How long the answer to something from before a sleep took
    /// says nothing of the path, and would slow down everything that is reckoned from it.
    fn note_sleep(&mut self, now: Moment) {
        // Who talks was not asleep: the first probe comes after what it counts from.
        let since = self.last_asked.min(self.silent_since);
        let talks = self.pto_count == 0 && now.saturating_since(since) <= SLEPT_AFTER;
        if talks && self.loss_at.is_none() {
            return;
        }
        if self.deadline().is_some_and(|due| now.saturating_since(due) > SLEPT_AFTER) {
            self.awake_since = now;
        }
    }

    /// The timer expired: finds losses, or asks for probes.
    pub(crate) fn on_timeout(&mut self, now: Moment, settle: &mut impl FnMut(Outcome, &Content)) -> Expired {
        self.note_sleep(now);
        if self.loss_at.is_some() {
            self.detect_losses(now, settle);
            return Expired::Losses;
        }
        if self.pto_count == 0 {
            self.thin = self.sent.in_flight < THIN;
        }
        self.pto_count = self.pto_count.saturating_add(1);
        self.timeouts = self.timeouts.saturating_add(1);
        self.probes = PROBE_PACKETS;
        Expired::Probe
    }

    /// When what is sent now is answered, as far as anything in flight asks for it.
    pub(crate) fn answer_due(&self, now: Moment) -> Option<Moment> {
        self.rtt.smoothed().filter(|_| self.sent.in_flight > 0).map(|rtt| now + rtt)
    }

    /// The content of the oldest packets in flight, for a probe to carry again. What the first of
    /// them carried may have arrived with a later one.
    pub(crate) fn oldest_in_flight(&self) -> impl Iterator<Item = &Content> {
        self.sent.open().map(|packet| &packet.content).take(REPEATED_MAX)
    }

    /// Whether a probe went out and nothing new was acknowledged since.
    pub(crate) const fn is_backing_off(&self) -> bool {
        self.pto_count > 0
    }

    /// How many times that was so in a row.
    pub(crate) const fn unanswered_probes(&self) -> u32 {
        self.pto_count
    }

    /// When a probe is due: counted from the last packet that asks (RFC 9002 section 6.2.1), but not put
    /// off by more than as much again by a user who goes on writing. Once probes are out, it counts from
    /// the last of those alone.
    fn probe_at(&self) -> Moment {
        let interval = self.probe_interval();
        if self.pto_count > 0 {
            return self.last_probe + interval;
        }
        (self.last_asked + interval).min(self.silent_since + interval.saturating_mul(PUT_OFF))
    }

    /// Time between the last packet that asks and the next probe.
    fn probe_interval(&self) -> Duration {
        if self.pto_count == 0 {
            return self.rtt.pto().min(PROBE_INTERVAL_MAX);
        }
        let factor = if self.thin {
            let exponent = self.pto_count.saturating_sub(LINEAR_PROBES.saturating_sub(1));
            self.pto_count.saturating_add(1).min(LINEAR_PROBES).saturating_mul(doubled(exponent))
        } else {
            doubled(self.pto_count)
        };
        self.rtt.pto().saturating_mul(factor).min(PROBE_INTERVAL_MAX)
    }

    fn forget_settled(&mut self, now: Moment) {
        let rtt = &self.rtt;
        self.sent.forget(|| lost_kept_since(rtt, now));
    }

    fn detect_losses(&mut self, now: Moment, settle: &mut impl FnMut(Outcome, &Content)) {
        self.loss_at = None;
        let Some(largest_acked) = self.largest_acked else {
            return;
        };
        if self.sent.base() >= largest_acked {
            return;
        }
        let delay = self.reordering.delay(self.rtt.slower());
        let mut losses = Losses::default();
        let mut narrower = false;
        for number in self.sent.base()..largest_acked {
            let Some(packet) = self.sent.packet(number) else { break };
            match packet.fate {
                Fate::InFlight => {}
                Fate::Acked => {
                    losses.interrupted();
                    continue;
                }
                Fate::Unasked | Fate::Aside | Fate::Lost(_) => continue,
            }
            let overdue = packet.at + delay;
            let overtaken = largest_acked.saturating_sub(number) >= self.reordering.packets();
            if !overtaken && overdue > now {
                self.loss_at = Some(self.loss_at.map_or(overdue, |at| at.min(overdue)));
                continue;
            }
            let Some(settled) = self.sent.settle(number, Fate::Lost(now)) else { break };
            losses.note(settled.at, settled.size, self.measured);
            narrower |= self.mtu.on_lost(number, settled.size, now);
            self.lost = self.lost.saturating_add(1);
            if let Some(packet) = self.sent.packet(number) {
                settle(Outcome::Lost, &packet.content);
            }
        }
        if narrower {
            self.on_datagram_size();
        }
        if losses.bytes > 0 {
            let persistent = losses.longest > self.rtt.pto().saturating_mul(PERSISTENT_PTO);
            if persistent {
                self.rtt.forget_least();
            }
            self.controller.on_lost(losses.bytes, losses.newest, persistent, now);
        }
    }

    /// Datagrams have another size from now on.
    pub(crate) fn on_datagram_size(&mut self) {
        let size = self.mtu.size() as u64;
        self.controller.on_datagram_size(size);
        self.pacer.on_datagram_size(size);
    }

    fn on_late(&mut self, ahead: u64, at: Moment, spurious: bool, now: Moment) {
        if spurious {
            self.lost = self.lost.saturating_sub(1);
            self.spurious = self.spurious.saturating_add(1);
        }
        self.reordering.on_late(ahead, now.saturating_since(at), self.rtt.slower(), spurious);
    }
}

/// Losses found at once.
#[derive(Debug, Default)]
struct Losses {
    bytes: u64,
    newest: Moment,
    /// When the first of a row without an arrival in between was sent.
    row_start: Option<Moment>,
    /// Longest time that a row covers.
    longest: Duration,
}

impl Losses {
    /// Notes a packet that was sent at `at`. Before the first round-trip time was `measured` nobody
    /// knows what a long time is (RFC 9002 section 7.6.2).
    fn note(&mut self, at: Moment, size: u64, measured: Option<Moment>) {
        self.bytes = self.bytes.saturating_add(size);
        self.newest = self.newest.max(at);
        if measured.is_some_and(|measured| at > measured) {
            let start = *self.row_start.get_or_insert(at);
            self.longest = self.longest.max(at.saturating_since(start));
        }
    }

    const fn interrupted(&mut self) {
        self.row_start = None;
    }
}

/// Whatever was lost before is forgotten. Seldom is anything lost.
#[cold]
fn lost_kept_since(rtt: &RttEstimator, now: Moment) -> Moment {
    now - rtt.pto().saturating_mul(LOST_KEPT_PTO)
}

/// 2 to the power of `exponent`.
fn doubled(exponent: u32) -> u32 {
    1u32.checked_shl(exponent).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
