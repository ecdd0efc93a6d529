//! `dispatcher local` as stories start it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::program;
use crate::services::{free_port, signal, tied};

/// A running fleet; killed when dropped.
#[derive(Debug)]
pub struct Local {
    /// The dispatcher.
    pub child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Local {
    /// Starts the fleet in `dir/fleet` with a quick heartbeat, and waits until it answers.
    ///
    /// # Panics
    /// It does not start within a minute.
    #[must_use]
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        Self::start_with_faults(dir, more, "")
    }

    /// As [`start`](Self::start), with rules for fault points of its processes.
    ///
    /// # Panics
    /// It does not start within a minute.
    #[must_use]
    pub fn start_with_faults(dir: &Path, more: &[&str], faults: &str) -> Self {
        let port = free_port();
        let log = std::fs::File::options().create(true).append(true).open(dir.join("local.log")).expect("a log");
        let child = tied(program("dispatcher"))
            .args(["local", "--dir"])
            .arg(dir.join("fleet"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--heartbeat", "0.5"])
            .args(more)
            .env("TOUCHLINE_FAULTS", faults)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the dispatcher starts");
        let local = Self { child, port };
        let until = Instant::now() + Duration::from_secs(60);
        while !run(dir, &["jobs"]).0 {
            assert!(Instant::now() < until, "{}", log_of(dir));
            std::thread::sleep(Duration::from_millis(50));
        }
        local
    }

    /// A client with the key of the fleet's owner; `dir` as it was started with.
    ///
    /// # Panics
    /// The fleet has written no key.
    #[must_use]
    pub fn owner(&self, dir: &Path) -> Client {
        let key = std::fs::read_to_string(dir.join("fleet/key")).expect("the key of the owner");
        Client::new(&format!("http://127.0.0.1:{}", self.port), &key)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        signal(self.child.id(), "KILL");
        let ended = self.child.wait();
        drop(ended);
    }
}

/// What the dispatcher has logged.
#[must_use]
pub fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("local.log")).unwrap_or_default()
}

/// Runs a command against the fleet: whether it succeeded, and what it printed.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn run(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program("dispatcher"))
        .args(arguments)
        .arg("--dir")
        .arg(dir.join("fleet"))
        .stdin(Stdio::null())
        .output()
        .expect("the dispatcher starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}
