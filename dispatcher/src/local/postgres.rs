//! Postgres from the system's own binaries, in a folder of the local fleet.
//!
//! It listens on the loopback interface alone, at a port of its own choice, and asks for a password that only the owner
//! of the folder can read. It ends with the dispatcher, however that ends.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take: after a crash the log is replayed first.
const START: Duration = Duration::from_secs(60);
/// How long an orderly end may take before it is cut short.
const STOP: Duration = Duration::from_secs(10);
/// Superuser of the cluster.
const SUPERUSER: &str = "touchline";

/// Why the database could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No binaries.
    #[error("PostgreSQL is not installed (no `initdb` found): install it, on Debian with `apt-get install postgresql`")]
    Missing,
    /// A file or process of it.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program ended badly.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which.
        program: &'static str,
        /// The end of what it said.
        output: String,
    },
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
}

impl LocalPostgres {
    /// Starts the server of `dir/postgres`, making it when there is none. The caller holds the folder's lock.
    ///
    /// Call it from a thread that lives as long as the server should: the kernel ends the server with the thread.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn start(dir: &Path) -> Result<Self, PostgresError> {
        Self::start_at(dir, free_port()?)
    }

    /// As [`start`](Self::start), at a port of the caller's: where clients look for a server that ended.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn start_at(dir: &Path, port: u16) -> Result<Self, PostgresError> {
        let bin = binaries().ok_or(PostgresError::Missing)?;
        let home = dir.join("postgres");
        let data = home.join("data");
        fs::create_dir_all(&home).map_err(io_error(format!("{} cannot be made", home.display())))?;
        let account = Account::find()?;
        account.own(&home)?;
        let password = password(&home)?;
        if !data.join("PG_VERSION").exists() {
            initialise(&bin, &home, &data, &account, &password)?;
        }
        end_orphan(&data)?;
        // What a server that was killed left must not look like this one.
        match fs::remove_file(data.join("postmaster.pid")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("postmaster.pid")(e)),
            _ => {}
        }
        let log = home.join("log");
        // One run's log is enough, and bounded by it.
        let log_file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&log)
            .map_err(io_error(format!("{} cannot be written", log.display())))?;
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
        ] {
            command.args(["-c", setting]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(errors)
            .spawn()
            .map_err(io_error("postgres cannot be started"))?;
        let mut server = Self { child, port, password };
        server.wait_until_ready(&data, &log)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, data: &Path, log: &Path) -> Result<(), PostgresError> {
        let until = Instant::now() + START;
        loop {
            // Line 1 is the process, line 8 its state (src/include/utils/pidfile.h of Postgres).
            let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if text.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(io_error("postgres"))?;
            if ended.is_some() || Instant::now() > until {
                return Err(PostgresError::Failed { program: "postgres", output: tail(log) });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Address for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
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

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the server in order: what is committed is on disk.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(mut self) -> Result<(), PostgresError> {
        signal(self.child.id(), "INT");
        let until = Instant::now() + STOP;
        while Instant::now() < until {
            if self.child.try_wait().map_err(io_error("postgres"))?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Ends at once; the next start replays the log.
        signal(self.child.id(), "QUIT");
        self.child.wait().map_err(io_error("postgres"))?;
        Ok(())
    }
}

/// The newest binaries there are.
fn binaries() -> Option<PathBuf> {
    let from_path = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file());
    from_path.or_else(|| {
        let roots = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/usr"];
        let mut found: Vec<(u32, PathBuf)> = roots
            .iter()
            .filter_map(|root| fs::read_dir(root).ok())
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let number = name.trim_start_matches("postgresql@").trim_start_matches("pgsql-");
                let version = number.parse().ok()?;
                let bin = entry.path().join("bin");
                bin.join("initdb").is_file().then_some((version, bin))
            })
            .collect();
        found.sort();
        found.pop().map(|(_, bin)| bin)
    })
}

/// Who runs the server: ourselves, or another account when we are root, which Postgres refuses.
struct Account {
    other: Option<(u32, u32)>,
}

impl Account {
    fn find() -> Result<Self, PostgresError> {
        let me = fs::metadata("/proc/self").map_err(io_error("/proc/self"))?.uid();
        if me != 0 {
            return Ok(Self { other: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(io_error("/etc/passwd"))?;
        let ids = |name: &str| {
            let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let other = ids("postgres").or_else(|| ids("nobody"));
        Ok(Self { other: Some(other.ok_or(PostgresError::Missing)?) })
    }

    /// Gives a folder to the account.
    fn own(&self, path: &Path) -> Result<(), PostgresError> {
        let failed = || io_error(format!("{} cannot be given to the database's account", path.display()));
        if let Some((uid, gid)) = self.other {
            chown(path, Some(uid), Some(gid)).map_err(failed())?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed())
    }

    /// A command under the account, ended with us by `signal`.
    fn command(&self, program: &Path, signal: Option<&str>) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((uid, gid)) = self.other {
            command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups"]);
            // The folder may lie below one that only root can enter, as the home of root is.
            command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
        }
        if let Some(signal) = signal {
            command.args(["--pdeathsig", signal]);
        }
        command.arg("--").arg(program).env_remove("PGDATA").env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }
}

/// Makes a cluster beside its place and renames it into it, so that a death in between leaves nothing that looks whole.
fn initialise(bin: &Path, home: &Path, data: &Path, account: &Account, password: &str) -> Result<(), PostgresError> {
    let part = home.join("data.part");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(io_error(format!("{} cannot be removed", part.display())))?;
    }
    let password_file = home.join("initial-password");
    write_secret(&password_file, password)?;
    if let Some((uid, gid)) = account.other {
        chown(&password_file, Some(uid), Some(gid)).map_err(io_error("password file"))?;
    }
    let output = account
        .command(&bin.join("initdb"), None)
        .arg("-D")
        .arg(&part)
        .args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--pwfile"])
        .arg(&password_file)
        .stdin(Stdio::null())
        .output()
        .map_err(io_error("initdb cannot be started; `setpriv` of util-linux is needed too"))?;
    fs::remove_file(&password_file).map_err(io_error("password file"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let signal = output.status.signal().map_or_else(String::new, |s| format!(" (signal {s})"));
        return Err(PostgresError::Failed { program: "initdb", output: format!("{}{signal}", said.trim()) });
    }
    fs::rename(&part, data).map_err(io_error(format!("{} cannot be renamed", part.display())))
}

/// The password of this cluster; made once.
fn password(home: &Path) -> Result<String, PostgresError> {
    let path = home.join("password");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned()),
        Ok(_) => Err(PostgresError::Failed { program: "the password file", output: "it is too short".to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut random = [0_u8; 24];
            let source = io_error("/dev/urandom");
            fs::File::open("/dev/urandom")
                .and_then(|mut f| io::Read::read_exact(&mut f, &mut random))
                .map_err(source)?;
            let text: String = random.iter().map(|b| format!("{b:02x}")).collect();
            write_secret(&path, &text)?;
            Ok(text)
        }
        Err(e) => Err(io_error(format!("{} cannot be read", path.display()))(e)),
    }
}

fn write_secret(path: &Path, text: &str) -> Result<(), PostgresError> {
    let write = || -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&part, path)
    };
    write().map_err(io_error(format!("{} cannot be written", path.display())))
}

/// A server of an earlier dispatcher that was killed ends with it; here its end is waited for, and hastened.
fn end_orphan(data: &Path) -> Result<(), PostgresError> {
    let pid_file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&pid_file) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|l| l.trim().parse::<u32>().ok()) else { return Ok(()) };
    let is_ours = || {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|c| String::from_utf8_lossy(&c).contains(&*data.to_string_lossy()))
    };
    if !is_ours() {
        return Ok(());
    }
    tracing::info!(pid, "a database of an earlier run is still there; ending it");
    for (name, patience) in [("INT", STOP), ("QUIT", STOP), ("KILL", STOP)] {
        signal(pid, name);
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if !is_ours() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Err(PostgresError::Failed { program: "postgres", output: format!("process {pid} of an earlier run does not end") })
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        tracing::warn!(%error, "kill cannot be started");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn query(server: &LocalPostgres, sql: &str) -> String {
        let output = Command::new("psql")
            .args(["-qAtX", &server.url("postgres"), "-c", sql])
            .output()
            .expect("psql is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn data_outlives_an_orderly_end_and_a_kill_below_a_folder_that_others_cannot_enter() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let server = LocalPostgres::start(dir.path()).unwrap();
        query(&server, "create table t (n int); insert into t values (1)");
        server.stop().unwrap();

        let server = LocalPostgres::start(dir.path()).unwrap();
        query(&server, "insert into t values (2)");
        signal(server.pid(), "KILL");
        let again = LocalPostgres::start(dir.path()).unwrap();
        assert_eq!(query(&again, "select sum(n) from t"), "3");
        again.stop().unwrap();
    }

    #[test]
    fn a_peer_without_the_password_does_not_get_in() {
        let dir = tempfile::tempdir().unwrap();
        let server = LocalPostgres::start(dir.path()).unwrap();
        let url = format!("postgres://{SUPERUSER}:wrong@127.0.0.1:{}/postgres", server.port);
        let output = Command::new("psql").args(["-qAtX", &url, "-c", "select 1"]).output().unwrap();
        assert!(!output.status.success());
        server.stop().unwrap();
    }
}
