//! Retention: rows of ended jobs, objects of lost attempts, uploads in parts that nobody finishes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleet::keys;
use fleet::objects::{ObjectError, ObjectStore};
use fleet::store::Store;
use fleet::store::retention::{RemovedJob, Unswept};
use uuid::Uuid;

use crate::dispatch::DispatchError;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs that ended without success, matches that were deleted, and events of no job: 30 days. What was published stays,
    /// with all that is known of it, until its owner deletes it: people come back to their matches.
    pub rows: Duration,
    /// Objects that lost attempts left: a day after the job ended. What is swept before [`NO_WRITER`] has passed is swept again.
    pub orphans: Duration,
    /// Uploads in parts: longer than any that people send lives ([`crate::api`]), should theirs lie in the same place.
    pub uploads: Duration,
    /// Decisions on capacity and failed launches: two weeks. Instances stay, as they were paid for.
    pub decisions: Duration,
    /// The log of webhooks' deliveries: 30 days.
    pub deliveries: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { rows: DAY * 30, orphans: DAY, uploads: DAY * 15, deliveries: DAY * 30, decisions: DAY * 14 }
    }
}

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs whose rows are gone.
    pub jobs: u64,
    /// Objects of lost attempts, of matches that were deleted, and of jobs whose rows are gone.
    pub objects: u64,
    /// Uploads in parts.
    pub uploads: u64,
    /// Deliveries of webhooks.
    pub deliveries: u64,
    /// Tries at chunks of jobs that ended long ago.
    pub attempts: u64,
    /// Events of no job.
    pub events: u64,
}

/// How long after its job ended, was deleted, or lost its rows, a write of a process that has not heard of it may take effect at
/// most; an hour. A publisher looks at its lock before each round of writes, and the server takes the lock away when it is silent for a
/// minute; a worker learns within a lease. What either sends then is given up after [`S3Options::patience`] and one more
/// request. A request that was given up may lie somewhere on the way, but S3 refuses what was signed more than 15 minutes
/// before it arrives. A test adds this up.
///
/// [`S3Options::patience`]: fleet::objects::S3Options::patience
pub const NO_WRITER: Duration = Duration::from_secs(3600);

/// Deletes what is kept no longer.
///
/// # Errors
/// Store or objects do not answer; what was deleted stays deleted.
pub async fn sweep_once(
    store: &Store,
    objects: &Arc<dyn ObjectStore>,
    retention: &Retention,
) -> Result<Swept, DispatchError> {
    let mut swept = Swept::default();
    for job in store.unswept(retention.orphans, NO_WRITER, 100).await? {
        swept.objects += sweep_job(store, objects, &job).await?;
    }
    swept.jobs = store.delete_old_jobs(retention.rows, 500).await?;
    for job in store.removed_jobs(NO_WRITER, 2000).await? {
        swept.objects += sweep_removed_job(store, objects, &job).await?;
    }
    swept.attempts = store.delete_old_attempts(retention.rows, 50_000).await?;
    swept.events = store.delete_old_events(retention.rows, 10_000).await?;
    store.delete_old_workers(Duration::from_secs(24 * 3600)).await?;
    store.prune_capacity(retention.decisions).await?;
    swept.uploads = objects.abort_stale_uploads(retention.uploads).await?;
    swept.deliveries = store.delete_old_deliveries(retention.deliveries, 10_000).await?;
    if swept != Swept::default() {
        tracing::info!(
            swept.jobs,
            swept.attempts,
            swept.objects,
            swept.uploads,
            swept.deliveries,
            swept.events,
            "swept"
        );
    }
    Ok(swept)
}

/// Deletes what nobody committed. First the list, then the rows, read only while the job is ended as before. The delete may
/// arrive when the job is tried again: what it names, no later try writes. A job that is swept before all writes have
/// arrived is swept again.
async fn sweep_job(store: &Store, objects: &Arc<dyn ObjectStore>, job: &Unswept) -> Result<u64, DispatchError> {
    // A plan that was replaced lies beside the folder of the present one.
    let root = keys::job_prefix(job.organisation_id, job.id, 1);
    let current = keys::job_prefix(job.organisation_id, job.id, job.generation);
    // Also what arrived after the end: a writer learns of a cancel later.
    let listed = listed(objects, &root).await?;
    let Some(files) = store.files_of_ended(job).await? else { return Ok(0) };
    let orphans = orphans(listed, &current, files, job.is_settled);
    objects.delete(&orphans).await?;
    if job.is_settled {
        store.mark_swept(job.id).await?;
    }
    Ok(orphans.len() as u64)
}

/// Deletes all objects of a job that was deleted, or whose rows are gone: nobody can try it again, so nothing comes to name
/// them. Whoever dies in between leaves the note of the job, and the next sweep goes on.
async fn sweep_removed_job(
    store: &Store,
    objects: &Arc<dyn ObjectStore>,
    job: &RemovedJob,
) -> Result<u64, DispatchError> {
    let deleted = delete_objects(objects, job.organisation_id, job.id).await?;
    if job.is_settled {
        store.forget_removed_job(job.id).await?;
    }
    Ok(deleted)
}

/// Deletes all objects of a job, playlists first, so that what is left of it plays nowhere. Gives how many there were.
pub(crate) async fn delete_objects(
    objects: &Arc<dyn ObjectStore>,
    organisation: Uuid,
    job: Uuid,
) -> Result<u64, ObjectError> {
    let mut all = listed(objects, &keys::job_prefix(organisation, job, 1)).await?;
    all.sort_by_key(|key| !key.ends_with(".m3u8"));
    objects.delete(&all).await?;
    Ok(all.len() as u64)
}

/// The keys of all objects below a folder.
async fn listed(objects: &Arc<dyn ObjectStore>, folder: &str) -> Result<Vec<String>, ObjectError> {
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = objects.list(folder, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(keys) };
        after = Some(last.key.clone());
        keys.extend(page.into_iter().map(|object| object.key));
    }
}

/// Those of the listed objects that nothing names and nothing will. In the folder `current`, where the next try writes: what
/// a single attempt writes and is not among the committed `files` (folder and file). Of plans that were replaced: all, but
/// not before no writer can be at work, as a playlist that names their media may be on its way.
#[must_use]
pub fn orphans(listed: Vec<String>, current: &str, files: Vec<(String, String)>, is_settled: bool) -> Vec<String> {
    let keep: HashSet<String> = files.into_iter().map(|(folder, file)| format!("{current}{folder}/{file}")).collect();
    let is_orphan = |key: &String| {
        if key.starts_with(current) {
            let file = key.rsplit('/').next().unwrap_or_default();
            keys::is_of_one_attempt(file) && !keep.contains(key)
        } else {
            is_settled
        }
    };
    listed.into_iter().filter(is_orphan).collect()
}

#[cfg(test)]
mod tests {
    use fleet::objects::S3Options;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_a_later_try_may_write_again_is_never_an_orphan() {
        let (first, second) =
            (keys::job_prefix(Uuid::nil(), Uuid::nil(), 1), keys::job_prefix(Uuid::nil(), Uuid::nil(), 2));
        let init = keys::init(b"x");
        let files =
            [keys::segment(0, 1), keys::segment(0, 2), keys::picture(0, 1), init.clone(), keys::WATCH.to_owned()];
        let of = |prefix: &str, some: &[&String]| some.iter().map(|f| format!("{prefix}v720/{f}")).collect::<Vec<_>>();
        let folder = |prefix: &str| {
            let mut all = vec![format!("{prefix}{}", keys::MASTER)];
            all.extend(of(prefix, &files.iter().collect::<Vec<_>>()));
            all
        };
        let named = vec![("v720".to_owned(), keys::segment(0, 2))];
        assert_eq!(orphans(folder(&first), &first, named.clone(), true), of(&first, &[&files[0], &files[2]]));

        let both = [folder(&first), folder(&second)].concat();
        let of_second = of(&second, &[&files[0], &files[2]]);
        assert_eq!(orphans(both.clone(), &second, named.clone(), false), of_second);
        assert_eq!(orphans(both, &second, named, true), [folder(&first), of_second].concat());
    }

    #[test]
    fn no_write_takes_longer_than_the_sweep_waits() {
        const LOCK_OR_LEASE: Duration = Duration::from_secs(60);
        const SIGNATURE: Duration = Duration::from_secs(15 * 60);
        let S3Options { patience, request_timeout, .. } = S3Options::default();
        assert!(LOCK_OR_LEASE + patience + request_timeout + SIGNATURE < NO_WRITER);
    }
}
