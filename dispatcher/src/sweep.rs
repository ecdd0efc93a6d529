//! Retention: rows of ended jobs, objects of lost attempts, uploads in parts that nobody finishes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleet::keys;
use fleet::objects::ObjectStore;
use fleet::store::Store;
use fleet::store::retention::Unswept;

use crate::dispatch::DispatchError;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs that ended without success, and events of no job: 30 days. What was published stays, with all that is known of
    /// it: people come back to their matches.
    pub rows: Duration,
    /// Objects that lost attempts left: a day after the job ended, when no writer of it can be alive.
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
    /// Objects of lost attempts, and of jobs whose rows are gone.
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
    // Objects before rows: without rows nobody knows which are orphans.
    for job in store.unswept(retention.orphans, 100).await? {
        swept.objects += sweep_job(store, objects, &job).await?;
    }
    for job in store.delete_old_jobs(retention.rows, 500).await? {
        swept.jobs += 1;
        // Rows before objects: nobody can try it again any more, so nothing comes to name them.
        let root = keys::job_prefix(job.organisation_id, job.id, 1);
        let all = listed(objects, &root).await?;
        objects.delete(&all).await?;
        swept.objects += all.len() as u64;
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
/// arrive when the job is tried again: what it names, no later try writes.
async fn sweep_job(store: &Store, objects: &Arc<dyn ObjectStore>, job: &Unswept) -> Result<u64, DispatchError> {
    // A plan that was replaced lies beside the folder of the present one.
    let root = keys::job_prefix(job.organisation_id, job.id, 1);
    let current = keys::job_prefix(job.organisation_id, job.id, job.generation);
    // Also what arrived after the end: a writer learns of a cancel later.
    let listed = listed(objects, &root).await?;
    let Some(files) = store.files_of_ended(job).await? else { return Ok(0) };
    let orphans = orphans(listed, &current, files);
    objects.delete(&orphans).await?;
    store.mark_swept(job.id).await?;
    Ok(orphans.len() as u64)
}

/// The keys of all objects below a folder.
async fn listed(objects: &Arc<dyn ObjectStore>, folder: &str) -> Result<Vec<String>, DispatchError> {
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = objects.list(folder, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(keys) };
        after = Some(last.key.clone());
        keys.extend(page.into_iter().map(|object| object.key));
    }
}

/// Those of the listed objects that nothing names and nothing will: in the folder `current`, where the next try writes,
/// what a single attempt writes and is not among the committed `files` (folder and file); of plans that were replaced, all
/// media.
#[must_use]
pub fn orphans(listed: Vec<String>, current: &str, files: Vec<(String, String)>) -> Vec<String> {
    let keep: HashSet<String> = files.into_iter().map(|(folder, file)| format!("{current}{folder}/{file}")).collect();
    let is_orphan = |key: &String| {
        let file = key.rsplit('/').next().unwrap_or_default();
        let is_current = key.starts_with(current);
        !keep.contains(key) && (keys::is_of_one_attempt(file) || !is_current && file.starts_with("init_"))
    };
    listed.into_iter().filter(is_orphan).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_a_later_try_may_write_again_is_never_an_orphan() {
        let (first, second) =
            (keys::job_prefix(Uuid::nil(), Uuid::nil(), 1), keys::job_prefix(Uuid::nil(), Uuid::nil(), 2));
        let init = keys::init(b"x");
        let files =
            [keys::segment(0, 1), keys::segment(0, 2), keys::picture(0, 1), init.clone(), keys::WATCH.to_owned()];
        let mut listed = vec![format!("{first}{}", keys::MASTER), format!("{second}{}", keys::MASTER)];
        for prefix in [&first, &second] {
            listed.extend(files.iter().map(|file| format!("{prefix}v720/{file}")));
        }
        let named = vec![("v720".to_owned(), keys::segment(0, 2))];
        let of = |prefix: &str, gone: &[&String]| gone.iter().map(|f| format!("{prefix}v720/{f}")).collect::<Vec<_>>();

        let gone = orphans(listed.clone(), &second, named.clone());
        let mut wanted = of(&first, &[&files[0], &files[1], &files[2], &init]);
        wanted.extend(of(&second, &[&files[0], &files[2]]));
        assert_eq!(gone, wanted);
        listed.retain(|key| !key.starts_with(&second));
        assert_eq!(orphans(listed, &first, named), of(&first, &[&files[0], &files[2]]));
    }
}
