//! Real services for stories: Postgres and `LocalStack`, started by whoever needs them, ended with the process that did.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a service may take to answer, on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A port that nobody uses.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

/// A command that the kernel ends with the thread that started it.
#[must_use]
pub fn tied(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A folder that is removed when it is dropped, or when this process ends, in whatever way: what processes share is
/// never dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Removes it as soon as nobody holds the other end of its standard input.
    sweeper: Child,
}

impl Folder {
    pub(crate) fn new(prefix: &str) -> Self {
        let path = tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary folder").keep();
        // A service that is being killed may still write.
        let sweep = "read -r _; for _ in 1 2 3 4 5; do rm -rf -- \"$1\" && exit; sleep 1; done";
        let sweeper = Command::new("sh")
            .args(["-c", sweep, "sh"])
            .arg(&path)
            // Out of reach of what ends the group of this process.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self { path, sweeper }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Waiting closes its input.
        if !self.sweeper.wait().is_ok_and(|s| s.success()) {
            println!("{} was not removed", self.path.display());
        }
    }
}

/// Fails with its log when a service ended that should run.
pub(crate) fn assert_runs(what: &str, child: &mut Child, log: &Path) {
    if let Ok(Some(status)) = child.try_wait() {
        panic!("{what}: {status}; its log:\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }
}

/// Runs `work` in a thread that never ends, so that what it starts lives as long as this process.
pub(crate) fn for_ever<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if sender.send(work()).is_ok() {
            loop {
                std::thread::park();
            }
        }
    });
    receiver.recv().expect("the service starts")
}

/// Waits until `ready` says so.
///
/// # Panics
/// It does not within two minutes.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + START;
    while !ready() {
        assert!(Instant::now() < until, "{what}: not within {} s", START.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A Postgres server with nothing in it; its data is gone when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    dir: Folder,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// The server of this process: databases of its own keep stories apart.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| for_ever(Self::start))
    }

    /// Starts a server.
    ///
    /// # Panics
    /// Its programs are missing (`./run test` installs them), or it does not start.
    #[must_use]
    pub fn start() -> Self {
        let dir = Folder::new("touchline-pg");
        if is_root() {
            let owned = Command::new("chown").arg("postgres:").arg(dir.path()).status().expect("chown");
            assert!(owned.success(), "the account `postgres` is missing: `./run test` installs it");
        }
        let data = dir.path().join("data");
        let output = as_postgres(&binary("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .stdin(Stdio::null())
            .output()
            .expect("initdb starts");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let mut server = Self { dir, port: free_port(), child: None };
        server.resume();
        server
    }

    /// Starts the server again after [`stop`](Self::stop), at the same port.
    ///
    /// # Panics
    /// It does not start.
    pub fn resume(&mut self) {
        let log_file = self.dir.path().join("log");
        let log = std::fs::File::create(&log_file).expect("a log");
        let child = as_postgres(&binary("postgres"))
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""])
            // What is committed must outlive a crash of the server; one of the machine does not happen here.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let child = self.child.insert(child);
        let pid_file = self.dir.path().join("data/postmaster.pid");
        wait_for("postgres", || {
            assert_runs("postgres", child, &log_file);
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            text.lines().nth(7).is_some_and(|state| state.trim() == "ready")
        });
    }

    /// Ends the server at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "QUIT");
            let ended = child.wait();
            println!("postgres ended: {ended:?}");
        }
    }

    /// Address of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database; gives its address.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn create_database(&self) -> String {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("story_{}_{number}", std::process::id());
        let output = Command::new(binary("psql"))
            .args(["-qX", &self.url("postgres"), "-c", &format!("create database {name}")])
            .output()
            .expect("psql starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.url(&name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// A program of Postgres, which refuses root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT", "--"]).arg(program).current_dir("/");
    command
}

fn binary(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|v| v.path().join("bin")));
    folders
        .into_iter()
        .map(|f| f.join(name))
        .find(|p| p.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: `apt-get install postgresql`, as `./run test` does"))
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    // The shell's own: the program is of a package that not every machine has.
    let kill = ["-c", "kill -\"$1\" \"$2\"", "sh", name, &pid.to_string()];
    let status = Command::new("sh").args(kill).stderr(Stdio::null()).status();
    if !status.is_ok_and(|s| s.success()) {
        println!("process {pid} was gone already");
    }
}

/// SQS and S3 on this machine.
#[derive(Debug)]
pub struct LocalStack {
    child: Child,
    port: u16,
    // Dropped when nothing writes there any more.
    _dir: Folder,
}

impl LocalStack {
    /// The one of this process. Queues and buckets get names of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<LocalStack> = OnceLock::new();
        SHARED.get_or_init(|| for_ever(Self::start))
    }

    /// Installs it on first use, starts it, and waits until it answers.
    ///
    /// # Panics
    /// It cannot be installed or does not answer.
    #[must_use]
    pub fn start() -> Self {
        let venv = installed("localstack");
        let dir = Folder::new("touchline-ls");
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let log_file = dir.path().join("log");
        let log = std::fs::File::create(&log_file).expect("a log");
        let child = tied(venv.join("bin/python"))
            .args(["-m", "localstack.runtime.main"])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", venv.join("bin").display()))
            .env("HOME", dir.path())
            .env("LANG", "C.UTF-8")
            .env("FILESYSTEM_ROOT", dir.path().join("fs"))
            .env("GATEWAY_LISTEN", &address)
            .env("LOCALSTACK_HOST", &address)
            // The usual server listens on all interfaces whatever it is told.
            .env("GATEWAY_SERVER", "hypercorn")
            .env("SQS_ENDPOINT_STRATEGY", "path")
            .env("S3_SKIP_SIGNATURE_VALIDATION", "0")
            .env("SERVICES", "sqs,s3")
            .env("DISABLE_EVENTS", "1")
            .env("SKIP_SSL_CERT_DOWNLOAD", "1")
            .env("DNS_ADDRESS", "0")
            .env("OVERRIDE_IN_DOCKER", "0")
            .env("LS_LOG", "warning")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("setpriv of util-linux starts");
        let mut stack = Self { child, port, _dir: dir };
        // The first call of each service loads it, which takes longer than clients wait on a busy machine.
        for path in ["/_localstack/health", "/?Action=ListQueues", "/warm-up?list-type=2"] {
            wait_for("LocalStack", || {
                assert_runs("LocalStack", &mut stack.child, &log_file);
                // No such bucket.
                http_get(port, path).is_some_and(|answer| answer.contains(" 200 ") || answer.contains(" 404 "))
            });
        }
        stack
    }

    /// Address of all its services.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Port on the loopback interface.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        // It often hangs when asked to end; its state is worth nothing.
        signal(self.child.id(), "KILL");
        let ended = self.child.wait();
        println!("LocalStack ended: {ended:?}");
    }
}

/// The status line of the answer to a GET.
fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).ok()?;
    String::from_utf8_lossy(&answer[..read]).lines().next().map(str::to_owned)
}

/// A Python environment with what `tests/NAME/requirements.txt` lists, below the target folder; made on first use.
///
/// # Panics
/// It cannot be made.
#[must_use]
pub fn installed(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target");
    let venv = target.join(format!("venv-{name}"));
    let requirements = root.join("tests").join(name).join("requirements.txt");
    // Two test programs may come here at the same time.
    let lock =
        std::fs::File::create(target.join(format!("venv-{name}.lock"))).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    let wanted = std::fs::read_to_string(&requirements).expect("the list of packages is in the repository");
    let stamp = venv.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return venv;
    }
    println!("installing {name} into {}", venv.display());
    let run = |what: &str, command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("{what}: {e}; `./run test` installs what is missing"));
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let suits = |python: &&&str| {
        let check = ["-c", "import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))"];
        Command::new(python).args(check).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let python = ["/usr/bin/python3.11", "/usr/bin/python3", "python3.11"].iter().find(suits);
    let python =
        python.expect("Python 3.11 with venv, which the list of packages is for; Debian 12 has it as python3-venv");
    run("python3 -m venv", Command::new(python).args(["-m", "venv"]).arg(&venv));
    let pip = venv.join("bin/pip");
    run("pip install", Command::new(pip).args(["install", "-q", "--no-deps", "-r"]).arg(&requirements));
    std::fs::write(&stamp, wanted).expect("the target folder can be written");
    venv
}
