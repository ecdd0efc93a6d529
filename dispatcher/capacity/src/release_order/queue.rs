//! The fair order, one chunk at a time and for each region by itself: a lane an organisation, with the next chunk of each
//! of its jobs. An entry that is no longer its job's next chunk is dropped when it comes up.

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
    regions: Vec<Region>,
}

/// Chunks that wait in a region.
#[derive(Debug, Default)]
struct Region {
    /// By organisation.
    lanes: Vec<Lane>,
    /// Of each lane; beside each other, because all are looked at for each chunk that is taken.
    ranks: Vec<Rank>,
    waiting: usize,
}

/// Where an organisation stands among those of a region, as one number that compares in a single step: the bits of its share
/// (of positive numbers they are in the order of the numbers), then the deadline of its next chunk. Equal ranks are told
/// apart by their keys.
type Rank = u128;

/// The rank of an organisation without a chunk that waits: that of no share, which is a number.
const LAST: Rank = Rank::MAX;

/// The bits of a share go before those of a deadline, which may be negative.
fn rank(share: u64, deadline: Moment) -> Rank {
    (Rank::from(share) << 64) | Rank::from(deadline.0.cast_unsigned() ^ (1 << 63))
}

#[derive(Debug)]
struct Organisation {
    weight: u32,
    busy: u64,
    /// The bits of what it would have at work with its next chunk, relative to its weight.
    share: u64,
}

/// Chunks of an organisation that wait in a region.
#[derive(Debug, Default)]
struct Lane {
    /// The next chunk of each job, and what was one.
    heap: BinaryHeap<Reverse<Entry>>,
    /// The key of the next chunk, which then is on top of the heap.
    next: Option<Key>,
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
        Self { regions: (0..regions).map(|_| Region::default()).collect(), ..Self::default() }
    }

    /// Adds an organisation; gives its number.
    pub fn add_organisation(&mut self, weight: u32) -> usize {
        let weight = weight.max(1);
        self.organisations.push(Organisation { weight, busy: 0, share: share(0, 1, weight).to_bits() });
        for region in &mut self.regions {
            region.lanes.push(Lane::default());
            region.ranks.push(LAST);
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
        let (region, organisation) = (job.region, job.organisation);
        self.regions[region].waiting -= job.waiting.len();
        job.waiting.clear();
        job.generation = job.generation.wrapping_add(1);
        self.settle(region, organisation);
        self.free.push(place);
    }

    /// Puts a chunk of a job among those that wait.
    pub fn push(&mut self, place: Place, position: i64, chunk: i32) {
        let job = &mut self.jobs[place as usize];
        let (region, organisation) = (job.region, job.organisation);
        self.regions[region].waiting += 1;
        let is_first = match job.waiting.back() {
            Some(last) if *last > (position, chunk) => {
                let at = job.waiting.partition_point(|w| *w < (position, chunk));
                job.waiting.insert(at, (position, chunk));
                at == 0
            }
            last => {
                let is_first = last.is_none();
                job.waiting.push_back((position, chunk));
                is_first
            }
        };
        if is_first {
            self.regions[region].lanes[organisation].heap.extend(head(job, place));
            self.settle(region, organisation);
        }
    }

    /// Takes the next chunk of a region; it counts as at work until [`ReleaseQueue::done`].
    pub fn pop(&mut self, region: usize) -> Option<(Place, i32)> {
        let here = &mut self.regions[region];
        let organisation = here.first()?;
        let taken = here.lanes[organisation].take(&mut self.jobs)?;
        here.waiting -= 1;
        self.organisations[organisation].busy += 1;
        self.note_share(organisation);
        self.settle(region, organisation);
        Some(taken)
    }

    /// A chunk of a job is no longer at work.
    pub fn done(&mut self, place: Place) {
        let organisation = self.jobs[place as usize].organisation;
        let busy = &mut self.organisations[organisation].busy;
        *busy = busy.saturating_sub(1);
        self.note_share(organisation);
    }

    /// An organisation has more or less at work than before.
    fn note_share(&mut self, organisation: usize) {
        let of = &mut self.organisations[organisation];
        of.share = share(of.busy, 1, of.weight).to_bits();
        let share = Rank::from(of.share) << 64;
        for rank in self.regions.iter_mut().map(|region| &mut region.ranks[organisation]) {
            if *rank != LAST {
                *rank = share | (*rank & Rank::from(u64::MAX));
            }
        }
    }

    /// Looks what is next in a lane that was changed.
    fn settle(&mut self, region: usize, organisation: usize) {
        let (share, region) = (self.organisations[organisation].share, &mut self.regions[region]);
        let next = region.lanes[organisation].settle(&self.jobs);
        region.ranks[organisation] = next.map_or(LAST, |key| rank(share, key.0));
    }

    /// Chunks that wait in a region.
    #[must_use]
    pub fn waiting(&self, region: usize) -> usize {
        self.regions[region].waiting
    }
}

fn head(job: &Job, place: Place) -> Option<Reverse<Entry>> {
    let (position, chunk) = *job.waiting.front()?;
    let key = (job.ready_by, false, position, job.created, job.id, chunk);
    Some(Reverse(Entry { key, place, generation: job.generation }))
}

impl Region {
    /// The organisation whose next chunk comes first.
    fn first(&self) -> Option<usize> {
        let (mut least, mut first) = (LAST, None);
        for (organisation, rank) in self.ranks.iter().enumerate() {
            let is_before = |other: usize| self.lanes[organisation].next < self.lanes[other].next;
            if *rank <= least && (*rank < least || first.is_some_and(is_before)) {
                (least, first) = (*rank, Some(organisation));
            }
        }
        first
    }
}

impl Lane {
    /// Takes the next chunk.
    fn take(&mut self, jobs: &mut [Job]) -> Option<(Place, i32)> {
        let mut top = self.heap.peek_mut()?;
        let place = top.0.place;
        let job = &mut jobs[place as usize];
        let (_, chunk) = job.waiting.pop_front()?;
        match head(job, place) {
            Some(entry) => *top = entry,
            None => {
                PeekMut::pop(top);
            }
        }
        Some((place, chunk))
    }

    /// Drops entries that are not their job's next chunk, until one is, and gives its key.
    fn settle(&mut self, jobs: &[Job]) -> Option<&Key> {
        self.next = loop {
            let Some(top) = self.heap.peek_mut() else { break None };
            let Reverse(entry) = *top;
            let job = &jobs[entry.place as usize];
            if job.generation == entry.generation && job.waiting.front() == Some(&(entry.key.2, entry.key.5)) {
                break Some(entry.key);
            }
            PeekMut::pop(top);
        };
        self.next.as_ref()
    }
}
