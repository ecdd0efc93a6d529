//! The engine's side of reading the source: it asks its parent, over an inherited socket, for bytes at a place.
//!
//! Request: `u64 offset, u32 length`. Answer: `i64`, the number of bytes that follow, or −1 for a failed read (the
//! parent knows why and tells nobody but its own log).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::precheck::{self, Kind, Refused};
use crate::protocol::MAX_READ;

/// Reads ranges from the parent. Clones share one socket.
#[derive(Clone, Debug)]
pub(crate) struct RangeClient {
    socket: Arc<Mutex<UnixStream>>,
    length: u64,
    /// What the boxes of the source were found to be, once looked at.
    kind: Arc<OnceLock<Kind>>,
}

impl RangeClient {
    /// Over `socket`, on which the parent first tells the length of the source.
    pub(crate) fn connect(mut socket: UnixStream) -> io::Result<Self> {
        let mut length = [0; 8];
        socket.read_exact(&mut length)?;
        Ok(Self { socket: Arc::new(Mutex::new(socket)), length: u64::from_le_bytes(length), kind: Arc::default() })
    }

    /// Looks at the boxes of the source, once.
    pub(crate) fn check(&self) -> Result<Kind, Refused> {
        if let Some(kind) = self.kind.get() {
            return Ok(*kind);
        }
        let kind = precheck::check(&mut self.clone())?;
        Ok(*self.kind.get_or_init(|| kind))
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

impl media::io::ReadAt for RangeClient {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset >= self.length || buffer.is_empty() {
            return Ok(0);
        }
        let length = u32::try_from(buffer.len()).unwrap_or(MAX_READ).min(MAX_READ);
        let mut request = [0; 12];
        request[..8].copy_from_slice(&offset.to_le_bytes());
        request[8..].copy_from_slice(&length.to_le_bytes());
        // A panic elsewhere cannot leave the stream between two messages: each exchange happens under the lock.
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.write_all(&request)?;
        let mut count = [0; 8];
        socket.read_exact(&mut count)?;
        let count =
            usize::try_from(i64::from_le_bytes(count)).map_err(|_| io::Error::other("the source could not be read"))?;
        let target = buffer
            .get_mut(..count)
            .filter(|_| count <= length as usize)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "more bytes than asked for"))?;
        socket.read_exact(target)?;
        Ok(count)
    }
}
