//! The program itself: its lines, its errors, its exit codes, its signals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[allow(dead_code, reason = "each test crate uses a part of it")]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use p2pchat_proto::BrokerKey;
use p2pchat_proto::broker::*;
use rustix::process::{Pid, Signal, kill_process};
use support::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pchat-broker");

/// The program, running; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    addr: SocketAddr,
    key: BrokerKey,
}

impl Running {
    fn start(dir: &Path) -> Self {
        Self::of(Command::new(PROGRAM).args(run(dir)))
    }

    fn of(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let addr = line().strip_prefix("listening on ").unwrap().parse().unwrap();
        let key = line().strip_prefix("key ").unwrap().parse().unwrap();
        assert!(line().starts_with(&format!("p2pchat --broker {addr}#{key} ")));
        Self { child, out, addr, key }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, once it has ended; nothing more may be on stdout.
    fn ended(&mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        code
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(dir: &Path) -> [&str; 5] {
    ["run", "--listen", "127.0.0.1:0", "--data", dir.to_str().unwrap()]
}

fn output(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs the program, which has to end with 1, nothing on stdout and one line on stderr.
fn failure(args: &[&str]) -> String {
    let output = output(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(output.stdout, b"");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("p2pchat-broker: "), "{error}");
    error
}

#[tokio::test]
async fn both_signals_drain_and_end_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Running::start(dir.path());
        let mut alice = Client::login(broker.addr, identity(1)).await;
        assert_eq!(alice.link.key, broker.key);
        alice.register("alice").await;
        broker.signal(signal);
        assert!(matches!(alice.heard().await, FromBroker::Restarting(_)));
        alice.hung_up().await;
        drop(alice);
        assert_eq!(broker.ended(), Some(0));
    }
}

#[tokio::test]
async fn names_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=5u8 {
        let mut broker = Running::start(dir.path());
        let mut client = Client::login(broker.addr, identity(n)).await;
        for earlier in 1..n {
            assert_eq!(client.call(register(&format!("user-{earlier}"))).await, Outcome::NameTaken);
        }
        client.register(&format!("user-{n}")).await;
        broker.signal(Signal::KILL);
        assert_eq!(broker.ended(), None);
    }
}

#[test]
fn a_port_that_is_taken_is_one_line_and_1() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(taken).unwrap();
    let data = dir.path().join("data");
    let error = failure(&["run", "--listen", &taken.to_string(), "--data", data.to_str().unwrap()]);
    assert!(error.contains(&taken.port().to_string()) && error.contains("--listen"), "{error}");
    assert!(!data.exists(), "nothing was made");
    drop(listener);
}

#[test]
fn a_second_broker_with_the_same_data_is_one_line_and_1() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Running::start(dir.path());
    let error = failure(&run(dir.path()));
    assert!(error.contains("already runs"), "{error}");
    let data = dir.path().to_str().unwrap();
    assert!(failure(&["accounts", "list", "--data", data]).contains("already runs"));
    // The key may be asked for at any time.
    let key = output(&["key", "--data", data]);
    assert_eq!(String::from_utf8(key.stdout).unwrap(), format!("{}\n", broker.key));
}

#[test]
fn a_directory_that_cannot_be_written_is_one_line_and_1() {
    let error = failure(&run(Path::new("/dev/null/data")));
    assert!(error.contains("/dev/null/data") && error.contains("--data"), "{error}");
    let error = failure(&["key", "--key", "/dev/null/broker.key"]);
    assert!(error.contains("--key"), "{error}");
}

#[test]
fn damaged_accounts_are_one_line_and_1_and_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Running::start(dir.path());
    broker.signal(Signal::TERM);
    assert_eq!(broker.ended(), Some(0));
    let file = dir.path().join("accounts.redb");
    let mut bytes = fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(64).step_by(97) {
        *byte ^= 0x55;
    }
    fs::write(&file, &bytes).unwrap();
    let error = failure(&run(dir.path()));
    assert!(error.contains("accounts.redb") && error.contains("damaged"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_key_that_others_can_read_is_one_line_with_the_remedy_and_1() {
    let dir = tempfile::tempdir().unwrap();
    let key = output(&["key", "--data", dir.path().to_str().unwrap()]);
    assert_eq!((key.status.code(), key.stdout.len()), (Some(0), 53));
    let file = dir.path().join("broker.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = failure(&run(dir.path()));
    assert!(error.contains(&format!("chmod 600 {}", file.display())), "{error}");
}

#[test]
fn wrong_usage_is_one_line_and_2() {
    for args in [&["run", "--listen", "nowhere"][..], &["run", "--max-connections", "0"], &["dance"]] {
        let output = output(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{args:?}: {error}");
        assert!(error.starts_with("p2pchat-broker: ") && error.ends_with("; see --help\n"), "{error}");
    }
    let nothing = output(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("\nUsage: p2pchat-broker <COMMAND>"));
}

#[tokio::test]
async fn accounts_are_listed_and_removed_while_the_broker_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Running::start(dir.path());
    let (mut alice, mut bob) =
        (Client::login(broker.addr, identity(1)).await, Client::login(broker.addr, identity(2)).await);
    alice.register("alice").await;
    bob.register("bob").await;
    assert_eq!(bob.call(Unregister).await, Outcome::Done);
    let (alice, bob) = (alice.peer, bob.peer);
    broker.signal(Signal::TERM);
    assert_eq!(broker.ended(), Some(0));
    let data = dir.path().to_str().unwrap();
    let list = || String::from_utf8(output(&["accounts", "list", "--data", data]).stdout).unwrap();
    assert_eq!(list(), format!("alice\t{alice}\theld\nbob\t{bob}\treserved\n"));
    assert_eq!(output(&["accounts", "remove", "alice", "--data", data]).status.code(), Some(0));
    assert_eq!(list(), format!("bob\t{bob}\treserved\n"));
    assert!(failure(&["accounts", "remove", "alice", "--data", data]).contains("alice"));
    let broker = Running::start(dir.path());
    Client::login(broker.addr, identity(3)).await.register("alice").await;
}

#[test]
fn q_and_enter_on_a_terminal_stop_it() {
    use portable_pty::{CommandBuilder, PtySize, native_pty_system};
    let dir = tempfile::tempdir().unwrap();
    let pty = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new(PROGRAM);
    command.args(run(dir.path()));
    let mut child = pty.slave.spawn_command(command).unwrap();
    let (mut lines, mut keys) =
        (BufReader::new(pty.master.try_clone_reader().unwrap()).lines(), pty.master.take_writer().unwrap());
    assert!(lines.by_ref().any(|line| line.unwrap().contains("q and Enter")));
    keys.write_all(b"hello\nq\n").unwrap();
    assert_eq!(child.wait().unwrap().exit_code(), 0);
}

#[tokio::test]
async fn without_room_for_another_file_it_serves_whom_it_has_and_does_not_spin() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let script = format!("ulimit -n 48 && exec {PROGRAM} run --listen 127.0.0.1:0 --data {data}");
    let broker = Running::of(Command::new("sh").args(["-c", &script]));
    let mut alice = Client::login(broker.addr, identity(1)).await;
    let many: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(broker.addr).unwrap()).collect();
    let before = processor_time(&broker.child);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        alice.say(Ping).await;
        assert!(matches!(alice.next().await, (_, FromBroker::Pong(_))));
    }
    let spent = processor_time(&broker.child) - before;
    assert!(spent < Duration::from_millis(500), "{spent:?} of processor time in 2 s");
    drop(many);
    Client::login(broker.addr, identity(2)).await.register("bob").await;
}

/// Time that the process has spent, from `/proc/PID/stat` (proc(5): utime and stime, in ticks of 10 ms).
fn processor_time(child: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Memory that the process has in RAM, in bytes, from `/proc/PID/status` (proc(5): VmRSS, in kB).
fn resident(child: &Child) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// What one idle client may take, in bytes.
const IDLE_CLIENT_MAX: usize = 8 * 1024;

#[tokio::test]
async fn a_thousand_idle_clients_take_little_memory_each() {
    const CLIENTS: u32 = 1_000;
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let broker = Running::start(dir.path());
    let login = |n: u32| {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        let me = p2pchat_crypto::Identity::from_seed(&p2pchat_crypto::Seed::from_bytes(seed));
        Client::login(broker.addr, me)
    };
    let warm = login(0).await;
    let before = resident(&broker.child);
    let mut clients = Vec::new();
    for n in 1..=CLIENTS {
        let mut client = login(n).await;
        client.register(&format!("user-{n}")).await;
        clients.push(client);
    }
    let each = (resident(&broker.child) - before) / CLIENTS as usize;
    assert!(each <= IDLE_CLIENT_MAX, "{each} bytes for each idle client");
    drop((warm, clients));
}
