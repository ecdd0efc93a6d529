//! Workers as processes of this machine: a process is an instance that boots at once and costs nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use capacity::memory::FailureKind;
use capacity::money::MicroDollars;
use capacity::policy::{OnDemandOnly, Policy, Rule};
use capacity::pools::{BootTime, Fleet, InstanceId, Pool, PoolId, PurchaseOption, Quota, Region, RegionName};
use fleet::config::ProcessesConfig;
use time::OffsetDateTime;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::provider::{Capacity, CapacityError, LaunchFailure, Shown, ShownInstance};

/// How long a worker may take to hand back what it has.
const GRACE: Duration = Duration::from_secs(15);
/// A worker that ends badly within this time could as well not have been started.
const TOO_SOON: Duration = Duration::from_secs(2);
/// Failures that are remembered.
const FAILURES: usize = 20;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// Program.
    pub program: PathBuf,
    /// Arguments; pool and instance are given in variables.
    pub arguments: Vec<OsString>,
}

/// Processes.
#[derive(Debug)]
pub struct ProcessCapacity {
    command: WorkerCommand,
    /// Names this run of the dispatcher.
    run: Uuid,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pools: BTreeMap<PoolId, Processes>,
    /// Processes that were started, for their names.
    number: u64,
}

/// One machine as a fleet: a region with a pool of processes that cost nothing more and boot at once, and a rule that
/// starts as many as there are chunks for.
#[must_use]
pub fn fleet(config: &ProcessesConfig) -> Fleet {
    let (kind, option) = ("process", PurchaseOption::OnDemand);
    let region = RegionName::from(config.region.as_str());
    let pool = Pool {
        id: format!("{region}/{kind}/{}", option.as_str()).as_str().into(),
        region: region.clone(),
        instance_type: kind.to_owned(),
        option,
        family: kind.to_owned(),
        vcpu: 1,
        price_per_hour: MicroDollars::ZERO,
        encode_rate: 1.0,
        slots: config.slots.unwrap_or(1),
        boot: BootTime { median_s: 0.0, p90_s: 0.0 },
        max_instances: config.workers,
        subnets: Vec::new(),
    };
    let quota = Quota { family: kind.to_owned(), option, vcpu: config.workers };
    let region = Region { name: region, quotas: vec![quota], subnets: Vec::new(), transfer_per_gb: MicroDollars::ZERO };
    // Nothing is saved by doing with less of one's own machine.
    let rule = Rule::OnDemandOnly(OnDemandOnly { within_s: 1e-3 });
    let policy = Policy { rule, idle_after_s: config.idle_s, ..Policy::default() };
    Fleet { regions: vec![region], pools: vec![Arc::new(pool)], policy }
}

#[derive(Debug, Default)]
struct Processes {
    wanted: u32,
    workers: Vec<Worker>,
    failures: Vec<LaunchFailure>,
}

#[derive(Debug)]
struct Worker {
    id: InstanceId,
    child: Child,
    started: Instant,
}

impl ProcessCapacity {
    /// Workers that this command starts.
    #[must_use]
    pub fn new(command: WorkerCommand) -> Self {
        Self { command, run: Uuid::now_v7(), state: Mutex::default() }
    }

    /// Ends all workers in order, and those that take too long at once.
    pub async fn stop(&self) {
        let pools = std::mem::take(&mut self.state.lock().await.pools);
        futures_util::future::join_all(pools.into_values().flat_map(|p| p.workers).map(end)).await;
    }

    fn start(&self, pool: &Pool, number: u64) -> std::io::Result<Worker> {
        // Also after a restart no two have the same name: each has a bill of its own.
        let id = InstanceId::from(format!("process-{}-{number}", self.run.simple()).as_str());
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.arguments);
        command.env("TOUCHLINE_POOL", pool.id.as_str()).env("TOUCHLINE_INSTANCE", id.as_str());
        command.env_remove(fleet::config::DATABASE_URL).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.kill_on_drop(true).spawn()?;
        tracing::info!(pid = child.id(), instance = %id, "worker started");
        Ok(Worker { id, child, started: Instant::now() })
    }
}

impl State {
    fn failed(&mut self, pool: &PoolId, message: String) {
        self.number += 1;
        let failure = LaunchFailure {
            try_id: Uuid::now_v7().to_string(),
            // Tried again after half a minute: what is wrong may be mended meanwhile.
            kind: FailureKind::Throttled,
            message,
            at: OffsetDateTime::now_utc(),
        };
        let failures = &mut self.pools.entry(pool.clone()).or_default().failures;
        if failures.len() >= FAILURES {
            failures.remove(0);
        }
        failures.push(failure);
    }

    /// Takes note of processes that ended. One that ended at once is still wanted, and has failed; the others are gone.
    fn reap(&mut self, pool: &PoolId) -> &mut Processes {
        let mut failed = Vec::new();
        let processes = self.pools.entry(pool.clone()).or_default();
        processes.workers.retain_mut(|worker| match worker.child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                if !status.success() {
                    tracing::warn!(%status, "a worker ended; its chunks go on after their last segment");
                }
                if !status.success() && worker.started.elapsed() < TOO_SOON {
                    failed.push(format!("a worker ended at once: {status}"));
                } else {
                    processes.wanted = processes.wanted.saturating_sub(1);
                }
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a worker cannot be waited for");
                processes.wanted = processes.wanted.saturating_sub(1);
                false
            }
        });
        for message in failed {
            self.failed(pool, message);
        }
        self.pools.entry(pool.clone()).or_default()
    }
}

#[async_trait]
impl Capacity for ProcessCapacity {
    async fn look(&self, _: &RegionName, pools: &[Arc<Pool>]) -> Result<Vec<Shown>, CapacityError> {
        let mut state = self.state.lock().await;
        let shown = pools.iter().map(|pool| {
            let processes = state.reap(&pool.id);
            let instances = processes.workers.iter().map(|w| ShownInstance { id: w.id.clone(), ending: false });
            Shown { pool: pool.id.clone(), wanted: processes.wanted, instances: instances.collect() }
        });
        Ok(shown.collect())
    }

    async fn ask_for(&self, pool: &Pool, total: u32) -> Result<(), CapacityError> {
        let mut state = self.state.lock().await;
        let processes = state.reap(&pool.id);
        processes.wanted = total;
        for _ in processes.workers.len()..total as usize {
            state.number += 1;
            let number = state.number;
            match self.start(pool, number) {
                Ok(worker) => state.pools.entry(pool.id.clone()).or_default().workers.push(worker),
                Err(error) => {
                    // Told of among the failures.
                    state.failed(&pool.id, format!("{}: {error}", self.command.program.display()));
                    break;
                }
            }
        }
        let processes = state.reap(&pool.id);
        processes.wanted = processes.wanted.max(u32::try_from(processes.workers.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    async fn retire(&self, _: &Pool, _: &InstanceId) -> Result<(), CapacityError> {
        // Nobody starts a worker again in the place of one that ended.
        Ok(())
    }

    async fn end(&self, pool: &Pool, instance: &InstanceId) -> Result<(), CapacityError> {
        let mut state = self.state.lock().await;
        let processes = state.reap(&pool.id);
        let Some(place) = processes.workers.iter().position(|w| w.id == *instance) else { return Ok(()) };
        processes.wanted = processes.wanted.saturating_sub(1);
        // Nobody waits for it: most have said goodbye by now.
        tokio::spawn(end(processes.workers.remove(place)));
        Ok(())
    }

    async fn failures(&self, pool: &Pool) -> Result<Vec<LaunchFailure>, CapacityError> {
        Ok(self.state.lock().await.reap(&pool.id).failures.clone())
    }
}

/// Ends a worker in order; one that takes too long at once.
async fn end(mut worker: Worker) {
    if let Some(pid) = worker.child.id() {
        let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).stderr(Stdio::null()).status().await;
        if let Err(error) = sent {
            tracing::warn!(%error, "kill cannot be started");
        }
    }
    if tokio::time::timeout(GRACE, worker.child.wait()).await.is_err()
        && let Err(error) = worker.child.kill().await
    {
        tracing::warn!(%error, "a worker does not end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::conformance::conformance;

    fn command(program: &str, arguments: &[&str]) -> WorkerCommand {
        WorkerCommand { program: program.into(), arguments: arguments.iter().map(OsString::from).collect() }
    }

    fn pool() -> Arc<Pool> {
        capacity::pools::Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap().pools[0].clone()
    }

    #[tokio::test]
    async fn keeps_what_providers_promise() {
        conformance(&ProcessCapacity::new(command("sleep", &["600"])), &pool()).await;
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_and_one_that_ends_at_once_are_failures() {
        let pool = pool();
        let missing = ProcessCapacity::new(command("/nonexistent/worker", &[]));
        missing.ask_for(&pool, 1).await.unwrap();
        assert_eq!(missing.failures(&pool).await.unwrap().len(), 1);

        let ends = ProcessCapacity::new(command("false", &[]));
        ends.ask_for(&pool, 1).await.unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while ends.failures(&pool).await.unwrap().is_empty() {
            assert!(Instant::now() < until, "the end of `false` is not noticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(ends.failures(&pool).await.unwrap()[0].kind, FailureKind::Throttled);
        let shown = ends.look(&pool.region, std::slice::from_ref(&pool)).await.unwrap();
        assert_eq!((shown[0].wanted, shown[0].instances.len()), (1, 0), "it is still wanted");
    }
}
