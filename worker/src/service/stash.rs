//! Open sources and warm engines, kept between chunks of the same job.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use fleet::internet::Reach;
use fleet::objects::Buckets;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::child::{EngineProcess, Engines};
use crate::failure::JobError;
use crate::source::{Source, SourceLocation, SourceOptions};

/// Sources that are kept open beside those in use.
const SOURCES: usize = 4;

/// See the module.
pub(crate) struct Stash {
    sources: Mutex<HashMap<Uuid, (Source, Instant)>>,
    engines: Mutex<Vec<(Uuid, EngineProcess)>>,
    most_engines: usize,
    start: Engines,
    buckets: Arc<Buckets>,
    reach: Option<Arc<Reach>>,
}

impl std::fmt::Debug for Stash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stash").field("most_engines", &self.most_engines).finish_non_exhaustive()
    }
}

impl Stash {
    /// Sources on web servers are read within `reach`.
    pub(crate) fn new(most_engines: usize, start: Engines, buckets: Arc<Buckets>, reach: Option<Arc<Reach>>) -> Self {
        Self { sources: Mutex::default(), engines: Mutex::default(), most_engines, start, buckets, reach }
    }

    /// How engines are started.
    pub(crate) fn engines(&self) -> Engines {
        self.start
    }

    /// The source of a job, opened once. `identity` names the bytes that were planned.
    pub(crate) async fn source(&self, job: Uuid, place: &str, identity: Option<&str>) -> Result<Source, JobError> {
        let mut sources = self.sources.lock().await;
        if let Some((source, used)) = sources.get_mut(&job) {
            *used = Instant::now();
            return Ok(source.clone());
        }
        drop(sources);
        let location = SourceLocation::parse(place)?;
        let options = SourceOptions { reach: self.reach.clone(), ..SourceOptions::default() };
        let source = Source::open_with(&location, options, &self.buckets).await?;
        if let Some(planned) = identity.filter(|planned| *planned != source.identity()) {
            let message = format!("the source is {} now, and was {planned} when it was planned", source.identity());
            return Err(JobError::new(fleet::failure::FailureCode::SourceChanged, message));
        }
        sources = self.sources.lock().await;
        if sources.len() >= SOURCES
            && let Some(oldest) = sources.iter().min_by_key(|(_, (_, used))| *used).map(|(job, _)| *job)
        {
            sources.remove(&oldest);
        }
        sources.insert(job, (source.clone(), Instant::now()));
        Ok(source)
    }

    /// A warm engine of this job, or a fresh one. An engine never sees the bytes of two jobs.
    pub(crate) async fn engine(&self, job: Uuid, source: &Source) -> Result<EngineProcess, JobError> {
        let mut engines = self.engines.lock().await;
        while let Some(at) = engines.iter().position(|(j, _)| *j == job) {
            let (_, engine) = engines.swap_remove(at);
            if engine.is_alive() {
                return Ok(engine);
            }
        }
        drop(engines);
        self.start.start(source).await
    }

    /// Keeps an engine that finished its task, for the next chunk of its job.
    pub(crate) async fn keep(&self, job: Uuid, engine: EngineProcess) {
        let mut engines = self.engines.lock().await;
        engines.push((job, engine));
        while engines.len() > self.most_engines {
            engines.remove(0);
        }
    }

    /// Lets go of a job's engines and source.
    pub(crate) async fn forget(&self, job: Uuid) {
        self.engines.lock().await.retain(|(j, _)| *j != job);
        self.sources.lock().await.remove(&job);
    }

    /// Ends all warm engines: nothing is at work.
    pub(crate) async fn cool(&self) {
        self.engines.lock().await.clear();
    }
}
