//! What somebody reads who records the home of a user with a passphrase: nothing but sizes.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use p2pchat_harness::actions::{offer_file, pass_file, random_content, say};
use p2pchat_harness::event::{file as file_event, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::relay::recording::Secret;
use p2pchat_harness::world::{MEETING, World, listen};
use p2pchat_proto::{BrokerKey, PeerId};
use serde_json::Value;

const ME: &str = "alice-of-pier-93";
const OTHER: &str = "bob-of-the-lighthouse";
const PETNAME: &str = "brother-heron";
const TEXTS: [&str; 2] = ["the heron lands at midnight on pier 93", "and the lamp of pier 93 will be out"];
const FILE_NAME: &str = "plan of pier 93.bin";
const FILE_LEN: usize = 300_000;
const HALF_WAY_LEN: usize = 200_000_000;

/// What a profile may have in its directory. Whatever else is there is there for a reason that nobody knows.
const NAMES: [&str; 5] = ["control.sock", "identity.key", "lock", "papers", "store.redb"];

/// Everything below a directory at one moment.
struct Recording(Vec<(String, Vec<u8>)>);

impl Recording {
    fn of(home: &Path) -> Self {
        let mut files = Vec::new();
        for entry in fs::read_dir(home).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                let below = Self::of(&entry.path()).0;
                files.extend(below.into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
            } else if entry.file_type().unwrap().is_file() {
                // What takes the place of another may be gone again.
                files.extend(fs::read(entry.path()).ok().map(|bytes| (name, bytes)));
            } else {
                files.push((name, Vec::new()));
            }
        }
        files.sort();
        Self(files)
    }

    /// Which of these stand in it, in a name or in a content.
    fn found<'s>(&self, secrets: &'s [Secret]) -> Vec<&'s str> {
        let holds = |secret: &&Secret| {
            self.0.iter().any(|(name, bytes)| {
                let lower = bytes.to_ascii_lowercase();
                secret.is_in(name.to_ascii_lowercase().as_bytes())
                    || secret.is_in(bytes)
                    || secret.is_in(&lower)
            })
        };
        secrets.iter().filter(holds).map(|secret| secret.what.as_str()).collect()
    }

    fn sizes(&self) -> Vec<(&str, usize)> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect()
    }

    fn assert_tells_nothing(&self, when: &str, secrets: &[Secret]) {
        assert_eq!(self.found(secrets), Vec::<&str>::new(), "{when}");
        for (name, bytes) in &self.0 {
            assert!(NAMES.contains(&name.as_str()), "{when}: {name} ({} bytes)", bytes.len());
        }
    }
}

/// A key of 32 bytes as it is, as text in any case, in hexadecimal, and in short.
fn key(what: &str, bytes: [u8; 32], text: &str) -> Secret {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let short = text.chars().take(12).collect::<String>();
    let forms = [text, &hex, &short].map(|form| form.to_ascii_lowercase().into_bytes());
    Secret { what: what.to_owned(), forms: forms.into_iter().chain([bytes.to_vec()]).collect() }
}

fn id_of(setup: &Setup) -> PeerId {
    let out = setup.run(&["id"], PROMPT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    let event: Value = serde_json::from_str(out.out.last().unwrap()).unwrap();
    event["peer"].as_str().unwrap().parse().unwrap()
}

fn contacts(setup: &Setup, words: &[&str]) -> Value {
    let out = setup.run(&[&["contacts"], words].concat(), PROMPT).unwrap();
    assert_eq!(out.exit, 0, "{out:?}");
    serde_json::from_str(out.out.last().unwrap()).unwrap()
}

fn acquaintance(n: u8) -> (String, PeerId) {
    (format!("acquaintance-{n}"), PeerId([n + 1; 32]))
}

struct Place {
    world: World,
    alice: Setup,
    bob: Setup,
    key: BrokerKey,
    secrets: Vec<Secret>,
}

impl Place {
    /// Alice has a passphrase, takes everything, and puts files elsewhere.
    fn new() -> Self {
        let world = World::new().unwrap();
        let passphrase = world.file("passphrase", b"correct horse\n").unwrap().display().to_string();
        let downloads = world.directory("downloads").unwrap().display().to_string();
        let flags = ["--passphrase-file", &passphrase, "--download-dir", &downloads];
        let alice = world.person(ME).unwrap().accept_everything().arguments(flags);
        let bob = world.person(OTHER).unwrap().accept_everything();
        let url = world.broker.url();
        let (address, key_text) = url.split_once('#').unwrap();
        let broker: BrokerKey = key_text.parse().unwrap();
        let mut secrets = vec![
            Secret::endpoint("the broker's address", address.parse().unwrap()),
            key("the broker's key", broker.0, key_text),
        ];
        for (what, setup) in [("alice's id", &alice), ("bob's id", &bob)] {
            let id = id_of(setup);
            secrets.push(key(what, id.0, &id.to_string()));
        }
        let words = [ME, OTHER, PETNAME, FILE_NAME, TEXTS[0], TEXTS[1], "heron", "pier 93", "lighthouse"];
        secrets.extend(words.map(|word| Secret::bytes(word, word.to_ascii_lowercase())));
        for n in 0..3 {
            let (name, id) = acquaintance(n);
            secrets.push(Secret::bytes(name.clone(), name.clone()));
            secrets.push(key(&format!("{name}'s id"), id.0, &id.to_string()));
        }
        Self { world, alice, bob, key: broker, secrets }
    }

    fn check(&self, when: &str) {
        Recording::of(self.alice.home()).assert_tells_nothing(when, &self.secrets);
    }

    fn meet(&self) -> (Peer, Peer) {
        let mut alice = listen(&self.alice).unwrap();
        let mut bob = self.bob.start(&["connect", "--to", ME]).unwrap();
        alice.expect(&session("up"), MEETING);
        bob.expect(&session("up"), MEETING);
        (alice, bob)
    }
}

#[test]
fn the_home_of_a_user_with_a_passphrase_tells_nothing_at_any_moment() {
    let place = Place::new();
    place.check("a new identity");
    for n in 0..3 {
        let (name, id) = acquaintance(n);
        contacts(&place.alice, &["add", &name, &id.to_string()]);
    }
    contacts(&place.alice, &["rename", &acquaintance(0).0, PETNAME]);
    contacts(&place.alice, &["block", &acquaintance(1).0]);
    contacts(&place.alice, &["verify", PETNAME, "--yes"]);
    place.check("people who are called otherwise, blocked and verified");

    let (mut alice, mut bob) = place.meet();
    alice.send_line(&format!("/block {}", acquaintance(2).1)).unwrap();
    say(&mut alice, &mut bob, TEXTS[0]).unwrap();
    say(&mut bob, &mut alice, TEXTS[1]).unwrap();
    place.check("a chat");
    let content = random_content(93, FILE_LEN);
    let file = place.world.file(FILE_NAME, &content).unwrap();
    pass_file(&mut bob, &mut alice, &file).unwrap();
    pass_file(&mut alice, &mut bob, &file).unwrap();
    let pieces = [0, FILE_LEN / 2, FILE_LEN - 24].map(|at| Secret::bytes("content", &content[at..at + 24]));
    place.check("a chat with files");
    Recording::of(place.alice.home()).assert_tells_nothing("content of a file", &pieces);
    // Long enough to be under way when it is looked at.
    let long = random_content(94, HALF_WAY_LEN);
    let file = place.world.file(FILE_NAME, &long).unwrap();
    offer_file(&mut bob, &file).unwrap();
    let under_way = alice.expect(&file_event("in", "running"), MEETING);
    let pieces = [0, HALF_WAY_LEN / 2].map(|at| Secret::bytes("content", &long[at..at + 24]));
    place.check("half of a file");
    alice.process.kill().unwrap();
    assert!(under_way.number("bytes").unwrap() < HALF_WAY_LEN as u64, "{under_way}");
    assert!(alice.take_events().iter().all(|event| event.text("state") != "done"), "it is not half way");
    place.check("after a kill half way through a file");
    Recording::of(place.alice.home()).assert_tells_nothing("content of half a file", &pieces);
    bob.process.kill().unwrap();

    let (mut alice, mut bob) = place.meet();
    say(&mut alice, &mut bob, TEXTS[0]).unwrap();
    assert_eq!(alice.quit().unwrap(), 0);
    place.check("after another chat");
    // All of it is there, for whoever has the passphrase.
    let out = place.alice.run(&["history", "search", "heron"], PROMPT).unwrap();
    assert!(out.out.iter().any(|line| line.contains(TEXTS[0])), "{out:?}");
    let list = contacts(&place.alice, &["list"]).to_string();
    assert!(list.contains(PETNAME) && list.contains(&acquaintance(1).1.to_string()), "{list}");
    place.check("after looking");
}

#[test]
fn a_home_of_a_former_version_tells_all_of_it_until_it_is_used() {
    let place = Place::new();
    let home = place.alice.home();
    let id = |n: u8| acquaintance(n).1;
    let pins: String = (0..3)
        .map(|n| format!("{} {} {} 2026-11-20T10:00:00Z yes\n", acquaintance(n).0, id(n), place.key))
        .collect();
    let url = place.world.broker.url();
    let files = [
        ("name", format!("{ME}\n")),
        ("udp_port", "7001\n".to_owned()),
        ("known_brokers", format!("{}\n", url.replace('#', " "))),
        ("pins", format!("# name, identity\n{pins}")),
        ("people", format!("{} yes no {PETNAME}\n{} no yes -\n", id(0), id(1))),
    ];
    let new = fs::read(home.join("papers")).unwrap();
    fs::remove_file(home.join("papers")).unwrap();
    files.iter().for_each(|(file, text)| fs::write(home.join(file), text).unwrap());
    // What there was no file for in clear.
    let me = id_of_home(&place);
    fs::write(home.join(FILE_NAME), [TEXTS.concat(), OTHER.to_owned(), me].concat()).unwrap();

    let all: Vec<&str> = place.secrets.iter().map(|secret| secret.what.as_str()).collect();
    assert_eq!(Recording::of(home).found(&place.secrets), all, "every one would be found");
    fs::remove_file(home.join(FILE_NAME)).unwrap();

    // Who looks sees it, and changes nothing; who holds the profile moves it.
    assert_eq!(contacts(&place.alice, &["list"])["list"].as_array().unwrap().len(), 3);
    assert!(home.join("pins").exists());
    contacts(&place.alice, &["unblock", &acquaintance(1).0]);
    place.check("what was in clear");
    let list = contacts(&place.alice, &["list"]);
    assert_eq!(
        (list["list"][0]["name"].as_str(), list["list"][0]["trust"].as_str()),
        (Some(PETNAME), Some("verified"))
    );
    assert_eq!(fs::read(home.join("papers")).unwrap().len(), new.len());
}

fn id_of_home(place: &Place) -> String {
    [&place.alice, &place.bob].map(|setup| id_of(setup).to_string()).concat()
}

#[test]
fn homes_with_one_contact_five_and_forty_are_equally_large() {
    let world = World::new().unwrap();
    let homes = [1, 5, 40].map(|people: u8| {
        let setup = world.person(&format!("user-{people}")).unwrap();
        for n in 0..people {
            let (name, id) = acquaintance(n);
            contacts(&setup, &["add", &name, &id.to_string()]);
        }
        let mut chat = listen(&setup).unwrap();
        assert_eq!(chat.quit().unwrap(), 0);
        assert_eq!(contacts(&setup, &["list"])["list"].as_array().unwrap().len(), usize::from(people));
        Recording::of(setup.home())
    });
    let sizes = homes.each_ref().map(Recording::sizes);
    assert!(sizes[0].iter().any(|(name, len)| *name == "papers" && *len > 0), "{sizes:?}");
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[0], sizes[2]);
}
