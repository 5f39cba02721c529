//! Nobody in between learns anything: not on the link to the broker, not on the path of the
//! session, not on the path of a file, not in the broker itself.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

use p2pchat_harness::actions::{pass_file, random_content, say};
use p2pchat_harness::memory::look;
use p2pchat_harness::peer::Setup;
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::relay::recording::{Recording, Secret};
use p2pchat_harness::relay::{Direction, TcpRelay};
use p2pchat_harness::skipped;
use p2pchat_harness::world::{Paths, World};

const FILE_LEN: usize = 700_000;
const TEXTS: [&str; 2] = ["the heron lands at midnight on pier 93", "and the lamp of pier 93 will be out"];
const FILE_NAME: &str = "plan of pier 93.bin";

fn both_ways(what: &str, recordings: [Recording; 2]) -> [(String, Recording); 2] {
    let [inward, outward] = recordings;
    [(format!("{what}, inward"), inward), (format!("{what}, outward"), outward)]
}

fn of_tcp(what: &str, relay: &TcpRelay) -> [(String, Recording); 2] {
    both_ways(what, [Direction::In, Direction::Out].map(|direction| relay.recording(direction)))
}

/// Texts, the file's name, and pieces of the file from its beginning, middle and end.
fn said(content: &[u8]) -> Vec<Secret> {
    let mut secrets: Vec<_> = TEXTS.iter().map(|text| Secret::bytes(*text, *text)).collect();
    secrets.push(Secret::bytes("file name", FILE_NAME));
    for at in [0, 16, FILE_LEN / 2, FILE_LEN - 24] {
        secrets.push(Secret::bytes(format!("file content at {at}"), &content[at..at + 24]));
    }
    secrets
}

fn files_below(directory: &Path) -> Vec<(String, Recording)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let mut recording = Recording::default();
            recording.add(&fs::read(&path).unwrap());
            found.push((path.display().to_string(), recording));
        }
    }
    found
}

fn assert_holds_none(recordings: &[(String, Recording)], secrets: &[Secret]) {
    for (what, recording) in recordings {
        for secret in secrets {
            assert!(!recording.holds(secret), "{} is in: {what} ({} bytes)", secret.what, recording.len());
        }
    }
}

fn through(world: &World, name: &str, link: &TcpRelay) -> Setup {
    world.stranger(name).unwrap().broker(&world.broker.url_through(link.address())).accept_everything()
}

#[test]
fn no_text_file_name_content_or_endpoint_is_in_any_byte_that_passes_or_in_the_broker() {
    let world = World::new().unwrap();
    let links = [(); 2].map(|()| TcpRelay::before(world.broker.address()).unwrap());
    let paths = Paths::new(1).unwrap();
    let (mut alice, mut bob) = paths
        .meet(&through(&world, "alice-of-pier-93", &links[0]), &through(&world, "bob", &links[1]))
        .unwrap();
    let endpoints: Vec<SocketAddr> = [&mut alice, &mut bob]
        .into_iter()
        .flat_map(|peer| {
            let info = peer.info().unwrap();
            let session = info.field("sessions")[0].clone();
            ["local", "remote"].map(|field| session[field].as_str().unwrap_or_default().parse().unwrap())
        })
        .chain(paths.udp().map(|relay| relay.address()))
        .chain(paths.tcp().map(|relay| relay.address()))
        .chain(paths.real_tcp())
        .collect();

    say(&mut alice, &mut bob, TEXTS[0]).unwrap();
    say(&mut bob, &mut alice, TEXTS[1]).unwrap();
    let content = random_content(93, FILE_LEN);
    let file = world.file(FILE_NAME, &content).unwrap();
    pass_file(&mut bob, &mut alice, &file).unwrap().assert_equal_to(&file);
    pass_file(&mut alice, &mut bob, &file).unwrap().assert_equal_to(&file);

    let mut secrets = said(&content);
    secrets.extend(endpoints.into_iter().map(|endpoint| Secret::endpoint(endpoint.to_string(), endpoint)));

    let mut recordings = Vec::new();
    for link in &links {
        recordings.extend(of_tcp("link to the broker", link));
    }
    for relay in paths.tcp() {
        recordings.extend(of_tcp("file path", relay));
    }
    for relay in paths.udp() {
        let ways = [Direction::In, Direction::Out].map(|direction| relay.recording(direction));
        recordings.extend(both_ways("session path", ways));
    }
    let bytes: usize = recordings.iter().map(|(_, recording)| recording.len()).sum();
    assert!(bytes > 2 * FILE_LEN, "the files went through the relays: {bytes}");
    assert!(recordings[..4].iter().all(|(_, recording)| recording.len() > 500), "{recordings:?}");
    assert_holds_none(&recordings, &secrets);

    // The broker, while it runs. It must know the names of people, which shows that looking works.
    let name = Secret::bytes("name", alice.name());
    let control = [secrets.as_slice(), &[name]].concat();
    match look(world.broker.id(), &control) {
        Ok(seen) => assert_eq!(seen.found, ["name"], "{} bytes were read", seen.read),
        Err(error) => skipped(&format!("the broker's memory cannot be read here: {error}")),
    }
    let kept = files_below(world.broker.data());
    assert!(!kept.is_empty());
    assert_holds_none(&kept, &secrets);
}

#[test]
fn what_is_sent_in_clear_through_the_same_relays_is_found() {
    let world = World::new().unwrap();
    let links = [(); 2].map(|()| TcpRelay::before(world.broker.address()).unwrap());
    let paths = Paths::new(1).unwrap();
    let (mut alice, mut bob) =
        paths.meet(&through(&world, "alice", &links[0]), &through(&world, "bob", &links[1])).unwrap();
    say(&mut alice, &mut bob, "sealed").unwrap();
    let content = random_content(93, FILE_LEN);
    let endpoint: SocketAddr = "192.0.2.93:9393".parse().unwrap();
    let mut clear: Vec<u8> = TEXTS.concat().into_bytes();
    clear.extend(FILE_NAME.bytes());
    clear.extend(&content);
    clear.extend(endpoint.to_string().bytes());
    let mut secrets = said(&content);
    secrets.push(Secret::endpoint("endpoint", endpoint));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for piece in clear.chunks(60_000) {
        socket.send_to(piece, paths.udp()[0].address()).unwrap();
    }
    for relay in [&links[0], paths.tcp()[0]] {
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        // Whoever listens there hangs up at some point.
        let _ = stream.write_all(&clear[..TEXTS.concat().len()]);
    }
    let deadline = world.trace.elapsed() + PROMPT;
    let all_there = || {
        let udp = paths.udp()[0].recording(Direction::In);
        let text = Secret::bytes("text", TEXTS[0]);
        secrets.iter().filter(|secret| udp.holds(secret)).count() >= secrets.len() - 4
            && links[0].recording(Direction::In).holds(&text)
    };
    while !all_there() {
        assert!(world.trace.elapsed() < deadline, "the recorders are deaf");
        std::thread::yield_now();
    }
}
