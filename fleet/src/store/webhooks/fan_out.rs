//! From events to deliveries.
//!
//! The place up to which events were read moves in the transaction that inserts their deliveries, and events are read by
//! (transaction, id) only below the oldest transaction that still runs: none is skipped because it committed late, none
//! is read twice.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::PROGRESS;
use crate::store::jobs::JobRow;
use crate::store::{Store, StoreError, Transaction};

/// Name of the fan-out among the readers of events.
const READER: &str = "webhooks";

/// An event, and the webhooks that asked for it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ReadEvent {
    /// Number.
    pub id: i64,
    /// Transaction, as text.
    xid: String,
    /// Owner.
    pub organisation_id: Uuid,
    /// Job, when it is one's.
    pub job_id: Option<Uuid>,
    /// What happened.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// When.
    pub at: OffsetDateTime,
    /// What was recorded with it.
    pub data: Value,
    /// Webhooks that are enabled and were there before it.
    webhooks: Vec<Uuid>,
}

/// What one turn of the fan-out did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FannedOut {
    /// Events that were read.
    pub events: usize,
    /// Deliveries that were made of them.
    pub deliveries: usize,
}

/// Deliveries as columns.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    webhooks: Vec<Uuid>,
    organisations: Vec<Uuid>,
    events: Vec<Option<i64>>,
    kinds: Vec<String>,
    payloads: Vec<Json<Value>>,
}

impl Store {
    /// Reads up to `limit` events and makes a delivery for each webhook that asked for one; `payload` writes its body.
    /// While another dispatcher is at it, this does nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was read.
    pub async fn fan_out(
        &self,
        limit: u32,
        payload: impl Fn(&ReadEvent, Option<&JobRow>) -> Value,
    ) -> Result<FannedOut, StoreError> {
        if !self.has_unread_events().await? {
            return Ok(FannedOut::default());
        }
        let mut tx = self.begin().await?;
        let place: Option<(String, i64)> = self
            .query_as("select xid::text, id from touchline.event_readers where name = $1 for update skip locked")
            .bind(READER)
            .fetch_optional(&mut *tx)
            .await?;
        let Some((xid, id)) = place else { return Ok(FannedOut::default()) };
        let events: Vec<ReadEvent> = self
            .query_as(
                "select e.id, e.xid::text as xid, e.organisation_id, e.job_id, e.type, e.at, e.data,
                    array(select w.id from touchline.webhooks w
                        where w.organisation_id = e.organisation_id and w.enabled and e.type = any(w.events)
                            and w.created_at <= e.at) as webhooks
                 from touchline.events e
                 where (e.xid, e.id) > ($1::text::xid8, $2) and e.xid < pg_snapshot_xmin(pg_current_snapshot())
                 order by e.xid, e.id limit $3",
            )
            .bind(xid)
            .bind(id)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
        let Some(last) = events.last() else { return Ok(FannedOut::default()) };
        let wanted = || events.iter().filter(|e| !e.webhooks.is_empty());
        let jobs = self.jobs_of(&mut tx, wanted().filter_map(|e| e.job_id).collect()).await?;
        let mut batch = Batch::default();
        for event in wanted() {
            let body = payload(event, event.job_id.and_then(|id| jobs.get(&id)));
            for webhook in &event.webhooks {
                batch.push(Uuid::now_v7(), *webhook, event.organisation_id, Some(event.id), &event.kind, body.clone());
            }
        }
        let deliveries = self.insert_deliveries(&mut tx, batch).await?;
        self.query("update touchline.event_readers set xid = $2::text::xid8, id = $3 where name = $1")
            .bind(READER)
            .bind(&last.xid)
            .bind(last.id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(FannedOut { events: events.len(), deliveries })
    }

    /// Looks without a lock: an idle fleet writes nothing.
    async fn has_unread_events(&self) -> Result<bool, StoreError> {
        let (unread,): (bool,) = self
            .query_as(
                "select exists (select from touchline.event_readers r join touchline.events e on (e.xid, e.id) > (r.xid, r.id)
                    where r.name = $1 and e.xid < pg_snapshot_xmin(pg_current_snapshot()))",
            )
            .bind(READER)
            .fetch_one(&self.pool)
            .await?;
        Ok(unread)
    }

    /// Makes a delivery for each job that came to another tenth, for the webhooks that ask for it. The delivery's id says
    /// which webhook, job and tenth: whoever notices a tenth again makes no other. Gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fan_out_progress(&self, payload: impl Fn(&JobRow, u8) -> Value) -> Result<usize, StoreError> {
        let mut tx = self.begin().await?;
        let wanted: Vec<(Uuid, Uuid)> = self
            .query_as(
                "select w.id, j.id from touchline.webhooks w join touchline.jobs j on j.organisation_id = w.organisation_id
                 where w.enabled and $1 = any(w.events) and j.state = 'running' and j.clip_id is null limit 1000",
            )
            .bind(PROGRESS)
            .fetch_all(&mut *tx)
            .await?;
        let jobs = self.jobs_of(&mut tx, wanted.iter().map(|(_, job)| *job).collect()).await?;
        let mut batch = Batch::default();
        for (webhook, id) in wanted {
            let Some(job) = jobs.get(&id) else { continue };
            let tenth = tenth(job.progress);
            if (1..=9).contains(&tenth) {
                let step = step_id(webhook, job, tenth);
                batch.push(step, webhook, job.organisation_id, None, PROGRESS, payload(job, tenth));
            }
        }
        let made = self.insert_deliveries(&mut tx, batch).await?;
        tx.commit().await?;
        Ok(made)
    }

    async fn jobs_of(&self, tx: &mut Transaction, ids: Vec<Uuid>) -> Result<HashMap<Uuid, JobRow>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let jobs: Vec<JobRow> = self
            .query_as(sqlx::AssertSqlSafe(format!("{} where id = any($1)", crate::store::jobs::JOB_COLUMNS)))
            .bind(ids)
            .fetch_all(&mut **tx)
            .await?;
        Ok(jobs.into_iter().map(|job| (job.id, job)).collect())
    }

    async fn insert_deliveries(&self, tx: &mut Transaction, batch: Batch) -> Result<usize, StoreError> {
        if batch.ids.is_empty() {
            return Ok(0);
        }
        let done = self
            .query(
                "insert into touchline.webhook_deliveries (id, webhook_id, organisation_id, event_id, type, payload)
                 select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::jsonb[])
                 on conflict do nothing",
            )
            .bind(batch.ids)
            .bind(batch.webhooks)
            .bind(batch.organisations)
            .bind(batch.events)
            .bind(batch.kinds)
            .bind(batch.payloads)
            .execute(&mut **tx)
            .await?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }
}

/// Full tenths of a share of one.
fn tenth(share: f64) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 10")]
    let tenths = (share * 10.0).floor().clamp(0.0, 10.0) as u8;
    tenths
}

/// Names a webhook, a job's plan and a tenth: 128 bits of a digest, as version 8 has it (RFC 9562).
fn step_id(webhook: Uuid, job: &JobRow, tenth: u8) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(webhook.as_bytes());
    hash.update(job.id.as_bytes());
    hash.update(job.generation.to_le_bytes());
    hash.update([tenth]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Batch {
    fn push(&mut self, id: Uuid, webhook: Uuid, organisation: Uuid, event: Option<i64>, kind: &str, payload: Value) {
        self.ids.push(id);
        self.webhooks.push(webhook);
        self.organisations.push(organisation);
        self.events.push(event);
        self.kinds.push(kind.to_owned());
        self.payloads.push(Json(payload));
    }
}
