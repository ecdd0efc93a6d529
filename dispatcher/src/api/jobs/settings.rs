//! What is wanted of a job, checked when it is asked for: whoever asks for one later hears of mistakes now.

use fleet::ladder::Ladder;
use fleet::profiles;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::super::Api;
use super::super::input::text;
use super::super::problem::Problem;

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

/// Settings that this fleet can follow.
pub(in crate::api) struct Settings {
    pub(super) ladder: Ladder,
    pub(super) encoder: String,
    pub(super) region: Option<String>,
}

/// Reads settings, so that whoever asks for a job later hears of mistakes now.
pub(in crate::api) fn check_settings(api: &Api, settings: &JobSettings) -> Result<Settings, Problem> {
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

/// A built-in ladder. Files are for those who run the fleet.
pub(in crate::api) fn named_ladder(name: &str) -> Result<Ladder, Problem> {
    let all = profiles::all();
    let names: Vec<String> = all.iter().map(|l| l.name.clone()).collect();
    all.into_iter()
        .find(|l| l.name == name)
        .ok_or_else(|| Problem::invalid("ladder", format!("there are {}", names.join(", "))))
}
