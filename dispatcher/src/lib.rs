//! The dispatcher: takes jobs, releases their chunks to regional queues, rescues what was lost, publishes what is done.
//!
//! Reading order: [`cli`] and [`commands`] → [`dispatch`] (the loops, each a `*_once`) → [`routing`] and [`pace`]
//! (decisions, pure) → [`publisher`] → [`scaling`] (machines) → [`why`] → [`local`] (the whole fleet on one machine).

pub mod cli;
pub mod commands;
pub mod dispatch;
pub mod local;
pub mod media;
pub mod pace;
pub mod publisher;
pub mod routing;
pub mod scaling;
pub mod sweep;
pub mod why;
