//! Commits what an engine hands over: the object first, under a name that carries the attempt, then its row, only while
//! the lease is held.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::cmaf::{InitFacts, parse_init, parse_segment};
use fleet::failure::FailureCode;
use fleet::keys;
use fleet::objects::{ObjectError, PutCondition, meta_for};
use fleet::presentation::segment_seconds;
use fleet::store::StoreError;
use fleet::store::work::{AttemptId, Commit, InitCommit, NewFile, NewSegment};
use tokio::task::JoinSet;

use super::Service;
use crate::failure::JobError;
use crate::protocol::SegmentEvent;

/// How an attempt's work ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The attempt is no longer ours: nothing more may be written, and nothing need be said.
    LeaseLost,
    /// A drain, at a segment border.
    Drained,
    /// The chunk was split, and all up to its new end is handed over.
    Shortened,
    /// It failed.
    Failed(JobError),
}

impl From<JobError> for Stop {
    fn from(error: JobError) -> Self {
        Self::Failed(error)
    }
}

impl From<ObjectError> for Stop {
    fn from(error: ObjectError) -> Self {
        Self::Failed(JobError::new(FailureCode::OutputFailed, error.to_string()))
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(JobError::new(FailureCode::OutputFailed, format!("database: {error}")))
    }
}

/// Writes for one attempt.
pub(super) struct Committer {
    service: Arc<Service>,
    id: AttemptId,
    prefix: String,
    inits: BTreeMap<String, Arc<InitFacts>>,
    have: HashSet<(String, u64)>,
    /// The upload of each rendition that is on its way: one, so that a death costs one segment of each.
    uploads: BTreeMap<String, JoinSet<Result<(), Stop>>>,
}

impl Committer {
    pub(super) fn new(service: Arc<Service>, id: AttemptId, prefix: String, have: HashSet<(String, u64)>) -> Self {
        Self { service, id, prefix, inits: BTreeMap::new(), have, uploads: BTreeMap::new() }
    }

    /// Whether a segment is committed.
    pub(super) fn has(&self, rendition: &str, index: u64) -> bool {
        self.have.contains(&(rendition.to_owned(), index))
    }

    /// Commits an init segment; all attempts make the same.
    pub(super) async fn init(&mut self, rendition: &str, bytes: &[u8]) -> Result<(), Stop> {
        if self.inits.contains_key(rendition) {
            return Ok(());
        }
        let hostile = |what: String| JobError::new(FailureCode::EngineProtocol, format!("{rendition}: {what}"));
        let facts = parse_init(bytes).map_err(|e| hostile(format!("init segment: {e}")))?;
        let uri = keys::init(bytes);
        let key = format!("{}{rendition}/{uri}", self.prefix);
        self.put(&key, Bytes::copy_from_slice(bytes)).await?;
        loop {
            let outcome =
                again(&self.service, self.id, || self.service.store.commit_init(self.id, rendition, &uri, &facts))
                    .await?;
            match outcome {
                InitCommit::Same => break,
                InitCommit::Again => {}
                InitCommit::LeaseLost => return Err(Stop::LeaseLost),
                InitCommit::Differs => {
                    let message = format!("{rendition}: two chunks have different init segments");
                    return Err(JobError::internal(message).into());
                }
            }
        }
        self.inits.insert(rendition.to_owned(), Arc::new(facts));
        Ok(())
    }

    /// Commits a segment. Returns as soon as the one before it of the same rendition is committed.
    pub(super) async fn segment(&mut self, event: SegmentEvent, bytes: Vec<u8>) -> Result<(), Stop> {
        if self.has(&event.rendition, event.index) {
            return Ok(());
        }
        let hostile = |what: String| {
            let message = format!("{} segment {}: {what}", event.rendition, event.index);
            JobError::new(FailureCode::EngineProtocol, message)
        };
        let init = self.inits.get(&event.rendition).cloned();
        let init = init.ok_or_else(|| hostile("no init segment".to_owned()))?;
        let facts = parse_segment(&bytes, &init).map_err(|e| hostile(e.to_string()))?;
        self.settle(&event.rendition).await?;
        self.have.insert((event.rendition.clone(), event.index));
        let (service, id, prefix) = (self.service.clone(), self.id, self.prefix.clone());
        let uploads = self.uploads.entry(event.rendition.clone()).or_default();
        uploads.spawn(async move {
            let uri = keys::segment(event.index, id.attempt);
            let size = bytes.len() as u64;
            let key = format!("{prefix}{}/{uri}", event.rendition);
            put(&service, id, &key, bytes.into()).await?;
            let segment = NewSegment {
                rendition: &event.rendition,
                index: event.index,
                uri: &uri,
                bytes: size,
                first: event.first,
                count: event.count,
                seconds: segment_seconds(&init, &facts),
                facts: &facts,
            };
            match again(&service, id, || service.store.commit_segment(id, &segment)).await? {
                Commit::New => service.metrics.segment(size),
                Commit::Already => {}
                Commit::PastEnd(end) => {
                    service.leases.shorten(id, end);
                    return Ok(());
                }
                Commit::LeaseLost => return Err(Stop::LeaseLost),
            }
            tracing::debug!(rendition = event.rendition, index = event.index, "Committed segment");
            Ok(())
        });
        Ok(())
    }

    /// Commits a picture: a strip of thumbnails or the poster.
    pub(super) async fn picture(
        &mut self,
        folder: &str,
        index: u64,
        jpeg: Vec<u8>,
        facts: serde_json::Value,
    ) -> Result<(), Stop> {
        if !self.have.insert((folder.to_owned(), index)) {
            return Ok(());
        }
        let uri = keys::picture(index, self.id.attempt);
        let bytes = jpeg.len() as u64;
        self.put(&format!("{}{folder}/{uri}", self.prefix), jpeg.into()).await?;
        let file = NewFile { rendition: folder, index, uri: &uri, bytes, first: 0, count: 0, seconds: 0.0, facts };
        match again(&self.service, self.id, || self.service.store.commit_file(self.id, &file)).await? {
            Commit::New | Commit::Already => Ok(()),
            Commit::PastEnd(end) => {
                self.service.leases.shorten(self.id, end);
                Ok(())
            }
            Commit::LeaseLost => Err(Stop::LeaseLost),
        }
    }

    /// Waits for a rendition's uploads.
    async fn settle(&mut self, rendition: &str) -> Result<(), Stop> {
        if let Some(uploads) = self.uploads.get_mut(rendition) {
            while let Some(finished) = uploads.join_next().await {
                finished.map_err(JobError::internal)??;
            }
        }
        Ok(())
    }

    /// Waits for all uploads.
    pub(super) async fn settle_all(&mut self) -> Result<(), Stop> {
        let names: Vec<String> = self.uploads.keys().cloned().collect();
        for name in names {
            self.settle(&name).await?;
        }
        Ok(())
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Stop> {
        put(&self.service, self.id, key, bytes).await
    }
}

/// Writes an object, patiently: a store that is away for a while costs time, not the chunk's tries.
async fn put(service: &Service, id: AttemptId, key: &str, bytes: Bytes) -> Result<(), Stop> {
    let patience = service.lease * 4;
    let started = Instant::now();
    loop {
        match service.objects.put(key, bytes.clone(), meta_for(key), PutCondition::Always).await {
            Ok(_) => return Ok(()),
            Err(error @ ObjectError::Unavailable { .. }) if started.elapsed() < patience => {
                if !service.holds(id) {
                    return Err(Stop::LeaseLost);
                }
                tracing::warn!(%error, "the output store does not answer; trying on");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Repeats a call of the store while it is away and the lease may still be ours.
pub(super) async fn again<T, F, R>(service: &Service, id: AttemptId, mut call: F) -> Result<T, Stop>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    let mut pause = Duration::from_millis(100);
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.is_transient() => {
                if !service.holds(id) {
                    return Err(Stop::LeaseLost);
                }
                tracing::warn!(error = &error as &dyn std::error::Error, "the database does not answer; trying on");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
