//! Jobs and their chunks: each step is one that the fleet's own state machines allow.

use std::rc::Rc;

use super::events::Event;
use super::machines::{Running, job_id};
use super::{Simulation, allowed, narrow};
use crate::moment::Moment;
use crate::release_order::Place;
use crate::view::{ComingWork, JobWork};
use fleet::ladder::Scaler;
use fleet::plan::{Turn, VideoPlan, spread};
use fleet::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use fleet::timeline::{FrameRate, Grid};

/// Seconds of a segment.
const SEGMENT_S: f64 = 6.0;
/// The plan's chunk.
pub(super) const PLAN: i32 = 0;
/// The chunk with the first segment.
const FIRST: i32 = 1;
/// How much slower a straggler is.
const STRAGGLER: f64 = 5.0;

/// A job that is not done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) home: usize,
    pub(super) state: JobState,
    /// By number; the plan is number 0.
    pub(super) chunks: Vec<Chunk>,
    /// Chunks that are not done.
    pub(super) left: usize,
    /// Place in the view's work.
    pub(super) work: usize,
    /// Encode-seconds of a segment.
    pub(super) per_segment_s: f64,
    pub(super) first_claim: Option<Moment>,
    pub(super) playable: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) state: ChunkState,
    /// Segments that are not committed.
    pub(super) segments: u32,
    pub(super) attempt: i32,
    pub(super) splits: u32,
    pub(super) taken_back: bool,
}

impl Simulation<'_> {
    pub(super) fn upload_begins(&mut self, arrival: u32) {
        let job = &self.scenario.arrivals.jobs[arrival as usize];
        let (region, encode_s) = (job.region.clone(), job.encode_s);
        self.view.coming.push(ComingWork { region, encode_s, expected: job.at, ready_by: job.ready_by });
        self.coming_jobs.push(arrival);
        self.wake();
    }

    pub(super) fn job_arrives(&mut self, arrival: u32) {
        if let Some(coming) = self.coming_jobs.iter().position(|j| *j == arrival) {
            self.coming_jobs.swap_remove(coming);
            self.view.coming.swap_remove(coming);
        }
        let scenario = self.scenario;
        let job = &scenario.arrivals.jobs[arrival as usize];
        let home = self.regions[&job.region];
        let queue = &mut self.queue;
        let organisation =
            *self.organisations.entry(job.organisation.as_str()).or_insert_with(|| queue.add_organisation(job.weight));
        let place = queue.add_job(job_id(arrival), organisation, home, job.ready_by, job.at);
        let at = place as usize;
        if self.arrival_of.len() <= at {
            self.arrival_of.resize(at + 1, 0);
        }
        self.arrival_of[at] = arrival;

        let segments = (job.seconds / SEGMENT_S).ceil().clamp(1.0, 1e6) as u64;
        let chunks = narrow(self.layout(segments).len()) + 1;
        self.view.work.push(JobWork {
            job: job_id(arrival),
            region: job.region.clone(),
            total_s: job.encode_s,
            left_s: job.encode_s,
            chunks,
            waiting: chunks,
            submitted: job.at,
            not_before: job.at,
            ready_by: job.ready_by,
        });
        self.work_jobs.push(Some(arrival));
        let plan = Chunk { state: ChunkState::Waiting, segments: 0, attempt: 1, splits: 0, taken_back: false };
        self.jobs[arrival as usize] = Some(Box::new(Job {
            place,
            home,
            state: JobState::Queued,
            chunks: vec![plan],
            left: chunks as usize,
            work: self.view.work.len() - 1,
            per_segment_s: job.encode_s / segments as f64,
            first_claim: None,
            playable: None,
        }));
        self.queue.push(place, 0, PLAN);
        self.recorder.opened();
        self.feed_all(home);
        self.wake();
    }

    /// Lengths of the chunks of a match of so many segments, in segments: the fleet's own cutting.
    fn layout(&mut self, segments: u64) -> Rc<[u32]> {
        let layouts = &mut self.layouts;
        layouts
            .entry(segments)
            .or_insert_with(|| {
                let plan = reference_plan();
                let runs = spread(&plan, Some(segments * 180));
                runs.iter()
                    .map(|(from, until)| u32::try_from(until.unwrap_or(segments).saturating_sub(*from)).unwrap_or(1))
                    .collect()
            })
            .clone()
    }

    /// Gives free slots of a region their next chunks.
    pub(super) fn feed(&mut self, region: usize) {
        while self.anything_for(region) {
            let Some((machine, slot)) = self.free_slot(region) else { return };
            let Some((job, chunk)) = self.take(region) else { return };
            self.start(machine, slot, job, chunk);
        }
    }

    /// Feeds a region, and all others while it has no worker of its own.
    pub(super) fn feed_all(&mut self, home: usize) {
        self.feed(home);
        if self.slots[home] == 0 {
            for region in 0..self.slots.len() {
                self.feed(region);
            }
        }
    }

    fn anything_for(&self, region: usize) -> bool {
        self.queue.waiting(region) > 0 || self.region_without_workers(region).is_some()
    }

    /// A region whose chunks may travel to this one.
    fn region_without_workers(&self, region: usize) -> Option<usize> {
        let stranded = |r: &usize| *r != region && self.slots[*r] == 0 && self.queue.waiting(*r) > 0;
        if self.policy.travels() { (0..self.slots.len()).find(stranded) } else { None }
    }

    /// The next chunk for a region: its own, else that of a region without workers, as routing has it.
    fn take(&mut self, region: usize) -> Option<(u32, i32)> {
        let mut popped = self.queue.pop(region);
        if popped.is_none() {
            popped = self.queue.pop(self.region_without_workers(region)?);
        }
        popped.map(|(place, chunk)| (self.arrival_of[place as usize], chunk))
    }

    fn start(&mut self, machine: u32, slot: usize, arrival: u32, number: i32) {
        let (now, region) = (self.now, self.machines[machine as usize].region);
        let Some(job) = self.jobs[arrival as usize].as_mut() else { return };
        let chunk = &mut job.chunks[number as usize];
        chunk.state = allowed(chunk.state.after(ChunkEvent::Released));
        chunk.state = allowed(chunk.state.after(ChunkEvent::Claimed));
        if number == PLAN {
            job.state = allowed(job.state.after(JobEvent::PlanClaimed));
        }
        job.first_claim.get_or_insert(now);
        self.view.work[job.work].waiting -= 1;
        let (home, work_s) = (job.home, f64::from(chunk.segments) * job.per_segment_s);
        if home != region {
            self.recorder.transferred(self.scenario, arrival, home, work_s);
        }
        self.occupy_for(machine, slot, arrival, number, work_s);
    }

    pub(super) fn occupy_for(&mut self, machine: u32, slot: usize, arrival: u32, number: i32, work_s: f64) {
        let settings = &self.scenario.settings;
        let pool = &self.view.pools[self.machines[machine as usize].pool].pool;
        let mut lasts_s = settings.plan_s;
        if number != PLAN {
            lasts_s = work_s / pool.encode_rate * f64::from(pool.slots);
            if settings.scatter > 0.0 {
                lasts_s *= self.scatter.log_normal(1.0, settings.scatter);
            }
            if settings.stragglers > 0.0 && self.scatter.chance(settings.stragglers) {
                lasts_s *= STRAGGLER;
            }
            lasts_s += settings.overhead_s;
        }
        self.occupy(machine, slot, arrival, number, lasts_s);
    }

    pub(super) fn slot_ends(&mut self, machine: u32, slot: u8, turn: u32) {
        let Some(running) = self.vacate(machine, slot, turn) else { return };
        self.finish(machine, &running);
        self.look_for_work(machine);
    }

    /// A slot finished its chunk.
    pub(super) fn finish(&mut self, machine: u32, running: &Running) {
        let pool = self.machines[machine as usize].pool;
        self.recorder.span(self.now, running, pool, true);
        self.machines[machine as usize].note_use(running.job, running.lasts_ms, 0);
        self.complete(running.job, running.chunk);
    }

    pub(super) fn chunk(&mut self, running: &Running) -> Option<&mut Chunk> {
        self.jobs[running.job as usize].as_mut()?.chunks.get_mut(running.chunk as usize)
    }

    fn complete(&mut self, arrival: u32, number: i32) {
        let Some(job) = self.jobs[arrival as usize].as_mut() else { return };
        let chunk = &mut job.chunks[number as usize];
        chunk.state = allowed(chunk.state.after(ChunkEvent::Completed));
        let committed = std::mem::take(&mut chunk.segments);
        job.left -= 1;
        let left = job.left;
        if number == FIRST {
            job.playable = Some(self.now.plus_s(self.scenario.settings.publish_s));
        }
        if left == 0 {
            job.state = allowed(job.state.after(JobEvent::ChunksDone));
        }
        let work = &mut self.view.work[job.work];
        work.left_s -= f64::from(committed) * job.per_segment_s;
        work.chunks -= 1;
        self.queue.done(job.place);
        if number == PLAN {
            self.planned(arrival);
        }
        if left == 0 {
            self.forget_work(arrival);
            let at = self.now.plus_s(self.scenario.settings.publish_s);
            self.events.push(at, Event::Published { job: arrival });
        }
    }

    fn planned(&mut self, arrival: u32) {
        let seconds = self.scenario.arrivals.jobs[arrival as usize].seconds;
        let layout = self.layout((seconds / SEGMENT_S).ceil().clamp(1.0, 1e6) as u64);
        let Some(job) = self.jobs[arrival as usize].as_mut() else { return };
        job.state = allowed(job.state.after(JobEvent::Planned));
        job.chunks.reserve_exact(layout.len());
        for (i, segments) in layout.iter().enumerate() {
            let state = ChunkState::Waiting;
            job.chunks.push(Chunk { state, segments: *segments, attempt: 1, splits: 0, taken_back: false });
            self.queue.push(job.place, i as i64 + 1, i32::try_from(i).unwrap_or(i32::MAX - 1) + 1);
        }
        let home = job.home;
        self.feed_all(home);
    }

    /// Takes a job out of the view's work. An entry with nothing left means nothing to anybody; entries go in bulk, in
    /// their order, because work that is nearly in the order of its deadlines is sorted faster in every decision.
    fn forget_work(&mut self, arrival: u32) {
        let Some(place) = self.jobs[arrival as usize].as_ref().map(|j| j.work) else { return };
        self.view.work[place].left_s = 0.0;
        self.work_jobs[place] = None;
        self.forgotten += 1;
        if self.forgotten * 2 <= self.view.work.len() {
            return;
        }
        self.forgotten = 0;
        let mut known = self.work_jobs.iter();
        self.view.work.retain(|_| known.next().is_some_and(Option::is_some));
        self.work_jobs.retain(Option::is_some);
        for (place, known) in self.work_jobs.iter().flatten().enumerate() {
            if let Some(job) = self.jobs[*known as usize].as_mut() {
                job.work = place;
            }
        }
    }

    pub(super) fn published(&mut self, arrival: u32) {
        let Some(job) = self.jobs[arrival as usize].take() else { return };
        let state = allowed(job.state.after(JobEvent::Published));
        debug_assert!(state.is_final());
        self.queue.remove_job(job.place);
        self.recorder.done(self.scenario, self.policy, arrival, job.first_claim, job.playable, self.now);
    }
}

/// A plan of the reference: 1080p30 with segments of six seconds.
fn reference_plan() -> VideoPlan {
    let rate = FrameRate::new(30, 1).expect("30 frames a second are a frame rate");
    VideoPlan {
        stream: 0,
        indexed: true,
        time_base: (1, 30),
        origin: 0,
        source_rate: rate,
        rate,
        grid: Grid::even(rate, 2.0, 3),
        deinterlace: false,
        turn: Turn::None,
        colour: [1; 4],
        to_sdr: false,
        scaler: Scaler::Lanczos,
        gpu_decode: true,
        renditions: Vec::new(),
        thumbnail_every: 60,
        thumbnail_size: (160, 90),
        poster_frame: 0,
    }
}
