//! `/info` in few lines a session.

use p2pchat_client::event::{PathReport, SessionReport, SocketReport, Sought};
use p2pchat_proto::PeerId;

use super::{describe, session_state, trust_text};
use crate::output::{Shown, TimeOfDay, bytes, duration};

pub(super) fn info(
    sessions: &[SessionReport],
    sought: &[Sought],
    socket: &SocketReport,
    clock: &TimeOfDay,
) -> Vec<Shown> {
    let mut lines: Vec<String> = sessions.iter().flat_map(|report| session(report, clock)).collect();
    lines.extend(sought.iter().map(looked_for));
    if lines.is_empty() {
        lines.push("No sessions.".to_owned());
    }
    lines.push(format!(
        "socket: {} received, {} answered ({} of them again), {} with a wrong MAC, {} beyond the limits, \
         {} key exchanges, {} dropped",
        socket.received,
        socket.answered,
        socket.repeated,
        socket.mac_failed,
        socket.limited,
        socket.key_exchanges,
        socket.dropped
    ));
    lines.iter().map(|line| Shown::data(line)).collect()
}

/// Somebody who is no session yet.
pub(super) fn looked_for(Sought { name, peer }: &Sought) -> String {
    let who = name.as_ref().map(ToString::to_string).or_else(|| peer.as_ref().map(PeerId::short));
    format!("{}: looked for", who.unwrap_or_default())
}

fn session(report: &SessionReport, clock: &TimeOfDay) -> [String; 5] {
    let who = report.name.as_ref().map_or_else(|| report.peer.short(), ToString::to_string);
    let link = report.link.as_ref().map_or_else(|| "no path".to_owned(), describe);
    let returns = match report.may_return_until {
        Some(until) => format!("comes back without asking until {}", clock.day(until)),
        None => "has to ask to come back".to_owned(),
    };
    [
        format!(
            "{who}: {} · {link} · loss {:.1} % · key {} for {} · {}",
            session_state(report.state),
            report.loss * 100.0,
            report.key_epoch,
            duration(report.key_age),
            trust_text(report.trust)
        ),
        format!(
            "  packets: {} sent, {} received, {} sent again, {} wrongly taken for lost",
            report.sent, report.received, report.retransmitted, report.path.spurious
        ),
        format!("  path: {}", place(&report.path)),
        format!("  sending: {}", sending(&report.path)),
        format!("  {returns}"),
    ]
}

fn place(path: &PathReport) -> String {
    let proven = if path.validated { "proven" } else { "not proven yet" };
    let observed = path.observed.map_or_else(String::new, |at| format!(", seen as {at}"));
    let least = path.rtt_least.map_or_else(String::new, |rtt| format!(" · RTT at least {}", duration(rtt)));
    format!(
        "{proven}, moved {} times{observed}{least}, varies by {} · datagrams of {} bytes, {} black holes",
        path.moves,
        duration(path.rtt_variation),
        path.mtu,
        path.black_holes
    )
}

fn sending(path: &PathReport) -> String {
    let pace = path.pace.map_or_else(|| "unpaced".to_owned(), |pace| format!("{}/s", bytes(pace)));
    let threshold = path.threshold.map_or_else(String::new, |at| format!(", with care above {}", bytes(at)));
    format!(
        "window {}{threshold}, {} in flight, {pace} · probe after {} · {} timeouts, {} reductions",
        bytes(path.window),
        bytes(path.in_flight),
        duration(path.pto),
        path.timeouts,
        path.reductions
    )
}
