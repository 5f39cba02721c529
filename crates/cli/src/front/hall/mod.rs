//! Everybody at the control socket, and which of what happens is for whom.

mod guest;
mod seen;
mod service;
#[cfg(test)]
mod tests;

use core::fmt;
use std::collections::BTreeMap;
use std::path::PathBuf;

use p2pchat_client::desk::Desk;
use p2pchat_client::{CommandId, Event, Failure, Request, json};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout};

use super::at;
use crate::clock::wall_time;
use crate::control::{CALLERS_MAX, Door, Knock, Visitor};
use guest::{Asks, Guest, seat_of};
use seen::Seen;

pub use service::Service;

/// How long the end waits until those who are here have read it.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of an event is for the process's own front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// It is for everybody.
    All,
    /// It is about what came to be elsewhere: only for whoever keeps an account of everything.
    Account,
    /// It is an answer to somebody else.
    Nothing,
}

/// What the front end wakes up for.
#[derive(Debug)]
pub(super) enum Call {
    Knock(Knock),
    Deadline,
}

/// See the module.
pub struct Hall {
    door: Option<Door>,
    service: Service,
    seen: Seen,
    guests: BTreeMap<u32, Guest>,
    /// What is written to those who are done with.
    leaving: Vec<JoinHandle<()>>,
    asks: Asks,
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hall").field("guests", &self.guests.len()).finish_non_exhaustive()
    }
}

impl Hall {
    /// Behind an open door.
    pub fn new(door: Door, service: Service) -> Self {
        Self::behind(Some(door), service)
    }

    fn behind(door: Option<Door>, service: Service) -> Self {
        Self {
            door,
            service,
            seen: Seen::default(),
            guests: BTreeMap::new(),
            leaving: Vec::new(),
            asks: Vec::new(),
        }
    }

    /// Where others come in.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.door.as_ref().map(Door::path)
    }

    /// Waits for somebody, or for the next deadline of those who are here.
    pub(super) async fn next(&mut self) -> Call {
        let deadline = self.guests.values().filter_map(Guest::deadline).min();
        // Whoever came before the client ran waits a moment: then it is known who is who.
        let door = self.door.as_mut().filter(|_| self.seen.ready().is_some());
        let Some(door) = door else { return core::future::pending().await };
        tokio::select! {
            biased;
            () = at(deadline) => Call::Deadline,
            knock = door.next() => Call::Knock(knock),
        }
    }

    /// Does what [`Self::next`] gave. `desk` is the process's own.
    pub(super) fn answer(&mut self, call: Call, desk: &Desk, now: Instant) {
        match call {
            Call::Knock(Knock::Came(visitor)) => self.seat(visitor, now),
            Call::Knock(Knock::Said { seat, line }) => {
                if let Some(guest) = self.guests.get_mut(&seat) {
                    self.asks.extend(guest.line(line, &self.service, &self.seen, desk.open_things(), now));
                }
            }
            Call::Knock(Knock::Gone { seat, failure }) => {
                if let Some(guest) = self.guests.get_mut(&seat) {
                    self.asks.extend(guest.gone(failure, now));
                }
            }
            Call::Deadline => {
                for guest in self.guests.values_mut() {
                    self.asks.extend(guest.timeout(now));
                }
            }
        }
        self.tidy();
    }

    /// Takes an event of the client; how much of it is for the process's own front end.
    pub(super) fn observe(&mut self, event: &Event, now: Instant) -> Share {
        self.seen.note(event);
        let share = match answered(event).map(seat_of) {
            Some(0) => Share::All,
            Some(seat) => {
                if let Some(guest) = u32::try_from(seat).ok().and_then(|seat| self.guests.get_mut(&seat)) {
                    self.asks.extend(guest.observe(event, now));
                }
                Share::Nothing
            }
            None => {
                let elsewhere = self.guests.values().any(|guest| guest.owns(event));
                for guest in self.guests.values_mut() {
                    self.asks.extend(guest.observe(event, now));
                }
                match elsewhere {
                    false => Share::All,
                    true if matches!(event, Event::Message(_) | Event::Receipt(_)) => Share::Account,
                    true => Share::Nothing,
                }
            }
        };
        self.tidy();
        share
    }

    /// What those who are here want of the client, since this was asked last.
    pub(super) fn take_asks(&mut self) -> Vec<(CommandId, Request)> {
        core::mem::take(&mut self.asks)
    }

    /// Nobody else comes in: the end has begun, and another process may do what they want soon.
    pub(super) fn shut(&mut self) {
        self.door = None;
        // Whoever was not greeted does it elsewhere.
        self.guests.retain(|_, guest| guest.spoke);
    }

    /// The process ends: whoever waits is told.
    pub(super) async fn close(mut self) {
        for guest in self.guests.values_mut() {
            guest.close();
        }
        self.leaving.extend(self.guests.into_values().filter_map(|guest| guest.visitor.leave()));
        let all_read = async {
            for writer in self.leaving {
                // A task that was aborted has nothing more to write.
                let _ = writer.await;
            }
        };
        // Who does not read hears by the end of the connection.
        let _ = timeout(FAREWELL, all_read).await;
    }

    /// Room is made by whoever has said nothing yet, the first who came.
    fn seat(&mut self, visitor: Visitor, now: Instant) {
        if self.guests.len() >= CALLERS_MAX {
            let silent = self.guests.iter().find(|(_, guest)| !guest.spoke).map(|(seat, _)| *seat);
            let Some(silent) = silent else {
                let full = Failure::NotAllowed {
                    what: format!("more than {CALLERS_MAX} commands at once in one profile"),
                };
                let at = wall_time();
                let lines = [json::error(&full, at), json::stopped(Some(&full), full.exit(), at)];
                // Who does not read this hears by the end of the connection.
                let _ = lines.into_iter().all(|line| visitor.put(line));
                return;
            };
            self.guests.remove(&silent);
        }
        self.guests.insert(visitor.seat, Guest::new(visitor, now));
    }

    fn tidy(&mut self) {
        self.leaving.retain(|writer| !writer.is_finished());
        let (over, here) = core::mem::take(&mut self.guests).into_iter().partition(|(_, guest)| guest.over);
        self.guests = here;
        let over: BTreeMap<u32, Guest> = over;
        self.leaving.extend(over.into_values().filter_map(|guest| guest.visitor.leave()));
    }
}

/// The command whose answer an event is.
fn answered(event: &Event) -> Option<CommandId> {
    match event {
        Event::Done { id, .. }
        | Event::Failed { id, .. }
        | Event::People { id, .. }
        | Event::Info { id, .. }
        | Event::Recalled { id, .. } => Some(*id),
        Event::Ready(_)
        | Event::Broker(_)
        | Event::Presence(_)
        | Event::Request(_)
        | Event::Session(_)
        | Event::Message(_)
        | Event::Receipt(_)
        | Event::File(_)
        | Event::Trust(_)
        | Event::Typing { .. }
        | Event::Standing(_)
        | Event::Error(_)
        | Event::Stopped(_) => None,
    }
}
