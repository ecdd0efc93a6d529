//! Workers as processes of this machine: from zero when there is work, ended when there is none. What to start and end is
//! decided by the same function as in the cloud; here is only how often, so that an idle fleet does nothing at all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capacity::pools::Fleet;
use fleet::store::{Store, StoreError};

use super::{LocalError, io_error};
use crate::cli::LocalArgs;
use crate::scaling::Scaler;
use crate::scaling::processes::{ProcessCapacity, WorkerCommand};

/// Between two decisions while there is work or a worker; more work makes the next one come at once.
const EVERY: Duration = Duration::from_secs(1);

/// The processes, and who decides about them.
#[derive(Debug)]
pub struct LocalCapacity {
    processes: Arc<ProcessCapacity>,
    scaler: Scaler,
    decided: Option<Instant>,
    /// Chunks at the last decision.
    chunks: u64,
    /// Whether a worker was there at the last decision.
    has_workers: bool,
}

impl LocalCapacity {
    /// Processes of a fleet that is this machine; `config` tells workers where the fleet is.
    ///
    /// # Errors
    /// The worker's program is not beside the dispatcher's.
    pub fn new(store: &Store, fleet: Fleet, config: &Path, args: &LocalArgs) -> Result<Self, LocalError> {
        let own = std::env::current_exe().map_err(io_error("the dispatcher's own program"))?;
        let program = own.with_file_name("worker");
        if !program.is_file() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            let what = format!("{}: the worker's program belongs beside the dispatcher's", program.display());
            return Err(io_error(what)(missing));
        }
        let mut arguments = vec!["run".into(), "--config".into(), config.into()];
        arguments.extend(["--region", super::REGION, "--with-parent"].map(Into::into));
        if let Some(slots) = args.slots {
            arguments.extend(["--slots".into(), slots.to_string().into()]);
        }
        let processes = Arc::new(ProcessCapacity::new(WorkerCommand { program, arguments }));
        let scaler = Scaler::new(store.clone(), fleet, processes.clone());
        // What an earlier run left in the store ended with it, which the first decision notes.
        Ok(Self { processes, scaler, decided: None, chunks: 0, has_workers: true })
    }

    /// One turn: starts what is needed, ends what is idle. `true` while there is work.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn turn(&mut self, store: &Store) -> Result<bool, StoreError> {
        let (chunks, _) = store.backlog().await?;
        let is_due = self.decided.is_none_or(|at| at.elapsed() >= EVERY);
        if chunks > self.chunks || (is_due && (chunks > 0 || self.has_workers)) {
            self.scaler.scale_once().await?;
            self.has_workers = !store.instances().await?.is_empty();
            self.decided = Some(Instant::now());
        }
        self.chunks = chunks;
        Ok(chunks > 0 || !store.publishing(1).await?.is_empty())
    }

    /// Ends all workers in order, and those that take too long at once.
    pub async fn stop(&self) {
        self.processes.stop().await;
    }
}
