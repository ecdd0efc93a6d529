//! Clips: a part of a match that plays at once, made of the segments that are there. Nothing is encoded: a clip's
//! playlists name the match's own segments, from the one that holds its start to the one that holds its end.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use fleet::clip::Cut;
use fleet::hls::{render_media_playlist, render_multivariant_playlist};
use fleet::objects::{ObjectError, PutCondition, meta_for};
use fleet::plan::JobPlan;
use fleet::presentation::{GrowingTrack, clip_master, clip_playlist};
use fleet::store::clips::{ClipRow, ClipTrack};
use fleet::store::jobs::JobRow;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::downloads::{AtWork, Download};
use super::input::{Input, Place, text};
use super::page::Items;
use super::playback::{Grant, Share, ShareRequest};
use super::problem::Problem;
use super::scope::Scope;
use super::{Api, Created, Shared, change};

/// Clips of a match that are listed.
const MOST: u32 = 1000;
/// Clips are at least this long, in seconds.
const SHORTEST_S: f64 = 0.1;

/// A clip.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Clip {
    /// Id.
    pub id: Uuid,
    /// The match.
    pub job_id: Uuid,
    /// For people.
    pub title: String,
    /// Where it begins in the match.
    pub start_s: f64,
    /// Where it ends in the match.
    pub end_s: f64,
    /// Plays at once. It begins with a whole segment: seek to `offset_s`, end after `length_s`.
    pub url: String,
    /// Where the clip begins in what `url` plays.
    pub offset_s: f64,
    /// How long it is.
    pub length_s: f64,
    /// When `url` ends; ask for the clip again then.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// A file of exactly these frames, made on request.
    pub download: Download,
}

/// A clip to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipRequest {
    /// Where it begins, in seconds of the match.
    #[schema(minimum = 0, maximum = 86_400)]
    start_s: f64,
    /// Where it ends; no later than what can be watched.
    #[schema(minimum = 0, maximum = 86_400)]
    end_s: f64,
    /// For people, at most 500 characters.
    #[serde(default)]
    #[schema(max_length = 500)]
    title: Option<String>,
}

/// A clip's multivariant playlist, named from the match's folder.
pub(super) fn master_file(clip: Uuid) -> String {
    format!("clips/{clip}.m3u8")
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, delete)).routes(routes!(share))
}

impl Api {
    /// A clip as people see it.
    pub(super) async fn clip(&self, grant: &Grant, plan: &JobPlan, row: &ClipRow) -> Result<Clip, Problem> {
        let at_work = self.downloads_at_work(std::slice::from_ref(row)).await?;
        Ok(self.clip_with(grant, plan, row, &at_work))
    }

    fn clip_with(&self, grant: &Grant, plan: &JobPlan, row: &ClipRow, at_work: &AtWork) -> Clip {
        let cut = Cut::of(plan, row.start_ms, row.end_ms);
        #[expect(clippy::cast_precision_loss, reason = "media times")]
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let expires_at = self.playback_end();
        Clip {
            id: row.id,
            job_id: row.job_id,
            title: row.title.clone(),
            start_s: seconds(row.start_ms),
            end_s: seconds(row.end_ms),
            url: self.media_url(grant, expires_at, &master_file(row.id)),
            offset_s: cut.offset_s,
            length_s: cut.length_s,
            expires_at,
            created_at: row.created_at,
            download: self.download(grant, plan, row, cut.frames.end - cut.frames.start, at_work),
        }
    }

    /// Writes a clip's playlists; they name segments that are there already.
    async fn write_clip(&self, prefix: &str, plan: &JobPlan, id: Uuid, tracks: Vec<ClipTrack>) -> Result<(), Problem> {
        let put = async |file: String, text: String| {
            let key = format!("{prefix}{file}");
            let meta = meta_for(&key);
            self.objects.put(&key, Bytes::from(text), meta, PutCondition::Always).await
        };
        let (mut videos, mut audios) = (Vec::new(), Vec::new());
        for track in tracks {
            let is_video = track.kind == "video";
            let track = GrowingTrack {
                name: track.name,
                init: track.init,
                init_uri: track.init_uri,
                segments: track.segments.into_iter().map(|s| (s.uri, s.seconds)).collect(),
            };
            let playlist = render_media_playlist(&clip_playlist(&track, "../../"));
            put(format!("clips/{id}/{}.m3u8", track.name), playlist).await?;
            if is_video { videos.push(track) } else { audios.push(track) }
        }
        // The order of the plan: the tallest first.
        videos.sort_by_key(|t| plan.video.renditions.iter().position(|r| r.name == t.name));
        let master = clip_master(plan, &videos, &audios, &format!("{id}/"));
        put(master_file(id), render_multivariant_playlist(&master)).await?;
        Ok(())
    }
}

impl Api {
    /// Deletes playlists and files of a clip.
    async fn delete_files(&self, prefix: &str, clip: Uuid) -> Result<(), ObjectError> {
        let listed = self.objects.list(&format!("{prefix}clips/{clip}/"), None).await?;
        let mut keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
        keys.push(format!("{prefix}{}", master_file(clip)));
        self.objects.delete(&keys).await
    }
}

fn milliseconds(field: &str, seconds: f64) -> Result<i64, Problem> {
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(Problem::invalid(field, "give 0 to 86400 seconds"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a day at most")]
    let ms = (seconds * 1000.0).round() as i64;
    Ok(ms)
}

fn not_watchable(row: &JobRow) -> Problem {
    let so_far = fleet::timeline::clock(f64::from(i32::try_from(row.watchable_ms / 1000).unwrap_or(0)));
    let title = format!("That part cannot be watched yet; so far there is {so_far} of the match.");
    Problem::conflict("not_watchable_yet", title)
}

/// The frame after the last that the pictures of a cut hold: the last segment of a match is shorter than others.
fn end_of(plan: &JobPlan, cut: &Cut, tracks: &[ClipTrack]) -> u64 {
    let Some(pictures) = tracks.iter().find(|track| track.kind == "video") else { return 0 };
    let seconds: f64 = pictures.segments.iter().map(|segment| segment.seconds).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "frames of a clip")]
    let frames = (seconds * plan.video.rate.as_f64()).round() as u64;
    plan.video.grid.start(cut.first).unwrap_or(0) + frames
}

/// Makes a clip of what can be watched: from the beginning on, or from a later minute that was put first. It plays at once.
#[utoipa::path(post, path = "/jobs/{id}/clips", tag = "clips", params(("id" = Uuid, Path)), request_body = ClipRequest,
    responses((status = 201, body = Clip), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Shared>,
    caller: Caller,
    Place(job): Place<Uuid>,
    Input(asked): Input<ClipRequest>,
) -> Result<Created<Clip>, Problem> {
    caller.may(Scope::ClipsWrite)?;
    let (start, end) = (milliseconds("start_s", asked.start_s)?, milliseconds("end_s", asked.end_s)?);
    if asked.end_s - asked.start_s < SHORTEST_S {
        return Err(Problem::invalid("end_s", format!("must be at least {SHORTEST_S} s after start_s")));
    }
    let title = text("title", asked.title.as_deref().unwrap_or_default(), 500)?;
    let tenant = api.tenant(&caller);
    let row = tenant.job(job).await?;
    let plan = tenant.plan(job).await?.ok_or_else(|| not_watchable(&row))?;
    let cut = Cut::of(&plan, start, end);
    // While the match is being made, what was put first is there before what precedes it.
    if end > row.watchable_ms && !api.keep_part(&row, cut.first, cut.end).await? {
        return Err(not_watchable(&row));
    }
    let mut tx = tenant.begin().await?;
    let tracks = api.store.clip_tracks(&mut tx, job, cut.first, cut.end).await?;
    if end > row.watchable_ms && end_of(&plan, &cut, &tracks) < cut.frames.end {
        return Err(not_watchable(&row));
    }
    let grant = Grant::of(&row);
    let id = Uuid::now_v7();
    // Playlists first: a clip that is in the list plays.
    api.write_clip(&grant.prefix(), &plan, id, tracks).await?;
    tenant.create_clip(&mut tx, id, job, &title, (start, end)).await?;
    let detail = serde_json::json!({ "job": job, "start_ms": start, "end_ms": end });
    tenant.audit(&mut tx, &change(&caller, "clip.created", id, detail)).await?;
    // Unless the match is being deleted.
    let clip = tenant.clip(&mut tx, id).await?.ok_or_else(|| Problem::not_found("job"))?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(api.clip(&grant, &plan, &clip).await?)))
}

/// Clips of a match, in its order; the first thousand.
#[utoipa::path(get, path = "/jobs/{id}/clips", tag = "clips", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Items<Clip>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Shared>,
    caller: Caller,
    Place(job): Place<Uuid>,
) -> Result<Json<Items<Clip>>, Problem> {
    caller.may(Scope::JobsRead)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = api.store.job_in(&mut tx, job).await?;
    let Some(plan) = api.store.plan_in(&mut tx, job).await? else { return Ok(Json(Items { items: Vec::new() })) };
    let grant = Grant::of(&row);
    let clips = tenant.clips_in(&mut tx, job, MOST).await?;
    let at_work = api.downloads_at_work(&clips).await?;
    Ok(Json(Items { items: clips.iter().map(|clip| api.clip_with(&grant, &plan, clip, &at_work)).collect() }))
}

/// A clip of the caller with its match's plan.
pub(super) async fn find(api: &Shared, caller: &Caller, id: Uuid) -> Result<(ClipRow, Grant, JobPlan), Problem> {
    let tenant = api.tenant(caller);
    let mut tx = tenant.begin().await?;
    let clip = tenant.clip(&mut tx, id).await?.ok_or_else(|| Problem::not_found("clip"))?;
    let row = api.store.job_in(&mut tx, clip.job_id).await?;
    let plan = api.store.plan_in(&mut tx, clip.job_id).await?.ok_or_else(|| Problem::not_found("clip"))?;
    Ok((clip, Grant::of(&row), plan))
}

/// A clip.
#[utoipa::path(get, path = "/clips/{id}", tag = "clips", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Clip), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<Json<Clip>, Problem> {
    caller.may(Scope::JobsRead)?;
    let (clip, grant, plan) = find(&api, &caller, id).await?;
    Ok(Json(api.clip(&grant, &plan, &clip).await?))
}

/// Deletes a clip. The match stays as it is.
#[utoipa::path(delete, path = "/clips/{id}", tag = "clips", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn delete(State(api): State<Shared>, caller: Caller, Place(id): Place<Uuid>) -> Result<StatusCode, Problem> {
    caller.may(Scope::ClipsWrite)?;
    let (_, grant, _) = find(&api, &caller, id).await?;
    let audit = change(&caller, "clip.deleted", id, serde_json::json!({}));
    if !api.store.delete_clip(&api.tenant(&caller), id, &audit).await? {
        return Err(Problem::not_found("clip"));
    }
    if let Err(error) = api.delete_files(&grant.prefix(), id).await {
        // Nobody can list them any more; the match takes them along.
        tracing::warn!(%error, clip = %id, "files of a deleted clip stay");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a link that plays a clip, and nothing else of the match, without a key.
#[utoipa::path(post, path = "/clips/{id}/share", tag = "clips", params(("id" = Uuid, Path)), request_body = ShareRequest,
    responses((status = 200, body = Share), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn share(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<ShareRequest>,
) -> Result<Json<Share>, Problem> {
    caller.may(Scope::ClipsWrite)?;
    let (clip, grant, plan) = find(&api, &caller, id).await?;
    let cut = Cut::of(&plan, clip.start_ms, clip.end_ms);
    let share = api.share(&Grant { clip: Some((id, cut.first, cut.end)), ..grant }, &asked)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let detail = serde_json::json!({ "until": share.expires_at.unix_timestamp() });
    tenant.audit(&mut tx, &change(&caller, "clip.shared", id, detail)).await?;
    tx.commit().await?;
    Ok(Json(share))
}
