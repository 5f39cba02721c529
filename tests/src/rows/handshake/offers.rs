//! H5, H6, H13, H14, H15, H21, H27: offers that somebody in between, or their own author, changed.

use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use p2pchat_crypto::handshake::Responder;
use p2pchat_crypto::offer::{OfferError, RequestMemory};
use p2pchat_crypto::{EndpointsError, Suite};
use p2pchat_proto::broker::SealedEndpoints;
use p2pchat_proto::codec::{decode, encode};
use p2pchat_proto::limits::{OFFER_CLOCK_TOLERANCE, REQUEST_REMEMBERED};
use p2pchat_proto::offer::{
    Addressee, KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, OfferBody, OfferKind, SignedOffer, Suites,
};
use p2pchat_proto::{BrokerKey, Moment, RequestId, UdpEndpoints};
use rand_chacha::ChaCha20Rng;

use super::noise::Introduced;
use super::people::Two;
use super::second::{self, Keys, Person, Shared, XK, array, bytes, offer_bytes, transcript_of};
use crate::rows::{Defence, Lab, NotRun, Seen};

/// Every field of an offer, changed.
const CHANGES: [fn(&mut OfferBody); 13] = [
    |body| body.version ^= 2,
    |body| {
        body.kind = match body.kind {
            OfferKind::Request => OfferKind::Accept,
            OfferKind::Accept => OfferKind::Request,
        }
    },
    |body| body.request.0[0] ^= 1,
    |body| body.from.0[0] ^= 1,
    |body| body.to = Addressee::Peer(body.from),
    |body| body.noise_static[0] ^= 1,
    |body| body.eph_x25519[0] ^= 1,
    |body| body.kem[0] ^= 1,
    |body| body.suites.0 ^= 2,
    |body| body.features ^= 1,
    |body| body.broker_key.0[0] ^= 1,
    |body| body.made.0 ^= 1,
    |body| body.answers = Some([7; 32]),
];

/// Whether the product's responder takes message 1 of an initiator who saw this.
fn is_taken(met: &Introduced, prologue: Vec<u8>, rng: &mut ChaCha20Rng) -> Result<bool, NotRun> {
    let first = array(&second::write(&mut Keys { prologue, ..met.bobs_keys() }.build(XK, true)?)?)?;
    Ok(Responder::respond(&met.alices, &met.two.alice.identity, &first, rng).is_ok())
}

/// H5.
pub(crate) fn transcripts(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let met = Introduced::new(&mut lab.rng)?;
    let bob = met.two.bob.peer_id();
    let real = met.shared.prologue(bob);
    if defence == Defence::Removed {
        // Both sides bind nothing, so it does not matter what each of them saw.
        let keys = |keys: Keys| Keys { prologue: Vec::new(), ..keys };
        let first = second::write(&mut keys(met.bobs_keys()).build(XK, true)?)?;
        let taken = keys(met.alices_keys()).build(XK, false)?.read_message(&first, &mut []).is_ok();
        return Ok(Seen::when(!taken, "with an empty prologue two who saw different offers go on"));
    }
    let (request, accept) = (offer_bytes(&met.request), offer_bytes(&met.accept));
    let seen = |request: &[u8], accept: &[u8]| {
        Shared { transcript: transcript_of(request, accept), ..met.shared.clone() }.prologue(bob)
    };
    let mut prologues = vec![Vec::new(), seen(&[], &accept), seen(&request, &[]), seen(&accept, &request)];
    prologues.extend(spoilt(&request).into_iter().map(|request| seen(&request, &accept)));
    prologues.extend(spoilt(&accept).into_iter().map(|accept| seen(&request, &accept)));
    prologues.extend(spoilt(&real));
    let mut refused = 0;
    for prologue in &prologues {
        refused += usize::from(!is_taken(&met, prologue.clone(), &mut lab.rng)?);
    }
    let held = refused == prologues.len() && is_taken(&met, real, &mut lab.rng)?;
    let figure = format!("{refused} of {} other views refused", prologues.len());
    Ok(Seen::when(held, "refused at message 1; the true view passes").figure(figure))
}

/// Each byte changed, dropped, and swapped with its neighbour.
fn spoilt(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..bytes.len() {
        let (mut changed, mut dropped, mut swapped) = (bytes.to_vec(), bytes.to_vec(), bytes.to_vec());
        changed[at] ^= 1;
        dropped.remove(at);
        all.extend([changed, dropped]);
        if at + 1 < bytes.len() && bytes[at] != bytes[at + 1] {
            swapped.swap(at, at + 1);
            all.push(swapped);
        }
    }
    all
}

/// H6.
pub(crate) fn boundaries(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let met = Introduced::new(&mut lab.rng)?;
    let request = offer_bytes(&met.request);
    let all = [&request[..], &offer_bytes(&met.accept)].concat();
    let bob = met.two.bob.peer_id();
    let (mut tried, mut taken) = (0, 0);
    for at in (0..=all.len()).filter(|at| *at != request.len()) {
        let (one, other) = all.split_at(at);
        tried += 1;
        taken += usize::from(match defence {
            Defence::InPlace => {
                let shared = Shared { transcript: transcript_of(one, other), ..met.shared.clone() };
                is_taken(&met, shared.prologue(bob), &mut lab.rng)?
            }
            // A transcript that does not say how long its parts are.
            Defence::Removed => blake3::hash(&[one, other].concat()) == blake3::hash(&all),
        });
    }
    // What is refused is the boundary: with the right one the same bytes are taken.
    let real = defence == Defence::Removed || is_taken(&met, met.shared.prologue(bob), &mut lab.rng)?;
    let what = "an offer with another end is another transcript";
    Ok(Seen::when(taken == 0 && real, what).figure(format!("{taken} of {tried} other boundaries taken")))
}

/// H13.
pub(crate) fn tampered(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (two, rng) = (Two::draw(&mut lab.rng), &mut lab.rng);
    if defence == Defence::Removed {
        // Alice takes the offer as it came; the broker put keys of its own into it.
        let (mut offer, _) = second::request(&two.bob, two.alice.peer_id(), rng)?;
        let (own, secrets) = second::request(&Person::draw(rng), two.alice.peer_id(), rng)?;
        let (mut body, own): (OfferBody, OfferBody) = (decode(&offer.body)?, decode(&own.body)?);
        (body.eph_x25519, body.kem, body.noise_static) = (own.eph_x25519, own.kem, own.noise_static);
        offer.body = encode(&body)?;
        let (accept, alices) = second::accept(&two.alice, &offer, |_| {}, rng)?;
        let brokers = second::accepted(&secrets, &offer, &accept)?;
        let shares = brokers.secret == alices.secret;
        return Ok(Seen::when(!shares, "where nobody checks the signature the broker shares the secret"));
    }
    let (mut refused, mut tried) = (0, 0);
    let request = two.request(rng)?.offer().clone();
    let id = decode::<OfferBody>(&request.body)?.request;
    for offer in tampered_with(&request)? {
        tried += 1;
        refused += usize::from(two.verify(&offer, id).is_err());
    }
    let pending = two.request(rng)?;
    let (accept, _) = two.accept(pending.offer(), rng)?;
    for offer in tampered_with(&accept)? {
        // Each needs a request of its own, as a request is answered once; signature and hash of the
        // answered bytes are checked apart, so the refusal must be that of the signature.
        let ended = two.accepted(two.request(rng)?, &offer, two.alice.peer_id());
        tried += 1;
        refused += usize::from(ended.is_err_and(|error| error != OfferError::Request));
    }
    // Endpoints, sealed by alice, with each bit turned.
    let pending = two.request(rng)?;
    let (accept, mut alices) = two.accept(pending.offer(), rng)?;
    let mut bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let list = UdpEndpoints::new(["192.0.2.1:7000".parse()?]);
    let sealed = alices.endpoints.seal(&list);
    for bit in 0..sealed.as_slice().len() * 8 {
        let mut turned = sealed.as_slice().to_vec();
        turned[bit / 8] ^= 1 << (bit % 8);
        let Some(turned) = SealedEndpoints::new(turned) else { continue };
        tried += 1;
        refused += usize::from(bobs.endpoints.open(&turned).is_err());
    }
    let held = refused == tried && bobs.endpoints.open(&sealed) == Ok(list);
    let figure =
        format!("{refused} of {tried} changes refused: 13 fields and each byte of both offers, endpoints");
    let what = "no introduction comes out, so nothing can be sent by UDP";
    Ok(Seen::when(held, what).figure(figure))
}

/// Each field changed, and each byte of body and signature, under the old signature.
fn tampered_with(offer: &SignedOffer) -> Result<Vec<SignedOffer>, NotRun> {
    let mut all = Vec::new();
    for change in CHANGES {
        let mut body: OfferBody = decode(&offer.body)?;
        change(&mut body);
        all.push(SignedOffer { body: encode(&body)?, ..offer.clone() });
    }
    for at in 0..offer.body.len() {
        // The request's id is changed as a field: here it would be that of no request at all.
        let mut changed = offer.clone();
        changed.body[at] ^= 1;
        all.push(changed);
    }
    for at in 0..offer.signature.len() {
        let mut changed = offer.clone();
        changed.signature[at] ^= 1;
        all.push(changed);
    }
    Ok(all)
}

/// H14.
pub(crate) fn out_of_place(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (two, rng) = (Two::draw(&mut lab.rng), &mut lab.rng);
    let mallory = Person::draw(rng).peer_id();
    let request = two.request(rng)?.offer().clone();
    let id = decode::<OfferBody>(&request.body)?.request;
    let beyond = u64::try_from(OFFER_CLOCK_TOLERANCE.as_millis())? + 1;
    let clocks = OfferError::Clocks { differ: Duration::from_millis(beyond) };
    let somebody = Addressee::Name("somebody".parse()?);
    let offers = [
        (two.bob.resign(&request, |body| body.made.0 -= beyond)?, clocks),
        (two.bob.resign(&request, |body| body.made.0 += beyond)?, clocks),
        (two.bob.resign(&request, |body| body.to = Addressee::Peer(mallory))?, OfferError::To),
        (two.bob.resign(&request, |body| body.to = somebody)?, OfferError::To),
        (two.bob.resign(&request, |body| body.broker_key = BrokerKey([8; 32]))?, OfferError::Broker),
        (two.bob.resign(&request, |body| body.request = RequestId([8; 16]))?, OfferError::Request),
    ];
    if defence == Defence::Removed {
        let key = VerifyingKey::from_bytes(&two.bob.peer_id().0)?;
        let label = b"p2pchat 1 offer";
        let taken = offers.iter().filter(|(offer, _)| {
            let signed = [&[label.len() as u8][..], label, &offer.body].concat();
            key.verify_strict(&signed, &Signature::from_bytes(&offer.signature)).is_ok()
        });
        let taken = taken.count();
        return Ok(Seen::when(taken == 0, format!("by its signature alone {taken} of them are right")));
    }
    let mut refused = 0;
    for (offer, expected) in &offers {
        refused += usize::from(two.verify(offer, id).is_err_and(|error| error == *expected));
    }
    // Accepts of the same kind, each signed by alice for a request of its own.
    type Change<'a> = &'a dyn Fn(&mut OfferBody);
    let accepts: [(Change<'_>, OfferError); 6] = [
        (&|body| body.made.0 -= beyond, clocks),
        (&|body| body.made.0 += beyond, clocks),
        (&|body| body.to = Addressee::Peer(mallory), OfferError::To),
        (&|body| body.broker_key = BrokerKey([8; 32]), OfferError::Broker),
        (&|body| body.request = RequestId([8; 16]), OfferError::Request),
        (&|body| body.answers = Some([8; 32]), OfferError::Answers),
    ];
    for (change, expected) in accepts {
        let pending = two.request(rng)?;
        let (accept, _) = two.accept(pending.offer(), rng)?;
        let accept = two.alice.resign(&accept, change)?;
        let ended = two.accepted(pending, &accept, two.alice.peer_id());
        refused += usize::from(ended.is_err_and(|error| error == expected));
    }
    let all = offers.len() + accepts.len();
    // The offer itself, once more, until it could not be in time any more.
    let (mut memory, start) = (RequestMemory::new(), Moment::ZERO);
    let mut once = two.verify(&request, id).is_ok() && memory.is_new(two.bob.peer_id(), id, start);
    for seconds in 0..=REQUEST_REMEMBERED.as_secs() {
        once &= !memory.is_new(two.bob.peer_id(), id, start + Duration::from_secs(seconds));
    }
    let remembered = REQUEST_REMEMBERED >= OFFER_CLOCK_TOLERANCE * 2;
    let held = refused == all && once && remembered;
    let figure = format!("{refused} of {all} refused, replays for 20 minutes");
    Ok(Seen::when(held, "each refused for its own reason; a replay is not new").figure(figure))
}

/// H21.
pub(crate) fn downgraded(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (two, rng) = (Two::draw(&mut lab.rng), &mut lab.rng);
    let both = Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM);
    let request = two.bob.resign(two.request(rng)?.offer(), |body| body.suites = both)?;
    let id = decode::<OfferBody>(&request.body)?.request;
    let mut stripped = request.clone();
    let mut body: OfferBody = decode(&request.body)?;
    body.suites = Suites::CHACHA20_POLY1305;
    stripped.body = encode(&body)?;
    if defence == Defence::Removed {
        // A double that takes what it is offered, whoever wrote it.
        let body: OfferBody = decode(&stripped.body)?;
        let chosen = body.suites.contains(Suites::AES_256_GCM);
        return Ok(Seen::when(chosen, "where nobody checks, the broker chooses the suite"));
    }
    let kem = |length: usize| move |body: &mut OfferBody| body.kem = vec![0; length];
    let mut offers = vec![(stripped, OfferError::Signature)];
    for version in [0, 2, 255] {
        offers.push((two.bob.resign(&request, |body| body.version = version)?, OfferError::Version(version)));
    }
    for suites in [Suites(0), Suites::AES_256_GCM, Suites(0x8000)] {
        offers.push((two.bob.resign(&request, |body| body.suites = suites)?, OfferError::Suites));
    }
    for length in [0, 1, KEM_CIPHERTEXT_LEN, KEM_KEY_LEN - 1, KEM_KEY_LEN + 1] {
        offers.push((two.bob.resign(&request, kem(length))?, OfferError::Kem));
    }
    let mut refused = 0;
    for (offer, expected) in &offers {
        refused += usize::from(two.verify(offer, id).is_err_and(|error| error == *expected));
    }
    // Accepts of the same kind, signed by alice herself.
    let mut accepts = 0;
    for length in [0, 1, KEM_CIPHERTEXT_LEN - 1, KEM_CIPHERTEXT_LEN + 1, KEM_KEY_LEN] {
        let pending = two.request(rng)?;
        let (accept, _) = two.accept(pending.offer(), rng)?;
        let accept = two.alice.resign(&accept, kem(length))?;
        let ended = two.accepted(pending, &accept, two.alice.peer_id());
        accepts += usize::from(ended.is_err_and(|error| error == OfferError::Kem));
    }
    // And unchanged, both get the suite that both signed.
    let meeting = p2pchat_crypto::simulation::Meeting {
        request: RequestId(bytes(rng)),
        broker_key: second::BROKER,
        made: second::NOW,
        asker: both,
        accepter: both,
    };
    let met = p2pchat_crypto::simulation::meet(&two.bob.identity, &two.alice.identity, &meeting, rng)?;
    let suites = [met.asker.introduction.suite(), met.accepter.introduction.suite()];
    let held = refused == offers.len() && accepts == 5 && suites == [Suite::Aes256Gcm; 2];
    let figure = format!("{} of {} refused", refused + accepts, offers.len() + 5);
    Ok(Seen::when(held, "each refused for its own reason; unchanged, both choose what both signed")
        .figure(figure))
}

/// H27.
pub(crate) fn damaged_kem(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let (two, rng) = (Two::draw(&mut lab.rng), &mut lab.rng);
    let list = UdpEndpoints::new(["192.0.2.1:7000".parse()?]);
    let encoded = encode(&list)?;
    if defence == Defence::Removed {
        // A double whose secret is the X25519 exchange alone does not notice.
        let (request, secrets) = second::request(&two.bob, two.alice.peer_id(), rng)?;
        let (accept, alices) = second::accept(&two.alice, &request, |kem| kem[0] ^= 1, rng)?;
        let bobs = second::accepted(&secrets, &request, &accept)?.without_kem();
        let sealed = alices.without_kem().seal(two.alice.peer_id(), 0, encoded)?;
        let opens = bobs.open(two.alice.peer_id(), &sealed).is_some();
        return Ok(Seen::when(!opens, "without the KEM's secret in the key the endpoints open"));
    }
    let mut aborted = 0;
    let places = [0, 1, 543, 1086, KEM_CIPHERTEXT_LEN - 1];
    for at in places {
        let pending = two.request(rng)?;
        let (accept, shared) = second::accept(&two.alice, &pending.offer().clone(), |kem| kem[at] ^= 1, rng)?;
        // Alice signed it, so it passes until her endpoints do not open.
        let mut bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
        let sealed = shared.seal(two.alice.peer_id(), 0, encoded.clone())?;
        aborted += usize::from(bobs.endpoints.open(&sealed) == Err(EndpointsError::Unauthentic));
    }
    let request = two.request(rng)?.offer().clone();
    let id = decode::<OfferBody>(&request.body)?.request;
    let full = two.bob.resign(&request, |body| body.kem = vec![0xff; KEM_KEY_LEN])?;
    let no_key = two.verify(&full, id).is_err_and(|error| error == OfferError::Kem);
    // A counter that goes back, or stays.
    let pending = two.request(rng)?;
    let (accept, shared) = second::accept(&two.alice, &pending.offer().clone(), |_| {}, rng)?;
    let mut bobs = two.accepted(pending, &accept, two.alice.peer_id())?;
    let mut open = |counter| -> Result<_, NotRun> {
        Ok(bobs.endpoints.open(&shared.seal(two.alice.peer_id(), counter, encoded.clone())?))
    };
    let grows = open(5)?.is_ok() && open(6)?.is_ok();
    let stale = [6, 5, 0].map(open);
    let goes_back = stale.into_iter().any(|opened| !matches!(opened, Ok(Err(EndpointsError::Stale))));
    let held = aborted == places.len() && no_key && grows && !goes_back;
    let figure = format!("{aborted} of {} damaged ciphertexts aborted", places.len());
    Ok(Seen::when(held, "seen when the endpoints do not open; an all-0xFF key and a stale counter refused")
        .figure(figure))
}
