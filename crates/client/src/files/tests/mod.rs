//! Files over loopback, with people, strangers and relays in between.

mod duo;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use p2pchat_proto::transfer::{CHUNK_LEN, FailureReason};
use p2pchat_transfer::{CarrierFault, CarrierLoss, Party, State, TransferFailure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::duo::{Duo, Mischief, Relay};

const CHUNK: u64 = CHUNK_LEN as u64;

fn content(len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut content);
    content
}

fn done_at(duo: &Duo, name: &str, content: &[u8]) -> (State, State) {
    let hash = *blake3::hash(content).as_bytes();
    let path = duo.downloads().join(name).to_string_lossy().into_owned();
    (State::Done { path: None, hash }, State::Done { path: Some(path), hash })
}

#[tokio::test]
async fn files_of_every_size_arrive_whole_and_leave_nothing_else() {
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 20 * 1024 * 1024 + 3] {
        let mut duo = Duo::new();
        let content = content(len);
        let path = duo.source(&content);
        let ended = duo.transfer(&path).await;
        assert_eq!(ended, done_at(&duo, "song.mp3", &content), "{len} bytes");
        assert!(fs::read(duo.downloads().join("song.mp3")).unwrap() == content);
        assert_eq!(duo.close().await, ["song.mp3"]);
    }
}

#[tokio::test]
async fn what_is_there_already_is_neither_replaced_nor_followed() {
    let mut duo = Duo::new();
    let downloads = duo.downloads();
    fs::create_dir(&downloads).unwrap();
    let elsewhere = duo.home.path().join("elsewhere");
    fs::write(downloads.join("song.mp3"), "mine").unwrap();
    symlink(&elsewhere, downloads.join("song (1).mp3")).unwrap();
    fs::create_dir(downloads.join("song (2).mp3")).unwrap();
    let path = duo.source(b"theirs");
    let ended = duo.transfer(&path).await;
    assert_eq!(ended, done_at(&duo, "song (3).mp3", b"theirs"));
    assert_eq!(fs::read(downloads.join("song.mp3")).unwrap(), b"mine");
    assert_eq!(fs::read(downloads.join("song (3).mp3")).unwrap(), b"theirs");
    assert!(!elsewhere.exists());
    assert_eq!(duo.close().await.len(), 4);
}

#[tokio::test]
async fn a_file_may_be_saved_in_another_directory() {
    let mut duo = Duo::new();
    let path = duo.source(b"content");
    let dir = duo.home.path().join("a/b");
    let (source, open) = super::open_source(&path).unwrap();
    let transfer = duo.alice.transfers.offer(duo::BOB, source, duo.now());
    duo.alice.driver.attach(transfer, open);
    duo.until(|duo| !duo.bob.updates.is_empty()).await;
    duo.bob.driver.save_in(transfer, dir.clone());
    duo.bob.transfers.accept(transfer, duo.now()).unwrap();
    duo.ended().await;
    assert_eq!(fs::read(dir.join("song.mp3")).unwrap(), b"content");
}

#[tokio::test]
async fn a_download_directory_that_cannot_be_made_fails_on_both_sides() {
    let mut duo = Duo::new();
    fs::write(duo.downloads(), "no directory").unwrap();
    let path = duo.source(b"content");
    let (alice, bob) = duo.transfer(&path).await;
    assert_eq!(alice, State::Failed(TransferFailure::Peer(FailureReason::NotWritable)));
    assert!(matches!(bob, State::Failed(TransferFailure::Here(CarrierFault::NotWritable { .. }))));
}

/// Runs until both sides listen, without letting one know where the other does.
async fn listening() -> (Duo, Vec<u8>) {
    let mut duo = Duo::new();
    let content = content(1_000_000);
    let path = duo.source(&content);
    duo.send(&path).await;
    duo.until(|duo| duo.alice.tcp().is_some() || duo.bob.tcp().is_some()).await;
    (duo, content)
}

#[tokio::test]
async fn strangers_who_come_first_get_no_byte_and_keep_nobody_out() {
    let (mut duo, content) = listening().await;
    let ports: Vec<_> = [duo.alice.tcp(), duo.bob.tcp()].into_iter().flatten().collect();
    let mut strangers = Vec::new();
    for port in &ports {
        for n in 0..20usize {
            // Blocking, so that all of them are there before the two have had another turn.
            let mut stranger = std::net::TcpStream::connect(port).unwrap();
            // Silent, slow, garbage, and what begins like a hello.
            let bytes = [vec![], vec![b'D'], vec![0xff; 600], [&b"D"[..], &[7; 48]].concat()][n % 4].clone();
            stranger.write_all(&bytes).unwrap();
            stranger.set_nonblocking(true).unwrap();
            strangers.push(TcpStream::from_std(stranger).unwrap());
        }
    }
    let ended = duo.ended().await;
    assert_eq!(ended, done_at(&duo, "song.mp3", &content));
    for mut stranger in strangers {
        let mut answer = Vec::new();
        // Closed, by an end or by a reset.
        let _how = stranger.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    }
    for port in ports {
        assert!(TcpStream::connect(port).await.is_err(), "the port is closed");
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_costs_a_carrier_and_never_a_wrong_byte() {
    // In the hellos, in a header, in content, in a tag, in the last record.
    let places = [0, 20, 32, 40, 49, 60, CHUNK + 66, CHUNK + 72, 2 * CHUNK + 300];
    let mut attempts = JoinSet::new();
    for at in places {
        attempts.spawn(async move {
            let content = content(700_000);
            let mut duo = Duo::new();
            duo.relay = Some(Relay(Mischief::flip(at, 3)));
            let path = duo.source(&content);
            let ended = duo.transfer(&path).await;
            assert_eq!(ended, done_at(&duo, "song.mp3", &content), "byte {at}");
            assert!(fs::read(duo.downloads().join("song.mp3")).unwrap() == content, "byte {at}");
            assert_eq!(duo.close().await, ["song.mp3"]);
        });
    }
    assert_eq!(attempts.join_all().await.len(), places.len());
}

#[tokio::test]
async fn a_line_that_damages_everything_ends_the_transfer_without_a_file() {
    let mut duo = Duo::new();
    duo.relay = Some(Relay(Mischief::flip(1000, u64::MAX)));
    let path = duo.source(&content(700_000));
    let (alice, bob) = duo.transfer(&path).await;
    assert_eq!(alice, State::Failed(TransferFailure::Peer(FailureReason::Broken)));
    assert_eq!(bob, State::Failed(TransferFailure::NoCarrier(CarrierLoss::Damaged)));
    assert!(duo.close().await.is_empty());
}

#[tokio::test]
async fn a_line_that_breaks_is_replaced_where_it_broke() {
    let mut duo = Duo::new();
    duo.relay = Some(Relay(Mischief::cut(3 * CHUNK + 1000, 4)));
    let content = content(5_000_000);
    let path = duo.source(&content);
    let ended = duo.transfer(&path).await;
    assert_eq!(ended, done_at(&duo, "song.mp3", &content));
    assert!(fs::read(duo.downloads().join("song.mp3")).unwrap() == content);
}

/// A transfer that has come somewhere and no further. The source is larger than what the system
/// and the relay hold of it on its way.
async fn half_way() -> (Duo, p2pchat_proto::TransferId, Arc<Semaphore>) {
    let mut duo = Duo::new();
    let until = Arc::new(Semaphore::new(0));
    duo.relay = Some(Relay(Mischief::Hold { after: 3 * CHUNK, until: until.clone() }));
    let path = duo.source(&content(40_000_000));
    let transfer = duo.send(&path).await;
    let part = duo.downloads().join(format!(".p2pchat-{transfer}.part"));
    duo.until(move |duo| {
        let written = fs::metadata(&part).is_ok_and(|part| part.len() >= CHUNK);
        written && duo.bob.updates.last().is_some_and(|update| update.state == State::Running)
    })
    .await;
    (duo, transfer, until)
}

#[tokio::test]
async fn a_cancel_from_either_side_half_way_leaves_nothing_behind() {
    for by_bob in [false, true] {
        let (mut duo, transfer, _held) = half_way().await;
        let now = duo.now();
        let party = if by_bob { &mut duo.bob } else { &mut duo.alice };
        party.transfers.cancel(transfer, now).unwrap();
        let (alice, bob) = duo.ended().await;
        let (here, there) = (State::Cancelled(Party::Here), State::Cancelled(Party::Peer));
        assert_eq!((alice, bob), if by_bob { (there, here) } else { (here, there) });
        assert!(duo.close().await.is_empty());
    }
}

#[tokio::test]
async fn a_source_that_changes_half_way_fails_on_both_sides_and_leaves_nothing() {
    let (mut duo, _, held) = half_way().await;
    let path = duo.home.path().join("song.mp3");
    fs::File::options().write(true).open(path).unwrap().set_len(39_000_000).unwrap();
    held.add_permits(1000);
    let (alice, bob) = duo.ended().await;
    assert_eq!(alice, State::Failed(TransferFailure::Here(CarrierFault::SourceChanged)));
    assert_eq!(bob, State::Failed(TransferFailure::Peer(FailureReason::SourceChanged)));
    assert!(duo.close().await.is_empty());
}

#[tokio::test]
async fn a_download_directory_that_goes_away_half_way_fails_on_both_sides() {
    let (mut duo, _, held) = half_way().await;
    fs::remove_dir_all(duo.downloads()).unwrap();
    held.add_permits(1000);
    let (alice, bob) = duo.ended().await;
    assert_eq!(alice, State::Failed(TransferFailure::Peer(FailureReason::NotWritable)));
    assert!(matches!(bob, State::Failed(TransferFailure::Here(CarrierFault::NotWritable { .. }))), "{bob:?}");
    assert!(duo.close().await.is_empty());
}

#[tokio::test]
async fn several_files_go_at_once_through_one_port() {
    let mut duo = Duo::new();
    let mut contents = Vec::new();
    for n in 0..4 {
        let path = duo.home.path().join(format!("{n}.bin"));
        contents.push(content(600_000 + n));
        fs::write(&path, &contents[n]).unwrap();
        let (source, open) = super::open_source(&path).unwrap();
        let transfer = duo.alice.transfers.offer(duo::BOB, source, duo.now());
        duo.alice.driver.attach(transfer, open);
    }
    duo.until(|duo| duo.bob.updates.len() == 4).await;
    let offered: Vec<_> = duo.bob.updates.iter().map(|update| update.transfer).collect();
    for transfer in offered {
        duo.bob.transfers.accept(transfer, duo.now()).unwrap();
    }
    let done = |party: &duo::Party| party.updates.iter().filter(|update| update.state.is_end()).count() == 4;
    duo.until(|duo| done(&duo.alice) && done(&duo.bob)).await;
    for party in [&duo.alice, &duo.bob] {
        for end in party.updates.iter().filter(|update| update.state.is_end()) {
            assert!(matches!(end.state, State::Done { .. }), "{end:?}");
        }
    }
    for (n, content) in contents.iter().enumerate() {
        assert!(fs::read(duo.downloads().join(format!("{n}.bin"))).unwrap() == *content);
    }
}
