//! A dispatcher's loops, as `dispatcher::dispatch` has them. Routing, the release order, the draining of dead letters, the
//! choice of orphans and the growth of playlists are the dispatcher's own code.

mod publisher;

use std::sync::Arc;
use std::time::Duration;

use dispatcher::dispatch::drain_dead_letters;
use dispatcher::routing::{RegionView, route_all};
use dispatcher::sweep::orphans;
use fleet::failure::FailureCode;
use fleet::keys;
use fleet::objects::ObjectStore;
use fleet::queue::{MAX_BATCH, Message, Queue, QueueError};
use fleet::store::rescue::Patience;

use super::NO_WRITER;
use super::deviation::Deviation;
use super::memory::{Ms, RemovedJob, Unswept};
use super::network::{Client, Server, Unreachable};
use super::objects::{ObjectClient, moment};
use super::people::unswept;
use super::queue::QueueClient;
use super::worker::LEASE;
use super::world::{ProcessId, Sim, World};

/// A region that fails for this long is given up for the time being.
const REGION: Ms = 15_000;

/// Limits of patience of a simulated fleet.
pub(crate) const PATIENCE: Patience = Patience { deaths: 5, tries: 10, resend_after: Duration::from_secs(15) };

/// What the loops of one dispatcher share.
pub(crate) struct Dispatcher {
    pub(crate) client: Client,
    pub(crate) objects: ObjectClient,
    queues: Vec<QueueClient>,
    /// Age at which what lost attempts left is deleted.
    orphans_after: Ms,
    /// Age at which rows of jobs that ended without success are deleted, if they are.
    rows_after: Option<Ms>,
}

/// A turn failed; the next one may not.
pub(crate) struct Later;

impl From<Unreachable> for Later {
    fn from(_: Unreachable) -> Self {
        Self
    }
}

impl From<fleet::objects::ObjectError> for Later {
    fn from(_: fleet::objects::ObjectError) -> Self {
        Self
    }
}

/// Starts a dispatcher's loops.
pub(crate) fn start(sim: &Sim, process: ProcessId) {
    let client = Client { sim: sim.clone(), process };
    let (regions, orphans_after, rows_after) = {
        let world = sim.world();
        (world.queues.len(), world.orphans_after, world.rows_after)
    };
    let queues = (0..regions).map(|region| QueueClient::new(client.clone(), region)).collect();
    let it = Arc::new(Dispatcher { objects: ObjectClient(client.clone()), client, queues, orphans_after, rows_after });
    macro_rules! repeat {
        ($every:literal, $turn:ident) => {{
            let it = it.clone();
            sim.spawn(process, async move {
                loop {
                    let wait = if it.$turn().await.is_ok() { $every } else { $every * 2 };
                    let wait = it.client.sim.random(wait / 2..wait * 3 / 2);
                    it.client.sim.sleep(wait).await;
                }
            });
        }};
    }
    repeat!(700, release_once);
    repeat!(1_200, rescue_once);
    repeat!(900, publish_once);
    repeat!(3_000, relieve_once);
    repeat!(2_500, check_regions_once);
    repeat!(9_000, drain_dead_letters_once);
    repeat!(8_000, sweep_once);
}

impl Dispatcher {
    fn does(&self, deviation: Deviation) -> bool {
        self.client.sim.world().does(deviation)
    }

    async fn release_once(&self) -> Result<(), Later> {
        let regions = self.queues.len();
        let views = self.client.call(Server::Store, "region_loads", move |w| {
            let (loads, down) = (w.store.region_loads(LEASE), w.store.unhealthy_regions());
            let names = (0..regions).map(|r| r.to_string());
            names.map(|name| RegionView::new(&name, !down.contains(&name), &loads)).collect::<Vec<_>>()
        });
        let views = views.await?;
        let room: u64 = views.iter().map(RegionView::room).sum();
        if room > 0 {
            let limit = u32::try_from(room * 2).unwrap_or(200).clamp(16, 200);
            let candidates =
                self.client.call(Server::Store, "candidates", move |w| w.store.candidates(limit, PATIENCE)).await?;
            let chosen = route_all(candidates, views);
            if !chosen.is_empty() {
                self.client.call(Server::Store, "release", move |w| w.store.release(&chosen)).await?;
            }
        }
        for (region, queue) in self.queues.iter().enumerate() {
            self.relay(region, queue).await?;
        }
        Ok(())
    }

    async fn relay(&self, region: usize, queue: &QueueClient) -> Result<(), Later> {
        let name = region.to_string();
        let rows = self.client.call(Server::Store, "outbox", move |w| w.store.take_outbox(&name, MAX_BATCH)).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let messages: Vec<Message> = rows.iter().map(|r| r.message).collect();
        match queue.send(&messages).await {
            Ok(accepted) => {
                let ids: Vec<i64> = accepted.iter().filter_map(|i| rows.get(*i)).map(|r| r.id).collect();
                self.client.call(Server::Store, "delete_outbox", move |w| w.store.delete_outbox(&ids)).await?;
            }
            Err(error) => self.note_failure(region, &error).await?,
        }
        Ok(())
    }

    async fn note_failure(&self, region: usize, error: &QueueError) -> Result<(), Later> {
        let (name, reason) = (region.to_string(), error.to_string());
        let failing =
            self.client.call(Server::Store, "note_region", move |w| w.store.note_region(&name, Some(&reason))).await?;
        if failing >= REGION {
            self.mark(region.to_string(), false).await?;
        }
        Ok(())
    }

    async fn mark(&self, region: String, healthy: bool) -> Result<(), Later> {
        let mark = move |w: &mut World| w.store.set_region_health(&region, healthy);
        self.client.call(Server::Store, "set_region_health", mark).await?;
        Ok(())
    }

    async fn check_regions_once(&self) -> Result<(), Later> {
        for (region, queue) in self.queues.iter().enumerate() {
            match queue.depth().await {
                Ok(_) => {
                    let name = region.to_string();
                    self.client.call(Server::Store, "note_region", move |w| w.store.note_region(&name, None)).await?;
                }
                Err(error) => self.note_failure(region, &error).await?,
            }
        }
        let silent = self.client.call(Server::Store, "silent_regions", |w| w.store.silent_regions(REGION)).await?;
        for region in &silent {
            self.mark(region.clone(), false).await?;
        }
        let back = self.client.call(Server::Store, "recovered_regions", |w| w.store.recovered_regions(REGION)).await?;
        for region in back.into_iter().filter(|r| !silent.contains(r)) {
            self.mark(region, true).await?;
        }
        let down = self.client.call(Server::Store, "unhealthy_regions", |w| w.store.unhealthy_regions()).await?;
        for name in down {
            let region = name.clone();
            self.client.call(Server::Store, "recall", move |w| w.store.recall(&region)).await?;
            self.client.call(Server::Store, "clear_outbox", move |w| w.store.clear_outbox(&name)).await?;
        }
        Ok(())
    }

    async fn rescue_once(&self) -> Result<(), Later> {
        self.client.call(Server::Store, "take_back_lost", |w| w.take_back_lost()).await?;
        self.client.call(Server::Store, "bury", |w| w.store.bury_silent_workers(LEASE)).await?;
        let withdraw =
            |w: &mut World| w.store.withdraw_suspect().map_or(std::task::Poll::Pending, std::task::Poll::Ready);
        while self.client.call_locking(Server::Store, "withdraw_suspect", withdraw).await?.is_some() {}
        self.client.call(Server::Store, "resend", |w| w.store.resend(PATIENCE)).await?;
        for gone in self.client.call(Server::Store, "given_up", |w| w.store.given_up(PATIENCE)).await? {
            // What was seen may not be so any more.
            self.client.stop_now_and_then(4).await;
            if gone.code == FailureCode::CopyImpossible {
                let replan = move |w: &mut World| {
                    w.store.replan_without_copy(&gone).map_or(std::task::Poll::Pending, std::task::Poll::Ready)
                };
                self.client.call_locking(Server::Store, "replan", replan).await?;
            } else {
                self.client.call(Server::Store, "fail", move |w| w.store.fail_given_up(&gone)).await?;
            }
        }
        Ok(())
    }

    /// Anybody may seem slow. Whoever was seen at work may not be by the time that something is done about it.
    async fn relieve_once(&self) -> Result<(), Later> {
        let at_work = self.client.call(Server::Store, "chunks_at_work", |w| w.store.chunks_at_work()).await?;
        let Some(last) = at_work.len().checked_sub(1) else { return Ok(()) };
        let (chosen, is_split) = {
            let mut world = self.client.sim.world();
            (at_work[world.random.usize(0..=last)], world.random.u32(0..3) > 0)
        };
        let wait = self.client.sim.random(0..8_000);
        self.client.sim.sleep(wait).await;
        self.client.call(Server::Store, "relieve", move |w| w.relieve(chosen, is_split)).await?;
        Ok(())
    }

    async fn drain_dead_letters_once(&self) -> Result<(), Later> {
        for (region, queue) in self.queues.iter().enumerate() {
            if self.does(Deviation::DeadLetterFails)
                && let Some(dead) = queue.dead_letters()
                && let Ok(letters) = dead.receive(MAX_BATCH, Duration::ZERO, Duration::from_secs(60)).await
            {
                for message in letters.iter().filter_map(|l| l.message) {
                    let fail = move |w: &mut World| w.store.fail(message.job, FailureCode::OutputFailed);
                    self.client.call(Server::Store, "fail", fail).await?;
                }
            }
            drain_dead_letters(&region.to_string(), queue).await.map_err(|_| Later)?;
        }
        Ok(())
    }

    async fn sweep_once(&self) -> Result<(), Later> {
        let after = self.orphans_after;
        let unswept = self.client.call(Server::Store, "unswept", move |w| unswept(w, after)).await?;
        for job in unswept {
            self.sweep_job(job).await?;
        }
        if let Some(after) = self.rows_after {
            self.client.call(Server::Store, "delete_old_jobs", move |w| w.store.delete_old_jobs(after)).await?;
            self.client.stop_now_and_then(4).await;
            let removed = self.client.call(Server::Store, "removed_jobs", |w| w.store.removed_jobs(NO_WRITER)).await?;
            for job in removed {
                self.sweep_removed_job(job).await?;
            }
        }
        Ok(())
    }

    async fn sweep_removed_job(&self, job: RemovedJob) -> Result<(), Later> {
        let listed = self.objects.list(&keys::job_prefix(job.organisation, job.job, 1), None).await?;
        self.objects.delete(&listed.into_iter().map(|o| o.key).collect::<Vec<_>>()).await?;
        if job.is_settled {
            self.client.call(Server::Store, "forget", move |w| w.store.forget_removed_job(job.job)).await?;
        }
        Ok(())
    }

    /// First the list, then the rows.
    async fn sweep_job(&self, job: Unswept) -> Result<(), Later> {
        let root = keys::job_prefix(job.organisation, job.job, 1);
        let early = if self.does(Deviation::SweepReadsRowsFirst) { self.files(&job).await? } else { None };
        let mut listed = self.objects.list(&root, None).await?;
        if self.does(Deviation::SweepSparesLateWrites) {
            listed.retain(|o| o.modified < moment(job.finished_at));
        }
        let Some(files) = (if early.is_some() { early } else { self.files(&job).await? }) else { return Ok(()) };
        let current = keys::job_prefix(job.organisation, job.job, job.generation);
        let listed: Vec<String> = listed.into_iter().map(|o| o.key).collect();
        let shared = self.shared_names(&listed, &files);
        let mut orphans = orphans(listed, &current, files, job.is_settled);
        orphans.extend(shared);
        self.objects.delete(&orphans).await?;
        if !job.is_settled {
            return Ok(());
        }
        let id = job.job;
        self.client.call(Server::Store, "mark_swept", move |w| w.store.mark_swept(id)).await?;
        Ok(())
    }

    /// What planted faults take besides.
    fn shared_names(&self, listed: &[String], files: &[(String, String)]) -> Vec<String> {
        let (all, unnamed) = (self.does(Deviation::SweepForgetsInits), self.does(Deviation::SweepTakesSharedNames));
        let is_named = |key: &str| files.iter().any(|(folder, file)| key.ends_with(&format!("/{folder}/{file}")));
        let goes = |key: &&String| key.contains("/init_") && (all || unnamed && !is_named(key));
        listed.iter().filter(goes).cloned().collect()
    }

    async fn files(&self, job: &Unswept) -> Result<Option<Vec<(String, String)>>, Unreachable> {
        let job = job.clone();
        let files = self.client.call(Server::Store, "files_of_ended", move |w| w.store.files_of_ended(&job)).await?;
        self.client.stop_now_and_then(4).await;
        Ok(files)
    }
}
