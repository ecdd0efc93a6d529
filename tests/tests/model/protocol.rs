//! What can happen, and what comes of it: release, relay, resend, rescue. Workers, publishers and faults have files of
//! their own.

use stateright::{Model, Property};

use crate::design::{Design, Faults, Limits};
use crate::properties;
use crate::state::{
    ATTEMPTS, At, Bag, Chunk, Job, Message, PUBLISHERS, Publisher, SEGMENTS, Seen, Stage, State, WORKERS, Worker,
    writer,
};

/// The protocol in a world of some size.
#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) design: Design,
    pub(crate) limits: Limits,
}

/// One step of one process, or one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A waiting chunk is queued, with an outbox row, in one transaction.
    Release(usize),
    /// A flawed release sends its message first.
    Announce(usize),
    /// First step of the relay: the message is sent.
    RelayFirst(Message),
    /// Second: the outbox row is deleted.
    RelaySecond(Message),
    /// A queued chunk without a message gets one.
    Resend(usize),
    /// The lease of a dead worker ends and the chunk is taken back.
    Rescue(usize),
    /// A chunk lost too many workers (a flawed design only; ours judges in the rescue).
    Verdict(usize),
    /// All chunks are done.
    BeginPublishing,
    Receive(usize, Message),
    Claim(usize),
    Encode(usize),
    FirstWrite(usize),
    SecondWrite(usize),
    Complete(usize),
    Tell(usize),
    Delete(usize),
    Abandon(usize),
    /// A heartbeat brings the end that a split gave the chunk.
    Hear(usize),
    ReadForWatch(usize),
    ReadForFinish(usize),
    Publish(usize),
    SweepDeletes,

    WorkerDies(usize),
    PublisherDies(usize),
    RelayDies(Message),
    LeaseEndsEarly(usize),
    Redeliver(usize),
    Duplicate(Message),
    Lose(Message),
    ResendEarly(usize),
    Drain(usize),
    /// A chunk at work is split after the segment in work.
    Split(usize),
    Cancel,
    Retry,
    SweepReads,
}

impl Protocol {
    /// Chunks that there are, those that splits made included.
    pub(crate) fn chunks(&self, state: &State) -> usize {
        self.limits.chunks + usize::from(state.used.splits)
    }

    pub(crate) fn segments(&self) -> usize {
        self.limits.chunks * self.limits.segments
    }

    /// Slot of the key of a segment that an attempt makes.
    pub(crate) fn slot(&self, attempt: u8) -> usize {
        if self.design == Design::SharedKeys { 0 } else { usize::from(attempt - 1) }
    }

    /// Whether all that is known of a queued chunk is its row.
    pub(crate) fn is_forgotten(state: &State, chunk: usize) -> bool {
        let attempt = state.chunks[chunk].attempt;
        let in_hand = |w: &Worker| w.at == At::Received && usize::from(w.chunk) == chunk && w.attempt == attempt;
        !state.outbox.tells_of(chunk, attempt)
            && !state.queue.tells_of(chunk, attempt)
            && !state.workers.iter().any(in_hand)
    }

    /// Steps that are taken sooner or later, without anything going wrong.
    pub(crate) fn progress(&self, state: &State, actions: &mut Vec<Action>) {
        let Limits { workers, publishers, deaths, .. } = self.limits;
        let chunks = self.chunks(state);
        for (i, chunk) in state.chunks.iter().enumerate().take(chunks) {
            match chunk.stage {
                Stage::Waiting if !state.job.is_final() => {
                    let early = matches!(self.design, Design::SendBeforeRelease | Design::SendBeforeReleaseNoResend);
                    actions.push(if early && !chunk.announced { Action::Announce(i) } else { Action::Release(i) });
                }
                Stage::Queued if self.design.resends() && Self::is_forgotten(state, i) => {
                    actions.push(Action::Resend(i));
                }
                Stage::Running
                    if !state
                        .workers
                        .iter()
                        .any(|w| w.at > At::Received && w.chunk as usize == i && state.holds(w)) =>
                {
                    actions.push(Action::Rescue(i));
                }
                _ => {}
            }
            let waits = matches!(chunk.stage, Stage::Waiting | Stage::Queued);
            if waits && chunk.deaths >= deaths && !state.job.is_final() {
                actions.push(Action::Verdict(i));
            }
        }
        for row in state.outbox.distinct() {
            actions.push(if row.relayed { Action::RelaySecond(row) } else { Action::RelayFirst(row) });
        }
        let done = |c: &Chunk| c.stage == Stage::Done;
        let mut stages = state.chunks.iter().take(chunks);
        let ready = if self.design == Design::PublishFirstChunk { stages.any(done) } else { stages.all(done) };
        if state.job == Job::Running && ready {
            actions.push(Action::BeginPublishing);
        }
        for i in 0..workers {
            self.worker_actions(state, i, actions);
        }
        for i in 0..publishers {
            self.publisher_actions(state, i, actions);
        }
        if state.sweep.is_some() {
            actions.push(Action::SweepDeletes);
        }
    }

    /// Takes a chunk from whoever has it, for the next attempt.
    pub(crate) fn renumber(chunk: &mut Chunk, stage: Stage) {
        *chunk = Chunk { stage, attempt: chunk.attempt + 1, holder: 0, claims: 0, announced: false, ..*chunk };
    }

    /// Ends a job badly, with its chunks.
    pub(crate) fn end(&self, state: &mut State, job: Job) {
        state.job = job;
        if job == Job::Cancelled && self.design == Design::CancelKeepsAttempts {
            return;
        }
        let chunks = self.chunks(state);
        for chunk in state.chunks.iter_mut().take(chunks) {
            if chunk.stage != Stage::Done && chunk.stage != Stage::Ended {
                Self::renumber(chunk, Stage::Ended);
            }
        }
    }

    pub(crate) fn rescue(&self, state: &mut State, i: usize) {
        let mut range = state.range(i);
        let chunk = &mut state.chunks[i];
        let mine = |s: usize| state.rows[s] == writer(chunk.attempt, chunk.holder);
        chunk.deaths = if range.any(mine) { 1 } else { chunk.deaths + 1 };
        if self.design == Design::RescueKeepsAttempt {
            (chunk.stage, chunk.holder) = (Stage::Waiting, 0);
        } else {
            Self::renumber(chunk, Stage::Waiting);
        }
        if state.chunks[i].deaths >= self.limits.deaths && self.design != Design::LateVerdict && !state.job.is_final() {
            self.end(state, Job::Failed);
        }
    }

    pub(crate) fn message(state: &State, chunk: usize) -> Message {
        let number = u8::try_from(chunk).expect("there are few chunks");
        Message { chunk: number, attempt: state.chunks[chunk].attempt, relayed: false }
    }

    fn system_step(&self, state: &mut State, action: Action) {
        let deletes_first = self.design == Design::RelayDeletesFirstNoResend;
        match action {
            Action::Release(i) => {
                let message = Self::message(state, i);
                state.chunks[i].stage = Stage::Queued;
                if !state.chunks[i].announced {
                    state.outbox.put(message);
                }
            }
            Action::Announce(i) => {
                state.queue.put(Self::message(state, i));
                state.chunks[i].announced = true;
            }
            Action::RelayFirst(row) => {
                if !deletes_first {
                    state.queue.put(row);
                }
                state.outbox.take(row);
                state.outbox.put(Message { relayed: true, ..row });
            }
            Action::RelaySecond(row) => {
                if deletes_first {
                    state.queue.put(Message { relayed: false, ..row });
                }
                state.outbox.take(row);
            }
            Action::Resend(i) => state.outbox.put(Self::message(state, i)),
            Action::Rescue(i) => self.rescue(state, i),
            Action::Verdict(_) => self.end(state, Job::Failed),
            Action::BeginPublishing => state.job = Job::Publishing,
            Action::SweepDeletes => self.sweep_deletes(state),
            _ => {}
        }
    }

    /// Messages of a job that has ended for good are refused, each in its time: when that is makes no difference.
    fn forget_messages(state: &mut State) {
        (state.queue, state.outbox) = (Bag::default(), Bag::default());
        for worker in state.workers.iter_mut() {
            worker.receipt = false;
            if matches!(worker.at, At::Received | At::Deleting) {
                *worker = Worker::IDLE;
            }
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let segments = |n: usize| u8::try_from(n * self.limits.segments).expect("there are few segments");
        let chunk = |n: usize| {
            let is_there = n < self.limits.chunks;
            let (first, end) = if is_there { (segments(n), segments(n + 1)) } else { (0, 0) };
            Chunk { stage: Stage::Waiting, attempt: 1, holder: 0, claims: 0, deaths: 0, first, end, announced: false }
        };
        vec![State {
            job: Job::Running,
            chunks: std::array::from_fn(chunk),
            rows: [0; SEGMENTS],
            unheld: [false; SEGMENTS],
            objects: [[0; ATTEMPTS]; SEGMENTS],
            outbox: Bag::default(),
            queue: Bag::default(),
            workers: [Worker::IDLE; WORKERS],
            publishers: [Publisher::IDLE; PUBLISHERS],
            watch: [0; SEGMENTS],
            watch_ended: false,
            media: None,
            master: None,
            events: 0,
            sweep: None,
            sweep_takes_master: false,
            used: Faults::NONE,
            encodes: 0,
            seen: Seen::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.progress(state, actions);
        self.faults(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Receive(w, _)
            | Action::Claim(w)
            | Action::Encode(w)
            | Action::FirstWrite(w)
            | Action::SecondWrite(w)
            | Action::Complete(w)
            | Action::Tell(w)
            | Action::Delete(w)
            | Action::Abandon(w)
            | Action::Hear(w) => self.worker_step(&mut state, w, action),
            Action::ReadForWatch(p) | Action::ReadForFinish(p) | Action::Publish(p) => {
                self.publisher_step(&mut state, p, action);
            }
            Action::Release(_)
            | Action::Announce(_)
            | Action::RelayFirst(_)
            | Action::RelaySecond(_)
            | Action::Resend(_)
            | Action::Rescue(_)
            | Action::Verdict(_)
            | Action::BeginPublishing
            | Action::SweepDeletes => self.system_step(&mut state, action),
            _ => self.fault_step(&mut state, action),
        }
        if state.job.is_final() && state.used.retries == self.limits.faults.retries {
            Self::forget_messages(&mut state);
        }
        Some(state.in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
