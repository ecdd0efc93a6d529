//! Downloads: a clip as a file of exactly its frames. A worker makes it on request; whoever has its link fetches it under
//! a name that people recognise.

mod filename;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fleet::failure::FailureCode;
use fleet::keys;
use fleet::plan::JobPlan;
use fleet::store::clips::ClipRow;
use fleet::store::downloads::Asked;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::clips::Clip;
use super::input::{Input, Place};
use super::playback::Grant;
use super::problem::Problem;
use super::scope::Scope;
use super::{Api, Shared, change};
use crate::media;

/// What links to files are signed for.
const PURPOSE: &str = "download";
/// How long a store's own address holds: as long as the longest pause between asking and fetching.
const FOR_NOW: Duration = Duration::from_secs(3600);

/// What a link gives.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct File {
    #[serde(rename = "o")]
    organisation: Uuid,
    #[serde(rename = "c")]
    clip: Uuid,
}

/// The file of a clip.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Download {
    /// `none`, `queued`, `running`, `ready` or `failed`.
    #[schema(example = "ready")]
    pub state: String,
    /// Share of the frames that is made, 0 to 1.
    pub progress: f64,
    /// Height of its pictures; null while nobody has asked for it.
    #[schema(required)]
    pub height: Option<u32>,
    /// Where the file is, when it is ready; for as long as the clip's `url`.
    #[schema(required)]
    pub url: Option<String>,
    /// Why there is none, for people; asking again tries again.
    #[schema(required)]
    pub error: Option<String>,
}

/// What a file is to be like.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadRequest {
    /// Height of its pictures, one of the match's renditions; the tallest when it is missing. A clip has one file: another
    /// height takes the place of what there is.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 8640, example = 720)]
    height: Option<u32>,
}

/// How many frames there are of files that are being made.
pub(super) type AtWork = BTreeMap<Uuid, u64>;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(ask))
}

/// Where the files are.
pub(super) fn file_routes() -> axum::Router<Shared> {
    axum::Router::new().route("/download/{token}", get(file).options(media::preflight))
}

impl Api {
    /// Which files of these clips are being made.
    pub(super) async fn downloads_at_work(&self, clips: &[ClipRow]) -> Result<AtWork, Problem> {
        let queued: Vec<Uuid> = clips.iter().filter(|clip| clip.download == "queued").map(|clip| clip.id).collect();
        if queued.is_empty() {
            return Ok(AtWork::new());
        }
        Ok(self.store.downloads_at_work(&queued).await?.into_iter().collect())
    }

    /// The file of a clip of `frames` frames.
    pub(super) fn download(
        &self,
        grant: &Grant,
        plan: &JobPlan,
        row: &ClipRow,
        frames: u64,
        at_work: &AtWork,
    ) -> Download {
        let made = at_work.get(&row.id);
        let height = row.download_height.and_then(|height| u32::try_from(height).ok()).or_else(|| tallest(plan));
        let is_ready = row.download == "ready";
        #[expect(clippy::cast_precision_loss, reason = "frame counts")]
        let share = made.map_or(0.0, |made| (*made as f64 / frames.max(1) as f64).min(1.0));
        let file = File { organisation: grant.organisation, clip: row.id };
        let token = || self.signer.seal(PURPOSE, &file, self.playback_end().unix_timestamp());
        let error = row.download_error.as_deref().map(|code| {
            let known = FailureCode::from_code(code).unwrap_or(FailureCode::Internal);
            known.for_coach().to_owned()
        });
        Download {
            state: if made.is_some() { "running".to_owned() } else { row.download.clone() },
            progress: if is_ready { 1.0 } else { share },
            height: height.filter(|_| row.download != "none"),
            url: is_ready.then(|| self.url(&format!("/download/{}", token()))),
            error,
        }
    }
}

/// Heights of a match's renditions, the tallest first.
fn heights(plan: &JobPlan) -> Vec<u32> {
    let mut heights: Vec<u32> = plan.video.renditions.iter().map(|rendition| rendition.height).collect();
    heights.sort_unstable_by(|a, b| b.cmp(a));
    heights.dedup();
    heights
}

fn tallest(plan: &JobPlan) -> Option<u32> {
    heights(plan).first().copied()
}

/// The height that is asked for; `None` for the tallest, whether it is named or not.
fn asked_height(plan: &JobPlan, asked: Option<u32>) -> Result<Option<u32>, Problem> {
    let there = heights(plan);
    match asked {
        Some(height) if !there.contains(&height) => {
            let there: Vec<String> = there.iter().map(u32::to_string).collect();
            Err(Problem::invalid("height", format!("give one of {}", there.join(", "))))
        }
        other => Ok(other.filter(|height| Some(height) != there.first())),
    }
}

/// Asks for a clip as an MP4 file of exactly its frames, in the best quality there is or in the height that is named; look
/// at the clip for its state. What is there or is being made in that height stays; what failed is tried again.
#[utoipa::path(post, path = "/clips/{id}/download", tag = "clips", params(("id" = Uuid, Path)),
    request_body = DownloadRequest, responses(
    (status = 202, body = Clip), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn ask(
    State(api): State<Shared>,
    caller: Caller,
    Place(id): Place<Uuid>,
    Input(asked): Input<DownloadRequest>,
) -> Result<(StatusCode, Json<Clip>), Problem> {
    caller.may(Scope::ClipsWrite)?;
    // Row-level security decides whether there is such a clip; the job that makes the file is the fleet's own.
    let (clip, grant, plan) = super::clips::find(&api, &caller, id).await?;
    let height = asked_height(&plan, asked.height)?;
    #[expect(clippy::cast_precision_loss, reason = "media times")]
    let seconds = (clip.end_ms - clip.start_ms) as f64 / 1000.0;
    let longest_s = api.config.api.download_seconds;
    if seconds > longest_s {
        let title = format!("Files are made of clips of up to {}.", fleet::timeline::clock(longest_s));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "clip_too_long", title));
    }
    let detail = serde_json::json!({ "job": clip.job_id, "height": height.or_else(|| tallest(&plan)) });
    let audit = change(&caller, "clip.download_asked", id, detail);
    let became = api.store.ask_download(&api.tenant(&caller), id, seconds, height, &audit).await?;
    if let Asked::New { replaced: Some(old) } = became
        && let Err(error) = api.objects.delete(&[format!("{}{old}", grant.prefix())]).await
    {
        // Nobody finds it any more; the clip takes it along.
        tracing::warn!(%error, clip = %id, "a file that was replaced stays");
    }
    let (clip, grant, plan) = super::clips::find(&api, &caller, id).await?;
    Ok((StatusCode::ACCEPTED, Json(api.clip(&grant, &plan, &clip).await?)))
}

/// The file, for the bearer of a link.
async fn file(
    State(api): State<Shared>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let file: File = api.opened(PURPOSE, &token)?;
    let tenant = api.store.tenant(file.organisation);
    let mut tx = tenant.begin().await?;
    let clip = tenant.clip(&mut tx, file.clip).await?.ok_or_else(|| Problem::not_found("clip"))?;
    let job = api.store.job_in(&mut tx, clip.job_id).await?;
    let Some(path) = &clip.download_key else { return Err(Problem::not_found("file")) };
    let key = format!("{}{path}", keys::job_prefix(file.organisation, clip.job_id, clip.generation));
    let disposition = filename::disposition(&filename::of(&job.title, &clip.title, clip.start_ms));
    if !api.config.api.proxy_media
        && let Some(url) = api.objects.download_link(&key, &disposition, FOR_NOW).await?
    {
        let headers = [(header::LOCATION, url), (header::CACHE_CONTROL, "private, max-age=3000".to_owned())];
        return Ok((StatusCode::FOUND, headers).into_response());
    }
    let mut response = media::object(api.objects.clone(), key, &method, &headers).await;
    if response.status().is_success() {
        let value = HeaderValue::from_str(&disposition).map_err(|_| Problem::internal())?;
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3000"));
    }
    Ok(response)
}
