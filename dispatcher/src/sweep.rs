//! Retention: rows of ended jobs, objects of lost attempts, uploads in parts that nobody finishes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleet::keys;
use fleet::objects::ObjectStore;
use fleet::store::Store;

use crate::dispatch::DispatchError;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Rows of ended jobs: 30 days. What was published stays.
    pub rows: Duration,
    /// Objects that lost attempts left: a day after the job ended, when no writer of it can be alive.
    pub orphans: Duration,
    /// Uploads in parts: a day.
    pub uploads: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { rows: DAY * 30, orphans: DAY, uploads: DAY }
    }
}

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs whose rows are gone.
    pub jobs: u64,
    /// Objects of lost attempts.
    pub objects: u64,
    /// Uploads in parts.
    pub uploads: u64,
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
    for (organisation, job) in store.unswept(retention.orphans, 100).await? {
        let row = store.job(job).await?;
        // A plan that was replaced lies beside the folder of the present one.
        let root = keys::job_prefix(organisation, job, 1);
        let current = keys::job_prefix(organisation, job, row.generation);
        let mut keep: HashSet<String> = HashSet::new();
        for (folder, file) in store.all_files(job).await? {
            keep.insert(format!("{current}{folder}/{file}"));
        }
        let mut after: Option<String> = None;
        loop {
            let page = objects.list(&root, after.as_deref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let orphans: Vec<String> =
                page.into_iter().map(|o| o.key).filter(|key| is_media(key) && !keep.contains(key)).collect();
            if !orphans.is_empty() {
                swept.objects += orphans.len() as u64;
                objects.delete(&orphans).await?;
            }
        }
        store.mark_swept(job).await?;
    }
    swept.jobs = store.delete_old_jobs(retention.rows, 500).await?;
    store.delete_old_workers(Duration::from_secs(24 * 3600)).await?;
    swept.uploads = objects.abort_stale_uploads(retention.uploads).await?;
    if swept != Swept::default() {
        tracing::info!(swept.jobs, swept.objects, swept.uploads, "swept");
    }
    Ok(swept)
}

/// Whether a key carries an attempt; playlists and reports have fixed names and are no orphans.
fn is_media(key: &str) -> bool {
    let file = key.rsplit('/').next().unwrap_or_default();
    file.starts_with("seg_") || file.starts_with("pic_") || file.starts_with("init_")
}
