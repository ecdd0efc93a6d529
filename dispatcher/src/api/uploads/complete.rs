//! Completing an upload: the store makes the object, then one transaction makes the row complete, with its job, event and
//! line in the audit log. Between the two the row says `completing`; whoever finds it so does both steps again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fleet::objects::{Completion, ObjectError};
use fleet::store::Tenant;
use fleet::store::uploads::{UploadRow, UploadState};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::jobs::{JobSettings, accept};
use super::super::problem::Problem;
use super::super::source::Source;
use super::super::{Api, change};
use super::{no_upload, not_open};

/// Missing parts that an answer names.
const NAMED: usize = 10;

/// One at a time completes an upload here: who asks meanwhile gets the outcome. S3 bears several at once, other stores
/// have been seen to show an object of no bytes then.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn take<T>(&self, id: Uuid, work: impl Future<Output = T>) -> T {
        let turn = self.map().entry(id).or_default().clone();
        let held = turn.lock().await;
        let done = work.await;
        drop(held);
        // Its own and the map's: nobody waits.
        let mut map = self.map();
        if Arc::strong_count(&turn) == 2 {
            map.remove(&id);
        }
        done
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes an upload, or finds it complete.
pub(super) async fn complete(api: &Api, caller: &Caller, id: Uuid) -> Result<UploadRow, Problem> {
    api.completing.take(id, complete_alone(api, caller, id)).await
}

async fn complete_alone(api: &Api, caller: &Caller, id: Uuid) -> Result<UploadRow, Problem> {
    let uploads = api.uploads().await?;
    let tenant = api.tenant(caller);
    let mut tx = tenant.begin().await?;
    let row = tenant.lock_upload(&mut tx, id).await?.ok_or_else(no_upload)?;
    if row.state == UploadState::Completed {
        return Ok(row);
    }
    if !tenant.begin_completing(&mut tx, id).await? {
        return Err(not_open(row.state));
    }
    tx.commit().await?;
    match uploads.complete(&row.multipart).await {
        Ok(Completion::Done(_)) => finish(api, &tenant, caller, id).await,
        Ok(Completion::Missing(parts)) => {
            reopen(&tenant, id).await?;
            Err(missing(&parts, row.multipart.parts()))
        }
        Err(ObjectError::NotFound { .. }) => {
            let mut tx = tenant.begin().await?;
            tenant.reopen_upload(&mut tx, id).await?;
            tenant.end_upload(&mut tx, id, UploadState::Expired).await?;
            tx.commit().await?;
            Err(not_open(UploadState::Expired))
        }
        // It may have been completed: asked again, by the client or by the upkeep, the store says so.
        Err(error @ ObjectError::Unavailable { .. }) => Err(error.into()),
        Err(error) => {
            reopen(&tenant, id).await?;
            Err(error.into())
        }
    }
}

async fn reopen(tenant: &Tenant, id: Uuid) -> Result<(), Problem> {
    let mut tx = tenant.begin().await?;
    tenant.reopen_upload(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}

fn missing(parts: &[u32], of: u32) -> Problem {
    let named: Vec<String> = parts.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if parts.len() > NAMED { ", …" } else { "" };
    let title = format!("{} of {of} parts have not arrived: {}{more}.", parts.len(), named.join(", "));
    Problem::conflict("upload_incomplete", title)
}

/// The object is there: says so in the row, once.
async fn finish(api: &Api, tenant: &Tenant, caller: &Caller, id: Uuid) -> Result<UploadRow, Problem> {
    let mut tx = tenant.begin().await?;
    let row = tenant.lock_upload(&mut tx, id).await?.ok_or_else(no_upload)?;
    match row.state {
        UploadState::Completed => return Ok(row),
        // Open again when somebody looked for the parts just before the last one came.
        UploadState::Open | UploadState::Completing => tenant.begin_completing(&mut tx, id).await?,
        // Aborted in such a moment.
        UploadState::Aborted | UploadState::Expired => {
            api.uploads().await?.delete(std::slice::from_ref(&row.multipart.key)).await?;
            return Err(not_open(row.state));
        }
    };
    let (job, problem) = match start(api, tenant, &mut tx, caller, &row).await {
        Ok(job) => (job, None),
        Err(problem) if problem.is_ours() => return Err(problem),
        // What the client asked for cannot be done, and asking again would not help. The file is there all the same.
        Err(problem) => (None, Some(problem.short())),
    };
    tenant.finish_upload(&mut tx, &row, job, problem.as_ref()).await?;
    let detail = serde_json::json!({ "filename": row.filename, "size_bytes": row.multipart.size, "job_id": job });
    tenant.audit(&mut tx, &change(caller, "upload.completed", id, detail)).await?;
    let row = tenant.upload(&mut tx, id).await?.ok_or_else(no_upload)?;
    tx.commit().await?;
    Ok(row)
}

/// Starts the job that was asked for.
async fn start(
    api: &Api,
    tenant: &Tenant,
    tx: &mut PgConnection,
    caller: &Caller,
    row: &UploadRow,
) -> Result<Option<Uuid>, Problem> {
    let Some(request) = &row.job_request else { return Ok(None) };
    let mut settings: JobSettings = serde_json::from_value(request.clone()).map_err(|error| {
        tracing::error!(%error, upload = %row.id, "a stored job request cannot be read");
        Problem::invalid("job", "it cannot be read any more; make the job by itself")
    })?;
    // The upload took longer than that: as soon as possible, then.
    let soon = OffsetDateTime::now_utc() + time::Duration::seconds(1);
    settings.ready_by = settings.ready_by.map(|at| at.max(soon));
    let source = Source { address: row.source.clone(), upload: Some(row.id), name: row.filename.clone() };
    accept(api, tenant, tx, caller, source, &settings).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_has_its_turn_and_the_last_leaves_nothing() {
        let turns = Turns::default();
        let (id, at_once) = (Uuid::now_v7(), std::sync::atomic::AtomicU32::new(0));
        let work = || async {
            assert_eq!(at_once.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        };
        futures_util::future::join_all((0..6).map(|_| turns.take(id, work()))).await;
        assert!(turns.map().is_empty());
    }

    #[test]
    fn missing_parts_are_named_up_to_ten() {
        let text = |parts: &[u32]| missing(parts, 40).short()["title"].as_str().unwrap().to_owned();
        assert_eq!(text(&[3, 7]), "2 of 40 parts have not arrived: 3, 7.");
        let many: Vec<u32> = (1..=12).collect();
        assert_eq!(text(&many), "12 of 40 parts have not arrived: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ….");
    }
}
