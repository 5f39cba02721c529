//! How everything is: sessions, the path each takes, the counters of the socket.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use p2pchat_crypto::Suite;
use p2pchat_crypto::safety::SafetyNumber;
use p2pchat_proto::PeerId;
use p2pchat_session::{SessionId, SessionInfo};

use super::Engine;
use crate::event::{
    CommandId, Event, PathKind, PathReport, SessionLink, SessionReport, SocketReport, Sought,
};
use crate::now::Now;
use crate::sizes::Sizes;

impl Engine {
    /// How much this client holds.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            wishes: self.wishes.len(),
            incoming: self.incoming.len(),
            calls: self.calls.len(),
            meetings: self.meetings.len(),
            unpolled: self.effects.len().saturating_add(self.events.len()),
            session: self.endpoint.held(),
        }
    }

    /// Own messages that `peer` does not store, as far as this process has looked after them.
    pub fn undelivered(&self, peer: PeerId) -> usize {
        self.conversations.undelivered(peer)
    }

    pub(super) fn report(&mut self, id: CommandId, now: Now) {
        let sessions =
            self.meetings.keys().filter_map(|&session| self.session_report(session, now)).collect();
        let stats = self.endpoint.stats();
        let socket = SocketReport {
            received: stats.received,
            answered: stats.answered,
            mac_failed: stats.mac_failed,
            key_exchanges: stats.key_exchanges,
            limited: stats.limited,
            repeated: stats.repeated,
            dropped: stats.dropped,
        };
        let sought = self.sought();
        self.events.push_back(Event::Info { id, sessions, sought, socket });
    }

    /// Everybody who is looked for where they were last, or asked for by way of the broker.
    fn sought(&self) -> Vec<Sought> {
        let known = |peer: PeerId| Sought { name: self.people.shown(peer), peer: Some(peer) };
        let wished = self.wishes.values().map(|wish| {
            let pinned = || self.people.pinned_as(wish.name.as_ref()?);
            let unknown = || Sought { name: wish.name.clone(), peer: None };
            wish.peer.or_else(pinned).map_or_else(unknown, known)
        });
        let all: BTreeSet<Sought> = self.reunions.keys().copied().map(known).chain(wished).collect();
        all.into_iter().collect()
    }

    /// Where a session runs, once it does.
    pub(super) fn session_link(&self, session: SessionId, now: Now) -> Option<SessionLink> {
        let info = self.endpoint.info(session, now.moment)?;
        let remote = info.remote;
        let port = if remote.is_ipv4() { self.ports.v4 } else { self.ports.v6 };
        let local = info.local_ip.map(|ip| SocketAddr::new(ip, port));
        Some(SessionLink {
            path: path_kind(info.local_ip, remote),
            local,
            remote,
            rtt: info.srtt,
            cipher: cipher(info.suite),
        })
    }

    /// The safety number of this user and `peer`, as words.
    pub(super) fn safety_words(&self, peer: PeerId) -> String {
        SafetyNumber::between(self.me.peer_id(), peer).words().join(" ")
    }

    fn session_report(&self, session: SessionId, now: Now) -> Option<SessionReport> {
        let meeting = self.meetings.get(&session)?;
        let info = self.endpoint.info(session, now.moment)?;
        #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
        let loss = if info.sent == 0 { 0.0 } else { info.lost as f64 / info.sent as f64 };
        Some(SessionReport {
            peer: meeting.peer,
            name: self.people.shown(meeting.peer),
            state: meeting.state,
            link: self.session_link(session, now),
            loss,
            key_epoch: info.epoch,
            key_age: info.key_age,
            trust: self.people.trust(meeting.peer),
            sent: info.sent,
            received: info.received,
            retransmitted: info.retransmitted,
            path: path_report(&info),
            may_return_until: self.endpoint.may_return_until(meeting.peer),
        })
    }
}

const fn path_report(info: &SessionInfo) -> PathReport {
    let SessionInfo { validated, moves, observed, mtu, black_holes, path, .. } = *info;
    PathReport {
        validated,
        moves,
        observed,
        mtu,
        black_holes,
        rtt_least: path.rtt_least,
        rtt_variation: path.rtt_variation,
        pto: path.pto,
        window: path.window,
        threshold: path.threshold,
        in_flight: path.in_flight,
        pace: path.pace,
        reductions: path.reductions,
        spurious: path.spurious,
        timeouts: path.timeouts,
    }
}

/// As users know the suites.
fn cipher(suite: Suite) -> &'static str {
    match suite {
        Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        Suite::Aes256Gcm => "AES-256-GCM",
    }
}

/// One's own address stays within one machine; private, link-local and loopback addresses (RFC 1918,
/// 3927, 4193, 4291) within one network.
fn path_kind(local: Option<IpAddr>, remote: SocketAddr) -> PathKind {
    let here = local == Some(remote.ip());
    let near = match remote.ip().to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    };
    if here || near { PathKind::Lan } else { PathKind::Direct }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_within_one_network_is_lan() {
        for near in
            ["10.0.0.1:1", "127.0.0.1:1", "[::1]:1", "[fe80::1]:1", "[fd00::1]:1", "[::ffff:192.168.0.1]:1"]
        {
            assert_eq!(path_kind(None, near.parse().expect("an address")), PathKind::Lan, "{near}");
        }
        for far in ["198.51.100.1:1", "[2001:db8::1]:1"] {
            assert_eq!(path_kind(None, far.parse().expect("an address")), PathKind::Direct, "{far}");
        }
        let here = "198.51.100.1".parse().ok();
        assert_eq!(path_kind(here, "198.51.100.1:1".parse().expect("an address")), PathKind::Lan);
    }
}
