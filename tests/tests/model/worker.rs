//! Workers: receive, claim, encode, write the object, commit its row, complete, delete the message.

use crate::design::Design;
use crate::protocol::{Action, Protocol};
use crate::state::{At, Job, Message, Stage, State, Worker, writer};

impl Protocol {
    pub(crate) fn worker_actions(&self, state: &State, w: usize, actions: &mut Vec<Action>) {
        let worker = &state.workers[w];
        match worker.at {
            At::Idle => {
                // Idle workers are alike: the first of them is enough.
                if w == 0 || state.workers[w - 1].at != At::Idle {
                    actions.extend(state.queue.distinct().map(|m| Action::Receive(w, m)));
                }
            }
            At::Received => actions.push(Action::Claim(w)),
            At::Border => {
                let last = worker.next >= worker.end;
                actions.push(if last { Action::Complete(w) } else { Action::Encode(w) });
            }
            At::Encoding => actions.push(Action::FirstWrite(w)),
            At::HalfCommitted => actions.push(Action::SecondWrite(w)),
            At::Telling => actions.push(Action::Tell(w)),
            At::Deleting => actions.push(Action::Delete(w)),
        }
        // A heartbeat brings the news.
        if matches!(worker.at, At::Border | At::Encoding) && !state.holds(worker) {
            actions.push(Action::Abandon(w));
        }
        let moved = state.chunks[usize::from(worker.chunk)].end < worker.end;
        if matches!(worker.at, At::Border | At::Encoding) && state.holds(worker) && moved {
            actions.push(Action::Hear(w));
        }
    }

    pub(crate) fn worker_step(&self, state: &mut State, w: usize, action: Action) {
        match action {
            Action::Receive(_, message) => self.receive(state, w, message),
            Action::Claim(_) => self.claim(state, w),
            Action::Encode(_) => {
                let worker = state.workers[w];
                state.seen.encoded_again |= state.rows[usize::from(worker.next)] != 0 && state.owns(&worker);
                state.encodes += 1;
                state.workers[w].at = At::Encoding;
            }
            Action::FirstWrite(_) => {
                if self.design == Design::RowBeforeObject {
                    if !self.commit_row(state, w) {
                        return;
                    }
                } else {
                    self.write_object(state, w);
                }
                state.workers[w].at = At::HalfCommitted;
            }
            Action::SecondWrite(_) => {
                if self.design == Design::RowBeforeObject {
                    self.write_object(state, w);
                } else if !self.commit_row(state, w) {
                    return;
                }
                let worker = &mut state.workers[w];
                worker.next += 1;
                worker.at = At::Border;
            }
            Action::Complete(_) => self.complete(state, w),
            Action::Hear(_) => Self::hear(state, w),
            Action::Tell(_) => {
                state.events += 1;
                state.workers[w].at = At::Deleting;
            }
            // Deleting a message that is not its own any more changes nothing.
            _ => state.workers[w] = Worker::IDLE,
        }
    }

    /// A message that was received and not yet claimed is no other than one that waits in the queue, as long as it is not
    /// deleted: so receiving and claiming are one step, but for designs that delete in between.
    fn receive(&self, state: &mut State, w: usize, message: Message) {
        state.queue.take(message);
        let deletes = matches!(self.design, Design::DeleteOnReceipt | Design::DeleteOnReceiptNoResend);
        let Message { chunk, attempt, .. } = message;
        state.workers[w] = Worker { at: At::Received, chunk, attempt, receipt: !deletes, ..Worker::IDLE };
        if !deletes {
            self.claim(state, w);
        }
    }

    fn claim(&self, state: &mut State, w: usize) {
        let mut worker = state.workers[w];
        let i = usize::from(worker.chunk);
        let chunk = &mut state.chunks[i];
        let is_attempt = chunk.attempt == worker.attempt;
        let is_open = match self.design {
            Design::ClaimIgnoresAttempt | Design::ClaimTakesRowsAttempt => chunk.stage == Stage::Queued,
            Design::ClaimIgnoresState => is_attempt && matches!(chunk.stage, Stage::Queued | Stage::Running),
            _ => is_attempt && chunk.stage == Stage::Queued,
        };
        if !is_open || state.job.is_final() {
            // Stale or double: the message is deleted.
            state.workers[w] = Worker::IDLE;
            return;
        }
        state.seen.poison_claimed |= chunk.deaths >= self.limits.deaths;
        chunk.stage = Stage::Running;
        chunk.claims += 1;
        chunk.holder = chunk.claims;
        worker.claim = chunk.claims;
        if self.design == Design::ClaimTakesRowsAttempt {
            worker.receipt &= is_attempt;
            worker.attempt = chunk.attempt;
        }
        let range = state.range(i);
        worker.end = u8::try_from(range.end).expect("there are few segments");
        let missing = range.clone().find(|s| state.rows[*s] == 0);
        let starts_over = self.design == Design::RestartFromFirst;
        let next = if starts_over { range.start } else { missing.unwrap_or(range.end) };
        worker.next = u8::try_from(next).expect("there are few segments");
        worker.receipt &= self.design != Design::DeleteAfterClaim;
        worker.at = At::Border;
        state.workers[w] = worker;
    }

    fn write_object(&self, state: &mut State, w: usize) {
        let worker = state.workers[w];
        let object = &mut state.objects[usize::from(worker.next)][self.slot(worker.attempt)];
        let mine = writer(worker.attempt, worker.claim);
        let overwrites = *object != 0 && *object != mine;
        *object = mine;
        state.seen.stale_write |= overwrites && !state.owns(&worker);
    }

    /// The worker learns where its chunk ends; a segment past it is given up.
    fn hear(state: &mut State, w: usize) {
        let end = state.chunks[usize::from(state.workers[w].chunk)].end;
        let worker = &mut state.workers[w];
        worker.end = end;
        if worker.next >= end {
            worker.at = At::Border;
        }
    }

    /// Inserts the row, only while the lease is held. The worker abandons what is not its own.
    fn commit_row(&self, state: &mut State, w: usize) -> bool {
        let worker = state.workers[w];
        let held = state.holds(&worker);
        if !held && self.design != Design::CommitWithoutLease {
            state.workers[w] = Worker::IDLE;
            return false;
        }
        if held && !state.owns(&worker) && self.design != Design::CommitPastEnd {
            Self::hear(state, w);
            return false;
        }
        let held = state.owns(&worker);
        let row = &mut state.rows[usize::from(worker.next)];
        if *row == 0 {
            *row = writer(worker.attempt, worker.claim);
            state.unheld[usize::from(worker.next)] = !held;
            state.seen.stale_write |= !held;
            state.seen.late_commit |= state.job == Job::Cancelled;
        }
        true
    }

    fn complete(&self, state: &mut State, w: usize) {
        let worker = state.workers[w];
        let held = state.holds(&worker);
        if !held && self.design != Design::CompleteWithoutLease {
            state.workers[w] = Worker::IDLE;
            return;
        }
        state.seen.stale_write |= !held;
        let chunk = &mut state.chunks[usize::from(worker.chunk)];
        (chunk.stage, chunk.holder) = (Stage::Done, 0);
        let all = state.chunks.iter().take(self.chunks(state)).all(|c| c.stage == Stage::Done);
        let tells = self.design == Design::EventByWorker && all;
        state.workers[w].at = if tells { At::Telling } else { At::Deleting };
    }
}
