//! What is varied: the design under check, the size of the world, and how much may go wrong in it.

/// A way to build the protocol: ours, or ours with one thing done otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Design {
    /// Touchline's.
    Ours,

    // Other ways that do no harm.
    /// The message is deleted as soon as the claim is made: from there on the lease looks after the chunk.
    DeleteAfterClaim,
    /// The message is deleted on receipt, before the claim.
    DeleteOnReceipt,
    /// The release sends its message before its transaction commits.
    SendBeforeRelease,
    /// The claim takes whatever attempt is queued, and works under the number of the row.
    ClaimTakesRowsAttempt,

    // Ways that do.
    /// As [`Self::DeleteOnReceipt`], and nothing sends messages again.
    DeleteOnReceiptNoResend,
    /// As [`Self::SendBeforeRelease`], and nothing sends messages again.
    SendBeforeReleaseNoResend,
    /// A chunk that stays queued is not sent again.
    NoResend,
    /// The relay deletes the outbox row before it sends, and nothing sends again.
    RelayDeletesFirstNoResend,
    /// The claim asks for `queued` alone, and works under the number of the message.
    ClaimIgnoresAttempt,
    /// The claim asks for the attempt alone.
    ClaimIgnoresState,
    /// Keys of segments do not carry the attempt.
    SharedKeys,
    /// A segment's row is inserted whoever asks.
    CommitWithoutLease,
    /// A segment's row is inserted before its object is written.
    RowBeforeObject,
    /// A chunk is done by whoever says so.
    CompleteWithoutLease,
    /// A lost chunk goes on under the same number.
    RescueKeepsAttempt,
    /// The next attempt starts at the chunk's first segment.
    RestartFromFirst,
    /// Too many deaths are judged in a later transaction than the one that counts them.
    LateVerdict,
    /// Growing playlists are written without `If-Match`.
    WatchUnconditional,
    /// Publishing begins with the first chunk that is done.
    PublishFirstChunk,
    /// The master playlist is written before the media playlists.
    MasterFirst,
    /// The database says success before the playlists are written.
    SuccessFirst,
    /// The worker that completes the last chunk sends the event.
    EventByWorker,
    /// The event is recorded after the transaction that says success.
    EventAfterSuccess,
    /// Success does not ask whether the job is still publishing.
    SuccessIgnoresState,
    /// Cancelling changes the job's row and not its chunks.
    CancelKeepsAttempts,
    /// The rest of a split chunk numbers its attempts from 1.
    RestNumbersAgain,
    /// A segment's row is inserted past the end that a split gave its chunk.
    CommitPastEnd,
    /// The sweep reads which objects have rows first, and deletes whatever else is there later.
    SweepListsLate,
    /// The sweep deletes the master playlist of a job that did not succeed, which has the same name in every try.
    SweepTakesSharedNames,
}

impl Design {
    /// Whether a chunk that stays queued gets a new message.
    pub(crate) fn resends(self) -> bool {
        !matches!(
            self,
            Self::NoResend
                | Self::DeleteOnReceiptNoResend
                | Self::SendBeforeReleaseNoResend
                | Self::RelayDeletesFirstNoResend
        )
    }
}

/// How large the world is and how often each thing may go wrong in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Chunks of the one job: 1 or 2.
    pub(crate) chunks: usize,
    /// Segments of each chunk.
    pub(crate) segments: usize,
    /// Workers.
    pub(crate) workers: usize,
    /// Publishers, without any lock between them.
    pub(crate) publishers: usize,
    /// Workers lost in a row, without a segment, that end the job.
    pub(crate) deaths: u8,
    /// Faults.
    pub(crate) faults: Faults,
}

/// Counts of faults: allowed, or used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// Deaths of workers, publishers and relays.
    pub(crate) crashes: u8,
    /// Leases that end while their worker lives on.
    pub(crate) expiries: u8,
    /// Messages that are redelivered while their worker lives on.
    pub(crate) redeliveries: u8,
    /// Messages that the queue doubles.
    pub(crate) duplicates: u8,
    /// Messages that the queue loses.
    pub(crate) losses: u8,
    /// Messages that are sent again though nothing was lost.
    pub(crate) resends: u8,
    /// Orderly drains.
    pub(crate) drains: u8,
    /// Splits of a chunk at work.
    pub(crate) splits: u8,
    /// Cancels.
    pub(crate) cancels: u8,
    /// Retries of a job that was cancelled or failed.
    pub(crate) retries: u8,
    /// Sweeps of a job that has ended.
    pub(crate) sweeps: u8,
}

impl Faults {
    /// No fault.
    pub(crate) const NONE: Self = Self {
        crashes: 0,
        expiries: 0,
        redeliveries: 0,
        duplicates: 0,
        losses: 0,
        resends: 0,
        drains: 0,
        splits: 0,
        cancels: 0,
        retries: 0,
        sweeps: 0,
    };
}
