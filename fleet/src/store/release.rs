//! Release: which waiting chunks go to a region's queue next, and the messages that tell of it.

use sqlx::Row;
use uuid::Uuid;

use super::rescue::Patience;
use super::{Edge, Store, StoreError, signed, unsigned};
use crate::queue::Message;
use crate::state::{ChunkEvent, ChunkState};

/// A waiting chunk that may be released.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// Attempt.
    pub attempt: i32,
    /// Region that suits the source.
    pub home_region: String,
    /// Where it was released to before, if it was.
    pub last_region: Option<String>,
}

/// A region's load, as the store knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct RegionLoad {
    /// Region.
    pub region: String,
    /// Chunks that were released and not claimed.
    pub queued: i64,
    /// Chunks at work.
    pub running: i64,
    /// Slots of workers that are alive and take work.
    pub slots: i64,
    /// Workers that are alive.
    pub workers: i64,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Row.
    pub id: i64,
    /// What to send.
    pub message: Message,
}

impl Store {
    /// Up to `limit` waiting chunks in fair order (but those that no further try will mend): organisations by what they
    /// have at work relative to their weight, within one by deadline, then by place in the match (from the focused minute
    /// on first). Of an organisation whose tier limits its jobs at once, only the first ones count; what its cap holds back
    /// does not count at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn candidates(&self, limit: u32, patience: Patience) -> Result<Vec<Candidate>, StoreError> {
        let rows = self
            .query(
                "with allowed as (
                select j.id, j.organisation_id, o.weight, j.ready_by, j.created_at, j.home_region, j.focus_segment,
                    t.concurrent_jobs, row_number() over (partition by j.organisation_id, j.clip_id is null
                        order by j.state = 'queued', j.ready_by nulls last, j.created_at, j.id) as turn
                from touchline.jobs j join touchline.organisations o on o.id = j.organisation_id
                join touchline.tiers t on t.name = o.tier
                where j.state in ('queued', 'planning', 'running')
                    and not touchline.is_held(o.cap_micros, o.capped, o.capped_at, j.admitted_at)),
             active as (
                select *, greatest(8, $1 * 4 / count(*) over ()) as most from allowed
                where concurrent_jobs is null or turn <= concurrent_jobs),
             busy as (
                select j.organisation_id, count(*) as chunks
                from touchline.chunks c join touchline.jobs j on j.id = c.job_id
                where c.state in ('queued', 'running') group by 1),
             candidates as (
                select a.id, a.organisation_id, a.weight, a.ready_by, a.created_at, a.home_region,
                    c.chunk, c.attempt, c.region, c.position, c.behind,
                    row_number() over (partition by a.organisation_id
                        order by a.ready_by nulls last, c.behind, c.position, a.created_at, a.id, c.chunk) as place
                from active a cross join lateral (
                    select * from (
                        (select chunk, attempt, region, position, false as behind from touchline.chunks w
                         where w.job_id = a.id and w.state = 'waiting' and w.not_before <= now()
                            and w.deaths < $2 and w.tries < $3
                            and (w.kind <> 'video' or w.first_segment >= a.focus_segment)
                         order by position limit a.most)
                        union all
                        (select chunk, attempt, region, position, true from touchline.chunks w
                         where w.job_id = a.id and w.state = 'waiting' and w.not_before <= now()
                            and w.deaths < $2 and w.tries < $3
                            and w.kind = 'video' and w.first_segment < a.focus_segment
                         order by position limit a.most)) both_sides
                    order by behind, position limit a.most) c)
             select c.id, c.chunk, c.attempt, c.home_region, c.region
             from candidates c left join busy b on b.organisation_id = c.organisation_id
             order by (coalesce(b.chunks, 0) + c.place)::float8 / c.weight, c.ready_by nulls last, c.behind, c.position,
                c.created_at, c.id, c.chunk
             limit $1",
            )
            .bind(i64::from(limit))
            .bind(patience.deaths)
            .bind(patience.tries)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                Ok(Candidate {
                    job: r.try_get("id")?,
                    chunk: r.try_get("chunk")?,
                    attempt: r.try_get("attempt")?,
                    home_region: r.try_get("home_region")?,
                    last_region: r.try_get("region")?,
                })
            })
            .collect()
    }

    /// Releases chunks to regions: state and message in one transaction. Gives how many were still waiting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release(&self, chosen: &[(Candidate, String)]) -> Result<u64, StoreError> {
        const RELEASE: Edge = Edge::chunk(ChunkState::Waiting, ChunkEvent::Released);
        let jobs: Vec<Uuid> = chosen.iter().map(|(c, _)| c.job).collect();
        let chunks: Vec<i32> = chosen.iter().map(|(c, _)| c.chunk).collect();
        let attempts: Vec<i32> = chosen.iter().map(|(c, _)| c.attempt).collect();
        let regions: Vec<&str> = chosen.iter().map(|(_, region)| region.as_str()).collect();
        let done = self
            .query(
                "with released as (
                update touchline.chunks c
                set state = $6, region = u.region, queued_at = now(), sent_at = now(), sends = 1
                from unnest($1::uuid[], $2::int[], $3::int[], $4::text[]) u(job, chunk, attempt, region)
                where c.job_id = u.job and c.chunk = u.chunk and c.attempt = u.attempt and c.state = $5
                returning c.region, c.job_id, c.chunk, c.attempt)
             insert into touchline.outbox (region, job_id, chunk, attempt) select * from released",
            )
            .bind(&jobs)
            .bind(&chunks)
            .bind(&attempts)
            .bind(&regions)
            .bind(RELEASE.from)
            .bind(RELEASE.to)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Load of every region that has any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn region_loads(&self, alive_s: f64) -> Result<Vec<RegionLoad>, StoreError> {
        Ok(self.query_as(
            "select region, coalesce(sum(queued), 0)::bigint as queued, coalesce(sum(running), 0)::bigint as running,
                coalesce(sum(slots), 0)::bigint as slots, coalesce(sum(workers), 0)::bigint as workers
             from (
                select region, count(*) as queued, 0 as running, 0 as slots, 0 as workers
                from touchline.chunks where state = 'queued' group by region
                union all
                select region, 0, count(*), 0, 0 from touchline.chunks where state = 'running' group by region
                union all
                select region, 0, 0, sum(case when state = 'ready' then slots else 0 end), count(*)
                from touchline.workers
                where state <> 'gone' and heartbeat_at > now() - make_interval(secs => $1) group by region) loads
             where region is not null group by region order by region",
        )
        .bind(alive_s)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Number of chunks that wait and may be released now, and media seconds that are neither done nor at work.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backlog(&self) -> Result<(u64, f64), StoreError> {
        let row = self.query(
            "select count(*) as chunks, coalesce(sum(c.seconds), 0)::float8 as seconds
             from touchline.jobs j join touchline.chunks c on c.job_id = j.id and c.state in ('waiting', 'queued', 'running')
             where j.state in ('queued', 'planning', 'running')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((unsigned(row.try_get("chunks")?), row.try_get("seconds")?))
    }

    /// Jobs that have not ended, by state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn active_jobs_by_state(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(self
            .query_as(
                "select state, count(*) from touchline.jobs
                 where clip_id is null and state in ('queued', 'planning', 'running', 'publishing') group by state",
            )
            .fetch_all(&self.pool)
            .await?)
    }

    /// Jobs that ended within the last seconds, by state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ended_jobs_by_state(&self, within_s: f64) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(self
            .query_as(
                "select state, count(*) from touchline.jobs
                 where clip_id is null and removed_at is null and finished_at > now() - make_interval(secs => $1) group by state",
            )
            .bind(within_s)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Seconds for which the longest waiting job has waited for its first worker; 0 when none waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn oldest_wait_s(&self) -> Result<f64, StoreError> {
        let row = self
            .query(
                "select coalesce(max(extract(epoch from now() - created_at)), 0)::float8 as seconds
                 from touchline.jobs where state = 'queued'",
            )
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get("seconds")?)
    }

    /// Takes up to `limit` messages of a region out of the outbox, for `send` to send. Those it accepts are deleted when
    /// it returns; a death in between sends some twice, which changes nothing.
    ///
    /// # Errors
    /// [`StoreError`], or what `send` says.
    pub async fn relay<E: From<StoreError>>(
        &self,
        region: &str,
        limit: u32,
        send: impl AsyncFnOnce(&[Message]) -> Result<Vec<usize>, E>,
    ) -> Result<usize, E> {
        let rows = self.outbox(region, limit).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let messages: Vec<Message> = rows.iter().map(|r| r.message).collect();
        let accepted = send(&messages).await?;
        let ids: Vec<i64> = accepted.iter().filter_map(|i| rows.get(*i)).map(|r| r.id).collect();
        self.query("delete from touchline.outbox where id = any($1)")
            .bind(&ids)
            .execute(&self.pool)
            .await
            .map_err(StoreError::from)?;
        Ok(ids.len())
    }

    /// Takes messages under a short reservation, so that two relays do not send the same ones at the same time.
    async fn outbox(&self, region: &str, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = self
            .query(
                "with due as materialized (
                    select id from touchline.outbox where region = $1 and not_before <= now()
                    order by not_before, id limit $2 for update skip locked)
                 update touchline.outbox o set not_before = now() + interval '10 seconds' from due where o.id = due.id
                 returning o.id, o.job_id, o.chunk, o.attempt",
            )
            .bind(region)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|r| {
                let message = Message::new(r.try_get("job_id")?, r.try_get("chunk")?, r.try_get("attempt")?);
                Ok(OutboxRow { id: r.try_get("id")?, message })
            })
            .collect()
    }

    /// Drops messages of a region that nobody can reach, once its chunks were recalled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clear_outbox(&self, region: &str) -> Result<u64, StoreError> {
        let done =
            self.query("delete from touchline.outbox where region = $1").bind(region).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }

    /// Number of messages that were not sent yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn outbox_depth(&self) -> Result<u64, StoreError> {
        let row = self.query("select count(*) as n from touchline.outbox").fetch_one(&self.pool).await?;
        Ok(unsigned(row.try_get("n")?))
    }

    /// Chunks that are released before the given one in fair order, roughly: those waiting in jobs that were there
    /// earlier.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ahead_of(&self, job: Uuid, position: i64) -> Result<u64, StoreError> {
        let row = self
            .query(
                "select count(*) as n from touchline.chunks c join touchline.jobs j on j.id = c.job_id
             where c.state in ('waiting', 'queued') and j.state in ('queued', 'planning', 'running') and c.job_id <> $1
                and c.position <= $2",
            )
            .bind(job)
            .bind(signed(unsigned(position)))
            .fetch_one(&self.pool)
            .await?;
        Ok(unsigned(row.try_get("n")?))
    }
}
