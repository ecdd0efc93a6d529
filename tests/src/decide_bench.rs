//! How long one decision takes: 10,000 chunks that wait, each of a job of its own, and 50 pools.

use std::fmt::Write as _;
use std::time::Instant;

use capacity::decide::decide;
use capacity::moment::Moment;
use capacity::policy::Policy;
use capacity::pools::Fleet;
use capacity::view::{FleetView, Instance, JobWork, Phase, RunningChunk};
use uuid::Uuid;

use crate::measure::{Measured, median};

const CHUNKS: u32 = 10_000;
const POOLS: usize = 50;
/// Instances at work in each pool.
const INSTANCES: u32 = 20;
/// A decision should take less than this.
const LIMIT_MS: f64 = 10.0;

/// Median time of a decision by each policy that plans by deadlines.
///
/// # Panics
/// The made-up fleet is refused.
#[must_use]
pub fn decisions(runs: u32) -> Vec<Measured> {
    let fleet = Fleet::parse(&fleet_file()).expect("the made-up fleet is valid");
    assert_eq!(fleet.pools.len(), POOLS);
    let view = view(&fleet);
    println!("\ndecide: {CHUNKS} chunks of as many jobs, {POOLS} pools with {INSTANCES} busy instances each");
    let names = ["backlog", "deadline", "hedge"];
    let measured = names.map(|name| {
        let policy = Policy::default().parsed(name).expect("a policy's name");
        let times_ms: Vec<f64> = (0..runs.max(5) * 4)
            .map(|i| {
                let began = Instant::now();
                let decision = decide(Moment(1_000_000 + i64::from(i)), &view, &policy);
                let took_ms = began.elapsed().as_secs_f64() * 1000.0;
                assert!(!decision.reasons.is_empty());
                took_ms
            })
            .collect();
        let count = times_ms.len();
        let median_ms = median(times_ms);
        println!("  {name:<10} {median_ms:.2} ms (median of {count})");
        Measured { name: format!("decide-{name}-of-{LIMIT_MS}-ms"), ratio: median_ms / LIMIT_MS, limit: 1.0 }
    });
    measured.to_vec()
}

/// Five regions that sell the same five types, spot and on-demand.
fn fleet_file() -> String {
    let mut text = String::new();
    for region in ["us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-2"] {
        write!(text, "[[region]]\nname = \"{region}\"\nquota = [\n").expect("a String takes everything");
        for option in ["spot", "on_demand"] {
            writeln!(text, "  {{ family = \"g_and_vt\", option = \"{option}\", vcpu = 1000 }},")
                .expect("a String takes everything");
        }
        text.push_str("]\n");
        for kind in ["g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.xlarge", "g6.2xlarge"] {
            for option in ["spot", "on_demand"] {
                write!(
                    text,
                    "[[pool]]\nregion = \"{region}\"\ninstance_type = \"{kind}\"\noption = \"{option}\"\nprice_usd_per_hour = 0.5\n"
                )
                .expect("a String takes everything");
            }
        }
    }
    text
}

fn view(fleet: &Fleet) -> FleetView {
    let now = Moment(1_000_000);
    let mut view = FleetView::empty(fleet);
    for i in 0..CHUNKS {
        let region = &fleet.regions[i as usize % fleet.regions.len()].name;
        view.work.push(JobWork {
            job: Uuid::from_u128(u128::from(i)),
            region: region.clone(),
            total_s: 48.0,
            left_s: 48.0,
            chunks: 1,
            waiting: 1,
            submitted: now,
            not_before: now,
            // Not in the order in which they came.
            ready_by: Some(now.plus_s(3600.0 + f64::from(i.wrapping_mul(7919) % CHUNKS))),
        });
    }
    for (p, pool) in view.pools.iter_mut().enumerate() {
        for n in 0..INSTANCES {
            let id = format!("i-{p:03}-{n:03}").as_str().into();
            pool.instances.push(Instance { id, phase: if n == 0 { Phase::Idle } else { Phase::Busy }, since: now });
        }
        let busy = pool.instances.iter().filter(|i| i.phase == Phase::Busy);
        view.running.extend(busy.enumerate().map(|(n, instance)| RunningChunk {
            job: Uuid::from_u128(n as u128),
            chunk: 1,
            attempt: 1,
            instance: instance.id.clone(),
            since: now.plus_s(-60.0),
            total_s: 480.0,
            done_s: n as f64,
            segments: 4,
            segment_s: 6.0,
            splits: 0,
            taken_back: false,
        }));
    }
    view
}
