//! One claimed chunk, from claim to end, as in `worker::service`: what was committed is not made again, and a failure
//! ends the attempt as `worker::service::ending` says.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fleet::failure::FailureCode;
use fleet::queue::{Queue, Receipt};
use fleet::store::work::{AttemptId, Completed, Completion, Work};
use worker::service::ending::{Failure, ending};
use worker::service::lease::Held;
use worker::service::resume::next_segment;

use super::Service;
use super::commit::Committer;
use crate::simulation::deviation::Deviation;
use crate::simulation::executor::unless;
use crate::simulation::faults::Fault;
use crate::simulation::film::Film;
use crate::simulation::memory::Task;
use crate::simulation::network::{Server, Unreachable};
use crate::simulation::world::World;

/// Engines that may die on a chunk in a row without a new segment, before the chunk goes to another worker.
const ENGINES: u32 = 2;

/// How an attempt's work ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    LeaseLost,
    Drained,
    Shortened,
    Failed(FailureCode),
}

/// Works on a chunk, whose claim was sent at `asked`, and ends the attempt, one way or another.
pub(super) async fn run(service: &Arc<Service>, task: Task, asked: Duration, receipt: Receipt) {
    let id = task.id;
    let asked = {
        let world = service.client.sim.world();
        if world.does(Deviation::LeaseCountsFromAnswer) { world.clock() } else { asked }
    };
    let held = service.leases.enter(id, receipt.clone(), asked);
    let progress = held.progress.clone();
    let film = service.client.sim.world().films.get(&id.job).cloned();
    let outcome = match film {
        Some(film) => {
            let lost = held.lost.clone();
            let attempt = Attempt { service: service.clone(), task: task.clone(), film, held };
            let watched = service.clone();
            let stop = move || match (*lost.borrow(), watched.is_cut_short()) {
                (true, _) => Some(Stop::LeaseLost),
                (_, true) => Some(Stop::Drained),
                _ => None,
            };
            // Dropping the work kills its engine, and with it what it uploads.
            unless(attempt.work(), stop).await.unwrap_or_else(Err)
        }
        None => Err(Stop::Failed(FailureCode::SourceNotFound)),
    };
    if let Err(stop) = outcome {
        end(service, &task, progress.load(Relaxed), stop).await;
    }
    service.leases.leave(id);
    if service.queue.delete(&[receipt]).await.is_err() {
        service.client.sim.world().say(|_| "the message comes again, and is stale then".to_owned());
    }
}

/// Records how an attempt ended that did not finish its chunk.
async fn end(service: &Arc<Service>, task: &Task, made: u64, stop: Stop) {
    let code = match stop {
        Stop::LeaseLost => return,
        // Nobody's fault, as any interruption.
        Stop::Drained | Stop::Shortened => FailureCode::Cancelled,
        Stop::Failed(code) => code,
    };
    let chance = service.client.sim.world().random.f64();
    let failure = Failure { code, message: String::new(), copies: task.copies && task.plan.is_some() };
    let (id, ending) = (task.id, ending(&task.work, task.id.attempt, failure, chance));
    let recorded = again(service, id, "end_attempt", move |w| w.store.end_attempt(id, made, &ending)).await;
    if recorded.is_err() {
        service.client.sim.world().say(|_| "an attempt's end was not recorded; its lease will end".to_owned());
    }
}

/// Repeats a call of the store while it is away and the lease may still be ours.
pub(super) async fn again<T: std::fmt::Debug + Send + 'static>(
    service: &Arc<Service>,
    id: AttemptId,
    name: &'static str,
    op: impl Fn(&mut World) -> T + Clone + Send + 'static,
) -> Result<T, Stop> {
    let mut pause = 100;
    loop {
        match service.client.call(Server::Store, name, op.clone()).await {
            Ok(value) => return Ok(value),
            Err(Unreachable) if !service.holds(id) => return Err(Stop::LeaseLost),
            Err(Unreachable) => service.client.sim.sleep(pause).await,
        }
        pause = (pause * 2).min(2_000);
    }
}

pub(super) struct Attempt {
    pub(super) service: Arc<Service>,
    pub(super) task: Task,
    pub(super) film: Film,
    held: Held,
}

impl Attempt {
    async fn work(&self) -> Result<(), Stop> {
        match self.task.work.clone() {
            Work::Plan => self.plan().await,
            Work::Video { first, end } => self.video(first, end).await,
            Work::Audio { rendition } => self.audio(rendition).await,
            // Nobody asks for files of clips here.
            Work::Clip => Err(Stop::Failed(FailureCode::Internal)),
        }
    }

    fn does(&self, deviation: Deviation) -> bool {
        self.service.client.sim.world().does(deviation)
    }

    /// Has the engine run for a while; it may die of it, or take the machine with it.
    async fn engine(&self, ms: i64) -> Result<(), Stop> {
        let sim = self.service.client.sim.clone();
        let process = self.service.client.process;
        sim.sleep(ms).await;
        let id = self.task.id;
        let is_poison = {
            let mut world = sim.world();
            world.watch_engine(process, id);
            if world.poison == Some((id.job, id.chunk)) {
                world.say(|w| format!("{} dies of chunk {}", w.processes[process].name, id.chunk));
                world.kill(process);
                true
            } else if world.weather.foul && world.engines_to_die > 0 {
                world.engines_to_die -= 1;
                world.strike(Fault::EngineDied);
                world.processes[process].disturbed_at = world.now;
                return Err(Stop::Failed(FailureCode::EngineCrashed));
            } else {
                false
            }
        };
        if is_poison {
            super::boot(&sim, process, 500);
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn plan(&self) -> Result<(), Stop> {
        self.engine(self.film.encode_ms / 2).await?;
        if self.film.is_junk {
            return Err(Stop::Failed(FailureCode::NotMedia));
        }
        let (id, row) = (self.task.id, self.film.row());
        let stored = again(&self.service, id, "store_plan", move |w| w.store.store_plan(id, row.clone())).await?;
        if stored { Ok(()) } else { Err(Stop::LeaseLost) }
    }

    async fn video(&self, first: u64, mut end: Option<u64>) -> Result<(), Stop> {
        let names = self.task.plan.as_ref().map(|p| p.videos.clone()).unwrap_or_default();
        let mut deaths = 0;
        loop {
            end = self.held.end(end);
            let have = self.committed(first, end, names.clone()).await?;
            let resume = next_segment(first, end, &names, &have).filter(|_| !self.does(Deviation::StartsOver));
            if let (None, Some(end)) = (resume, end)
                && !self.does(Deviation::StartsOver)
            {
                match self.complete(Some((names.clone(), first, end)), None, None).await? {
                    Completed::SegmentsMissing => continue,
                    _ => return Ok(()),
                }
            }
            let before = have.len();
            let mut committer = Committer::new(self, have);
            match self.segments(&mut committer, &names, (resume.unwrap_or(first), end)).await {
                Ok(()) => {
                    let whole = self.film.segments();
                    let last = self.held.end(end).map_or(whole, |e| e.min(whole)).max(first);
                    let source_end = end.is_none().then_some(self.film.frames);
                    match self.complete(Some((names.clone(), first, last)), source_end, None).await? {
                        Completed::SegmentsMissing if deaths < ENGINES => deaths += 1,
                        Completed::SegmentsMissing => return Err(Stop::Failed(FailureCode::OutputFailed)),
                        _ => return Ok(()),
                    }
                }
                Err(Stop::Shortened) => {}
                Err(Stop::Failed(FailureCode::EngineCrashed)) => {
                    committer.settle_all().await?;
                    let now = self.committed(first, end, names.clone()).await?;
                    deaths = if now.len() > before { 1 } else { deaths + 1 };
                    if deaths >= ENGINES {
                        return Err(Stop::Failed(FailureCode::EngineCrashed));
                    }
                }
                Err(Stop::Drained) if self.does(Deviation::DrainLosesBorder) => {
                    self.complete(None, None, None).await?;
                    return Ok(());
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Has an engine make the segments and commits them as they come.
    async fn segments(
        &self,
        committer: &mut Committer<'_>,
        names: &[String],
        (resume, end): (u64, Option<u64>),
    ) -> Result<(), Stop> {
        for index in resume..end.unwrap_or(u64::MAX).min(self.film.segments()) {
            if self.held.end(end).is_some_and(|end| index >= end) {
                committer.settle_all().await?;
                return Err(Stop::Shortened);
            }
            self.engine(self.film.encode_ms).await?;
            if self.task.copies && self.film.defies_copying && index > 0 {
                return Err(Stop::Failed(FailureCode::Internal));
            }
            self.service.client.sim.world().watch_encoded(&self.task, names, index);
            for name in names {
                committer.init(name).await?;
                committer.segment(name, index).await?;
            }
            self.held.progress.fetch_add(self.film.span(index).1, Relaxed);
            if self.service.is_draining() {
                committer.settle_all().await?;
                return Err(Stop::Drained);
            }
        }
        committer.settle_all().await
    }

    async fn audio(&self, rendition: String) -> Result<(), Stop> {
        let names = vec![rendition.clone()];
        let mut deaths = 0;
        loop {
            let have = self.committed(0, None, names.clone()).await?;
            let first = (0..).find(|i| !have.contains(&(rendition.clone(), *i))).unwrap_or(0);
            let before = have.len();
            let mut committer = Committer::new(self, have);
            let mut outcome = Ok(());
            for index in first..self.film.segments() {
                outcome = self.engine(self.film.encode_ms / 10).await;
                if outcome.is_err() {
                    break;
                }
                committer.init(&rendition).await?;
                committer.segment(&rendition, index).await?;
                if self.service.is_draining() {
                    committer.settle_all().await?;
                    return Err(Stop::Drained);
                }
            }
            committer.settle_all().await?;
            if outcome.is_ok() {
                self.complete(None, None, Some(rendition)).await?;
                return Ok(());
            }
            let now = self.committed(0, None, names.clone()).await?;
            deaths = if now.len() > before { 1 } else { deaths + 1 };
            if deaths >= ENGINES {
                return outcome;
            }
        }
    }

    async fn committed(
        &self,
        first: u64,
        end: Option<u64>,
        names: Vec<String>,
    ) -> Result<HashSet<(String, u64)>, Stop> {
        let id = self.task.id;
        let asked = move |w: &mut World| w.store.committed(id.job, first, end, &names);
        Ok(again(&self.service, id, "committed", asked).await?.into_iter().collect())
    }

    async fn complete(
        &self,
        segments: Option<(Vec<String>, u64, u64)>,
        source_end: Option<u64>,
        ended: Option<String>,
    ) -> Result<Completed, Stop> {
        let (id, made) = (self.task.id, self.held.progress.load(Relaxed));
        let complete = move |w: &mut World| {
            let ended_rendition = ended.as_deref();
            let segments = segments.clone();
            w.store.complete(id, &Completion { segments, made, source_end, ended_rendition, ..Completion::default() })
        };
        match again(&self.service, id, "complete", complete).await? {
            Completed::LeaseLost => Err(Stop::LeaseLost),
            other => Ok(other),
        }
    }
}
