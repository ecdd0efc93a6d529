//! Machines in figures, for monitoring.

use std::time::Duration;

use time::OffsetDateTime;

use crate::store::{Store, StoreError, seconds};

/// Failed launches of a pool, by kind.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct FailureCount {
    /// Pool.
    pub pool: String,
    /// Kind, a word.
    pub kind: String,
    /// How many.
    pub count: i64,
}

/// What the instances of a pool cost.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Spend {
    /// Pool.
    pub pool: String,
    /// US dollars.
    pub usd: f64,
}

impl Store {
    /// Launches that failed within the last `within`, by pool and kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_launch_failures(&self, within: Duration) -> Result<Vec<FailureCount>, StoreError> {
        Ok(self
            .query_as(
                "select pool, kind, count(*) as count from touchline.launch_failures
                 where at > now() - make_interval(secs => $1) group by pool, kind order by pool, kind",
            )
            .bind(seconds(within))
            .fetch_all(&self.pool)
            .await?)
    }

    /// What instances cost within the last `within`: the time that each was there, at the price that it had. A first
    /// minute counts whole, as it is billed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend(&self, within: Duration) -> Result<Vec<Spend>, StoreError> {
        Ok(self
            .query_as(
                "select pool, sum(price_micros * extract(epoch from
                    greatest(coalesce(ended_at, now()), seen_at + interval '1 minute')
                    - greatest(seen_at, now() - make_interval(secs => $1))) / 3600 / 1000000)::float8 as usd
                 from touchline.instances where ended_at is null or ended_at > now() - make_interval(secs => $1)
                 group by pool order by pool",
            )
            .bind(seconds(within))
            .fetch_all(&self.pool)
            .await?)
    }

    /// When capacity was decided last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn decided_at(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        let (at,): (Option<OffsetDateTime>,) =
            self.query_as("select max(last_at) from touchline.decisions").fetch_one(&self.pool).await?;
        Ok(at)
    }
}
