//! Where what is kept comes from: the store, or the process that holds it.

use core::time::Duration;

use p2pchat_client::history::{Page, Removed, Talk};
use p2pchat_client::profile::{Papers, ProfileLock};
use p2pchat_client::random::system_rng;
use p2pchat_client::store::{Book, Found, Look, Newest, Place, StoreError};
use p2pchat_client::{Failure, json};
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};
use serde_json::Value;

use crate::clock::wall_time;
use crate::commands::runtime;
use crate::control::{self, Answer, Call, Envelope, HistoryCall, strange};
use crate::profile::Profile;
use crate::span::{Lifetime, Span};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// This.
    Failed(Failure),
    /// The process that was asked could not, and has said so; the exit status.
    Said(u8),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What is looked for in a conversation.
#[derive(Debug, Clone)]
pub(super) struct Sought<'a> {
    /// A name or an id.
    pub(super) with: &'a str,
    /// Words that stand in each.
    pub(super) words: &'a [String],
    /// From so many on, no more are looked for.
    pub(super) limit: usize,
}

/// With whom, what they are called, and how long messages are kept.
pub(super) type KeptFor = (PeerId, Option<Name>, Option<Duration>);

/// A store that this process holds, and who is who in it.
struct Opened {
    book: Book,
    papers: Papers,
    broker: Option<BrokerKey>,
    _lock: ProfileLock,
}

impl Opened {
    fn page(&mut self, sought: &Sought<'_>, place: Place) -> Result<Page, Failure> {
        let peer = self.papers.find(sought.with, self.broker)?;
        let look = Look { peer, words: sought.words.to_vec(), limit: sought.limit, place };
        let Found { messages, next } = self.book.look(&look).map_err(|error| self.failure(error))?;
        Ok(Page { peer, name: self.name(peer), messages, next })
    }

    fn talks(&mut self, expire: Option<Duration>) -> Result<Vec<Talk>, Failure> {
        let summaries = self.book.summaries().map_err(|error| self.failure(error))?;
        let talks = summaries.into_iter().map(Talk::from);
        let named = |talk: Talk| Talk { name: self.name(talk.peer), ..talk };
        Ok(talks.map(|talk| named(talk).expiring_after(expire)).collect())
    }

    fn forget(&mut self, with: &str, before: Option<WallTime>) -> Result<Removed, Failure> {
        let peer = self.papers.find(with, self.broker)?;
        let mut rng = system_rng()?;
        let removed = match before {
            Some(before) => self.book.forget_before(peer, before, &mut rng),
            None => self.book.forget(peer, &mut rng),
        };
        let messages = removed.map_err(|error| self.failure(error))?;
        Ok(Removed { peer, messages, under_way: 0 })
    }

    fn keep(&mut self, with: &str, time: Option<Lifetime>) -> Result<KeptFor, Failure> {
        let peer = self.papers.find(with, self.broker)?;
        if let Some(Lifetime(after)) = time {
            let mut rng = system_rng()?;
            let kept = self.book.keep(peer, after, &mut rng);
            kept.and_then(|()| self.book.sweep(wall_time(), &mut rng))
                .map_err(|error| self.failure(error))?;
        }
        let after = self.book.kept_for(peer).map_err(|error| self.failure(error))?;
        Ok((peer, self.name(peer), after))
    }

    fn name(&self, peer: PeerId) -> Option<Name> {
        self.papers.of(peer).name
    }

    fn failure(&self, error: StoreError) -> Failure {
        self.book.failure(error)
    }
}

/// See the module. Each question finds anew who holds the profile, as a chat may end or begin between two.
pub(super) struct Source<'a> {
    profile: &'a Profile,
    opened: Option<Opened>,
    /// What the user is called, once something was answered.
    me: String,
}

impl<'a> Source<'a> {
    /// Of a profile.
    pub(super) const fn of(profile: &'a Profile) -> Self {
        Self { profile, opened: None, me: String::new() }
    }

    /// What the user is called, once something was answered.
    pub(super) fn me(&self) -> String {
        self.me.clone()
    }

    /// Some messages from a place on.
    pub(super) fn page(&mut self, sought: &Sought<'_>, place: Place) -> Result<Page, Stop> {
        let call = || HistoryCall::Look {
            with: sought.with.to_owned(),
            words: sought.words.to_vec(),
            limit: sought.limit,
            place: place.into(),
        };
        let events = match self.reach(call)? {
            Ok(opened) => return Ok(opened.page(sought, place)?),
            Err(events) => events,
        };
        Ok(only(&events, "history", json::read_history)?)
    }

    /// The newest messages, as many as are sought, with `None` in the place of where to look on.
    pub(super) fn newest(&mut self, sought: &Sought<'_>) -> Result<Page, Stop> {
        let mut newest = Newest::new(sought.limit);
        let mut place = Place::End;
        loop {
            let page = self.page(sought, place)?;
            let Some(next) = newest.take(page.messages, page.next) else {
                let Page { peer, name, .. } = page;
                return Ok(Page { peer, name, messages: newest.into_messages(), next: None });
            };
            place = Place::Before(next);
        }
    }

    /// Every conversation.
    pub(super) fn talks(&mut self) -> Result<Vec<Talk>, Stop> {
        let expire = self.profile.settings.expire;
        let events = match self.reach(|| HistoryCall::Talks {})? {
            Ok(opened) => return Ok(opened.talks(expire)?),
            Err(events) => events,
        };
        let lists = events.iter().filter(|event| is(event, "conversations"));
        let lists = lists.map(|event| json::read_talks(event).ok_or_else(strange));
        Ok(lists.collect::<Result<Vec<_>, Failure>>()?.concat())
    }

    /// Removes a conversation, or what was kept before a moment.
    pub(super) fn forget(&mut self, with: &str, before: Option<WallTime>) -> Result<Removed, Stop> {
        let call = || HistoryCall::Forget { with: with.to_owned(), before: before.map(|before| before.0) };
        let events = match self.reach(call)? {
            Ok(opened) => return Ok(opened.forget(with, before)?),
            Err(events) => events,
        };
        Ok(only(&events, "forgotten", json::read_forgotten)?)
    }

    /// How long messages with somebody are kept, after that was changed where there is a `time`.
    pub(super) fn keep(&mut self, with: &str, time: Option<Lifetime>) -> Result<KeptFor, Stop> {
        let text = time.map(|Lifetime(after)| {
            after.map_or_else(|| "forever".to_owned(), |after| Span::new(after).to_string())
        });
        let call = || HistoryCall::Keep { with: with.to_owned(), time: text.clone() };
        let events = match self.reach(call)? {
            Ok(opened) => return Ok(opened.keep(with, time)?),
            Err(events) => events,
        };
        Ok(only(&events, "retention", json::read_kept_for)?)
    }

    /// The store, or what the process that holds it answers.
    fn reach(&mut self, call: impl Fn() -> HistoryCall) -> Result<Result<&mut Opened, Vec<Value>>, Stop> {
        if self.opened.is_none() {
            let profile = self.profile;
            let json = profile.settings.json;
            let answer = runtime()?.block_on(async {
                match control::hold(&profile.home, &Envelope::asking(Call::History(call()))).await? {
                    control::Place::Here(lock) => Ok(Err(lock)),
                    control::Place::There(stream) => control::ask(stream, json).await.map(Ok),
                }
            });
            match answer? {
                Ok(Answer::Events(events)) => {
                    let ready = events.iter().find(|event| is(event, "ready"));
                    let name = ready.and_then(|ready| ready.get("name")).and_then(Value::as_str);
                    let name: Name = name.and_then(|name| name.parse().ok()).ok_or_else(strange)?;
                    self.me = name.to_string();
                    return Ok(Err(events));
                }
                Ok(Answer::Refused(exit)) => return Err(Stop::Said(exit)),
                Err(lock) => {
                    let opened = open(profile, lock)?;
                    self.me = profile.name(&opened.papers)?.to_string();
                    self.opened = Some(opened);
                }
            }
        }
        match &mut self.opened {
            Some(opened) => Ok(Ok(opened)),
            None => Err(strange().into()),
        }
    }
}

fn open(profile: &Profile, lock: ProfileLock) -> Result<Opened, Failure> {
    let Some(mut book) = Book::of(&profile.home, profile.identity()?)? else {
        return Err(Failure::Usage("a profile that is kept nowhere has no history".to_owned()));
    };
    if let Err(error) = book.sweep(wall_time(), &mut system_rng()?) {
        return Err(book.failure(error));
    }
    let papers = profile.papers(&lock)?;
    let broker = papers.expected(&profile.settings.broker);
    Ok(Opened { book, papers, broker, _lock: lock })
}

fn is(event: &Value, name: &str) -> bool {
    event.get("event").and_then(Value::as_str) == Some(name)
}

fn only<T>(events: &[Value], name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, Failure> {
    events.iter().find(|event| is(event, name)).and_then(read).ok_or_else(strange)
}
