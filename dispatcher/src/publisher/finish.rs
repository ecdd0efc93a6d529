//! The publication of a job all of whose chunks are done.

use std::collections::BTreeMap;

use bytes::Bytes;
use fleet::cmaf::InitFacts;
use fleet::conformance;
use fleet::failure::FailureCode;
use fleet::hls::render_multivariant_playlist;
use fleet::keys;
use fleet::objects::{ObjectError, PutCondition, meta_for};
use fleet::plan::JobPlan;
use fleet::presentation::{self, CompleteTrack};
use fleet::store::StoreError;
use fleet::store::publication::{CommittedFile, Growth, Publication, PublicationLock};
use uuid::Uuid;

use super::growing::MAX_PLAYLIST;
use super::storyboard::render_storyboard;
use super::{Publisher, Subject, milliseconds};
use crate::dispatch::DispatchError;

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

impl Publisher {
    /// Checks and publishes a job, or fails it when it cannot be published. Gives whether it was changed.
    ///
    /// # Errors
    /// Store or objects do not answer, or the lock is lost; the next turn tries again.
    pub(super) async fn finish(&self, job: Uuid) -> Result<bool, DispatchError> {
        let Some(subject) = self.subject(job).await? else { return Ok(false) };
        let Some(mut lock) = self.store.lock_publication(job, subject.generation).await? else { return Ok(false) };
        if !lock.is_publishing().await? {
            return Ok(false);
        }
        let growth: Vec<Growth> =
            self.store.growth().await?.into_iter().filter(|g| g.job == job && g.contiguous > 0).collect();
        // First of all the promise: from here on no segment is withdrawn, so that whoever publishes this plan, in whatever
        // try, and however late a write of theirs arrives, writes the same playlists.
        let longest = growth.iter().map(|g| g.contiguous).max().unwrap_or(0);
        let Some(mut lock) = lock.promise(longest).await? else { return Ok(false) };
        // A retry after a cancel may have begun since: then this is no longer to be published.
        if !lock.is_publishing().await? {
            return Ok(false);
        }
        match self.complete(&subject, &mut lock, &growth, longest).await {
            Ok(None) => Ok(false),
            Ok(Some(publication)) => {
                if lock.publish(&publication).await? {
                    tracing::info!(job.id = %job, "Published job {job}");
                }
                Ok(true)
            }
            Err(Fault::Job(code, message)) => {
                let failed = lock.fail(code, &message).await?;
                if failed {
                    tracing::error!(job.id = %job, %code, message, "job failed while it was being published");
                }
                Ok(failed)
            }
            Err(Fault::Later(error)) => Err(error),
        }
    }

    /// Writes all playlists, `master.m3u8` last, when all that they name is there. Gives what is to be recorded; `None` when
    /// the job was cancelled meanwhile.
    async fn complete(
        &self,
        subject: &Subject,
        lock: &mut PublicationLock,
        growth: &[Growth],
        longest: u64,
    ) -> Result<Option<Publication>, Fault> {
        let row = self.store.job(subject.job).await?;
        let plan = &subject.plan;
        let frames = row.end_frames.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        if frames == 0 {
            return Err(Fault::Job(FailureCode::Undecodable, "no picture could be decoded".to_owned()));
        }
        let segments = plan.video.grid.segments(frames);
        let inits: BTreeMap<String, (String, InitFacts)> =
            self.store.inits(subject.job).await?.into_iter().map(|(name, uri, init)| (name, (uri, init))).collect();
        let stored = self.stored(&subject.prefix).await?;
        let mut media_bytes = 0;
        let mut videos = Vec::new();
        for rendition in &plan.video.renditions {
            let (track, total) = self.track(subject, &rendition.name, &inits, &stored, &mut media_bytes).await?;
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
            audios.push(self.track(subject, &audio.name, &inits, &stored, &mut media_bytes).await?.0);
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
        let thumbnails = self.thumbnails(subject, frames).await?;
        self.put(&key("thumbnails.vtt"), thumbnails, PutCondition::Always).await?;
        self.poster(subject).await?;
        let report_key = key("report.json");
        self.objects.put(&report_key, Bytes::from(report_text), meta_for(&report_key), PutCondition::Always).await?;
        if !report.passed() {
            return Err(Fault::Job(FailureCode::ConformanceFailed, report.failures()));
        }
        // Who watches the growing presentation gets its rest and its end.
        let tracks: Vec<&Growth> = growth.iter().collect();
        let Some(listed) = self.write_growing(subject, lock, &tracks, longest.max(segments), true).await? else {
            return Ok(None);
        };
        lock.listed = listed;

        // From here on it can be seen. A cancel after this look leaves a complete presentation that no job names, until
        // the job is tried again. What counts as published is the job's state.
        if !lock.is_publishing().await? {
            return Ok(None);
        }
        self.put_master(&key(keys::MASTER), &render_multivariant_playlist(&playlists.master)).await?;
        let summary = serde_json::json!({
            "playlist": key(keys::MASTER),
            "watch": key(keys::WATCH),
            "renditions": playlists.renditions,
            "report": report.summary,
            "encoder": row.backend,
        });
        Ok(Some(Publication {
            summary,
            duration_ms: milliseconds(plan, frames),
            warnings,
            bytes: media_bytes,
            segments: videos.iter().chain(&audios).map(|t| t.segments.len() as u64).sum(),
        }))
    }

    /// Writes the master playlist, unless it is there: it never changes.
    async fn put_master(&self, key: &str, text: &str) -> Result<(), Fault> {
        match self.put(key, text.to_owned(), PutCondition::IfAbsent).await {
            Ok(_) => Ok(()),
            Err(ObjectError::PreconditionFailed { .. }) => {
                let (there, _) = self.objects.get(key, MAX_PLAYLIST).await?;
                if there == text.as_bytes() {
                    return Ok(());
                }
                let message = format!("{} is there already, with other content", keys::MASTER);
                Err(Fault::Job(FailureCode::Internal, message))
            }
            Err(other) => Err(other.into()),
        }
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
