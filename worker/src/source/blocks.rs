//! Fixed-size blocks of the source, shared by all its readers.
//!
//! Invariants: a block is fetched by at most one task at a time, whoever waits for it; a waiter that goes away
//! disturbs nobody; the bytes cached and in flight together stay within the budget unless readers' own demands
//! alone exceed it; when the last handle goes, so do the fetches.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use super::cache::BlockCache;
use super::{Backend, BlockOptions, MAX_READ_LEN, SourceError};

/// What a fetch came to; `None` until it has ended.
type Outcome = Option<Result<Bytes, SourceError>>;

/// One source cut into blocks.
pub(super) struct Blocks {
    backend: Arc<Backend>,
    input: String,
    len: u64,
    options: BlockOptions,
    readers: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: BlockCache,
    flights: HashMap<u64, watch::Receiver<Outcome>>,
    in_flight_bytes: usize,
    /// Aborts every fetch when the state is dropped.
    tasks: JoinSet<()>,
}

/// A block that is here or on its way.
enum Ticket {
    Here(Bytes),
    Coming(watch::Receiver<Outcome>),
}

/// A read whose blocks have been asked for.
pub(super) struct PendingRead {
    input: String,
    tickets: Vec<Ticket>,
    /// Where the read begins in its first block.
    skip: usize,
    len: usize,
}

impl Blocks {
    /// `first` is the beginning of the source where opening it brought that along.
    pub(super) fn new(backend: Backend, input: String, options: BlockOptions, first: Option<Bytes>) -> Self {
        let mut state = State::default();
        if let Some(first) = first {
            state.cache.insert(0, first);
        }
        Self {
            len: backend.len(),
            backend: Arc::new(backend),
            input,
            options: options.clamped(),
            readers: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(super) fn block_len(&self) -> u64 {
        // Lossless: `clamped` bounds it.
        self.options.block_len as u64
    }

    pub(super) fn reader_opened(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reader_closed(&self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many blocks one reader may have fetched ahead: what is left of its share of the cache beside the
    /// block it is reading. More would push out what other readers have not read yet.
    pub(super) fn max_ahead(&self) -> usize {
        let blocks = self.options.cache_bytes / self.options.block_len;
        let share = blocks / self.readers.load(Ordering::Relaxed).max(1);
        self.options.read_ahead.min(share.saturating_sub(1))
    }

    /// Asks for the blocks of a read, all at once, and does not wait for them.
    pub(super) fn begin(self: &Arc<Self>, offset: u64, len: usize) -> Result<PendingRead, SourceError> {
        if len > MAX_READ_LEN {
            return Err(SourceError::ReadTooLong { input: self.input.clone(), len, max: MAX_READ_LEN });
        }
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let mut pending = PendingRead { input: self.input.clone(), tickets: Vec::new(), skip: 0, len };
        if let Some(blocks) = self.blocks_of(offset, len) {
            // Below the block length, which is a usize.
            pending.skip = (offset % self.block_len()) as usize;
            let mut state = self.lock();
            pending.tickets = blocks.map(|index| self.ticket(&mut state, index)).collect();
        }
        Ok(pending)
    }

    /// Starts fetching up to `count` blocks after a read that are neither here nor on their way.
    pub(super) fn fetch_ahead(self: &Arc<Self>, offset: u64, len: usize, count: usize) {
        let Some(last) = self.blocks_of(offset, len).map(|blocks| *blocks.end()) else {
            return;
        };
        let end = self.len.div_ceil(self.block_len());
        let ahead = (last + 1)..last.saturating_add(1).saturating_add(count as u64).min(end);
        let mut state = self.lock();
        for index in ahead {
            if !state.cache.contains(index) && !state.flights.contains_key(&index) {
                self.fetch(&mut state, index);
            }
        }
    }

    /// Bytes cached and in flight.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let state = self.lock();
        state.cache.held_bytes() + state.in_flight_bytes
    }

    /// The indices of the blocks that a read touches; `None` for an empty one.
    fn blocks_of(&self, offset: u64, len: usize) -> Option<RangeInclusive<u64>> {
        let last = offset.checked_add((len as u64).checked_sub(1)?)?.min(self.len.checked_sub(1)?);
        (offset <= last).then(|| offset / self.block_len()..=last / self.block_len())
    }

    fn ticket(self: &Arc<Self>, state: &mut State, index: u64) -> Ticket {
        if let Some(bytes) = state.cache.get(index) {
            return Ticket::Here(bytes);
        }
        match state.flights.get(&index) {
            Some(flight) => Ticket::Coming(flight.clone()),
            None => Ticket::Coming(self.fetch(state, index)),
        }
    }

    fn fetch(self: &Arc<Self>, state: &mut State, index: u64) -> watch::Receiver<Outcome> {
        let offset = index * self.block_len();
        let len = self.block_len().min(self.len - offset) as usize;
        state.in_flight_bytes += len;
        state.cache.shrink_to(self.options.cache_bytes.saturating_sub(state.in_flight_bytes));

        let (sender, receiver) = watch::channel(None);
        state.flights.insert(index, receiver.clone());
        let backend = Arc::clone(&self.backend);
        let blocks = Arc::downgrade(self);
        // Ended tasks are collected here, so the set holds no more than the fetches between two calls.
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(async move {
            // Made here and not outside: a runtime that is shutting down drops the task inside `spawn`, where the
            // state is locked already.
            let mut flight = Flight { blocks, index, len, bytes: None };
            let outcome = backend.get(offset, len).await;
            match &outcome {
                Ok(bytes) => flight.bytes = Some(bytes.clone()),
                Err(error) => debug!(block = index, "A block of the source could not be read: {error}"),
            }
            drop(flight);
            sender.send_replace(Some(outcome));
        });
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two related changes of the state, so a poisoned one is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fetch under way. It does not keep the blocks alive, or an abandoned source would go on fetching.
struct Flight {
    blocks: Weak<Blocks>,
    index: u64,
    len: usize,
    bytes: Option<Bytes>,
}

impl Drop for Flight {
    /// Moves the block from the flights to the cache. A failed one is forgotten, so that the next read tries anew;
    /// in `drop` because a flight that panicked must not stand in the way of its block for good.
    fn drop(&mut self) {
        let Some(blocks) = self.blocks.upgrade() else {
            return;
        };
        let mut state = blocks.lock();
        state.flights.remove(&self.index);
        state.in_flight_bytes -= self.len;
        if let Some(bytes) = self.bytes.take() {
            state.cache.insert(self.index, bytes);
        }
        let room = blocks.options.cache_bytes.saturating_sub(state.in_flight_bytes);
        state.cache.shrink_to(room);
    }
}

impl PendingRead {
    /// Bytes the read will return.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Waits for the blocks and puts the read together. Within one block nothing is copied.
    pub(super) async fn finish(self) -> Result<Bytes, SourceError> {
        let Self { input, tickets, mut skip, len } = self;
        let mut left = len;
        let mut joined = BytesMut::new();
        let several = tickets.len() > 1;
        for ticket in tickets {
            let block = match ticket {
                Ticket::Here(bytes) => bytes,
                Ticket::Coming(flight) => landed(&input, flight).await?,
            };
            let part = block.slice(skip..block.len().min(skip + left));
            if !several {
                return Ok(part);
            }
            if joined.is_empty() {
                joined.reserve(len);
            }
            left -= part.len();
            skip = 0;
            joined.extend_from_slice(&part);
        }
        Ok(joined.freeze())
    }
}

async fn landed(input: &str, mut flight: watch::Receiver<Outcome>) -> Result<Bytes, SourceError> {
    if let Ok(outcome) = flight.wait_for(Option::is_some).await
        && let Some(outcome) = outcome.clone()
    {
        return outcome;
    }
    Err(SourceError::Io { input: input.to_owned(), source: Arc::new(io::Error::other("the read was abandoned")) })
}

#[cfg(test)]
mod tests;
