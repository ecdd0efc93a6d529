//! Random operations of dispatchers: publication, retention, workers, regions, messages, devices.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet::failure::FailureCode;
use fleet::queue::Message;
use fleet::store::publication::Publication;
use fleet::store::workers::{NewWorker, WorkerBeat};
use uuid::Uuid;

use super::super::Both;
use super::{LEASE, LEASE_MS, Told, same};
use crate::simulation::objects::moment;
use crate::simulation::world::seconds;

const NO_WRITER: Duration = Duration::from_secs(9);
const NO_WRITER_MS: i64 = 9_000;

impl Both {
    pub(super) async fn publication(&mut self) -> Told {
        let there = self.sql.begin_publishing().await.map_err(|e| e.to_string())?;
        same("begin_publishing".to_owned(), &there, &self.memory.begin_publishing())?;
        let there = self.sql.growth().await.map_err(|e| e.to_string())?;
        same("growth".to_owned(), &there, &self.memory.growth())?;
        let (job, generation) = (self.job(), self.random.i32(1..3));
        if job.is_nil() {
            return Ok(String::new());
        }
        self.locks += 1;
        let there = self.sql.lock_publication(job, generation).await.map_err(|e| e.to_string())?;
        let here = self.memory.lock_publication(job, generation, self.locks);
        let (Some(there), Some(here)) = (there, here.clone()) else {
            return same(format!("lock {job}"), &false, &here.is_some());
        };
        let listed = self.random.u64(0..4);
        match self.random.u32(0..5) {
            0 => {
                let relocked = there.promise(listed).await.map_err(|e| e.to_string())?;
                same(format!("promise {job}"), &Ok::<(), ()>(()), &self.memory.promise(&here, listed).map_err(|_| ()))?;
                same("relock".to_owned(), &relocked.is_some(), &true)
            }
            1 => {
                let ms = listed * 6_000;
                there.grown(listed, ms).await.map_err(|e| e.to_string())?;
                same(format!("grown {job}"), &Ok::<(), ()>(()), &self.memory.grown(&here, listed, ms).map_err(|_| ()))
            }
            2 => {
                let failed = there.fail(FailureCode::Internal, "").await.map_err(|e| e.to_string())?;
                let here = self.memory.fail_publication(&here, FailureCode::Internal);
                same(format!("fail publication {job}"), &Ok::<bool, ()>(failed), &here.map_err(|_| ()))
            }
            _ => {
                let done = Publication {
                    summary: serde_json::json!({}),
                    duration_ms: 6_000,
                    warnings: Vec::new(),
                    bytes: 9,
                    segments: 1,
                };
                let there = there.publish(&done).await.map_err(|e| e.to_string())?;
                same(
                    format!("publish {job}"),
                    &Ok::<bool, ()>(there),
                    &self.memory.publish(&here, 6_000).map_err(|_| ()),
                )
            }
        }
    }

    pub(super) async fn retention(&mut self) -> Told {
        if self.random.u32(0..8) == 0 {
            return self.removal().await;
        }
        let there = self.sql.unswept(Duration::from_secs(5), NO_WRITER, 100).await.map_err(|e| e.to_string())?;
        let here = self.memory.unswept(5_000, NO_WRITER_MS);
        let text = |id: Uuid, generation: i32, at: time::OffsetDateTime, settled: bool| {
            format!("{id} {generation} {at} {settled}")
        };
        let mut said: Vec<_> = there.iter().map(|u| text(u.id, u.generation, u.finished_at, u.is_settled)).collect();
        let mut told: Vec<_> =
            here.iter().map(|u| text(u.job, u.generation, moment(u.finished_at), u.is_settled)).collect();
        said.sort_unstable();
        told.sort_unstable();
        same("unswept".to_owned(), &said, &told)?;
        let Some((there, here)) = there.first().and_then(|t| Some((t, here.iter().find(|h| h.job == t.id)?))) else {
            return Ok(String::new());
        };
        let mut files = self.sql.files_of_ended(there).await.map_err(|e| e.to_string())?;
        let mut known = self.memory.files_of_ended(here);
        files.iter_mut().chain(&mut known).for_each(|f| f.sort_unstable());
        self.sql.mark_swept(there.id).await.map_err(|e| e.to_string())?;
        let told = same(format!("files of {}", here.job), &files, &known);
        let job = here.job;
        self.memory.mark_swept(job);
        told
    }

    async fn removal(&mut self) -> Told {
        let there = self.sql.delete_old_jobs(Duration::from_secs(15), 100).await.map_err(|e| e.to_string())?;
        let told = same("delete_old_jobs".to_owned(), &there, &self.memory.delete_old_jobs(15_000))?;
        let removed = self.sql.removed_jobs(NO_WRITER, 100).await.map_err(|e| e.to_string())?;
        let there: BTreeSet<_> = removed.iter().map(|r| (r.id, r.organisation_id, r.is_settled)).collect();
        let here = self.memory.removed_jobs(NO_WRITER_MS);
        let here: BTreeSet<_> = here.iter().map(|r| (r.job, r.organisation, r.is_settled)).collect();
        same("removed_jobs".to_owned(), &there, &here)?;
        for one in removed.iter().filter(|r| r.is_settled) {
            self.sql.forget_removed_job(one.id).await.map_err(|e| e.to_string())?;
            self.memory.forget_removed_job(one.id);
        }
        Ok(told)
    }

    pub(super) async fn worker(&mut self) -> Told {
        if self.workers.len() < 4 {
            let (id, region) = (Uuid::now_v7(), self.random.u32(0..2).to_string());
            let device = format!("device-{region}");
            let new = NewWorker {
                id,
                region: region.clone(),
                pool: String::new(),
                instance: String::new(),
                host: String::new(),
                device: device.clone(),
                version: String::new(),
                backends: vec!["x264".to_owned()],
                slots: 2,
            };
            self.sql.register_worker(&new).await.map_err(|e| e.to_string())?;
            self.memory.register_worker(id, &region, &device, 2);
            self.workers.push((id, region));
        }
        let id = self.workers[self.random.usize(0..self.workers.len())].0;
        match self.random.u32(0..4) {
            0 => {
                self.sql.worker_gone(id).await.map_err(|e| e.to_string())?;
                self.memory.worker_gone(id);
                Ok(format!("  {id} is gone"))
            }
            1 => {
                let there = self.sql.bury_silent_workers(LEASE).await.map_err(|e| e.to_string())?;
                same("bury".to_owned(), &there, &self.memory.bury_silent_workers(LEASE_MS))
            }
            2 => {
                let there = self.sql.drain_worker(id).await.map_err(|e| e.to_string())?;
                same(format!("drain {id}"), &there, &self.memory.drain_worker(id))
            }
            _ => {
                let draining = self.random.bool();
                let beat = WorkerBeat { busy: 0, draining, gpu: None };
                let there = self.sql.worker_beat(id, &beat).await.map_err(|e| e.to_string())?;
                same(format!("beat {id}"), &there.is_some(), &self.memory.worker_beat(id, draining))
            }
        }
    }

    pub(super) async fn region(&mut self) -> Told {
        let region = self.random.u32(0..2).to_string();
        let failure = self.random.bool().then_some("no answer");
        let there = self.sql.note_region(&region, failure).await.map_err(|e| e.to_string())?;
        let here = self.memory.note_region(&region, failure);
        same(format!("note {region}"), &there, &seconds(here))?;
        let healthy = self.random.bool();
        let there = self.sql.set_region_health(&region, healthy).await.map_err(|e| e.to_string())?;
        same(format!("health {region} {healthy}"), &there, &self.memory.set_region_health(&region, healthy))?;
        let there = self.sql.unhealthy_regions().await.map_err(|e| e.to_string())?;
        let there: Vec<String> = there.into_iter().map(|(name, _)| name).collect();
        same("unhealthy".to_owned(), &there, &self.memory.unhealthy_regions())?;
        let mut there = self.sql.silent_regions(Duration::from_secs(8)).await.map_err(|e| e.to_string())?;
        there.sort_unstable();
        same("silent".to_owned(), &there, &self.memory.silent_regions(8_000))?;
        let mut there = self.sql.recovered_regions(8.0).await.map_err(|e| e.to_string())?;
        there.sort_unstable();
        same("recovered".to_owned(), &there, &self.memory.recovered_regions(8_000))?;
        let there = self.sql.region_loads(11.0).await.map_err(|e| e.to_string())?;
        same("loads".to_owned(), &there, &self.memory.region_loads(LEASE_MS))?;
        self.relay(&region).await
    }

    async fn relay(&mut self, region: &str) -> Told {
        if self.random.u32(0..4) == 0 {
            let there = self.sql.clear_outbox(region).await.map_err(|e| e.to_string())?;
            return same(format!("clear {region}"), &there, &self.memory.clear_outbox(region));
        }
        let accepted = self.random.bool();
        // All of them: in which order one statement's messages are sent is not promised.
        let mut there = Vec::new();
        let send = async |messages: &[Message]| {
            there = messages.iter().map(|m| (m.job, m.chunk, m.attempt)).collect();
            Ok::<_, fleet::store::StoreError>(if accepted { (0..messages.len()).collect() } else { Vec::new() })
        };
        self.sql.relay(region, 1_000, send).await.map_err(|e| e.to_string())?;
        let rows = self.memory.take_outbox(region, 1_000);
        let mut here: Vec<_> = rows.iter().map(|r| (r.message.job, r.message.chunk, r.message.attempt)).collect();
        if accepted {
            let ids: Vec<i64> = rows.iter().map(|r| r.id).collect();
            self.memory.delete_outbox(&ids);
        }
        there.sort_unstable();
        here.sort_unstable();
        same(format!("relay {region} {accepted}"), &there, &here)
    }

    pub(super) async fn device(&mut self) -> Told {
        let name = format!("device-{}", self.random.u32(0..2));
        match self.random.u32(0..5) {
            0 | 1 => {
                let there = self.sql.device_checked(&name).await.map_err(|e| e.to_string())?;
                same(format!("checked {name}"), &there, &self.memory.device_checked(&name))
            }
            2 => {
                let there = self.sql.trust_device(&name).await.map_err(|e| e.to_string())?;
                same(format!("trust {name}"), &there, &self.memory.trust_device(&name))
            }
            _ => {
                self.sql.quarantine(&name, "").await.map_err(|e| e.to_string())?;
                self.memory.quarantine(&name);
                let there = self.sql.withdraw_suspect().await.map_err(|e| e.to_string())?;
                let there = there.map(|w| (w.device, w.segments));
                same(format!("withdraw {name}"), &Some(there), &self.memory.withdraw_suspect())
            }
        }
    }
}
