//! Machines: instances and their workers, launches that failed, decisions, and whose turn it is to decide.

mod encoded;
mod figures;
mod instances;
mod work;

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

pub use encoded::EncodedRow;
pub use figures::{FailureCount, Spend};
pub use instances::{DrainReason, EndedRow, InstanceRow, SeenInstance};
pub(in crate::store) use work::encoded;
pub use work::{Encoded, OpenJob};

use super::{Store, StoreError, seconds};

/// A launch that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct LaunchFailureRow {
    /// Pool.
    pub pool: String,
    /// The provider's name of the try.
    pub try_id: String,
    /// Kind, a word.
    pub kind: String,
    /// What the provider said.
    pub message: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What was decided.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct DecisionRow {
    /// First time.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Last time, when nothing was to do for a while.
    #[serde(with = "time::serde::rfc3339")]
    pub last_at: OffsetDateTime,
    /// Rule.
    pub policy: String,
    /// What to do.
    pub actions: serde_json::Value,
    /// Why: `[{"text": …, "data": …}]`.
    pub reasons: serde_json::Value,
}

impl DecisionRow {
    /// The reasons as sentences.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.reasons.as_array().into_iter().flatten().filter_map(|reason| reason["text"].as_str())
    }
}

impl Store {
    /// Takes or keeps the turn at what one process must do alone. `false` while another has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_turn(&self, name: &str, holder: Uuid, length: Duration) -> Result<bool, StoreError> {
        let done = self
            .query(
                "insert into touchline.turns (name, holder, until) values ($1, $2, now() + make_interval(secs => $3))
             on conflict (name) do update set holder = $2, until = excluded.until
                where touchline.turns.holder = $2 or touchline.turns.until < now()",
            )
            .bind(name)
            .bind(holder)
            .bind(seconds(length))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the turn back, so that another need not wait for its end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_turn(&self, name: &str, holder: Uuid) -> Result<(), StoreError> {
        self.query("delete from touchline.turns where name = $1 and holder = $2")
            .bind(name)
            .bind(holder)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Ends all turns: for whoever is alone with the database, so that it need not wait for the turn of one that died.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_turns(&self) -> Result<(), StoreError> {
        self.query("delete from touchline.turns").execute(&self.pool).await?;
        Ok(())
    }

    /// Notes launches that failed; gives those that are new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_launch_failures(
        &self,
        failures: &[LaunchFailureRow],
    ) -> Result<Vec<LaunchFailureRow>, StoreError> {
        Ok(self
            .query_as(
                "insert into touchline.launch_failures (pool, try, kind, message, at)
             select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
             on conflict do nothing returning pool, try as try_id, kind, message, at",
            )
            .bind(failures.iter().map(|f| f.pool.as_str()).collect::<Vec<_>>())
            .bind(failures.iter().map(|f| f.try_id.as_str()).collect::<Vec<_>>())
            .bind(failures.iter().map(|f| f.kind.as_str()).collect::<Vec<_>>())
            .bind(failures.iter().map(|f| f.message.as_str()).collect::<Vec<_>>())
            .bind(failures.iter().map(|f| f.at).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await?)
    }

    /// Launches that failed within the last `within`, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn launch_failures(&self, within: Duration) -> Result<Vec<LaunchFailureRow>, StoreError> {
        Ok(self
            .query_as(
                "select pool, try as try_id, kind, message, at from touchline.launch_failures
             where at > now() - make_interval(secs => $1) order by at, pool, try",
            )
            .bind(seconds(within))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Records a decision. One that does nothing, after one that did nothing, takes its place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_decision(
        &self,
        policy: &str,
        actions: &serde_json::Value,
        reasons: &serde_json::Value,
    ) -> Result<(), StoreError> {
        self.query(
            "with last as (select id, policy, actions from touchline.decisions order by id desc limit 1),
             again as (
                update touchline.decisions d set last_at = now(), reasons = $3 from last
                where d.id = last.id and last.policy = $1 and last.actions = '[]' and $2 = '[]'::jsonb returning d.id)
             insert into touchline.decisions (policy, actions, reasons) select $1, $2, $3 where not exists (select from again)",
        )
        .bind(policy)
        .bind(actions)
        .bind(reasons)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Decisions, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn decisions(&self, limit: u32) -> Result<Vec<DecisionRow>, StoreError> {
        Ok(self
            .query_as("select at, last_at, policy, actions, reasons from touchline.decisions order by id desc limit $1")
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?)
    }

    /// Deletes decisions and failures older than `age`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_capacity(&self, age: Duration) -> Result<(), StoreError> {
        for sql in [
            "delete from touchline.decisions where last_at < now() - make_interval(secs => $1)",
            "delete from touchline.launch_failures where at < now() - make_interval(secs => $1)",
        ] {
            self.query(sql).bind(seconds(age)).execute(&self.pool).await?;
        }
        Ok(())
    }
}
