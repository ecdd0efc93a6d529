//! Publishes what workers committed, in the steps of `dispatcher::publisher`: segments are readable, then the playlists
//! that name them, then `master.m3u8`, then the transaction that is the publication.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dispatcher::pace::{Pace, pace};
use dispatcher::publisher::growing::{GrowingVersion, is_listable, replace, watchable_segments};
use fleet::failure::FailureCode;
use fleet::hls::{Map, MediaPlaylist, PlaylistType, Segment, render_media_playlist, render_multivariant_playlist};
use fleet::keys;
use fleet::objects::{ETag, ObjectError, ObjectStore, PutCondition, meta_for};
use fleet::plan::JobPlan;
use fleet::presentation::{self, GrowingTrack};
use fleet::store::publication::Growth;
use uuid::Uuid;

use super::{Dispatcher, Later};
use crate::simulation::deviation::Deviation;
use crate::simulation::film::init_facts;
use crate::simulation::memory::PublicationLock;
use crate::simulation::network::{Server, Unreachable};
use crate::simulation::people::begin_publishing;
use crate::simulation::world::{ProcessId, Sim, World, seconds};

/// What ends a publication without success.
enum Fault {
    Job(FailureCode),
    Later,
}

impl<E: Into<Later>> From<E> for Fault {
    fn from(_: E) -> Self {
        Self::Later
    }
}

/// A lock that is given back when it is dropped, as far as the server hears of it.
struct Guard {
    sim: Sim,
    process: ProcessId,
    lock: PublicationLock,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut world = self.sim.world();
        if !world.is_cut(self.process, Server::Store) {
            world.store.unlock(self.lock.job, self.lock.token);
        }
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

impl Dispatcher {
    pub(super) async fn publish_once(&self) -> Result<(), Later> {
        self.client.call(Server::Store, "begin_publishing", begin_publishing).await?;
        let mut jobs: BTreeMap<Uuid, Vec<Growth>> = BTreeMap::new();
        for growth in self.client.call(Server::Store, "growth", |w| w.store.growth()).await? {
            jobs.entry(growth.job).or_default().push(growth);
        }
        for (job, tracks) in jobs {
            // The next turn tries again.
            let _later = self.job_turn(job, &tracks).await;
        }
        Ok(())
    }

    async fn job_turn(&self, job: Uuid, tracks: &[Growth]) -> Result<(), Later> {
        if tracks.iter().any(|t| t.publishing) {
            return self.finish(job).await;
        }
        let available = watchable_segments(tracks);
        let listed = tracks.first().map_or(0, |t| t.listed);
        if available <= listed {
            return Ok(());
        }
        let Some(subject) = self.subject(job).await? else { return Ok(()) };
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
            return Ok(());
        }
        let Some(guard) = self.lock(job, subject.generation).await? else { return Ok(()) };
        let wanted = wanted.max(guard.lock.listed);
        let lock = guard.lock.clone();
        let promise = self.client.call(Server::Store, "promise", move |w| w.store.promise(&lock, wanted));
        promise.await?.map_err(|_| Later)?;
        let Some(mut guard) = self.lock(job, subject.generation).await? else { return Ok(()) };
        let forgets = self.does(Deviation::GrowsLessThanPromised);
        let wanted = if forgets { wanted.max(guard.lock.listed) } else { guard.lock.promised };
        let names: Vec<&Growth> = tracks.iter().filter(|t| t.contiguous > 0).collect();
        if !self.write_growing(&subject, &mut guard.lock, &names, wanted, false).await? {
            return Ok(());
        }
        // What was written is not noted yet.
        self.client.stop_now_and_then(8).await;
        let lock = guard.lock.clone();
        let noted = self.client.call(Server::Store, "grown", move |w| w.store.grown(&lock, wanted, wanted * 6_000));
        noted.await?.map_err(|_| Later)
    }

    async fn subject(&self, job: Uuid) -> Result<Option<Subject>, Unreachable> {
        let subject = move |w: &mut World| {
            let row = w.store.jobs.get(&job)?;
            row.plan.as_ref()?;
            let since = row.planned_at.unwrap_or(row.created_at);
            let prefix = keys::job_prefix(row.organisation, job, row.generation);
            Some((prefix, row.generation, seconds(w.now - since)))
        };
        let found = self.client.call(Server::Store, "job", subject).await?;
        let plan = self.client.sim.world().films.get(&job).map(|f| f.plan.clone());
        Ok(found.zip(plan).map(|((prefix, generation, created_s), plan)| Subject {
            job,
            prefix,
            plan,
            generation,
            created_s,
        }))
    }

    async fn lock(&self, job: Uuid, generation: i32) -> Result<Option<Guard>, Unreachable> {
        let lock = move |w: &mut World| {
            let token = w.steps;
            w.store.lock_publication(job, generation, token)
        };
        let lock = self.client.call(Server::Store, "lock_publication", lock).await?;
        if lock.is_some() {
            // With the lock in its hands.
            self.client.stop_now_and_then(16).await;
        }
        Ok(lock.map(|lock| Guard { sim: self.client.sim.clone(), process: self.client.process, lock }))
    }

    async fn inits(&self, job: Uuid) -> Result<BTreeMap<String, String>, Unreachable> {
        self.client.call(Server::Store, "inits", move |w| w.store.inits(job)).await
    }

    /// Writes the growing playlists with `wanted` segments, and their multivariant playlist when there is none; `false` when
    /// some were withdrawn since they were counted.
    async fn write_growing(
        &self,
        subject: &Subject,
        lock: &mut PublicationLock,
        tracks: &[&Growth],
        wanted: u64,
        ended: bool,
    ) -> Result<bool, Later> {
        let inits = self.inits(subject.job).await?;
        let mut growing: BTreeMap<String, GrowingTrack> = BTreeMap::new();
        for track in tracks {
            let name = &track.rendition;
            let Some(init_uri) = inits.get(name) else { continue };
            let (held, asked) = (lock.clone(), name.clone());
            let listed = move |w: &mut World| w.store.listed_segments(&held, &asked, wanted);
            let rows = self.client.call(Server::Store, "listed_segments", listed).await?.map_err(|_| Later)?;
            let has_no_more = ended || track.kind == "audio" && track.ended;
            if !is_listable(rows.iter().map(|(index, _)| *index), wanted, has_no_more)
                && !self.does(Deviation::GrowsOverHoles)
            {
                return Ok(false);
            }
            let mut segments: Vec<(String, f64)> = rows.into_iter().map(|(_, s)| (s.uri, 6.0)).collect();
            if self.does(Deviation::GrowsAhead) && !ended {
                segments.push((keys::segment(segments.len() as u64, 1), 6.0));
            }
            let init = init_facts(name.starts_with("audio"));
            let init_uri = init_uri.clone();
            growing.insert(name.clone(), GrowingTrack { name: name.clone(), init, init_uri, segments });
        }
        // Between its look at the lock and its writes.
        self.client.stop_now_and_then(16).await;
        let (sounds, pictures): (Vec<_>, Vec<_>) = growing.values().partition(|t| t.name.starts_with("audio"));
        for track in sounds.into_iter().chain(pictures) {
            let text = render_media_playlist(&presentation::growing_playlist(&subject.plan, track, ended));
            let key = format!("{}{}/{}", subject.prefix, track.name, keys::WATCH);
            let etag = if self.does(Deviation::GrowsWithoutMatch) {
                self.put(&key, text, PutCondition::Always).await?
            } else {
                let version = GrowingVersion { text, segments: track.segments.len(), ended };
                replace(&self.objects, &key, version, lock.etags.get(&track.name)).await?
            };
            lock.etags.insert(track.name.clone(), etag.0);
        }
        if !lock.master {
            let text = render_multivariant_playlist(&self.master(subject, &growing));
            self.put(&format!("{}{}", subject.prefix, keys::WATCH), text, PutCondition::Always).await?;
            lock.master = true;
        }
        Ok(true)
    }

    fn master(&self, subject: &Subject, tracks: &BTreeMap<String, GrowingTrack>) -> fleet::hls::MultivariantPlaylist {
        let plan = &subject.plan;
        let of = |name: &String| tracks.get(name).cloned();
        let videos: Vec<GrowingTrack> = plan.video.renditions.iter().filter_map(|r| of(&r.name)).collect();
        let audios: Vec<GrowingTrack> = plan.audio.iter().filter_map(|a| of(&a.name)).collect();
        presentation::growing_master(plan, &videos, &audios)
    }

    async fn put(&self, key: &str, text: String, condition: PutCondition) -> Result<ETag, ObjectError> {
        self.objects.put(key, Bytes::from(text), meta_for(key), condition).await
    }

    /// Checks and publishes a job all of whose chunks are done, or fails it.
    async fn finish(&self, job: Uuid) -> Result<(), Later> {
        let Some(subject) = self.subject(job).await? else { return Ok(()) };
        let Some(guard) = self.lock(job, subject.generation).await? else { return Ok(()) };
        if !self.look(&guard.lock).await? {
            return Ok(());
        }
        let growth = self.client.call(Server::Store, "growth", |w| w.store.growth()).await?;
        let growth: Vec<Growth> = growth.into_iter().filter(|g| g.job == job && g.contiguous > 0).collect();
        let longest = growth.iter().map(|g| g.contiguous).max().unwrap_or(0);
        let lock = guard.lock.clone();
        let promise = self.client.call(Server::Store, "promise", move |w| w.store.promise(&lock, longest));
        promise.await?.map_err(|_| Later)?;
        let Some(mut guard) = self.lock(job, subject.generation).await? else { return Ok(()) };
        if !self.look(&guard.lock).await? {
            return Ok(());
        }
        match self.complete(&subject, &mut guard.lock, &growth, longest).await {
            Ok(None) => Ok(()),
            Ok(Some(frames)) => self.succeed(&guard.lock, frames).await,
            Err(Fault::Job(code)) => {
                let lock = guard.lock.clone();
                let fail = move |w: &mut World| w.fail_publication(&lock, code);
                self.client.call(Server::Store, "fail_publication", fail).await?.map_err(|_| Later)?;
                Ok(())
            }
            Err(Fault::Later) => Err(Later),
        }
    }

    /// Writes all playlists, the master playlist last. Gives the number of frames; `None` when the job was cancelled.
    async fn complete(
        &self,
        subject: &Subject,
        lock: &mut PublicationLock,
        growth: &[Growth],
        longest: u64,
    ) -> Result<Option<u64>, Fault> {
        let job = subject.job;
        let end = move |w: &mut World| w.store.jobs.get(&job).and_then(|j| j.end_frames);
        let frames = self.client.call(Server::Store, "job", end).await?.unwrap_or(0).unsigned_abs();
        if frames == 0 {
            return Err(Fault::Job(FailureCode::Undecodable));
        }
        let inits = self.inits(job).await?;
        let stored: BTreeMap<String, u64> =
            self.objects.list(&subject.prefix, None).await?.into_iter().map(|o| (o.key, o.size)).collect();
        // Between what it reads of the store and of its rows.
        self.client.stop_now_and_then(16).await;
        let segments = subject.plan.video.grid.segments(frames);
        let mut tracks = BTreeMap::new();
        for video in &subject.plan.video.renditions {
            let (track, total) = self.track(subject, &video.name, &inits, &stored).await?;
            if track.segments.len() as u64 != segments || total != frames {
                return Err(Fault::Job(FailureCode::Internal));
            }
            tracks.insert(video.name.clone(), track);
            self.look(lock).await?;
        }
        for audio in subject.plan.audio.iter().filter(|a| inits.contains_key(&a.name)) {
            tracks.insert(audio.name.clone(), self.track(subject, &audio.name, &inits, &stored).await?.0);
        }
        let mut master = self.master(subject, &tracks);
        for uri in master.variants.iter_mut().map(|v| &mut v.uri) {
            *uri = uri.replace(keys::WATCH, "index.m3u8");
        }
        for uri in master.renditions.iter_mut().filter_map(|r| r.uri.as_mut()) {
            *uri = uri.replace(keys::WATCH, "index.m3u8");
        }
        let master = render_multivariant_playlist(&master);
        if self.does(Deviation::MasterFirst) {
            self.put_master(subject, &master).await?;
        }
        for track in tracks.values() {
            let map = Some(Arc::new(Map { uri: track.init_uri.clone(), byte_range: None }));
            let entries = track.segments.iter().map(|(uri, s)| Segment::new(uri.clone(), *s, map.clone())).collect();
            let text = render_media_playlist(&MediaPlaylist::new(PlaylistType::Vod, 6, entries));
            self.put(&format!("{}{}/index.m3u8", subject.prefix, track.name), text, PutCondition::Always).await?;
            self.look(lock).await?;
        }
        // Who watches the growing presentation gets its rest and its end.
        let names: Vec<&Growth> = growth.iter().collect();
        let longest = longest.max(segments);
        if !self.write_growing(subject, lock, &names, longest, true).await? {
            return Ok(None);
        }
        lock.listed = longest;
        if !self.look(lock).await? {
            return Ok(None);
        }
        if self.does(Deviation::SuccessFirst) {
            self.succeed(lock, frames).await?;
        }
        self.put_master(subject, &master).await?;
        Ok(Some(frames).filter(|_| !self.does(Deviation::SuccessFirst)))
    }

    async fn look(&self, lock: &PublicationLock) -> Result<bool, Later> {
        let lock = lock.clone();
        let asked = self.client.call(Server::Store, "is_publishing", move |w| w.store.is_publishing(&lock)).await?;
        asked.map_err(|_| Later)
    }

    async fn put_master(&self, subject: &Subject, master: &str) -> Result<(), Fault> {
        let key = format!("{}{}", subject.prefix, keys::MASTER);
        match self.put(&key, master.to_owned(), PutCondition::IfAbsent).await {
            Ok(_) => Ok(()),
            Err(ObjectError::PreconditionFailed { .. }) => {
                let (there, _) = self.objects.get(&key, u64::MAX).await?;
                if there == master.as_bytes() { Ok(()) } else { Err(Fault::Job(FailureCode::Internal)) }
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn succeed(&self, lock: &PublicationLock, frames: u64) -> Result<(), Later> {
        let (lock, job) = (lock.clone(), lock.job);
        let publish = move |w: &mut World| w.store.publish(&lock, frames * 40);
        let published = self.client.call(Server::Store, "publish", publish).await?.map_err(|_| Later)?;
        if published && self.does(Deviation::EventAfterPublication) {
            self.client.call(Server::Store, "event", move |w| w.store.tell_of_success(job)).await?;
        }
        Ok(())
    }

    /// A complete rendition, each of whose files is in the store with its size; and its frames.
    async fn track(
        &self,
        subject: &Subject,
        name: &str,
        inits: &BTreeMap<String, String>,
        stored: &BTreeMap<String, u64>,
    ) -> Result<(GrowingTrack, u64), Fault> {
        let init_uri = inits.get(name).ok_or(Fault::Job(FailureCode::Internal))?;
        let (job, asked) = (subject.job, name.to_owned());
        let files = self.client.call(Server::Store, "files", move |w| w.store.files(job, &asked)).await?;
        let (mut total, mut segments) = (0, Vec::new());
        for (place, (index, file)) in files.into_iter().enumerate() {
            let key = format!("{}{name}/{}", subject.prefix, file.uri);
            if index != place as u64 {
                return Err(Fault::Job(FailureCode::Internal));
            }
            if stored.get(&key) != Some(&file.bytes) {
                return Err(Fault::Job(FailureCode::OutputFailed));
            }
            total += file.count;
            segments.push((file.uri, 6.0));
        }
        if !stored.contains_key(&format!("{}{name}/{init_uri}", subject.prefix)) {
            return Err(Fault::Job(FailureCode::OutputFailed));
        }
        let init = init_facts(name.starts_with("audio"));
        Ok((GrowingTrack { name: name.to_owned(), init, init_uri: init_uri.clone(), segments }, total))
    }
}
