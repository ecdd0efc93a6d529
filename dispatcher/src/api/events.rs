//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2). One reader follows the fleet's feed and
//! hands each event to all who listen; whoever comes back with `Last-Event-ID` first gets what was missed.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use fleet::store::feed::{FeedEvent, JobProgress, Place};
use fleet::store::{Store, StoreError};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Shared;
use super::caller::Caller;
use super::input::Ask;
use super::jobs::Job;
use super::problem::Problem;
use super::scope::Scope;

/// Between two looks at the feed.
const EVERY: Duration = Duration::from_millis(250);
/// Looks at the feed for one look at the progress of jobs.
const LOOKS_PER_PROGRESS: u32 = 4;
/// Events that one look brings at most.
const BATCH: u32 = 500;
/// Events that a slow listener may lag behind before it reads them from the database.
const BACKLOG: usize = 1024;
/// A stream ends after this, so that a withdrawn key does not listen for ever; clients come back by themselves.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Silence after which a line is sent that keeps proxies from closing the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event, rendered once for all listeners.
#[derive(Debug)]
struct Frame {
    organisation: Uuid,
    job: Option<Uuid>,
    /// `None` for progress, which is not kept.
    place: Option<Place>,
    kind: String,
    data: String,
}

impl Frame {
    fn event(&self) -> Event {
        let event = Event::default().event(&self.kind).data(&self.data);
        match self.place {
            Some(place) => event.id(place.to_string()),
            None => event,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    event: &'a FeedEvent,
    job: Option<Job>,
}

/// Follows the feed.
#[derive(Debug)]
pub(super) struct Feed {
    store: Store,
    frames: broadcast::Sender<Arc<Frame>>,
    listeners: Arc<Semaphore>,
    /// Listeners at most.
    most: usize,
}

impl Feed {
    /// A feed for at most `most` listeners.
    pub(super) fn new(store: Store, most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { store, frames: broadcast::channel(BACKLOG).0, listeners: Arc::new(Semaphore::new(most)), most }
    }

    /// Who listens now.
    pub(super) fn listening(&self) -> usize {
        self.most - self.listeners.available_permits()
    }

    /// Hands on what happens until `stop`.
    pub(super) async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut place = None;
        let mut last = HashMap::new();
        let mut looks = 0_u32;
        loop {
            if let Err(error) = self.look(&mut place, &mut last, looks.is_multiple_of(LOOKS_PER_PROGRESS)).await
                && looks.is_multiple_of(64)
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "events: trying again");
            }
            looks = looks.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn look(
        &self,
        place: &mut Option<Place>,
        last: &mut HashMap<Uuid, (i64, u32)>,
        with_progress: bool,
    ) -> Result<(), StoreError> {
        let from = match *place {
            Some(place) => place,
            None => self.store.feed_end().await?,
        };
        let events = self.store.feed(from, None, None, BATCH).await?;
        *place = Some(events.last().map_or(from, |e| e.place));
        if self.frames.receiver_count() == 0 {
            last.clear();
            return Ok(());
        }
        for frame in self.frames_of(events).await? {
            self.send(frame);
        }
        if with_progress {
            let now = self.store.job_progress(1000).await?;
            last.retain(|id, _| now.iter().any(|p| p.id == *id));
            for progress in now {
                // A listener need not know of less than a thousandth.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
                let state = (progress.watchable_ms, (progress.progress.clamp(0.0, 1.0) * 1000.0) as u32);
                if last.insert(progress.id, state) != Some(state) {
                    self.send(progress_frame(&progress));
                }
            }
        }
        Ok(())
    }

    fn send(&self, frame: Frame) {
        // Nobody listens any more: then nobody misses it.
        if self.frames.send(Arc::new(frame)).is_err() {
            tracing::trace!("an event without listeners");
        }
    }

    async fn frames_of(&self, events: Vec<FeedEvent>) -> Result<Vec<Frame>, StoreError> {
        let mut jobs: HashMap<Uuid, Option<Job>> = HashMap::new();
        let mut frames = Vec::with_capacity(events.len());
        for event in events {
            let job = match event.job_id {
                None => None,
                Some(id) => match jobs.get(&id) {
                    Some(known) => known.clone(),
                    None => {
                        let job = match self.store.job(id).await {
                            Ok(row) => row.removed_at.is_none().then(|| Job::of(&row, false)),
                            Err(StoreError::NoJob(_)) => None,
                            Err(other) => return Err(other),
                        };
                        jobs.insert(id, job.clone());
                        job
                    }
                },
            };
            // What the log says of a failure is for ops; the job holds the coach's sentence.
            let data = serde_json::to_string(&Body { event: &without_internals(&event), job }).unwrap_or_default();
            frames.push(Frame {
                organisation: event.organisation,
                job: event.job_id,
                place: Some(event.place),
                kind: event.kind,
                data,
            });
        }
        Ok(frames)
    }
}

fn without_internals(event: &FeedEvent) -> FeedEvent {
    let mut event = event.clone();
    if let Some(data) = event.data.as_object_mut() {
        data.remove("message");
    }
    event
}

fn progress_frame(progress: &JobProgress) -> Frame {
    let kind = "job.progress";
    let data = serde_json::json!({
        "type": kind,
        "job_id": progress.id,
        "data": { "state": progress.state, "watchable_ms": progress.watchable_ms, "progress": progress.progress },
    });
    Frame {
        organisation: progress.organisation_id,
        job: Some(progress.id),
        place: None,
        kind: kind.to_owned(),
        data: data.to_string(),
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only those about this job.
    job_id: Option<Uuid>,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Events of the organisation as they happen (`text/event-stream`). Each has an id; send the last one as `Last-Event-ID`
/// to get what came after it first. `job.progress` has none: it tells how things stand, not what happened.
#[utoipa::path(get, path = "/events", tag = "events",
    params(EventsQuery, ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was seen")),
    responses((status = 200, content_type = "text/event-stream", body = String),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn events(
    State(api): State<Shared>,
    caller: Caller,
    Ask(asked): Ask<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    caller.may(Scope::JobsRead)?;
    if let Some(job) = asked.job_id {
        api.tenant(&caller).job(job).await?;
    }
    let seen = match headers.get("last-event-id").and_then(|v| v.to_str().ok()).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            Some(text.parse::<Place>().map_err(|_| Problem::invalid("Last-Event-ID", "use the id of an event"))?)
        }
    };
    let permit = api.feed.listeners.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::unavailable("Too many listen to events; try again later."))?;
    let receiver = api.feed.frames.subscribe();
    let place = match seen {
        Some(place) => place,
        None => api.store.feed_end().await?,
    };
    let listener = Listener {
        receiver,
        api: api.clone(),
        organisation: caller.organisation,
        job: asked.job_id,
        place,
        missed: seen.is_some(),
        ready: VecDeque::new(),
        until: Instant::now() + LONGEST,
        _permit: permit,
    };
    let stream = futures_util::stream::unfold(listener, async |mut listener| {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep")))
}

/// One who listens.
struct Listener {
    receiver: broadcast::Receiver<Arc<Frame>>,
    api: Shared,
    organisation: Uuid,
    job: Option<Uuid>,
    /// The last event that was handed over, or that the listener had seen before.
    place: Place,
    /// Events after `place` are in the database rather than in the channel.
    missed: bool,
    ready: VecDeque<Frame>,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.place = frame.place.unwrap_or(self.place);
                return Some(frame.event());
            }
            if self.missed {
                // A database that does not answer ends the stream; the client comes back with its place.
                self.catch_up().await.ok()?;
                continue;
            }
            let frame = match tokio::time::timeout_at(self.until, self.receiver.recv()).await {
                Err(_) | Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {
                    self.missed = true;
                    continue;
                }
                Ok(Ok(frame)) => frame,
            };
            let is_mine = frame.organisation == self.organisation && self.job.is_none_or(|job| frame.job == Some(job));
            let is_old = frame.place.is_some_and(|place| place <= self.place);
            if is_mine && !is_old {
                self.place = frame.place.unwrap_or(self.place);
                return Some(frame.event());
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let events = self.api.store.feed(self.place, Some(self.organisation), self.job, BATCH).await?;
        self.missed = events.len() >= BATCH as usize;
        self.ready.extend(self.api.feed.frames_of(events).await?);
        Ok(())
    }
}
