//! Which region a chunk is released to. Pure.

use fleet::store::release::{Candidate, RegionLoad};

/// Chunks that are released for each slot: one at work and one ready, so that no slot waits for the dispatcher, and
/// everything else stays where it can be reordered, moved and cancelled.
const PER_SLOT: u64 = 2;

/// Chunks that are released to a region without workers: enough to show that there is work.
const WITHOUT_WORKERS: u64 = 2;

/// A region as routing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionView {
    /// Name.
    pub name: String,
    /// Whether it answers.
    pub healthy: bool,
    /// Released and not claimed.
    pub queued: u64,
    /// At work.
    pub running: u64,
    /// Slots of living workers.
    pub slots: u64,
}

impl RegionView {
    /// A configured region with what is known of its load.
    #[must_use]
    pub fn new(name: &str, healthy: bool, loads: &[RegionLoad]) -> Self {
        let load = loads.iter().find(|l| l.region == name);
        let count = |f: fn(&RegionLoad) -> i64| load.map_or(0, |l| u64::try_from(f(l)).unwrap_or(0));
        Self {
            name: name.to_owned(),
            healthy,
            queued: count(|l| l.queued),
            running: count(|l| l.running),
            slots: count(|l| l.slots),
        }
    }

    /// Chunks that may still be released here.
    #[must_use]
    pub fn room(&self) -> u64 {
        if !self.healthy {
            return 0;
        }
        let deep = (PER_SLOT * self.slots).saturating_sub(self.running).max(WITHOUT_WORKERS);
        deep.saturating_sub(self.queued)
    }

    /// Slots without work, now or in a moment.
    fn idle(&self) -> u64 {
        if self.healthy { self.slots.saturating_sub(self.running + self.queued) } else { 0 }
    }
}

/// Chooses a region for a chunk: that of its source as long as it answers and has room; another one when that does not
/// answer, or has no worker at all while another has idle ones. `None`: the chunk waits.
#[must_use]
pub fn route(candidate: &Candidate, regions: &[RegionView]) -> Option<usize> {
    let home = regions.iter().position(|r| r.name == candidate.home_region && r.healthy);
    let best_idle = || {
        let idle = regions.iter().enumerate().filter(|(_, r)| r.idle() > 0);
        idle.max_by_key(|(i, r)| (r.idle(), std::cmp::Reverse(*i))).map(|(i, _)| i)
    };
    let best_room = || {
        let room = regions.iter().enumerate().filter(|(_, r)| r.room() > 0);
        room.max_by_key(|(i, r)| (r.slots > 0, r.room(), std::cmp::Reverse(*i))).map(|(i, _)| i)
    };
    match home {
        Some(home) if regions[home].slots == 0 => best_idle().or_else(|| (regions[home].room() > 0).then_some(home)),
        Some(home) => (regions[home].room() > 0).then_some(home),
        None => best_room(),
    }
}

/// Routes chunks in their order, counting what is released on the way.
#[must_use]
pub fn route_all(candidates: Vec<Candidate>, mut regions: Vec<RegionView>) -> Vec<(Candidate, String)> {
    let mut chosen = Vec::new();
    for candidate in candidates {
        if let Some(i) = route(&candidate, &regions) {
            regions[i].queued += 1;
            chosen.push((candidate, regions[i].name.clone()));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str, healthy: bool, queued: u64, running: u64, slots: u64) -> RegionView {
        RegionView { name: name.to_owned(), healthy, queued, running, slots }
    }

    fn from(home: &str) -> Candidate {
        Candidate { job: uuid::Uuid::nil(), chunk: 1, attempt: 1, home_region: home.to_owned(), last_region: None }
    }

    #[test]
    fn work_stays_with_its_source_while_that_region_answers() {
        let regions = [region("eu", true, 0, 4, 4), region("us", true, 0, 0, 4)];
        assert_eq!(route(&from("eu"), &regions), Some(0));
        let full = [region("eu", true, 4, 4, 4), region("us", true, 0, 0, 4)];
        assert_eq!(route(&from("eu"), &full), None, "it waits rather than travels");
    }

    #[test]
    fn work_leaves_a_region_that_does_not_answer() {
        let regions = [region("eu", false, 0, 4, 4), region("us", true, 0, 0, 4)];
        assert_eq!(route(&from("eu"), &regions), Some(1));
        assert_eq!(route(&from("mars"), &regions), Some(1), "and one that is not configured");
    }

    #[test]
    fn work_goes_where_idle_workers_are_when_its_own_region_has_none() {
        let regions = [region("eu", true, 0, 0, 0), region("us", true, 0, 1, 4)];
        assert_eq!(route(&from("eu"), &regions), Some(1));
        let none = [region("eu", true, 0, 0, 0), region("us", true, 0, 0, 0)];
        assert_eq!(route(&from("eu"), &none), Some(0), "a little shows that there is work");
        assert_eq!(route(&from("eu"), &[region("eu", true, 2, 0, 0)]), None);
    }

    #[test]
    fn a_region_gets_about_two_chunks_for_each_slot() {
        let many: Vec<Candidate> = (0..100).map(|_| from("eu")).collect();
        assert_eq!(route_all(many.clone(), vec![region("eu", true, 0, 0, 8)]).len(), 16);
        assert_eq!(route_all(many.clone(), vec![region("eu", true, 3, 8, 8)]).len(), 5);
        assert_eq!(route_all(many, vec![region("eu", false, 0, 0, 8)]).len(), 0);
    }
}
