//! From decisions to machines. The world has moved since it was looked at, so each step checks again what it rests on.

use std::time::Duration;

use capacity::decide::{Action, Decision};
use capacity::ledger::Ledger;
use capacity::memory::FailureKind;
use capacity::pools::{InstanceId, Pool, PoolId};
use fleet::fault::call;
use fleet::store::StoreError;
use fleet::store::capacity::{DrainReason, InstanceRow, LaunchFailureRow};
use fleet::store::stragglers::Split;
use time::OffsetDateTime;

use super::observe::{Sight, pool_view};
use super::provider::CapacityError;
use super::{Scaler, kind_of};

/// No drain takes longer: the worker's own limit is 90 s, and a silent one is buried within a minute.
const LONGEST_DRAIN: Duration = Duration::from_secs(300);
/// An instance without a worker is given up after so many usual boot times, and not before the time below.
const BOOTS: f64 = 4.0;
const SHORTEST_BOOT_LIMIT_S: f64 = 120.0;

impl Scaler {
    /// What follows from what was seen, without a decision: ends what has drained, gives up what does not boot, takes
    /// note of failed launches. `true` when something changed that decisions depend on.
    pub(super) async fn settle(&self, sight: &Sight) -> Result<bool, StoreError> {
        let mut changed = false;
        for row in &sight.instances {
            let Some(pool) = self.fleet.pool(&PoolId::from(row.pool.as_str())) else { continue };
            if is_drained(row) {
                changed |= self.end(pool, row).await;
            } else if row.draining_at.is_none() && boot_failed(pool, row) {
                tracing::error!(instance = row.id, pool = row.pool, "no worker came; the instance is given up");
                changed |= self.drain(pool, &InstanceId::from(row.id.as_str()), DrainReason::NoWorker, true).await?;
            }
        }
        for (i, view) in sight.view.pools.iter().enumerate() {
            if view.requested > 0 && sight.shown[i].is_some() {
                changed |= self.take_note_of_failures(&view.pool, sight, i).await?;
            }
        }
        Ok(changed)
    }

    /// Of a pool that was asked for more than it has: did it fail, and why?
    async fn take_note_of_failures(&self, pool: &Pool, sight: &Sight, place: usize) -> Result<bool, StoreError> {
        let failures = match call("capacity.failures", self.capacity.failures(pool)).await {
            Ok(failures) => failures,
            Err(error) => {
                tracing::warn!(%error, "whether launches failed is not known");
                return Ok(false);
            }
        };
        let oldest = OffsetDateTime::now_utc() - super::REMEMBERED;
        let rows: Vec<LaunchFailureRow> = failures
            .into_iter()
            .filter(|failure| failure.at > oldest)
            .map(|failure| LaunchFailureRow {
                pool: pool.id.to_string(),
                try_id: failure.try_id,
                kind: failure.kind.as_str().to_owned(),
                message: failure.message,
                at: failure.at,
            })
            .collect();
        for failure in &self.store.note_launch_failures(&rows).await? {
            tracing::warn!(pool = %pool.id, kind = failure.kind, message = failure.message, "launch failed");
        }
        if !rows.iter().any(still_counts) {
            return Ok(false);
        }
        // Left alone, a group asks again and again, and gets an instance when its work is done elsewhere.
        let there = sight.shown[place].iter().flat_map(|s| &s.instances).filter(|i| !i.ending).count();
        if let Err(error) =
            call("capacity.ask_for", self.capacity.ask_for(pool, u32::try_from(there).unwrap_or(u32::MAX))).await
        {
            tracing::warn!(%error, "the count is not taken back yet");
        }
        Ok(true)
    }

    /// Does what was decided.
    pub(super) async fn apply(&self, decision: &Decision, sight: &Sight) -> Result<(), StoreError> {
        for action in &decision.actions {
            match action {
                Action::Start { pool, count } => {
                    let Some(place) = self.fleet.pools.iter().position(|p| p.id == *pool) else { continue };
                    match self.start(sight, place, *count).await {
                        Ok(()) => {}
                        Err(error @ CapacityError::Refused { .. }) => self.refused(pool, &error).await?,
                        Err(error) => tracing::warn!(%error, "not started; decided again in the next round"),
                    }
                }
                Action::End { pool, instance } => {
                    if let Some(pool) = self.fleet.pool(pool)
                        && self.drain(pool, instance, DrainReason::Idle, true).await?
                    {
                        tracing::info!(pool = %pool.id, %instance, "idle instance ends");
                    }
                }
                Action::Drain { pool, instance } => {
                    if let Some(pool) = self.fleet.pool(pool)
                        && self.drain(pool, instance, DrainReason::Drain, false).await?
                    {
                        tracing::info!(pool = %pool.id, %instance, "instance drains");
                    }
                }
                Action::Split { job, chunk, attempt, slow } => {
                    match self.store.split_chunk(*job, *chunk, *attempt).await? {
                        Split::Rest { chunk: rest, first } => {
                            tracing::info!(job.id = %job, chunk, %slow, rest, first, "slow chunk split");
                        }
                        Split::NoRest | Split::NotAtWork => tracing::debug!(job.id = %job, chunk, "nothing to split"),
                    }
                }
                Action::TakeBack { job, chunk, attempt, slow } => {
                    if self.store.take_back_slow(*job, *chunk, *attempt).await? {
                        tracing::info!(job.id = %job, chunk, %slow, "slow chunk taken back");
                    }
                }
            }
        }
        Ok(())
    }

    /// A provider that refuses is not asked every few seconds: its pool is blocked like one that failed.
    async fn refused(&self, pool: &PoolId, error: &CapacityError) -> Result<(), StoreError> {
        tracing::error!(%error, "refused; a person must mend this");
        let at = OffsetDateTime::now_utc();
        let row = LaunchFailureRow {
            pool: pool.to_string(),
            try_id: format!("refused-{}", at.unix_timestamp_nanos()),
            kind: FailureKind::Configuration.as_str().to_owned(),
            message: error.to_string(),
            at,
        };
        self.store.note_launch_failures(&[row]).await?;
        Ok(())
    }

    /// Raises a pool's count, as far as the ledger admits with what the provider shows now.
    async fn start(&self, sight: &Sight, place: usize, count: u32) -> Result<(), CapacityError> {
        let pool = &self.fleet.pools[place];
        let mut view = sight.view.clone();
        let places: Vec<usize> = (0..view.pools.len()).filter(|i| view.pools[*i].pool.region == pool.region).collect();
        let pools: Vec<_> = places.iter().map(|i| self.fleet.pools[*i].clone()).collect();
        let now = call("capacity.look", self.capacity.look(&pool.region, &pools)).await?;
        let mut wanted = 0;
        for (i, shown) in places.into_iter().zip(&now) {
            view.pools[i] = pool_view(&self.fleet.pools[i], Some(shown), &sight.instances);
            if i == place {
                wanted = shown.wanted;
            }
        }
        // The decision was about a total: whatever came in between is part of it.
        let decided = sight.shown[place].as_ref().map_or(0, |s| s.wanted).saturating_add(count);
        let room = Ledger::of(&view).room(place).min(pool.max_instances.saturating_sub(view.pools[place].charged()));
        let total = decided.min(wanted.saturating_add(room));
        if total <= wanted {
            return Ok(());
        }
        call("capacity.ask_for", self.capacity.ask_for(pool, total)).await?;
        tracing::info!(pool = %pool.id, from = wanted, to = total, "instances asked for");
        Ok(())
    }

    /// Asks an instance to take nothing new, and the provider to start no worker there again.
    pub(super) async fn drain(
        &self,
        pool: &Pool,
        instance: &InstanceId,
        reason: DrainReason,
        only_idle: bool,
    ) -> Result<bool, StoreError> {
        if !self.store.drain_instance(instance.as_str(), reason, only_idle).await? {
            return Ok(false);
        }
        if let Err(error) = call("capacity.retire", self.capacity.retire(pool, instance)).await {
            // Workers that come back there are asked to drain as they enter.
            tracing::warn!(%error, "a worker may come back on an instance that ends");
        }
        Ok(true)
    }

    async fn end(&self, pool: &Pool, row: &InstanceRow) -> bool {
        if row.worker.is_some() {
            tracing::warn!(instance = row.id, pool = row.pool, "the drain took too long; ending the instance");
        }
        match call("capacity.end", self.capacity.end(pool, &InstanceId::from(row.id.as_str()))).await {
            Ok(()) => {
                tracing::info!(instance = row.id, pool = row.pool, reason = row.reason, "instance ended");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "not ended; tried again in the next round");
                false
            }
        }
    }
}

/// Whether a failure keeps its pool from being tried again.
fn still_counts(failure: &LaunchFailureRow) -> bool {
    let age_s = (OffsetDateTime::now_utc() - failure.at).as_seconds_f64();
    kind_of(&failure.kind).is_some_and(|kind| age_s < kind.counts_for_s())
}

/// Whether nothing is lost when the instance ends.
fn is_drained(row: &InstanceRow) -> bool {
    let Some(since) = row.draining_at else { return false };
    row.worker.is_none() || OffsetDateTime::now_utc() - since > LONGEST_DRAIN
}

/// Whether an instance has been without a worker for so long that none will come: an image that is not there, a GPU
/// that the agent did not find, a worker that ends at once.
fn boot_failed(pool: &Pool, row: &InstanceRow) -> bool {
    let limit = (pool.boot.median_s * BOOTS).max(SHORTEST_BOOT_LIMIT_S);
    row.worker.is_none() && (OffsetDateTime::now_utc() - row.alone_since).as_seconds_f64() > limit
}
