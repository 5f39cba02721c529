//! `doctor`: what only a running client can tell, the broker above all; and whether somebody is reached.

use p2pchat_client::desk::{Action, Check, Desk, Local};
use p2pchat_client::event::{BrokerEvent, BrokerState, SessionReport, SessionState};
use p2pchat_client::{Command, CommandId, Event, Failure, Target};
use tokio::time::{Duration, Instant};

use super::task::{BrokerWait, Step, Task, ask};
use crate::output::duration;

/// How long somebody may take to answer, and the path to be found.
const MEETING_WAIT: Duration = Duration::from_secs(30);
/// How long the broker may take to answer once it is there.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// From so many milliseconds on, clocks that differ are worth a word: a tenth of what an offer may be off
/// (protocol section 2).
const CLOCK_WARNS_MS: i64 = 60_000;
/// A name that nobody has, as all of them are longer: the broker is asked for something small.
const NOBODY: &str = "-";

/// What is waited for.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Broker,
    RoundTrip(CommandId),
    Meeting,
    Report(CommandId),
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Doctor {
    who: Option<(Target, String)>,
    wait: BrokerWait,
    phase: Phase,
    since: Instant,
    until: Instant,
    asked: Option<CommandId>,
    /// There was a session before, which stays.
    was_up: bool,
    checks: Vec<Check>,
    failure: Option<Failure>,
}

impl Doctor {
    /// At the broker of that address; with somebody, a session with them is tried.
    pub fn new(who: Option<(Target, String)>, broker: &str, now: Instant) -> Self {
        let wait = BrokerWait::new(broker, now);
        let until = wait.until;
        Self {
            who,
            wait,
            phase: Phase::Broker,
            since: now,
            until,
            asked: None,
            was_up: false,
            checks: Vec::new(),
            failure: None,
        }
    }

    fn broker(&mut self, event: &BrokerEvent, desk: &mut Desk, now: Instant) -> Vec<Step> {
        self.wait.note(event);
        match event.state {
            BrokerState::Connecting | BrokerState::Lost => Vec::new(),
            BrokerState::Refused => {
                let failure = self.wait.refused(event);
                self.broker_fails(failure, desk, now)
            }
            BrokerState::Connected => {
                let key = event.key.map_or_else(String::new, |key| format!(", its key is {key}"));
                self.checks
                    .push(Check::ok("broker", format!("connected to {}{key}, as known", event.address)));
                self.checks.push(clock(event.clock_ahead_ms));
                let id = desk.next_id();
                self.phase = Phase::RoundTrip(id);
                (self.since, self.until) = (now, now + ANSWER_WAIT);
                vec![ask(id, Command::People { prefix: NOBODY.to_owned() })]
            }
        }
    }

    fn broker_fails(&mut self, failure: Failure, desk: &mut Desk, now: Instant) -> Vec<Step> {
        self.checks.push(Check::failed("broker", &failure));
        self.failure = Some(failure);
        self.meet(desk, now)
    }

    /// Goes on to whom a session is tried with. A contact may be reached without the broker.
    fn meet(&mut self, desk: &mut Desk, now: Instant) -> Vec<Step> {
        let Some((target, _)) = self.who.clone() else { return self.end() };
        let id = desk.next_id();
        if self.is_up(desk) {
            self.was_up = true;
            return self.report(id, now);
        }
        self.asked = Some(id);
        self.phase = Phase::Meeting;
        (self.since, self.until) = (now, now + MEETING_WAIT);
        vec![ask(id, Command::Reach { to: target, wait: MEETING_WAIT })]
    }

    fn is_up(&self, desk: &Desk) -> bool {
        let Some((target, _)) = &self.who else { return false };
        let peers = desk.people().conversations().iter();
        peers
            .filter(|talk| desk.people().is_connected(talk.peer))
            .any(|talk| desk.people().is(target, talk.peer))
    }

    fn report(&mut self, id: CommandId, now: Instant) -> Vec<Step> {
        self.phase = Phase::Report(id);
        self.until = now + ANSWER_WAIT;
        vec![ask(id, Command::Info)]
    }

    fn reported(&mut self, sessions: &[SessionReport], desk: &mut Desk) -> Vec<Step> {
        let Some((target, label)) = &self.who else { return self.end() };
        let Some(session) = sessions.iter().find(|session| desk.people().is(target, session.peer)) else {
            let failure = Failure::SessionLost { who: label.clone() };
            return self.not_met(failure);
        };
        let how = crate::output::plain::describe_link(session);
        let loss = format!("loss {:.1} %", session.loss * 100.0);
        let already = if self.was_up { ", as the session that is up" } else { "" };
        self.checks.push(Check::ok("path", format!("{label} is reached: {how}, {loss}{already}")));
        self.end()
    }

    fn not_met(&mut self, failure: Failure) -> Vec<Step> {
        self.checks.push(Check::failed("path", &failure));
        self.failure.get_or_insert(failure);
        self.end()
    }

    fn end(&mut self) -> Vec<Step> {
        self.phase = Phase::Over;
        let checks = core::mem::take(&mut self.checks);
        vec![Step::Do(Action::Show(Local::Checks(checks))), Step::Stop(self.failure.clone())]
    }
}

impl Task for Doctor {
    fn event(&mut self, event: &Event, desk: &mut Desk, now: Instant) -> Vec<Step> {
        match (event, &self.phase) {
            (Event::Broker(event), Phase::Broker) => self.broker(event, desk, now),
            (Event::People { id, .. }, Phase::RoundTrip(asked)) if id == asked => {
                let took = duration(now.saturating_duration_since(self.since));
                self.checks.push(Check::ok("round trip", format!("the broker answers within {took}")));
                self.meet(desk, now)
            }
            (Event::Failed { id, failure }, Phase::RoundTrip(asked)) if id == asked => {
                self.broker_fails(failure.clone(), desk, now)
            }
            (Event::Session(event), Phase::Meeting)
                if event.state == SessionState::Up && self.is_up(desk) =>
            {
                let id = desk.next_id();
                self.report(id, now)
            }
            (Event::Failed { id, failure }, Phase::Meeting) if Some(*id) == self.asked => {
                self.not_met(failure.clone())
            }
            (Event::Info { id, sessions, .. }, Phase::Report(asked)) if id == asked => {
                self.reported(sessions, desk)
            }
            (_, Phase::Broker | Phase::RoundTrip(_) | Phase::Meeting | Phase::Report(_) | Phase::Over) => {
                Vec::new()
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.phase != Phase::Over).then_some(self.until)
    }

    fn timeout(&mut self, desk: &mut Desk, now: Instant) -> Vec<Step> {
        match self.phase {
            Phase::Broker => {
                let failure = self.wait.failure();
                self.broker_fails(failure, desk, now)
            }
            Phase::RoundTrip(_) => {
                self.checks.push(Check::warning(
                    "round trip",
                    "the broker did not answer in time",
                    "it may be under load: try again later",
                ));
                self.meet(desk, now)
            }
            Phase::Meeting => {
                let who = self.who.as_ref().map(|(_, label)| label.clone()).unwrap_or_default();
                self.not_met(Failure::NoAnswer { who })
            }
            Phase::Report(_) | Phase::Over => self.end(),
        }
    }

    fn waits_for_broker(&self) -> bool {
        self.phase == Phase::Broker
    }

    fn shown(&self, _: Event) -> Option<Event> {
        None
    }
}

fn clock(ahead_ms: Option<i64>) -> Check {
    let Some(ahead) = ahead_ms else { return Check::ok("clock", "the broker did not tell the time") };
    let by = duration(Duration::from_millis(ahead.unsigned_abs()));
    if ahead.abs() < CLOCK_WARNS_MS {
        return Check::ok("clock", format!("within {by} of the broker's"));
    }
    let which = if ahead > 0 { "ahead of" } else { "behind" };
    Check::warning(
        "clock",
        format!("{by} {which} the broker's"),
        "set one of them; contacts whose clocks differ by 10 minutes do not find each other without the broker",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::task::BROKER_WAIT;
    use p2pchat_client::desk::Health;

    fn shown(steps: &[Step]) -> (Vec<(&'static str, Health)>, Option<u8>) {
        let [Step::Do(Action::Show(Local::Checks(checks))), Step::Stop(failure)] = steps else {
            panic!("{steps:?}")
        };
        let checks = checks.iter().map(|check| (check.what, check.health)).collect();
        (checks, failure.as_ref().map(Failure::exit))
    }

    #[test]
    fn a_broker_that_is_away_is_a_fault_and_decides_how_it_ends() {
        let (mut desk, now) = (Desk::new(None), Instant::now());
        let mut doctor = Doctor::new(None, "b:1", now);
        assert_eq!(doctor.deadline(), Some(now + BROKER_WAIT));
        let steps = doctor.timeout(&mut desk, now + BROKER_WAIT);
        assert_eq!(shown(&steps), (vec![("broker", Health::Fault)], Some(3)));
        assert_eq!(doctor.deadline(), None);
    }

    #[test]
    fn without_the_broker_somebody_is_tried_all_the_same_and_their_answer_counts() {
        let (mut desk, now) = (Desk::new(None), Instant::now());
        let alice = Target::Name("alice".parse().unwrap());
        let mut doctor = Doctor::new(Some((alice, "alice".to_owned())), "b:1", now);
        let steps = doctor.timeout(&mut desk, now);
        let [Step::Do(Action::Ask { id, .. })] = steps[..] else { panic!("{steps:?}") };
        let failure = Failure::NotOnline { who: "alice".to_owned() };
        let steps = doctor.event(&Event::Failed { id, failure }, &mut desk, now);
        let expected = vec![("broker", Health::Fault), ("path", Health::Fault)];
        assert_eq!(shown(&steps), (expected, Some(3)), "the first fault");
    }

    #[test]
    fn clocks_that_differ_by_a_minute_are_worth_a_word_and_which_way() {
        assert_eq!(clock(Some(59_999)).health, Health::Ok);
        let ahead = clock(Some(61_000));
        assert!(ahead.health == Health::Warning && ahead.message.contains("ahead of"), "{ahead:?}");
        assert!(clock(Some(-61_000)).message.contains("behind"));
    }
}
