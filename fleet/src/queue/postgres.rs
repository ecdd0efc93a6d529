//! A queue in the database: for one machine, and where there is no SQS.
//!
//! It waits by looking again and again, not by LISTEN: a transaction pooler would lose that.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Depth, MAX_BATCH, MESSAGE_VERSION, Message, Queue, QueueError, Receipt, Received};
use crate::store::Store;

/// First and last wait between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// A message that was received this often goes to the dead letters.
const MAX_RECEIVES: i32 = 20;

/// A queue in the table `touchline.queue_messages`.
#[derive(Debug)]
pub struct PostgresQueue {
    store: Store,
    name: String,
    dead: Option<Box<PostgresQueue>>,
}

impl PostgresQueue {
    /// The queue of this name, and its dead letters.
    #[must_use]
    pub fn new(store: Store, name: &str) -> Self {
        let dead = Self { store: store.clone(), name: format!("{name}-dead"), dead: None };
        Self { store, name: name.to_owned(), dead: Some(Box::new(dead)) }
    }

    fn error(&self, error: sqlx::Error) -> QueueError {
        let (queue, reason) = (self.name.clone(), error.to_string());
        match error {
            // 28: may not log in. 3D: no such database. 42: no such table, no permission.
            sqlx::Error::Database(db)
                if db.code().is_some_and(|code| ["28", "3D", "42"].iter().any(|class| code.starts_with(class))) =>
            {
                QueueError::Misconfigured { queue, reason }
            }
            _ => QueueError::Unavailable { queue, reason },
        }
    }

    /// Moves messages that were received too often to the dead letters.
    async fn bury(&self) -> Result<(), sqlx::Error> {
        let Some(dead) = &self.dead else { return Ok(()) };
        self.store
            .query(
                "with worn as materialized (
                select id from touchline.queue_messages where queue = $1 and visible_at <= now() and receive_count >= $3
                for update skip locked)
             update touchline.queue_messages m set queue = $2, visible_at = now(), receive_count = 0, delivery = null
             from worn where m.id = worn.id",
            )
            .bind(&self.name)
            .bind(&dead.name)
            .bind(MAX_RECEIVES)
            .execute(self.store.pool())
            .await?;
        Ok(())
    }

    /// The inner select must run once: under `where id in (…)` a plan may run it for every row of a small table, each
    /// time locking as many rows again.
    async fn take(&self, max: usize, visibility: Duration) -> Result<Vec<Received>, sqlx::Error> {
        let rows = self
            .store
            .query(
                "with next as materialized (
                select id from touchline.queue_messages where queue = $1 and visible_at <= now()
                order by visible_at, id limit $2 for update skip locked)
             update touchline.queue_messages m set visible_at = now() + make_interval(secs => $3),
                receive_count = receive_count + 1, delivery = gen_random_uuid()
             from next where m.id = next.id returning m.id, body, receive_count, delivery",
            )
            .bind(&self.name)
            .bind(i64::try_from(max.clamp(1, MAX_BATCH)).unwrap_or(1))
            .bind(visibility.as_secs_f64())
            .fetch_all(self.store.pool())
            .await?;
        let mut received = Vec::with_capacity(rows.len());
        for row in rows {
            let body: serde_json::Value = row.try_get("body")?;
            let message = serde_json::from_value(body).ok().filter(|m: &Message| m.v == MESSAGE_VERSION);
            let (id, delivery): (i64, Uuid) = (row.try_get("id")?, row.try_get("delivery")?);
            let count: i32 = row.try_get("receive_count")?;
            received.push(Received {
                message,
                receipt: Receipt(format!("{id}:{delivery}")),
                receive_count: u32::try_from(count).unwrap_or(0),
            });
        }
        Ok(received)
    }
}

/// Ids and deliveries of receipts; what is none is passed over.
fn parts(receipts: &[Receipt]) -> (Vec<i64>, Vec<Uuid>) {
    receipts
        .iter()
        .filter_map(|r| {
            let (id, delivery) = r.0.split_once(':')?;
            Some((id.parse::<i64>().ok()?, delivery.parse::<Uuid>().ok()?))
        })
        .unzip()
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn send(&self, messages: &[Message]) -> Result<Vec<usize>, QueueError> {
        let bodies: Vec<Json<&Message>> = messages.iter().take(MAX_BATCH).map(Json).collect();
        self.store
            .query("insert into touchline.queue_messages (queue, body) select $1, unnest($2::jsonb[])")
            .bind(&self.name)
            .bind(&bodies)
            .execute(self.store.pool())
            .await
            .map_err(|e| self.error(e))?;
        Ok((0..bodies.len()).collect())
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError> {
        let until = Instant::now() + wait;
        let mut pause = LOOK.0;
        loop {
            self.bury().await.map_err(|e| self.error(e))?;
            let received = self.take(max, visibility).await.map_err(|e| self.error(e))?;
            let left = until.saturating_duration_since(Instant::now());
            if !received.is_empty() || left.is_zero() {
                return Ok(received);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LOOK.1);
        }
    }

    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError> {
        let (ids, deliveries) = parts(receipts);
        self.store
            .query(
                "update touchline.queue_messages q set visible_at = now() + make_interval(secs => $3)
             from unnest($1::bigint[], $2::uuid[]) r(id, delivery) where q.id = r.id and q.delivery = r.delivery",
            )
            .bind(&ids)
            .bind(&deliveries)
            .bind(visibility.as_secs_f64())
            .execute(self.store.pool())
            .await
            .map_err(|e| self.error(e))?;
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        let (ids, deliveries) = parts(receipts);
        self.store
            .query(
                "delete from touchline.queue_messages q using unnest($1::bigint[], $2::uuid[]) r(id, delivery)
             where q.id = r.id and q.delivery = r.delivery",
            )
            .bind(&ids)
            .bind(&deliveries)
            .execute(self.store.pool())
            .await
            .map_err(|e| self.error(e))?;
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let (visible, in_flight): (i64, i64) = self
            .store
            .query_as(
                "select count(*) filter (where visible_at <= now()), count(*) filter (where visible_at > now())
                 from touchline.queue_messages where queue = $1",
            )
            .bind(&self.name)
            .fetch_one(self.store.pool())
            .await
            .map_err(|e| self.error(e))?;
        Ok(Depth { visible: visible.unsigned_abs(), in_flight: in_flight.unsigned_abs() })
    }

    fn dead_letters(&self) -> Option<&dyn Queue> {
        self.dead.as_deref().map(|q| q as &dyn Queue)
    }
}
