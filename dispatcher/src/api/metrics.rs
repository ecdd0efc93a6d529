//! Figures of the fleet for Prometheus, read from the database when they are asked for.

mod machines;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Shared;
use super::problem::Problem;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobStateLabel {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Region {
    region: String,
}

type ByRegion = Family<Region, Gauge>;

/// `touchline_*`, as listed in docs/OPERATING.md.
pub(super) async fn metrics(State(api): State<Shared>) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("touchline");
    let jobs = Family::<JobStateLabel, Gauge>::default();
    registry.register("jobs", "Jobs that have not ended, by state", jobs.clone());
    for (state, count) in api.store.active_jobs_by_state().await? {
        jobs.get_or_create(&JobStateLabel { state }).set(count);
    }
    let gauges = |registry: &mut Registry, name: &str, help: &str| {
        let family = ByRegion::default();
        registry.register(name, help, family.clone());
        family
    };
    let queued = gauges(&mut registry, "chunks_queued", "Chunks released to a region and not claimed");
    let running = gauges(&mut registry, "chunks_running", "Chunks at work in a region");
    let slots = gauges(&mut registry, "slots", "Slots of workers that take work");
    let workers = gauges(&mut registry, "workers", "Workers that are alive");
    let healthy = gauges(&mut registry, "region_healthy", "1 when a region answers, 0 when it is given up for now");
    let alive = (api.config.timing.heartbeat * 4.0).max(api.config.timing.lease);
    let loads = api.store.region_loads(alive).await?;
    let unhealthy = api.store.unhealthy_regions().await?;
    for region in &api.config.regions {
        let label = Region { region: region.name.clone() };
        let load = loads.iter().find(|l| l.region == region.name).cloned().unwrap_or_default();
        queued.get_or_create(&label).set(load.queued);
        running.get_or_create(&label).set(load.running);
        slots.get_or_create(&label).set(load.slots);
        workers.get_or_create(&label).set(load.workers);
        healthy.get_or_create(&label).set(i64::from(!unhealthy.iter().any(|(name, _)| *name == region.name)));
    }
    let (chunks, media_s) = api.store.backlog().await?;
    let single = |registry: &mut Registry, name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    single(&mut registry, "backlog_chunks", "Chunks that are not done", i64::try_from(chunks).unwrap_or(i64::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "seconds of media")]
    single(&mut registry, "backlog_media_seconds", "Seconds of media that are not encoded", media_s as i64);
    let unsent = i64::try_from(api.store.outbox_depth().await?).unwrap_or(i64::MAX);
    single(&mut registry, "outbox_messages", "Messages that no queue has yet", unsent);
    #[expect(clippy::cast_possible_truncation, reason = "seconds")]
    let oldest = api.store.oldest_wait_s().await? as i64;
    single(&mut registry, "oldest_wait_seconds", "How long the longest waiting job has waited for a worker", oldest);
    let listening = i64::try_from(api.feed.listening()).unwrap_or(i64::MAX);
    single(&mut registry, "event_listeners", "Clients that listen to events of this dispatcher", listening);

    machines::register(&mut registry, &api.store).await?;
    let ended = Family::<JobStateLabel, Gauge>::default();
    registry.register("jobs_ended_hour", "Jobs that ended within the last hour, by state", ended.clone());
    for (state, count) in api.store.ended_jobs_by_state(3600.0).await? {
        ended.get_or_create(&JobStateLabel { state }).set(count);
    }

    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Problem::internal())?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
