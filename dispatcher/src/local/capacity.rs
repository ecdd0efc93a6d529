//! Workers as processes of this machine: from zero when there is work, ended when there is none.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fleet::store::{Store, StoreError};
use tokio::process::{Child, Command};

use super::{LocalError, io_error};
use crate::cli::LocalArgs;

/// How long workers may take to hand back what they have.
const GRACE: Duration = Duration::from_secs(15);
/// After a worker that ended at once, the next is started not sooner than this; it doubles up to 32 times.
const PAUSE: Duration = Duration::from_millis(500);

/// The processes.
#[derive(Debug)]
pub struct LocalCapacity {
    program: PathBuf,
    config: PathBuf,
    region: String,
    most: usize,
    slots: Option<u32>,
    idle: Duration,
    workers: Vec<Child>,
    idle_since: Option<Instant>,
    started: Instant,
    failures: u32,
}

impl LocalCapacity {
    /// Capacity of up to `args.workers` processes.
    ///
    /// # Errors
    /// The worker's program is not beside the dispatcher's.
    pub fn new(config: &Path, region: &str, args: &LocalArgs) -> Result<Self, LocalError> {
        let own = std::env::current_exe().map_err(io_error("the dispatcher's own program"))?;
        let program = own.with_file_name("worker");
        if !program.is_file() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            let what = format!("{}: the worker's program belongs beside the dispatcher's", program.display());
            return Err(io_error(what)(missing));
        }
        Ok(Self {
            program,
            config: config.to_owned(),
            region: region.to_owned(),
            most: args.workers as usize,
            slots: args.slots,
            idle: Duration::try_from_secs_f64(args.idle).unwrap_or(Duration::from_secs(30)),
            workers: Vec::new(),
            idle_since: None,
            started: Instant::now(),
            failures: 0,
        })
    }

    /// One turn: starts what is needed, ends what is idle. `true` while there is work.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn turn(&mut self, store: &Store) -> Result<bool, StoreError> {
        self.reap();
        let (chunks, _) = store.backlog().await?;
        let publishing = !store.publishing(1).await?.is_empty();
        if chunks == 0 {
            let since = *self.idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.idle && !self.workers.is_empty() {
                tracing::info!(workers = self.workers.len(), "no work; workers end");
                self.stop().await;
            }
            return Ok(publishing);
        }
        self.idle_since = None;
        let wanted = usize::try_from(chunks).unwrap_or(usize::MAX).min(self.most);
        let pause = PAUSE * 2_u32.pow(self.failures.min(5));
        while self.workers.len() < wanted && (self.failures == 0 || self.started.elapsed() >= pause) {
            match self.start() {
                Ok(child) => {
                    tracing::info!(pid = child.id(), "worker started");
                    self.workers.push(child);
                    self.started = Instant::now();
                }
                Err(error) => {
                    tracing::error!(%error, program = %self.program.display(), "the worker cannot be started");
                    self.failures += 1;
                    self.started = Instant::now();
                }
            }
        }
        Ok(true)
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(&self.config).args(["--region", &self.region, "--with-parent"]);
        if let Some(slots) = self.slots {
            command.args(["--slots", &slots.to_string()]);
        }
        command.env_remove(fleet::config::DATABASE_URL).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    }

    /// Takes note of workers that ended.
    fn reap(&mut self) {
        let started = self.started;
        let mut failed = false;
        self.workers.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                if !status.success() {
                    tracing::warn!(%status, "a worker ended; its chunks go on after their last segment");
                    failed = started.elapsed() < Duration::from_secs(5);
                }
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a worker cannot be waited for");
                false
            }
        });
        if failed {
            self.failures += 1;
        } else if started.elapsed() > Duration::from_secs(30) {
            self.failures = 0;
        }
    }

    /// Ends all workers in order, and those that take too long at once.
    pub async fn stop(&mut self) {
        for child in &self.workers {
            if let Some(pid) = child.id() {
                let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
                if let Err(error) = sent {
                    tracing::warn!(%error, "kill cannot be started");
                }
            }
        }
        let until = tokio::time::Instant::now() + GRACE;
        for mut child in self.workers.drain(..) {
            if tokio::time::timeout_at(until, child.wait()).await.is_err()
                && let Err(error) = child.kill().await
            {
                tracing::warn!(%error, "a worker does not end");
            }
        }
    }
}
