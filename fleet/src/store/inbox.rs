//! Objects of which buckets told, so that each makes one job however often its notice comes.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError, Tenant, seconds};

/// An object that lies in a bucket.
#[derive(Clone, Copy, Debug)]
pub struct InboxObject<'a> {
    /// Bucket.
    pub bucket: &'a str,
    /// Key.
    pub key: &'a str,
    /// The bucket's word for this write of the key.
    pub version: &'a str,
}

impl Tenant {
    /// Takes an object, to make a job of it in the same transaction. `false` when it was taken before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_from_inbox(&self, tx: &mut PgConnection, object: &InboxObject<'_>) -> Result<bool, StoreError> {
        let done = self
            .store()
            .query(
                "insert into touchline.inbox (organisation_id, bucket, key, version) values ($1, $2, $3, $4)
                 on conflict do nothing",
            )
            .bind(self.organisation())
            .bind(object.bucket)
            .bind(object.key)
            .bind(object.version)
            .execute(tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

impl Store {
    /// The organisation of this name, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisation_named(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        let row: Option<(Uuid,)> = self
            .query_as("select id from touchline.organisations where name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(id,)| id))
    }

    /// Forgets objects of which buckets told longer ago than `age`: their notices come no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_inbox(&self, age: Duration) -> Result<u64, StoreError> {
        let done = self
            .query("delete from touchline.inbox where arrived_at < now() - make_interval(secs => $1)")
            .bind(seconds(age))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}
