//! Faults that can be planted in the protocol, to see that the simulation finds them. They exist here alone.

macro_rules! deviations {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// One thing done otherwise than the fleet does it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Deviation { $($(#[$doc])* $variant),* }

        impl Deviation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What is done otherwise, in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

deviations! {
    /// Claim.
    ClaimIgnoresState = "a claim takes a chunk that is running",
    /// Claim.
    ClaimIgnoresAttempt = "a claim takes whatever attempt the row has",
    /// Heartbeat.
    HeartbeatIgnoresAttempt = "a heartbeat moves the lease of another attempt",
    /// Segment.
    CommitIgnoresAttempt = "a segment's row is written under a newer attempt",
    /// Segment.
    CommitIgnoresLease = "a segment's row is written without a lease",
    /// Completion.
    CompleteIgnoresLease = "a stale attempt completes the chunk",
    /// Completion.
    CompleteWithoutCounting = "a chunk is done without its rows being counted",
    /// Release.
    ReleaseIgnoresState = "a chunk is released twice",
    /// Release.
    ReleaseIgnoresPatience = "a chunk is released after the last death that is borne",
    /// Release.
    ReleaseIgnoresBackoff = "a failed chunk is released before its wait is over",
    /// Rescue.
    RescueIgnoresLease = "a lease that still runs is taken back",
    /// Rescue.
    RescueKeepsAttempt = "the rescue keeps the attempt's number",
    /// Rescue.
    RescueForgetsDeaths = "the rescue does not count silent workers",
    /// Recall.
    RecallKeepsAttempt = "a recall from a dead region keeps the attempt's number",
    /// Stragglers.
    SplitIgnoresAttempt = "a split takes whatever attempt is at work",
    /// Stragglers.
    SplitNumbersAgain = "the rest of a split chunk numbers its attempts from 1",
    /// Stragglers.
    SplitForgetsRest = "the rest of a split chunk is no chunk",
    /// Stragglers.
    SplitKeepsEnd = "a chunk that was split keeps its end",
    /// Stragglers.
    SplitTakesCommitted = "the rest of a split chunk begins with what is committed",
    /// Stragglers.
    TakeBackKeepsAttempt = "a chunk that is taken back keeps its number",
    /// Stragglers.
    TakeBackIgnoresAttempt = "whatever attempt is at work is taken back",
    /// Segment.
    CommitIgnoresEnd = "a segment's row is written past the end of its chunk",
    /// Worker.
    SplitIsALoss = "a worker takes a segment past the end of its chunk for the loss of its lease",
    /// Resend.
    NothingIsResent = "a lost message is not sent again",
    /// Replan.
    ReplanNumbersAgain = "the chunks of another plan number their attempts from 1",
    /// Replan.
    ReplanKeepsGeneration = "another plan writes into the folder of the first",
    /// Publication.
    PublishingBeginsEarly = "publishing begins when the last chunk of the match is done",
    /// Publication.
    PublishIgnoresState = "a job succeeds whatever its state",
    /// Publication.
    EventAfterPublication = "the event is written after the publication",
    /// People.
    CancelIgnoresState = "a job that succeeded can be cancelled",
    /// People.
    CancelSparesChunks = "a cancel leaves the chunks as they are",
    /// People.
    RetryKeepsSwept = "a job that is tried again counts as swept",
    /// Retention.
    SweepTakesRunningJobs = "the sweep takes jobs that have not ended",
    /// Guard.
    WithdrawTakesListed = "a quarantine withdraws what a playlist lists",
    /// Guard.
    WithdrawForgetsPromises = "a quarantine withdraws what a playlist may list that was written and not noted",
    /// Publisher.
    GrowsLessThanPromised = "the growing playlist lists less than somebody promised who died before it was noted",
    /// Publisher.
    GrowsOverHoles = "the growing playlist is written without another look for holes",
    /// Guard.
    WithdrawKeepsChunksDone = "a quarantine leaves chunks done whose segments it withdrew",
    /// Worker.
    RowBeforeObject = "a segment's row is written before its object",
    /// Worker.
    KeyWithoutAttempt = "the names of segments do not carry the attempt",
    /// Worker.
    LostLeaseGoesOn = "a worker goes on after it was told that the lease is lost",
    /// Worker.
    LeaseNeverExpires = "a worker that cannot renew its lease goes on",
    /// Worker.
    LeaseCountsFromAnswer = "a worker counts its lease from the answer to its claim",
    /// Worker.
    StartsOver = "the next attempt starts the chunk over",
    /// Worker.
    LeaseByWorkersClock = "a worker's own clock says how long its lease lasts",
    /// Worker.
    DrainLosesBorder = "a drained attempt calls its chunk complete",
    /// Publisher.
    GrowsAhead = "the growing playlist lists a segment that has no row",
    /// Publisher.
    GrowsWithoutLock = "the growing playlist lists rows that were read when the lock was lost",
    /// Publisher.
    GrowsWithoutMatch = "the growing playlist is written over any version",
    /// Publisher.
    MasterFirst = "the master playlist is written before those that it names",
    /// Publisher.
    SuccessFirst = "the job succeeds before its master playlist is written",
    /// Dispatcher.
    DeadLetterFails = "a dead letter fails its job",
    /// Worker.
    HandBackKeepsAttempt = "an attempt that is handed back keeps its number",
    /// Retention.
    SweepSparesLateWrites = "the sweep spares what was written after the end",
    /// Retention.
    SweepForgetsInits = "the sweep takes init segments for what nobody names",
    /// Retention.
    SweepTakesSharedNames = "the sweep takes names that a later try writes again",
    /// Retention.
    SweepReadsRowsFirst = "the sweep reads rows before it lists objects",
    /// Retention.
    SweepIsOnce = "what is swept early is not swept again",
    /// Retention.
    RemovedJobsAreForgotten = "nothing tells of the objects of a job whose rows are deleted",
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::str::FromStr for Deviation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|d| d.to_string() == name);
        found.copied().ok_or_else(|| format!("no planted fault {name}; --planted lists them"))
    }
}
