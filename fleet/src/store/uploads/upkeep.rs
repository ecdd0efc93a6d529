//! What dispatchers do for uploads of all organisations.

use std::time::Duration;

use uuid::Uuid;

use super::super::{Store, StoreError, seconds};
use super::UploadRow;
use super::row::upload_columns;

impl Store {
    /// An upload of whatever organisation, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn any_upload(&self, id: Uuid) -> Result<Option<UploadRow>, StoreError> {
        let sql = concat!("select ", upload_columns!(), " from touchline.uploads where id = $1");
        Ok(self.query_as(sql).bind(id).fetch_optional(&self.pool).await?)
    }

    /// Ends uploads to which nothing came until they expired, at most `limit`, and says how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expire_uploads(&self, limit: u32) -> Result<u64, StoreError> {
        let done = self
            .query(
                "update touchline.uploads set state = 'expired', finished_at = now() where state = 'open' and id in (
                    select id from touchline.uploads where state = 'open' and expires_at < now()
                    order by expires_at limit $1 for update skip locked)",
            )
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Uploads that ended without an object, or whose object nobody needs, and of whose end the object store was not told yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unswept_uploads(&self, limit: u32) -> Result<Vec<UploadRow>, StoreError> {
        let sql = concat!(
            "select ",
            upload_columns!(),
            " from touchline.uploads where state in ('aborted', 'expired') and not swept order by finished_at limit $1"
        );
        Ok(self.query_as(sql).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }

    /// Notes that the object store was told of the end of an upload.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_upload_swept(&self, id: Uuid) -> Result<(), StoreError> {
        self.query("update touchline.uploads set swept = true where id = $1").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// Uploads that somebody began to complete longer ago than `age` and did not finish.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stuck_uploads(&self, age: Duration, limit: u32) -> Result<Vec<UploadRow>, StoreError> {
        let sql = concat!(
            "select ",
            upload_columns!(),
            " from touchline.uploads where state = 'completing' and progressed_at < now() - make_interval(secs => $1)
             order by progressed_at limit $2"
        );
        Ok(self.query_as(sql).bind(seconds(age)).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }
}

/// An upload in progress whose completion starts a job.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct UploadUnderWay {
    /// Where the object comes to lie.
    pub source: String,
    /// Size of the file in bytes.
    pub size_bytes: i64,
    /// Bytes that had arrived when somebody last asked.
    pub received_bytes: i64,
    /// Seconds from its beginning to that moment.
    pub took_s: f64,
    /// Seconds since that moment.
    pub since_s: f64,
}

impl Store {
    /// Uploads that progressed within the last minutes and whose completion starts a job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uploads_under_way(&self, within: Duration) -> Result<Vec<UploadUnderWay>, StoreError> {
        Ok(self
            .query_as(
                "select source, size_bytes, received_bytes, extract(epoch from progressed_at - created_at)::float8 as took_s,
                    extract(epoch from now() - progressed_at)::float8 as since_s
                 from touchline.uploads
                 where state in ('open', 'completing') and job_request is not null
                    and progressed_at > now() - make_interval(secs => $1)
                 order by created_at limit 1000",
            )
            .bind(seconds(within))
            .fetch_all(&self.pool)
            .await?)
    }
}
