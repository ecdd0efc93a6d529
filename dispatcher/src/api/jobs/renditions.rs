//! What a job is made into.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::Shared;
use super::super::caller::Caller;
use super::super::input::Place;
use super::super::page::Items;
use super::super::problem::Problem;
use super::super::scope::Scope;

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

/// Renditions of a job; none before it is planned.
#[utoipa::path(get, path = "/jobs/{id}/renditions", tag = "jobs", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Items<Rendition>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn renditions(
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
