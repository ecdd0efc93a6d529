//! Every story in one binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

#[path = "stories/coded.rs"]
mod coded;
#[path = "stories/killed.rs"]
mod killed;
#[path = "stories/main_job.rs"]
mod main_job;
#[path = "stories/manifest.rs"]
mod manifest;
#[path = "stories/refused.rs"]
mod refused;
#[path = "stories/sync.rs"]
mod sync;
