//! Publishes what workers committed. In this direction only: segments are readable, then the playlists that name them,
//! then `master.m3u8`, then one transaction that is the publication. Every step may be repeated; whoever finds a job
//! between two steps finishes it.

mod finish;
pub mod growing;
mod storyboard;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fleet::cmaf::InitFacts;
use fleet::hls::{render_media_playlist, render_multivariant_playlist};
use fleet::keys;
use fleet::objects::{ETag, ObjectError, ObjectStore, PutCondition, meta_for};
use fleet::plan::JobPlan;
use fleet::presentation::{self, GrowingTrack};
use fleet::store::Store;
use fleet::store::publication::{Growth, PublicationLock};
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::dispatch::DispatchError;
use crate::pace::{Pace, pace};
use growing::{GrowingVersion, is_listable, replace, watchable_segments};

pub use storyboard::StripFacts;
pub(crate) use storyboard::render_storyboard;

/// Jobs that are worked on at once.
const JOBS_AT_ONCE: usize = 4;
/// Plans that are kept in memory.
const PLANS: usize = 256;

/// Everything publishing needs.
#[derive(Debug)]
pub struct Publisher {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    plans: Mutex<BTreeMap<(Uuid, i32), Arc<JobPlan>>>,
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
                Err(error) => {
                    tracing::warn!(job.id = %job, %error, "publishing must wait");
                    0
                }
            }
        });
        Ok(stream::iter(turns).buffer_unordered(JOBS_AT_ONCE).fold(0, async |sum, n| sum + n).await)
    }

    async fn job_turn(&self, job: Uuid, tracks: &[Growth]) -> Result<bool, DispatchError> {
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
        // Or have written more, and died: its version must not be replaced by a shorter one.
        let wanted = lock.promised;
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
    ) -> Result<Option<u64>, DispatchError> {
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
}

fn milliseconds(plan: &JobPlan, frames: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "media times")]
    let ms = (plan.video.rate.seconds(frames) * 1000.0).round() as u64;
    ms
}
