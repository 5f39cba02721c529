//! Which packets are lost, and when to probe (RFC 9002 sections 5 and 6).

use core::time::Duration;

use p2pchat_proto::Moment;
use p2pchat_proto::frame::Ack;

use super::congestion::Controller;
use super::packets::{Content, Fate, SentPacket, SentPackets};
use super::rtt::{GRANULARITY, RttEstimator};

/// Packets that may overtake one before it counts as lost, at first (RFC 9002 section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;
/// What the threshold by packets may grow to (protocol section 12).
const PACKET_THRESHOLD_MAX: u64 = 64;
/// Eighths of a round-trip time after which a packet counts as lost, at first (RFC 9002 section
/// 6.1.2: 9/8).
const TIME_THRESHOLD_EIGHTHS: u32 = 9;
/// What the threshold by time may grow to, in eighths: two round-trip times.
const TIME_THRESHOLD_EIGHTHS_MAX: u32 = 16;
/// Probe timeouts for which a lost packet is kept, in case it arrives after all.
const LOST_KEPT_PTO: u32 = 2;
/// Probe timeouts over which everything has to be lost to count as persistent congestion (RFC 9002
/// section 7.6.1, kPersistentCongestionThreshold).
const PERSISTENT_PTO: u32 = 3;
/// Fewer packets in flight than this are a thin stream (protocol section 5).
const THIN: usize = 4;
/// Probes of a thin stream that back off linearly (protocol section 5).
const LINEAR_PROBES: u32 = 4;
/// Longest time between two probes, so that several fall into the time after which a session is
/// lost, even if a machine that slept took its sleep for a round trip.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Packets in flight that are looked through for the content of a probe.
const REPEATED_MAX: usize = 64;
/// Sent packets that are kept. More are only there when the peer takes and does not acknowledge;
/// then the oldest counts as lost.
const SENT_KEPT_MAX: usize = 1 << 16;
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
    largest_acked: Option<u64>,
    packet_threshold: u64,
    time_threshold_eighths: u32,
    /// When the oldest packet that was overtaken counts as lost by time.
    loss_at: Option<Moment>,
    /// When the newest packet that asks was sent.
    last_asked: Moment,
    /// When the newest probe was sent.
    last_probe: Moment,
    /// Timeouts since the last acknowledgement of something new.
    pto_count: u32,
    /// Whether the stream was thin at the first of them. The probes themselves do not count.
    thin: bool,
    /// Packets that a probe still has to send, whatever the window says.
    pub(crate) probes: u32,
    /// Whether the window held something back since the last packet left.
    pub(crate) window_limited: bool,
    pub(crate) lost: u64,
}

impl Recovery {
    pub(crate) fn new(controller: Box<dyn Controller>) -> Self {
        Self {
            sent: SentPackets::default(),
            rtt: RttEstimator::new(),
            controller,
            largest_acked: None,
            packet_threshold: PACKET_THRESHOLD,
            time_threshold_eighths: TIME_THRESHOLD_EIGHTHS,
            loss_at: None,
            last_asked: Moment::ZERO,
            last_probe: Moment::ZERO,
            pto_count: 0,
            thin: false,
            probes: 0,
            window_limited: false,
            lost: 0,
        }
    }

    /// Bytes that may leave now.
    pub(crate) fn room(&self) -> u64 {
        self.controller.window().saturating_sub(self.sent.bytes_in_flight)
    }

    /// Notes a packet that left.
    pub(crate) fn on_sent(&mut self, size: u64, asks: bool, content: Content, now: Moment) {
        let fate = if asks { Fate::InFlight } else { Fate::Unasked };
        self.sent.push(SentPacket { at: now, size, fate, content });
        if asks {
            self.last_asked = now;
            if self.probes > 0 {
                self.last_probe = now;
            }
            self.probes = self.probes.saturating_sub(1);
            self.controller.on_sent(size, self.sent.bytes_in_flight, now);
        } else {
            // An acknowledgement asks for none; behind a settled front it need not be kept.
            self.sent.forget(self.lost_kept_since(now));
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
        let mut newly_asked = false;
        let mut largest_at = None;
        let app_limited = !self.window_limited;
        for range in ack.ranges() {
            if *range.end() < self.sent.base() {
                break;
            }
            for number in (*range.start()).max(self.sent.base())..=*range.end() {
                let Some(packet) = self.sent.packet(number) else { break };
                if packet.fate == Fate::Acked {
                    continue;
                }
                let Some(settled) = self.sent.settle(number, Fate::Acked) else { break };
                match settled.was {
                    Fate::InFlight => {
                        newly_asked = true;
                        self.controller.on_acked(settled.size, settled.at, app_limited, &self.rtt, now);
                    }
                    Fate::Lost(_) => self.on_spurious(number, ack.largest, settled.at, settled.size, now),
                    Fate::Unasked | Fate::Acked => {}
                }
                if number == ack.largest {
                    largest_at = Some(settled.at);
                }
                if let Some(packet) = self.sent.packet(number) {
                    settle(Outcome::Acked, &packet.content);
                }
            }
        }
        if let Some(at) = largest_at.filter(|_| newly_asked) {
            self.rtt.on_sample(now.saturating_since(at), ack.delay);
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest));
        if newly_asked {
            self.pto_count = 0;
            self.probes = 0;
        }
        self.detect_losses(now, settle);
        self.sent.forget(self.lost_kept_since(now));
        Ok(())
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
        (self.sent.in_flight > 0 && self.probes == 0).then(|| self.awaited_since() + self.probe_interval())
    }

    /// The timer expired: finds losses, or asks for probes.
    pub(crate) fn on_timeout(&mut self, now: Moment, settle: &mut impl FnMut(Outcome, &Content)) -> Expired {
        if self.loss_at.is_some() {
            self.detect_losses(now, settle);
            return Expired::Losses;
        }
        if self.pto_count == 0 {
            self.thin = self.sent.in_flight < THIN;
        }
        self.pto_count = self.pto_count.saturating_add(1);
        self.probes = PROBE_PACKETS;
        Expired::Probe
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

    /// From when the probe timer counts: the last packet that asks (RFC 9002 section 6.2.1). Once
    /// probes are out, only from the last of those, or a user who goes on writing would put the next
    /// probe off for as long as the peer does not answer.
    const fn awaited_since(&self) -> Moment {
        if self.pto_count > 0 { self.last_probe } else { self.last_asked }
    }

    /// Time between the last packet that asks and the next probe.
    fn probe_interval(&self) -> Duration {
        let factor = if self.thin {
            let exponent = self.pto_count.saturating_sub(LINEAR_PROBES.saturating_sub(1));
            self.pto_count.saturating_add(1).min(LINEAR_PROBES).saturating_mul(doubled(exponent))
        } else {
            doubled(self.pto_count)
        };
        self.rtt.pto().saturating_mul(factor).min(PROBE_INTERVAL_MAX)
    }

    fn loss_delay(&self) -> Duration {
        let slower = self.rtt.slower();
        slower.saturating_mul(self.time_threshold_eighths).checked_div(8).unwrap_or(slower).max(GRANULARITY)
    }

    fn lost_kept_since(&self, now: Moment) -> Moment {
        now - self.rtt.pto().saturating_mul(LOST_KEPT_PTO)
    }

    fn detect_losses(&mut self, now: Moment, settle: &mut impl FnMut(Outcome, &Content)) {
        self.loss_at = None;
        let Some(largest_acked) = self.largest_acked else {
            return;
        };
        let delay = self.loss_delay();
        let mut losses = Losses::default();
        for number in self.sent.base()..largest_acked {
            let Some(packet) = self.sent.packet(number) else { break };
            match packet.fate {
                Fate::InFlight => {}
                Fate::Acked => {
                    losses.interrupted();
                    continue;
                }
                Fate::Unasked | Fate::Lost(_) => continue,
            }
            let overdue = packet.at + delay;
            let overtaken = largest_acked.saturating_sub(number) >= self.packet_threshold;
            if !overtaken && overdue > now {
                self.loss_at = Some(self.loss_at.map_or(overdue, |at| at.min(overdue)));
                continue;
            }
            let Some(settled) = self.sent.settle(number, Fate::Lost(now)) else { break };
            losses.note(settled.at, settled.size);
            self.lost = self.lost.saturating_add(1);
            if let Some(packet) = self.sent.packet(number) {
                settle(Outcome::Lost, &packet.content);
            }
        }
        if losses.bytes > 0 {
            let persistent = self.rtt.smoothed().is_some()
                && losses.longest > self.rtt.pto().saturating_mul(PERSISTENT_PTO);
            self.controller.on_lost(losses.bytes, losses.newest, persistent, now);
        }
    }

    /// Reordering deeper or slower than the thresholds allow raises them (RFC 9002 sections 6.1.1
    /// and 6.1.2 leave how).
    fn on_spurious(&mut self, number: u64, largest: u64, at: Moment, size: u64, now: Moment) {
        let depth = largest.saturating_sub(number).saturating_add(1);
        self.packet_threshold = self.packet_threshold.max(depth).min(PACKET_THRESHOLD_MAX);
        self.time_threshold_eighths =
            self.time_threshold_eighths.saturating_add(1).min(TIME_THRESHOLD_EIGHTHS_MAX);
        self.lost = self.lost.saturating_sub(1);
        self.controller.on_spurious_loss(size, at, now);
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
    fn note(&mut self, at: Moment, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        self.newest = self.newest.max(at);
        let start = *self.row_start.get_or_insert(at);
        self.longest = self.longest.max(at.saturating_since(start));
    }

    const fn interrupted(&mut self) {
        self.row_start = None;
    }
}

/// 2 to the power of `exponent`.
fn doubled(exponent: u32) -> u32 {
    1u32.checked_shl(exponent).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
