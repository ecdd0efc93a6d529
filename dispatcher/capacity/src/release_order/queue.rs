//! The fair order, one chunk at a time and for each region by itself: a heap an organisation, whose entries are the next
//! chunk of each job. An entry that is no longer its job's next chunk is dropped when it comes up.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use uuid::Uuid;

use super::{Key, share};
use crate::moment::Moment;

/// Place of a job in the queue, valid until it is removed.
pub type Place = u32;

/// Chunks that wait, in the fair order.
#[derive(Debug, Default)]
pub struct ReleaseQueue {
    organisations: Vec<Organisation>,
    jobs: Vec<Job>,
    free: Vec<Place>,
    /// By region, then by organisation.
    heaps: Vec<Vec<BinaryHeap<Reverse<Entry>>>>,
    waiting: Vec<usize>,
}

#[derive(Debug)]
struct Organisation {
    weight: u32,
    busy: u64,
}

#[derive(Debug)]
struct Job {
    id: Uuid,
    organisation: usize,
    region: usize,
    ready_by: Moment,
    created: Moment,
    /// Position and number, in this order.
    waiting: VecDeque<(i64, i32)>,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Key,
    place: Place,
    generation: u32,
}

impl ReleaseQueue {
    /// A queue for this many regions.
    #[must_use]
    pub fn new(regions: usize) -> Self {
        Self { heaps: (0..regions).map(|_| Vec::new()).collect(), waiting: vec![0; regions], ..Self::default() }
    }

    /// Adds an organisation; gives its number.
    pub fn add_organisation(&mut self, weight: u32) -> usize {
        self.organisations.push(Organisation { weight: weight.max(1), busy: 0 });
        for region in &mut self.heaps {
            region.push(BinaryHeap::new());
        }
        self.organisations.len() - 1
    }

    /// Adds a job without chunks.
    pub fn add_job(
        &mut self,
        id: Uuid,
        organisation: usize,
        region: usize,
        ready_by: Option<Moment>,
        created: Moment,
    ) -> Place {
        let ready_by = ready_by.unwrap_or(Moment::NEVER);
        if let Some(place) = self.free.pop() {
            let job = &mut self.jobs[place as usize];
            let generation = job.generation.wrapping_add(1);
            let waiting = std::mem::take(&mut job.waiting);
            *job = Job { id, organisation, region, ready_by, created, waiting, generation };
            return place;
        }
        let waiting = VecDeque::new();
        self.jobs.push(Job { id, organisation, region, ready_by, created, waiting, generation: 0 });
        Place::try_from(self.jobs.len() - 1).unwrap_or(Place::MAX)
    }

    /// Forgets a job; its chunks are no longer released.
    pub fn remove_job(&mut self, place: Place) {
        let job = &mut self.jobs[place as usize];
        self.waiting[job.region] -= job.waiting.len();
        job.waiting.clear();
        job.generation = job.generation.wrapping_add(1);
        self.free.push(place);
    }

    /// Puts a chunk of a job among those that wait.
    pub fn push(&mut self, place: Place, position: i64, chunk: i32) {
        let job = &mut self.jobs[place as usize];
        self.waiting[job.region] += 1;
        let at = match job.waiting.back() {
            Some(last) if *last > (position, chunk) => job.waiting.partition_point(|w| *w < (position, chunk)),
            _ => job.waiting.len(),
        };
        job.waiting.insert(at, (position, chunk));
        if at == 0 {
            let entry = head(job, place);
            self.heaps[job.region][job.organisation].extend(entry);
        }
    }

    /// Takes the next chunk of a region; it counts as at work until [`ReleaseQueue::done`].
    pub fn pop(&mut self, region: usize) -> Option<(Place, i32)> {
        if self.waiting[region] == 0 {
            return None;
        }
        let mut best: Option<(f64, Key, usize)> = None;
        for (organisation, heap) in self.heaps[region].iter_mut().enumerate() {
            if heap.is_empty() {
                continue;
            }
            let Organisation { weight, busy } = self.organisations[organisation];
            let own = share(busy, 1, weight);
            if best.is_some_and(|(share, ..)| own > share) {
                continue;
            }
            let Some(key) = next(heap, &self.jobs) else { continue };
            if best.is_none_or(|(share, other, _)| own.total_cmp(&share).then(key.cmp(&other)).is_lt()) {
                best = Some((own, key, organisation));
            }
        }
        let (_, _, organisation) = best?;
        let mut top = self.heaps[region][organisation].peek_mut()?;
        let place = top.0.place;
        let job = &mut self.jobs[place as usize];
        let (_, chunk) = job.waiting.pop_front()?;
        match head(job, place) {
            Some(entry) => *top = entry,
            None => {
                PeekMut::pop(top);
            }
        }
        self.waiting[region] -= 1;
        self.organisations[organisation].busy += 1;
        Some((place, chunk))
    }

    /// A chunk of a job is no longer at work.
    pub fn done(&mut self, place: Place) {
        let busy = &mut self.organisations[self.jobs[place as usize].organisation].busy;
        *busy = busy.saturating_sub(1);
    }

    /// Chunks that wait in a region.
    #[must_use]
    pub fn waiting(&self, region: usize) -> usize {
        self.waiting[region]
    }
}

fn head(job: &Job, place: Place) -> Option<Reverse<Entry>> {
    let (position, chunk) = *job.waiting.front()?;
    let key = (job.ready_by, false, position, job.created, job.id, chunk);
    Some(Reverse(Entry { key, place, generation: job.generation }))
}

/// The key of the first entry that is its job's next chunk.
fn next(heap: &mut BinaryHeap<Reverse<Entry>>, jobs: &[Job]) -> Option<Key> {
    loop {
        let top = heap.peek_mut()?;
        let Reverse(entry) = *top;
        let job = &jobs[entry.place as usize];
        if job.generation == entry.generation && job.waiting.front() == Some(&(entry.key.2, entry.key.5)) {
            return Some(entry.key);
        }
        PeekMut::pop(top);
    }
}
