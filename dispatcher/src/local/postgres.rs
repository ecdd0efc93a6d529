//! Postgres from the system's own binaries, in a folder of the local fleet.
//!
//! It listens on the loopback interface alone, at a port of its own choice, and asks for a password that only the owner
//! of the folder can read. It ends with the dispatcher, however that ends.
//!
//! Below `dir/postgres`: `data` (the cluster), `password`, `lock` (held while a server runs), `log` and `log.old`.

mod account;
mod cluster;
mod leftovers;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use account::Account;

/// How long a start may take: after a crash the log is replayed first, and a start that is cut short begins again.
const START: Duration = Duration::from_secs(300);
/// From then on a start says why it takes long.
const SLOW: Duration = Duration::from_secs(5);
/// How long an orderly end may take before it is cut short.
const STOP: Duration = Duration::from_secs(10);
/// Ports that are tried: between the choice and the start, another program may take one.
const PORTS: u32 = 3;
/// Superuser of the cluster.
const SUPERUSER: &str = "touchline";

/// Why the database could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No binaries.
    #[error("PostgreSQL is not installed (no `initdb` found): install it, on Debian with `apt-get install postgresql`")]
    Missing,
    /// The folder's cluster is of a version whose binaries are not there.
    #[error(
        "{} was made by PostgreSQL {version}, which is not installed: install it, on Debian with \
         `apt-get install postgresql-{version}`",
        data.display()
    )]
    Version {
        /// Folder of the cluster.
        data: PathBuf,
        /// Major version.
        version: String,
    },
    /// A server of another dispatcher runs there.
    #[error("{}: a database is in use here already", .0.display())]
    InUse(PathBuf),
    /// Another program listens at the port.
    #[error("port {0} of 127.0.0.1 is taken")]
    PortTaken(u16),
    /// Root's folder cannot be entered by the account that runs the server.
    #[error(
        "the database cannot run as root, and the account it runs as cannot enter {} ({output}): choose a folder that \
         others can enter, such as /var/lib/touchline, or run as an ordinary user",
        folder.display()
    )]
    Closed {
        /// Folder.
        folder: PathBuf,
        /// What was said.
        output: String,
    },
    /// A file or process of it.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("no space is left for the database in {}: free some, or choose another folder with --dir", .0.display())]
    Full(PathBuf),
    /// A program ended badly.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which.
        program: &'static str,
        /// The end of what it said.
        output: String,
    },
}

impl PostgresError {
    /// Why a program of Postgres ended that writes to `data`, from what it said.
    fn failed(program: &'static str, output: String, data: &Path) -> Self {
        if output.contains("No space left on device") {
            Self::Full(data.to_owned())
        } else {
            Self::Failed { program, output }
        }
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Io { what, source }
}

/// A running server.
#[derive(Debug)]
pub struct LocalPostgres {
    child: Child,
    port: u16,
    password: String,
    lock: Option<File>,
}

impl LocalPostgres {
    /// Starts the server of `dir/postgres`, making it when there is none. Blocks: 1 to 5 s the first time, 0.1 s later.
    ///
    /// Call it from a thread that lives as long as the server should: the kernel ends the server with the thread.
    ///
    /// # Errors
    /// [`PostgresError`]; [`PostgresError::InUse`] while a server that was started there runs.
    pub fn start(dir: &Path) -> Result<Self, PostgresError> {
        for _ in 1..PORTS {
            match Self::start_at(dir, free_port()?) {
                Err(PostgresError::PortTaken(port)) => tracing::debug!(port, "taken meanwhile; choosing another"),
                outcome => return outcome,
            }
        }
        Self::start_at(dir, free_port()?)
    }

    /// As [`start`](Self::start), at a port of the caller's: where clients look for a server that ended.
    ///
    /// # Errors
    /// As [`start`](Self::start), and [`PostgresError::PortTaken`].
    pub fn start_at(dir: &Path, port: u16) -> Result<Self, PostgresError> {
        let home = dir.join("postgres");
        let failed = || io_error(format!("{} cannot be made", home.display()));
        fs::create_dir_all(&home).map_err(failed())?;
        // The server runs in another folder than we do.
        let home = fs::canonicalize(&home).map_err(failed())?;
        let data = home.join("data");
        let lock = lock(&home)?;
        let account = Account::find(&home)?;
        account.check_entry(&home)?;
        let name = cluster::name(&home)?;
        leftovers::end(&name, &data)?;
        let bin = cluster::binaries(&data)?;
        let password = cluster::password(&home)?;
        if !cluster::exists(&data)? {
            cluster::initialise(&bin, &home, &account, &password)?;
        }
        // What a server that was killed left must not look like this one; none is left that it could protect.
        match fs::remove_file(data.join("postmaster.pid")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("postmaster.pid")(e)),
            _ => {}
        }
        let log = home.join("log");
        let log_file = fresh_log(&log)?;
        let errors = log_file.try_clone().map_err(io_error("log file"))?;
        let mut command = account.command(&bin.join("postgres"), Some("INT"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
        for setting in [
            // Socket paths are limited to 107 bytes, and the folder may lie deep.
            "unix_socket_directories=",
            "shared_buffers=64MB",
            "max_connections=100",
            "log_min_messages=warning",
            "password_encryption=scram-sha-256",
            // In the title of each process, by which leftovers are found.
            &format!("cluster_name={name}"),
        ] {
            command.args(["-c", setting]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(errors)
            .spawn()
            .map_err(io_error("postgres cannot be started; `setpriv` of util-linux is needed too"))?;
        let mut server = Self { child, port, password, lock: Some(lock) };
        match server.wait_until_ready(&data, &log) {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop()?;
                Err(error)
            }
        }
    }

    fn wait_until_ready(&mut self, data: &Path, log: &Path) -> Result<(), PostgresError> {
        let begun = Instant::now();
        let mut is_slow = false;
        let pid = self.child.id().to_string();
        loop {
            // Line 1 is the process, line 8 its state (src/include/utils/pidfile.h of Postgres).
            let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(io_error("postgres"))?.is_some();
            if ended || begun.elapsed() > START {
                let output = tail(log);
                let is_taken = ended && output.contains("could not bind");
                return Err(if is_taken {
                    PostgresError::PortTaken(self.port)
                } else {
                    PostgresError::failed("postgres", output, data)
                });
            }
            if !is_slow && begun.elapsed() > SLOW {
                is_slow = true;
                tracing::info!("the database recovers from a crash; this can take minutes");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Address for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// Address for another login with the same password.
    #[must_use]
    pub fn url_as(&self, login: &str, database: &str) -> String {
        format!("postgres://{login}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The password of all logins.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Port on the loopback interface.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs. Once it does not, it can be started again.
    pub fn is_running(&mut self) -> bool {
        let running = matches!(self.child.try_wait(), Ok(None));
        if !running {
            self.unlock();
        }
        running
    }

    /// Ends the server in order: what is committed is on disk. After 10 s it is cut short; the next start recovers.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(mut self) -> Result<(), PostgresError> {
        for name in ["INT", "QUIT"] {
            let until = Instant::now() + STOP;
            let mut is_sent = false;
            while Instant::now() < until {
                if self.child.try_wait().map_err(io_error("postgres"))?.is_some() {
                    self.unlock();
                    return Ok(());
                }
                if !is_sent {
                    signal(&[self.child.id()], name);
                    is_sent = true;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            tracing::warn!(signal = name, "the database does not end");
        }
        self.child.kill().map_err(io_error("postgres"))?;
        self.child.wait().map_err(io_error("postgres"))?;
        self.unlock();
        Ok(())
    }

    /// Lets go of the folder at once: a process that is just being started may hold a copy of the file.
    fn unlock(&mut self) {
        if let Some(lock) = self.lock.take()
            && let Err(error) = lock.unlock()
        {
            tracing::debug!(%error, "the database's lock");
        }
    }
}

/// Holds the folder for one server.
fn lock(home: &Path) -> Result<File, PostgresError> {
    let path = home.join("lock");
    let failed = || io_error(format!("{} cannot be locked", path.display()));
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(PostgresError::InUse(home.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed()(e)),
    }
}

/// A new log; that of the run before is kept, as it may say why it ended. Two runs bound the size.
fn fresh_log(log: &Path) -> Result<File, PostgresError> {
    let failed = || io_error(format!("{} cannot be written", log.display()));
    match fs::rename(log, log.with_extension("old")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed()(e)),
        _ => {}
    }
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(log).map_err(failed())
}

/// Sends a signal. The shell's own `kill` is everywhere; the program is not.
fn signal(pids: &[u32], name: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$0\" \"$@\"", name]).args(pids.iter().map(u32::to_string));
    // That one of them is gone already is no failure.
    if let Err(error) = command.stdin(Stdio::null()).stderr(Stdio::null()).status() {
        tracing::warn!(%error, "`sh` cannot be started");
    }
}

fn free_port() -> Result<u16, PostgresError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(io_error("no free port"))?;
    Ok(listener.local_addr().map_err(io_error("no free port"))?.port())
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("; ")
}
