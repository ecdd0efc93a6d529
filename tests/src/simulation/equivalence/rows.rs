//! Every row of both stores, as text.

use sqlx::Row;
use uuid::Uuid;

use super::Both;
use crate::simulation::memory::{Memory, Ms};

/// Times as milliseconds of the common clock.
const ROWS: &[(&str, &str)] = &[
    (
        "jobs",
        "select concat_ws(' ', id, state, generation, focus_segment, plan is not null, coalesce(end_frames, -1), damaged,
            watchable_ms, coalesce(failure_code, '-'), ms(planned_at), ms(first_playable_at), ms(finished_at)) as row
         from touchline.jobs order by id",
    ),
    (
        "chunks",
        "select concat_ws(' ', job_id, chunk, kind, state, attempt, position, first_segment, coalesce(end_segment, -1),
            coalesce(region, '-'), coalesce(worker_id::text, '-'), ms(lease_until), deaths, tries, ms(not_before),
            ms(queued_at), ms(sent_at), sends, progress, coalesce(last_code, '-'), splits,
            coalesce(split_from, -1), taken_back, coalesce(avoid_worker::text, '-')) as row
         from touchline.chunks order by job_id, chunk",
    ),
    (
        "attempts",
        "select concat_ws(' ', job_id, chunk, attempt, worker_id, ms(claimed_at), ms(ended_at), coalesce(outcome, '-'), made)
            as row from touchline.attempts order by job_id, chunk, attempt",
    ),
    (
        "segments",
        "select concat_ws(' ', job_id, rendition, index, chunk, attempt, uri, bytes, first, count, ms(committed_at)) as row
         from touchline.segments order by job_id, rendition collate \"C\", index",
    ),
    (
        "renditions",
        "select concat_ws(' ', job_id, name, kind, coalesce(init_key, '-'), ended) as row
         from touchline.renditions order by job_id, name collate \"C\"",
    ),
    (
        "publications",
        "select concat_ws(' ', job_id, listed, promised, ms(appended_at), master, swept) as row
         from touchline.publications order by job_id",
    ),
    (
        "outbox",
        "select concat_ws(' ', region, job_id, chunk, attempt, ms(not_before)) as row from touchline.outbox
         order by region, job_id, chunk, attempt, not_before",
    ),
    ("events", "select concat_ws(' ', job_id, type) as row from touchline.events order by job_id, id"),
    ("usage", "select job_id::text as row from touchline.usage order by job_id"),
    (
        "workers",
        "select concat_ws(' ', id, region, state, command is not null, ms(heartbeat_at), ms(gone_at)) as row
         from touchline.workers order by id",
    ),
    (
        "regions",
        "select concat_ws(' ', name, healthy, reason, ms(failing_since), ms(marked_at)) as row
         from touchline.regions order by name",
    ),
    (
        "devices",
        "select concat_ws(' ', name, ms(checked_at), ms(quarantined_at), ms(withdrawn_at)) as row
         from touchline.devices order by name",
    ),
];

impl Both {
    /// The first row that is not the same in both.
    pub(super) async fn differing_row(&self) -> Option<String> {
        for (table, sql) in ROWS {
            // Written out here: `ms(x)` is a time in milliseconds, or -1.
            let sql = expand(sql);
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.sql.pool()).await.expect("rows");
            let there: Vec<String> = rows.iter().map(|r| r.get("row")).collect();
            let here = self.memory.rows(table);
            if there != here {
                let place =
                    there.iter().zip(&here).position(|(a, b)| a != b).unwrap_or_else(|| there.len().min(here.len()));
                let (sql, memory) = (there.get(place), here.get(place));
                return Some(format!("{table}, row {place}\n  Postgres {sql:?}\n  memory   {memory:?}"));
            }
        }
        None
    }
}

fn expand(sql: &str) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("ms(") {
        let (column, after) = after.split_once(')').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&format!("coalesce(round(extract(epoch from {column}) * 1000)::bigint, -1)"));
        rest = after;
    }
    out + rest
}

fn ms(at: Option<Ms>) -> Ms {
    at.unwrap_or(-1)
}

fn flag(value: bool) -> &'static str {
    if value { "t" } else { "f" }
}

fn id(worker: Option<Uuid>) -> String {
    worker.map_or_else(|| "-".to_owned(), |w| w.to_string())
}

impl Memory {
    fn rows(&self, table: &str) -> Vec<String> {
        let jobs = || self.jobs.iter();
        match table {
            "jobs" => jobs()
                .map(|(job, j)| {
                    let code = j.failure.map_or("-", |c| c.as_str());
                    format!(
                        "{job} {} {} {} {} {} {} {} {code} {} {} {}",
                        j.state,
                        j.generation,
                        j.focus_segment,
                        flag(j.plan.is_some()),
                        j.end_frames.unwrap_or(-1),
                        j.damaged,
                        j.watchable_ms,
                        ms(j.planned_at),
                        ms(j.first_playable_at),
                        ms(j.finished_at)
                    )
                })
                .collect(),
            "chunks" => jobs()
                .flat_map(|(job, j)| j.chunks.iter().map(move |(n, c)| (job, n, c)))
                .map(|(job, n, c)| {
                    use fleet::store::work::Work;
                    let (kind, end) = match &c.work {
                        Work::Plan => ("plan", -1),
                        Work::Video { end, .. } => ("video", end.map_or(-1, u64::cast_signed)),
                        Work::Audio { .. } => ("audio", -1),
                        Work::Clip => ("clip", -1),
                    };
                    format!(
                        "{job} {n} {kind} {} {} {} {} {end} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
                        c.state,
                        c.attempt,
                        c.position,
                        c.first_segment(),
                        c.region.as_deref().unwrap_or("-"),
                        id(c.worker),
                        ms(c.lease_until),
                        c.deaths,
                        c.tries,
                        c.not_before,
                        ms(c.queued_at),
                        ms(c.sent_at),
                        c.sends,
                        c.progress,
                        c.last_code.map_or("-", |c| c.as_str()),
                        c.splits,
                        c.split_from.unwrap_or(-1),
                        flag(c.taken_back),
                        id(c.avoid_worker)
                    )
                })
                .collect(),
            "attempts" => jobs()
                .flat_map(|(job, j)| j.attempts.iter().map(move |(n, a)| (job, n, a)))
                .map(|(job, (n, attempt), a)| {
                    let outcome = a.outcome.unwrap_or("-");
                    format!("{job} {n} {attempt} {} {} {} {outcome} {}", a.worker, a.claimed_at, ms(a.ended_at), a.made)
                })
                .collect(),
            "segments" => jobs()
                .flat_map(|(job, j)| j.segments.iter().map(move |(key, s)| (job, key, s)))
                .map(|(job, (name, index), s)| {
                    format!(
                        "{job} {name} {index} {} {} {} {} {} {} {}",
                        s.chunk, s.attempt, s.uri, s.bytes, s.first, s.count, s.committed_at
                    )
                })
                .collect(),
            "renditions" => jobs()
                .flat_map(|(job, j)| j.renditions.iter().map(move |(name, r)| (job, name, r)))
                .map(|(job, name, r)| {
                    format!("{job} {name} {} {} {}", r.kind, r.init.as_deref().unwrap_or("-"), flag(r.ended))
                })
                .collect(),
            "publications" => jobs()
                .filter_map(|(job, j)| Some((job, j.publication.as_ref()?)))
                .map(|(job, p)| {
                    let (master, swept) = (flag(p.master), flag(p.swept));
                    format!("{job} {} {} {} {master} {swept}", p.listed, p.promised, ms(p.appended_at))
                })
                .collect(),
            "outbox" => {
                let mut rows: Vec<_> = self
                    .outbox
                    .values()
                    .map(|o| (o.region.clone(), o.message.job, o.message.chunk, o.message.attempt, o.not_before))
                    .collect();
                rows.sort_unstable();
                rows.into_iter().map(|(r, j, c, a, at)| format!("{r} {j} {c} {a} {at}")).collect()
            }
            "events" => jobs().flat_map(|(job, j)| j.events.iter().map(move |e| format!("{job} {e}"))).collect(),
            "usage" => jobs().filter(|(_, j)| j.usage > 0).map(|(job, _)| job.to_string()).collect(),
            "workers" => self
                .workers
                .iter()
                .map(|(id, w)| {
                    format!("{id} {} {} {} {} {}", w.region, w.state, flag(w.drain), w.heartbeat_at, ms(w.gone_at))
                })
                .collect(),
            "regions" => self
                .regions
                .iter()
                .map(|(name, r)| {
                    format!("{name} {} {} {} {}", flag(r.healthy), r.reason, ms(r.failing_since), r.marked_at)
                })
                .collect(),
            _ => self
                .devices
                .iter()
                .map(|(name, d)| format!("{name} {} {} {}", ms(d.checked_at), ms(d.quarantined_at), ms(d.withdrawn_at)))
                .collect(),
        }
    }
}
