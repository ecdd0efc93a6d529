//! Fault points: every call that leaves a process passes one, so that a test can have any single call fail, come late or
//! never, lose its answer, or be where the process dies. Why it is done so: ADR 10.
//!
//! Whoever makes the call names it ([`call`]); statements of the database name themselves by their place in the source
//! (`store/statement.rs`), objects and queues by their method (`objects`, `queue`, put between by whoever opens one).
//!
//! The points exist with the feature `faults` alone, which the package of the stories turns on and no image is built
//! with: without it [`call`] gives back its future as it is. With it nothing happens either until the environment says so
//! (`rules`).

#[cfg(feature = "faults")]
mod objects;
#[cfg(feature = "faults")]
mod point;
#[cfg(feature = "faults")]
mod queue;
#[cfg(feature = "faults")]
mod rules;

use std::panic::Location;
use std::sync::Arc;

use crate::objects::{ObjectError, Uploads};
use crate::queue::{Queue, QueueError};

/// A fault that a test asked for, in the place of a call's outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fault was asked for at {site}")]
pub struct Injected {
    site: String,
}

impl From<Injected> for std::io::Error {
    fn from(fault: Injected) -> Self {
        Self::new(std::io::ErrorKind::ConnectionReset, fault)
    }
}

impl From<Injected> for sqlx::Error {
    fn from(fault: Injected) -> Self {
        Self::Io(fault.into())
    }
}

impl From<Injected> for ObjectError {
    fn from(fault: Injected) -> Self {
        Self::Unavailable { key: String::new(), reason: fault.to_string() }
    }
}

impl From<Injected> for QueueError {
    fn from(fault: Injected) -> Self {
        Self::Unavailable { queue: String::new(), reason: fault.to_string() }
    }
}

impl From<Injected> for String {
    fn from(fault: Injected) -> Self {
        fault.to_string()
    }
}

/// What a call is named by; the name is made when somebody wants to know.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "faults"), expect(dead_code, reason = "nobody asks for names"))]
pub(crate) enum Site<'a> {
    /// A name.
    Named(&'static str),
    /// A method, and the key of its object.
    Object(&'static str, &'a str),
    /// A statement of the database, by its place, and what it is beside a query.
    Statement(&'static Location<'static>, &'static str),
}

/// Makes a call of the outside under a name such as `engine.send`.
#[cfg(not(feature = "faults"))]
pub fn call<T, E, F: Future<Output = Result<T, E>>>(_name: &'static str, call: F) -> F {
    call
}

/// Makes a call of the outside under a name such as `engine.send`.
#[cfg(feature = "faults")]
pub fn call<'a, T, E, F>(name: &'static str, call: F) -> impl Future<Output = Result<T, E>> + Send + 'a
where
    T: Send + 'a,
    E: From<Injected> + Send + 'a,
    F: Future<Output = Result<T, E>> + Send + 'a,
{
    at(Site::Named(name), call)
}

/// Makes a call of the outside.
#[cfg(not(feature = "faults"))]
pub(crate) fn at<T, E, F: Future<Output = Result<T, E>>>(_site: Site<'_>, call: F) -> F {
    call
}

#[cfg(feature = "faults")]
pub(crate) use point::at;

/// Makes a call of the outside that blocks, under a name such as `files.write`.
#[cfg(not(feature = "faults"))]
pub fn blocking<T, E>(_name: &'static str, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    call()
}

#[cfg(feature = "faults")]
pub use point::blocking;

/// A queue whose every call passes a fault point.
#[cfg(not(feature = "faults"))]
pub(crate) fn queue(queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
    queue
}

/// A queue whose every call passes a fault point.
#[cfg(feature = "faults")]
pub(crate) fn queue(queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
    Arc::new(queue::FaultyQueue::new(queue))
}

/// A store of objects whose every call passes a fault point.
#[cfg(not(feature = "faults"))]
pub(crate) fn objects(store: Arc<dyn Uploads>) -> Arc<dyn Uploads> {
    store
}

/// A store of objects whose every call passes a fault point.
#[cfg(feature = "faults")]
pub(crate) fn objects(store: Arc<dyn Uploads>) -> Arc<dyn Uploads> {
    Arc::new(objects::FaultyObjects(store))
}
