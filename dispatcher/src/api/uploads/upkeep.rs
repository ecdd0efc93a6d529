//! What becomes of uploads that nobody finishes: they expire, the store forgets their parts, and those whose completion
//! was cut off by a crash are completed.

use std::time::Duration;

use fleet::store::uploads::UploadRow;
use uuid::Uuid;

use super::super::Api;
use super::super::caller::Caller;
use super::EXPIRES_AT_LAST;
use crate::dispatch::DispatchError;

/// Uploads of each kind that one turn deals with.
const BATCH: u32 = 100;
/// Whoever completes an upload has given up, or died, after this long.
const STUCK: Duration = Duration::from_secs(120);
/// Uploads that the store knows and no row does, because a dispatcher died between the two: given up when no row can be
/// that old.
const ORPHANED: Duration = Duration::from_secs(EXPIRES_AT_LAST.as_secs() + 86_400);

impl Api {
    /// Ends uploads that have expired, tells the store of all that ended, and goes on with completions that were cut off.
    /// Gives how many there were.
    ///
    /// # Errors
    /// Database or store do not answer; the rest is done at the next turn.
    pub async fn expire_uploads_once(&self) -> Result<u64, DispatchError> {
        let expired = self.store.expire_uploads(BATCH).await?;
        if expired > 0 {
            tracing::info!(expired, "uploads expired");
        }
        let unswept = self.store.unswept_uploads(BATCH).await?;
        for row in &unswept {
            sweep(self, row).await?;
        }
        let stuck = self.store.stuck_uploads(STUCK, BATCH).await?;
        for row in &stuck {
            let caller = Caller::dispatcher(row.organisation);
            match super::complete::complete(self, &caller, row.id).await {
                Ok(_) => tracing::info!(upload = %row.id, "completed an upload that was cut off"),
                Err(problem) => tracing::warn!(upload = %row.id, %problem, "an upload cannot be completed"),
            }
        }
        Ok(expired + unswept.len() as u64)
    }

    /// Deletes the file of an upload that was given up. What fails is left for the next turn.
    pub(in crate::api) async fn clear_upload(&self, id: Uuid) {
        let cleared = async {
            match self.store.any_upload(id).await? {
                Some(row) => sweep(self, &row).await,
                None => Ok(()),
            }
        };
        if let Err(error) = cleared.await {
            tracing::warn!(upload = %id, error = &error as &dyn std::error::Error, "a file that was given up is left for later");
        }
    }

    /// Gives up what the store knows of uploads that no row tells of.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn abort_orphaned_uploads_once(&self) -> Result<u64, DispatchError> {
        match self.uploads().await {
            Ok(uploads) => Ok(uploads.abort_stale_uploads(ORPHANED).await?),
            Err(_) => Ok(0),
        }
    }
}

/// Tells the store that an upload ended without an object. There may be one: when the end came while it was completed, or
/// after that, when nobody needed it any more.
pub(super) async fn sweep(api: &Api, row: &UploadRow) -> Result<(), DispatchError> {
    let Ok(uploads) = api.uploads().await else { return Ok(()) };
    uploads.abort(&row.multipart).await?;
    uploads.delete(std::slice::from_ref(&row.multipart.key)).await?;
    api.store.mark_upload_swept(row.id).await?;
    Ok(())
}
