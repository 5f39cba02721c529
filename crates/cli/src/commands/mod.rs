//! What each command does, and how it ends.

mod asked;
mod chat;
mod contacts;
mod doctor;
mod history;
mod identity;
mod moving;
mod pages;
mod passphrase;
mod rotate;
mod status;
mod transfers;

use std::ffi::{OsStr, OsString};
use std::io;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use p2pchat_client::{Failure, json};
use p2pchat_proto::StandingChange;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Cli, Command, IdWhat};
use crate::clock::wall_time;
use crate::log;
use crate::output::{self, Shown};
use crate::profile::Profile;
use crate::signals;
use crate::terminal::Terminal;

/// Runs one call of the program; its exit status.
pub fn run(arguments: &[OsString]) -> u8 {
    signals::leave_no_core_file();
    // Known from the arguments even if they cannot be understood, and from the config file later.
    let mut json = arguments.iter().any(|argument| argument == OsStr::new("--json"));
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(&cli, &mut json),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            output::print(&error.render().to_string()).map(|()| 0)
        }
        Err(error) => Err(usage(&error)),
    };
    match outcome {
        Ok(exit) => exit,
        Err(failure) => end_before_the_client(&failure, json),
    }
}

fn dispatch(cli: &Cli, json: &mut bool) -> Result<u8, Failure> {
    let Some(command) = &cli.command else {
        return Err(Failure::Usage(
            "no command: `p2pchat listen` waits for people, `p2pchat connect --to NAME` asks somebody"
                .to_owned(),
        ));
    };
    let mut profile = || {
        let profile = Profile::choose(&cli.global, Terminal::detect())?;
        *json = profile.settings.json;
        log::start(&profile.settings)?;
        Ok(profile)
    };
    match command {
        Command::Completions(args) => pages::completions(args.shell),
        Command::Man(args) => pages::man(&args.dir),
        Command::Init(args) => identity::init(&profile()?.kept()?, args),
        Command::Id(args) => match &args.what {
            None => identity::id(&profile()?.kept()?, args),
            Some(IdWhat::Rotate(args)) => rotate::run(&profile()?.kept()?, args),
            Some(IdWhat::Export(args)) => moving::export_identity(&profile()?.kept()?, args),
            Some(IdWhat::Import(args)) => moving::import_identity(&cli.global, args, |profile| {
                *json = profile.settings.json;
                log::start(&profile.settings)
            }),
        },
        Command::List(args) => chat::list(profile()?, args),
        Command::Connect(args) => chat::connect(profile()?, args),
        Command::Listen => chat::listen(profile()?),
        Command::Contacts(args) => contacts::run(&profile()?.kept()?, args),
        Command::History(args) => history::run(&profile()?.kept()?, args),
        Command::Send(args) => chat::send(profile()?, args),
        Command::Status(args) => {
            status::run(&profile()?.kept()?, StandingChange { status: args.status, ..Default::default() })
        }
        Command::Visibility(args) => status::run(
            &profile()?.kept()?,
            StandingChange { visibility: args.visibility, ..Default::default() },
        ),
        Command::Policy(args) => {
            status::run(&profile()?.kept()?, StandingChange { policy: args.policy, ..Default::default() })
        }
        Command::Transfers(args) => transfers::run(&profile()?.kept()?, args),
        Command::Doctor(args) => doctor::run(profile()?.kept()?, args),
        Command::Passphrase(args) => passphrase::run(&profile()?.kept()?, args),
    }
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| start_failed(&error))
}

fn start_failed(error: &io::Error) -> Failure {
    Failure::Local { what: "start".to_owned(), reason: error.to_string() }
}

/// Says how a command ended that never had a client.
fn end_before_the_client(failure: &Failure, json: bool) -> u8 {
    let exit = failure.exit();
    if json {
        let at = wall_time();
        for line in [json::error(failure, at), json::stopped(Some(failure), exit, at)] {
            // Standard error, below, says the same.
            let _ = output::print(&line);
        }
    }
    output::print_error(&Shown::failure(failure));
    exit
}

/// The parser's error in one line: it writes paragraphs, the first of which says what is wrong.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let words: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .flat_map(str::split_whitespace)
        .collect();
    let line = words.join(" ");
    Failure::Usage(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
}

/// The definition of the command line, for completions and manual pages.
fn definition() -> clap::Command {
    Cli::command()
}
