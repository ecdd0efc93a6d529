//! Who starts the fleet and what people ask of it.

use fleet::state::JobState;
use uuid::Uuid;

use super::faults::{a_device, quarantine};
use super::film::Film;
use super::memory::{Ms, Unswept};
use super::world::{Due, OUTSIDE, Process, ProcessId, Sim, World};
use super::{dispatcher, worker};

/// Sets up regions, processes and jobs; gives when faults may end.
pub(super) fn set_up(sim: &Sim) -> Ms {
    let (processes, jobs, until) = {
        let mut world = sim.world();
        let regions = world.random.usize(1..3);
        world.queues.resize_with(regions, Default::default);
        for region in 0..regions {
            world.store.note_region(&region.to_string(), None);
        }
        // Now and then the sweep comes while faults strike; else when no writer can be alive.
        world.orphans_after = if world.random.u32(0..3) == 0 { 2_000 } else { super::NO_WRITER };
        let workers = world.random.usize(2..5).max(regions);
        for number in 0..workers {
            world.processes.push(Process::new(format!("worker {number}"), Some(number % regions)));
        }
        for number in 0..world.random.usize(1..3) {
            world.processes.push(Process::new(format!("dispatcher {number}"), None));
        }
        let organisations: Vec<Uuid> = (0..world.random.usize(1..3)).map(|_| world.id()).collect();
        for organisation in &organisations {
            let weight = world.random.u32(1..4);
            world.store.organisations.insert(*organisation, weight);
        }
        let until = world.random.i64(20_000..40_000);
        let mut jobs = Vec::new();
        for number in 0..world.random.u32(1..5) {
            let organisation = organisations[world.random.usize(0..organisations.len())];
            let home = world.random.usize(0..regions);
            // The first comes at once, so that there is something to strike.
            let at = if number == 0 { 100 } else { world.random.i64(100..until) };
            jobs.push((at, organisation, home.to_string()));
        }
        (1..world.processes.len(), jobs, until)
    };
    for process in processes {
        boot(sim, process, 0);
    }
    for (at, organisation, home) in jobs {
        let sim = sim.clone();
        sim.clone().spawn(OUTSIDE, async move { ask(sim, at, organisation, home, until).await });
    }
    until
}

/// Starts a process after a while.
pub(super) fn boot(sim: &Sim, process: ProcessId, after: Ms) {
    let it = sim.clone();
    sim.spawn(OUTSIDE, async move {
        it.sleep(after).await;
        let mut world = it.world();
        if world.processes[process].alive && after > 0 {
            return;
        }
        let now = world.now;
        let started = &mut world.processes[process];
        (started.alive, started.paused_until) = (true, now);
        world.say(|w| format!("{} starts", w.processes[process].name));
        match world.processes[process].region {
            Some(region) => {
                let (id, slots) = (world.id(), world.random.usize(1..3));
                world.watch.holders.insert(id, process);
                drop(world);
                it.spawn(process, worker::run(it.clone(), process, region, id, slots));
            }
            None => {
                drop(world);
                dispatcher::start(&it, process);
            }
        }
    });
}

/// Hands a job in, and changes its mind.
async fn ask(sim: Sim, at: Ms, organisation: Uuid, home: String, until: Ms) {
    sim.sleep(at).await;
    let job = {
        let mut world = sim.world();
        let film = Film::draw(&mut world.random);
        let (job, copies) = (world.id(), film.defies_copying || world.random.u32(0..4) == 0);
        if world.random.u32(0..12) == 0 && world.poison.is_none() {
            let chunk = world.random.i32(0..3);
            world.poison = Some((job, chunk));
        }
        world.say(|_| format!("job {job}: {} frames, {} ms a segment, copies: {copies}", film.frames, film.encode_ms));
        world.films.insert(job, film);
        world.store.submit(job, organisation, &home, copies);
        world.look();
        job
    };
    loop {
        let wait = sim.random(500..9_000);
        sim.sleep(wait).await;
        let mut world = sim.world();
        let Some(state) = world.store.jobs.get(&job).map(|j| j.state) else { return };
        if world.now > until || state == JobState::Succeeded && world.random.bool() {
            break;
        }
        let said = match (state.is_final(), world.random.u32(0..12)) {
            (false, 0) | (true, 1) => format!("cancel {job}: {:?}", world.store.cancel(job)),
            (false, 1) => {
                let segment = world.random.i64(0..5);
                format!("focus {job}: {:?}", world.store.focus(job, segment))
            }
            (true, 2..8) => format!("retry {job}: {:?}", world.store.retry(job)),
            _ => continue,
        };
        world.say(|_| said);
        world.look();
    }
    if sim.random(0..8) == 0 {
        ask_again_late(&sim, job).await;
    }
}

/// Tries a job again when all is swept, and thinks better of it.
async fn ask_again_late(sim: &Sim, job: Uuid) {
    sim.world().undecided += 1;
    loop {
        let (ended, now) = {
            let world = sim.world();
            let row = world.store.jobs.get(&job);
            if row.is_none_or(|j| j.state == JobState::Succeeded) {
                break;
            }
            (row.and_then(|j| j.finished_at), world.now)
        };
        let due = ended.map(|at| at + super::NO_WRITER + 30_000);
        if due.is_some_and(|due| now >= due) {
            say(sim, |w| format!("retry {job}, late: {:?}", w.store.retry(job)));
            let wait = sim.random(500..9_000);
            sim.sleep(wait).await;
            say(sim, |w| format!("cancel {job}, late: {:?}", w.store.cancel(job)));
            break;
        }
        sim.sleep(due.map_or(5_000, |due| due - now)).await;
    }
    sim.world().undecided -= 1;
}

/// What somebody asks for.
fn say(sim: &Sim, ask: impl FnOnce(&mut World) -> String) {
    let mut world = sim.world();
    let said = ask(&mut world);
    world.say(|_| said);
    world.look();
}

/// Now and then somebody cancels a job just when it is being published, and tries it again at once; a device that made it
/// may prove faulty then.
pub(super) fn begin_publishing(world: &mut World) -> u64 {
    let begun = world.store.begin_publishing();
    if begun > 0 && world.weather.foul && world.random.u32(0..6) == 0 {
        let publishing = world.store.jobs.iter().filter(|(_, j)| j.state == JobState::Publishing);
        if let Some(job) = publishing.map(|(id, _)| *id).next_back() {
            let at = world.now + world.random.i64(0..600);
            let cancel = move |world: &mut World| {
                let said = format!("cancel {job}: {:?}", world.store.cancel(job));
                world.say(|_| said);
            };
            world.at(at, Due::Run(Box::new(cancel)));
            if world.random.bool() {
                let at = at + world.random.i64(0..1_500);
                let device = world.random.bool().then(|| a_device(world)).flatten();
                let retry = move |world: &mut World| {
                    let said = format!("retry {job}: {:?}", world.store.retry(job));
                    world.say(|_| said);
                    if let Some(device) = device {
                        quarantine(world, &device);
                    }
                };
                world.at(at, Due::Run(Box::new(retry)));
            }
        }
    }
    begun
}

/// Now and then somebody tries a job again just when what it left is being swept.
pub(super) fn unswept(world: &mut World, after: Ms) -> Vec<Unswept> {
    let found = world.store.unswept(after, super::NO_WRITER);
    if world.weather.foul && world.random.u32(0..3) == 0 {
        for job in found.iter().map(|u| u.job) {
            let at = world.now + world.random.i64(0..120);
            let retry = move |world: &mut World| {
                let said = format!("retry {job}, swept: {:?}", world.store.retry(job));
                world.say(|_| said);
            };
            world.at(at, Due::Run(Box::new(retry)));
        }
    }
    found
}
