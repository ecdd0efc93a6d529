//! Health and metrics of a worker, for load balancers, container managers and Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Service, ServiceError};
use crate::hardware::Gpu;

/// What is counted; names and meanings are in docs/OPERATING.md.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    ready: AtomicBool,
    alive: AtomicBool,
    segments: Counter,
    bytes: Counter,
    frames: Counter,
    attempts: Counter,
    attempts_unfinished: Counter,
    heartbeats_failed: Counter,
    busy: Gauge,
    encoder: Gauge<i64, AtomicI64>,
    decoder: Gauge<i64, AtomicI64>,
    sessions: Gauge<i64, AtomicI64>,
    memory_free: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub(super) fn new(slots: u32) -> Self {
        let mut registry = Registry::with_prefix("touchline_worker");
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let segments = counter(&mut registry, "segments_committed", "Segments committed");
        let frames = counter(&mut registry, "frames_encoded", "Output frames of finished chunks");
        let attempts = counter(&mut registry, "attempts", "Chunks claimed");
        let attempts_unfinished =
            counter(&mut registry, "attempts_unfinished", "Claimed chunks that were handed back, lost or failed");
        let heartbeats_failed = counter(&mut registry, "heartbeats_failed", "Heartbeats the database did not take");
        let bytes = Counter::default();
        registry.register_with_unit("segments", "Size of committed segments", Unit::Bytes, bytes.clone());
        let slots_gauge: Gauge = Gauge::default();
        slots_gauge.set(i64::from(slots));
        registry.register("slots", "Chunks that can be at work at once", slots_gauge);
        let busy: Gauge = Gauge::default();
        registry.register("busy", "Chunks at work", busy.clone());
        let (encoder, decoder, sessions) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("gpu_encoder_percent", "Utilisation of the GPU's encoder", encoder.clone());
        registry.register("gpu_decoder_percent", "Utilisation of the GPU's decoder", decoder.clone());
        registry.register("gpu_sessions", "Encoder sessions open on the GPU", sessions.clone());
        let memory_free = Gauge::default();
        registry.register_with_unit("gpu_memory_free", "Free memory of the GPU", Unit::Bytes, memory_free.clone());
        Self {
            registry,
            ready: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            segments,
            bytes,
            frames,
            attempts,
            attempts_unfinished,
            heartbeats_failed,
            busy,
            encoder,
            decoder,
            sessions,
            memory_free,
        }
    }

    pub(super) fn ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    pub(super) fn heartbeat(&self, taken: bool) {
        self.alive.store(taken, Relaxed);
        if !taken {
            self.heartbeats_failed.inc();
        }
    }

    pub(super) fn segment(&self, bytes: u64) {
        self.segments.inc();
        self.bytes.inc_by(bytes);
    }

    pub(super) fn frames(&self, frames: u64) {
        self.frames.inc_by(frames);
    }

    pub(super) fn attempt_started(&self) {
        self.attempts.inc();
        self.busy.inc();
    }

    pub(super) fn attempt_ended(&self, finished: bool) {
        self.busy.dec();
        if !finished {
            self.attempts_unfinished.inc();
        }
    }

    pub(super) fn gpu(&self, gpu: Option<&Gpu>) {
        let Some(gpu) = gpu else { return };
        self.encoder.set(i64::from(gpu.encoder_percent.unwrap_or(0)));
        self.decoder.set(i64::from(gpu.decoder_percent.unwrap_or(0)));
        self.sessions.set(i64::from(gpu.sessions.unwrap_or(0)));
        self.memory_free.set(gpu.free_bytes);
    }
}

/// Serves `/healthz` (the process works), `/readyz` (it takes work) and `/metrics`.
pub(super) async fn listen(address: SocketAddr, service: Arc<Service>) -> Result<(), ServiceError> {
    let listener =
        tokio::net::TcpListener::bind(address).await.map_err(|source| ServiceError::Listen { address, source })?;
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(service);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "monitoring ended");
        }
    });
    Ok(())
}

async fn ready(State(service): State<Arc<Service>>) -> impl IntoResponse {
    if service.metrics.ready.load(Relaxed) && service.metrics.alive.load(Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &service.metrics.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
