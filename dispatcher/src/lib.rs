//! The dispatcher: takes jobs, releases their chunks to regional queues, rescues what was lost, publishes what is done.
//!
//! Reading order: [`cli`] and [`commands`] → [`dispatch`] (the loops, each a `*_once`) → [`routing`] and [`pace`]
//! (decisions, pure) → [`publisher`] → [`scaling`] (machines) → [`ledger`], [`budget`], [`quote`] and [`receipt`] (money) → [`webhooks`] → [`why`] → [`api`] (HTTP) → [`pages`] (what people see of
//! it in a browser) → [`local`] (the whole fleet on one machine).

pub mod api;
pub mod budget;
pub mod cli;
pub mod commands;
pub mod dispatch;
pub mod http;
pub mod ledger;
pub mod local;
pub mod media;
pub mod pace;
pub mod pages;
pub mod publisher;
pub mod quote;
pub mod receipt;
pub mod routing;
pub mod scaling;
pub mod sweep;
pub mod upload;
pub mod webhooks;
pub mod why;
