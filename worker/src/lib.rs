//! The worker: one match file becomes HLS.
//!
//! Reading order: [`cli`] → [`transcode`] (the job) → [`facts`] and [`plan`] (decisions, pure) → `child` and
//! [`protocol`] (parent and engine) → [`engine`] (decodes and encodes, locked in: [`confinement`], [`trial`]) → `verify`
//! (what an engine may say) → [`output`] (what is committed) → [`publish`].
//! A worker of a fleet is [`service`]: the same plan and engines, driven by jobs.

// The service is one future of futures, over a hundred deep with the SDK's inside.
#![recursion_limit = "256"]

mod child;
pub mod cli;
pub mod commands;
pub mod confinement;
pub mod encoder;
pub mod engine;
pub mod facts;
pub mod failure;
pub mod filters;
mod guard;
pub mod hardware;
pub mod output;
pub mod plan;
pub mod precheck;
pub use fleet::profiles;
pub mod protocol;
pub mod publish;
pub mod service;
pub mod source;
pub mod transcode;
pub mod trial;
pub mod update;
mod verify;
