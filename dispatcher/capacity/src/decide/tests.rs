use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::memory::Block;
use crate::policy::Rule;
use crate::pools::Fleet;
use crate::view::{ComingWork, Instance, JobWork, Phase, RunningChunk};

const NOW: Moment = Moment(1_000_000_000);

fn fleet() -> Fleet {
    Fleet::parse(include_str!("../../../../infra/fleet.toml")).unwrap()
}

fn policy(text: &str) -> Policy {
    Policy::default().parsed(text).unwrap()
}

/// A job of `work_s` that was handed in just now and is due after `hours`.
fn job(n: u128, region: &str, work_s: f64, hours: f64) -> JobWork {
    JobWork {
        job: Uuid::from_u128(n),
        region: region.into(),
        total_s: work_s,
        left_s: work_s,
        chunks: 120,
        waiting: 120,
        submitted: NOW,
        not_before: NOW,
        ready_by: Some(NOW.plus_s(hours * 3600.0)),
    }
}

fn view(work: Vec<JobWork>) -> FleetView {
    FleetView { work, ..FleetView::empty(&fleet()) }
}

fn pool<'a>(view: &'a mut FleetView, id: &str) -> &'a mut crate::view::PoolView {
    view.pools.iter_mut().find(|p| p.pool.id.as_str() == id).unwrap()
}

fn instance(name: &str, phase: Phase, since_s: f64) -> Instance {
    Instance { id: name.into(), phase, since: NOW.plus_s(-since_s) }
}

fn starts(decision: &Decision) -> BTreeMap<&str, u32> {
    let mut starts = BTreeMap::new();
    for action in &decision.actions {
        if let Action::Start { pool, count } = action {
            *starts.entry(pool.as_str()).or_default() += count;
        }
    }
    starts
}

#[test]
fn an_empty_fleet_without_work_stays_empty() {
    for name in Rule::NAMES {
        let decision = decide(NOW, &view(Vec::new()), &policy(name));
        assert_eq!((decision.actions, decision.reasons), (Vec::new(), Vec::new()), "{name}");
    }
}

#[test]
fn a_match_with_time_starts_one_cheap_spot_instance_and_says_why() {
    let decision = decide(NOW, &view(vec![job(1, "us-east-1", 5400.0, 4.0)]), &Policy::default());
    assert_eq!(starts(&decision), BTreeMap::from([("us-east-1/g6.xlarge/spot", 1)]));
    let said: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "us-east-1 has 5400 encode-seconds to do, does 0.0 a second and should do 1.5",
            "1 more in us-east-1/g6.xlarge/spot: there is work",
        ]
    );
}

#[test]
fn a_measured_rate_counts_in_place_of_the_promise_and_is_named() {
    let mut view = view(vec![job(1, "us-east-1", 5400.0, 4.0)]);
    let one = pool(&mut view, "us-east-1/g6.xlarge/spot");
    let measured = crate::rates::Measured { rate: 2.0, chunks: 40, promised: one.pool.encode_rate };
    one.pool = std::sync::Arc::new(crate::pools::Pool { encode_rate: measured.rate, ..one.pool.as_ref().clone() });
    one.measured = Some(measured);
    let decision = decide(NOW, &view, &Policy::default());
    assert_eq!(
        starts(&decision),
        BTreeMap::from([("us-east-1/g4dn.xlarge/spot", 1)]),
        "it is not the cheapest any more"
    );
    let said = decision.reasons[0].to_string();
    assert!(
        said.starts_with(
            "us-east-1/g6.xlarge/spot counts with 2.0 encode-seconds a second, the median of its last 40 chunks"
        ),
        "{said}"
    );
}

#[test]
fn a_failed_pool_is_passed_over_and_the_next_one_is_used() {
    let mut view = view(vec![job(1, "us-east-1", 5400.0, 4.0)]);
    let block = Block { kind: FailureKind::NoCapacity, until: NOW.plus_s(120.0) };
    pool(&mut view, "us-east-1/g6.xlarge/spot").blocked = Some(block);
    let decision = decide(NOW, &view, &Policy::default());
    assert_eq!(starts(&decision), BTreeMap::from([("us-east-1/g4dn.xlarge/spot", 1)]));
    assert!(decision.reasons.iter().any(|r| r.to_string()
        == "nothing in us-east-1/g6.xlarge/spot: the provider has no such instance; tried again in 120 s"));
    // The failure is over.
    let decision = decide(NOW.plus_s(120.0), &view, &Policy::default());
    assert_eq!(starts(&decision), BTreeMap::from([("us-east-1/g6.xlarge/spot", 1)]));
}

#[test]
fn a_single_match_waits_for_spot_until_on_demand_must_start() {
    let mut view = view(vec![job(1, "eu-west-1", 5400.0, 2.0)]);
    let block = Block { kind: FailureKind::NoCapacity, until: Moment::NEVER };
    pool(&mut view, "eu-west-1/g4dn.xlarge/spot").blocked = Some(block);
    // 7200 s, less 600 of margin, two boots of 540 and 1076 of work: on-demand starts after 4444 s.
    for (after_s, expected) in [(0.0, 0), (4440.0, 0), (4450.0, 1)] {
        let decision = decide(NOW.plus_s(after_s), &view, &Policy::default());
        assert_eq!(decision.started(PurchaseOption::OnDemand), expected, "{after_s}");
    }
    let late = decide(NOW.plus_s(4450.0), &view, &Policy::default());
    assert!(late.reasons.iter().any(|r| r.to_string().contains("on-demand must start now to meet a ready-by")));
}

#[test]
fn a_spot_instance_that_suffices_is_used_until_it_is_taken_back() {
    let mut view = view(vec![job(1, "eu-west-1", 5400.0, 1.0)]);
    pool(&mut view, "eu-west-1/g4dn.xlarge/spot").instances = vec![instance("i-1", Phase::Busy, 60.0)];
    let late = NOW.plus_s(1800.0);
    assert_eq!(decide(late, &view, &Policy::default()).started(PurchaseOption::OnDemand), 0);
    pool(&mut view, "eu-west-1/g4dn.xlarge/spot").instances[0].phase = Phase::Draining;
    let block = Block { kind: FailureKind::NoCapacity, until: Moment::NEVER };
    pool(&mut view, "eu-west-1/g4dn.xlarge/spot").blocked = Some(block);
    assert_eq!(decide(late, &view, &Policy::default()).started(PurchaseOption::OnDemand), 1);
}

#[test]
fn a_long_queue_behind_uniform_progress_gets_on_demand_before_the_last_moment() {
    let mut view = view((1..=10).map(|n| job(n, "eu-west-1", 5400.0, 6.0)).collect());
    let block = Block { kind: FailureKind::NoCapacity, until: Moment::NEVER };
    pool(&mut view, "eu-west-1/g4dn.xlarge/spot").blocked = Some(block);
    assert_eq!(decide(NOW, &view, &Policy::default()).started(PurchaseOption::OnDemand), 0);
    let later = decide(NOW.plus_s(3000.0), &view, &Policy::default());
    assert_eq!(later.started(PurchaseOption::OnDemand), 1);
    assert!(
        later.reasons.iter().any(|r| matches!(r, Reason::Started { cause: Cause::BehindUniformProgress { .. }, .. }))
    );
    assert_eq!(decide(NOW.plus_s(3000.0), &view, &policy("greedy_deadline")).started(PurchaseOption::OnDemand), 0);
}

#[test]
fn on_demand_drains_when_the_queue_is_ahead_and_only_then() {
    let mut work: Vec<JobWork> = (1..=10).map(|n| job(n, "eu-west-1", 5400.0, 10.0)).collect();
    for job in &mut work {
        job.left_s = 4800.0;
    }
    let mut view = view(work);
    pool(&mut view, "eu-west-1/g4dn.xlarge/on_demand").instances = vec![instance("i-1", Phase::Busy, 60.0)];
    let drains = |view: &FleetView, policy: &Policy| {
        decide(NOW.plus_s(600.0), view, policy).actions.iter().any(|a| matches!(a, Action::Drain { .. }))
    };
    assert!(drains(&view, &Policy::default()));
    assert!(!drains(&view, &policy("deadline:drain=0")));
    assert!(!drains(&view, &policy("greedy_deadline")));
    for job in &mut view.work {
        job.left_s = 5350.0;
    }
    assert!(!drains(&view, &Policy::default()));
}

#[test]
fn an_upload_starts_an_instance_one_boot_before_it_is_complete() {
    let coming = |in_s: f64| FleetView {
        coming: vec![ComingWork {
            region: "eu-west-1".into(),
            encode_s: 5400.0,
            expected: NOW.plus_s(in_s),
            ready_by: None,
        }],
        ..FleetView::empty(&fleet())
    };
    assert_eq!(decide(NOW, &coming(331.0), &Policy::default()).actions, []);
    let decision = decide(NOW, &coming(329.0), &Policy::default());
    assert_eq!(starts(&decision), BTreeMap::from([("eu-west-1/g4dn.xlarge/spot", 1)]));
    assert!(decision.reasons.iter().any(|r| matches!(r, Reason::Started { cause: Cause::Upload, .. })));
}

#[test]
fn idle_instances_end_after_the_timer_and_stay_while_work_waits_or_comes() {
    let mut idle = view(Vec::new());
    pool(&mut idle, "eu-west-1/g4dn.xlarge/spot").instances = vec![
        instance("i-1", Phase::Idle, 121.0),
        instance("i-2", Phase::Idle, 30.0),
        instance("i-3", Phase::Busy, 999.0),
    ];
    let ends = |view: &FleetView| -> Vec<String> {
        let decision = decide(NOW, view, &Policy::default());
        let ends = decision.actions.iter().filter_map(|a| match a {
            Action::End { instance, .. } => Some(instance.to_string()),
            _ => None,
        });
        ends.collect()
    };
    assert_eq!(ends(&idle), ["i-1"]);
    let mut waiting = idle.clone();
    waiting.work = vec![job(1, "eu-west-1", 60.0, 1.0)];
    assert_eq!(ends(&waiting), [""; 0]);
    waiting.work[0].waiting = 0;
    assert_eq!(ends(&waiting), ["i-1"], "others have all of it");
}

#[test]
fn work_of_a_region_that_does_not_answer_is_planned_for_another() {
    let mut view = view(vec![job(1, "eu-west-1", 5400.0, 4.0)]);
    view.regions[0].healthy = false;
    let decision = decide(NOW, &view, &Policy::default());
    assert_eq!(starts(&decision), BTreeMap::from([("us-east-1/g6.xlarge/spot", 1)]));
    assert!(decision.reasons.iter().any(|r| r.to_string().starts_with("eu-west-1 can start nothing")));
}

#[test]
fn a_mix_splits_and_never_falls_back() {
    let mut view = view((1..=3).map(|n| job(n, "eu-west-1", 5400.0, 1.0)).collect());
    let started = |view: &FleetView, text: &str| {
        let decision = decide(NOW, view, &policy(text));
        (decision.started(PurchaseOption::OnDemand), decision.started(PurchaseOption::Spot))
    };
    assert_eq!(started(&view, "static_mix:base=1"), (1, 2));
    assert_eq!(started(&view, "static_mix:base=0"), (0, 2), "the quota admits two");
    let block = Block { kind: FailureKind::NoCapacity, until: Moment::NEVER };
    pool(&mut view, "eu-west-1/g4dn.xlarge/spot").blocked = Some(block);
    assert_eq!(started(&view, "static_mix:base=0"), (0, 0));
    assert_eq!(started(&view, "backlog"), (1, 0), "this one takes what there is");
    assert_eq!(started(&view, "spot_then_on_demand:wait_s=60"), (0, 0));
    assert_eq!(started(&view, "spot_then_on_demand:wait_s=0"), (1, 0));
}

/// A chunk of four segments that has been at work for 40 s.
fn chunk(n: i32, who: &str, done_s: f64) -> RunningChunk {
    RunningChunk {
        job: Uuid::from_u128(1),
        chunk: n,
        attempt: 1,
        instance: who.into(),
        since: NOW.plus_s(-40.0),
        total_s: 240.0,
        done_s,
        segments: 4,
        segment_s: 60.0,
        splits: 0,
        taken_back: false,
    }
}

/// Three chunks of which the second is far slower than the others, and an instance without work.
fn with_a_straggler() -> FleetView {
    let mut view = view(vec![JobWork { waiting: 0, ..job(1, "us-east-1", 600.0, 4.0) }]);
    pool(&mut view, "us-east-1/g4dn.xlarge/spot").instances = vec![
        instance("i-1", Phase::Busy, 400.0),
        instance("i-2", Phase::Busy, 400.0),
        instance("i-3", Phase::Idle, 5.0),
    ];
    view.running = vec![chunk(1, "i-1", 195.0), chunk(2, "i-2", 20.0), chunk(3, "i-1", 200.0)];
    view
}

/// What is done about chunks at work.
fn relieved(view: &FleetView, text: &str) -> Vec<Action> {
    let actions = decide(NOW, view, &policy(text)).actions;
    actions.into_iter().filter(|a| matches!(a, Action::Split { .. } | Action::TakeBack { .. })).collect()
}

#[test]
fn a_straggler_is_split_while_somebody_has_nothing_to_do_and_nothing_waits() {
    let mut view = with_a_straggler();
    let split = Action::Split { job: Uuid::from_u128(1), chunk: 2, attempt: 1, slow: "i-2".into() };
    for name in ["deadline", "hedge", "greedy_deadline"] {
        assert_eq!(relieved(&view, name), std::slice::from_ref(&split), "{name}");
        assert_eq!(relieved(&view, &format!("{name}:slower=0")), [], "{name}");
    }
    assert_eq!(relieved(&view, "backlog"), []);
    let decision = decide(NOW, &view, &policy("deadline"));
    let said: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|s| s.contains("times slower than its siblings, so what follows")), "{said:?}");
    assert!(!decision.actions.iter().any(|a| matches!(a, Action::End { .. })), "who is free stays for the rest");

    view.work[0].waiting = 1;
    assert_eq!(relieved(&view, "deadline"), [], "what waits goes first");
    view.work[0].waiting = 0;
    view.running[1].splits = 3;
    assert_eq!(relieved(&view, "deadline"), [], "it is slow everywhere");
    view.running[1].splits = 0;
    view.running[1].since = NOW.plus_s(-10.0);
    assert_eq!(relieved(&view, "deadline"), [], "it has only begun");
    view.running[1].since = NOW.plus_s(-40.0);
    pool(&mut view, "us-east-1/g4dn.xlarge/spot").instances[2].phase = Phase::Booting;
    view.running.push(chunk(4, "i-1", 200.0));
    let full = policy("deadline");
    let slots = pool(&mut view, "us-east-1/g4dn.xlarge/spot").pool.slots as usize;
    view.running.extend((5..).take(slots).map(|n| chunk(n, "i-1", 200.0)));
    let actions = decide(NOW, &view, &full).actions;
    assert!(!actions.iter().any(|a| matches!(a, Action::Split { .. })), "nobody is free");
}

#[test]
fn the_last_segment_of_a_straggler_is_taken_back_once_and_when_a_fresh_start_is_sooner() {
    let mut view = with_a_straggler();
    view.running[1].segments = 1;
    view.running[1].total_s = 60.0;
    let back = Action::TakeBack { job: Uuid::from_u128(1), chunk: 2, attempt: 1, slow: "i-2".into() };
    assert_eq!(relieved(&view, "deadline"), [back]);
    view.running[1].taken_back = true;
    assert_eq!(relieved(&view, "deadline"), [], "once");
    view.running[1].taken_back = false;
    view.running[1].total_s = 22.0;
    assert_eq!(relieved(&view, "deadline"), [], "it is nearly done");
}

/// Numbers as a broken observer may give them.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..20_000.0_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(-1.0),
        1 => Just(f64::MAX),
    ]
}

fn any_moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        8 => (-40_000_i64..40_000).prop_map(|s| NOW.plus_s(s as f64)),
        1 => Just(Moment(i64::MIN)),
        1 => Just(Moment::NEVER),
    ]
}

fn any_region() -> impl Strategy<Value = RegionName> {
    prop_oneof![Just("eu-west-1"), Just("us-east-1"), Just("us-west-2"), Just("nowhere")].prop_map(RegionName::from)
}

fn any_work() -> impl Strategy<Value = JobWork> {
    let ready_by = proptest::option::of(any_moment());
    (any_region(), any_number(), any_number(), 0_u32..200, any_moment(), any_moment(), ready_by).prop_map(
        |(region, total_s, left_s, chunks, submitted, not_before, ready_by)| JobWork {
            job: Uuid::from_u128(u128::from(chunks)),
            region,
            total_s,
            left_s,
            chunks,
            waiting: chunks / 2,
            submitted,
            not_before,
            ready_by,
        },
    )
}

fn any_pool_state() -> impl Strategy<Value = (Vec<(Phase, Moment)>, u32, Option<Block>)> {
    let phase = prop_oneof![Just(Phase::Booting), Just(Phase::Idle), Just(Phase::Busy), Just(Phase::Draining)];
    let block =
        (0..FailureKind::ALL.len(), any_moment()).prop_map(|(i, until)| Block { kind: FailureKind::ALL[i], until });
    (proptest::collection::vec((phase, any_moment()), 0..4), 0_u32..3, proptest::option::of(block))
}

fn any_running() -> impl Strategy<Value = RunningChunk> {
    let numbers = (any_number(), any_number(), any_number());
    let rows = (0_u32..6, 0_u32..6, any::<bool>());
    (0..10_usize, 0..4_usize, 0..6_i32, any_moment(), numbers, rows).prop_map(
        |(pool, place, n, since, (total_s, done_s, segment_s), (segments, splits, taken_back))| RunningChunk {
            instance: format!("i-{pool}-{place}").as_str().into(),
            since,
            total_s,
            segment_s,
            segments,
            splits,
            taken_back,
            ..chunk(n, "", done_s)
        },
    )
}

fn any_view() -> impl Strategy<Value = FleetView> {
    let coming = (any_region(), any_number(), any_moment(), proptest::option::of(any_moment()))
        .prop_map(|(region, encode_s, expected, ready_by)| ComingWork { region, encode_s, expected, ready_by });
    (
        proptest::collection::vec(any_work(), 0..12),
        proptest::collection::vec(coming, 0..3),
        proptest::collection::vec(any_pool_state(), 10),
        proptest::collection::vec((0_u32..40, 0_u32..40, any::<bool>()), 3),
        proptest::collection::vec(any_running(), 0..8),
    )
        .prop_map(|(work, coming, pools, regions, running)| {
            let mut view = FleetView { work, coming, running, ..FleetView::empty(&fleet()) };
            for (n, (pool, (instances, requested, blocked))) in view.pools.iter_mut().zip(pools).enumerate() {
                let names = instances.into_iter().enumerate();
                pool.instances = names
                    .map(|(i, (phase, since))| Instance { id: format!("i-{n}-{i}").as_str().into(), phase, since })
                    .collect();
                (pool.requested, pool.blocked) = (requested, blocked);
            }
            for (region, (spot, on_demand, healthy)) in view.regions.iter_mut().zip(regions) {
                region.healthy = healthy;
                for quota in &mut region.quotas {
                    quota.vcpu = if quota.option == PurchaseOption::Spot { spot } else { on_demand };
                }
            }
            view
        })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (0..Rule::NAMES.len()).prop_map(|i| policy(Rule::NAMES[i]))
}

fn charged(view: &FleetView, region: &RegionName, option: PurchaseOption) -> u32 {
    let pools = view.pools.iter().filter(|p| p.pool.region == *region && p.pool.option == option);
    pools.map(|p| p.charged() * p.pool.vcpu).sum()
}

/// The view after the provider took the order and before it shows any of it.
fn ordered(mut view: FleetView, decision: &Decision) -> FleetView {
    for action in &decision.actions {
        if let Action::Start { pool, count } = action {
            view.pools.iter_mut().find(|p| p.pool.id == *pool).unwrap().requested += count;
        }
    }
    view
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn quotas_limits_failures_and_health_are_respected_by_every_rule(view in any_view(), policy in any_policy()) {
        let decision = decide(NOW, &view, &policy);
        let after = ordered(view.clone(), &decision);
        for region in &view.regions {
            for quota in &region.quotas {
                let before = charged(&view, &region.name, quota.option);
                prop_assert!(charged(&after, &region.name, quota.option) <= quota.vcpu.max(before));
            }
        }
        for action in &decision.actions {
            let Action::Start { pool, count } = action else { continue };
            let pool = view.pools.iter().find(|p| p.pool.id == *pool).unwrap();
            prop_assert!(*count > 0 && policy.rule.uses(pool.pool.option));
            prop_assert!(pool.blocked.is_none_or(|b| b.until <= NOW));
            prop_assert!(view.regions.iter().any(|r| r.name == pool.pool.region && r.healthy));
        }
    }

    #[test]
    fn only_idle_instances_end_and_only_a_rule_that_may_drains(view in any_view(), policy in any_policy()) {
        let phase = |id: &InstanceId| {
            view.pools.iter().find_map(|p| p.instances.iter().find(|i| i.id == *id).map(|i| (i.phase, p.pool.option)))
        };
        for action in decide(NOW, &view, &policy).actions {
            match action {
                Action::End { instance, .. } => prop_assert_eq!(phase(&instance).unwrap().0, Phase::Idle),
                Action::Drain { instance, .. } => {
                    prop_assert!(matches!(policy.rule.name(), "deadline" | "hedge"));
                    prop_assert_eq!(phase(&instance), Some((Phase::Busy, PurchaseOption::OnDemand)));
                }
                Action::Split { job, chunk, attempt, .. } | Action::TakeBack { job, chunk, attempt, .. } => {
                    let is_it = |c: &RunningChunk| (c.job, c.chunk, c.attempt) == (job, chunk, attempt);
                    prop_assert!(view.running.iter().any(is_it) && policy.rule.looks_at_chunks());
                }
                Action::Start { .. } => {}
            }
        }
    }

    #[test]
    fn deciding_twice_gives_the_same_and_an_order_is_not_given_twice(view in any_view(), policy in any_policy()) {
        let decision = decide(NOW, &view, &policy);
        prop_assert_eq!(format!("{decision:?}"), format!("{:?}", decide(NOW, &view, &policy)));
        let again = decide(NOW, &ordered(view, &decision), &policy);
        prop_assert_eq!(starts(&again), BTreeMap::new());
    }

    #[test]
    fn every_reason_is_a_sentence_with_numbers_that_are_finite(view in any_view(), policy in any_policy()) {
        for reason in decide(NOW, &view, &policy).reasons {
            let text = reason.to_string();
            prop_assert!(!text.contains("NaN") && !text.contains("inf "), "{}", text);
        }
    }
}
