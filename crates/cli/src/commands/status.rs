//! `status`, `visibility` and `policy`: how the user stands towards others, and how everything is.

use p2pchat_client::desk::{Desk, Local, Status};
use p2pchat_client::history::Talk;
use p2pchat_client::store::Book;
use p2pchat_client::{Failure, json};
use p2pchat_proto::StandingChange;

use super::chat::{Held, hold_or_call};
use crate::clock::wall_time;
use crate::control::{Call, StatusCall};
use crate::output::plain::Plain;
use crate::output::{self, TimeOfDay};
use crate::profile::Profile;

/// Changes that, where there is something to change, and shows how everything is then.
pub(super) fn run(profile: &Profile, change: StandingChange) -> Result<u8, Failure> {
    let lock = match hold_or_call(profile, Call::Status(StatusCall::from(change)))? {
        Held::Here(lock) => lock,
        Held::Done(exit) => return Ok(exit),
    };
    let identity = profile.identity()?;
    let mut papers = profile.papers(&lock)?;
    papers.set_standing(papers.standing().with(change))?;
    let waiting = match Book::of(&profile.home, std::sync::Arc::clone(&identity))? {
        Some(mut book) => {
            let summaries = book.summaries().map_err(|error| book.failure(error))?;
            let talks = summaries.into_iter().map(Talk::from).filter(|talk| talk.waiting > 0);
            talks.map(|talk| Talk { name: papers.of(talk.peer).name, ..talk }).collect()
        }
        None => Vec::new(),
    };
    let broker = &profile.settings.broker;
    let status = Status {
        peer: identity.peer_id(),
        name: profile.name(&papers)?,
        standing: papers.standing(),
        broker: broker.host_port.clone(),
        broker_key: papers.expected(broker),
        link: None,
        reason: None,
        sessions: Vec::new(),
        sought: Vec::new(),
        waiting,
    };
    if profile.settings.json {
        output::print(&json::status(&status, wall_time()))?;
        return Ok(0);
    }
    let lines =
        Plain::new(TimeOfDay::local(), false).local(&Local::Status(Box::new(status)), &Desk::new(None));
    lines.iter().try_for_each(|line| output::print(line.text()))?;
    Ok(0)
}
