//! OpenSSH as a reference: a server on loopback with keys of its own, and one connection that every
//! run goes through, so that only the copy is measured.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::figures::file::text;

const SERVER: &str = "/usr/sbin/sshd";
/// Where a server that root starts wants to find an empty directory.
const EMPTY: &str = "/run/sshd";
const CIPHER: &str = "aes128-gcm@openssh.com";
const HOST: &str = "127.0.0.1";
/// How often a connection is tried while the server starts, and how long after one another.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A server, and a connection to it.
pub struct Ssh {
    server: Child,
    home: TempDir,
    port: u16,
}

impl Ssh {
    /// What is missing for it, if anything is.
    pub fn missing() -> Option<&'static str> {
        let client = Command::new("ssh").arg("-V").stderr(Stdio::null()).status().is_ok();
        let server = Path::new(SERVER).exists();
        match (client, server) {
            (true, true) => None,
            (true, false) => Some("ssh is here without its server, sshd"),
            (false, _) => Some("ssh is not installed"),
        }
    }

    /// Starts the server and connects.
    pub fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let path = |name: &str| home.path().join(name);
        for name in ["host", "user"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(name)))?;
        }
        fs::copy(path("user.pub"), path("allowed"))?;
        // Only root's server wants it, and only root can make it.
        let _made = fs::create_dir_all(EMPTY);
        // The system's choice; nobody else is expected to take it before the server does.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Command::new(SERVER);
        server.args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string(), "-h"]).arg(path("host"));
        let allowed = format!("AuthorizedKeysFile={}", text(&path("allowed")));
        let listen = format!("ListenAddress={HOST}");
        let sftp = "Subsystem=sftp internal-sftp";
        for option in [&listen, &allowed, sftp, "StrictModes=no", "UsePAM=no", "PidFile=none"] {
            server.args(["-o", option]);
        }
        let server = server.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let ssh = Self { server, home, port };
        ssh.connect()?;
        Ok(ssh)
    }

    /// Copies with `scp`; nanoseconds.
    pub fn scp(&self, from: &Path, to: &Path) -> Result<f64> {
        timed(self.command("scp").arg(from).arg(format!("{HOST}:{}", text(to))))
    }

    /// Pipes into `cat` at the other end; nanoseconds.
    pub fn cat(&self, from: &Path, to: &Path) -> Result<f64> {
        timed(self.command("ssh").args([HOST, &format!("cat > '{}'", text(to))]).stdin(File::open(from)?))
    }

    fn connect(&self) -> Result {
        let mut tries = 0;
        loop {
            let up = run(self.command("ssh").args(["-M", "-N", "-f", HOST]).stdin(Stdio::null()));
            tries += 1;
            if up.is_ok() || tries == TRIES {
                return up;
            }
            sleep(PAUSE);
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let port = format!("Port={}", self.port);
        let path = |name: &str| -> PathBuf { self.home.path().join(name) };
        let key = format!("IdentityFile={}", text(&path("user")));
        let control = format!("ControlPath={}", text(&path("control")));
        command.args(["-F", "/dev/null", "-q", "-c", CIPHER]);
        for option in [
            &port,
            &key,
            &control,
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            command.args(["-o", option]);
        }
        command
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _gone_already = run(self.command("ssh").args(["-O", "exit", HOST]).stderr(Stdio::null()));
        let _gone_already = self.server.kill();
        let _gone_already = self.server.wait();
    }
}

fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    run(command)?;
    Ok(start.elapsed().as_nanos() as f64)
}

fn run(command: &mut Command) -> Result {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", command.get_program().to_string_lossy()).into())
    }
}
