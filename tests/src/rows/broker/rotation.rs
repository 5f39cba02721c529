//! B6: a name that is to go to another key without its holder's word.

use std::net::SocketAddr;

use p2pchat_crypto::link::LinkIdentity;
use p2pchat_crypto::succession;
use p2pchat_proto::broker::{Outcome, Rotate};
use p2pchat_proto::{BrokerKey, Name, WallTime};

use crate::caller::{Caller, identity};
use crate::double::LyingBroker;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::world::World;

/// Who holds the name, who is to take its place by their own word, and who would like to.
const HOLDER: u8 = 1;
const NEXT: u8 = 2;
const MALLORY: u8 = 66;
const NAME: &str = "victim";

fn name() -> Result<Name, NotRun> {
    NAME.parse().map_err(|_| NotRun("no name".to_owned()))
}

/// What the two would say on that link.
fn call(old: u8, new: u8, link: &LinkIdentity) -> Result<Rotate, NotRun> {
    let [old, new] = [old, new].map(identity);
    let name = name()?;
    let [by_old, by_new] = succession::call(&old, &new, &link.hash, link.key, &name);
    let stated = succession::state(&old, &new, WallTime(1));
    let succession = stated.map_err(|error| NotRun(error.to_string()))?;
    Ok(Rotate { name, new: new.peer_id(), by_old, by_new, succession })
}

/// Makes of what is right on a link what an attacker has; `heard` was said on another link before.
type Forge = fn(link: &LinkIdentity, heard: &Rotate) -> Result<Rotate, NotRun>;

const FORGERIES: [(&str, u8, Forge); 7] = [
    ("unsigned", HOLDER, |link, _| {
        Ok(Rotate { by_old: [0; 64], by_new: [0; 64], ..call(HOLDER, MALLORY, link)? })
    }),
    ("signed by the new key alone", HOLDER, |link, _| {
        let said = call(HOLDER, MALLORY, link)?;
        Ok(Rotate { by_old: said.by_new, ..said })
    }),
    ("to a key that did not sign", HOLDER, |link, _| {
        let said = call(HOLDER, NEXT, link)?;
        Ok(Rotate { by_new: said.by_old, ..said })
    }),
    ("replayed", HOLDER, |_, heard| Ok(heard.clone())),
    ("for another broker", HOLDER, |link, _| {
        call(HOLDER, NEXT, &LinkIdentity { key: BrokerKey([7; 32]), ..*link })
    }),
    ("on somebody else's link", MALLORY, |link, _| call(HOLDER, NEXT, link)),
    ("of somebody else", MALLORY, |link, _| call(MALLORY, NEXT, link)),
];

/// Which forgeries moved the name at the broker at `to`.
fn went_through(to: SocketAddr) -> Result<Vec<&'static str>, NotRun> {
    let mut holder = Caller::login(to, identity(HOLDER))?;
    if holder.register(NAME) != Some(Outcome::Done) {
        return Err(NotRun("the name is not free".to_owned()));
    }
    // Signed, and never said there: the link broke.
    let heard = call(HOLDER, NEXT, &holder.link)?;
    holder.hang_up();
    let mut through = Vec::new();
    for (what, whose, forge) in FORGERIES {
        let mut attacker = Caller::login(to, identity(whose))?;
        let said = forge(&attacker.link, &heard)?;
        // A broker that refuses may hang up instead of answering.
        let _outcome = attacker.call(said);
        let mut holder = Caller::login(to, identity(HOLDER))?;
        if holder.register(NAME) != Some(Outcome::Done) {
            through.push(what);
            return Ok(through);
        }
        holder.hang_up();
    }
    let mut holder = Caller::login(to, identity(HOLDER))?;
    let right = call(HOLDER, NEXT, &holder.link)?;
    if holder.call(right) != Some(Outcome::Done) {
        return Err(NotRun("what is right is refused as well".to_owned()));
    }
    let mut old = Caller::login(to, identity(HOLDER))?;
    let again = call(HOLDER, MALLORY, &old.link)?;
    if old.call(again) != Some(Outcome::NameTaken) {
        through.push("of an old key");
    }
    Ok(through)
}

/// B6.
pub(super) fn rotation(defence: Defence, _: &mut Lab) -> Result<Seen, NotRun> {
    let through = match defence {
        Defence::InPlace => went_through(World::new()?.broker.address())?,
        // A broker that asks nobody who signed that.
        Defence::Removed => went_through(LyingBroker::start(1)?.address())?,
    };
    let what = match through.as_slice() {
        [] => "nothing moved the name but its holder's word".to_owned(),
        through => format!("the name went to another key: {}", through.join(", ")),
    };
    Ok(Seen::when(through.is_empty(), what).figure(format!("{} forgeries", FORGERIES.len() + 1)))
}
