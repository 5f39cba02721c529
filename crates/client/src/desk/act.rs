//! What each input means, given what is on the desk.

use core::time::Duration;
use std::path::PathBuf;

use p2pchat_crypto::safety::SafetyNumber;
use p2pchat_engine::event::{Direction, FileEvent, FileState, RequestEvent};
use p2pchat_engine::{Command, Failure, Target, TransferNumber};
use p2pchat_proto::name::NAME_RULE;
use p2pchat_proto::{Name, PeerId, RequestId, StandingChange};

use super::{Action, Current, Desk, Local, Made, Outcome, Saying, Waiting};
use crate::invitation::Invitation;
use crate::json::Tag;
use crate::language::{Input, Slash};
use crate::request::Request;
use crate::store::Recall;

/// How long `/connect` waits for an answer, as long as the command `connect` by itself.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Most characters of what is no name that an error repeats: more than an id has.
const WHO_SHOWN_MAX: usize = 80;

/// Something that waits for the user's word.
enum Open {
    Request(RequestId),
    File(TransferNumber),
}

/// Whom a line is for.
pub(super) enum Recipient {
    Peer(PeerId),
    Expected,
}

/// Whom to ask, from a name or a PeerId as typed.
///
/// # Errors
///
/// [`Failure::Usage`] if it is neither.
pub fn target(who: &str) -> Result<Target, Failure> {
    if let Ok(peer) = who.parse() {
        return Ok(Target::Peer(peer));
    }
    who.parse::<Name>().map(Target::Name).map_err(|_| {
        let shown: String = who.chars().take(WHO_SHOWN_MAX).collect();
        let more = if shown.len() < who.len() { "…" } else { "" };
        Failure::Usage(format!("\"{shown}{more}\" is neither a name ({NAME_RULE}) nor an id (52 characters) nor an invitation (p2pchat://...)"))
    })
}

impl Desk {
    pub(super) fn act(
        &mut self,
        input: Input,
        to: Option<&str>,
        tag: Option<Tag>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match input {
            Input::Empty => done(tag, actions),
            Input::Text(text) => self.say_to(self.recipient(to)?, Saying::Text(text), tag, actions),
            Input::Slash(slash) => self.slash(slash, to, tag, actions)?,
        }
        Ok(())
    }

    fn slash(
        &mut self,
        slash: Slash,
        to: Option<&str>,
        tag: Option<Tag>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match slash {
            Slash::Help(topic) => show(Local::Help(topic), tag, actions),
            Slash::Who => self.ask(Command::People { prefix: String::new() }, tag, actions),
            Slash::Connect(who) => {
                let (to, command) = match Invitation::typed(&who)? {
                    Some(invitation) => {
                        let to = Target::Name(invitation.name.clone());
                        (to, Command::ConnectInvited { pin: invitation.into_pin(), wait: ANSWER_WAIT })
                    }
                    None => {
                        let to = target(&who)?;
                        (to.clone(), Command::Connect { to, wait: ANSWER_WAIT })
                    }
                };
                if self.follows {
                    self.asked_for = Some(to);
                }
                self.ask(command, tag, actions);
            }
            Slash::Accept { what, once } => match self.open(what.as_deref())? {
                Open::Request(request) => self.ask(Command::Accept { request, once }, tag, actions),
                Open::File(transfer) => self.ask(Command::AcceptFile { transfer }, tag, actions),
            },
            Slash::Decline { first, rest, whole } => {
                let (open, reason) = self.declined(first.as_deref(), rest, whole)?;
                match open {
                    Open::Request(request) => self.ask(Command::Decline { request, reason }, tag, actions),
                    Open::File(transfer) => {
                        self.ask(Command::DeclineFile { transfer, reason }, tag, actions);
                    }
                }
            }
            Slash::Requests => {
                let (requests, files) = (self.open_requests().cloned(), self.open_files().cloned());
                let local = Local::Requests { requests: requests.collect(), files: files.collect() };
                show(local, tag, actions);
            }
            Slash::Switch(who) => {
                let peer = self.conversation(&who)?;
                self.talk_to(Some(peer), actions);
                done(tag, actions);
            }
            Slash::Back => {
                self.talk_to(None, actions);
                done(tag, actions);
            }
            Slash::Close(who) => match self.recipient(who.as_deref().or(to))? {
                Recipient::Peer(peer) => self.ask(Command::Close { peer }, tag, actions),
                Recipient::Expected => return Err(Failure::NoConversation),
            },
            Slash::Quit => {
                done(tag, actions);
                actions.push(Action::Quit);
            }
            Slash::SendFiles(paths) => {
                self.say_to(self.recipient(to)?, Saying::Files(paths), tag, actions);
            }
            Slash::Files => show(Local::Files(self.files.values().cloned().collect()), tag, actions),
            Slash::Save { transfer, dir } => self.ask(Request::SaveFile { transfer, dir }, tag, actions),
            Slash::Cancel(what) => self.cancel(what.as_deref(), tag, actions)?,
            Slash::Message { to, text } => self.message(&to, &text, tag, actions)?,
            Slash::History { limit } => {
                self.look(self.talking_to(to)?, Vec::new(), Some(limit), tag, actions);
            }
            Slash::Search(words) => self.look(self.talking_to(to)?, words, None, tag, actions),
            Slash::Retry(who) => {
                let to = who.as_deref().or(to).map(|who| self.people.resolve(who)).transpose()?;
                self.ask(Command::Retry { to }, tag, actions);
            }
            Slash::Waiting => self.ask(Request::Recall(Recall::Talks), tag, actions),
            Slash::Block(who) => {
                let who = self.anybody(&who)?;
                self.ask(Command::Block { who }, tag, actions);
            }
            Slash::Unblock(who) => {
                let who = self.anybody(&who)?;
                self.ask(Command::Unblock { who }, tag, actions);
            }
            Slash::Verify { who, yes } => match self.recipient(who.as_deref().or(to))? {
                Recipient::Peer(peer) if yes => self.ask(Command::Verified { peer }, tag, actions),
                Recipient::Peer(peer) => show(self.safety(peer)?, tag, actions),
                Recipient::Expected => return Err(Failure::NoConversation),
            },
            Slash::Trust(name) => self.ask(Command::Trust { name }, tag, actions),
            Slash::Stand(change) if change == StandingChange::default() => {
                show(Local::Standing(self.standing), tag, actions);
            }
            Slash::Stand(change) => self.ask(Command::Stand { change }, tag, actions),
            Slash::Info => self.ask(Command::Info, tag, actions),
            Slash::Id => show(Local::Id(self.me.clone()), tag, actions),
            Slash::Timestamps(on) => {
                self.timestamps = on;
                show(Local::Timestamps(on), tag, actions);
            }
            Slash::ReadReceipts(on) => {
                let request = Request::Engine(Command::ReadReceipts { tell: on });
                actions.push(Action::Ask { id: self.pending.next_id(), request });
                show(Local::ReadReceipts(on), tag, actions);
            }
            Slash::Typing(who) => match self.recipient(who.as_deref().or(to))? {
                Recipient::Peer(to) => self.ask(Command::Typing { to }, tag, actions),
                // Nobody is there to see it.
                Recipient::Expected => done(tag, actions),
            },
            Slash::Clear => {
                actions.push(Action::Clear);
                done(tag, actions);
            }
        }
        Ok(())
    }

    pub(super) fn say(&mut self, what: Saying, to: PeerId, tag: Option<Tag>, actions: &mut Vec<Action>) {
        match what {
            Saying::Text(text) => self.ask(Command::Message { to, text }, tag, actions),
            Saying::Files(paths) => self.send_files(to, paths, tag, actions),
        }
    }

    pub(super) fn say_to(
        &mut self,
        to: Recipient,
        what: Saying,
        tag: Option<Tag>,
        actions: &mut Vec<Action>,
    ) {
        match to {
            Recipient::Peer(peer) => self.say(what, peer, tag, actions),
            Recipient::Expected => self.waiting.push_back(Waiting { tag, what }),
        }
    }

    fn ask(&mut self, request: impl Into<Request>, tag: Option<Tag>, actions: &mut Vec<Action>) {
        let line = self.pending.line(tag, false);
        let id = self.pending.command(line, None);
        actions.push(Action::Ask { id, request: request.into() });
    }

    fn send_files(&mut self, to: PeerId, paths: Vec<PathBuf>, tag: Option<Tag>, actions: &mut Vec<Action>) {
        let line = self.pending.line(tag, false);
        for path in paths {
            let id = self.pending.command(line, None);
            actions.push(Action::Ask { id, request: Request::SendFile { to, path } });
        }
    }

    fn message(
        &mut self,
        to: &[String],
        text: &str,
        tag: Option<Tag>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let mut peers = Vec::new();
        for who in to {
            let peer = self.people.resolve(who)?;
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        let line = self.pending.line(tag, peers.len() > 1);
        for to in peers {
            let id = self.pending.command(line, Some((to, self.people.label(to))));
            actions.push(Action::Ask { id, request: Command::Message { to, text: text.to_owned() }.into() });
        }
        Ok(())
    }

    fn cancel(
        &mut self,
        what: Option<&str>,
        tag: Option<Tag>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let running = || {
            let under_way = self.files.values().filter(|file| !file.state.is_end());
            under_way.map(|file| file.transfer)
        };
        let mine = || self.requests.iter().filter(|request| request.direction == Direction::Out);
        let number = what.and_then(|what| what.parse().ok()).map(TransferNumber);
        let found = match (what, number) {
            (Some(_), Some(number)) if running().any(|running| running == number) => Some(Open::File(number)),
            (Some(who), _) => {
                mine().find(|request| is_named(request, who)).map(|request| Open::Request(request.request))
            }
            (None, _) => {
                let files = running().map(Open::File);
                let requests = mine().map(|request| Open::Request(request.request));
                only(files.chain(requests).collect())?
            }
        };
        match found {
            Some(Open::File(transfer)) => self.ask(Command::CancelFile { transfer }, tag, actions),
            Some(Open::Request(request)) => self.ask(Command::CancelRequest { request }, tag, actions),
            None => return Err(Failure::NoSuch { what: "transfer or request of yours" }),
        }
        Ok(())
    }

    /// Who is meant; the engine knows more people than came up here.
    fn anybody(&self, who: &str) -> Result<Target, Failure> {
        self.people.resolve(who).map_or_else(|_| target(who), |peer| Ok(Target::Peer(peer)))
    }

    /// What this user and somebody have to compare.
    fn safety(&self, peer: PeerId) -> Result<Local, Failure> {
        let me = self.me.as_ref().ok_or(Failure::NoConversation)?.peer;
        let number = SafetyNumber::between(me, peer);
        Ok(Local::Safety { peer, name: self.people.name(peer).cloned(), number })
    }

    /// Whom a line goes to that names somebody, or nobody.
    pub(super) fn recipient(&self, to: Option<&str>) -> Result<Recipient, Failure> {
        let Some(who) = to else {
            return match self.current {
                Current::Nobody => Err(Failure::NoConversation),
                Current::Expected => Ok(Recipient::Expected),
                Current::Peer(peer) => Ok(Recipient::Peer(peer)),
            };
        };
        if self.current == Current::Expected && self.expected == target(who).ok() {
            return Ok(Recipient::Expected);
        }
        self.people.resolve(who).map(Recipient::Peer)
    }

    /// With whom the conversation is that a line names; the one asked for from the start may not be there yet.
    fn talking_to(&self, to: Option<&str>) -> Result<PeerId, Failure> {
        match (self.recipient(to)?, &self.expected) {
            (Recipient::Peer(peer), _) => Ok(peer),
            (Recipient::Expected, Some(Target::Peer(peer))) => Ok(*peer),
            (Recipient::Expected, Some(Target::Name(name))) => self.people.resolve(name.as_str()),
            (Recipient::Expected, None) => Err(Failure::NoConversation),
        }
    }

    /// Who is meant by `/switch`: a number counts conversations, else a name or an id.
    fn conversation(&self, who: &str) -> Result<PeerId, Failure> {
        let numbered = who.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match numbered.and_then(|index| self.people.conversations().get(index)) {
            Some(conversation) => Ok(conversation.peer),
            None => self.people.resolve(who),
        }
    }

    fn open_requests(&self) -> impl Iterator<Item = &RequestEvent> {
        self.requests.iter().filter(|request| request.direction == Direction::In)
    }

    fn open_files(&self) -> impl Iterator<Item = &FileEvent> {
        self.files.values().filter(|file| file.direction == Direction::In && file.state == FileState::Offered)
    }

    /// What waits for the user's word under that name or number.
    fn find_open(&self, what: &str) -> Option<Open> {
        let number = what.parse().ok().map(TransferNumber);
        let file = self.open_files().find(|file| Some(file.transfer) == number);
        let request = || self.open_requests().find(|request| is_named(request, what));
        file.map(|file| Open::File(file.transfer))
            .or_else(|| request().map(|request| Open::Request(request.request)))
    }

    fn open(&self, what: Option<&str>) -> Result<Open, Failure> {
        let found = match what {
            Some(what) => self.find_open(what),
            None => {
                let requests = self.open_requests().map(|request| Open::Request(request.request));
                only(requests.chain(self.open_files().map(|file| Open::File(file.transfer))).collect())?
            }
        };
        found.ok_or(Failure::NoSuch { what: "open request or offered file" })
    }

    /// What `/decline` means, and the reason. A first word that names nothing begins the reason for
    /// the only open one; a number names a file and nothing else.
    fn declined(&self, first: Option<&str>, rest: String, whole: String) -> Result<(Open, String), Failure> {
        match first.and_then(|first| self.find_open(first)) {
            Some(open) => Ok((open, rest)),
            None if first.is_some_and(|first| first.parse::<u32>().is_ok()) => {
                Err(Failure::NoSuch { what: "offered file" })
            }
            None => Ok((self.open(None)?, whole)),
        }
    }
}

fn show(local: Local, tag: Option<Tag>, actions: &mut Vec<Action>) {
    actions.push(Action::Show(local));
    done(tag, actions);
}

fn done(tag: Option<Tag>, actions: &mut Vec<Action>) {
    if tag.is_some() {
        actions.push(Action::Outcome(Outcome { tag, result: Ok(Made::default()) }));
    }
}

fn is_named(request: &RequestEvent, who: &str) -> bool {
    request.name.as_ref().is_some_and(|name| name.as_str() == who)
        || request.peer.is_some_and(|peer| who.parse() == Ok(peer))
}

fn only(mut all: Vec<Open>) -> Result<Option<Open>, Failure> {
    if all.len() > 1 {
        return Err(Failure::Usage("several are open: say which, by name or number".into()));
    }
    Ok(all.pop())
}
