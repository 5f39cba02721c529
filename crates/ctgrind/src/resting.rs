//! What needs no second side: MACs, what rests on a disk, records of files, signatures.

use p2pchat_crypto::carrier::{
    CarrierSecret, RecordOpener, RecordSealer, TAG_LEN, hello_mac, verify_hello_mac,
};
use p2pchat_crypto::introduction::{Role, Suite};
use p2pchat_crypto::resumption::{Resumption, ResumptionTerms, TicketWindow};
use p2pchat_crypto::{Identity, ResumptionSecret, Seed, generator, keyfile, link, succession};
use p2pchat_proto::{BrokerKey, TransferId};
use rand::Rng;

use crate::{Bench, Done, Operation, Recorded};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "hello-mac", run: hello },
    Operation { name: "datagram-mac", run: datagram },
    Operation { name: "reunion-secret", run: reunion },
    Operation { name: "generator", run: seeded },
    Operation { name: "identity", run: identity },
    Operation { name: "signature", run: signature },
    Operation { name: "store-seal", run: store_seal },
    Operation { name: "store-open", run: store_open },
    Operation { name: "store-names", run: store_names },
    Operation { name: "key-file-seal", run: key_file_seal },
    Operation { name: "key-file-open", run: key_file_open },
    Operation { name: "records-chacha20", run: |bench| records(bench, Suite::ChaCha20Poly1305) },
    Operation { name: "records-aes256", run: |bench| records(bench, Suite::Aes256Gcm) },
];

/// What is kept secret everywhere here, until it is marked.
pub(crate) const SECRET: [u8; 32] = [7; 32];
const BROKER: BrokerKey = BrokerKey([9; 32]);
const WINDOW: TicketWindow = TicketWindow(3);

/// `right` with its first bit turned, and with its last one.
fn wrong(right: [u8; 16]) -> [[u8; 16]; 2] {
    let [mut first, mut last] = [right; 2];
    first[0] ^= 1;
    last[15] ^= 0x80;
    [first, last]
}

fn hello(bench: &mut Bench<'_>) -> Done {
    let secret = CarrierSecret::from_bytes(bench.secret(SECRET));
    let right = hello_mac(&CarrierSecret::from_bytes(SECRET), &[b"D", &[1; 16]]);
    let verify = |tag: &[u8]| verify_hello_mac(&secret, &[b"D", &[1; 16]], tag);
    bench.decides(verify(&right), true)?;
    wrong(right).iter().try_for_each(|wrong| bench.decides(verify(wrong), false))
}

/// What alice makes of the secret that she and bob kept.
pub(crate) fn resumption(
    secret: [u8; 32],
    role: Role,
    suite: Suite,
) -> Result<Resumption, Box<dyn std::error::Error>> {
    let [bob, alice] = [2, 1].map(|seed| Identity::from_seed(&Seed::from_bytes([seed; 32])));
    let [me, peer] = if role == Role::Initiator { [bob, alice] } else { [alice, bob] };
    let terms =
        ResumptionTerms { me: me.peer_id(), peer: peer.peer_id(), suite, peer_noise: peer.noise_public() };
    Ok(Resumption::new(terms, &ResumptionSecret::from_bytes(secret))?)
}

fn datagram(bench: &mut Bench<'_>) -> Done {
    let suite = Suite::ChaCha20Poly1305;
    let bob = resumption(SECRET, Role::Initiator, suite)?.introduction(Role::Initiator, WINDOW);
    let datagram = [5; 80];
    let right = bob.mac(&datagram);
    let alice = resumption(bench.secret(SECRET), Role::Responder, suite)?;
    let introduction = alice.introduction(Role::Responder, WINDOW);
    bench.decides(introduction.verify_mac(&datagram, &right), true)?;
    bench.decides(alice.verify_mac(&datagram, &right), true)?;
    for wrong in wrong(right) {
        bench.decides(introduction.verify_mac(&datagram, &wrong), false)?;
        bench.decides(alice.verify_mac(&datagram, &wrong), false)?;
    }
    bench.gives(&alice.peer_ticket(WINDOW).0, &bob.my_ticket().0)
}

fn reunion(bench: &mut Bench<'_>) -> Done {
    let secret = ResumptionSecret::from_bytes(bench.secret(SECRET));
    bench.decides(secret == ResumptionSecret::from_bytes(SECRET), true)?;
    let [mut first, mut last] = [SECRET; 2];
    first[0] ^= 1;
    last[31] ^= 0x80;
    [first, last]
        .into_iter()
        .try_for_each(|other| bench.decides(secret == ResumptionSecret::from_bytes(other), false))
}

fn seeded(bench: &mut Bench<'_>) -> Done {
    let (mut numbers, mut right) = ([0; 32], [0; 32]);
    generator(&mut bench.random(1))?.fill_bytes(&mut numbers);
    generator(&mut Recorded::new(1))?.fill_bytes(&mut right);
    bench.gives(&numbers, &right)
}

/// The identity of the secret, and the same without a secret.
fn identities(bench: &mut Bench<'_>) -> [Identity; 2] {
    [bench.secret(SECRET), SECRET].map(|seed| Identity::from_seed(&Seed::from_bytes(seed)))
}

fn identity(bench: &mut Bench<'_>) -> Done {
    let [me, same] = identities(bench);
    bench.gives(&me.peer_id().0, &same.peer_id().0)?;
    bench.gives(&me.noise_public(), &same.noise_public())
}

fn signature(bench: &mut Bench<'_>) -> Done {
    let [me, same] = identities(bench);
    bench.gives(&link::hello(&me, &[4; 32], BROKER), &link::hello(&same, &[4; 32], BROKER))?;
    let new = Identity::from_seed(&Seed::from_bytes([8; 32]));
    let name = "alice".parse()?;
    let [call, right] = [&me, &same].map(|old| succession::call(old, &new, &[4; 32], BROKER, &name));
    bench.gives(call.as_flattened(), right.as_flattened())
}

fn store_seal(bench: &mut Bench<'_>) -> Done {
    let [me, same] = identities(bench);
    let content = bench.secret(*b"content");
    let sealed = me.store().seal(b"pins", &[&content], &mut Recorded::new(1))?;
    bench.gives(&sealed, &same.store().seal(b"pins", &[b"content"], &mut Recorded::new(1))?)
}

fn store_open(bench: &mut Bench<'_>) -> Done {
    let [me, same] = identities(bench);
    let mut sealed = same.store().seal(b"pins", &[b"content"], &mut Recorded::new(1))?;
    bench.gives(&me.store().open(b"pins", &sealed)?, b"content")?;
    sealed.iter_mut().last().into_iter().for_each(|last| *last ^= 1);
    if me.store().open(b"pins", &sealed).is_err() { Ok(()) } else { Err("it opens what was changed".into()) }
}

fn store_names(bench: &mut Bench<'_>) -> Done {
    let [me, same] = identities(bench);
    bench.gives(&me.store().names().name(b"log", 7), &same.store().names().name(b"log", 7))
}

fn key_file_seal(bench: &mut Bench<'_>) -> Done {
    let [seed, same] = [bench.secret(SECRET), SECRET].map(Seed::from_bytes);
    let [sealed, right] = [&seed, &same].map(|seed| keyfile::seal(seed, None, &mut Recorded::new(1)));
    bench.gives(&sealed?, &right?)?;
    // Of an identity that took the place of another: the same with what seals its home.
    let [sealed, right] =
        [seed, same].map(|old| keyfile::seal(&old.successor_from([8; 32]), None, &mut Recorded::new(1)));
    bench.gives(&sealed?, &right?)
}

fn key_file_open(bench: &mut Bench<'_>) -> Done {
    let mut file = keyfile::seal(&Seed::from_bytes(SECRET), None, &mut Recorded::new(1))?;
    let sealed = file.len() - SECRET.len() - TAG_LEN;
    bench.hide(&mut file[sealed..]);
    bench.gives(keyfile::open(&file, None)?.expose(), &SECRET)
}

fn records(bench: &mut Bench<'_>, suite: Suite) -> Done {
    let [secret, same] = [bench.secret(SECRET), SECRET].map(CarrierSecret::from_bytes);
    let [d, l] = [[3; 16], [4; 16]];
    let sealer = |secret| RecordSealer::new(suite, secret, TransferId([2; 16]), &d, &l);
    let content = bench.secret(*b"content");
    let [mut sealed, mut right] = [content.to_vec(), b"content".to_vec()];
    sealer(&secret).seal(&mut sealed, true)?;
    sealer(&same).seal(&mut right, true)?;
    bench.gives(&sealed, &right)?;
    let mut opener = RecordOpener::new(suite, &secret, TransferId([2; 16]), &d, &l);
    opener.open(&mut right, true)?;
    bench.gives(&right, b"content")
}
