//! `contacts`: whom the user knows, and what was decided about them.

use std::sync::Arc;

use p2pchat_client::event::Trust;
use p2pchat_client::profile::{Acquaintance, Papers};
use p2pchat_client::safety::SafetyNumber;
use p2pchat_client::{Failure, json};
use p2pchat_proto::{BrokerKey, Name, PeerId};
use serde_json::Value;

use super::moving;
use crate::args::{Contacts, ContactsWhat};
use crate::clock::wall_time;
use crate::commands::runtime;
use crate::control::{self, Answer, Call, ContactsCall, strange};
use crate::front::Service;
use crate::output;
use crate::profile::Profile;
use crate::terminal::{Terminal, ask};

/// Shows or changes what is known of people.
pub(super) fn run(profile: &Profile, args: &Contacts) -> Result<u8, Failure> {
    let what = args.what.as_ref().unwrap_or(&ContactsWhat::List);
    let call = match what {
        ContactsWhat::List => return Open::look(profile)?.list(),
        ContactsWhat::Export(args) => {
            return moving::export_contacts(profile, &Open::look(profile)?.papers, args);
        }
        // All of them at once, which no chat that is open could follow.
        ContactsWhat::Import(args) => {
            let lock = profile.lock()?;
            return moving::import_contacts(profile, &mut profile.papers(&lock)?, args);
        }
        ContactsWhat::Verify { who, yes } => return Open::look(profile)?.verify(who, *yes),
        ContactsWhat::Trust { registered, id, yes: false } => {
            return Open::look(profile)?.trust(registered, *id);
        }
        ContactsWhat::Trust { registered, id, yes: true } => {
            ContactsCall::Trust { name: registered.to_string(), id: id.to_string() }
        }
        ContactsWhat::Add { registered, id } => {
            ContactsCall::Add { name: registered.to_string(), id: id.to_string() }
        }
        ContactsWhat::Rename { who, petname } => {
            ContactsCall::Rename { who: who.clone(), name: petname.to_string() }
        }
        ContactsWhat::Remove { who } => ContactsCall::Remove { who: who.clone() },
        ContactsWhat::Block { who } => ContactsCall::Block { who: who.clone() },
        ContactsWhat::Unblock { who } => ContactsCall::Unblock { who: who.clone() },
    };
    decide(profile, &call)
}

/// Keeps a decision, or has the chat keep it that holds the profile.
fn decide(profile: &Profile, call: &ContactsCall) -> Result<u8, Failure> {
    let json = profile.settings.json;
    let answer = runtime()?.block_on(async {
        match control::hold(&profile.home).await? {
            control::Place::Here(lock) => Ok(Err(lock)),
            control::Place::There(stream) => {
                control::ask(stream, Call::Contacts(call.clone()), json).await.map(Ok)
            }
        }
    });
    match answer? {
        Err(lock) => {
            let mut papers = profile.papers(&lock)?;
            let (me, broker) = (profile.identity()?, profile.settings.broker.clone());
            let service = Service { home: profile.home.clone(), me: Arc::clone(&me), broker };
            let decision = service.decision(call)?;
            decision.keep(&mut papers, me.peer_id(), wall_time())?;
            show(&papers.of(decision.peer()), json)
        }
        Ok(Answer::Refused(exit)) => Ok(exit),
        Ok(Answer::Events(events)) => {
            let contact = events.iter().find(|event| event["event"] == "contact").ok_or_else(strange)?;
            if json {
                output::print(&contact.to_string())?;
                return Ok(0);
            }
            let text = |field: &str| contact.get(field).and_then(Value::as_str);
            let registered = text("registered").filter(|name| Some(*name) != text("name"));
            let row = [text("name"), text("trust"), registered, text("peer")];
            let row = row.map(|cell| cell.unwrap_or("-").to_owned());
            output::table(&[row]).iter().try_for_each(|line| output::print(line))?;
            Ok(0)
        }
    }
}

fn show(person: &Acquaintance, json: bool) -> Result<u8, Failure> {
    if json {
        output::print(&json::contact(person, wall_time()))?;
    } else {
        output::table(&[output::contact(person)]).iter().try_for_each(|line| output::print(line))?;
    }
    Ok(0)
}

struct Open<'a> {
    papers: Papers,
    broker: Option<BrokerKey>,
    profile: &'a Profile,
}

impl<'a> Open<'a> {
    /// A file is read whole, so whoever only looks disturbs nobody.
    fn look(profile: &'a Profile) -> Result<Self, Failure> {
        // Where there is no identity yet, one is made.
        let papers =
            if profile.home.has_identity() { profile.look()? } else { profile.papers(&profile.lock()?)? };
        let broker = papers.expected(&profile.settings.broker);
        Ok(Self { papers, broker, profile })
    }

    fn list(&self) -> Result<u8, Failure> {
        let list = self.papers.list();
        if self.profile.settings.json {
            output::print(&json::contacts(&list, wall_time()))?;
            return Ok(0);
        }
        let rows: Vec<[String; 4]> = list.iter().map(output::contact).collect();
        output::table(&rows).iter().try_for_each(|line| output::print(line))?;
        Ok(0)
    }

    fn verify(&self, who: &str, yes: bool) -> Result<u8, Failure> {
        let peer = self.papers.find(who, self.broker)?;
        let person = self.papers.of(peer);
        let number = SafetyNumber::between(self.profile.identity()?.peer_id(), peer);
        if self.profile.settings.json {
            let name = person.name.as_ref();
            output::print(&json::safety(peer, name, Some(person.trust), &number, wall_time()))?;
        } else {
            let who = person.name.as_ref().map_or_else(|| peer.short(), ToString::to_string);
            for line in output::safety_lines(&who, &number) {
                output::print(&line)?;
            }
        }
        if !yes {
            if !self.can_ask() || person.trust == Trust::Verified {
                return Ok(0);
            }
            if !confirmed("Is it the same on the other side? [y/N] ")? {
                return Ok(1);
            }
        }
        decide(self.profile, &ContactsCall::Verified { who: peer.to_string() })
    }

    fn trust(&self, name: &Name, came: PeerId) -> Result<u8, Failure> {
        let pinned = self.papers.pinned(name, self.broker()?)?;
        if !self.can_ask() {
            let what = "nobody can be asked here; say --yes to take the new key";
            return Err(Failure::Usage(what.to_owned()));
        }
        output::print(&format!("{name} is known as {pinned}"))?;
        output::print(&format!("the new key is      {came}"))?;
        if !confirmed("Did they tell you the new one themselves? [y/N] ")? {
            return Ok(1);
        }
        decide(self.profile, &ContactsCall::Trust { name: name.to_string(), id: came.to_string() })
    }

    /// The broker whose names are meant.
    fn broker(&self) -> Result<BrokerKey, Failure> {
        self.broker.ok_or_else(|| {
            Failure::Usage(format!(
                "the key of the broker {} is not known yet; give it with --broker HOST:PORT#KEY",
                self.profile.settings.broker.host_port
            ))
        })
    }

    fn can_ask(&self) -> bool {
        !self.profile.settings.json && Terminal::detect().can_ask()
    }
}

fn confirmed(question: &str) -> Result<bool, Failure> {
    Ok(ask(question)?.trim().eq_ignore_ascii_case("y"))
}
