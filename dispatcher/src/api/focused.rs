//! Watching from a later minute: while a match is being made, what was put first can be watched before what precedes it.
//!
//! The playlists begin with the segment of that minute and list what follows it without a hole in every rendition, so they
//! grow as `watch.m3u8` does, and end with the match. Nobody writes them: they are made of the committed segments whenever a
//! player asks. How far they go is noted first ([`fleet::store::parts`]): what was listed once is listed again, and is
//! withdrawn no more. It is also what they are paced by: the first segments are listed as they come, since somebody waits for
//! them; behind these the same reserve is held back as with `watch.m3u8`, for the same players.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use fleet::hls::{render_media_playlist, render_multivariant_playlist};
use fleet::plan::JobPlan;
use fleet::presentation::{GrowingTrack, clip_master, growing_part, growing_target};
use fleet::state::JobState;
use fleet::store::clips::ClipTrack;
use fleet::store::jobs::JobRow;

use super::Api;
use super::playback::Grant;
use super::problem::Problem;
use crate::pace::{Pace, pace};
use crate::publisher::growing::watchable_segments;

/// Folder of these playlists, below the presentation's. Nothing lies there.
const FOLDER: &str = "from/";

/// Which of the playlists is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// The segment that it begins with.
    first: u64,
    /// A rendition's; `None` for the multivariant one.
    rendition: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Reads the name of a file below the presentation's folder.
    pub(super) fn of(file: &'a str) -> Option<Self> {
        let name = file.strip_prefix(FOLDER)?.strip_suffix(".m3u8")?;
        let (first, rendition) = match name.split_once('/') {
            Some((first, rendition)) => (first, Some(rendition)),
            None => (name, None),
        };
        let is_plain = !first.is_empty() && first.len() <= 9 && first.bytes().all(|b| b.is_ascii_digit());
        Some(Self { first: first.parse().ok().filter(|_| is_plain)?, rendition })
    }
}

/// A part of a match that can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its multivariant playlist, named from the presentation's folder.
    pub(super) file: String,
    /// Where it begins in the match, in milliseconds.
    pub(super) starts_at_ms: i64,
    /// Where it ends by now.
    pub(super) watchable_ms: i64,
}

/// How far a part is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    /// The segment after the last.
    end: u64,
    /// Nothing more comes.
    has_ended: bool,
}

impl Api {
    /// What can be watched from a second of a match on; `None` when nothing can yet.
    pub(super) async fn part_from(&self, row: &JobRow, second: f64) -> Result<Option<Part>, Problem> {
        let Some(plan) = self.store.plan(row.id).await? else { return Ok(None) };
        let (rate, grid) = (plan.video.rate, &plan.video.grid);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a day at most")]
        let frame = (second * rate.as_f64()).max(0.0) as u64;
        let first = grid.segment_of(frame);
        let end = self.listed_from(row, &plan, first).await?.end;
        let Some(begins) = grid.start(first).filter(|_| end > first) else { return Ok(None) };
        let ends = grid.start(end).or(plan.expected_frames).unwrap_or(begins);
        #[expect(clippy::cast_possible_truncation, reason = "media times")]
        let ms = |frame: u64| (rate.seconds(frame) * 1000.0).round() as i64;
        Ok(Some(Part {
            file: format!("{FOLDER}{first}.m3u8"),
            starts_at_ms: ms(begins),
            watchable_ms: ms(plan.expected_frames.map_or(ends, |all| ends.min(all))),
        }))
    }

    /// How far the part from segment `first` on is listed by now.
    async fn listed_from(&self, row: &JobRow, plan: &JobPlan, first: u64) -> Result<Listed, Problem> {
        let Some(lock) = self.store.lock_part(row.id, row.generation, first).await? else {
            return Ok(Listed { end: self.store.listed_part(row.id, first).await?, has_ended: false });
        };
        let available = watchable_segments(&lock.tracks);
        // A playlist to which nothing more can come has to say so: players take one that only stops growing for broken.
        let has_ended = lock.is_whole && available > first;
        let (many, target_s) = (available.saturating_sub(first), f64::from(growing_target(plan)));
        let paced = paced(many, lock.listed - first, lock.appended_s, lock.since_s, target_s);
        let end = if has_ended { available } else { first + paced }.max(lock.listed);
        if end > lock.listed {
            lock.list(end).await?;
        }
        Ok(Listed { end, has_ended })
    }

    /// Whether every rendition has the segments `[first, end)`; if so they are withdrawn no more.
    pub(super) async fn keep_part(&self, row: &JobRow, first: u64, end: u64) -> Result<bool, Problem> {
        let Some(lock) = self.store.lock_part(row.id, row.generation, first).await? else { return Ok(false) };
        let is_there = watchable_segments(&lock.tracks) >= end;
        if is_there {
            lock.list(end).await?;
        }
        Ok(is_there)
    }

    /// One of the playlists, as it is now.
    pub(super) async fn focused_playlist(&self, grant: &Grant, asked: Asked<'_>) -> Result<Response, Problem> {
        let tenant = self.store.tenant(grant.organisation);
        let row = tenant.job(grant.job).await?;
        let plan = tenant.plan(grant.job).await?.filter(|_| row.generation == grant.generation);
        let plan = plan.ok_or_else(|| Problem::not_found("object"))?;
        let has_ended = row.job_state() == JobState::Succeeded;
        let listed = if has_ended { None } else { Some(self.listed_from(&row, &plan, asked.first).await?) };
        // At the end sound may run past the last picture.
        let (end, has_ended) = match listed {
            Some(Listed { end, has_ended: false }) => (end, false),
            _ => (i64::MAX.cast_unsigned(), true),
        };
        let mut tx = tenant.begin().await?;
        let tracks = self.store.clip_tracks(&mut tx, row.id, asked.first, end).await?;
        let text = match asked.rendition {
            None => master(&plan, tracks, asked.first),
            Some(name) => {
                let track = tracks.into_iter().find(|track| track.name == name);
                let track = growing(track.ok_or_else(|| Problem::not_found("object"))?);
                render_media_playlist(&growing_part(&plan, &track, "../../", has_ended))
            }
        };
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, header::HeaderValue::from_static("application/vnd.apple.mpegurl")),
            (header::CACHE_CONTROL, header::HeaderValue::from_static("no-store")),
        ]);
        Ok((headers, text).into_response())
    }
}

/// How many segments of a part to list: of `available`, where `listed` are listed and the first is there since `since_s`.
fn paced(available: u64, listed: u64, appended_s: Option<f64>, since_s: f64, target_s: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "segment counts")]
    let seconds_per_segment = since_s / available.max(1) as f64;
    pace(Pace { available, listed, appended_s, target_s, seconds_per_segment })
}

fn master(plan: &JobPlan, tracks: Vec<ClipTrack>, first: u64) -> String {
    let (mut videos, audios): (Vec<_>, Vec<_>) = tracks.into_iter().partition(|track| track.kind == "video");
    // The order of the plan: the tallest first.
    videos.sort_by_key(|track| plan.video.renditions.iter().position(|r| r.name == track.name));
    let growing = |tracks: Vec<ClipTrack>| tracks.into_iter().map(growing).collect::<Vec<_>>();
    render_multivariant_playlist(&clip_master(plan, &growing(videos), &growing(audios), &format!("{first}/")))
}

fn growing(track: ClipTrack) -> GrowingTrack {
    GrowingTrack {
        name: track.name,
        init: track.init,
        init_uri: track.init_uri,
        segments: track.segments.into_iter().map(|segment| (segment.uri, segment.seconds)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_there_at_once_and_keeps_a_few_segments_for_the_time_between_two_bursts() {
        for there in 1..=3 {
            assert_eq!(paced(there, 0, None, 20.0, 6.0), there, "somebody waits for the first ones");
        }
        // Thirty segments in three minutes, as fast as they are watched.
        assert_eq!(paced(30, 0, None, 180.0, 6.0), 22);
        assert_eq!(paced(30, 22, Some(3.0), 183.0, 6.0), 22);
        assert_eq!(paced(30, 22, Some(8.5), 188.5, 6.0), 23, "within one and a half target durations");
        assert_eq!(paced(30, 30, Some(60.0), 240.0, 6.0), 30);
    }

    #[test]
    fn only_names_of_these_playlists_are_taken_for_them() {
        assert_eq!(Asked::of("from/12.m3u8"), Some(Asked { first: 12, rendition: None }));
        assert_eq!(Asked::of("from/0/v720.m3u8"), Some(Asked { first: 0, rendition: Some("v720") }));
        for other in ["watch.m3u8", "from/12", "from/-1.m3u8", "from/+1.m3u8", "from/.m3u8", "from/9999999999.m3u8"] {
            assert_eq!(Asked::of(other), None, "{other}");
        }
    }
}
