use super::*;
use crate::profile::{BROKERS_MAX, MARKS_MAX, PINS_MAX};
use p2pchat_crypto::{ResumptionSecret, Seed, Suite};
use p2pchat_proto::{PeerId, UdpEndpoints, WallTime};
use p2pchat_session::{CONTACTS_MAX, Generation};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

const BROKER: BrokerKey = BrokerKey([9; 32]);

fn identity(n: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Seed::from_bytes([n; 32])))
}

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::open(directory.path()).unwrap();
    (directory, home)
}

fn peer(n: usize) -> PeerId {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    PeerId(key)
}

fn pin(n: usize) -> Pin {
    let name = format!("{n:0>32}").parse().unwrap();
    Pin { name, peer: peer(n), broker: BROKER, since: WallTime(1_800_000_000_000), may_reconnect: true }
}

fn open(home: &Home) -> Papers {
    Papers::open(home, &identity(1)).unwrap()
}

fn names(directory: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_kept_is_there_the_next_time() {
    let (directory, home) = home();
    let mut papers = open(&home);
    assert_eq!((papers.name(), papers.udp_port(), names(&directory)), (None, None, vec![]));
    papers.set_name("me-myself".parse().unwrap()).unwrap();
    papers.set_udp_port(7001).unwrap();
    papers.remember_broker("broker.example:7770", BROKER).unwrap();
    papers.pin(pin(1)).unwrap();
    papers.pin(pin(2)).unwrap();
    papers.verified(peer(1)).unwrap();
    papers.rename(peer(1), "sister".parse().unwrap()).unwrap();
    for again in [open(&home), Papers::look(&home, &identity(1)).unwrap()] {
        assert_eq!(again.content, papers.content);
        assert_eq!((again.name().unwrap().as_str(), again.udp_port()), ("me-myself", Some(7001)));
        assert_eq!(again.brokers().key("broker.example:7770"), Some(BROKER));
        assert_eq!(again.find("sister", None), Ok(peer(1)));
    }
    assert_eq!(names(&directory), [FILE]);
    assert_eq!(fs::metadata(directory.path().join(FILE)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn nothing_that_was_kept_can_be_read_in_the_file() {
    let (directory, home) = home();
    let mut papers = open(&home);
    papers.set_name("me-myself".parse().unwrap()).unwrap();
    papers.remember_broker("broker.example:7770", BROKER).unwrap();
    papers.pin(pin(1)).unwrap();
    papers.rename(peer(1), "sister".parse().unwrap()).unwrap();
    let (id, name) = (peer(1).to_string(), pin(1).name.to_string());
    let words = ["me-myself", "broker.example", "sister", &id, &name];
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|at| at == word.as_bytes());
    let file = fs::read(directory.path().join(FILE)).unwrap();
    let text = text::of(&papers.content);
    for word in words {
        assert!(!holds(&file, word), "{word}");
        assert!(holds(text.as_bytes(), word), "{word} would have been found");
    }
}

#[test]
fn the_size_tells_the_number_of_people_to_within_a_factor_of_two_and_nothing_below_a_step() {
    let (directory, home) = home();
    let size = || fs::metadata(directory.path().join(FILE)).unwrap().len();
    let mut papers = open(&home);
    papers.set_udp_port(7001).unwrap();
    let mut sizes = vec![size()];
    for n in 0..260 {
        let generation = |n: u8| Generation {
            secret: ResumptionSecret::from_bytes([n; 32]),
            suite: Suite::Aes256Gcm,
            made: WallTime(1),
            proven: true,
        };
        let endpoints = ["192.0.2.1:7000", "[2001:db8::1]:7000"].map(|at| at.parse().unwrap());
        let generations = vec![generation(1), generation(2)];
        let contact = Contact {
            peer: peer(n),
            peer_noise: [1; 32],
            endpoints: UdpEndpoints::new(endpoints),
            generations,
        };
        papers.pin(pin(n)).unwrap();
        papers.keep(&contact).unwrap();
        sizes.push(size());
    }
    assert!(sizes[..=40].iter().all(|size| *size == STEP as u64), "{sizes:?}");
    sizes.dedup();
    let steps: Vec<_> = (0..sizes.len()).map(|n| (STEP << n) as u64).collect();
    assert_eq!(sizes, steps);
    assert!(sizes.len() > 2);
}

#[test]
fn the_most_that_may_be_kept_fits_the_file() {
    let mut content = Content { udp_port: Some(65535), ..Content::default() };
    content.name = Some(pin(0).name);
    (0..BROKERS_MAX).for_each(|n| content.brokers.push(format!("{n:0>255}:65535"), BROKER));
    (0..PINS_MAX).for_each(|n| content.pins.push(pin(n)));
    for n in 0..MARKS_MAX {
        content.marks.push(Mark { peer: peer(n), verified: true, blocked: true, petname: Some(pin(n).name) });
    }
    let text = text::of(&content);
    assert_eq!(text::parse(&text).as_ref(), Ok(&content));
    // As long as the longest of `the_longest_line_is_within_its_bound`.
    assert!(HEAD_LEN + SEAL_LEN + LENGTH_LEN + text.len() + CONTACTS_MAX * 1_007 <= FILE_MAX);
    assert_eq!(file_len(FILE_MAX), FILE_MAX);
    let (_directory, home) = home();
    let papers = Papers { home: home.clone(), me: identity(1), content, unsaved: false };
    papers.save().unwrap();
    assert_eq!(open(&home).content, papers.content);
}

#[test]
fn a_byte_flipped_anywhere_is_an_error_and_a_damaged_file_is_set_aside() {
    let (directory, home) = home();
    open(&home).pin(pin(1)).unwrap();
    let path = directory.path().join(FILE);
    let good = fs::read(&path).unwrap();
    let head = 0..HEAD_LEN + SEAL_LEN + 100;
    let mut damage: Vec<Vec<u8>> =
        vec![Vec::new(), good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat()];
    for at in head.chain((0..good.len()).step_by(997)) {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        damage.push(flipped);
    }
    for bytes in damage {
        fs::write(&path, &bytes).unwrap();
        let looked = Papers::look(&home, &identity(1)).map(drop).unwrap_err();
        assert_eq!(names(&directory), [FILE], "who looks touches nothing");
        let refused = Papers::open(&home, &identity(1)).map(drop).unwrap_err();
        match (looked, refused) {
            (Failure::StoreDamaged { aside: None, .. }, Failure::StoreDamaged { aside: Some(aside), .. }) => {
                assert_eq!(fs::read(&aside).unwrap(), bytes, "nothing is lost");
                fs::remove_file(&aside).unwrap();
            }
            (looked @ Failure::Local { .. }, refused) => {
                assert_eq!(looked, refused);
                assert_eq!(fs::read(&path).unwrap(), bytes);
            }
            (looked, refused) => panic!("{looked:?} {refused:?}"),
        }
    }
    fs::write(&path, good).unwrap();
    assert_eq!(open(&home).pins().iter().count(), 1);
}

#[test]
fn a_file_mixed_from_two_copies_is_damaged() {
    let (directory, home) = home();
    let path = directory.path().join(FILE);
    let mut papers = open(&home);
    papers.pin(pin(1)).unwrap();
    let old = fs::read(&path).unwrap();
    papers.pin(pin(2)).unwrap();
    let new = fs::read(&path).unwrap();
    assert_eq!(old.len(), new.len());
    for at in [HEAD_LEN, HEAD_LEN + 24, 4096, old.len() / 2, old.len() - 16] {
        for mixed in [[&old[..at], &new[at..]].concat(), [&new[..at], &old[at..]].concat()] {
            // What is all of one copy is that copy, which nothing can tell from the present one.
            if mixed != old && mixed != new {
                fs::write(&path, mixed).unwrap();
                let seen = Papers::look(&home, &identity(1)).map(drop);
                assert!(matches!(seen, Err(Failure::StoreDamaged { .. })), "{at}: {seen:?}");
            }
        }
    }
    fs::write(&path, old).unwrap();
    assert_eq!(open(&home).pins().iter().count(), 1);
}

#[test]
fn another_identity_and_a_later_version_are_refused_and_the_file_stays() {
    let (directory, home) = home();
    open(&home).pin(pin(1)).unwrap();
    let path = directory.path().join(FILE);
    let good = fs::read(&path).unwrap();
    let Err(Failure::Local { reason, .. }) = Papers::open(&home, &identity(2)).map(drop) else { panic!() };
    assert!(reason.contains("another identity"), "{reason}");
    let mut later = good.clone();
    later[MAGIC.len() + 1] = 2;
    fs::write(&path, &later).unwrap();
    let Err(Failure::Local { reason, .. }) = Papers::open(&home, &identity(1)).map(drop) else { panic!() };
    assert!(reason.contains("later version"), "{reason}");
    assert_eq!(fs::read(&path).unwrap(), later);
}

#[test]
fn a_change_that_fails_changes_nothing_and_one_that_cannot_be_written_is_written_with_the_next() {
    let (directory, home) = home();
    let mut papers = open(&home);
    papers.pin(pin(1)).unwrap();
    let before = papers.content.clone();
    let failed: Result<(), _> = papers.change(|content| {
        content.pins.remove(peer(1));
        Err(Failure::NotUtf8)
    });
    assert_eq!((failed, &papers.content), (Err(Failure::NotUtf8), &before));
    let other = Pin { name: pin(1).name, ..pin(2) };
    let taken = |n| directory.path().join(format!("{FILE}.{}-{n}.tmp", std::process::id()));
    (0..=100).for_each(|n| fs::create_dir(taken(n)).unwrap());
    assert!(matches!(papers.repin(other, peer(1)), Err(Failure::Local { .. })));
    let on_disk = |n| open(&home).pins().of_peer(peer(n)).count();
    assert_eq!((on_disk(1), on_disk(2)), (1, 0), "the name belongs to the old one");
    (0..=100).for_each(|n| fs::remove_dir(taken(n)).unwrap());
    papers.set_udp_port(7001).unwrap();
    assert_eq!((on_disk(1), on_disk(2)), (0, 1));
}

#[test]
fn what_is_known_already_is_not_written_again() {
    let (directory, home) = home();
    let mut papers = open(&home);
    papers.pin(pin(1)).unwrap();
    fs::remove_file(directory.path().join(FILE)).unwrap();
    papers.pin(pin(1)).unwrap();
    assert_eq!(names(&directory), Vec::<String>::new());
}

#[test]
fn without_a_directory_it_lasts_as_long_as_the_home_and_is_known_by_no_other() {
    let home = Home::nowhere();
    Papers::open(&home, &identity(1)).unwrap().pin(pin(1)).unwrap();
    assert_eq!(Papers::open(&home.clone(), &identity(1)).unwrap().pins().iter().count(), 1);
    assert_eq!(Papers::open(&Home::nowhere(), &identity(1)).unwrap().pins().iter().count(), 0);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic_and_what_it_takes_is_written_the_same(
        lines in proptest::collection::vec("((name|port|broker|pin|resume|mark) )?\\PC{0,40}", 0..5),
    ) {
        if let Ok(content) = text::parse(&lines.join("\n")) {
            prop_assert_eq!(text::parse(&text::of(&content)), Ok(content));
        }
    }
}

#[test]
fn how_a_user_stands_towards_others_is_kept_and_nothing_is_guessed_of_it() {
    use p2pchat_proto::{Availability, ContactPolicy, Standing, Visibility};
    let standing = Standing {
        status: Availability::Away,
        visibility: Visibility::Private,
        policy: ContactPolicy::Contacts,
    };
    let content = Content { standing, ..Content::default() };
    assert_eq!(text::of(&content), "standing away private contacts\n");
    assert_eq!(text::parse(&text::of(&content)), Ok(content));
    assert_eq!(text::of(&Content::default()), "", "whoever said nothing has no line");
    for wrong in ["standing away", "standing away private contacts more", "standing gone public everyone"] {
        assert_eq!(text::parse(wrong), Err((1, "is not STATUS VISIBILITY POLICY")), "{wrong}");
    }
}
