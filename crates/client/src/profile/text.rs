//! What rests in the file of the papers, as text: one thing a line, fields with a space between them.
//!
//! ```text
//! name alice
//! port 7001
//! standing away contacts everyone
//! broker 127.0.0.1:7770 5jbc…52 characters…a
//! pin alice jlgp…52 characters…q 5jbc…52 characters…a 2026-11-20T10:00:00Z yes
//! resume jlgp…52 characters…q 8a01…hexadecimal…
//! mark jlgp…52 characters…q yes no sister
//! followed jlgp…52 characters…q 7tkm…52 characters…a
//! replaced jlgp…52 characters…q 7tkm…52 characters…a
//! rotation 5c07…hexadecimal…
//! ```

use std::collections::BTreeSet;

use p2pchat_engine::replaced::REPLACED_MAX;
use p2pchat_proto::{BrokerKey, Name, PeerId, Standing};

use super::brokers::{self, BROKERS_MAX};
use super::contacts;
use super::marks::{self, MARKS_MAX};
use super::papers::Content;
use super::pins::{self, PINS_MAX};
use super::succession::{FOLLOWED_MAX, SealedRotation, followed_from};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Port,
    Standing,
    Broker,
    Pin,
    Resume,
    Mark,
    Followed,
    Replaced,
    Rotation,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Name,
        Self::Port,
        Self::Standing,
        Self::Broker,
        Self::Pin,
        Self::Resume,
        Self::Mark,
        Self::Followed,
        Self::Replaced,
        Self::Rotation,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Port => "port",
            Self::Standing => "standing",
            Self::Broker => "broker",
            Self::Pin => "pin",
            Self::Resume => "resume",
            Self::Mark => "mark",
            Self::Followed => "followed",
            Self::Replaced => "replaced",
            Self::Rotation => "rotation",
        }
    }
}

/// All of it.
pub(super) fn of(content: &Content) -> String {
    let Content { name, udp_port, standing, brokers, pins, marks, followed, replaced, rotation } = content;
    let mut text = String::new();
    let mut line = |kind: Kind, fields: String| text.extend([kind.word(), " ", &fields, "\n"]);
    name.iter().for_each(|name| line(Kind::Name, name.to_string()));
    udp_port.iter().for_each(|port| line(Kind::Port, port.to_string()));
    if !standing.is_default() {
        let Standing { status, visibility, policy } = standing;
        line(Kind::Standing, format!("{status} {visibility} {policy}"));
    }
    brokers.iter().for_each(|(host_port, key)| line(Kind::Broker, brokers::to_text(host_port, key)));
    pins.iter().for_each(|pin| line(Kind::Pin, pins::to_text(pin)));
    pins.sealed().for_each(|sealed| line(Kind::Resume, sealed.to_text()));
    marks.iter().for_each(|mark| line(Kind::Mark, marks::to_text(mark)));
    followed.iter().for_each(|(old, new)| line(Kind::Followed, format!("{old} {new}")));
    replaced.iter().for_each(|(old, new)| line(Kind::Replaced, format!("{old} {new}")));
    rotation.iter().for_each(|rotation| line(Kind::Rotation, rotation.to_text()));
    text
}

/// The content of a text, or the number of the first line that is not what it should be, and what is wrong
/// with it. Nothing is guessed: whom the user trusts stands in it.
pub(super) fn parse(text: &str) -> Result<Content, (usize, &'static str)> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what| (number + 1, what);
        let (word, fields) = line.split_once(' ').ok_or(wrong("is nothing that is known"))?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
        let kind = kind.ok_or(wrong("is nothing that is known"))?;
        reader.take(kind, fields).map_err(wrong)?;
    }
    Ok(reader.content)
}

/// Content that grows line by line, and what may stand in it once only.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) content: Content,
    hosts: BTreeSet<String>,
    names: BTreeSet<(BrokerKey, Name)>,
    peers: BTreeSet<(BrokerKey, PeerId)>,
    resumed: BTreeSet<PeerId>,
    petnames: BTreeSet<Name>,
}

impl Reader {
    /// Takes the fields of a line; what is wrong with them, where something is.
    pub(super) fn take(&mut self, kind: Kind, fields: &str) -> Result<(), &'static str> {
        let content = &mut self.content;
        match kind {
            Kind::Name => content.name = Some(fields.parse().map_err(|_| "is not NAME")?),
            Kind::Port => {
                let port = fields.parse().ok().filter(|port| *port != 0);
                content.udp_port = Some(port.ok_or("is not a PORT")?);
            }
            Kind::Standing => {
                content.standing = standing(fields).ok_or("is not STATUS VISIBILITY POLICY")?;
            }
            Kind::Broker => {
                let (host_port, key) = brokers::parse(fields).ok_or("is not HOST:PORT KEY")?;
                if !self.hosts.insert(host_port.to_ascii_lowercase()) {
                    return Err("names a broker twice");
                }
                if self.hosts.len() > BROKERS_MAX {
                    return Err("is one broker too many");
                }
                content.brokers.push(host_port, key);
            }
            Kind::Pin => {
                let pin = pins::parse(fields).ok_or("is not NAME IDENTITY BROKER SINCE yes|no")?;
                let new = self.names.insert((pin.broker, pin.name.clone()));
                if !self.peers.insert((pin.broker, pin.peer)) || !new {
                    return Err("pins a name or an identity of that broker again");
                }
                if self.names.len() > PINS_MAX {
                    return Err("is one pin too many");
                }
                content.pins.push(pin);
            }
            Kind::Resume => {
                let sealed = contacts::parse(fields).ok_or("is not IDENTITY HEXADECIMAL")?;
                if !self.resumed.insert(sealed.peer) {
                    return Err("keeps an identity again");
                }
                content.pins.push_sealed(sealed);
            }
            Kind::Mark => {
                let mark = marks::parse(fields).ok_or("is not IDENTITY yes|no yes|no NAME|-")?;
                let called = mark.petname.clone().is_none_or(|name| self.petnames.insert(name));
                if !content.marks.push(mark) || !called {
                    return Err("has an identity or a name of an earlier line");
                }
                if content.marks.iter().count() > MARKS_MAX {
                    return Err("is one person too many");
                }
            }
            Kind::Followed => {
                content.followed.push(followed_from(fields).ok_or("is not IDENTITY IDENTITY")?);
                if content.followed.len() > FOLLOWED_MAX {
                    return Err("is one person too many");
                }
            }
            Kind::Replaced => {
                let (old, new) = followed_from(fields).ok_or("is not IDENTITY IDENTITY")?;
                if old == new || content.replaced.by(old).is_some() {
                    return Err("replaces an identity by itself or again");
                }
                if content.replaced.iter().len() >= REPLACED_MAX {
                    return Err("is one identity too many");
                }
                content.replaced.note(old, new);
            }
            Kind::Rotation => {
                content.rotation = Some(SealedRotation::parse(fields).ok_or("is not HEXADECIMAL")?);
            }
        }
        Ok(())
    }
}

fn standing(fields: &str) -> Option<Standing> {
    let mut fields = fields.split(' ');
    let mut next = || fields.next();
    let (status, visibility, policy) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    next().is_none().then_some(Standing { status, visibility, policy })
}
