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
use crate::control::{self, Answer, Call, ContactsCall, Envelope, KnownCall, strange};
use crate::front::Service;
use crate::output;
use crate::profile::Profile;
use crate::terminal::{Terminal, ask};

/// Shows or changes what is known of people.
pub(super) fn run(profile: &Profile, args: &Contacts) -> Result<u8, Failure> {
    let what = args.what.as_ref().unwrap_or(&ContactsWhat::List);
    let call = match what {
        ContactsWhat::List => {
            return match known(profile, KnownCall::List {})? {
                Known::Alone => Open::look(profile)?.list(),
                Known::Told(events) => list_told(&events, profile.settings.json),
                Known::Refused(exit) => Ok(exit),
            };
        }
        ContactsWhat::Export(args) => {
            return moving::export_contacts(profile, &Open::look(profile)?.papers, args);
        }
        // All of them at once, which no chat that is open could follow.
        ContactsWhat::Import(args) => {
            let lock = profile.lock()?;
            return moving::import_contacts(profile, &mut profile.papers(&lock)?, args);
        }
        ContactsWhat::Verify { who, yes } => {
            return match known(profile, KnownCall::Show { who: who.clone() })? {
                Known::Alone => Open::look(profile)?.verify(who, *yes),
                Known::Told(events) => verify(profile, &Person::told(&events)?, *yes),
                Known::Refused(exit) => Ok(exit),
            };
        }
        ContactsWhat::Trust { registered, id, yes: false } => {
            return match known(profile, KnownCall::Show { who: registered.to_string() })? {
                Known::Alone => Open::look(profile)?.trust(registered, *id),
                Known::Told(events) => trust(profile, registered, Person::told(&events)?.peer, *id),
                Known::Refused(exit) => Ok(exit),
            };
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
        match control::hold(&profile.home, &Envelope::asking(Call::Contacts(call.clone()))).await? {
            control::Place::Here(lock) => Ok(Err(lock)),
            control::Place::There(stream) => control::ask(stream, json).await.map(Ok),
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
            output::table(&[row(contact)]).iter().try_for_each(|line| output::print(line))?;
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
        output::table(&output::contacts(&list)).iter().try_for_each(|line| output::print(line))?;
        Ok(0)
    }

    fn verify(&self, who: &str, yes: bool) -> Result<u8, Failure> {
        let Acquaintance { peer, name, trust, .. } = self.papers.of(self.papers.find(who, self.broker)?);
        let me = self.profile.identity()?.peer_id();
        verify(self.profile, &Person { me, peer, name, trust }, yes)
    }

    fn trust(&self, name: &Name, came: PeerId) -> Result<u8, Failure> {
        trust(self.profile, name, self.papers.pinned(name, self.broker()?)?, came)
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
}

fn can_ask(profile: &Profile) -> bool {
    !profile.settings.json && Terminal::detect().can_ask()
}

/// Whom a number is compared with.
struct Person {
    me: PeerId,
    peer: PeerId,
    name: Option<Name>,
    trust: Trust,
}

impl Person {
    /// As the chat that is open tells of them.
    fn told(events: &[Value]) -> Result<Self, Failure> {
        let of = |event: &str| events.iter().find(|one| one["event"] == event).ok_or_else(strange);
        let (ready, contact) = (of("ready")?, of("contact")?);
        let id = |of: &Value| of["peer"].as_str().and_then(|peer| peer.parse().ok()).ok_or_else(strange);
        let name = contact["name"].as_str().map(str::parse).transpose().map_err(|_| strange())?;
        let trust = match contact["trust"].as_str() {
            Some("new") => Trust::New,
            Some("pinned") => Trust::Pinned,
            Some("verified") => Trust::Verified,
            Some("blocked") => Trust::Blocked,
            Some(_) | None => return Err(strange()),
        };
        Ok(Self { me: id(ready)?, peer: id(contact)?, name, trust })
    }
}

fn verify(profile: &Profile, person: &Person, yes: bool) -> Result<u8, Failure> {
    let Person { me, peer, name, trust } = person;
    let number = SafetyNumber::between(*me, *peer);
    if profile.settings.json {
        output::print(&json::safety(*peer, name.as_ref(), Some(*trust), &number, wall_time()))?;
    } else {
        let who = name.as_ref().map_or_else(|| peer.short(), ToString::to_string);
        output::safety_lines(&who, &number).iter().try_for_each(|line| output::print(line))?;
    }
    if !yes {
        if !can_ask(profile) || *trust == Trust::Verified {
            return Ok(0);
        }
        if !confirmed("Is it the same on the other side? [y/N] ")? {
            return Ok(1);
        }
    }
    decide(profile, &ContactsCall::Verified { who: peer.to_string() })
}

fn trust(profile: &Profile, name: &Name, pinned: PeerId, came: PeerId) -> Result<u8, Failure> {
    if !can_ask(profile) {
        let what = "nobody can be asked here; say --yes to take the new key";
        return Err(Failure::Usage(what.to_owned()));
    }
    output::print(&format!("{name} is known as {pinned}"))?;
    output::print(&format!("the new key is      {came}"))?;
    if !confirmed("Did they tell you the new one themselves? [y/N] ")? {
        return Ok(1);
    }
    decide(profile, &ContactsCall::Trust { name: name.to_string(), id: came.to_string() })
}

/// What is known to a chat that is open, which asks for no passphrase.
enum Known {
    /// It tells.
    Told(Vec<Value>),
    /// It said no; the exit status.
    Refused(u8),
    /// None is open.
    Alone,
}

fn known(profile: &Profile, call: KnownCall) -> Result<Known, Failure> {
    let json = profile.settings.json;
    runtime()?.block_on(async {
        match control::hold(&profile.home, &Envelope::asking(Call::Known(call))).await {
            Ok(control::Place::There(stream)) => Ok(match control::ask(stream, json).await? {
                Answer::Events(events) => Known::Told(events),
                Answer::Refused(exit) => Known::Refused(exit),
            }),
            // Beside a command that serves nobody the files can be read all the same.
            Ok(control::Place::Here(_)) | Err(Failure::AlreadyRunning { .. }) => Ok(Known::Alone),
            Err(failure) => Err(failure),
        }
    })
}

fn list_told(events: &[Value], json: bool) -> Result<u8, Failure> {
    let lines = events.iter().filter(|event| event["event"] == "contacts");
    let people: Vec<&Value> = lines.filter_map(|line| line["list"].as_array()).flatten().collect();
    if json {
        let line =
            serde_json::json!({ "event": "contacts", "at": json::rfc3339(wall_time()), "list": people });
        output::print(&line.to_string())?;
        return Ok(0);
    }
    let rows: Vec<_> = people.into_iter().map(row).collect();
    output::table(&rows).iter().try_for_each(|line| output::print(line))?;
    Ok(0)
}

/// A person as another process tells of them, for a table.
fn row(contact: &Value) -> [String; 4] {
    let text = |field: &str| contact.get(field).and_then(Value::as_str);
    let registered = text("registered").filter(|name| Some(*name) != text("name"));
    let row = [text("name"), text("trust"), registered, text("peer")];
    row.map(|cell| cell.unwrap_or("-").to_owned())
}

fn confirmed(question: &str) -> Result<bool, Failure> {
    Ok(ask(question)?.trim().eq_ignore_ascii_case("y"))
}
