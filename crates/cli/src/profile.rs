//! Which profile a command is for, its name, its config and its identity.

use core::cell::OnceCell;
use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use p2pchat_client::profile::{Home, Papers, ProfileLock, Profiles};
use p2pchat_client::random::{guest_name, system_rng};
use p2pchat_client::{Failure, Identity, Passphrase, Seed};
use p2pchat_proto::{Name, PeerId};
use zeroize::Zeroizing;

use crate::args::Global;
use crate::settings::{ConfigFile, PassphraseSource, Settings};
use crate::terminal::{Terminal, ask, ask_secret};

/// Most bytes of a passphrase.
const PASSPHRASE_MAX: usize = 1024;
/// Called so if the system has no better name for the user.
const NAMELESS: &str = "user";

/// A profile that was chosen, with what counts for it.
#[derive(Debug)]
pub struct Profile {
    /// Its files.
    pub home: Home,
    /// Flags over environment over config.
    pub settings: Settings,
    /// Whether `--home` chose it.
    pub by_home: bool,
    /// The name that the user said, or that its directory has. What is stored is sealed.
    said: Option<Name>,
    terminal: Terminal,
    /// Once it was unlocked.
    identity: OnceCell<Arc<Identity>>,
}

/// The profile that counts without anybody being asked, if there is one.
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    Name(Name),
    /// There is none yet.
    First,
}

impl Profile {
    /// Finds the profile: `--home`, else `--name`, else the default one, else the only one, else the
    /// first one is made.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if several could be meant; [`Failure::Local`] if files cannot be read.
    pub fn choose(global: &Global, terminal: Terminal) -> Result<Self, Failure> {
        if global.anonymous {
            // A user without a home directory has no config file either.
            let profiles = Profiles::of_user().ok();
            let path = profiles.as_ref().map(Profiles::config_file);
            let file = path.map_or_else(|| Ok(ConfigFile::default()), ConfigFile::read)?;
            return Self::anonymous(Settings::new(global, &file)?, terminal);
        }
        if let Some(directory) = &global.home {
            let home = Home::open(directory)?;
            let path = home.config_file();
            let file = path.map_or_else(|| Ok(ConfigFile::default()), ConfigFile::read)?;
            if file.home.is_some() {
                let what = "the config file in --home names another home".to_owned();
                return Err(Failure::Usage(what));
            }
            return Self::in_home(home, global, &file, terminal);
        }
        let profiles = Profiles::of_user()?;
        let file = ConfigFile::read(profiles.config_file())?;
        if let Some(directory) = &file.home {
            return Self::in_home(Home::open(directory)?, global, &file, terminal);
        }
        let settings = Settings::new(global, &file)?;
        if file.anonymous && global.name.is_none() {
            return Self::anonymous(settings, terminal);
        }
        let wanted = global.name.clone().or_else(|| file.name.clone());
        let name = match choose(wanted, file.default_profile.clone(), &profiles.names()?)? {
            Chosen::Name(name) => name,
            Chosen::First => first_name(terminal, settings.json)?,
        };
        let home = profiles.open(&name)?;
        Ok(Self { home, settings, by_home: false, said: Some(name), terminal, identity: OnceCell::new() })
    }

    /// A profile in memory, with a name that nobody had before.
    fn anonymous(settings: Settings, terminal: Terminal) -> Result<Self, Failure> {
        let (home, said) = (Home::nowhere(), Some(guest_name(&mut system_rng()?)?));
        Ok(Self { home, settings, by_home: false, said, terminal, identity: OnceCell::new() })
    }

    fn in_home(home: Home, global: &Global, file: &ConfigFile, terminal: Terminal) -> Result<Self, Failure> {
        if file.anonymous {
            let what = "a home is kept, and its config file says anonymous".to_owned();
            return Err(Failure::Usage(what));
        }
        let settings = Settings::new(global, file)?;
        let said = global.name.clone().or_else(|| file.name.clone());
        Ok(Self { home, settings, by_home: true, said, terminal, identity: OnceCell::new() })
    }

    /// The name to register.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if `--name` is not the name in `--home`.
    pub fn name(&self, papers: &Papers) -> Result<Name, Failure> {
        match (papers.name(), &self.said) {
            (Some(stored), Some(said)) if self.by_home && stored != said => {
                Err(Failure::Usage(format!("{} is the profile of {stored}, not of {said}", self.directory())))
            }
            (_, Some(name)) | (Some(name), None) => Ok(name.clone()),
            (None, None) => first_name(self.terminal, self.settings.json),
        }
    }

    /// Whether anything of it is on a disk.
    pub fn is_kept(&self) -> bool {
        self.home.directory().is_some()
    }

    /// The profile, for a command that is about what is kept.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if it is kept nowhere.
    pub fn kept(self) -> Result<Self, Failure> {
        if self.is_kept() {
            return Ok(self);
        }
        Err(Failure::Usage(
            "with --anonymous nothing is kept, so there is nothing to show or change".to_owned(),
        ))
    }

    /// What to call it before it is unlocked.
    pub fn label(&self) -> String {
        self.said.as_ref().map_or_else(|| self.directory(), ToString::to_string)
    }

    fn directory(&self) -> String {
        self.home.directory().map(|directory| directory.display().to_string()).unwrap_or_default()
    }

    /// What it keeps, for whoever holds it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::identity`] and of [`Papers::open`].
    pub fn papers(&self, _held: &ProfileLock) -> Result<Papers, Failure> {
        Papers::open(&self.home, &self.identity()?)
    }

    /// The same, for whoever only looks.
    ///
    /// # Errors
    ///
    /// Those of [`Self::identity`] and of [`Papers::look`].
    pub fn look(&self) -> Result<Papers, Failure> {
        Papers::look(&self.home, &self.identity()?)
    }

    /// Holds the profile for this process.
    ///
    /// # Errors
    ///
    /// [`Failure::AlreadyRunning`].
    pub fn lock(&self) -> Result<ProfileLock, Failure> {
        self.home.lock()
    }

    /// The identity; made where there is none.
    ///
    /// # Errors
    ///
    /// [`Failure::Locked`] where nobody can be asked, and whatever is the matter with the key file.
    pub fn identity(&self) -> Result<Arc<Identity>, Failure> {
        if let Some(identity) = self.identity.get() {
            return Ok(Arc::clone(identity));
        }
        if !self.is_kept() {
            let made = Arc::new(self.home.create_identity(None, &mut system_rng()?)?);
            return Ok(Arc::clone(self.identity.get_or_init(|| made)));
        }
        if !self.home.has_identity() {
            return self.create(false);
        }
        let identity = Arc::new(self.home.identity(self.current_passphrase()?.as_ref())?);
        Ok(Arc::clone(self.identity.get_or_init(|| identity)))
    }

    /// Makes the identity, with a passphrase where the user gives one. For whoever holds the profile.
    ///
    /// # Errors
    ///
    /// [`Failure::KeyFile`] if there is one already.
    pub fn create(&self, no_passphrase: bool) -> Result<Arc<Identity>, Failure> {
        self.make(no_passphrase, |home, passphrase| home.create_identity(passphrase, &mut system_rng()?))
    }

    /// The same with an identity that was made elsewhere.
    ///
    /// # Errors
    ///
    /// Those of [`Self::create`].
    pub fn adopt(&self, seed: &Seed) -> Result<Arc<Identity>, Failure> {
        self.make(false, |home, passphrase| home.import_identity(seed, passphrase, &mut system_rng()?))
    }

    fn make(
        &self,
        no_passphrase: bool,
        make: impl FnOnce(&Home, Option<&Passphrase>) -> Result<Identity, Failure>,
    ) -> Result<Arc<Identity>, Failure> {
        let name = match &self.said {
            Some(name) => name.clone(),
            None => first_name(self.terminal, self.settings.json)?,
        };
        let passphrase = match (&self.settings.passphrase, no_passphrase) {
            (_, true) => None,
            (PassphraseSource::Terminal, false) if self.can_ask() => {
                new_passphrase("Passphrase for the new key (Enter for none): ")?
            }
            (PassphraseSource::Terminal, false) => None,
            (PassphraseSource::File(_) | PassphraseSource::Descriptor(_), false) => self.passphrase()?,
        };
        let identity = Arc::new(make(&self.home, passphrase.as_ref())?);
        Papers::open(&self.home, &identity)?.set_name(name)?;
        Ok(Arc::clone(self.identity.get_or_init(|| identity)))
    }

    /// Seals the key file under the passphrase from `source`, whatever it was sealed with.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where nobody can be asked for the new one; [`Failure::Locked`] where the one of
    /// now is needed and is not given, or is wrong.
    pub fn set_passphrase(&self, source: &PassphraseSource) -> Result<(), Failure> {
        if *source == PassphraseSource::Terminal && !self.can_ask() {
            let what = "nobody can be asked for the new passphrase: use --new-file FILE or --new-fd N";
            return Err(Failure::Usage(what.to_owned()));
        }
        let current = self.current_passphrase()?;
        // Before the new one is asked for twice.
        self.home.identity(current.as_ref())?;
        let new = if *source == PassphraseSource::Terminal {
            new_passphrase("New passphrase: ")?
        } else {
            given_passphrase(source)?
        };
        let Some(new) = new else {
            let what = "an empty passphrase is none; to have none: p2pchat passphrase remove";
            return Err(Failure::Usage(what.to_owned()));
        };
        self.home.change_passphrase(current.as_ref(), Some(&new), &mut system_rng()?)
    }

    /// Takes the passphrase from the key file.
    ///
    /// # Errors
    ///
    /// [`Failure::Locked`] where the one of now is not given, or is wrong.
    pub fn remove_passphrase(&self) -> Result<(), Failure> {
        let current = self.current_passphrase()?;
        self.home.change_passphrase(current.as_ref(), None, &mut system_rng()?)
    }

    /// Seals the identity under `passphrase` into a new file at `to`; who it is.
    ///
    /// # Errors
    ///
    /// Those of [`Home::export_identity`].
    pub fn export(&self, to: &Path, passphrase: &Passphrase) -> Result<PeerId, Failure> {
        let current = self.unlock()?;
        let name = self.name(&self.look()?)?;
        self.home.export_identity(current.as_ref(), &name, to, passphrase, &mut system_rng()?)
    }

    /// The passphrase of the key file, if it has one, for whoever is to write that anew. Nobody is asked twice.
    ///
    /// # Errors
    ///
    /// Those of [`Self::identity`].
    pub fn unlock(&self) -> Result<Option<Passphrase>, Failure> {
        let current = self.current_passphrase()?;
        let identity = Arc::new(self.home.identity(current.as_ref())?);
        self.identity.get_or_init(|| identity);
        Ok(current)
    }

    /// Whoever can be asked here.
    pub fn asker(&self) -> Asker {
        Asker::new(self.terminal, self.settings.json)
    }

    fn current_passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        if self.home.identity_is_locked()? { self.passphrase() } else { Ok(None) }
    }

    fn can_ask(&self) -> bool {
        !self.settings.json && self.terminal.can_ask()
    }

    fn passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        if self.settings.passphrase == PassphraseSource::Terminal && self.can_ask() {
            return ask_secret(&format!("Passphrase of {}: ", self.label())).map(Passphrase::new).map(Some);
        }
        given_passphrase(&self.settings.passphrase)
    }
}

/// Asks for the passphrases of files that go elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    can_ask: bool,
}

impl Asker {
    /// In JSON mode nobody is asked.
    pub fn new(terminal: Terminal, json: bool) -> Self {
        Self { can_ask: !json && terminal.can_ask() }
    }

    /// A new one.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where nobody can be asked, or if it is empty.
    pub fn passphrase_to_seal(self, source: &PassphraseSource) -> Result<Passphrase, Failure> {
        let given = match self.asks(source) {
            true => new_passphrase("Passphrase for the file: ")?,
            false => given_passphrase(source)?,
        };
        given.ok_or_else(|| self.nothing_given())
    }

    /// The one that a file was sealed with.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where nobody can be asked.
    pub fn passphrase_to_open(self, source: &PassphraseSource, file: &Path) -> Result<Passphrase, Failure> {
        let given = match self.asks(source) {
            true => Some(Passphrase::new(ask_secret(&format!("Passphrase of {}: ", file.display()))?)),
            false => given_passphrase(source)?,
        };
        given.ok_or_else(|| self.nothing_given())
    }

    fn asks(self, source: &PassphraseSource) -> bool {
        self.can_ask && *source == PassphraseSource::Terminal
    }

    fn nothing_given(self) -> Failure {
        Failure::Usage(match self.can_ask {
            true => "without a passphrase nothing is exported".to_owned(),
            false => {
                "nobody can be asked for the passphrase of the file: use --export-passphrase-file FILE or \
                      --export-passphrase-fd N"
                    .to_owned()
            }
        })
    }
}

fn choose(wanted: Option<Name>, default: Option<Name>, existing: &[Name]) -> Result<Chosen, Failure> {
    match (wanted.or(default), existing) {
        (Some(name), _) => Ok(Chosen::Name(name)),
        (None, []) => Ok(Chosen::First),
        (None, [only]) => Ok(Chosen::Name(only.clone())),
        (None, several) => {
            let names: Vec<_> = several.iter().map(Name::as_str).collect();
            Err(Failure::Usage(format!(
                "there are several profiles, choose one with --name: {}",
                names.join(", ")
            )))
        }
    }
}

fn first_name(terminal: Terminal, json: bool) -> Result<Name, Failure> {
    let login = ["USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok());
    let suggested = login_name(login.as_deref().unwrap_or_default())?;
    if json || !terminal.can_ask() {
        return Ok(suggested);
    }
    let typed = ask(&format!("Your name [{suggested}]: "))?;
    if typed.is_empty() {
        return Ok(suggested);
    }
    typed.parse().map_err(|error: p2pchat_proto::name::InvalidName| Failure::Usage(error.to_string()))
}

/// The name nearest to a login name.
fn login_name(login: &str) -> Result<Name, Failure> {
    let lower = login.to_ascii_lowercase();
    let kept = lower.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    let begun = kept.skip_while(|c| !c.is_ascii_alphanumeric());
    let name: String = begun.take(p2pchat_proto::name::NAME_MAX_LEN).collect();
    let name = name.parse().or_else(|_| NAMELESS.parse());
    name.map_err(|error: p2pchat_proto::name::InvalidName| Failure::Usage(error.to_string()))
}

/// The passphrase of a file or descriptor; none where it is to be asked for.
fn given_passphrase(source: &PassphraseSource) -> Result<Option<Passphrase>, Failure> {
    match source {
        PassphraseSource::Terminal => Ok(None),
        PassphraseSource::File(path) => read_passphrase(path).map(Some),
        PassphraseSource::Descriptor(number) => {
            read_passphrase(Path::new(&format!("/dev/fd/{number}"))).map(Some)
        }
    }
}

fn new_passphrase(question: &str) -> Result<Option<Passphrase>, Failure> {
    let mut first = Zeroizing::new(ask_secret(question)?);
    if first.is_empty() {
        return Ok(None);
    }
    if *first != ask_secret("The same again: ").map(Zeroizing::new)?.as_str() {
        return Err(Failure::PassphrasesDiffer);
    }
    Ok(Some(Passphrase::new(core::mem::take(&mut *first))))
}

fn read_passphrase(path: &Path) -> Result<Passphrase, Failure> {
    let failed = |reason: String| Failure::Local {
        what: format!("cannot read the passphrase from {}", path.display()),
        reason,
    };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    // Room for everything from the start: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(2 * PASSPHRASE_MAX));
    let read = file.take(PASSPHRASE_MAX as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| failed(error.to_string()))?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > PASSPHRASE_MAX {
        return Err(failed(format!("its first line is empty or longer than {PASSPHRASE_MAX} bytes")));
    }
    match core::str::from_utf8(line) {
        Ok(line) => Ok(Passphrase::new(line.to_owned())),
        Err(_) => Err(failed("its first line is not UTF-8".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_profile_is_chosen_by_name_then_default_then_the_only_one() {
        let (alice, bob) = (name("alice"), name("bob"));
        let both = [alice.clone(), bob.clone()];
        assert_eq!(choose(Some(bob.clone()), Some(alice.clone()), &both), Ok(Chosen::Name(bob)));
        assert_eq!(choose(None, Some(alice.clone()), &both), Ok(Chosen::Name(alice.clone())));
        assert_eq!(choose(None, None, &both[..1]), Ok(Chosen::Name(alice)));
        assert_eq!(choose(None, None, &[]), Ok(Chosen::First));
    }

    #[test]
    fn several_profiles_are_listed_where_none_is_chosen() {
        let failure = choose(None, None, &[name("alice"), name("bob")]).unwrap_err();
        assert_eq!(failure.message(), "there are several profiles, choose one with --name: alice, bob");
        assert_eq!(failure.exit(), 2);
    }

    #[test]
    fn a_login_name_becomes_a_name() {
        for (login, expected) in
            [("Ann", "ann"), ("ann.lee", "ann.lee"), ("_apt", "apt"), ("ä", "user"), ("", "user")]
        {
            assert_eq!(login_name(login).unwrap().as_str(), expected, "{login}");
        }
        assert_eq!(login_name(&"a".repeat(99)).unwrap().as_str().len(), 32);
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        std::fs::write(&path, "correct horse\r\nnot this\n").unwrap();
        assert!(read_passphrase(&path).is_ok());
        for bad in ["", "\n", &"x".repeat(2000)] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(read_passphrase(&path).map(drop).unwrap_err().exit(), 1, "{}", bad.len());
        }
    }
}
