//! Everything of a profile but its key and its conversations: one sealed file.

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use p2pchat_crypto::Identity;
use p2pchat_crypto::rest::{NAME_LEN, SEAL_LEN};
use p2pchat_engine::{Failure, Mark, Replaced};
use p2pchat_proto::{BrokerKey, Name, PeerId, Standing};
use p2pchat_session::Contact;
use zeroize::Zeroizing;

use super::brokers::KnownBrokers;
use super::disk::{self, FileError, OTHERS_WRITE};
use super::former;
use super::home::{Home, damaged};
use super::marks::Marks;
use super::pins::{Pin, Pins};
use super::succession::SealedRotation;
use super::text;
use crate::config::BrokerAddress;
use crate::random::system_rng;
use crate::store::set_aside;

/// Name of the file.
pub(super) const FILE: &str = "papers";
const MAGIC: &[u8; 14] = b"p2pchat papers";
/// Version of the layout.
const VERSION: u16 = 1;
const HEAD_LEN: usize = MAGIC.len() + 2 + NAME_LEN;
const LENGTH_LEN: usize = 4;
/// What its file is known by, under the key that names what rests.
const WHOSE: &[u8] = b"papers";
/// Least bytes of the file, which doubles from there: about 90 contacts of 700 bytes each.
const STEP: usize = 64 * 1024;
/// Most bytes of the file: 10,000 pins of 192 bytes, 2,000 contacts who come back of 1,000, 20,000 people of
/// whom something was decided of 108, 2,000 brokers of 330 and 10,000 replaced keys of 115 are 7.9 million.
const FILE_MAX: usize = 8 * 1024 * 1024;

/// The file `papers`: this user's name and port, how they stand towards others, the brokers that are known, who is behind which name, what
/// contacts come back with, and what was decided about people.
///
/// ```text
/// "p2pchat papers" | version u16 = 1 | whose [16] | nonce [24] | sealed: length u32, text, zeros | tag [16]
/// ```
///
/// Sealed under the key of everything at rest (protocol section 13), with what stands before the nonce as
/// associated data. `whose` is a keyed hash that only the same identity makes, so that another one's file is
/// told from a damaged one. The text has a thing a line, each after a word that says what it is. Its size is
/// 64 KiB or twice, four times, … as much: it tells about how many people there may be, to within a factor
/// of two, and nothing below 64 KiB.
///
/// A change of several things is one write, so that a crash leaves all of it or nothing.
#[derive(Clone)]
pub struct Papers {
    home: Home,
    pub(super) me: Arc<Identity>,
    pub(super) content: Content,
    /// The file does not hold all of that yet.
    unsaved: bool,
}

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) name: Option<Name>,
    pub(super) udp_port: Option<u16>,
    pub(super) standing: Standing,
    pub(super) brokers: KnownBrokers,
    pub(super) pins: Pins,
    pub(super) marks: Marks,
    /// Whom this user followed, until the store has heard of it.
    pub(super) followed: Vec<(PeerId, PeerId)>,
    /// Keys of theirs that count no more.
    pub(super) replaced: Replaced,
    /// The key that is to take the place of the user's own.
    pub(super) rotation: Option<SealedRotation>,
}

/// Where content was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nowhere,
    /// In the files of former versions, in clear.
    Formerly,
    Here,
}

/// Why there is no content.
enum Unreadable {
    /// What is there is not what was written.
    Damaged(PathBuf),
    Failure(Failure),
}

impl Papers {
    /// Those of the profile, for whoever holds its lock. What former versions kept in clear is moved into the
    /// file; the old files go once the new one is on the disk. A damaged file is set aside.
    ///
    /// # Errors
    /// [`Failure::StoreDamaged`]; [`Failure::Local`] if a file cannot be read, belongs to another identity or
    /// was written by a later version; those of a change, where something is moved.
    pub fn open(home: &Home, me: &Arc<Identity>) -> Result<Self, Failure> {
        let (content, found) = match read(home, me) {
            Ok(read) => read,
            Err(Unreadable::Failure(failure)) => return Err(failure),
            Err(Unreadable::Damaged(path)) => {
                let aside = set_aside(&path).ok().map(|aside| aside.display().to_string());
                return Err(Failure::StoreDamaged { path: path.display().to_string(), aside });
            }
        };
        let mut papers = Self { home: home.clone(), me: Arc::clone(me), content, unsaved: false };
        papers.end_rotation()?;
        if found == Found::Formerly {
            papers.save()?;
        }
        if found != Found::Nowhere {
            former::remove(home)?;
        }
        Ok(papers)
    }

    /// The same for whoever only looks, beside another process that holds the profile: nothing on the disk is
    /// touched.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn look(home: &Home, me: &Arc<Identity>) -> Result<Self, Failure> {
        match read(home, me) {
            Ok((content, _)) => Ok(Self { home: home.clone(), me: Arc::clone(me), content, unsaved: false }),
            Err(Unreadable::Failure(failure)) => Err(failure),
            Err(Unreadable::Damaged(path)) => {
                Err(Failure::StoreDamaged { path: path.display().to_string(), aside: None })
            }
        }
    }

    /// Whose they are.
    pub(super) fn me(&self) -> PeerId {
        self.me.peer_id()
    }

    /// The name that is registered, once one is stored.
    pub const fn name(&self) -> Option<&Name> {
        self.content.name.as_ref()
    }

    /// The UDP port of last time.
    pub const fn udp_port(&self) -> Option<u16> {
        self.content.udp_port
    }

    /// How this user stands towards others.
    pub const fn standing(&self) -> Standing {
        self.content.standing
    }

    /// The brokers that are known.
    pub const fn brokers(&self) -> &KnownBrokers {
        &self.content.brokers
    }

    /// Who is behind which name.
    pub const fn pins(&self) -> &Pins {
        &self.content.pins
    }

    /// What was decided about people.
    pub const fn marks(&self) -> &Marks {
        &self.content.marks
    }

    /// Keys that their owners have replaced, as far as this user has followed them.
    pub const fn replaced(&self) -> &Replaced {
        &self.content.replaced
    }

    /// The key that the broker at `address` must have, if it is known.
    pub fn expected(&self, address: &BrokerAddress) -> Option<BrokerKey> {
        self.content.brokers.expected(address)
    }

    /// Stores the name.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn set_name(&mut self, name: Name) -> Result<(), Failure> {
        self.change(|content| {
            content.name = Some(name);
            Ok(())
        })
    }

    /// Stores the UDP port for the next time.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn set_udp_port(&mut self, port: u16) -> Result<(), Failure> {
        self.change(|content| {
            content.udp_port = Some(port);
            Ok(())
        })
    }

    /// Stores how this user stands towards others.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn set_standing(&mut self, standing: Standing) -> Result<(), Failure> {
        self.change(|content| {
            content.standing = standing;
            Ok(())
        })
    }

    /// Keeps the key of the broker at `host_port` from now on; see [`KnownBrokers::remember`].
    ///
    /// # Errors
    /// [`Failure::NotAllowed`], [`Failure::Local`], [`Failure::DiskFull`].
    pub fn remember_broker(&mut self, host_port: &str, key: BrokerKey) -> Result<(), Failure> {
        self.change(|content| content.brokers.remember(host_port, key))
    }

    /// Pins a person; see [`Pins::pin`].
    ///
    /// # Errors
    /// Those of [`Pins::pin`]; [`Failure::Local`], [`Failure::DiskFull`].
    pub fn pin(&mut self, pin: Pin) -> Result<(), Failure> {
        self.change(|content| content.pins.pin(pin))
    }

    /// Pins a person in the place of another identity; see [`Pins::repin`]. Whatever happens, the name
    /// belongs to the one or to the other.
    ///
    /// # Errors
    /// As for [`Self::pin`].
    pub fn repin(&mut self, pin: Pin, instead_of: PeerId) -> Result<(), Failure> {
        self.change(|content| content.pins.repin(pin, instead_of))
    }

    /// Keeps what was decided about somebody; see [`Marks::set`].
    ///
    /// # Errors
    /// Those of [`Marks::set`]; [`Failure::Local`], [`Failure::DiskFull`].
    pub fn mark(&mut self, mark: Mark) -> Result<(), Failure> {
        self.change(|content| content.marks.set(mark))
    }

    /// Keeps what a contact comes back with, in the place of what was kept of it; erases that where there
    /// are no generations.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] if there are too many; [`Failure::Local`], [`Failure::DiskFull`].
    pub fn keep(&mut self, contact: &Contact) -> Result<(), Failure> {
        let (me, mut rng) = (Arc::clone(&self.me), system_rng()?);
        self.change(|content| content.pins.keep(contact, me.store(), &mut rng))
    }

    /// What was kept of those who are pinned and may come back. What does not open is taken out, and a
    /// failure for each says so.
    pub fn contacts(&mut self) -> (Vec<Contact>, Vec<Failure>) {
        let (me, path) = (Arc::clone(&self.me), self.home.path(FILE).unwrap_or_default());
        let mut content = self.content.clone();
        let (contacts, damaged_ones) = content.pins.contacts(me.store());
        let mut failures: Vec<_> = damaged_ones.into_iter().map(|what| damaged(&path, what)).collect();
        if content != self.content {
            let changed = self.change(|now| {
                *now = content;
                Ok(())
            });
            failures.extend(changed.err());
        }
        (contacts, failures)
    }

    /// Makes all changes of `change` durable, or none where it fails. A change that cannot be written lasts
    /// until the process ends, and is tried again with the next one.
    pub(super) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Content) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut content = self.content.clone();
        let done = change(&mut content)?;
        if content != self.content {
            self.content = content;
            self.unsaved = true;
        }
        self.keep_again()?;
        Ok(done)
    }

    /// Whether something could not be written, and lasts until the process ends.
    pub const fn is_unsaved(&self) -> bool {
        self.unsaved
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// [`Failure::Local`], [`Failure::DiskFull`].
    pub fn keep_again(&mut self) -> Result<(), Failure> {
        if self.unsaved {
            self.save()?;
            self.unsaved = false;
        }
        Ok(())
    }

    fn save(&self) -> Result<(), Failure> {
        let Some(path) = self.home.path(FILE) else {
            *remembered(&self.home) = self.content.clone();
            return Ok(());
        };
        let failure = |reason: &str| Failure::Local {
            what: format!("write {}", path.display()),
            reason: reason.to_owned(),
        };
        let text = Zeroizing::new(text::of(&self.content));
        let needed = HEAD_LEN + SEAL_LEN + LENGTH_LEN + text.len();
        let padding = file_len(needed).checked_sub(needed);
        let (Some(padding), Ok(length)) = (padding, u32::try_from(text.len())) else {
            return Err(failure("it would be too large"));
        };
        let (head, zeros) = (head(&self.me), vec![0; padding]);
        let parts = [&length.to_be_bytes()[..], text.as_bytes(), &zeros];
        let sealed = self.me.store().seal(&head, &parts, &mut system_rng()?);
        let sealed = sealed.map_err(|error| failure(&error.to_string()))?;
        let content = [&head[..], &sealed].concat();
        disk::replace(&path, &content).map_err(|error| error.failure("write", &path))
    }
}

impl fmt::Debug for Papers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Papers").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Bytes of the file for so much.
const fn file_len(needed: usize) -> usize {
    let mut len = STEP;
    while len < needed && len < FILE_MAX {
        len *= 2;
    }
    len
}

fn head(me: &Identity) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    let whose = me.store().names().name(WHOSE, 0);
    let bytes = MAGIC.iter().copied().chain(VERSION.to_be_bytes()).chain(whose);
    head.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    head
}

/// What a home without a directory holds. A change is one assignment, so that none is ever half done.
fn remembered(home: &Home) -> MutexGuard<'_, Content> {
    home.memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(home: &Home, me: &Identity) -> Result<(Content, Found), Unreadable> {
    let Some(path) = home.path(FILE) else { return Ok((remembered(home).clone(), Found::Nowhere)) };
    let file = || match disk::read(&path, FILE_MAX, OTHERS_WRITE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileError::Missing) => Ok(None),
        Err(error) => Err(Unreadable::Failure(error.failure("read", &path))),
    };
    if let Some(bytes) = file()? {
        return Ok((parse(&bytes, &path, me)?, Found::Here));
    }
    let former = former::read(home).map_err(Unreadable::Failure)?;
    // Whoever holds the profile may have moved it meanwhile.
    match (file()?, former) {
        (Some(bytes), _) => Ok((parse(&bytes, &path, me)?, Found::Here)),
        (None, Some(content)) => Ok((content, Found::Formerly)),
        (None, None) => Ok((Content::default(), Found::Nowhere)),
    }
}

fn parse(bytes: &[u8], path: &Path, me: &Identity) -> Result<Content, Unreadable> {
    let not_whole = || Unreadable::Damaged(path.to_owned());
    let refused = |reason: String| Unreadable::Failure(damaged(path, reason));
    let (head_found, sealed) = bytes.split_first_chunk::<HEAD_LEN>().ok_or_else(not_whole)?;
    let [high, low] = [head_found[MAGIC.len()], head_found[MAGIC.len() + 1]];
    match u16::from_be_bytes([high, low]) {
        _ if !head_found.starts_with(MAGIC) => return Err(not_whole()),
        0 => return Err(not_whole()),
        VERSION => {}
        later => {
            let what = format!("it was written by a later version (layout {later}); use that version");
            return Err(refused(what));
        }
    }
    let head = head(me);
    if *head_found != head {
        let what = "it belongs to another identity, or is damaged; put back the key file that it was made with, \
                    or a backup of it, or move it away to start without contacts";
        return Err(refused(what.to_owned()));
    }
    let text = me.store().open(&head, sealed).map_err(|_| not_whole())?;
    let (length, text) = text.split_first_chunk::<LENGTH_LEN>().ok_or_else(not_whole)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| not_whole())?;
    let text = text.get(..length).and_then(|text| core::str::from_utf8(text).ok()).ok_or_else(not_whole)?;
    text::parse(text).map_err(|(line, what)| refused(format!("line {line} {what}")))
}

#[cfg(test)]
mod tests;
