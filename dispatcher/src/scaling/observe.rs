//! What the provider shows and the database knows, as one view to decide by.

use std::sync::Arc;

use capacity::estimate;
use capacity::memory::FailureMemory;
use capacity::moment::Moment;
use capacity::pools::{Fleet, InstanceId, Pool, RegionName};
use capacity::view::{FleetView, Instance, JobWork, Phase, PoolView, RegionView, RunningChunk};
use fleet::fault::call;
use fleet::store::StoreError;
use fleet::store::capacity::{EndedRow, InstanceRow, LaunchFailureRow, OpenJob, SeenInstance};
use fleet::store::stragglers::AtWork;

use super::provider::Shown;
use super::{Scaler, kind_of};

/// Work of a job before somebody looked into its source, encode-seconds: enough to start an instance, whose worker then plans it.
pub(crate) const UNPLANNED_S: f64 = 300.0;
/// Work of a chunk at least, encode-seconds: sound and copied pictures cost no encoding, but need a worker too.
const LEAST_CHUNK_S: f64 = 1.0;

/// What was seen at one moment.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What decisions are made by.
    pub view: FleetView,
    /// What the provider shows, in the order of the fleet's pools; `None` in a region that does not answer.
    pub shown: Vec<Option<Shown>>,
    /// Instances with their workers.
    pub instances: Vec<InstanceRow>,
}

impl Scaler {
    /// Looks at everything. A region whose provider does not answer counts as one where nothing can be started; what was
    /// seen there last still counts against its quotas.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn observe(&self) -> Result<Sight, StoreError> {
        let shown = self.look().await;
        let pools = self.fleet.pools.iter().zip(&shown);
        let seen: Vec<SeenInstance> =
            pools.clone().filter_map(|(pool, shown)| Some(seen_of(pool, shown.as_ref()?))).flatten().collect();
        let looked_at: Vec<String> =
            pools.filter(|(_, shown)| shown.is_some()).map(|(pool, _)| pool.id.to_string()).collect();
        self.store.note_instances(&looked_at, &seen).await?;

        let instances = self.store.instances().await?;
        let failures = self.store.launch_failures(super::REMEMBERED).await?;
        let ended = self.store.ended_instances(super::REMEMBERED).await?;
        let silent = self.store.unhealthy_regions().await?;
        let now = Moment::from(time::OffsetDateTime::now_utc());
        let memory = memory(&self.fleet, &failures, &ended);
        let rates = self.rates().await?;
        let regions = self.fleet.regions.iter().map(|region| RegionView {
            name: region.name.clone(),
            healthy: !silent.iter().any(|(name, _)| name == region.name.as_str())
                && self.places_of(&region.name).any(|i| shown[i].is_some()),
            quotas: region.quotas.clone(),
        });
        let pools = self.fleet.pools.iter().zip(&shown).map(|(pool, shown)| {
            let mut view = pool_view(pool, shown.as_ref(), &instances);
            view.blocked = memory.block(pool, now);
            view.measured = rates.of_pool(pool);
            view.pool = rates.apply(pool);
            view
        });
        let jobs = self.store.open_jobs().await?;
        let looks = self.fleet.policy.rule.looks_at_chunks();
        let at_work = if looks { self.store.chunks_at_work().await? } else { Vec::new() };
        let view = FleetView {
            regions: regions.collect(),
            pools: pools.collect(),
            work: jobs.iter().map(|job| job_work(&self.fleet, job)).collect(),
            coming: self.coming.coming().await?,
            running: at_work.iter().map(running_chunk).collect(),
        };
        Ok(Sight { view, shown, instances })
    }

    /// Asks the provider about all pools, a call a region.
    async fn look(&self) -> Vec<Option<Shown>> {
        let calls = self.fleet.regions.iter().map(|region| async move {
            let places: Vec<usize> = self.places_of(&region.name).collect();
            let pools: Vec<Arc<Pool>> = places.iter().map(|i| self.fleet.pools[*i].clone()).collect();
            (places, call("capacity.look", self.capacity.look(&region.name, &pools)).await)
        });
        let mut shown = vec![None; self.fleet.pools.len()];
        for (places, answer) in futures_util::future::join_all(calls).await {
            match answer {
                Ok(answer) => {
                    for (place, one) in places.into_iter().zip(answer) {
                        shown[place] = Some(one);
                    }
                }
                Err(error) => tracing::warn!(%error, "nothing is started there until it answers"),
            }
        }
        shown
    }

    fn places_of(&self, region: &RegionName) -> impl Iterator<Item = usize> {
        (0..self.fleet.pools.len()).filter(move |i| self.fleet.pools[*i].region == *region)
    }
}

fn seen_of(pool: &Pool, shown: &Shown) -> Vec<SeenInstance> {
    let seen = shown.instances.iter().map(|instance| SeenInstance {
        id: instance.id.to_string(),
        region: pool.region.to_string(),
        pool: pool.id.to_string(),
        price_micros: pool.price_per_hour.0,
        slots: i32::try_from(pool.slots).unwrap_or(i32::MAX),
    });
    seen.collect()
}

/// What failed lately and still counts, in the order in which it happened.
pub(crate) fn memory(fleet: &Fleet, failures: &[LaunchFailureRow], ended: &[EndedRow]) -> FailureMemory {
    let pool = |name: &str| fleet.pools.iter().find(|p| p.id.as_str() == name);
    let mut memory = FailureMemory::default();
    let mut ended = ended.iter().peekable();
    for failure in failures {
        while let Some(end) = ended.next_if(|end| end.ended_at < failure.at) {
            pool(&end.pool).into_iter().for_each(|p| memory.note_end(p));
        }
        if let (Some(pool), Some(kind)) = (pool(&failure.pool), kind_of(&failure.kind)) {
            memory.note(pool, kind, Moment::from(failure.at));
        }
    }
    for end in ended {
        pool(&end.pool).into_iter().for_each(|p| memory.note_end(p));
    }
    memory
}

/// A pool as the provider shows it; where it does not answer, as it was seen last.
pub(super) fn pool_view(pool: &Arc<Pool>, shown: Option<&Shown>, rows: &[InstanceRow]) -> PoolView {
    let known = rows.iter().filter(|row| row.pool == pool.id.as_str());
    let instances: Vec<Instance> = match shown {
        Some(shown) => {
            let phases = shown.instances.iter().map(|instance| {
                let row = rows.iter().find(|row| row.id == instance.id.as_str());
                let (phase, since) = phase(row, instance.ending);
                Instance { id: instance.id.clone(), phase, since }
            });
            phases.collect()
        }
        None => known
            .map(|row| {
                let (phase, since) = phase(Some(row), false);
                Instance { id: InstanceId::from(row.id.as_str()), phase, since }
            })
            .collect(),
    };
    let staying = shown.map_or(0, |s| s.instances.iter().filter(|i| !i.ending).count());
    let requested = shown.map_or(0, |s| s.wanted.saturating_sub(u32::try_from(staying).unwrap_or(u32::MAX)));
    PoolView { pool: pool.clone(), measured: None, instances, requested, blocked: None }
}

/// What an instance does, and since when.
pub(crate) fn phase(row: Option<&InstanceRow>, ending: bool) -> (Phase, Moment) {
    let Some(row) = row else {
        let phase = if ending { Phase::Draining } else { Phase::Booting };
        return (phase, Moment::from(time::OffsetDateTime::now_utc()));
    };
    let is_draining = row.draining_at.is_some() || row.worker_state.as_deref() == Some("draining");
    if ending || is_draining {
        return (Phase::Draining, Moment::from(row.draining_at.unwrap_or(row.seen_at)));
    }
    match (row.worker, row.running) {
        (None, _) => (Phase::Booting, Moment::from(row.alone_since)),
        (Some(_), 0) => (Phase::Idle, Moment::from(row.idle_since.or(row.ready_at).unwrap_or(row.seen_at))),
        (Some(_), _) => (Phase::Busy, Moment::from(row.ready_at.unwrap_or(row.seen_at))),
    }
}

/// A chunk at work in encode-seconds.
pub(super) fn running_chunk(chunk: &AtWork) -> RunningChunk {
    let plan = &chunk.encoded;
    let work = |seconds| estimate::encode_seconds(seconds, plan.rate.as_f64(), plan.sizes.iter().copied());
    // A chunk to the end of a source has about as many segments as its length says.
    let left_s = (chunk.total_s - chunk.done_s).max(0.0);
    let about = (left_s / chunk.segment_s.max(f64::MIN_POSITIVE)).ceil().max(1.0) as u32;
    RunningChunk {
        job: chunk.job,
        chunk: chunk.chunk,
        attempt: chunk.attempt,
        instance: InstanceId::from(chunk.instance.as_str()),
        since: Moment::from(chunk.claimed_at),
        total_s: work(chunk.total_s),
        done_s: work(chunk.done_s),
        segments: chunk.segments.unwrap_or(about),
        segment_s: work(chunk.segment_s),
        splits: chunk.splits,
        taken_back: chunk.taken_back,
    }
}

/// A job's work in encode-seconds, in the region where its chunks go.
pub(crate) fn job_work(fleet: &Fleet, job: &OpenJob) -> JobWork {
    let known = |name: &str| fleet.regions.iter().find(|r| r.name.as_str() == name);
    let region = job.region.as_deref().and_then(known).or_else(|| known(&job.home_region));
    let least = f64::from(job.chunks) * LEAST_CHUNK_S;
    let (total_s, left_s) = match &job.encoded {
        Some(plan) => {
            let work = |seconds| estimate::encode_seconds(seconds, plan.rate.as_f64(), plan.sizes.iter().copied());
            (work(job.total_s), work(job.left_s))
        }
        None => (UNPLANNED_S, UNPLANNED_S),
    };
    JobWork {
        job: job.id,
        region: region.or_else(|| fleet.regions.first()).map_or_else(|| RegionName::from(""), |r| r.name.clone()),
        total_s: total_s.max(least),
        left_s: left_s.max(least),
        chunks: job.chunks,
        waiting: job.waiting,
        submitted: Moment::from(job.created_at),
        not_before: Moment::from(job.not_before.unwrap_or(job.created_at)),
        ready_by: job.ready_by.map(Moment::from),
    }
}
