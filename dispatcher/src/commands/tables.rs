//! Tables for people.

use capacity::money::MicroDollars;
use comfy_table::{Table, presets};
use fleet::queue::{Depth, QueueError};
use fleet::store::guard::DeviceRow;
use fleet::store::jobs::{ChunkRow, JobRow};
use fleet::store::organisations::{KeyRow, OrganisationRow};
use fleet::store::release::RegionLoad;
use fleet::store::workers::WorkerRow;
use fleet::timeline::clock;
use serde::Serialize;
use time::OffsetDateTime;

/// An event of a job: type, time, data.
pub(super) type EventRow = (String, OffsetDateTime, serde_json::Value);

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    table
}

fn milliseconds(ms: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "media times")]
    let seconds = ms as f64 / 1000.0;
    clock(seconds)
}

/// How long ago, in the largest unit that fits.
fn ago(at: OffsetDateTime) -> String {
    let seconds = (OffsetDateTime::now_utc() - at).whole_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

pub(super) fn jobs(jobs: &[JobRow]) -> String {
    if jobs.is_empty() {
        return "no jobs; hand one in with `dispatcher submit FILE`".to_owned();
    }
    let mut table = table(&["job", "title", "state", "watchable", "of", "came"]);
    for job in jobs {
        let state = job.failure_code.as_ref().map_or_else(|| job.state.clone(), |c| format!("{} ({c})", job.state));
        table.add_row([
            job.id.to_string(),
            job.title.clone(),
            state,
            milliseconds(job.watchable_ms),
            job.duration_ms.map_or_else(|| "?".to_owned(), milliseconds),
            ago(job.created_at),
        ]);
    }
    table.to_string()
}

pub(super) fn show(job: &JobRow, chunks: &[ChunkRow], events: &[EventRow]) -> String {
    let mut text = format!(
        "job:       {}\ntitle:     {}\nsource:    {}\nstate:     {}\nregion:    {}\nencoder:   {}\nwatchable: {} of {}\n",
        job.id,
        job.title,
        job.source,
        job.state,
        job.home_region,
        job.backend.as_deref().unwrap_or("not planned yet"),
        milliseconds(job.watchable_ms),
        job.duration_ms.map_or_else(|| "?".to_owned(), milliseconds),
    );
    if let Some(code) = job.code() {
        text.push_str(&format!(
            "failure:   {code}: {}\n  for the coach: {}\n  for ops:       {}\n",
            job.failure_message.as_deref().unwrap_or_default(),
            code.for_coach(),
            code.for_ops()
        ));
    }
    for warning in job.warnings.as_array().into_iter().flatten().filter_map(|w| w.as_str()) {
        text.push_str(&format!("warning:   {warning}\n"));
    }
    if let Some(playlist) = job.summary.as_ref().and_then(|s| s["playlist"].as_str()) {
        text.push_str(&format!("playlist:  {playlist}\n"));
    }
    let mut chunk_table = table(&["chunk", "kind", "segments", "state", "attempt", "region", "worker", "last problem"]);
    for c in chunks {
        let segments = match c.kind.as_str() {
            "video" => format!("{}..{}", c.first_segment, c.end_segment.map_or_else(String::new, |e| e.to_string())),
            "audio" => c.rendition.clone().unwrap_or_default(),
            _ => String::new(),
        };
        chunk_table.add_row([
            c.chunk.to_string(),
            c.kind.clone(),
            segments,
            c.state.clone(),
            c.attempt.to_string(),
            c.region.clone().unwrap_or_default(),
            c.worker_id.map_or_else(String::new, |w| {
                w.to_string().chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect()
            }),
            c.last_code.clone().unwrap_or_default(),
        ]);
    }
    text.push_str(&chunk_table.to_string());
    text.push('\n');
    for (kind, at, _) in events {
        text.push_str(&format!("{:>12}  {kind}\n", ago(*at)));
    }
    text
}

pub(super) fn events_json(events: &[EventRow]) -> serde_json::Value {
    let rows = events.iter().map(|(kind, at, data)| {
        let at = at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        serde_json::json!({ "type": kind, "at": at, "data": data })
    });
    rows.collect()
}

pub(super) fn organisations(rows: &[OrganisationRow]) -> String {
    let mut out = table(&["id", "name", "tier", "weight", "monthly cap"]);
    for row in rows {
        let cap = row.cap_micros.map_or_else(|| "none".to_owned(), |micros| MicroDollars(micros).to_string());
        out.add_row([row.id.to_string(), row.name.clone(), row.tier.clone(), row.weight.to_string(), cap]);
    }
    out.to_string()
}

pub(super) fn keys(rows: &[KeyRow]) -> String {
    let mut out = table(&["key", "for", "scopes", "made", "used", "state"]);
    for row in rows {
        let is_over = row.expires_at.is_some_and(|at| at <= OffsetDateTime::now_utc());
        let state = match (row.revoked_at, is_over) {
            (Some(_), _) => "withdrawn",
            (None, true) => "expired",
            (None, false) => "good",
        };
        out.add_row([
            row.prefix.clone(),
            row.name.clone(),
            row.scopes.join(" "),
            ago(row.created_at),
            row.last_used_at.map_or_else(|| "never".to_owned(), ago),
            state.to_owned(),
        ]);
    }
    out.to_string()
}

pub(super) fn workers(workers: &[WorkerRow]) -> String {
    if workers.is_empty() {
        return "no workers are running".to_owned();
    }
    let mut table = table(&["worker", "region", "host", "encoders", "busy", "state", "heartbeat", "GPU"]);
    for w in workers {
        let gpu = w.gpu.as_ref().and_then(|g| g["name"].as_str()).unwrap_or_default();
        table.add_row([
            w.id.to_string(),
            w.region.clone(),
            w.host.clone(),
            w.backends.join(", "),
            format!("{}/{}", w.busy, w.slots),
            w.state.clone(),
            format!("{:.0} s ago", w.silent_s),
            gpu.to_owned(),
        ]);
    }
    table.to_string()
}

pub(super) fn devices(devices: &[DeviceRow]) -> String {
    let mut table = table(&["device", "last seen to work", "in quarantine since", "why"]);
    let time = |at: Option<OffsetDateTime>| at.map_or_else(String::new, |at| at.truncate_to_second().to_string());
    for d in devices {
        table.add_row([d.name.clone(), time(d.checked_at), time(d.quarantined_at), d.reason.clone()]);
    }
    table.to_string()
}

/// A region's queue, for looking at.
#[derive(Debug, Serialize)]
pub(super) struct QueueRow {
    region: String,
    healthy: bool,
    reason: Option<String>,
    messages: Option<u64>,
    in_flight: Option<u64>,
    dead_letters: Option<u64>,
    queued_chunks: i64,
    running_chunks: i64,
    slots: i64,
    workers: i64,
}

impl QueueRow {
    pub(super) fn new(
        region: &str,
        load: RegionLoad,
        depth: Result<Depth, QueueError>,
        dead: Option<Depth>,
        unhealthy: Option<String>,
    ) -> Self {
        let depth = depth.inspect_err(|error| tracing::warn!(region, %error, "the queue does not answer")).ok();
        Self {
            region: region.to_owned(),
            healthy: unhealthy.is_none(),
            reason: unhealthy,
            messages: depth.map(|d| d.visible),
            in_flight: depth.map(|d| d.in_flight),
            dead_letters: dead.map(|d| d.visible + d.in_flight),
            queued_chunks: load.queued,
            running_chunks: load.running,
            slots: load.slots,
            workers: load.workers,
        }
    }
}

pub(super) fn queues(rows: &[QueueRow]) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut table =
        table(&["region", "answers", "messages", "in flight", "dead", "chunks queued", "running", "slots", "workers"]);
    for r in rows {
        table.add_row([
            r.region.clone(),
            r.reason.clone().unwrap_or_else(|| "yes".to_owned()),
            number(r.messages),
            number(r.in_flight),
            r.dead_letters.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            r.queued_chunks.to_string(),
            r.running_chunks.to_string(),
            r.slots.to_string(),
            r.workers.to_string(),
        ]);
    }
    table.to_string()
}
