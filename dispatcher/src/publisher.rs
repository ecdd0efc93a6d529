//! Publishes what workers committed. In this direction only: segments are readable, then the playlists that name them,
//! then `master.m3u8`, then one transaction that is the publication. Every step may be repeated; whoever finds a job
//! between two steps finishes it.

pub mod growing;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fleet::cmaf::InitFacts;
use fleet::conformance;
use fleet::failure::FailureCode;
use fleet::hls::{Thumbnail, render_media_playlist, render_multivariant_playlist, render_thumbnails};
use fleet::keys;
use fleet::objects::{ETag, ObjectError, ObjectStore, PutCondition, meta_for};
use fleet::plan::JobPlan;
use fleet::presentation::{self, CompleteTrack, GrowingTrack};
use fleet::store::publication::{CommittedFile, Growth, Publication, PublicationLock};
use fleet::store::{Store, StoreError};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::dispatch::DispatchError;
use crate::pace::{Pace, pace};
use growing::{GrowingVersion, is_listable, replace, watchable_segments};

/// Jobs that are worked on at once.
const JOBS_AT_ONCE: usize = 4;
/// Plans that are kept in memory.
const PLANS: usize = 256;
/// Largest playlist that is read back, in bytes.
const MAX_PLAYLIST: u64 = 16 << 20;

/// Facts of a strip of thumbnails, as the worker commits them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StripFacts {
    /// Number of the first thumbnail.
    pub first: u64,
    /// Thumbnails side by side.
    pub tiles: u64,
    /// Width of one in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Everything publishing needs.
#[derive(Debug)]
pub struct Publisher {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    plans: Mutex<BTreeMap<(Uuid, i32), Arc<JobPlan>>>,
}

/// What ends a publication without success.
enum Fault {
    /// The job fails.
    Job(FailureCode, String),
    /// The next turn tries again.
    Later(DispatchError),
}

impl<E: Into<DispatchError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Later(error.into())
    }
}

/// A job as the publisher sees it.
struct Subject {
    job: Uuid,
    prefix: String,
    plan: Arc<JobPlan>,
    generation: i32,
    created_s: f64,
}

impl Publisher {
    /// A publisher.
    #[must_use]
    pub fn new(store: Store, objects: Arc<dyn ObjectStore>) -> Self {
        Self { store, objects, plans: Mutex::default() }
    }

    /// One turn over all jobs at work; gives how many changed.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn turn(&self) -> Result<usize, DispatchError> {
        let mut jobs: BTreeMap<Uuid, Vec<Growth>> = BTreeMap::new();
        for growth in self.store.growth().await? {
            jobs.entry(growth.job).or_default().push(growth);
        }
        let turns = jobs.into_iter().map(|(job, tracks)| async move {
            match self.job_turn(job, &tracks).await {
                Ok(changed) => usize::from(changed),
                Err(Fault::Job(code, message)) => {
                    tracing::error!(job.id = %job, %code, message, "job failed while it was being published");
                    match self.store.fail(job, code, &message).await {
                        Ok(_) => 1,
                        Err(error) => {
                            tracing::warn!(job.id = %job, %error, "failing the job must wait");
                            0
                        }
                    }
                }
                Err(Fault::Later(error)) => {
                    tracing::warn!(job.id = %job, %error, "publishing must wait");
                    0
                }
            }
        });
        Ok(stream::iter(turns).buffer_unordered(JOBS_AT_ONCE).fold(0, async |sum, n| sum + n).await)
    }

    async fn job_turn(&self, job: Uuid, tracks: &[Growth]) -> Result<bool, Fault> {
        if tracks.iter().any(|t| t.publishing) {
            return self.finish(job).await;
        }
        let available = watchable_segments(tracks);
        let listed = tracks.first().map_or(0, |t| t.listed);
        if available <= listed {
            return Ok(false);
        }
        let Some(subject) = self.subject(job).await? else { return Ok(false) };
        #[expect(clippy::cast_precision_loss, reason = "segment counts")]
        let seconds_per_segment = subject.created_s / available.max(1) as f64;
        let wanted = pace(Pace {
            available,
            listed,
            appended_s: tracks.first().and_then(|t| t.appended_s),
            target_s: f64::from(presentation::growing_target(&subject.plan)),
            seconds_per_segment,
        });
        if wanted <= listed {
            return Ok(false);
        }
        let Some(lock) = self.store.lock_publication(job, subject.generation).await? else { return Ok(false) };
        // Another dispatcher may have been here since.
        let wanted = wanted.max(lock.listed);
        let Some(mut lock) = lock.promise(wanted).await? else { return Ok(false) };
        let wanted = wanted.max(lock.listed);
        let names: Vec<&Growth> = tracks.iter().filter(|t| t.contiguous > 0).collect();
        let Some(grown) = self.write_growing(&subject, &mut lock, &names, wanted, false).await? else {
            return Ok(false);
        };
        let grid = &subject.plan.video.grid;
        let frames = grid.start(grown).or(subject.plan.expected_frames).unwrap_or(0);
        lock.grown(grown, milliseconds(&subject.plan, frames)).await?;
        tracing::debug!(job.id = %job, segments = grown, "watch.m3u8 grew");
        Ok(true)
    }

    async fn subject(&self, job: Uuid) -> Result<Option<Subject>, DispatchError> {
        let row = self.store.job(job).await?;
        let key = (job, row.generation);
        let known = self.plans.lock().await.get(&key).cloned();
        let plan = match known {
            Some(plan) => plan,
            None => {
                let Some(plan) = self.store.plan(job).await? else { return Ok(None) };
                let plan = Arc::new(plan);
                let mut plans = self.plans.lock().await;
                if plans.len() >= PLANS {
                    plans.pop_first();
                }
                plans.insert(key, plan.clone());
                plan
            }
        };
        let since = row.planned_at.unwrap_or(row.created_at);
        let created_s = (time::OffsetDateTime::now_utc() - since).as_seconds_f64().max(0.0);
        Ok(Some(Subject {
            job,
            prefix: keys::job_prefix(row.organisation_id, job, row.generation),
            plan,
            generation: row.generation,
            created_s,
        }))
    }

    /// Writes the growing playlists with `wanted` segments, and their multivariant playlist when there is none. Gives how
    /// many segments are listed; `None` when some were withdrawn since they were counted.
    async fn write_growing(
        &self,
        subject: &Subject,
        lock: &mut PublicationLock,
        tracks: &[&Growth],
        wanted: u64,
        ended: bool,
    ) -> Result<Option<u64>, Fault> {
        let inits: BTreeMap<String, (String, InitFacts)> =
            self.store.inits(subject.job).await?.into_iter().map(|(name, uri, init)| (name, (uri, init))).collect();
        let mut growing = BTreeMap::new();
        for track in tracks {
            let Some((init_uri, init)) = inits.get(&track.rendition) else { continue };
            let segments = lock.listed_segments(&track.rendition, wanted).await?;
            let has_no_more = ended || track.kind == "audio" && track.ended;
            if !is_listable(segments.iter().map(|s| s.index), wanted, has_no_more) {
                return Ok(None);
            }
            growing.insert(
                track.rendition.clone(),
                GrowingTrack {
                    name: track.rendition.clone(),
                    init: init.clone(),
                    init_uri: init_uri.clone(),
                    segments: segments.into_iter().map(|s| (s.uri, s.seconds)).collect(),
                },
            );
        }
        // The sound first: a player that sees a picture's segment finds the sound to it.
        let in_order = growing
            .values()
            .filter(|t| t.name.starts_with("audio"))
            .chain(growing.values().filter(|t| !t.name.starts_with("audio")));
        for track in in_order {
            let text = render_media_playlist(&presentation::growing_playlist(&subject.plan, track, ended));
            let key = format!("{}{}/{}", subject.prefix, track.name, keys::WATCH);
            let version = GrowingVersion { text, segments: track.segments.len(), ended };
            let etag = replace(&*self.objects, &key, version, lock.etags.get(&track.name)).await?;
            lock.etags.insert(track.name.clone(), etag.0);
        }
        if !lock.master {
            let video_names = subject.plan.video.renditions.iter().map(|r| &r.name);
            let videos: Vec<GrowingTrack> = video_names.filter_map(|n| growing.get(n).cloned()).collect();
            let audio_names = subject.plan.audio.iter().map(|a| &a.name);
            let audios: Vec<GrowingTrack> = audio_names.filter_map(|n| growing.get(n).cloned()).collect();
            let master = presentation::growing_master(&subject.plan, &videos, &audios);
            let key = format!("{}{}", subject.prefix, keys::WATCH);
            self.put(&key, render_multivariant_playlist(&master), PutCondition::Always).await?;
            lock.master = true;
        }
        Ok(Some(wanted))
    }

    async fn put(&self, key: &str, text: String, condition: PutCondition) -> Result<ETag, ObjectError> {
        self.objects.put(key, Bytes::from(text), meta_for(key), condition).await
    }

    /// Checks and publishes a job all of whose chunks are done.
    async fn finish(&self, job: Uuid) -> Result<bool, Fault> {
        let Some(subject) = self.subject(job).await? else { return Ok(false) };
        let Some(mut lock) = self.store.lock_publication(job, subject.generation).await? else { return Ok(false) };
        let row = self.store.job(job).await?;
        let plan = &subject.plan;
        let frames = row.end_frames.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        if frames == 0 {
            return Err(Fault::Job(FailureCode::Undecodable, "no picture could be decoded".to_owned()));
        }
        let segments = plan.video.grid.segments(frames);
        let inits: BTreeMap<String, (String, InitFacts)> =
            self.store.inits(job).await?.into_iter().map(|(name, uri, init)| (name, (uri, init))).collect();
        let stored = self.stored(&subject.prefix).await?;
        let mut media_bytes = 0;
        let mut videos = Vec::new();
        for rendition in &plan.video.renditions {
            let (track, total) = self.track(&subject, &rendition.name, &inits, &stored, &mut media_bytes).await?;
            if track.segments.len() as u64 != segments || total != frames {
                let message = format!(
                    "{}: {} of {segments} segments, {total} of {frames} frames",
                    rendition.name,
                    track.segments.len()
                );
                return Err(Fault::Job(FailureCode::Internal, message));
            }
            videos.push(track);
            lock.is_publishing().await?;
        }
        let mut audios = Vec::new();
        let mut warnings = Vec::new();
        for audio in &plan.audio {
            if !inits.contains_key(&audio.name) {
                warnings.push(format!("sound track {} held nothing and is left out", audio.name));
                continue;
            }
            audios.push(self.track(&subject, &audio.name, &inits, &stored, &mut media_bytes).await?.0);
        }
        warnings.extend(end_warnings(plan, frames, &audios));
        if row.damaged > 0 {
            let places = row.damaged;
            warnings.push(format!("the source is damaged in {places} places; the picture may break up there"));
        }

        let playlists = presentation::playlists(plan, &videos, &audios);
        let report = conformance::evaluate(&presentation::presentation(&playlists, &videos, &audios));
        let report_text =
            serde_json::to_vec_pretty(&report).map_err(|source| StoreError::Unreadable { what: "report", source })?;
        let key = |name: &str| format!("{}{name}", subject.prefix);
        for (path, text) in playlists.files() {
            self.put(&key(path), text, PutCondition::Always).await?;
            lock.is_publishing().await?;
        }
        let thumbnails = self.thumbnails(&subject, frames).await?;
        self.put(&key("thumbnails.vtt"), thumbnails, PutCondition::Always).await?;
        self.poster(&subject).await?;
        let report_key = key("report.json");
        self.objects.put(&report_key, Bytes::from(report_text), meta_for(&report_key), PutCondition::Always).await?;
        if !report.passed() {
            return Err(Fault::Job(FailureCode::ConformanceFailed, report.failures()));
        }
        // Who watches the growing presentation gets its rest and its end.
        let growth: Vec<Growth> =
            self.store.growth().await?.into_iter().filter(|g| g.job == job && g.contiguous > 0).collect();
        let tracks: Vec<&Growth> = growth.iter().collect();
        let longest = growth.iter().map(|g| g.contiguous).max().unwrap_or(segments).max(segments);
        // A retry after a cancel may have begun since: then this is no longer to be published.
        let Some(mut lock) = lock.promise(longest).await? else { return Ok(false) };
        if !lock.is_publishing().await? {
            return Ok(false);
        }
        let Some(listed) = self.write_growing(&subject, &mut lock, &tracks, longest, true).await? else {
            return Ok(false);
        };
        lock.listed = listed;

        // From here on it can be seen. A cancel after this look leaves a complete presentation that no job names, until
        // the job is tried again. What counts as published is the job's state.
        if !lock.is_publishing().await? {
            return Ok(false);
        }
        let master = render_multivariant_playlist(&playlists.master);
        match self.put(&key(keys::MASTER), master.clone(), PutCondition::IfAbsent).await {
            Ok(_) => {}
            Err(ObjectError::PreconditionFailed { .. }) => {
                let (there, _) = self.objects.get(&key(keys::MASTER), MAX_PLAYLIST).await?;
                if there != master.as_bytes() {
                    let message = "master.m3u8 is there already, with other content".to_owned();
                    return Err(Fault::Job(FailureCode::Internal, message));
                }
            }
            Err(other) => return Err(other.into()),
        }
        let summary = serde_json::json!({
            "playlist": key(keys::MASTER),
            "watch": key(keys::WATCH),
            "renditions": playlists.renditions,
            "report": report.summary,
            "encoder": row.backend,
        });
        let publication = Publication {
            summary,
            duration_ms: milliseconds(plan, frames),
            warnings,
            bytes: media_bytes,
            segments: videos.iter().chain(&audios).map(|t| t.segments.len() as u64).sum(),
        };
        if lock.publish(&publication).await? {
            tracing::info!(job.id = %job, "Published job {job}");
        }
        Ok(true)
    }

    /// Sizes of all objects of a job.
    async fn stored(&self, prefix: &str) -> Result<BTreeMap<String, u64>, ObjectError> {
        let mut sizes = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.objects.list(prefix, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(sizes) };
            after = Some(last.key.clone());
            sizes.extend(page.into_iter().map(|o| (o.key, o.size)));
        }
    }

    /// A complete rendition, each of whose files is in the store with its size; and its frames or samples.
    async fn track(
        &self,
        subject: &Subject,
        name: &str,
        inits: &BTreeMap<String, (String, InitFacts)>,
        stored: &BTreeMap<String, u64>,
        bytes: &mut u64,
    ) -> Result<(CompleteTrack, u64), Fault> {
        let internal = |message: String| Fault::Job(FailureCode::Internal, message);
        let (init_uri, init) = inits.get(name).ok_or_else(|| internal(format!("{name}: no init segment")))?;
        let files = self.store.files(subject.job, name).await?;
        let mut total = 0;
        let mut segments = Vec::with_capacity(files.len());
        for (place, file) in files.iter().enumerate() {
            if file.index != place as u64 {
                return Err(internal(format!("{name}: segment {place} is missing")));
            }
            let key = format!("{}{name}/{}", subject.prefix, file.uri);
            if stored.get(&key) != Some(&file.bytes) {
                let message = format!("{key}: committed with {} bytes, stored: {:?}", file.bytes, stored.get(&key));
                return Err(Fault::Job(FailureCode::OutputFailed, message));
            }
            let is_picture = subject.plan.video.renditions.iter().any(|r| r.name == name);
            if is_picture && file.first != total {
                // A damaged index can hide from who reads on what it shows to who goes there.
                let first = file.first;
                let message =
                    format!("{name}: the source breaks off after {total} frames, and goes on at frame {first}");
                return Err(Fault::Job(FailureCode::Undecodable, message));
            }
            total += file.count;
            *bytes += file.bytes;
            segments.push((file.uri.clone(), file.segment()?));
        }
        if !stored.contains_key(&format!("{}{name}/{init_uri}", subject.prefix)) {
            return Err(Fault::Job(FailureCode::OutputFailed, format!("{name}/{init_uri} is missing in the store")));
        }
        let track = CompleteTrack { name: name.to_owned(), init: init.clone(), init_uri: init_uri.clone(), segments };
        Ok((track, total))
    }

    async fn thumbnails(&self, subject: &Subject, frames: u64) -> Result<String, Fault> {
        let strips = self.store.files(subject.job, keys::STORYBOARD).await?;
        Ok(render_storyboard(&subject.plan, &strips, frames))
    }

    /// The poster, or the first thumbnail where no chunk met its frame.
    async fn poster(&self, subject: &Subject) -> Result<(), Fault> {
        let mut found: Option<(&str, CommittedFile)> = None;
        for folder in [keys::POSTER, keys::STORYBOARD] {
            if let Some(file) = self.store.files(subject.job, folder).await?.into_iter().next() {
                found = Some((folder, file));
                break;
            }
        }
        let Some((folder, file)) = found else { return Ok(()) };
        let from = format!("{}{folder}/{}", subject.prefix, file.uri);
        let (bytes, _) = self.objects.get(&from, MAX_PLAYLIST).await?;
        let key = format!("{}poster.jpg", subject.prefix);
        self.objects.put(&key, bytes, meta_for(&key), PutCondition::Always).await?;
        Ok(())
    }
}

/// The thumbnails before frame `end` that committed strips hold.
pub(crate) fn render_storyboard(plan: &JobPlan, strips: &[CommittedFile], end: u64) -> String {
    let every = plan.video.thumbnail_every.max(1);
    let mut cues = Vec::new();
    for file in strips {
        let Ok(strip) = serde_json::from_value::<StripFacts>(file.facts.clone()) else { continue };
        let frames = (0..strip.tiles).map(|tile| (tile, (strip.first + tile) * every));
        for (tile, frame) in frames.take_while(|(_, frame)| *frame < end) {
            cues.push(Thumbnail {
                start_ms: milliseconds(plan, frame),
                end_ms: milliseconds(plan, (frame + every).min(end)),
                image: format!("{}/{}", keys::STORYBOARD, file.uri),
                x: u32::try_from(tile).unwrap_or(0) * strip.width,
                y: 0,
                width: strip.width,
                height: strip.height,
            });
        }
    }
    cues.sort_by_key(|c| c.start_ms);
    render_thumbnails(&cues)
}

fn milliseconds(plan: &JobPlan, frames: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "media times")]
    let ms = (plan.video.rate.seconds(frames) * 1000.0).round() as u64;
    ms
}

fn end_warnings(plan: &JobPlan, frames: u64, audios: &[CompleteTrack]) -> Vec<String> {
    let mut warnings = Vec::new();
    // Sound may run past the last picture; only what is missing of both was cut off.
    let sound = audios.iter().filter_map(|t| {
        let (_, last) = t.segments.last()?;
        #[expect(clippy::cast_precision_loss, reason = "media times")]
        let seconds = last.decode_end() as f64 / f64::from(t.init.timescale.max(1));
        Some(seconds)
    });
    let duration = sound.fold(plan.video.rate.seconds(frames), f64::max);
    // Without an index the length is a guess, which fails when clocks jump.
    let told = plan.expected_frames.filter(|_| plan.video.indexed).map(|frames| plan.video.rate.seconds(frames));
    if let Some(told) = told.filter(|t| duration < t * 0.98 - 0.5) {
        warnings.push(format!(
            "the source ends early: {} of {} could be read and were made watchable",
            fleet::timeline::clock(duration),
            fleet::timeline::clock(told)
        ));
    }
    warnings
}
