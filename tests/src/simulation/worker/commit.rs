//! Commits what an engine hands over, as `worker::service::commit` does: the object first, under a name that carries the
//! attempt, then its row, only while the lease is held.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use fleet::failure::FailureCode;
use fleet::keys;
use fleet::objects::{ObjectError, ObjectStore, PutCondition, meta_for};
use fleet::store::work::{AttemptId, Commit, InitCommit};

use super::attempt::{Attempt, Stop, again};
use super::{LEASE, Service};
use crate::simulation::deviation::Deviation;
use crate::simulation::executor::Join;
use crate::simulation::memory::Segment;
use crate::simulation::world::World;

/// Writes for one attempt.
pub(super) struct Committer<'a> {
    attempt: &'a Attempt,
    prefix: String,
    inits: HashSet<String>,
    have: HashSet<(String, u64)>,
    /// The upload of each rendition that is on its way: one, so that a death costs one segment of each.
    uploads: BTreeMap<String, Join<Result<(), Stop>>>,
}

impl<'a> Committer<'a> {
    pub(super) fn new(attempt: &'a Attempt, have: HashSet<(String, u64)>) -> Self {
        let task = &attempt.task;
        let prefix = keys::job_prefix(task.organisation, task.id.job, task.generation);
        Self { attempt, prefix, inits: HashSet::new(), have, uploads: BTreeMap::new() }
    }

    pub(super) async fn init(&mut self, rendition: &str) -> Result<(), Stop> {
        if self.inits.contains(rendition) {
            return Ok(());
        }
        let (service, id) = (&self.attempt.service, self.attempt.task.id);
        // All attempts at one plan make the same; copied packets have another.
        let bytes = Bytes::from(format!("init of {rendition} {}", self.attempt.task.copies));
        let uri = keys::init(&bytes);
        put(service, id, &format!("{}{rendition}/{uri}", self.prefix), bytes).await?;
        // The init segment is there, and nobody has recorded it.
        service.client.stop_now_and_then(16).await;
        loop {
            let (name, uri) = (rendition.to_owned(), uri.clone());
            match again(service, id, "commit_init", move |w| w.store.commit_init(id, &name, &uri)).await? {
                InitCommit::Same => break,
                InitCommit::Again => service.client.sim.sleep(50).await,
                InitCommit::LeaseLost => return Err(Stop::LeaseLost),
                InitCommit::Differs => return Err(Stop::Failed(FailureCode::Internal)),
            }
        }
        self.inits.insert(rendition.to_owned());
        Ok(())
    }

    /// Returns as soon as the one before it of the same rendition is committed.
    pub(super) async fn segment(&mut self, rendition: &str, index: u64) -> Result<(), Stop> {
        if self.have.contains(&(rendition.to_owned(), index)) {
            return Ok(());
        }
        if let Some(upload) = self.uploads.remove(rendition) {
            upload.await?;
        }
        self.have.insert((rendition.to_owned(), index));
        let (service, id) = (self.attempt.service.clone(), self.attempt.task.id);
        let (first, count) = self.attempt.film.span(index);
        let (shared_keys, row_first, is_a_loss) = {
            let world = service.client.sim.world();
            let does = |deviation| world.does(deviation);
            (does(Deviation::KeyWithoutAttempt), does(Deviation::RowBeforeObject), does(Deviation::SplitIsALoss))
        };
        let uri = keys::segment(index, if shared_keys { 0 } else { id.attempt });
        let key = format!("{}{rendition}/{uri}", self.prefix);
        // Two attempts do not make the same bytes, nor as many.
        let padding = "x".repeat(usize::try_from(id.attempt).unwrap_or(0));
        let bytes = Bytes::from(format!("{first}+{count} {padding} {}", id.worker));
        let row = Segment {
            chunk: id.chunk,
            attempt: id.attempt,
            uri,
            bytes: bytes.len() as u64,
            first,
            count,
            committed_at: 0,
        };
        let name = rendition.to_owned();
        let (sim, process) = (service.client.sim.clone(), service.client.process);
        let upload = sim.fork(process, async move {
            if !row_first {
                put(&service, id, &key, bytes.clone()).await?;
            }
            let commit = move |w: &mut World| w.store.commit_segment(id, &name, index, row.clone());
            let outcome = again(&service, id, "commit_segment", commit).await?;
            if row_first {
                put(&service, id, &key, bytes).await?;
            }
            match outcome {
                Commit::PastEnd(_) if is_a_loss => Err(Stop::LeaseLost),
                Commit::PastEnd(end) => {
                    service.leases.shorten(id, end);
                    Ok(())
                }
                Commit::LeaseLost => Err(Stop::LeaseLost),
                Commit::New | Commit::Already => Ok(()),
            }
        });
        self.uploads.insert(rendition.to_owned(), upload);
        Ok(())
    }

    /// Waits for all uploads.
    pub(super) async fn settle_all(&mut self) -> Result<(), Stop> {
        while let Some((_, upload)) = self.uploads.pop_first() {
            upload.await?;
        }
        Ok(())
    }
}

/// Writes an object, patiently.
async fn put(service: &Arc<Service>, id: AttemptId, key: &str, bytes: Bytes) -> Result<(), Stop> {
    let started = service.client.sim.world().now;
    loop {
        match service.objects.put(key, bytes.clone(), meta_for(key), PutCondition::Always).await {
            Ok(_) => return Ok(()),
            Err(ObjectError::Unavailable { .. }) if service.client.sim.world().now - started < LEASE * 4 => {
                if !service.holds(id) {
                    return Err(Stop::LeaseLost);
                }
                service.client.sim.sleep(500).await;
            }
            Err(_) => return Err(Stop::Failed(FailureCode::OutputFailed)),
        }
    }
}
