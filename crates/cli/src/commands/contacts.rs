//! `contacts`: whom the user knows, and what was decided about them.

use p2pchat_client::event::Trust;
use p2pchat_client::profile::{Acquaintance, Papers};
use p2pchat_client::safety::SafetyNumber;
use p2pchat_client::{Failure, json};
use p2pchat_proto::{BrokerKey, Name, PeerId};

use super::moving;
use crate::args::{Contacts, ContactsWhat};
use crate::clock::wall_time;
use crate::output;
use crate::profile::Profile;
use crate::terminal::{Terminal, ask};

/// Shows or changes what is known of people.
pub(super) fn run(profile: &Profile, args: &Contacts) -> Result<u8, Failure> {
    let what = args.what.as_ref().unwrap_or(&ContactsWhat::List);
    // A file is read whole, so whoever only looks disturbs nobody.
    let looks = matches!(
        what,
        ContactsWhat::List | ContactsWhat::Export(_) | ContactsWhat::Verify { yes: false, .. }
    );
    // Where there is no identity yet, one is made.
    let lock = if looks && profile.home.has_identity() { None } else { Some(profile.lock()?) };
    let papers = match &lock {
        Some(lock) => profile.papers(lock)?,
        None => profile.look()?,
    };
    let broker = papers.expected(&profile.settings.broker);
    let mut contacts = Open { papers, broker, profile };
    match what {
        ContactsWhat::List => contacts.list(),
        ContactsWhat::Add { registered, id } => contacts.add(registered, *id),
        ContactsWhat::Rename { who, petname } => {
            contacts.change(who, |all, peer| all.rename(peer, petname.clone()))
        }
        ContactsWhat::Remove { who } => contacts.change(who, Papers::remove),
        ContactsWhat::Block { who } => contacts.change(who, |all, peer| all.block(peer, true)),
        ContactsWhat::Unblock { who } => contacts.change(who, |all, peer| all.block(peer, false)),
        ContactsWhat::Verify { who, yes } => contacts.verify(who, *yes),
        ContactsWhat::Export(args) => moving::export_contacts(profile, &contacts.papers, args),
        ContactsWhat::Import(args) => moving::import_contacts(profile, &mut contacts.papers, args),
        ContactsWhat::Trust { registered, id, yes } => contacts.trust(registered, *id, *yes),
    }
}

struct Open<'a> {
    papers: Papers,
    broker: Option<BrokerKey>,
    profile: &'a Profile,
}

impl Open<'_> {
    fn list(&self) -> Result<u8, Failure> {
        let list = self.papers.list();
        if self.profile.settings.json {
            output::print(&json::contacts(&list, wall_time()))?;
            return Ok(0);
        }
        let rows: Vec<[String; 4]> = list.iter().map(row).collect();
        output::table(&rows).iter().try_for_each(|line| output::print(line))?;
        Ok(0)
    }

    fn add(&mut self, name: &Name, peer: PeerId) -> Result<u8, Failure> {
        if peer == self.profile.identity()?.peer_id() {
            return Err(Failure::NotAllowed { what: "to add yourself".to_owned() });
        }
        self.papers.add(name.clone(), peer, self.broker()?, wall_time())?;
        self.show(peer)
    }

    fn change(
        &mut self,
        who: &str,
        change: impl FnOnce(&mut Papers, PeerId) -> Result<(), Failure>,
    ) -> Result<u8, Failure> {
        let peer = self.papers.find(who, self.broker)?;
        change(&mut self.papers, peer)?;
        self.show(peer)
    }

    fn verify(&mut self, who: &str, yes: bool) -> Result<u8, Failure> {
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
            let lock = self.profile.lock()?;
            // Somebody else may have written meanwhile.
            self.papers = self.profile.papers(&lock)?;
            self.papers.verified(peer)?;
            return self.show(peer);
        }
        self.papers.verified(peer)?;
        self.show(peer)
    }

    fn trust(&mut self, name: &Name, came: PeerId, yes: bool) -> Result<u8, Failure> {
        let broker = self.broker()?;
        let pinned = self.papers.pinned(name, broker)?;
        if !yes {
            if !self.can_ask() {
                return Err(Failure::Usage(
                    "nobody can be asked here; say --yes to take the new key".to_owned(),
                ));
            }
            output::print(&format!("{name} is known as {pinned}"))?;
            output::print(&format!("the new key is      {came}"))?;
            if !confirmed("Did they tell you the new one themselves? [y/N] ")? {
                return Ok(1);
            }
        }
        self.papers.trust(name, came, broker, wall_time())?;
        self.show(came)
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

    fn show(&self, peer: PeerId) -> Result<u8, Failure> {
        let person = self.papers.of(peer);
        if self.profile.settings.json {
            output::print(&json::contact(&person, wall_time()))?;
        } else {
            output::table(&[row(&person)]).iter().try_for_each(|line| output::print(line))?;
        }
        Ok(0)
    }

    fn can_ask(&self) -> bool {
        !self.profile.settings.json && Terminal::detect().can_ask()
    }
}

fn confirmed(question: &str) -> Result<bool, Failure> {
    Ok(ask(question)?.trim().eq_ignore_ascii_case("y"))
}

/// Name, trust, the name at the broker where it is another one, identity.
fn row(person: &Acquaintance) -> [String; 4] {
    let text = |name: Option<&Name>| name.map_or_else(|| "-".to_owned(), ToString::to_string);
    let registered =
        person.pin.as_ref().map(|pin| &pin.name).filter(|name| Some(*name) != person.name.as_ref());
    [
        text(person.name.as_ref()),
        output::trust(person.trust).to_owned(),
        text(registered),
        person.peer.to_string(),
    ]
}
