//! Random operations, on both stores.

mod dispatcher;

use std::fmt::Debug;
use std::time::Duration;

use fleet::failure::FailureCode;
use fleet::plan::Backend;
use fleet::queue::Message;
use fleet::state::ChunkState;
use fleet::store::jobs::NewJob;
use fleet::store::rescue::{GivenUp, Patience};
use fleet::store::work::{AttemptId, Beat, Claimed, Completion, Ending, NewFile, NewPlan, Work};
use uuid::Uuid;

use super::Both;
use crate::fleet_processes::new_job;
use crate::simulation::film::{Film, init_facts};
use crate::simulation::memory::{self, Segment};

const LEASE: Duration = Duration::from_secs(11);
const LEASE_MS: i64 = 11_000;
const PATIENCE: Patience = Patience { deaths: 3, tries: 3, resend_after: Duration::from_secs(15) };

/// What was done, or how the two differ.
type Told = Result<String, String>;

/// Compares two answers.
fn same(what: String, sql: &impl Debug, memory: &impl Debug) -> Told {
    let (sql, memory) = (format!("{sql:?}"), format!("{memory:?}"));
    if sql == memory {
        Ok(format!("  {what} -> {sql}"))
    } else {
        Err(format!("{what}\n  Postgres {sql}\n  memory   {memory}"))
    }
}

impl Both {
    /// One operation.
    pub(super) async fn step(&mut self) -> Told {
        match self.random.u32(0..100) {
            0..6 => self.submit().await,
            6..18 => self.release().await,
            18..32 => self.claim().await,
            32..36 => self.heartbeat().await,
            36..44 => self.store_plan().await,
            44..62 => self.commit().await,
            62..70 => self.complete().await,
            70..72 => self.end_attempt().await,
            72..74 => self.straggler().await,
            74..77 => self.rescue().await,
            77..80 => self.people().await,
            80..84 => self.publication().await,
            84..86 => self.retention().await,
            86..88 => self.worker().await,
            88..90 => self.region().await,
            90..92 => self.device().await,
            _ => {
                let ms = self.random.i64(0..6) * self.random.i64(1..3_000);
                self.advance(ms).await;
                Ok(format!("  {ms} ms pass"))
            }
        }
    }

    fn job(&mut self) -> Uuid {
        let ids: Vec<Uuid> = self.memory.jobs.keys().copied().collect();
        if ids.is_empty() { Uuid::nil() } else { ids[self.random.usize(0..ids.len())] }
    }

    /// An attempt that somebody holds or held.
    fn attempt(&mut self, wanted: impl Fn(&Work) -> bool) -> Option<AttemptId> {
        let is_wanted = |id: &&AttemptId| {
            let chunk = self.memory.jobs.get(&id.job).and_then(|j| j.chunks.get(&id.chunk));
            chunk.is_some_and(|c| wanted(&c.work))
        };
        let found: Vec<AttemptId> = self.attempts.iter().filter(is_wanted).copied().collect();
        // The last ones mostly still hold their leases.
        let from = if self.random.bool() { found.len().saturating_sub(4) } else { 0 };
        (!found.is_empty()).then(|| found[self.random.usize(from..found.len())])
    }

    async fn submit(&mut self) -> Told {
        if self.memory.jobs.len() >= 12 {
            return Ok(String::new());
        }
        let organisation = self.organisations[self.random.usize(0..2)];
        let home = self.random.u32(0..2).to_string();
        let new = NewJob { home_region: home.clone(), ..new_job(organisation) };
        let id = self.sql.submit(&new).await.map_err(|e| e.to_string())?;
        self.memory.submit(id, organisation, &home, false);
        Ok(format!("  submit {id}"))
    }

    async fn release(&mut self) -> Told {
        let limit = self.random.u32(1..12);
        let there = self.sql.candidates(limit, PATIENCE).await.map_err(|e| e.to_string())?;
        let here = self.memory.candidates(limit, PATIENCE);
        same(format!("candidates {limit}"), &there, &here)?;
        let mut chosen: Vec<_> = there.into_iter().map(|c| (c, self.random.u32(0..2).to_string())).collect();
        if let Some((stale, _)) = chosen.first_mut().filter(|_| self.random.u32(0..6) == 0) {
            stale.attempt -= 1;
        }
        let there = self.sql.release(&chosen).await.map_err(|e| e.to_string())?;
        same(format!("release {}", chosen.len()), &there, &self.memory.release(&chosen))
    }

    async fn claim(&mut self) -> Told {
        let mut queued: Vec<Message> = Vec::new();
        for (job, row) in &self.memory.jobs {
            let open = row.chunks.iter().filter(|(_, c)| matches!(c.state, ChunkState::Queued | ChunkState::Running));
            queued.extend(open.map(|(n, c)| Message::new(*job, *n, c.attempt)));
        }
        if queued.is_empty() || self.workers.is_empty() {
            return Ok(String::new());
        }
        let mut message = queued[self.random.usize(0..queued.len())];
        message.attempt -= i32::from(self.random.u32(0..8) == 0);
        let (worker, region) = self.workers[self.random.usize(0..self.workers.len())].clone();
        let backends = ["x264".to_owned()];
        let there = self.sql.claim(&message, worker, &region, &backends, LEASE).await.map_err(|e| e.to_string())?;
        let there = match there {
            Claimed::Ours(claim) => Some((claim.id, claim.work, claim.generation, claim.plan.is_some())),
            Claimed::Stale | Claimed::OtherBackend | Claimed::Elsewhere => None,
        };
        let here = match self.memory.claim(message, worker, LEASE_MS) {
            memory::Claimed::Ours(task) => Some((task.id, task.work, task.generation, task.plan.is_some())),
            memory::Claimed::Stale | memory::Claimed::Elsewhere => None,
        };
        self.attempts.extend(there.iter().map(|(id, ..)| *id));
        same(format!("claim {message:?}"), &there, &here)
    }

    async fn heartbeat(&mut self) -> Told {
        let Some(id) = self.attempt(|_| true) else { return Ok(String::new()) };
        // Now and then under the name of another worker.
        let other = self.workers[self.random.usize(0..self.workers.len())].0;
        let worker = if self.random.u32(0..6) == 0 { other } else { id.worker };
        let beats = [Beat { id: AttemptId { worker, ..id }, progress: self.random.u64(0..900) }];
        let there = self.sql.heartbeat(worker, &beats, LEASE).await.map_err(|e| e.to_string())?;
        same(format!("heartbeat {beats:?}"), &there, &self.memory.heartbeat(worker, &beats, LEASE_MS))
    }

    async fn store_plan(&mut self) -> Told {
        let Some(id) = self.attempt(|w| *w == Work::Plan) else { return Ok(String::new()) };
        let film = Film::draw(&mut self.random);
        let row = film.row();
        let new = NewPlan {
            plan: &film.plan,
            backend: Backend::X264,
            source_identity: "x",
            warnings: &[],
            chunks: &row.chunks,
            source_bytes: 9,
        };
        let there = self.sql.store_plan(id, &new).await.map_err(|e| e.to_string())?;
        let told = same(format!("store_plan {id:?}"), &there, &self.memory.store_plan(id, row.clone()));
        if there {
            self.films.insert(id.job, film);
        }
        told
    }

    async fn commit(&mut self) -> Told {
        let Some(id) = self.attempt(|w| *w != Work::Plan) else { return Ok(String::new()) };
        let Some(job) = self.memory.jobs.get(&id.job) else { return Ok(String::new()) };
        let Some((plan, chunk)) = job.plan.clone().zip(job.chunks.get(&id.chunk).cloned()) else {
            return Ok(String::new());
        };
        let (names, first) = match &chunk.work {
            Work::Audio { rendition } => (vec![rendition.clone()], 0),
            Work::Video { first, .. } => (plan.videos, *first),
            Work::Plan | Work::Clip => return Ok(String::new()),
        };
        let name = names[self.random.usize(0..names.len())].clone();
        if self.random.u32(0..5) == 0 {
            let uri = format!("init_{}.mp4", self.random.u32(0..2));
            let there = self.sql.commit_init(id, &name, &uri, &init_facts(false)).await.map_err(|e| e.to_string())?;
            return same(format!("commit_init {id:?} {name}"), &there, &self.memory.commit_init(id, &name, &uri));
        }
        // Now and then past the end that the chunk has, or that a split gave it.
        let index = first + self.random.u64(0..3);
        let uri = fleet::keys::segment(index, id.attempt);
        let (first, count) = (index * 150, 150);
        let facts = serde_json::json!({});
        let file = NewFile { rendition: &name, index, uri: &uri, bytes: 9, first, count, seconds: 6.0, facts };
        let there = self.sql.commit_file(id, &file).await.map_err(|e| e.to_string())?;
        let row =
            Segment { chunk: id.chunk, attempt: id.attempt, uri: uri.clone(), bytes: 9, first, count, committed_at: 0 };
        same(format!("commit {id:?} {name} {index}"), &there, &self.memory.commit_segment(id, &name, index, row))
    }

    async fn complete(&mut self) -> Told {
        let Some(id) = self.attempt(|w| *w != Work::Plan) else { return Ok(String::new()) };
        let Some(job) = self.memory.jobs.get(&id.job) else { return Ok(String::new()) };
        let names = job.plan.as_ref().map(|p| p.videos.clone()).unwrap_or_default();
        let work = job.chunks.get(&id.chunk).map(|c| c.work.clone());
        let made = self.random.u64(0..900);
        let strict = self.random.bool();
        let done = match &work {
            Some(Work::Video { first, end }) => Completion {
                segments: strict.then(|| (names, *first, end.unwrap_or(first + 1))),
                made,
                source_end: end.is_none().then_some(first * 150 + 150),
                damaged: self.random.u64(0..2),
                ..Completion::default()
            },
            Some(Work::Audio { rendition }) => {
                Completion { made, ended_rendition: Some(rendition), ..Completion::default() }
            }
            _ => return Ok(String::new()),
        };
        let asked: Vec<String> = done.segments.iter().flat_map(|(names, ..)| names.clone()).collect();
        let there = self.sql.committed(id.job, 0, Some(3), &asked).await.map_err(|e| e.to_string())?;
        same(format!("committed {}", id.job), &there, &self.memory.committed(id.job, 0, Some(3), &asked))?;
        let there = self.sql.complete(id, &done).await.map_err(|e| e.to_string())?;
        same(format!("complete {id:?}"), &there, &self.memory.complete(id, &done))
    }

    async fn end_attempt(&mut self) -> Told {
        let Some(id) = self.attempt(|_| true) else { return Ok(String::new()) };
        let message = String::new();
        let ending = match self.random.u32(0..4) {
            0 => Ending::HandedBack,
            1 => Ending::GaveUp { code: FailureCode::CopyImpossible, message },
            _ => Ending::TryAgain { code: FailureCode::OutputFailed, message, after: Duration::from_millis(1_500) },
        };
        let there = self.sql.end_attempt(id, 7, &ending).await.map_err(|e| e.to_string())?;
        same(format!("end {id:?} {ending:?}"), &there, &self.memory.end_attempt(id, 7, &ending))
    }

    async fn straggler(&mut self) -> Told {
        let Some(id) = self.attempt(|w| matches!(w, Work::Video { .. })) else { return Ok(String::new()) };
        let AttemptId { job, chunk, attempt, .. } = id;
        if self.random.u32(0..3) == 0 {
            let there = self.sql.take_back_slow(job, chunk, attempt).await.map_err(|e| e.to_string())?;
            return same(format!("take back {id:?}"), &there, &self.memory.take_back_slow(job, chunk, attempt));
        }
        let segments = self.films.get(&job).map_or(0, Film::segments);
        let there = self.sql.split_chunk(job, chunk, attempt).await.map_err(|e| e.to_string())?;
        same(format!("split {id:?}"), &there, &self.memory.split_chunk(job, chunk, attempt, segments))
    }

    async fn rescue(&mut self) -> Told {
        match self.random.u32(0..6) {
            0 | 1 => {
                let there = self.sql.take_back_lost(200).await.map_err(|e| e.to_string())?;
                let mut there: Vec<_> =
                    there.into_iter().map(|l| (l.job, l.chunk, l.attempt, l.worker, l.deaths)).collect();
                let here = self.memory.take_back_lost();
                let mut here: Vec<_> =
                    here.into_iter().map(|l| (l.job, l.chunk, l.attempt, l.worker, l.deaths)).collect();
                there.sort_unstable();
                here.sort_unstable();
                same("take_back_lost".to_owned(), &there, &here)
            }
            2 => {
                let there = self.sql.resend(PATIENCE).await.map_err(|e| e.to_string())?;
                same("resend".to_owned(), &there, &self.memory.resend(PATIENCE))
            }
            3 => {
                let region = self.random.u32(0..2).to_string();
                let there = self.sql.recall(&region).await.map_err(|e| e.to_string())?;
                same(format!("recall {region}"), &there, &self.memory.recall(&region))
            }
            4 => {
                let there = self.sql.given_up(PATIENCE).await.map_err(|e| e.to_string())?;
                let unsaid = |g: GivenUp| GivenUp { message: String::new(), ..g };
                let there: Vec<_> = there.into_iter().map(unsaid).collect();
                same("given_up".to_owned(), &there, &self.memory.given_up(PATIENCE))
            }
            _ => {
                let Some(gone) = self.given_up() else { return Ok(String::new()) };
                let there = self.sql.replan_without_copy(&gone).await.map_err(|e| e.to_string())?;
                same(format!("replan {gone:?}"), &Some(there), &self.memory.replan_without_copy(&gone))
            }
        }
    }

    /// A chunk as if it had been given up; now and then in an earlier try.
    fn given_up(&mut self) -> Option<GivenUp> {
        let job = self.job();
        let chunks: Vec<(i32, i32)> = self.memory.jobs.get(&job)?.chunks.iter().map(|(n, c)| (*n, c.attempt)).collect();
        let (chunk, attempt) = chunks[self.random.usize(0..chunks.len())];
        let attempt = attempt - i32::from(self.random.u32(0..4) == 0);
        Some(GivenUp { job, chunk, attempt, code: FailureCode::NotMedia, message: String::new() })
    }

    async fn people(&mut self) -> Told {
        let job = self.job();
        if job.is_nil() {
            return Ok(String::new());
        }
        match self.random.u32(0..4) {
            0 => {
                let there = self.sql.cancel(job).await;
                same(format!("cancel {job}"), &there.ok(), &self.memory.cancel(job).ok())
            }
            1 => {
                let Some(gone) = self.given_up() else { return Ok(String::new()) };
                let there = self.sql.fail_given_up(&gone).await.map_err(|e| e.to_string())?;
                same(format!("fail {gone:?}"), &there, &self.memory.fail_given_up(&gone))
            }
            2 => {
                let there = self.sql.retry(job).await;
                same(format!("retry {job}"), &there.ok(), &self.memory.retry(job).ok())
            }
            _ => {
                // Six seconds are a segment.
                let there = self.sql.focus(job, 13.0).await;
                same(format!("focus {job}"), &there.ok(), &self.memory.focus(job, 2).ok())
            }
        }
    }
}
