//! Uploads: who sends what, and how far it is. Which parts have arrived is asked of the object store alone.
//!
//! `open` → `completing` → `completed`, or `open` → `aborted` or `expired`; a file that is not needed any more makes
//! `completed` → `aborted` ([`Store::give_up_completed`](super::Store::give_up_completed)). While an upload is being completed nobody
//! aborts it; whoever finds it so after a crash completes it again, which changes nothing that was done.

mod row;
mod upkeep;

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

pub use self::row::{NewUpload, UploadFilter, UploadRow, UploadState};
pub use self::upkeep::UploadUnderWay;

use self::row::upload_columns;
use super::{StoreError, Tenant, seconds, signed};

impl Tenant {
    /// The upload under way of this file. While it is open, the job that it starts becomes the one that is wanted now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upload_under_way(
        &self,
        tx: &mut PgConnection,
        fingerprint: &str,
        size: u64,
        job: Option<&serde_json::Value>,
    ) -> Result<Option<UploadRow>, StoreError> {
        let sql = concat!(
            "update touchline.uploads set job_request = case state when 'open' then $3 else job_request end
             where fingerprint = $1 and size_bytes = $2 and state in ('open', 'completing') returning ",
            upload_columns!()
        );
        Ok(self.store().query_as(sql).bind(fingerprint).bind(signed(size)).bind(job).fetch_optional(tx).await?)
    }

    /// Makes everybody who enters an upload of this organisation wait for the end of the transaction, so that their sizes
    /// add up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_uploads(&self, tx: &mut PgConnection) -> Result<(), StoreError> {
        self.store()
            .query("select pg_advisory_xact_lock(hashtextextended('touchline uploads ' || $1, 0))")
            .bind(self.organisation().to_string())
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Enters an upload. `None` when one of the same file is under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_upload(
        &self,
        tx: &mut PgConnection,
        upload: &NewUpload<'_>,
    ) -> Result<Option<UploadRow>, StoreError> {
        let sql = concat!(
            "insert into touchline.uploads (id, organisation_id, filename, content_type, fingerprint, size_bytes,
                part_size_bytes, checksums, source, object_key, multipart_id, job_request, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now() + make_interval(secs => $13))
             on conflict do nothing returning ",
            upload_columns!()
        );
        Ok(self
            .store()
            .query_as(sql)
            .bind(upload.id)
            .bind(self.organisation())
            .bind(upload.filename)
            .bind(upload.content_type)
            .bind(upload.fingerprint)
            .bind(signed(upload.multipart.size))
            .bind(signed(upload.multipart.part_size))
            .bind(upload.multipart.checksums)
            .bind(upload.source)
            .bind(&upload.multipart.key)
            .bind(&upload.multipart.id)
            .bind(&upload.job_request)
            .bind(seconds(upload.expires_after))
            .fetch_optional(tx)
            .await?)
    }

    /// An upload, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upload(&self, tx: &mut PgConnection, id: Uuid) -> Result<Option<UploadRow>, StoreError> {
        let sql = concat!("select ", upload_columns!(), " from touchline.uploads where id = $1");
        Ok(self.store().query_as(sql).bind(id).fetch_optional(tx).await?)
    }

    /// As [`upload`](Self::upload); nobody else changes it until the end of the transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_upload(&self, tx: &mut PgConnection, id: Uuid) -> Result<Option<UploadRow>, StoreError> {
        let sql = concat!("select ", upload_columns!(), " from touchline.uploads where id = $1 for update");
        Ok(self.store().query_as(sql).bind(id).fetch_optional(tx).await?)
    }

    /// A page of uploads.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uploads(&self, filter: &UploadFilter) -> Result<Vec<UploadRow>, StoreError> {
        let (after_time, after_id) = filter.after.unzip();
        let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        let sql = concat!(
            "select ",
            upload_columns!(),
            " from touchline.uploads where (cardinality($1::text[]) = 0 or state = any($1))
                and ($2::timestamptz is null or (created_at, id) < ($2, $3))
             order by created_at desc, id desc limit $4"
        );
        let mut tx = self.begin().await?;
        Ok(self
            .store()
            .query_as(sql)
            .bind(states)
            .bind(after_time)
            .bind(after_id)
            .bind(i64::from(filter.limit))
            .fetch_all(&mut *tx)
            .await?)
    }

    /// Notes that an upload goes on: it expires `expires_after` from now, but no later than `at_most` after it was begun.
    /// `false` when it is not open any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upload_goes_on(
        &self,
        tx: &mut PgConnection,
        id: Uuid,
        expires_after: std::time::Duration,
        at_most: std::time::Duration,
    ) -> Result<bool, StoreError> {
        let done = self
            .store()
            .query(
                "update touchline.uploads set progressed_at = now(), expires_at = greatest(expires_at,
                    least(now() + make_interval(secs => $2), created_at + make_interval(secs => $3)))
                 where id = $1 and state = 'open'",
            )
            .bind(id)
            .bind(seconds(expires_after))
            .bind(seconds(at_most))
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Notes how many bytes have arrived.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_received(&self, tx: &mut PgConnection, id: Uuid, bytes: u64) -> Result<(), StoreError> {
        self.store()
            .query(
                "update touchline.uploads set received_bytes = $2, progressed_at = now()
                 where id = $1 and state = 'open' and received_bytes <> $2",
            )
            .bind(id)
            .bind(signed(bytes))
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Begins to complete an upload that is open, or goes on to. `false` when it is neither.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_completing(&self, tx: &mut PgConnection, id: Uuid) -> Result<bool, StoreError> {
        let done = self
            .store()
            .query(
                "update touchline.uploads set state = 'completing', progressed_at = now()
                 where id = $1 and state in ('open', 'completing')",
            )
            .bind(id)
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Opens an upload again that could not be completed, because parts are missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reopen_upload(&self, tx: &mut PgConnection, id: Uuid) -> Result<(), StoreError> {
        self.store()
            .query("update touchline.uploads set state = 'open' where id = $1 and state = 'completing'")
            .bind(id)
            .execute(tx)
            .await?;
        Ok(())
    }

    /// The object is there: notes that, with the job or why there is none, and tells of it. Whoever calls has locked the
    /// row and found it `completing`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_upload(
        &self,
        tx: &mut PgConnection,
        upload: &UploadRow,
        job: Option<Uuid>,
        job_problem: Option<&serde_json::Value>,
    ) -> Result<(), StoreError> {
        let data = serde_json::json!({
            "upload_id": upload.id, "filename": upload.filename, "size_bytes": upload.multipart.size,
        });
        self.store()
            .query(
                "with upload as (
                    update touchline.uploads set state = 'completed', finished_at = now(), received_bytes = size_bytes,
                        job_id = $2, job_problem = $3 where id = $1 and state = 'completing' returning organisation_id)
                 insert into touchline.events (organisation_id, job_id, type, data)
                 select organisation_id, $2, 'upload.completed', $4 from upload",
            )
            .bind(upload.id)
            .bind(job)
            .bind(job_problem)
            .bind(Json(data))
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Ends an upload that is open as aborted or expired. `false` when it is not open. The object store is told
    /// afterwards, at the latest of what [`Store::unswept_uploads`](super::Store::unswept_uploads) gives.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_upload(&self, tx: &mut PgConnection, id: Uuid, how: UploadState) -> Result<bool, StoreError> {
        let done = self
            .store()
            .query("update touchline.uploads set state = $2, finished_at = now() where id = $1 and state = 'open'")
            .bind(id)
            .bind(how.as_str())
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
