//! K7: where a secret could show itself: in print, in logs, on the screen, in memory after its use.

use std::fmt::Debug;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use p2pchat_crypto::carrier::{CarrierSecret, RecordOpener, RecordSealer};
use p2pchat_crypto::handshake::{Initiator, Responder};
use p2pchat_crypto::keyfile::Passphrase;
use p2pchat_crypto::link::{BrokerSecret, ClientHandshake, ServerHandshake};
use p2pchat_crypto::{Seed, Suite};
use p2pchat_proto::{PeerId, TransferId};
use rand::RngExt;

use super::home::{Home, RIGHT};
use super::keyfile::key_of;
use crate::actions::{pass_file, random_content, say};
use crate::event::session;
use crate::memory::{Look, core_file_max, look};
use crate::peer::Peer;
use crate::process::{PROMPT, Process, command};
use crate::relay::recording::Secret;
use crate::rows::guest::{Guest, forms};
use crate::rows::handshake::people::Two;
use crate::rows::handshake::second::Person;
use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::trace::Trace;
use crate::world::{MEETING, World, listen, udp_address};

/// How long the program may take to forget a session that was closed: the Close that came is answered for a
/// while (protocol section 5), and the machine may be busy.
const FORGETS: Duration = Duration::from_secs(10);
/// Where what was printed stands.
const PRINT: &str = "print";

pub(super) fn kept(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let home = Home::locked(lab)?;
    let key = key_of(&fs::read(home.key())?, RIGHT)?;
    let used = [
        forms("the passphrase", RIGHT.as_bytes()),
        forms("the seed", &home.seed),
        forms("the key of the key file", &key),
    ];
    let held = [
        forms("the identity's private key", &blake3::derive_key("p2pchat 1 identity", &home.seed)),
        forms("the private key for Noise", &blake3::derive_key("p2pchat 1 noise static", &home.seed)),
    ];
    let (texts, look) = match defence {
        Defence::InPlace => {
            let (mut texts, look) = program(&home, &used, &held, lab)?;
            texts.extend(printed(&home.seed, lab)?);
            (texts, look)
        }
        Defence::Removed => careless(&home.seed, &used, lab)?,
    };
    let mut found: Vec<String> =
        look.found.iter().map(|what| format!("{what} in memory after its use")).collect();
    for (place, text) in &texts {
        let secrets = used.iter().chain(&held).filter(|secret| secret.is_in(text));
        found.extend(secrets.map(|secret| format!("{} in {place}", secret.what)));
        // A type that prints its name has no digit to say, and one that prints bytes has many.
        if *place == PRINT && text.iter().any(u8::is_ascii_digit) {
            found.push("bytes in print".to_owned());
        }
    }
    let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
    let figure = format!("{} KiB of memory, {} of text, 19 secrets", look.read / 1024, bytes);
    let what = if found.is_empty() {
        "redacted in print, absent everywhere else".to_owned()
    } else {
        found.join(", ")
    };
    Ok(Seen::when(found.is_empty() && look.read > 0, what).figure(figure))
}

/// Places and what stands there.
type Texts = Vec<(&'static str, Vec<u8>)>;

/// The program with that home, in a session, as talkative as it gets; and its memory meanwhile.
fn program(home: &Home, used: &[Secret], held: &[Secret], lab: &mut Lab) -> Result<(Texts, Look), NotRun> {
    let world = World::new()?;
    let log = world.directory("log")?.join("alice.log");
    let alice = world.person("alice")?.accept_everything();
    fs::copy(home.key(), alice.home().join("identity.key"))?;
    let alice = alice.arguments(["--passphrase-file".to_owned(), home.passphrase().display().to_string()]);
    let flags = ["-v".to_owned(), "-v".to_owned(), "--log".to_owned(), log.display().to_string()];
    let mut alice = listen(&alice.arguments(flags))?;
    let mut bob = world.person("bob")?.accept_everything().start(&["connect", "--to", "alice"])?;
    for peer in [&mut alice, &mut bob] {
        peer.wait(&session("up"), MEETING)?;
    }
    say(&mut alice, &mut bob, "the heron has landed")?;
    let file = world.file("plan.bin", &random_content(7, 100_000))?;
    pass_file(&mut alice, &mut bob, &file)?;
    // What it works with is there, which shows that looking works.
    let all = [used, held].concat();
    let seen = look(alice.process.id(), &all)?;
    if !held.iter().all(|secret| seen.found.contains(&secret.what)) {
        return Err(NotRun(format!("its memory does not show what it works with: {:?}", seen.found)));
    }
    let mut found: Vec<String> =
        seen.found.into_iter().filter(|what| used.iter().any(|secret| secret.what == *what)).collect();
    let core = core_file(alice.process.id(), held)?;
    found.extend(after_a_session(&world, &mut alice, Person::of(home.seed).peer_id(), lab)?);
    alice.quit()?;
    let said = alice.process.take_lines().into_iter().map(|line| line.text + "\n").collect::<String>();
    let profile = profile(alice.home())?;
    let mut texts = vec![
        ("the log", fs::read(log)?),
        ("what it said", said.into_bytes()),
        ("what was heard of it", world.trace.to_string().into_bytes()),
        ("its files", profile),
    ];
    if texts.iter().any(|(_, text)| text.is_empty()) {
        return Err(NotRun("a place in which to look is empty".to_owned()));
    }
    texts.extend(core);
    Ok((texts, Look { read: seen.read, found }))
}

/// What a crash of a program would leave on the disk: the memory with what it was seen to hold.
fn core_file(pid: u32, held: &[Secret]) -> Result<Option<(&'static str, Vec<u8>)>, NotRun> {
    // The longest that no part of a program fits into (core(5)).
    let left = core_file_max(pid)?.is_none_or(|max| max > 1);
    let memory = || held.iter().flat_map(|secret| &secret.forms).flatten().copied().collect();
    Ok(left.then(|| ("a core file", memory())))
}

/// What of a session, from its introduction to its last packet, is still in the program's memory when the
/// session was closed and forgotten.
fn after_a_session(
    world: &World,
    alice: &mut Peer,
    who: PeerId,
    lab: &mut Lab,
) -> Result<Vec<String>, NotRun> {
    let port = udp_address(alice)?;
    let guest = Guest::meet(world, who, port, lab)?;
    alice.wait(&session("up"), MEETING)?;
    let (secrets, sealing) = guest.secrets();
    let pid = alice.process.id();
    let seen = look(pid, &sealing)?;
    if seen.found.len() != sealing.len() {
        return Err(NotRun(format!("of the keys that it seals with its memory shows {:?}", seen.found)));
    }
    guest.close()?;
    alice.wait(&session("closed"), MEETING)?;
    guest.leave();
    let all = [secrets, sealing].concat();
    let forgotten = Instant::now() + FORGETS;
    loop {
        let left = look(pid, &all)?.found;
        if left.is_empty() || Instant::now() > forgotten {
            return Ok(left);
        }
    }
}

/// Every file directly in a home.
fn profile(home: &Path) -> Result<Vec<u8>, NotRun> {
    let mut all = Vec::new();
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        if path.is_file() {
            all.extend(fs::read(path)?);
        }
    }
    Ok(all)
}

/// Everything that holds a secret, printed, and said in a panic; bob's seed is `seed`.
fn printed(seed: &[u8; 32], lab: &mut Lab) -> Result<Texts, NotRun> {
    let mut text = String::new();
    let mut print = |value: &dyn Debug| text.push_str(&format!("{value:?}\n{value:#?}\n"));
    let secret = || Seed::from_bytes(*seed);
    let two = Two { bob: Person::of(*seed), ..Two::draw(&mut lab.rng) };
    print(&secret());
    print(&two.bob.identity);
    print(&Passphrase::new(RIGHT.to_owned()));
    let broker = BrokerSecret::from_bytes(*seed);
    print(&broker);
    let carrier = CarrierSecret::from_bytes(*seed);
    print(&carrier);
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let transfer = TransferId([1; 16]);
        print(&RecordSealer::new(suite, &carrier, transfer, &[1; 16], &[2; 16]));
        print(&RecordOpener::new(suite, &carrier, transfer, &[1; 16], &[2; 16]));
    }
    print(&two.request(&mut lab.rng)?);
    let (bobs, alices) = two.introduced(&mut lab.rng)?;
    print(&bobs);
    let (initiator, first) = Initiator::start(&bobs.introduction, &two.bob.identity, &mut lab.rng);
    print(&initiator);
    let alice = &two.alice.identity;
    let (responder, second) = Responder::respond(&alices.introduction, alice, &first, &mut lab.rng)?;
    print(&responder);
    let (keys, _) = initiator.read_response(&second)?;
    print(&keys);
    print(&keys.into_epoch());
    let (client, hello) = ClientHandshake::start(&mut lab.rng);
    print(&client);
    let (sealer, opener, ..) = ServerHandshake::respond(&broker, &hello, &mut lab.rng)?;
    print(&sealer);
    print(&opener);
    let panicking = || panic!("with {:?}, {:?}", secret(), Passphrase::new(RIGHT.to_owned()));
    let words = catch_unwind(panicking).map_or_else(|words| words.downcast::<String>().ok(), |()| None);
    let words = words.ok_or_else(|| NotRun("a panic without words".to_owned()))?;
    Ok(vec![(PRINT, text.into_bytes()), ("a panic", words.into_bytes())])
}

/// The double: a type that prints itself, and a process that keeps what it was told.
fn careless(seed: &[u8; 32], used: &[Secret], lab: &mut Lab) -> Result<(Texts, Look), NotRun> {
    #[derive(Debug)]
    #[expect(dead_code, reason = "it is there to be printed")]
    struct Careless {
        seed: [u8; 32],
    }
    let text = format!("{:?}", Careless { seed: *seed });
    let mut shell = command(Path::new("/bin/sh"), Path::new("/"));
    shell.args(["-c", "read -r passphrase; read -r psk; echo ready; read -r end"]);
    let mut shell = Process::spawn("shell", shell, &Trace::default())?;
    let psk = forms("the psk", &lab.rng.random::<[u8; 32]>());
    let as_text = psk.forms.last().map(|form| String::from_utf8_lossy(form).into_owned()).unwrap_or_default();
    shell.write(format!("{RIGHT}\n{as_text}\n").as_bytes())?;
    shell.find("that it has read", PROMPT, |line| (line.text == "ready").then_some(()))?;
    let seen = look(shell.id(), &[used, &[psk]].concat())?;
    if !seen.found.iter().any(|what| what == "the psk") {
        return Err(NotRun("a psk that is kept is not found".to_owned()));
    }
    let mut texts = vec![(PRINT, text.into_bytes())];
    texts.extend(core_file(shell.id(), used)?);
    Ok((texts, seen))
}
