//! Jobs over HTTP.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use capacity::budget::{CAP_REACHED, FOR_COACH};
use fleet::profiles;
use fleet::state::JobState;
use fleet::store::jobs::{JobFilter, JobRow, NewJob};
use fleet::store::tenant::Tenant;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::input::{Ask, Input, Place, text};
use super::page::{Page, Paging, by_time};
use super::problem::Problem;
use super::scope::Scope;
use super::source::Source;
use super::{Api, Shared, change};
use crate::why::{Why, why};

/// A frame rate as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rate {
    /// Frames.
    #[schema(example = 30000)]
    pub num: u32,
    /// In this many seconds.
    #[schema(example = 1001)]
    pub den: u32,
}

/// Why a job failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Failure {
    /// Stable code.
    #[schema(example = "not_media")]
    pub code: String,
    /// For a coach: what happened and what to do.
    pub message: String,
    /// For ops: what was found and where to look first; only with the scope `ops`.
    #[schema(required)]
    pub detail: Option<String>,
}

/// One match that is made watchable.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Job {
    /// Id.
    pub id: Uuid,
    /// Owner.
    pub organisation_id: Uuid,
    /// For people.
    pub title: String,
    /// Where it is on its way.
    pub state: JobStateName,
    /// Where the source lies; for uploads `upload:<id>`. Queries of URLs are left out: they may hold secrets.
    pub source: String,
    /// Upload that the source came with.
    #[schema(required)]
    pub upload_id: Option<Uuid>,
    /// Name of the ladder.
    pub ladder: String,
    /// Encoder as asked.
    pub encoder: String,
    /// Encoder family that is used, once planned.
    #[schema(required)]
    pub backend: Option<String>,
    /// Region that suits the source.
    pub home_region: String,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When a worker had looked at the source and planned.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub planned_at: Option<OffsetDateTime>,
    /// When it could be watched for the first time.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub first_playable_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub finished_at: Option<OffsetDateTime>,
    /// When it should be ready.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub ready_by: Option<OffsetDateTime>,
    /// Milliseconds of the match, once known.
    #[schema(required)]
    pub duration_ms: Option<i64>,
    /// Milliseconds from the start that can be watched now.
    pub watchable_ms: i64,
    /// Share of the pictures that is encoded, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub progress: f64,
    /// Output frame rate, once planned.
    #[schema(required)]
    pub frame_rate: Option<Rate>,
    /// Why it failed.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// Sentences that its owner should know.
    pub warnings: Vec<String>,
    /// Whether it can be watched, if not to the end.
    pub playable: bool,
    /// Whether it can be watched to the end.
    pub complete: bool,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStateName {
    /// Accepted; no worker has looked at its source yet.
    Queued,
    /// A worker looks at the source.
    Planning,
    /// Being encoded.
    Running,
    /// All is encoded; playlists are being checked and written.
    Publishing,
    /// Published.
    Succeeded,
    /// Given up, with a code.
    Failed,
    /// Cancelled by request.
    Cancelled,
}

impl From<JobState> for JobStateName {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Planning => Self::Planning,
            JobState::Running => Self::Running,
            JobState::Publishing => Self::Publishing,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobStateName> for JobState {
    fn from(state: JobStateName) -> Self {
        match state {
            JobStateName::Queued => Self::Queued,
            JobStateName::Planning => Self::Planning,
            JobStateName::Running => Self::Running,
            JobStateName::Publishing => Self::Publishing,
            JobStateName::Succeeded => Self::Succeeded,
            JobStateName::Failed => Self::Failed,
            JobStateName::Cancelled => Self::Cancelled,
        }
    }
}

impl Job {
    /// A row as clients see it; details for ops only when they ask.
    pub(crate) fn of(row: &JobRow, for_ops: bool) -> Self {
        let failure = row.failure_code.as_ref().map(|code| Failure {
            code: code.clone(),
            message: row.code().map_or("Something went wrong on our side.", |c| c.for_coach()).to_owned(),
            detail: for_ops.then(|| {
                let hint = row.code().map_or("", |c| c.for_ops());
                format!("{}; {hint}", row.failure_message.as_deref().unwrap_or_default())
            }),
        });
        let warnings = row.warnings.as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned));
        Self {
            id: row.id,
            organisation_id: row.organisation_id,
            title: row.title.clone(),
            state: row.job_state().into(),
            source: match row.upload_id {
                Some(upload) => format!("upload:{upload}"),
                None => row.source.split(['?', '#']).next().unwrap_or_default().to_owned(),
            },
            upload_id: row.upload_id,
            ladder: row.ladder_name.clone(),
            encoder: row.encoder.clone(),
            backend: row.backend.clone(),
            home_region: row.home_region.clone(),
            created_at: row.created_at,
            planned_at: row.planned_at,
            first_playable_at: row.first_playable_at,
            finished_at: row.finished_at,
            ready_by: row.ready_by,
            duration_ms: row.duration_ms,
            watchable_ms: row.watchable_ms,
            progress: row.progress.clamp(0.0, 1.0),
            frame_rate: row.frame_rate.as_deref().and_then(rate),
            failure,
            warnings: warnings.collect(),
            playable: row.watchable_ms > 0,
            complete: row.job_state() == JobState::Succeeded,
        }
    }
}

/// Reads `num/den`.
pub(super) fn rate(text: &str) -> Option<Rate> {
    let (num, den) = text.split_once('/')?;
    Some(Rate { num: num.parse().ok()?, den: den.parse().ok()? })
}

/// A job to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Id of a completed upload, or an `https://` or `s3://` address that this fleet allows.
    #[schema(example = "0192f0c1-1111-7000-8000-000000000000", max_length = 2000)]
    pub source: String,
    /// For people, at most 500 characters; by default the file's name.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub title: Option<String>,
    /// Name of a ladder (`GET /v1/ladders`).
    #[serde(default)]
    #[schema(example = "sports")]
    pub ladder: Option<String>,
    /// `auto`, `nvenc` or `x264`.
    #[serde(default)]
    #[schema(example = "auto")]
    pub encoder: Option<String>,
    /// When it should be ready: within a year.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub ready_by: Option<OffsetDateTime>,
    /// Region; by default that of the source.
    #[serde(default)]
    pub region: Option<String>,
}

// Written out rather than flattened: unknown fields of a flattened part could not be refused.
impl From<JobRequest> for JobSettings {
    fn from(asked: JobRequest) -> Self {
        Self {
            title: asked.title,
            ladder: asked.ladder,
            encoder: asked.encoder,
            ready_by: asked.ready_by,
            region: asked.region,
        }
    }
}

/// What is wanted of a job.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// For people, at most 500 characters; by default the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub title: Option<String>,
    /// Name of a ladder (`GET /v1/ladders`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "sports")]
    pub ladder: Option<String>,
    /// `auto`, `nvenc` or `x264`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "auto")]
    pub encoder: Option<String>,
    /// When it should be ready: within a year.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub ready_by: Option<OffsetDateTime>,
    /// Region; by default that of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A time in the match.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FocusRequest {
    /// Seconds from the start.
    #[schema(minimum = 0, maximum = 86_400)]
    at_s: f64,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// Only those in one of these states, with commas between them.
    #[serde(default, deserialize_with = "states")]
    #[param(style = Form, explode = false, required = false)]
    state: Vec<JobStateName>,
    /// Only those whose title holds this, or whose id begins with it.
    #[param(max_length = 200)]
    q: Option<String>,
    /// Every organisation's; with the scope `ops`.
    all: Option<bool>,
    /// Items on a page, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

/// Words with commas between them.
fn states<'de, D: serde::Deserializer<'de>>(words: D) -> Result<Vec<JobStateName>, D::Error> {
    use serde::de::IntoDeserializer;
    let words = String::deserialize(words)?;
    let name = |word: &str| JobStateName::deserialize(IntoDeserializer::<D::Error>::into_deserializer(word));
    words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(name).collect()
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(focus))
        .routes(routes!(explain))
        .routes(routes!(renditions))
}

/// Hands in a match.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = JobRequest, responses(
    (status = 201, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Input(asked): Input<JobRequest>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let source = Source::of(&api, &tenant, &mut tx, &caller, &asked.source).await?;
    let id = accept(&api, &tenant, &mut tx, &caller, source, &asked.into()).await?;
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Job::of(&row, caller.has(Scope::Ops)))))
}

/// Settings that this fleet can follow.
pub(super) struct Settings {
    ladder: fleet::ladder::Ladder,
    encoder: String,
    region: Option<String>,
}

/// Reads settings, so that whoever asks for a job later hears of mistakes now.
pub(super) fn check_settings(api: &Api, settings: &JobSettings) -> Result<Settings, Problem> {
    let now = OffsetDateTime::now_utc();
    if let Some(at) = settings.ready_by
        && (at < now || at > now + time::Duration::days(366))
    {
        return Err(Problem::invalid("ready_by", "give a time within the coming year"));
    }
    let encoder = settings.encoder.as_deref().unwrap_or("auto");
    if !["auto", "nvenc", "x264"].contains(&encoder) {
        return Err(Problem::invalid("encoder", "give auto, nvenc or x264"));
    }
    if let Some(name) = &settings.region
        && api.config.region(name).is_none()
    {
        let names: Vec<&str> = api.config.regions.iter().map(|r| r.name.as_str()).collect();
        return Err(Problem::invalid("region", format!("there are {}", names.join(", "))));
    }
    text("title", settings.title.as_deref().unwrap_or_default(), 500)?;
    Ok(Settings {
        ladder: named_ladder(settings.ladder.as_deref().unwrap_or(profiles::DEFAULT))?,
        encoder: encoder.to_owned(),
        region: settings.region.clone(),
    })
}

/// Enters a job within the organisation's limits. The caller commits.
pub(super) async fn accept(
    api: &Api,
    tenant: &Tenant,
    tx: &mut PgConnection,
    caller: &Caller,
    source: Source,
    settings: &JobSettings,
) -> Result<Uuid, Problem> {
    let Settings { ladder, encoder, region } = check_settings(api, settings)?;
    let home_region = region.unwrap_or_else(|| api.config.home_region(&source.address).to_owned());
    let title = text("title", settings.title.as_deref().unwrap_or(&source.name), 500)?;
    within_limits(tenant, tx).await?;
    let job = NewJob {
        organisation: tenant.organisation(),
        title,
        source: source.address,
        ladder,
        upload: source.upload,
        encoder,
        home_region,
        ready_by: settings.ready_by,
    };
    let id = api.store.submit_in(tx, &job).await?;
    let detail = serde_json::json!({ "title": job.title, "ladder": job.ladder.name });
    tenant.audit(tx, &change(caller, "job.created", id, detail)).await?;
    Ok(id)
}

/// A built-in ladder. Files are for those who run the fleet.
pub(super) fn named_ladder(name: &str) -> Result<fleet::ladder::Ladder, Problem> {
    let all = profiles::all();
    let names: Vec<String> = all.iter().map(|l| l.name.clone()).collect();
    all.into_iter()
        .find(|l| l.name == name)
        .ok_or_else(|| Problem::invalid("ladder", format!("there are {}", names.join(", "))))
}

/// Minutes of the month and storage. Jobs at once are no reason to refuse: they wait for their turn.
async fn within_limits(tenant: &Tenant, tx: &mut PgConnection) -> Result<(), Problem> {
    let limits = tenant.limits_in(tx).await?;
    if limits.minutes_a_month.is_none() && limits.storage_bytes.is_none() {
        return Ok(());
    }
    let usage =
        tenant.usage_in(tx, OffsetDateTime::now_utc().date().replace_day(1).map_err(|_| Problem::internal())?).await?;
    if let Some(most) = limits.minutes_a_month
        && usage.minutes >= f64::from(most)
    {
        return Err(Problem::quota(format!(
            "This month's {most} minutes are used up; more begin with the next month."
        )));
    }
    if let Some(most) = limits.storage_bytes
        && usage.storage_bytes >= most
    {
        return Err(Problem::quota("The storage is full; ask whoever runs this service for more."));
    }
    Ok(())
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobsQuery), responses(
    (status = 200, body = Page<Job>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Ask(asked): Ask<JobsQuery>,
) -> Result<Json<Page<Job>>, Problem> {
    let for_ops = caller.has(Scope::Ops);
    let all = asked.all.unwrap_or(false);
    caller.may(if all { Scope::Ops } else { Scope::JobsRead })?;
    let paging = Paging { limit: asked.limit, cursor: asked.cursor };
    let limit = paging.limit()?;
    let filter = JobFilter {
        states: asked.state.into_iter().map(Into::into).collect(),
        text: asked.q.map(|q| text("q", &q, 200)).transpose()?.filter(|q| !q.is_empty()),
        after: paging.after_time()?,
        limit: limit + 1,
    };
    let rows = if all { api.store.list_jobs(&filter).await? } else { api.tenant(&caller).jobs(&filter).await? };
    let page = Page::of(rows, limit, |row| by_time(row.created_at, row.id));
    let items = page.items.iter().map(|row| Job::of(row, for_ops)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// A job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsRead)?;
    let row = api.tenant(&caller).job(id).await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Cancels a job. What is encoded stays for a retry. Cancelling twice is no error.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn cancel(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    if api.store.cancel_in(&mut tx, id).await? {
        tenant.audit(&mut tx, &change(&caller, "job.cancelled", id, serde_json::json!({}))).await?;
    }
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Tries a failed or cancelled job again, from where it was.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn retry(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    within_limits(&tenant, &mut tx).await?;
    api.store.retry_in(&mut tx, id).await?;
    tenant.audit(&mut tx, &change(&caller, "job.retried", id, serde_json::json!({}))).await?;
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// Encodes the match from this time on first.
#[utoipa::path(post, path = "/jobs/{id}/focus", tag = "jobs", params(("id" = Uuid, Path)), request_body = FocusRequest,
    responses((status = 200, body = Job), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn focus(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<FocusRequest>,
) -> Result<Json<Job>, Problem> {
    caller.may(Scope::JobsWrite)?;
    if !(0.0..=86_400.0).contains(&asked.at_s) {
        return Err(Problem::invalid("at_s", "give 0 to 86400 seconds"));
    }
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    api.store.focus_in(&mut tx, id, asked.at_s).await?;
    let detail = serde_json::json!({ "at_s": asked.at_s });
    tenant.audit(&mut tx, &change(&caller, "job.focused", id, detail)).await?;
    let row = api.store.job_in(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(Job::of(&row, caller.has(Scope::Ops))))
}

/// What a job waits for, in sentences.
#[utoipa::path(get, path = "/jobs/{id}/why", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Why), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn explain(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Why>, Problem> {
    caller.may(Scope::JobsRead)?;
    let (row, chunks) = api.tenant(&caller).job_and_chunks(id).await?;
    let waiting = chunks.iter().position(|c| c.state == "waiting").unwrap_or(0);
    let around = crate::why::surroundings(&api.config, &api.store, id, i64::try_from(waiting).unwrap_or(0)).await?;
    let mut answer = why(&row, &chunks, &around);
    if !caller.has(Scope::Ops) {
        // The log's words are for those who run the fleet.
        if let Some(code) = row.code() {
            answer.reasons = vec![code.for_coach().to_owned()];
        } else if answer.code.as_deref() == Some(CAP_REACHED) {
            answer.reasons = vec![FOR_COACH.to_owned()];
        }
    }
    Ok(Json(answer))
}

/// A rendition of a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rendition {
    /// Name, for example `v1080` or `audio-eng`.
    pub name: String,
    /// `video` or `audio`.
    pub kind: String,
    /// Width in pixels.
    #[schema(required)]
    pub width: Option<u32>,
    /// Height in pixels.
    #[schema(required)]
    pub height: Option<u32>,
    /// Language of a sound track (BCP 47).
    #[schema(required)]
    pub language: Option<String>,
    /// Bits a second at most: measured once the job has succeeded, else what the ladder allows.
    #[schema(required)]
    pub bandwidth: Option<u64>,
    /// Segments that are stored.
    pub segments: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// A list that comes whole.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Items<T> {
    /// What is in it.
    pub items: Vec<T>,
}

/// Renditions of a job; none before it is planned.
#[utoipa::path(get, path = "/jobs/{id}/renditions", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Items<Rendition>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn renditions(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
) -> Result<Json<Items<Rendition>>, Problem> {
    caller.may(Scope::JobsRead)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = api.store.job_in(&mut tx, id).await?;
    let Some(plan) = api.store.plan_in(&mut tx, id).await? else { return Ok(Json(Items { items: Vec::new() })) };
    let sizes: BTreeMap<String, (i64, i64)> = api
        .store
        .rendition_sizes_in(&mut tx, id)
        .await?
        .into_iter()
        .map(|(name, n, bytes)| (name, (n, bytes)))
        .collect();
    let measured = |name: &str| {
        let list = row.summary.as_ref()?.get("renditions")?.as_array()?;
        list.iter().find(|r| r["name"] == name)?.get("bandwidth")?.as_u64()
    };
    let size = |name: &str| sizes.get(name).copied().unwrap_or_default();
    let videos = plan.video.renditions.iter().map(|r| Rendition {
        name: r.name.clone(),
        kind: "video".to_owned(),
        width: Some(r.width),
        height: Some(r.height),
        language: None,
        bandwidth: measured(&r.name)
            .or_else(|| r.encode.as_ref().and_then(|e| u64::try_from(e.max_rate).ok()).filter(|n| *n > 0)),
        segments: size(&r.name).0,
        bytes: size(&r.name).1,
    });
    let audios = plan.audio.iter().map(|a| Rendition {
        name: a.name.clone(),
        kind: "audio".to_owned(),
        width: None,
        height: None,
        language: a.language.clone(),
        bandwidth: measured(&a.name).or_else(|| (!a.copy).then(|| u64::from(a.bit_rate))),
        segments: size(&a.name).0,
        bytes: size(&a.name).1,
    });
    Ok(Json(Items { items: videos.chain(audios).collect() }))
}
