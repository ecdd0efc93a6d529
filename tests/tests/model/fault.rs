//! What may go wrong, and what people ask for: each as often as the limits say.

use crate::design::Design;
use crate::protocol::{Action, Protocol};
use crate::state::{
    ATTEMPTS, At, CHUNKS, Chunk, Job, Message, Publisher, SEGMENTS, Stage, State, Step, Worker, attempt_of,
};

impl Protocol {
    /// What may go wrong, or is asked for by a person, within the limits.
    pub(crate) fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let (used, most) = (&state.used, &self.limits.faults);
        for (i, worker) in state.workers.iter().enumerate().take(self.limits.workers) {
            if worker.at == At::Idle {
                continue;
            }
            if used.crashes < most.crashes {
                actions.push(Action::WorkerDies(i));
            }
            if worker.receipt && used.redeliveries < most.redeliveries {
                actions.push(Action::Redeliver(i));
            }
            if worker.at > At::Received && state.holds(worker) {
                if used.expiries < most.expiries {
                    actions.push(Action::LeaseEndsEarly(i));
                }
                if worker.at == At::Border && used.drains < most.drains {
                    actions.push(Action::Drain(i));
                }
            }
        }
        if used.crashes < most.crashes {
            for (i, publisher) in state.publishers.iter().enumerate() {
                if publisher.step != Step::Idle {
                    actions.push(Action::PublisherDies(i));
                }
            }
            actions.extend(state.outbox.distinct().filter(|m| m.relayed).map(Action::RelayDies));
        }
        for message in state.queue.distinct() {
            if used.duplicates < most.duplicates {
                actions.push(Action::Duplicate(message));
            }
            if used.losses < most.losses {
                actions.push(Action::Lose(message));
            }
        }
        for (i, chunk) in state.chunks.iter().enumerate().take(self.chunks(state)) {
            let room = used.splits < most.splits && self.chunks(state) < CHUNKS;
            if chunk.stage == Stage::Running && room && Self::border(state, i) < chunk.end {
                actions.push(Action::Split(i));
            }
            if chunk.stage == Stage::Queued && used.resends < most.resends && !Self::is_forgotten(state, i) {
                actions.push(Action::ResendEarly(i));
            }
        }
        if used.cancels < most.cancels && !state.job.is_final() {
            actions.push(Action::Cancel);
        }
        if used.retries < most.retries && matches!(state.job, Job::Cancelled | Job::Failed) {
            actions.push(Action::Retry);
        }
        if used.sweeps < most.sweeps && state.job.is_final() {
            actions.push(Action::SweepReads);
        }
    }

    pub(crate) fn fault_step(&self, state: &mut State, action: Action) {
        match action {
            Action::WorkerDies(w) => {
                state.used.crashes += 1;
                // Its message is seen again some time later, which is what a message in the queue may be anyway.
                self.redeliver(state, w);
                state.workers[w] = Worker::IDLE;
            }
            Action::PublisherDies(p) => {
                state.used.crashes += 1;
                state.publishers[p] = Publisher::IDLE;
            }
            Action::RelayDies(row) => {
                state.used.crashes += 1;
                state.outbox.take(row);
                if self.design != Design::RelayDeletesFirstNoResend {
                    state.outbox.put(Message { relayed: false, ..row });
                }
            }
            Action::LeaseEndsEarly(w) => {
                state.used.expiries += 1;
                self.rescue(state, usize::from(state.workers[w].chunk));
            }
            Action::Redeliver(w) => {
                state.used.redeliveries += 1;
                self.redeliver(state, w);
            }
            Action::Duplicate(message) => {
                state.used.duplicates += 1;
                state.queue.put(message);
            }
            Action::Lose(message) => {
                state.used.losses += 1;
                state.queue.take(message);
            }
            Action::ResendEarly(i) => {
                state.used.resends += 1;
                state.outbox.put(Self::message(state, i));
            }
            Action::Drain(w) => {
                state.used.drains += 1;
                Self::renumber(&mut state.chunks[usize::from(state.workers[w].chunk)], Stage::Waiting);
                state.workers[w] = Worker::IDLE;
            }
            Action::Split(i) => self.split(state, i),
            Action::Cancel => {
                state.used.cancels += 1;
                self.end(state, Job::Cancelled);
            }
            Action::Retry => {
                state.used.retries += 1;
                state.job = Job::Running;
                let chunks = self.chunks(state);
                for chunk in state.chunks.iter_mut().take(chunks).filter(|c| c.stage == Stage::Ended) {
                    Self::renumber(chunk, Stage::Waiting);
                    chunk.deaths = 0;
                }
            }
            Action::SweepReads => {
                state.used.sweeps += 1;
                self.sweep_reads(state);
            }
            _ => {}
        }
    }

    /// Where the rest of a chunk begins: after the segment in work, which follows the last that is committed.
    fn border(state: &State, i: usize) -> u8 {
        let range = state.range(i);
        let next = range.clone().filter(|s| state.rows[*s] != 0).max().map_or(range.start, |last| last + 1);
        u8::try_from(next + 1).expect("there are few segments")
    }

    fn split(&self, state: &mut State, i: usize) {
        let (rest, border) = (self.chunks(state), Self::border(state, i));
        let chunk = state.chunks[i];
        let attempt = if self.design == Design::RestNumbersAgain { 1 } else { chunk.attempt + 1 };
        state.used.splits += 1;
        // No claim of the rest is one of the chunk that it was part of.
        state.chunks[rest] =
            Chunk { stage: Stage::Waiting, attempt, holder: 0, claims: 4, deaths: 0, first: border, ..chunk };
        state.chunks[i].end = border;
    }

    fn redeliver(&self, state: &mut State, w: usize) {
        let worker = &mut state.workers[w];
        if std::mem::take(&mut worker.receipt) {
            state.queue.put(Message { chunk: worker.chunk, attempt: worker.attempt, relayed: false });
        }
    }

    /// What a sweep will do.
    fn sweep_reads(&self, state: &mut State) {
        let mut plan = [[false; ATTEMPTS]; SEGMENTS];
        for (s, slots) in plan.iter_mut().enumerate() {
            for (slot, marked) in slots.iter_mut().enumerate() {
                let named = state.rows[s] != 0 && self.slot(attempt_of(state.rows[s])) == slot;
                *marked =
                    if self.design == Design::SweepListsLate { named } else { state.objects[s][slot] != 0 && !named };
            }
        }
        state.sweep = Some(plan);
        state.sweep_takes_master = self.design == Design::SweepTakesSharedNames && state.job != Job::Succeeded;
    }

    pub(crate) fn sweep_deletes(&self, state: &mut State) {
        let Some(plan) = state.sweep.take() else { return };
        if std::mem::take(&mut state.sweep_takes_master) {
            state.master = None;
        }
        for (slots, plan) in state.objects.iter_mut().zip(plan) {
            for (object, marked) in slots.iter_mut().zip(plan) {
                if marked != (self.design == Design::SweepListsLate) {
                    *object = 0;
                }
            }
        }
    }
}
