//! A fleet of real processes: dispatchers and workers of this build, with their logs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleet::config::{ApiConfig, Config, DatabaseConfig, RegionConfig, Timing, WebhooksConfig};
use fleet::ladder::Ladder;
use fleet::state::JobState;
use fleet::store::Store;
use fleet::store::jobs::{JobRow, NewJob};
use tempfile::TempDir;
use uuid::Uuid;

use crate::aws::KEY;
use crate::program;
use crate::services::{signal, tied};

/// Times that let a story end soon. Leases still outlast a busy machine's hiccups.
pub const QUICK: Timing = Timing { heartbeat: 0.5, lease: 3.0, region: 5.0, resend: 5.0 };

/// A process of the fleet.
#[derive(Debug)]
pub struct Process {
    /// What it is, for messages.
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        self.signal("KILL");
        let ended = self.child.wait();
        println!("{} killed: {ended:?}", self.name);
    }

    /// Waits for its end; gives the exit code.
    ///
    /// # Panics
    /// It does not end within a minute.
    pub fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{} does not end; log:\n{}", self.name, self.log());
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("KILL");
        let ended = self.child.wait();
        drop(ended);
    }
}

/// A fleet.
#[derive(Debug)]
pub struct Fleet {
    /// Folder of configuration and logs.
    pub dir: TempDir,
    /// The configuration as written.
    pub config: Config,
    /// The truth.
    pub store: Store,
    /// Environment of the processes beside the usual.
    pub environment: Vec<(String, String)>,
    number: std::cell::Cell<u32>,
}

impl Fleet {
    /// A fleet on one machine without AWS: queue in the database, objects in a folder.
    ///
    /// # Panics
    /// The database cannot be prepared.
    pub async fn local(database: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let output = dir.path().join("media").display().to_string();
        let region = RegionConfig { name: "local".to_owned(), queue: "postgres".to_owned(), dead_letters: None };
        Self::with(dir, database, output, vec![region]).await
    }

    /// A fleet with these regions and this output.
    ///
    /// # Panics
    /// The database cannot be prepared.
    pub async fn with(dir: TempDir, database: &str, output: String, regions: Vec<RegionConfig>) -> Self {
        let config = Config {
            output,
            database: DatabaseConfig { url: Some(database.to_owned()), ..DatabaseConfig::default() },
            regions,
            buckets: Vec::new(),
            api: ApiConfig::default(),
            timing: QUICK,
            capacity: None,
            webhooks: WebhooksConfig::default(),
        };
        let store = config.store("story").expect("the address is one");
        store.migrate().await.expect("the schema can be made");
        let fleet = Self { dir, config, store, environment: Vec::new(), number: std::cell::Cell::new(0) };
        fleet.write_config("fleet.toml", &fleet.config);
        fleet
    }

    /// Writes a configuration for a process that sees the fleet in another way.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn write_config(&self, name: &str, config: &Config) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, toml::to_string(config).expect("a configuration is TOML")).expect("a temporary folder");
        path
    }

    fn spawn(&self, name: &str, binary: &str, arguments: &[&str]) -> Process {
        let number = self.number.get();
        self.number.set(number + 1);
        let name = format!("{name}-{number}");
        let log = self.dir.path().join(format!("{name}.log"));
        let file = std::fs::File::create(&log).expect("a log");
        let child = tied(program(binary))
            .args(arguments)
            .env("RUST_LOG", std::env::var("TOUCHLINE_STORY_LOG").unwrap_or_else(|_| "info".to_owned()))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("setpriv of util-linux starts");
        Process { name, child, log }
    }

    /// Starts a dispatcher.
    pub fn dispatcher(&self) -> Process {
        let config = self.dir.path().join("fleet.toml").display().to_string();
        self.spawn("dispatcher", "dispatcher", &["serve", "--config", &config])
    }

    /// Starts a worker in a region.
    pub fn worker(&self, region: &str, arguments: &[&str]) -> Process {
        self.worker_with(&self.dir.path().join("fleet.toml"), region, arguments)
    }

    /// Starts a worker that sees the fleet as `config` says.
    pub fn worker_with(&self, config: &Path, region: &str, arguments: &[&str]) -> Process {
        let config = config.display().to_string();
        let mut all = vec!["run", "--config", &config, "--region", region, "--drain", "5"];
        all.extend(arguments);
        self.spawn(&format!("worker-{region}"), "worker", &all)
    }

    /// Runs a command of the dispatcher and gives what it printed.
    ///
    /// # Panics
    /// It fails.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(program("dispatcher"))
            .arg("--config")
            .arg(self.dir.path().join("fleet.toml"))
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .output()
            .expect("the dispatcher starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dispatcher {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Hands in a job.
    ///
    /// # Panics
    /// The database refuses.
    pub async fn submit(&self, source: &str, ladder: &Ladder) -> Uuid {
        let organisation = self.store.ensure_organisation("story", 1).await.expect("an organisation");
        self.submit_for(organisation, source, ladder).await
    }

    /// Hands in a job of an organisation.
    ///
    /// # Panics
    /// The database refuses.
    pub async fn submit_for(&self, organisation: Uuid, source: &str, ladder: &Ladder) -> Uuid {
        let job = NewJob {
            source: source.to_owned(),
            ladder: ladder.clone(),
            encoder: "x264".to_owned(),
            home_region: self.config.home_region(source).to_owned(),
            ..new_job(organisation)
        };
        self.store.submit(&job).await.expect("a job")
    }

    /// Waits until a job is as `wanted` says.
    ///
    /// # Panics
    /// It is not within `limit`, or ends otherwise.
    pub async fn wait(&self, job: Uuid, what: &str, limit: Duration, wanted: impl Fn(&JobRow) -> bool) -> JobRow {
        let until = Instant::now() + limit;
        loop {
            if let Ok(row) = self.store.job(job).await {
                if wanted(&row) {
                    return row;
                }
                if row.job_state().is_final() || Instant::now() > until {
                    let chunks = self.store.chunks(job).await;
                    panic!("waiting for {what}: {row:#?}\n{chunks:#?}\n{}", self.logs());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a job has succeeded.
    ///
    /// # Panics
    /// It does not within `limit`.
    pub async fn succeeded(&self, job: Uuid, limit: Duration) -> JobRow {
        self.wait(job, "success", limit, |row| row.job_state() == JobState::Succeeded).await
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let entries = std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        for path in entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "log")) {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(25)..];
            text.push_str(&format!("--- {}\n{}\n", path.display(), end.join("\n")));
        }
        text
    }
}

/// A job as stories hand it in that encode nothing: of a source that is not there, in the one region of a local fleet.
#[must_use]
pub fn new_job(organisation: Uuid) -> NewJob {
    NewJob {
        organisation,
        title: "story".to_owned(),
        source: "/none".to_owned(),
        ladder: small_ladder(),
        upload: None,
        encoder: "auto".to_owned(),
        home_region: "local".to_owned(),
        ready_by: None,
    }
}

/// A ladder for stories: two small renditions, always encoded.
///
/// # Panics
/// Never: it is valid.
#[must_use]
pub fn small_ladder() -> Ladder {
    let text = "name: story\ndescription: for stories\ntop: encode\neffort: fast\nrenditions:\n  \
        - { height: 180, quality: 28, max_kbps: 1500 }\n  - { height: 90, quality: 28, max_kbps: 500 }\n";
    Ladder::from_yaml("story", text).expect("a valid ladder")
}
