//! Commands out of calls: the same for a process that does them itself and for one that is asked to.

use std::sync::Arc;

use p2pchat_client::desk::{Local, target};
use p2pchat_client::event::Delivery;
use p2pchat_client::json::PEOPLE_IN_LINE;
use p2pchat_client::profile::{Decision, Home, Papers};
use p2pchat_client::store::{Look, Recall};
use p2pchat_client::{BrokerAddress, Failure, Identity, Target, TransferNumber, language};
use p2pchat_proto::{BrokerKey, PeerId, WallTime};
use tokio::time::{Duration, Instant};

use crate::args::Wait;
use crate::control::{Call, ContactsCall, HistoryCall, KnownCall, ListCall, SendCall, TransfersCall};
use crate::front::{Address, Ask, Decide, Doctor, List, Parcel, Running, Send, Stand, Task, Tell};
use crate::span::{InvalidSpan, Lifetime};

/// Most people that one `send` is for: more than anybody names in one line.
const RECIPIENTS_MAX: usize = 256;

/// What commands need to know of a profile.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its files.
    pub home: Home,
    /// Whose they are.
    pub me: Arc<Identity>,
    /// Where it is registered.
    pub broker: BrokerAddress,
}

impl Service {
    /// The command that a call means, and whom it is about.
    ///
    /// # Errors
    ///
    /// Those of [`Self::send`].
    pub(super) fn task(&self, call: &Call, now: Instant) -> Result<(Box<dyn Task>, Vec<Target>), Failure> {
        match call {
            Call::Send(call) => {
                Self::check(call)?;
                let to = self.addresses(call)?;
                let targets = to.iter().map(|address| address.target.clone()).collect();
                Ok((Box::new(self.deliver(to, call, now)?), targets))
            }
            Call::List(call) => Ok((Box::new(self.list(call, now)), Vec::new())),
            Call::Contacts(call) => {
                let decision = self.decision(call)?;
                let task = Decide::new(decision, self.home.clone(), Arc::clone(&self.me), now);
                Ok((Box::new(task), Vec::new()))
            }
            Call::Status(call) => {
                let task = Stand::new(call.change()?, &self.broker.host_port, now);
                Ok((Box::new(task), Vec::new()))
            }
            Call::Known(call) => {
                let Known { papers, broker } = Known::of(self)?;
                let shown = match call {
                    KnownCall::List {} => papers
                        .list()
                        .chunks(PEOPLE_IN_LINE)
                        .map(|some| Local::Contacts(some.to_vec()))
                        .collect(),
                    KnownCall::Show { who } => {
                        vec![Local::Contact(Box::new(papers.of(papers.find(who, broker)?)))]
                    }
                };
                Ok((Box::new(Tell::new(shown)), Vec::new()))
            }
            Call::Transfers(call) => {
                let cancel = match call {
                    TransfersCall::List {} => None,
                    TransfersCall::Cancel { number } => Some(TransferNumber(*number)),
                };
                Ok((Box::new(Running::new(cancel, now)), Vec::new()))
            }
            Call::Doctor(call) => {
                let who = call.who.as_deref().map(|who| Ok((self.meant(target(who)?)?, who.to_owned())));
                let who = who.transpose()?;
                let targets = who.iter().map(|(target, _)| target.clone()).collect();
                Ok((Box::new(Doctor::new(who, &self.broker.host_port, now)), targets))
            }
            Call::History(call) => Ok((Box::new(Ask::new(self.question(call)?, now)), Vec::new())),
        }
    }

    /// What can be told of a `send` without the profile.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], and what [`language::check_text`] finds.
    pub fn check(call: &SendCall) -> Result<(), Failure> {
        if call.to.len() > RECIPIENTS_MAX {
            return Err(Failure::Usage(format!("at most {RECIPIENTS_MAX} people at once")));
        }
        call.to.iter().try_for_each(|who| target(who).map(drop))?;
        call.text.as_deref().map(language::check_text).transpose()?;
        if call.to.is_empty() || (call.text.is_none() && call.files.is_empty()) {
            return Err(Failure::Usage("nothing to send: give -m TEXT or a file".to_owned()));
        }
        if call.files.iter().any(|path| !path.is_absolute()) {
            return Err(Failure::Usage("a file is named by its whole path here".to_owned()));
        }
        Ok(())
    }

    /// `send`
    ///
    /// # Errors
    ///
    /// Those of [`Self::check`], and what is the matter with the profile.
    pub fn send(&self, call: &SendCall, now: Instant) -> Result<Send, Failure> {
        Self::check(call)?;
        self.deliver(self.addresses(call)?, call, now)
    }

    fn deliver(&self, to: Vec<Address>, call: &SendCall, now: Instant) -> Result<Send, Failure> {
        let wait = match call.wait {
            Wait::Sent => Delivery::Sent,
            Wait::Stored => Delivery::Stored,
            Wait::Read => Delivery::Read,
        };
        let text = call.text.as_deref().map(language::check_text).transpose()?;
        let parcel = Parcel { text, files: call.files.clone(), wait };
        let timeout = Duration::from_secs(call.timeout.into());
        Ok(Send::new(to, parcel, &self.broker.host_port, timeout, now))
    }

    /// `list`
    pub fn list(&self, call: &ListCall, now: Instant) -> List {
        List::new(&call.prefix, call.all, &self.broker.host_port, now)
    }

    /// Whom the user calls otherwise than the broker is asked for by identity: events name them as the
    /// user does.
    ///
    /// # Errors
    ///
    /// What is the matter with the profile.
    pub fn meant(&self, target: Target) -> Result<Target, Failure> {
        let known = Known::of(self)?;
        Ok(known.meant(target))
    }

    /// Each of those whom a `send` is for, once.
    fn addresses(&self, call: &SendCall) -> Result<Vec<Address>, Failure> {
        let known = Known::of(self)?;
        let mut to: Vec<Address> = Vec::new();
        for who in &call.to {
            let target = known.meant(target(who)?);
            let known = known.pinned(&target);
            let same = |other: &Address| other.target == target || (known.is_some() && other.known == known);
            if !to.iter().any(same) {
                to.push(Address { known, target, label: who.clone() });
            }
        }
        Ok(to)
    }

    /// What `history` asks.
    ///
    /// # Errors
    ///
    /// Those of [`Papers::find`].
    fn question(&self, call: &HistoryCall) -> Result<Recall, Failure> {
        Ok(match call {
            HistoryCall::Look { with, words, limit, place } => Recall::Look(Look {
                peer: self.person(with)?,
                words: words.clone(),
                limit: *limit,
                place: (*place).into(),
            }),
            HistoryCall::Talks {} => Recall::Talks,
            HistoryCall::Keep { with, time } => {
                let time = time.as_ref().map(|time| {
                    let wrong = |wrong: InvalidSpan| Failure::Usage(format!("{time}: {wrong}"));
                    time.parse().map(|Lifetime(after)| after).map_err(wrong)
                });
                Recall::Keep { peer: self.person(with)?, change: time.transpose()? }
            }
            HistoryCall::Forget { with, before } => {
                Recall::Forget { peer: self.person(with)?, before: before.map(WallTime) }
            }
        })
    }

    /// What `contacts` changes.
    ///
    /// # Errors
    ///
    /// Those of [`Papers::find`]; [`Failure::Usage`] for a name or an id that is none, or without a broker
    /// whose name it is.
    pub fn decision(&self, call: &ContactsCall) -> Result<Decision, Failure> {
        let broker = || {
            Known::of(self)?.broker.ok_or_else(|| {
                Failure::Usage(format!(
                    "the key of the broker {} is not known yet; give it with --broker HOST:PORT#KEY",
                    self.broker.host_port
                ))
            })
        };
        Ok(match call {
            ContactsCall::Add { name, id } => {
                Decision::Add { name: parsed(name)?, broker: broker()?, peer: parsed(id)? }
            }
            ContactsCall::Rename { who, name } => {
                Decision::Rename { peer: self.person(who)?, name: parsed(name)? }
            }
            ContactsCall::Remove { who } => Decision::Remove { peer: self.person(who)? },
            ContactsCall::Block { who } => Decision::Block { peer: self.person(who)?, blocked: true },
            ContactsCall::Unblock { who } => Decision::Block { peer: self.person(who)?, blocked: false },
            ContactsCall::Verified { who } => Decision::Verified { peer: self.person(who)? },
            ContactsCall::Trust { name, id } => {
                Decision::Trust { name: parsed(name)?, broker: broker()?, peer: parsed(id)? }
            }
        })
    }

    /// Whom a name or an id means.
    ///
    /// # Errors
    ///
    /// Those of [`Papers::find`].
    fn person(&self, who: &str) -> Result<PeerId, Failure> {
        let Known { papers, broker } = Known::of(self)?;
        papers.find(who, broker)
    }
}

fn parsed<T: core::str::FromStr<Err: core::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Failure::Usage(error.to_string()))
}

/// Who is known, read once for a command.
struct Known {
    papers: Papers,
    /// The broker that will be asked, where its key is known.
    broker: Option<BrokerKey>,
}

impl Known {
    fn of(service: &Service) -> Result<Self, Failure> {
        let papers = Papers::look(&service.home, &service.me)?;
        let broker = papers.expected(&service.broker);
        Ok(Self { papers, broker })
    }

    fn meant(&self, target: Target) -> Target {
        match &target {
            Target::Peer(peer) => Target::Peer(self.papers.now_known_as(*peer)),
            Target::Name(name) => self.papers.renamed(name, self.broker).map_or(target, Target::Peer),
        }
    }

    /// The identity that is pinned for whom the user means, at the broker that will be asked.
    fn pinned(&self, target: &Target) -> Option<PeerId> {
        let pins = self.papers.pins();
        let pin = match target {
            Target::Peer(peer) => pins.of_peer(*peer).next(),
            Target::Name(name) => self.broker.and_then(|broker| pins.of_name(broker, name)),
        };
        pin.map(|pin| pin.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2pchat_client::Passphrase;
    use p2pchat_client::profile::Pin;
    use p2pchat_client::random::system_rng;
    use std::path::PathBuf;

    const BROKER: BrokerKey = BrokerKey([9; 32]);

    fn call(to: &[&str]) -> SendCall {
        let to = to.iter().map(|who| (*who).to_owned()).collect();
        SendCall { to, text: Some("hi".into()), files: Vec::new(), wait: Wait::Stored, timeout: 1 }
    }

    #[test]
    fn whom_the_user_renamed_is_asked_by_identity_once_and_shown_as_typed() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let passphrase = Passphrase::new("secret".into());
        let me = Arc::new(home.create_identity(Some(&passphrase), &mut system_rng().unwrap()).unwrap());
        let mut papers = Papers::open(&home, &me).unwrap();
        let broker: BrokerAddress = "127.0.0.1:7770".parse().unwrap();
        papers.remember_broker(&broker.host_port, BROKER).unwrap();
        let [alice, bob] = [1, 2].map(|n| PeerId([n; 32]));
        for (name, peer) in [("alice", alice), ("bob", bob)] {
            let (name, since) = (name.parse().unwrap(), WallTime(0));
            papers.pin(Pin { name, peer, broker: BROKER, since, may_reconnect: true }).unwrap();
        }
        papers.rename(alice, "sister".parse().unwrap()).unwrap();
        let service = Service { home, me, broker };
        let (her_id, his_id) = (alice.to_string(), bob.to_string());
        let to = ["sister", "bob", "alice", "stranger", "bob", &his_id, &her_id];
        let to = service.addresses(&call(&to)).unwrap();
        let to: Vec<_> = to.into_iter().map(|to| (to.label, to.target, to.known)).collect();
        let name = |name: &str| Target::Name(name.parse().unwrap());
        let expected = [
            ("sister".to_owned(), Target::Peer(alice), Some(alice)),
            ("bob".to_owned(), name("bob"), Some(bob)),
            ("stranger".to_owned(), name("stranger"), None),
        ];
        assert_eq!(to, expected);
    }

    #[test]
    fn what_is_wrong_with_a_send_is_told_without_the_profile() {
        let many: Vec<String> = (0..=RECIPIENTS_MAX).map(|n| format!("p{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(Service::check(&call(&many[1..])), Ok(()));
        let relative = SendCall { files: vec![PathBuf::from("a")], ..call(&["alice"]) };
        let nothing = SendCall { text: None, ..call(&["alice"]) };
        for wrong in [call(&many), call(&[]), call(&["Not A Name"]), relative, nothing] {
            assert!(matches!(Service::check(&wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }
}
