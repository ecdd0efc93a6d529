//! Every story in one binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

#[path = "stories/api.rs"]
mod api;
#[path = "stories/api_access.rs"]
mod api_access;
#[path = "stories/api_document.rs"]
mod api_document;
#[path = "stories/api_limits.rs"]
mod api_limits;
#[path = "stories/browser.rs"]
mod browser;
#[path = "stories/capacity.rs"]
mod capacity_stories;
#[path = "stories/chaos.rs"]
mod chaos;
#[path = "stories/clip_download.rs"]
mod clip_download;
#[path = "stories/coded.rs"]
mod coded;
#[path = "stories/command_line.rs"]
mod command_line;
#[path = "stories/cut_off.rs"]
mod cut_off;
#[path = "stories/deleted.rs"]
mod deleted;
#[path = "stories/fairness.rs"]
mod fairness;
#[path = "stories/fault_points.rs"]
mod fault_points;
#[path = "stories/fleet.rs"]
mod fleet_stories;
#[path = "stories/focused.rs"]
mod focused;
#[path = "stories/gpu.rs"]
mod gpu;
#[path = "stories/guard.rs"]
mod guard;
#[path = "stories/hostile.rs"]
mod hostile;
#[path = "stories/killed.rs"]
mod killed;
#[path = "stories/local.rs"]
mod local;
#[path = "stories/main_job.rs"]
mod main_job;
#[path = "stories/manifest.rs"]
mod manifest;
#[path = "stories/messages.rs"]
mod messages;
#[path = "stories/money.rs"]
mod money;
#[path = "stories/operating.rs"]
mod operating;
#[path = "stories/refused.rs"]
mod refused;
#[path = "stories/release_order.rs"]
mod release_order;
#[path = "stories/retention.rs"]
mod retention;
#[path = "stories/sandbox.rs"]
mod sandbox;
#[path = "stories/services.rs"]
mod services;
#[path = "stories/simulation.rs"]
mod simulation;
#[path = "stories/store.rs"]
mod store;
#[path = "stories/store_races.rs"]
mod store_races;
#[path = "stories/stragglers.rs"]
mod stragglers;
#[path = "stories/sync.rs"]
mod sync;
#[path = "stories/uploads.rs"]
mod uploads;
#[path = "stories/webhooks.rs"]
mod webhooks;
