//! Playback: who may see a match gets a link that holds its own permission. The token is part of the path, so that the
//! relative addresses in playlists carry it on, and it ends by itself.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fleet::keys;
use fleet::state::JobState;
use fleet::store::jobs::JobRow;
use fleet::timeline::PRESENTATION_DELAY_MS;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::focused::Asked;
use super::input::{Ask, Input, Place};
use super::jobs::{Rate, rate};
use super::problem::Problem;
use super::scope::Scope;
use super::{Api, BadToken, Shared, change};
use crate::media;

/// What playback tokens are signed for.
const PURPOSE: &str = "play";
/// Shared links end after a week when nothing else is said, and after a year at the latest.
const USUAL_SHARE_S: u64 = 7 * 86_400;
const MOST_SHARE_S: u64 = 365 * 86_400;
/// The picture that is shown before a match plays; published with it, and to be had as soon as it is made.
const POSTER: &str = "poster.jpg";
/// Files that are small and change, or name others; they come from here, whatever the store is.
const OURS: [&str; 4] = [".m3u8", ".vtt", ".json", ".jpg"];

/// What a token lets its bearer play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    #[serde(rename = "o")]
    pub(super) organisation: Uuid,
    #[serde(rename = "j")]
    pub(super) job: Uuid,
    #[serde(rename = "g")]
    pub(super) generation: i32,
    /// Only this clip, which needs the segments `[first, end)`.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none", default)]
    pub(super) clip: Option<(Uuid, u64, u64)>,
}

impl Grant {
    pub(super) fn of(row: &JobRow) -> Self {
        Self { organisation: row.organisation_id, job: row.id, generation: row.generation, clip: None }
    }

    /// Folder of the presentation.
    pub(super) fn prefix(&self) -> String {
        keys::job_prefix(self.organisation, self.job, self.generation)
    }

    /// Whether the bearer may have this file, named from the presentation's folder.
    fn covers(&self, file: &str) -> bool {
        let Some((clip, first, end)) = self.clip else { return true };
        if file.starts_with(&format!("clips/{clip}")) {
            return true;
        }
        let Some((_, name)) = file.split_once('/') else { return false };
        let index = name.strip_prefix("seg_").and_then(|n| n.split('_').next()).and_then(|n| n.parse::<u64>().ok());
        name.starts_with("init_") || index.is_some_and(|i| (first..end).contains(&i))
    }
}

/// Where to play a job. Addresses begin at `/` unless the fleet has a public address.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Playback {
    /// What to play now: the growing presentation, or the finished one; null while there is nothing to watch.
    #[schema(required)]
    pub url: Option<String>,
    /// The growing presentation.
    #[schema(required)]
    pub watch_url: Option<String>,
    /// The finished presentation.
    #[schema(required)]
    pub master_url: Option<String>,
    /// A picture to show before it plays.
    #[schema(required)]
    pub poster_url: Option<String>,
    /// Thumbnails (`WebVTT` with `#xywh`) for the scrub bar; while the job is at work they grow.
    #[schema(required)]
    pub thumbnails_url: Option<String>,
    /// Whether the match is complete.
    pub complete: bool,
    /// Up to which millisecond of the match `url` can be watched.
    pub watchable_ms: i64,
    /// Millisecond of the match with which `url` begins: 0 but for what was asked for with `from_s`.
    pub starts_at_ms: i64,
    /// Milliseconds by which every picture and every sound is shown after its place, counted from the first decode time of
    /// `url`: a player that puts that time at zero, as `hls.js` does, shows millisecond `t` of the match at
    /// `t - starts_at_ms + presentation_offset_ms`; one that begins with the first picture, as Safari does, at
    /// `t - starts_at_ms`.
    pub presentation_offset_ms: i64,
    /// Milliseconds of the match, once known.
    #[schema(required)]
    pub duration_ms: Option<i64>,
    /// Frame rate, for stepping.
    #[schema(required)]
    pub frame_rate: Option<Rate>,
    /// Title of the match.
    pub title: String,
    /// When the addresses end.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// From where a match is watched.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlaybackQuery {
    /// Second of the match that is wanted. While the match is being made and what precedes that second is not there yet,
    /// `url` plays from there on as soon as it can, and `starts_at_ms` says where it begins.
    #[param(minimum = 0, maximum = 86_400)]
    from_s: Option<f64>,
}

/// How long a link is shared.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// Seconds: 60 to a year; by default a week.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 31_536_000)]
    expires_in_s: Option<u64>,
}

/// A link that plays without a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Share {
    /// A page that plays it.
    pub url: String,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// What a shared link shows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SharedPlayback {
    /// What to play.
    #[serde(flatten)]
    pub playback: Playback,
    /// Where in the presentation the wanted part begins; only for clips.
    #[schema(required)]
    pub offset_s: Option<f64>,
    /// How long the wanted part is; only for clips.
    #[schema(required)]
    pub length_s: Option<f64>,
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(playback)).routes(routes!(share))
}

/// Routes of the interface for bearers of a link; they need no key.
pub(super) fn open_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(shared))
}

/// Files of presentations.
pub(super) fn media_routes() -> Router<Shared> {
    Router::new().route("/media/{token}/{*file}", get(object).options(media::preflight))
}

/// Where to play a job.
#[utoipa::path(get, path = "/jobs/{id}/playback", tag = "playback", params(("id" = Uuid, Path), PlaybackQuery), responses(
    (status = 200, body = Playback), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn playback(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Ask(asked): Ask<PlaybackQuery>,
) -> Result<Json<Playback>, Problem> {
    caller.may(Scope::JobsRead)?;
    let from = asked.from_s.unwrap_or(0.0);
    if !(0.0..=86_400.0).contains(&from) {
        return Err(Problem::invalid("from_s", "give 0 to 86400 seconds"));
    }
    let row = api.tenant(&caller).job(id).await?;
    let mut playback = api.playback(&row);
    #[expect(clippy::cast_possible_truncation, reason = "a day at most")]
    let is_ahead = (from * 1000.0) as i64 >= row.watchable_ms.max(1);
    if is_ahead
        && !playback.complete
        && let Some(part) = api.part_from(&row, from).await?
    {
        playback.url = Some(api.media_url(&Grant::of(&row), playback.expires_at, &part.file));
        playback.starts_at_ms = part.starts_at_ms;
        playback.watchable_ms = part.watchable_ms;
    }
    Ok(Json(playback))
}

/// Makes a link that plays a match without a key.
#[utoipa::path(post, path = "/jobs/{id}/share", tag = "playback", params(("id" = Uuid, Path)), request_body = ShareRequest,
    responses((status = 200, body = Share), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn share(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<ShareRequest>,
) -> Result<Json<Share>, Problem> {
    caller.may(Scope::ClipsWrite)?;
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let row = api.store.job_in(&mut tx, id).await?;
    let share = api.share(&Grant::of(&row), &asked)?;
    let detail = serde_json::json!({ "until": share.expires_at.unix_timestamp() });
    tenant.audit(&mut tx, &change(&caller, "job.shared", id, detail)).await?;
    tx.commit().await?;
    Ok(Json(share))
}

impl Api {
    /// The address of a path of this interface.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.config.api.public_url.as_deref().unwrap_or_default().trim_end_matches('/'))
    }

    /// When links that are made now end: to the hour, so that a page that asks again gets the same ones.
    pub(super) fn playback_end(&self) -> OffsetDateTime {
        let hour = 3600;
        let end = OffsetDateTime::now_utc() + Duration::from_secs_f64(self.config.api.playback_hours * 3600.0);
        let rounded = (end.unix_timestamp() + hour - 1) / hour * hour;
        OffsetDateTime::from_unix_timestamp(rounded).unwrap_or(end)
    }

    /// The address of a file of a presentation.
    pub(super) fn media_url(&self, grant: &Grant, until: OffsetDateTime, file: &str) -> String {
        let token = self.signer.seal(PURPOSE, grant, until.unix_timestamp());
        self.url(&format!("/media/{token}/{file}"))
    }

    /// Where to play a job.
    pub(crate) fn playback(&self, row: &JobRow) -> Playback {
        self.playback_until(row, self.playback_end())
    }

    fn playback_until(&self, row: &JobRow, until: OffsetDateTime) -> Playback {
        let grant = Grant::of(row);
        let complete = row.job_state() == JobState::Succeeded;
        let playable = row.watchable_ms > 0;
        let url = |condition: bool, file: &str| condition.then(|| self.media_url(&grant, until, file));
        let (watch, master) = (url(playable, keys::WATCH), url(complete, keys::MASTER));
        Playback {
            url: master.clone().or_else(|| watch.clone()),
            watch_url: watch,
            master_url: master,
            poster_url: url(complete || row.has_poster, POSTER),
            thumbnails_url: url(playable, "thumbnails.vtt"),
            complete,
            watchable_ms: row.watchable_ms,
            starts_at_ms: 0,
            presentation_offset_ms: PRESENTATION_DELAY_MS,
            duration_ms: row.duration_ms,
            frame_rate: row.frame_rate.as_deref().and_then(rate),
            title: row.title.clone(),
            expires_at: until,
        }
    }

    /// A link that plays without a key.
    pub(super) fn share(&self, grant: &Grant, asked: &ShareRequest) -> Result<Share, Problem> {
        let seconds = asked.expires_in_s.unwrap_or(USUAL_SHARE_S);
        if !(60..=MOST_SHARE_S).contains(&seconds) {
            return Err(Problem::invalid("expires_in_s", format!("give 60 to {MOST_SHARE_S} seconds")));
        }
        let expires_at = OffsetDateTime::now_utc() + Duration::from_secs(seconds);
        let token = self.signer.seal(PURPOSE, grant, expires_at.unix_timestamp());
        Ok(Share { url: self.url(&format!("/watch#{token}")), expires_at })
    }

    fn open(&self, token: &str) -> Result<Grant, Problem> {
        self.opened(PURPOSE, token)
    }

    /// What a link of this purpose grants.
    pub(super) fn opened<T: serde::de::DeserializeOwned>(&self, purpose: &str, token: &str) -> Result<T, Problem> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.signer.open(purpose, token, now).map_err(|error| match error {
            BadToken::Expired => {
                Problem::new(StatusCode::GONE, "link_expired", "This link has ended; ask for a new one.")
            }
            BadToken::Invalid => Problem::forbidden("This link is not valid."),
        })
    }
}

/// What a shared link shows. It needs no key: the link is one.
#[utoipa::path(get, path = "/shared/{token}", tag = "playback", security(()), params(("token" = String, Path)), responses(
    (status = 200, body = SharedPlayback), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn shared(State(api): State<Shared>, Place(token): Place<String>) -> Result<Json<SharedPlayback>, Problem> {
    let grant = api.open(&token)?;
    let tenant = api.store.tenant(grant.organisation);
    let row = tenant.job(grant.job).await?;
    let end = api.playback_end();
    let Some((clip, ..)) = grant.clip else {
        return Ok(Json(SharedPlayback { playback: api.playback_until(&row, end), offset_s: None, length_s: None }));
    };
    let mut tx = tenant.begin().await?;
    let clip = tenant.clip(&mut tx, clip).await?.ok_or_else(|| Problem::not_found("clip"))?;
    let plan = api.store.plan_in(&mut tx, grant.job).await?.ok_or_else(|| Problem::not_found("clip"))?;
    let cut = fleet::clip::Cut::of(&plan, clip.start_ms, clip.end_ms);
    let url = api.media_url(&grant, end, &super::clips::master_file(clip.id));
    let playback = Playback {
        url: Some(url.clone()),
        watch_url: None,
        master_url: Some(url),
        poster_url: None,
        thumbnails_url: None,
        complete: true,
        watchable_ms: clip.end_ms - clip.start_ms,
        starts_at_ms: 0,
        presentation_offset_ms: PRESENTATION_DELAY_MS,
        duration_ms: Some(clip.end_ms - clip.start_ms),
        title: if clip.title.is_empty() { row.title.clone() } else { clip.title.clone() },
        frame_rate: row.frame_rate.as_deref().and_then(rate),
        expires_at: end,
    };
    Ok(Json(SharedPlayback { playback, offset_s: Some(cut.offset_s), length_s: Some(cut.length_s) }))
}

/// A file of a presentation, for the bearer of a link.
async fn object(
    State(api): State<Shared>,
    Path((token, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let mut response = match find(&api, &token, &file, &method, &headers).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    // Links are for whoever has them, from any page; but no shared cache keeps what is private.
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Some(public) = answer.get(header::CACHE_CONTROL).and_then(|v| v.to_str().ok()) {
        let private = public.replace("public", "private");
        if let Ok(value) = HeaderValue::from_str(&private) {
            answer.insert(header::CACHE_CONTROL, value);
        }
    }
    response
}

async fn find(
    api: &Shared,
    token: &str,
    file: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let grant = api.open(token)?;
    if !grant.covers(file) {
        return Err(Problem::not_found("object"));
    }
    if let Some(asked) = Asked::of(file) {
        return api.focused_playlist(&grant, asked).await;
    }
    let key = format!("{}{file}", grant.prefix());
    let is_ours = OURS.iter().any(|end| file.ends_with(end));
    if !is_ours && !api.config.api.proxy_media {
        // As long as the longest pause between a player's asking and its reading.
        let for_now = Duration::from_secs(3600);
        if let Some(url) = api.objects.link(&key, for_now).await? {
            let headers = [(header::LOCATION, url), (header::CACHE_CONTROL, "private, max-age=3000".to_owned())];
            return Ok((StatusCode::FOUND, headers).into_response());
        }
    }
    let response = media::object(api.objects.clone(), key, method, headers).await;
    if response.status() == StatusCode::NOT_FOUND && file == "thumbnails.vtt" {
        return growing_thumbnails(api, &grant).await;
    }
    if response.status() == StatusCode::NOT_FOUND && file == POSTER {
        let posters = api.store.files(grant.job, keys::POSTER).await?;
        let poster = posters.first().ok_or_else(|| Problem::not_found("object"))?;
        let key = format!("{}{}/{}", grant.prefix(), keys::POSTER, poster.uri);
        return Ok(media::object(api.objects.clone(), key, method, headers).await);
    }
    Ok(response)
}

/// The thumbnails that are there while the match is being made.
async fn growing_thumbnails(api: &Shared, grant: &Grant) -> Result<Response, Problem> {
    let Some(plan) = api.store.tenant(grant.organisation).plan(grant.job).await? else {
        return Err(Problem::not_found("object"));
    };
    let strips = api.store.files(grant.job, keys::STORYBOARD).await?;
    let text = crate::publisher::render_storyboard(&plan, &strips, plan.expected_frames.unwrap_or(u64::MAX));
    let headers = [(header::CONTENT_TYPE, "text/vtt; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(clip: Option<(Uuid, u64, u64)>) -> Grant {
        Grant { organisation: Uuid::nil(), job: Uuid::nil(), generation: 1, clip }
    }

    #[test]
    fn the_link_of_a_clip_plays_the_clip_alone() {
        let clip = Uuid::from_u128(5);
        let one = grant(Some((clip, 3, 5)));
        for (file, covered) in [
            ("v720/seg_00003_a1.m4s", true),
            ("v720/seg_00004_a2.m4s", true),
            ("v720/seg_00005_a1.m4s", false),
            ("v720/seg_00002_a1.m4s", false),
            ("v720/init_00ff.mp4", true),
            ("v720/index.m3u8", false),
            ("master.m3u8", false),
            ("report.json", false),
        ] {
            assert_eq!(one.covers(file), covered, "{file}");
            assert!(grant(None).covers(file));
        }
        assert!(one.covers(&format!("clips/{clip}.m3u8")) && one.covers(&format!("clips/{clip}/v720.m3u8")));
        assert!(!one.covers(&format!("clips/{}.m3u8", Uuid::from_u128(6))));
    }
}
