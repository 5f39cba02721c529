//! Two homes and the router between them, each a network namespace of the kernel (`namespaces(7)`), so
//! that real programs can get other addresses.
//!
//! A namespace lives as long as the process that holds it, which ends with the input from its owner: so
//! nothing is left behind, however this process ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Failure;

/// How many there are.
pub const HOMES: usize = 2;

/// The interface of a home, and its end of the cable.
const CABLE: &str = "net";

/// Where programs see these interfaces and addresses and no others.
#[derive(Debug)]
struct Namespace {
    holder: Child,
    link: File,
}

impl Namespace {
    fn new() -> Result<Self, Failure> {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(impossible)?;
        match greet(&mut holder).and_then(|()| File::open(format!("/proc/{}/ns/net", holder.id()))) {
            Ok(link) => Ok(Self { holder, link }),
            Err(error) => {
                end(&mut holder);
                Err(impossible(error))
            }
        }
    }

    /// Runs `task`, and every program that it starts, inside.
    fn within<T: Send>(&self, task: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        let inside = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.link.as_fd(), kind).map_err(|errno| impossible(errno.into()))?;
            task()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `ip` with these words.
    fn ip(&self, words: &str) -> Result<(), Failure> {
        self.within(|| {
            let output = Command::new("ip").args(words.split(' ')).output().map_err(impossible)?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(impossible(io::Error::other(format!("ip {words}: {said}"))))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}

/// One line to the holder and back: from then on it is where it has to be.
fn greet(holder: &mut Child) -> io::Result<()> {
    let (Some(stdin), Some(stdout)) = (&mut holder.stdin, &mut holder.stdout) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    if stdin.write_all(b"\n").and_then(|()| stdout.read_exact(&mut [0])).is_ok() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = &mut holder.stderr {
        stderr.read_to_string(&mut said)?;
    }
    Err(io::Error::other(said.trim().to_owned()))
}

fn end(holder: &mut Child) {
    // One that has ended meanwhile is only waited for.
    let _ = holder.kill();
    let _ = holder.wait();
}

fn impossible(error: io::Error) -> Failure {
    let what =
        "network namespaces cannot be made here (Linux, root, and the programs unshare and ip are needed)";
    Failure::System { what: what.to_owned(), error }
}

/// See the module.
#[derive(Debug)]
pub struct Homes {
    router: Namespace,
    homes: [Namespace; HOMES],
}

impl Homes {
    /// Two homes, at the first address of each.
    ///
    /// # Errors
    /// If the system does not let this process make them.
    pub fn new() -> Result<Self, Failure> {
        let router = Namespace::new()?;
        let homes = [Namespace::new()?, Namespace::new()?];
        router.ip("link set lo up")?;
        // Below /proc/sys/net everybody sees the namespace that they are in.
        router.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(impossible))?;
        let made = Self { router, homes };
        for (at, home) in made.homes.iter().enumerate() {
            let (router, holder) = (&made.router, home.holder.id());
            router.ip(&format!("link add home{at} type veth peer name {CABLE} netns {holder}"))?;
            router.ip(&format!("addr add {}/24 dev home{at}", gateway(at)))?;
            router.ip(&format!("link set home{at} up"))?;
            home.ip("link set lo up")?;
            home.ip(&format!("link set {CABLE} up"))?;
            made.give(at, FIRST)?;
        }
        Ok(made)
    }

    /// Where whatever the router runs is reached from both homes.
    pub const fn router_ip(&self) -> [u8; 4] {
        [10, 0, 0, 1]
    }

    /// Runs `task`, and every program that it starts, at the router.
    ///
    /// # Errors
    /// Those of `task`, and if the system does not let this process in.
    pub fn at_router<T: Send>(&self, task: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        self.router.within(task)
    }

    /// The same at a home.
    ///
    /// # Errors
    /// The same.
    pub fn at_home<T: Send>(
        &self,
        home: usize,
        task: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        self.homes[home].within(task)
    }

    /// A home gets another address, `host` of its network, and has the one of before no more.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn rehome(&self, home: usize, host: u8) -> Result<(), Failure> {
        self.homes[home].ip(&format!("addr flush dev {CABLE}"))?;
        self.give(home, host)
    }

    fn give(&self, at: usize, host: u8) -> Result<(), Failure> {
        let home = &self.homes[at];
        home.ip(&format!("addr add 10.0.{at}.{host}/24 dev {CABLE}"))?;
        home.ip(&format!("route add default via {}", gateway(at)))
    }
}

/// The last byte of a home's first address.
pub const FIRST: u8 = 2;

fn gateway(home: usize) -> String {
    format!("10.0.{home}.1")
}
