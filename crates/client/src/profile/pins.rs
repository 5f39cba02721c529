//! Who is behind a name.

use jiff::Timestamp;
use p2pchat_engine::Failure;
use p2pchat_proto::{BrokerKey, Name, PeerId, WallTime};

use super::contacts::Sealed;

/// Most pins. As many people as a roster can watch (protocol section 2: 2,000), five times over.
pub const PINS_MAX: usize = 10_000;

/// Who is pinned, and, sealed, what they and this user meet again with. At one broker a name stands for one
/// identity, and an identity has one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    pins: Vec<Pin>,
    pub(super) sealed: Vec<Sealed>,
}

/// One person at one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The name at that broker.
    pub name: Name,
    /// The identity behind it.
    pub peer: PeerId,
    /// The broker's key: the same name at another broker may be somebody else.
    pub broker: BrokerKey,
    /// When it was pinned, whole seconds.
    pub since: WallTime,
    /// Whether the person may open a session without the user being asked.
    pub may_reconnect: bool,
}

impl Pins {
    /// All pins, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.pins.iter()
    }

    /// The pin of a name at a broker.
    pub fn of_name(&self, broker: BrokerKey, name: &Name) -> Option<&Pin> {
        self.iter().find(|pin| pin.broker == broker && pin.name == *name)
    }

    /// The pins of an identity, one for each broker at which it is known.
    pub fn of_peer(&self, peer: PeerId) -> impl Iterator<Item = &Pin> {
        self.iter().filter(move |pin| pin.peer == peer)
    }

    /// Compares the identity that came under a name with the pinned one. Whether one is pinned.
    ///
    /// # Errors
    /// [`Failure::KeyChanged`] if another one is.
    pub fn check(&self, broker: BrokerKey, name: &Name, came: PeerId) -> Result<bool, Failure> {
        match self.of_name(broker, name) {
            Some(pin) if pin.peer != came => {
                Err(Failure::KeyChanged { name: Some(name.clone()), pinned: pin.peer, came })
            }
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    /// Pins a person. One that this identity had at this broker before is replaced, and keeps its
    /// time: the person may have another name now, or may reconnect, or may not.
    ///
    /// # Errors
    /// [`Failure::KeyChanged`] if the name is pinned to another identity: that is for the user to
    /// decide. [`Failure::NotAllowed`] if there are too many.
    pub fn pin(&mut self, pin: Pin) -> Result<(), Failure> {
        self.check(pin.broker, &pin.name, pin.peer)?;
        let pin = Pin { since: whole_seconds(pin.since), ..pin };
        let same = |old: &&mut Pin| (old.peer, old.broker) == (pin.peer, pin.broker);
        if let Some(old) = self.pins.iter_mut().find(same) {
            *old = Pin { since: old.since, ..pin };
            return Ok(());
        }
        if self.pins.len() >= PINS_MAX {
            return Err(Failure::NotAllowed { what: format!("more than {PINS_MAX} pinned people") });
        }
        self.pins.push(pin);
        Ok(())
    }

    /// Pins a person in the place of another identity, which is forgotten at that broker; with its last
    /// pin goes what it could come back with.
    ///
    /// # Errors
    /// Those of [`Self::pin`].
    pub fn repin(&mut self, pin: Pin, instead_of: PeerId) -> Result<(), Failure> {
        self.pins.retain(|old| (old.peer, old.broker) != (instead_of, pin.broker));
        if self.of_peer(instead_of).next().is_none() {
            self.sealed.retain(|sealed| sealed.peer != instead_of);
        }
        self.pin(pin)
    }

    /// Another identity has the pins of one from now on.
    pub(super) fn replace(&mut self, old: PeerId, new: PeerId, now: WallTime) {
        for pin in self.pins.iter_mut().filter(|pin| pin.peer == old) {
            (pin.peer, pin.since) = (new, whole_seconds(now));
        }
    }

    /// Removes all pins of an identity, and what it could come back with.
    pub fn remove(&mut self, peer: PeerId) {
        self.pins.retain(|pin| pin.peer != peer);
        self.sealed.retain(|sealed| sealed.peer != peer);
    }

    /// A pin that was read, and checked against the others.
    pub(super) fn push(&mut self, pin: Pin) {
        self.pins.push(pin);
    }
}

const fn whole_seconds(time: WallTime) -> WallTime {
    WallTime(time.0 / 1000 * 1000)
}

/// The fields of a line.
pub(super) fn parse(text: &str) -> Option<Pin> {
    let mut fields = text.split(' ');
    let pin = Pin {
        name: fields.next()?.parse().ok()?,
        peer: fields.next()?.parse().ok()?,
        broker: fields.next()?.parse().ok()?,
        since: time_from_text(fields.next()?)?,
        may_reconnect: match fields.next()? {
            "yes" => true,
            "no" => false,
            _ => return None,
        },
    };
    fields.next().is_none().then_some(pin)
}

pub(super) fn to_text(pin: &Pin) -> String {
    let Pin { name, peer, broker, since, may_reconnect } = pin;
    let may = if *may_reconnect { "yes" } else { "no" };
    format!("{name} {peer} {broker} {} {may}", time_text(*since))
}

/// RFC 3339, UTC, whole seconds. A time that a calendar cannot show is shown as its last one.
fn time_text(time: WallTime) -> String {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn time_from_text(text: &str) -> Option<WallTime> {
    let time: Timestamp = text.parse().ok()?;
    let millis = u64::try_from(time.as_millisecond()).ok()?;
    Some(whole_seconds(WallTime(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BROKER: BrokerKey = BrokerKey([9; 32]);
    const ALICE: PeerId = PeerId([1; 32]);
    const OTHER: PeerId = PeerId([2; 32]);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn pin(called: &str, peer: PeerId) -> Pin {
        let since = WallTime(1_800_000_000_000);
        Pin { name: name(called), peer, broker: BROKER, since, may_reconnect: true }
    }

    #[test]
    fn a_person_is_pinned_and_found_by_name_and_by_identity() {
        let mut pins = Pins::default();
        pins.pin(Pin { since: WallTime(1_800_000_000_999), ..pin("alice", ALICE) }).unwrap();
        assert_eq!(pins.of_name(BROKER, &name("alice")), Some(&pin("alice", ALICE)));
        assert_eq!(pins.of_peer(ALICE).count(), 1);
        assert_eq!(pins.of_name(BrokerKey([8; 32]), &name("alice")), None);
        let expected = format!("alice {ALICE} {BROKER} 2027-01-15T08:00:00Z yes");
        assert_eq!(to_text(&pin("alice", ALICE)), expected);
    }

    #[test]
    fn another_identity_under_a_pinned_name_is_found_out_and_never_pinned() {
        let mut pins = Pins::default();
        assert_eq!(pins.check(BROKER, &name("alice"), ALICE), Ok(false));
        pins.pin(pin("alice", ALICE)).unwrap();
        assert_eq!(pins.check(BROKER, &name("alice"), ALICE), Ok(true));
        let changed = Failure::KeyChanged { name: Some(name("alice")), pinned: ALICE, came: OTHER };
        assert_eq!(pins.check(BROKER, &name("alice"), OTHER), Err(changed.clone()));
        assert_eq!(pins.pin(pin("alice", OTHER)), Err(changed));
        assert_eq!(pins.of_peer(OTHER).count(), 0);
        assert_eq!(pins.check(BrokerKey([8; 32]), &name("alice"), OTHER), Ok(false));
    }

    #[test]
    fn a_person_with_a_new_name_keeps_its_time() {
        let mut pins = Pins::default();
        pins.pin(pin("alice", ALICE)).unwrap();
        let renamed =
            Pin { since: WallTime(1_900_000_000_000), may_reconnect: false, ..pin("alicia", ALICE) };
        pins.pin(renamed.clone()).unwrap();
        let expected = Pin { since: pin("alice", ALICE).since, ..renamed };
        assert_eq!(pins.iter().collect::<Vec<_>>(), [&expected]);
        pins.pin(pin("alice", OTHER)).unwrap();
    }

    #[test]
    fn whoever_is_replaced_at_one_broker_stays_pinned_at_another() {
        let mut pins = Pins::default();
        let elsewhere = Pin { broker: BrokerKey([8; 32]), ..pin("alice", ALICE) };
        pins.pin(pin("alice", ALICE)).unwrap();
        pins.pin(elsewhere.clone()).unwrap();
        pins.repin(pin("alice", OTHER), ALICE).unwrap();
        assert_eq!(pins.iter().collect::<Vec<_>>(), [&elsewhere, &pin("alice", OTHER)]);
    }

    #[test]
    fn the_number_of_pins_is_bounded() {
        let mut pins = Pins::default();
        let many = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            pin(&format!("p{n}"), PeerId(key))
        };
        (0..PINS_MAX).for_each(|n| pins.push(many(n)));
        assert!(matches!(pins.pin(pin("one-more", ALICE)), Err(Failure::NotAllowed { .. })));
    }

    proptest! {
        #[test]
        fn every_pin_survives_its_line(
            peer: [u8; 32], broker: [u8; 32], since in 0..200_000_000_000u64, may_reconnect: bool,
            called in "[a-z0-9][a-z0-9._-]{1,31}",
        ) {
            let since = WallTime(since * 1000);
            let (peer, broker) = (PeerId(peer), BrokerKey(broker));
            let pin = Pin { name: name(&called), peer, broker, since, may_reconnect };
            prop_assert_eq!(parse(&to_text(&pin)), Some(pin));
        }

        #[test]
        fn no_line_makes_the_parser_panic(text in "\\PC{0,200}") {
            prop_assert_eq!(parse(&text), None);
        }
    }
}
