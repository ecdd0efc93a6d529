//! Publishers: the growing playlist, then media playlists, master playlist, and the transaction that is the publication.

use crate::design::Design;
use crate::protocol::{Action, Protocol};
use crate::state::{Job, Listing, Publisher, SEGMENTS, State, Step, attempt_of};

/// Number of segments that a playlist lists.
pub(crate) fn length(listing: &Listing) -> usize {
    listing.iter().take_while(|e| **e != 0).count()
}

impl Protocol {
    pub(crate) fn publisher_actions(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        if state.publishers[p].step != Step::Idle {
            actions.push(Action::Publish(p));
        } else if p == 0 || state.publishers[p - 1].step != Step::Idle {
            if state.job == Job::Running && length(&self.committed(state)) > length(&state.watch) {
                actions.push(Action::ReadForWatch(p));
            }
            if state.job == Job::Publishing {
                actions.push(Action::ReadForFinish(p));
            }
        }
    }

    /// Committed segments from the first without a hole.
    fn committed(&self, state: &State) -> Listing {
        let mut entries = [0; SEGMENTS];
        for (entry, row) in entries.iter_mut().zip(state.rows).take_while(|(_, row)| *row != 0) {
            *entry = u8::try_from(self.slot(attempt_of(row)) + 1).expect("there are few attempts");
        }
        entries
    }

    fn order(&self) -> &'static [Step] {
        match self.design {
            Design::MasterFirst => &[Step::Master, Step::Media, Step::End, Step::Success],
            Design::SuccessFirst => &[Step::Success, Step::Media, Step::End, Step::Master],
            Design::EventAfterSuccess => &[Step::Media, Step::End, Step::Master, Step::Success, Step::Event],
            _ => &[Step::Media, Step::End, Step::Master, Step::Success],
        }
    }

    pub(crate) fn publisher_step(&self, state: &mut State, p: usize, action: Action) {
        let entries = self.committed(state);
        match action {
            Action::ReadForWatch(_) => {
                state.publishers[p] = Publisher { step: Step::Grow, read: state.watch, entries };
            }
            Action::ReadForFinish(_) => {
                let missing =
                    (0..self.segments()).any(|s| entries[s] == 0 || state.objects[s][usize::from(entries[s] - 1)] == 0);
                if missing && self.design != Design::PublishFirstChunk {
                    self.end(state, Job::Failed);
                    return;
                }
                state.publishers[p] = Publisher { step: self.order()[0], read: state.watch, entries };
            }
            _ => self.publish(state, p),
        }
    }

    fn publish(&self, state: &mut State, p: usize) {
        let publisher = state.publishers[p];
        let goes_on = match publisher.step {
            Step::Grow => {
                self.write_watch(state, &publisher);
                false
            }
            Step::Media => {
                state.media = Some(publisher.entries);
                true
            }
            Step::End => {
                let written = state.watch_ended || self.write_watch(state, &publisher);
                state.watch_ended |= written;
                written
            }
            Step::Master => {
                // If-None-Match: whoever comes second finds the same content there and goes on.
                state.seen.master_changed |= state.master.is_some_and(|there| there != publisher.entries);
                state.master = state.master.or(Some(publisher.entries));
                true
            }
            Step::Success => {
                let mine = state.job == Job::Publishing || self.design == Design::SuccessIgnoresState;
                if mine {
                    state.job = Job::Succeeded;
                    let tells = !matches!(self.design, Design::EventByWorker | Design::EventAfterSuccess);
                    state.events += u8::from(tells);
                }
                mine
            }
            Step::Event => {
                state.events += 1;
                true
            }
            Step::Idle => false,
        };
        let order = self.order();
        let next = order.iter().position(|s| *s == publisher.step).and_then(|at| order.get(at + 1));
        match next {
            Some(step) if goes_on => state.publishers[p].step = *step,
            _ => state.publishers[p] = Publisher::IDLE,
        }
    }

    /// Replaces the growing playlist if it is still the one that was read.
    fn write_watch(&self, state: &mut State, publisher: &Publisher) -> bool {
        let matches = state.watch == publisher.read && !state.watch_ended;
        if !matches && self.design != Design::WatchUnconditional {
            return false;
        }
        let kept = state.watch.iter().zip(publisher.entries).all(|(old, new)| *old == 0 || *old == new);
        state.seen.watch_changed |= !kept || state.watch_ended;
        state.watch = publisher.entries;
        true
    }
}
