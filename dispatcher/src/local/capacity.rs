//! Workers as processes of this machine: from zero when there is work, ended when there is none. There is one pool and
//! nothing to choose, so nothing is decided here but how many.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capacity::money::MicroDollars;
use capacity::pools::{BootTime, Pool, PurchaseOption};
use fleet::store::{Store, StoreError};

use super::{LocalError, io_error};
use crate::cli::LocalArgs;
use crate::scaling::processes::{ProcessCapacity, WorkerCommand};
use crate::scaling::provider::{Capacity as _, CapacityError, Shown};

/// After a worker that ended at once, the next is started not sooner than this; it doubles up to 32 times.
const PAUSE: Duration = Duration::from_millis(500);
/// Workers that have lasted this long are well.
const WELL: Duration = Duration::from_secs(30);

/// The processes.
#[derive(Debug)]
pub struct LocalCapacity {
    processes: ProcessCapacity,
    pool: Arc<Pool>,
    idle: Duration,
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
        let mut arguments = vec!["run".into(), "--config".into(), config.into()];
        arguments.extend(["--region", region, "--with-parent"].map(Into::into));
        if let Some(slots) = args.slots {
            arguments.extend(["--slots".into(), slots.to_string().into()]);
        }
        Ok(Self {
            processes: ProcessCapacity::new(WorkerCommand { program, arguments }),
            pool: Arc::new(this_machine(region, args)),
            idle: Duration::try_from_secs_f64(args.idle).unwrap_or(Duration::from_secs(30)),
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
        let (chunks, _) = store.backlog().await?;
        let publishing = !store.publishing(1).await?.is_empty();
        if let Err(error) = self.processes_for(chunks).await {
            tracing::error!(%error, "workers cannot be started or ended");
        }
        Ok(publishing || chunks > 0)
    }

    /// Starts processes for so many chunks, or ends them when there have been none for long enough.
    async fn processes_for(&mut self, chunks: u64) -> Result<(), CapacityError> {
        let shown = self.look().await?;
        let there = u32::try_from(shown.instances.len()).unwrap_or(u32::MAX);
        if chunks == 0 {
            let since = *self.idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.idle && there > 0 {
                tracing::info!(workers = there, "no work; workers end");
                self.stop().await;
            }
            return Ok(());
        }
        self.idle_since = None;
        if shown.wanted > there {
            // One ended as soon as it was started.
            self.failures += 1;
            self.processes.ask_for(&self.pool, there).await?;
        } else if there > 0 && self.started.elapsed() > WELL {
            self.failures = 0;
        }
        let wanted = u32::try_from(chunks).unwrap_or(u32::MAX).min(self.pool.max_instances);
        let pause = PAUSE * 2_u32.pow(self.failures.min(5));
        if there < wanted && (self.failures == 0 || self.started.elapsed() >= pause) {
            self.started = Instant::now();
            self.processes.ask_for(&self.pool, wanted).await?;
        }
        Ok(())
    }

    async fn look(&self) -> Result<Shown, CapacityError> {
        let mut shown = self.processes.look(&self.pool.region, std::slice::from_ref(&self.pool)).await?;
        let what = self.pool.id.to_string();
        shown.pop().ok_or_else(|| CapacityError::Unavailable { what, reason: "nothing is shown".to_owned() })
    }

    /// Ends all workers in order, and those that take too long at once.
    pub async fn stop(&mut self) {
        self.processes.stop().await;
    }
}

/// This machine as a pool: what runs on it costs nothing more and boots at once.
fn this_machine(region: &str, args: &LocalArgs) -> Pool {
    let (kind, option) = ("process", PurchaseOption::OnDemand);
    Pool {
        id: format!("{region}/{kind}/{}", option.as_str()).as_str().into(),
        region: region.into(),
        instance_type: kind.to_owned(),
        option,
        family: kind.to_owned(),
        vcpu: 1,
        price_per_hour: MicroDollars::ZERO,
        encode_rate: 1.0,
        slots: args.slots.unwrap_or(1),
        boot: BootTime { median_s: 0.0, p90_s: 0.0 },
        max_instances: args.workers,
        subnets: Vec::new(),
    }
}
