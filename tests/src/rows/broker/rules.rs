//! B8: what clients say out of order.

use std::collections::{BTreeMap, HashSet};
use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use p2pchat_proto::broker::{
    Answer, AnswerBody, Answered, Cancel, CancelledWhy, Endpoints, FromBroker, Hello, Incoming, Reason,
    Request, SealedEndpoints, ToBroker,
};
use p2pchat_proto::offer::SignedOffer;
use p2pchat_proto::{Moment, PeerId, RequestId, WallTime};
use p2pchat_registry::{Command, Config, ConnId, Registry};
use rand::RngExt;

use crate::rows::{Defence, Lab, NotRun, Seen};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What four clients say in one run of the state machine.
const STEPS: usize = 20_000;
/// Few ids, so that they meet again.
const IDS: u8 = 12;
/// What clients may have forwarded: requests, accepts, declines, endpoints and cancels.
const KINDS: usize = 5;

/// Who may say what about a request, as the protocol has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    from: ConnId,
    to: ConnId,
    accepted: bool,
}

/// Takes what a client says; what others hear of it.
trait Rules {
    fn say(&mut self, conn: ConnId, message: ToBroker) -> Vec<(ConnId, FromBroker)>;
}

struct Real(Registry);

impl Rules for Real {
    fn say(&mut self, conn: ConnId, message: ToBroker) -> Vec<(ConnId, FromBroker)> {
        self.0.handle(conn, 1, message, Moment::from_nanos(1));
        commands(&mut self.0)
    }
}

fn commands(registry: &mut Registry) -> Vec<(ConnId, FromBroker)> {
    let mut sent = Vec::new();
    while let Some(command) = registry.poll_command() {
        match command {
            Command::Send { conn, message, .. } => sent.push((conn, message)),
            Command::Persist { ticket, .. } => registry.persisted(ticket, Ok(())),
            Command::Close { .. } => {}
        }
    }
    sent
}

/// The double: it passes everything on and keeps only who asked whom last.
#[derive(Default)]
struct PassesOn(BTreeMap<RequestId, (ConnId, ConnId)>);

impl Rules for PassesOn {
    fn say(&mut self, conn: ConnId, message: ToBroker) -> Vec<(ConnId, FromBroker)> {
        let from = peer(conn);
        if let ToBroker::Request(Request { request, to, offer, .. }) = message {
            let to = to.map_or(conn, |to| ConnId(u64::from(to.0[0])));
            self.0.insert(request, (conn, to));
            return vec![(to, Incoming { request, from, name: None, offer }.into())];
        }
        let ToBroker::Answer(Answer { request, answer }) = message else { return Vec::new() };
        let asker = self.0.get(&request).map(|(asker, _)| *asker);
        asker.map(|asker| (asker, Answered { request, from, answer }.into())).into_iter().collect()
    }
}

fn peer(conn: ConnId) -> PeerId {
    PeerId([u8::try_from(conn.0).unwrap_or(0); 32])
}

fn member(registry: &mut Registry, conn: ConnId, now: Moment) {
    registry.connected(conn, LOOPBACK, now);
    let hello = Hello { versions: vec![1], features: 0, peer: peer(conn), signature: [0; 64] };
    registry.login(conn, 1, &hello, WallTime(0), now);
}

/// B8. Four clients say whatever they like; everything forwarded is held against the model.
pub(super) fn requests(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let conns = [1, 2, 3, 4].map(ConnId);
    let mut rules: Box<dyn Rules> = match defence {
        Defence::InPlace => {
            let generous = p2pchat_registry::Rate { burst: u32::MAX, refill: Duration::from_nanos(1) };
            let config = Config {
                requests: generous,
                requests_per_pair: generous,
                messages: generous,
                ..Config::default()
            };
            let mut registry =
                Registry::new(config, None, []).map_err(|conflict| NotRun(format!("{conflict:?}")))?;
            conns.iter().for_each(|conn| member(&mut registry, *conn, Moment::from_nanos(1)));
            commands(&mut registry);
            Box::new(Real(registry))
        }
        Defence::Removed => Box::<PassesOn>::default(),
    };
    let mut open: BTreeMap<RequestId, Open> = BTreeMap::new();
    let (mut forwarded, mut wrong, mut kinds) = (0, 0, HashSet::new());
    for _ in 0..STEPS {
        let conn = conns[lab.rng.random_range(0..conns.len())];
        let said = saying(lab, &conns);
        for (to, heard) in rules.say(conn, said) {
            let Some(allowed) = follow(&mut open, conn, to, &heard) else { continue };
            forwarded += 1;
            let accepts =
                matches!(heard, FromBroker::Answered(Answered { answer: AnswerBody::Accept { .. }, .. }));
            kinds.insert((discriminant(&heard), accepts));
            wrong += usize::from(!allowed);
        }
    }
    let what = format!("{wrong} of {forwarded} forwarded messages were not allowed");
    // The double forwards less, and has to go red for what it forwards.
    let enough = defence == Defence::Removed || kinds.len() == KINDS;
    Ok(Seen::when(wrong == 0 && enough, what).figure(format!("{STEPS} steps, {forwarded} forwarded")))
}

fn saying(lab: &mut Lab, conns: &[ConnId]) -> ToBroker {
    let request = RequestId([lab.rng.random_range(0..IDS); 16]);
    let offer = SignedOffer { body: vec![1; 10], signature: [1; 64] };
    let sealed = || SealedEndpoints::new(vec![5; 40]).unwrap_or_else(|| unreachable!("40 bytes fit"));
    match lab.rng.random_range(0..5) {
        0 => {
            let to = Some(peer(conns[lab.rng.random_range(0..conns.len())]));
            Request { request, to, name: None, offer }.into()
        }
        1 => Answer { request, answer: AnswerBody::Accept { offer, endpoints: sealed() } }.into(),
        2 => Answer { request, answer: AnswerBody::Decline { reason: Reason::new("no") } }.into(),
        3 => Cancel { request }.into(),
        _ => Endpoints { request, sealed: sealed() }.into(),
    }
}

/// Whether `conn` was allowed to make `to` hear this; none for what is no forwarding.
fn follow(
    open: &mut BTreeMap<RequestId, Open>,
    conn: ConnId,
    to: ConnId,
    heard: &FromBroker,
) -> Option<bool> {
    match heard {
        FromBroker::Incoming(Incoming { request, from, .. }) => {
            let fresh = !open.contains_key(request) && *from == peer(conn) && to != conn;
            open.insert(*request, Open { from: conn, to, accepted: false });
            Some(fresh)
        }
        FromBroker::Answered(Answered { request, from, answer }) => {
            let state = open.get(request).copied();
            let allowed = state == Some(Open { from: to, to: conn, accepted: false }) && *from == peer(conn);
            match answer {
                AnswerBody::Accept { .. } => open.entry(*request).and_modify(|state| state.accepted = true),
                AnswerBody::Decline { .. } => {
                    open.remove(request);
                    return Some(allowed);
                }
            };
            Some(allowed)
        }
        FromBroker::Endpoints(Endpoints { request, .. }) => Some(open.get(request).is_some_and(|state| {
            state.accepted && [(state.from, state.to), (state.to, state.from)].contains(&(conn, to))
        })),
        FromBroker::Cancelled(cancelled) => {
            let state = open.remove(&cancelled.request);
            let own = state == Some(Open { from: conn, to, accepted: false });
            Some(own && cancelled.why == CancelledWhy::TakenBack)
        }
        FromBroker::Welcome(_)
        | FromBroker::Refused(_)
        | FromBroker::Reply(_)
        | FromBroker::PresenceSnapshot(_)
        | FromBroker::PresenceDelta(_)
        | FromBroker::Replaced(_)
        | FromBroker::Restarting(_)
        | FromBroker::Pong(_)
        | FromBroker::Succeeded(_)
        | FromBroker::Unsupported(_) => None,
    }
}
