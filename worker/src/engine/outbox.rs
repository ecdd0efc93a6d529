//! The engine's way to its parent. Writing blocks while the parent is busy: that is the back-pressure which bounds
//! memory.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use fleet::failure::FailureCode;

use super::EngineError;
use crate::protocol::{self, Event};

/// Sends events; clones share one socket.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(Arc<Mutex<UnixStream>>);

impl Outbox {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(socket)))
    }

    pub(crate) fn send(&self, event: &Event, payload: &[u8]) -> Result<(), EngineError> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        protocol::write(&mut *socket, event, payload)
            .map_err(|e| EngineError::new(FailureCode::EngineProtocol, format!("the parent is gone: {e}")))
    }
}
