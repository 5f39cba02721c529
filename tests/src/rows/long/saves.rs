//! K5: the program dies before each system call by which it saves.
//!
//! A first run under strace shows which calls it makes. Then strace kills it on entering the n-th call of
//! each name, which is then not made; n grows until the program ends by itself, so that every state between
//! two calls was left on the disk once. What only a loss of power shows, the order of the calls has to: no
//! name may change before the content under it is on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::package;
use crate::binaries;
use crate::peer::{Outcome, Setup};
use crate::process::{Failure, Process, command};
use crate::rows::{Defence, Lab, NotRun, Promise, Seen, each};
use crate::trace::Trace;

/// The saver that waits for nothing, or writes over what is there.
const CARELESS: &str = "careless-saver";
/// Calls by which a file comes, changes, goes or gets to the disk. Not every machine has those marked.
const CALLS: &str = "?open,openat,?creat,?mkdir,mkdirat,write,pwrite64,writev,pwritev,ftruncate,fallocate,?rename,?renameat,\
     renameat2,?link,linkat,?unlink,unlinkat,fsync,fdatasync,?sync_file_range";
/// Calls after which a program that still does not end is not the one that is meant.
const CALLS_MAX: u32 = 500;
/// What a shell says of a program that SIGKILL ended.
const KILLED: i32 = 128 + 9;
/// How long the program may take, traced, with Argon2 over 64 MiB, on a machine that is busy.
const RUNS: Duration = Duration::from_secs(60);

const WHOLE: Promise = "what was saved is the old or the new, and serves, wherever the saving stops";
const SYNCED: Promise = "content is on the disk before its name, and the name before the end";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Draft,
    Sync,
}

const DOUBLES: [(Without, Promise); 2] = [(Without::Draft, WHOLE), (Without::Sync, SYNCED)];

/// What is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The key file of a home that has none.
    FirstKey,
    /// The key file, under a passphrase for the first time.
    Passphrase,
    /// The papers, with one more contact.
    Contact,
}

const SAVES: [What; 3] = [What::FirstKey, What::Passphrase, What::Contact];

/// What a home turned out to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Old,
    New,
    Neither,
}

/// Where homes are made, each from the same one.
struct Workshop {
    root: TempDir,
    strace: PathBuf,
    /// Its id.
    me: String,
    /// The ids of bob, who is a contact, of carol, who becomes one, and of dave, who comes after.
    others: [String; 3],
    trace: Trace,
}

pub(super) fn stopped_anywhere(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let shop = Workshop::open()?;
    let (mut figures, mut seen_both) = (Vec::new(), true);
    let seen = each(defence, &DOUBLES, |without| {
        let mut broken = BTreeSet::new();
        // The doubles save the key file.
        let saves = if without.is_some() { &[What::Passphrase][..] } else { &SAVES };
        for what in saves {
            let (home, exit) = shop.save(*what, without, None)?;
            if exit != 0 {
                return Err(NotRun(format!("traced, {what:?} ends with {exit}:\n{}", shop.trace)));
            }
            let calls = fs::read_to_string(shop.calls())?;
            let names =
                names(&calls).ok_or_else(|| NotRun(format!("not the calls of one thread:\n{calls}")))?;
            broken.extend((shop.content(*what, &home)? != Content::New).then_some(WHOLE));
            broken.extend((!is_synced(&names)).then_some(SYNCED));
            let [mut kills, mut old, mut new] = [0, 0, 0];
            for name in names.into_iter().collect::<BTreeSet<_>>() {
                for number in 1.. {
                    let (home, exit) = shop.save(*what, without, Some((name, number)))?;
                    if exit == 0 {
                        break;
                    }
                    if exit != KILLED || number > CALLS_MAX {
                        let trace = &shop.trace;
                        return Err(NotRun(format!(
                            "{what:?}, {name} {number}: strace says {exit}:\n{trace}"
                        )));
                    }
                    let found = shop.content(*what, &home)?;
                    kills += 1;
                    old += u32::from(found == Content::Old);
                    new += u32::from(found == Content::New);
                    let serves = found != Content::Neither && shop.goes_on(*what, found, &home)?;
                    broken.extend((!serves).then_some(WHOLE));
                }
            }
            // Who was never killed in the middle shows nothing.
            seen_both &= old > 0 && new > 0;
            figures.push(format!("{what:?}: {kills} kills, {old} left the old and {new} the new"));
        }
        Ok(broken)
    })?;
    if defence == Defence::InPlace && !seen_both {
        return Err(NotRun(format!("not killed on both sides of the change: {}", figures.join("; "))));
    }
    Ok(seen.figure(figures.join("; ")))
}

impl Workshop {
    fn open() -> Result<Self, NotRun> {
        let strace = package("strace", "the Debian package strace")?;
        let (root, trace) = (tempfile::tempdir()?, Trace::default());
        for (file, text) in [("first", "a first one\n"), ("second", "another one\n")] {
            fs::write(root.path().join(file), text)?;
        }
        let mut shop = Self { root, strace, me: String::new(), others: Default::default(), trace };
        let mut ids = Vec::new();
        for name in ["template", "bob", "carol", "dave"] {
            let home = shop.empty(name)?;
            ids.extend(id(&shop.run(&home, &["id"], &[])?));
        }
        let Ok([me, bob, carol, dave]) = <[String; 4]>::try_from(ids) else {
            return Err(NotRun(format!("no ids:\n{}", shop.trace)));
        };
        (shop.me, shop.others) = (me, [bob, carol, dave]);
        let template = shop.path("template");
        let known = shop.run(&template, &["contacts", "add", "bob", &shop.others[0]], &[])?;
        // What the doubles put there.
        let sealed = shop.copy("sealed")?;
        let set = shop.run(&sealed, &["passphrase", "set", "--new-file", &shop.named("first")], &[])?;
        if known.exit != 0 || set.exit != 0 {
            return Err(NotRun(format!("the homes could not be made:\n{}", shop.trace)));
        }
        Ok(shop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn named(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Where strace writes the calls that it saw.
    fn calls(&self) -> PathBuf {
        self.path("calls")
    }

    fn empty(&self, name: &str) -> Result<PathBuf, NotRun> {
        let home = self.path(name);
        if home.exists() {
            fs::remove_dir_all(&home)?;
        }
        fs::create_dir(&home)?;
        Ok(home)
    }

    /// A home as the first one was.
    fn copy(&self, name: &str) -> Result<PathBuf, NotRun> {
        let home = self.empty(name)?;
        for entry in fs::read_dir(self.path("template"))? {
            let entry = entry?;
            fs::copy(entry.path(), home.join(entry.file_name()))?;
        }
        Ok(home)
    }

    fn alice(&self, home: &Path, flags: &[&str]) -> Setup {
        // Contacts are those of one broker; any key will do, since nobody asks there.
        let broker = format!("127.0.0.1:1#{}", self.others[0]);
        let setup = Setup::new("alice", home, &self.trace).arguments(flags.iter().copied());
        if self.others[0].is_empty() { setup } else { setup.broker(&broker) }
    }

    fn run(&self, home: &Path, what: &[&str], flags: &[&str]) -> Result<Outcome, Failure> {
        self.alice(home, flags).run(what, RUNS)
    }

    /// Saves in a new home, and dies before the call of this name and number, if any. How it ended.
    fn save(
        &self,
        what: What,
        without: Option<Without>,
        dies: Option<(&str, u32)>,
    ) -> Result<(PathBuf, i32), NotRun> {
        let home = if what == What::FirstKey { self.empty("home")? } else { self.copy("home")? };
        let (first, carol) = (self.named("first"), &self.others[1]);
        let saver = match (without, what) {
            (None, What::FirstKey) => self.alice(&home, &[]).command(&["id"])?,
            (None, What::Passphrase) => {
                self.alice(&home, &[]).command(&["passphrase", "set", "--new-file", &first])?
            }
            (None, What::Contact) => self.alice(&home, &[]).command(&["contacts", "add", "carol", carol])?,
            (Some(without), _) => {
                let mut saver = Command::new(binaries::find(CARELESS)?);
                saver.arg(if without == Without::Draft { "in-place" } else { "unsynced" });
                saver.arg(self.path("sealed/identity.key")).arg(home.join("identity.key"));
                saver
            }
        };
        let mut traced = command(&self.strace, &home);
        traced.args(["-f", "-qq", "-o"]).arg(self.calls()).args(["-e", &format!("trace={CALLS}")]);
        if let Some((call, number)) = dies {
            traced.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
        }
        traced.arg("--").arg(saver.get_program()).args(saver.get_args());
        let mut process = Process::spawn("strace", traced, &self.trace)?;
        process.close_stdin();
        let exit = process.wait_exit(RUNS)?;
        Ok((home, exit))
    }

    fn content(&self, what: What, home: &Path) -> Result<Content, NotRun> {
        // Looking at a home without a key makes one.
        if what == What::FirstKey && !home.join("identity.key").exists() {
            return Ok(Content::Old);
        }
        let is_me = |outcome: &Outcome| id(outcome).is_some_and(|id| id == self.me);
        let bare = self.run(home, &["id"], &[])?;
        Ok(match what {
            What::FirstKey if bare.exit == 0 => Content::New,
            What::Passphrase if is_me(&bare) => Content::Old,
            What::Passphrase => {
                let opened = self.run(home, &["id"], &["--passphrase-file", &self.named("first")])?;
                if is_me(&opened) { Content::New } else { Content::Neither }
            }
            What::Contact if is_me(&bare) => match self.knows(home)? {
                [true, false, false] => Content::Old,
                [true, true, false] => Content::New,
                _ => Content::Neither,
            },
            What::FirstKey | What::Contact => Content::Neither,
        })
    }

    /// Which of the others are contacts.
    fn knows(&self, home: &Path) -> Result<[bool; 3], NotRun> {
        let listed = self.run(home, &["contacts", "list"], &[])?.out.join("\n");
        Ok(self.others.each_ref().map(|id| listed.contains(&format!("\"peer\":\"{id}\""))))
    }

    /// Whether the next save works in what is left, and shows.
    fn goes_on(&self, what: What, found: Content, home: &Path) -> Result<bool, NotRun> {
        let [first, second] = ["first", "second"].map(|name| self.named(name));
        let with = if found == Content::New { &["--passphrase-file", first.as_str()][..] } else { &[] };
        Ok(match what {
            What::FirstKey => {
                let made = id(&self.run(home, &["id"], &[])?);
                made.is_some() && made == id(&self.run(home, &["id"], &[])?)
            }
            What::Passphrase => {
                let set = self.run(home, &["passphrase", "set", "--new-file", &second], with)?;
                let opened = self.run(home, &["id"], &["--passphrase-file", &second])?;
                set.exit == 0 && id(&opened).is_some_and(|id| id == self.me)
            }
            What::Contact => {
                let added = self.run(home, &["contacts", "add", "dave", &self.others[2]], &[])?;
                added.exit == 0 && self.knows(home)? == [true, found == Content::New, true]
            }
        })
    }
}

/// The id that `p2pchat id` says.
fn id(outcome: &Outcome) -> Option<String> {
    let events = outcome.out.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.filter_map(|event| event["peer"].as_str().map(str::to_owned)).next()
}

/// The names of the calls that strace wrote down, `PID call(arguments) = result`. None where more than one
/// thread made them: strace counts by the thread, and would not stop each at each of its calls.
fn names(calls: &str) -> Option<Vec<&str>> {
    let mut threads = BTreeSet::new();
    let named = |line: &&str| line.contains('(');
    let name = |line| {
        let (thread, call): (&str, &str) = str::split_once(line, ' ')?;
        threads.insert(thread);
        call.trim_start().split('(').next()
    };
    let names: Option<Vec<&str>> = calls.lines().filter(named).map(name).collect();
    names.filter(|_| threads.len() == 1)
}

/// Whether the disk was waited for between what was written and each change of a name, and after it.
fn is_synced(calls: &[&str]) -> bool {
    let is_sync = |call: &&str| ["fsync", "fdatasync"].contains(call);
    let is_write = |call: &&str| call.starts_with("write") || call.starts_with("pwrite");
    let mut between = calls.split(|call| call.starts_with("rename")).peekable();
    let mut renamed = false;
    while let Some(part) = between.next() {
        let last = between.peek().is_none();
        let written = part.iter().rposition(is_write);
        let content = written.is_some_and(|written| part[written..].iter().any(is_sync));
        let name = part.iter().take_while(|call| !is_write(call)).any(is_sync);
        if (!last && !content) || (renamed && !name) {
            return false;
        }
        renamed = true;
    }
    calls.iter().any(|call| call.starts_with("rename"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_changes_before_its_content_is_on_the_disk_is_seen() {
        let twice = ["openat", "write", "fsync", "rename", "openat", "fsync"].repeat(2);
        assert!(is_synced(&twice));
        assert!(is_synced(&["write", "fdatasync", "renameat2", "fsync", "write"]));
        for wrong in [
            &["write", "rename", "fsync"][..],
            &["fsync", "write", "rename", "fsync"],
            &["write", "fsync", "rename"],
            &["write", "fsync"],
            &["write", "fsync", "rename", "write", "fsync", "rename", "fsync"],
        ] {
            assert!(!is_synced(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn calls_of_two_threads_are_not_taken_for_those_of_one() {
        assert_eq!(
            names("17 openat(AT_FDCWD, \"a b\", O_RDONLY) = 3\n17 fsync(3) = 0\n"),
            Some(vec!["openat", "fsync"])
        );
        assert_eq!(names("17 write(3, \"x\", 1) = 1\n18 fsync(3) = 0\n"), None);
    }
}
