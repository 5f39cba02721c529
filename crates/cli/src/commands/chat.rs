//! The commands that need a running client.

use std::env;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use directories::UserDirs;
use p2pchat_client::desk::{Action, Desk};
use p2pchat_client::files::open_source;
use p2pchat_client::profile::ProfileLock;
use p2pchat_client::{
    AcceptPolicy, Client, CommandId, Config, Event, Events, Failure, Identity, Request, json, language, spawn,
};
use p2pchat_proto::limits::TEXT_MAX;
use tokio::time::Instant;

use super::asked::Asked;
use super::{runtime, start_failed};
use crate::args;
use crate::clock::wall_time;
use crate::control::{self, Call, Door, Envelope, ListCall, Place, SendCall};
use crate::front::{self, Connect, Ended, Front, Hall, Input, Listen, Port, Service, Style, Task};
use crate::output::plain::Plain;
use crate::output::{self, Screen, Shown, TimeOfDay};
use crate::profile::Profile;
use crate::terminal::{Saved, Terminal};

/// A profile that is held and unlocked.
pub(super) struct Session {
    profile: Profile,
    config: Config,
    lock: ProfileLock,
}

/// What one command does differently from another.
pub(super) struct Run<T> {
    pub(super) task: T,
    pub(super) desk: Desk,
    pub(super) input: Input,
    pub(super) first: Vec<Action>,
    pub(super) bars: bool,
    /// Other processes, too.
    pub(super) serves: bool,
}

/// A client on a thread of its own.
struct Running {
    client: Client,
    events: Events,
}

impl Port for Running {
    async fn send(&self, id: CommandId, request: Request) {
        // A client that has ended says so by its last event.
        let _ = self.client.send(id, request).await;
    }

    async fn next(&mut self) -> Option<Event> {
        self.events.next().await
    }
}

/// Asks somebody, and talks.
pub(super) fn connect(mut profile: Profile, args: &args::Connect) -> Result<u8, Failure> {
    let asked = Asked::parse(&args.to)?;
    asked.choose_broker(&mut profile)?;
    readable(&args.file)?;
    // What is wrong with it is said before the profile is held.
    args.message.as_deref().map(language::check_text).transpose()?;
    let terminal = Terminal::detect();
    let input = input(&profile, terminal);
    let accept =
        if profile.settings.json || terminal.stdin { AcceptPolicy::Ask } else { AcceptPolicy::Contacts };
    let session = Session::open(profile, accept, AcceptPolicy::Ask, true)?;
    session.take(&asked)?;
    let to = session.service().meant(asked.target())?;
    let mut desk = Desk::new(home_directory()).with_expected(to.clone());
    if !session.profile.settings.json {
        desk = desk.following();
    }
    let first = desk.say_first(args.message.as_deref(), &args.file)?;
    let settings = &session.profile.settings;
    let (broker, timeout, linger) = (settings.broker.host_port.clone(), settings.timeout, settings.linger);
    let who = asked.label(&args.to);
    session.run(move |now| {
        let task = Connect::new(to, &who, &broker, timeout, linger, now);
        Run { task, desk, input, first, bars: false, serves: true }
    })
}

/// Waits for people.
pub(super) fn listen(profile: Profile) -> Result<u8, Failure> {
    let terminal = Terminal::detect();
    let mut desk = Desk::new(home_directory());
    if !profile.settings.json {
        desk = desk.following();
    }
    let input = input(&profile, terminal);
    let accept =
        if profile.settings.json || terminal.stdin { AcceptPolicy::Ask } else { AcceptPolicy::Contacts };
    let session = Session::open(profile, accept, AcceptPolicy::Ask, false)?;
    let broker = session.profile.settings.broker.host_port.clone();
    session.run(move |now| {
        let task = Listen::new(&broker, now);
        Run { task, desk, input, first: Vec::new(), bars: false, serves: true }
    })
}

/// Shows who is there.
pub(super) fn list(profile: Profile, args: &args::List) -> Result<u8, Failure> {
    let call = ListCall { all: args.all, prefix: args.prefix.clone() };
    let lock = match hold_or_call(&profile, Call::List(call.clone()))? {
        Held::Here(lock) => lock,
        Held::Done(exit) => return Ok(exit),
    };
    let session = Session::with(profile, lock, AcceptPolicy::Nobody, AcceptPolicy::Nobody, false)?;
    let service = session.service();
    session.run(move |now| {
        let task = service.list(&call, now);
        Run { task, desk: Desk::new(None), input: Input::None, first: Vec::new(), bars: false, serves: false }
    })
}

/// Delivers, and ends.
pub(super) fn send(mut profile: Profile, args: &args::Send) -> Result<u8, Failure> {
    let asked = args.to.iter().map(|who| Asked::parse(who)).collect::<Result<Vec<_>, Failure>>()?;
    Asked::choose_one_broker(&asked, &mut profile)?;
    let to = asked.iter().zip(&args.to).map(|(asked, who)| asked.label(who)).collect();
    let text = match args.message.as_deref() {
        Some("-") => Some(standard_input()?),
        text => text.map(str::to_owned),
    };
    let files: Result<Vec<_>, _> = args.files.iter().map(|path| absolute(path)).collect();
    let timeout = u32::try_from(profile.settings.timeout.as_secs()).unwrap_or(u32::MAX);
    let call = SendCall { to, text, files: files?, wait: args.wait, timeout };
    // What is wrong with it is said before the profile is held.
    Service::check(&call)?;
    readable(&args.files)?;
    let bars = Terminal::detect().stderr && !profile.settings.json && !profile.settings.quiet;
    // Whoever is invited is pinned here and by nobody else.
    let held = match asked.iter().any(Asked::is_invited) {
        true => Held::Here(profile.lock()?),
        false => hold_or_call(&profile, Call::Send(call.clone()))?,
    };
    let lock = match held {
        Held::Here(lock) => lock,
        Held::Done(exit) => return Ok(exit),
    };
    let session = Session::with(profile, lock, AcceptPolicy::Nobody, AcceptPolicy::Nobody, false)?;
    asked.iter().try_for_each(|asked| session.take(asked))?;
    let task = session.service().send(&call, Instant::now())?;
    session.run(move |_| Run {
        task,
        desk: Desk::new(None),
        input: Input::None,
        first: Vec::new(),
        bars,
        serves: false,
    })
}

/// Meets the broker once, so that its key is known and the name taken, and leaves again.
pub(super) fn greet(profile: &Profile, identity: &Arc<Identity>) -> Result<(), Failure> {
    let lock = profile.lock()?;
    let broker = profile.settings.broker.host_port.clone();
    let (nobody, identity) = (AcceptPolicy::Nobody, Arc::clone(identity));
    let (client, mut events) = spawn(config(profile, &lock, identity, nobody, nobody, false)?)?;
    runtime()?.block_on(async {
        let greeted = front::greet(&mut events, &broker).await;
        drop(client);
        // The link is closed before somebody else opens one.
        while events.next().await.is_some() {}
        greeted
    })
}

/// Who does a command.
pub(super) enum Held {
    /// This process, which holds the profile.
    Here(ProfileLock),
    /// The process that holds it has; the exit status.
    Done(u8),
}

/// Holds the profile, or has the process that does do it.
pub(super) fn hold_or_call(profile: &Profile, call: Call) -> Result<Held, Failure> {
    runtime()?.block_on(async {
        let settings = &profile.settings;
        let envelope = Envelope { call, plain: !settings.json, verbose: settings.verbose > 0 };
        match control::hold(&profile.home, &envelope).await? {
            Place::Here(lock) => Ok(Held::Here(lock)),
            Place::There(stream) => control::through(stream, settings).await.map(Held::Done),
        }
    })
}

impl Session {
    /// Holds the profile and unlocks it. The policies are what counts where the user wants none.
    fn open(
        profile: Profile,
        accept: AcceptPolicy,
        accept_files: AcceptPolicy,
        takes_files: bool,
    ) -> Result<Self, Failure> {
        let lock = profile.lock()?;
        Self::with(profile, lock, accept, accept_files, takes_files)
    }

    /// Unlocks a profile that is held.
    pub(super) fn with(
        profile: Profile,
        lock: ProfileLock,
        accept: AcceptPolicy,
        accept_files: AcceptPolicy,
        takes_files: bool,
    ) -> Result<Self, Failure> {
        let identity = profile.identity()?;
        let config = config(&profile, &lock, identity, accept, accept_files, takes_files)?;
        Ok(Self { profile, config, lock })
    }

    /// Takes an invitation. Where another key is known under its name, the broker is asked whether the one took
    /// the place of the other by the word of both; then it is followed before anything is sent.
    fn take(&self, asked: &Asked) -> Result<(), Failure> {
        let (changed, introduction) = match (asked.take(&self.config), asked.introduction()) {
            (Err(changed @ Failure::KeyChanged { .. }), Some(introduction)) => (changed, introduction),
            (taken, _) => return taken,
        };
        let (settings, nobody) = (&self.profile.settings, AcceptPolicy::Nobody);
        let identity = Arc::clone(&self.config.identity);
        let (client, mut events) =
            spawn(config(&self.profile, &self.lock, identity, nobody, nobody, false)?)?;
        let introduced = runtime()?.block_on(async {
            let broker = &settings.broker.host_port;
            let introduced = front::introduce(&client, &mut events, introduction, broker).await;
            drop(client);
            // The link is closed before somebody else opens one.
            while events.next().await.is_some() {}
            introduced
        });
        // A broker that cannot be asked is as one without a statement.
        let Ok(followed) = introduced else { return Err(changed) };
        let mut plain = Plain::new(TimeOfDay::local(), false);
        for event in followed {
            match settings.json {
                true => json::event(&event, wall_time()).map_or(Ok(()), |line| output::print(&line))?,
                false => plain
                    .event(&event, &Desk::new(None))
                    .iter()
                    .try_for_each(|line| output::print(line.text()))?,
            }
        }
        asked.take(&self.config)
    }

    /// What other commands of this profile need.
    pub(super) fn service(&self) -> Service {
        let Config { home, identity, broker, .. } = &self.config;
        Service { home: home.clone(), me: Arc::clone(identity), broker: broker.clone() }
    }

    /// Runs the client and the command until both have ended.
    pub(super) fn run<T: Task>(self, make: impl FnOnce(Instant) -> Run<T>) -> Result<u8, Failure> {
        let service = self.service();
        let kept = self.profile.is_kept();
        let settings = self.profile.settings;
        let runtime = runtime()?;
        let terminal = Terminal::detect();
        let screen = Screen::start(terminal.colors(settings.color), settings.quiet);
        let screen = screen.map_err(|error| start_failed(&error))?;
        let style = if settings.json {
            Style::Json
        } else {
            Style::Plain(Box::new(Plain::new(TimeOfDay::local(), settings.verbose > 0)))
        };
        let (client, events) = spawn(self.config)?;
        runtime.block_on(async {
            let Run { task, desk, input, first, bars, serves } = make(Instant::now());
            let hall = if serves { open_hall(service, &screen, settings.json).await } else { None };
            let saved = (input == Input::Editor).then(Saved::now);
            let front = Front::new(Running { client, events }, desk, task, screen, style, input);
            let front = if bars { front.with_bars() } else { front };
            let front = if kept { front } else { front.keeping_nothing() };
            let front = match hall {
                Some(hall) => front.with_hall(hall),
                None => front,
            };
            let mut ended = front.run(first).await;
            ended.screen.flush().await;
            if let (None, Some(error)) = (&ended.failure, ended.screen.fault()) {
                ended.failure = Some(output::not_written(error));
            }
            drop(saved);
            Ok(say_goodbye(ended, settings.json).await)
        })
    }
}

/// What a client is started with. The policies are what counts where the user wants none.
fn config(
    profile: &Profile,
    held: &ProfileLock,
    identity: Arc<Identity>,
    accept: AcceptPolicy,
    accept_files: AcceptPolicy,
    takes_files: bool,
) -> Result<Config, Failure> {
    let settings = &profile.settings;
    let papers = profile.papers(held)?;
    if papers.is_rotating() && !settings.quiet {
        let notice = "* a new key waits to take the place of this one: `p2pchat id rotate` goes on with it";
        output::print_error(&Shown::notice(notice));
    }
    Ok(Config {
        home: profile.home.clone(),
        identity,
        name: profile.name(&papers)?,
        broker: settings.broker.clone(),
        bind: settings.bind.clone(),
        advertise: settings.advertise.clone(),
        bind_tcp: settings.bind_tcp.clone(),
        advertise_tcp: settings.advertise_tcp.clone(),
        accept: settings.accept.unwrap_or(accept),
        require_verified: settings.require_verified,
        read_receipts: settings.read_receipts,
        expire: settings.expire,
        accept_files: settings.accept_files.unwrap_or(accept_files),
        files_from_connected: takes_files && settings.accept_files.is_none(),
        download_dir: download_dir(profile)?,
    })
}

/// Lets other processes of this user use the profile. Where that cannot be, the command goes on without.
async fn open_hall(service: Service, screen: &Screen, json: bool) -> Option<Hall> {
    match Door::open(service.home.directory()?) {
        Ok(door) => Some(Hall::new(door, service)),
        Err(failure) => {
            // A screen that is closed is noticed by the first event.
            let _ = match json {
                true => screen.json(json::error(&failure, wall_time()), None).await,
                false => screen.show(Shown::failure(&failure)).await,
            };
            None
        }
    }
}

/// Says how it ended, where that was not said; the exit status.
async fn say_goodbye(ended: Ended, json: bool) -> u8 {
    let Ended { failure, told, screen } = ended;
    let exit = failure.as_ref().map_or(0, Failure::exit);
    let by_signal = matches!(failure, Some(Failure::Interrupted | Failure::Terminated));
    let untold = failure.as_ref().filter(|_| !told && !by_signal);
    // Nobody reads any more: nobody to tell.
    let _ = screen.no_editor().await;
    if json {
        let at = wall_time();
        if let Some(failure) = untold {
            let _ = screen.json(json::error(failure, at), None).await;
        }
        let _ = screen.json(json::stopped(failure.as_ref(), exit, at), None).await;
    }
    // In JSON mode the line for people is still due.
    if let Some(failure) = failure.as_ref().filter(|_| !by_signal && (json || !told)) {
        let shown = Shown::failure(failure);
        if screen.show(shown.clone()).await.is_err() {
            output::print_error(&shown);
        }
    }
    screen.flush().await;
    exit
}

fn input(profile: &Profile, terminal: Terminal) -> Input {
    if terminal.can_edit() && !profile.settings.json { Input::Editor } else { Input::Stream }
}

/// Finds out before anybody is asked whether the files can be sent.
fn readable(files: &[PathBuf]) -> Result<(), Failure> {
    files.iter().try_for_each(|path| open_source(path).map(drop))
}

fn standard_input() -> Result<String, Failure> {
    // One more than a message and its line end: then it is too long, however much follows.
    let limit = TEXT_MAX + 2;
    let mut bytes = Vec::new();
    io::stdin().take(limit as u64).read_to_end(&mut bytes).map_err(|error| Failure::Local {
        what: "read standard input".to_owned(),
        reason: error.to_string(),
    })?;
    if bytes.len() == limit {
        return Err(Failure::TooLong { len: limit, max: TEXT_MAX });
    }
    // `date | p2pchat send -m -`: the line end belongs to the pipe, not to the message.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| Failure::NotUtf8)
}

fn home_directory() -> Option<PathBuf> {
    UserDirs::new().map(|dirs| dirs.home_dir().to_owned())
}

/// Where files go unless the user says otherwise.
pub(super) fn download_dir(profile: &Profile) -> Result<PathBuf, Failure> {
    if let Some(directory) = &profile.settings.download_dir {
        return absolute(directory);
    }
    if let (true, Some(home)) = (profile.by_home, profile.home.directory()) {
        return absolute(&home.join("downloads"));
    }
    let user = UserDirs::new();
    let known = user.as_ref().and_then(|dirs| dirs.download_dir().map(Path::to_owned));
    known.or_else(|| user.map(|dirs| dirs.home_dir().join("Downloads"))).ok_or_else(|| Failure::Local {
        what: "find a download directory".to_owned(),
        reason: "this user has no home; name one with --download-dir".to_owned(),
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let here = env::current_dir().map_err(|error| Failure::Local {
        what: "find the current directory".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(here.join(path))
}
