use std::sync::Arc;

use capacity::memory::FailureKind;
use capacity::moment::Moment;
use capacity::pools::{Fleet, InstanceId, Pool, PurchaseOption};
use capacity::view::Phase;
use fleet::store::capacity::{Encoded, EndedRow, InstanceRow, LaunchFailureRow, OpenJob};
use fleet::store::stragglers::AtWork;
use fleet::timeline::FrameRate;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::observe::{job_work, memory, pool_view, running_chunk};
use super::provider::{Shown, ShownInstance};

fn fleet() -> Fleet {
    Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap()
}

fn spot(fleet: &Fleet) -> Arc<Pool> {
    fleet.pools.iter().find(|p| p.option == PurchaseOption::Spot).unwrap().clone()
}

fn row(pool: &Pool, id: &str) -> InstanceRow {
    let at = OffsetDateTime::UNIX_EPOCH;
    InstanceRow {
        id: id.to_owned(),
        region: pool.region.to_string(),
        pool: pool.id.to_string(),
        seen_at: at,
        ready_at: None,
        draining_at: None,
        reason: None,
        worker: None,
        worker_state: None,
        running: 0,
        idle_since: None,
        alone_since: at,
    }
}

fn with_worker(mut row: InstanceRow, running: i64) -> InstanceRow {
    row.worker = Some(Uuid::nil());
    row.worker_state = Some("ready".to_owned());
    row.running = running;
    row
}

fn shown(pool: &Pool, wanted: u32, ids: &[(&str, bool)]) -> Shown {
    let instances = ids.iter().map(|(id, ending)| ShownInstance { id: InstanceId::from(*id), ending: *ending });
    Shown { pool: pool.id.clone(), wanted, instances: instances.collect() }
}

#[test]
fn an_instance_boots_until_its_worker_comes_and_is_idle_or_busy_by_what_the_worker_holds() {
    let fleet = fleet();
    let pool = spot(&fleet);
    let mut draining = with_worker(row(&pool, "d"), 1);
    draining.draining_at = Some(OffsetDateTime::UNIX_EPOCH);
    let rows = [row(&pool, "a"), with_worker(row(&pool, "b"), 0), with_worker(row(&pool, "c"), 2), draining];
    let ids = [("a", false), ("b", false), ("c", false), ("d", false), ("e", false), ("f", true)];
    let view = pool_view(&pool, Some(&shown(&pool, 5, &ids)), &rows);
    let phases: Vec<Phase> = view.instances.iter().map(|i| i.phase).collect();
    let expected = [Phase::Booting, Phase::Idle, Phase::Busy, Phase::Draining, Phase::Booting, Phase::Draining];
    assert_eq!(phases, expected, "the last two were never seen before, and are being ended");
    assert_eq!(view.requested, 0);
}

#[test]
fn what_was_asked_for_and_is_not_there_counts_as_requested() {
    let fleet = fleet();
    let pool = spot(&fleet);
    let view = pool_view(&pool, Some(&shown(&pool, 3, &[("a", false), ("b", true)])), &[]);
    assert_eq!((view.requested, view.charged()), (2, 4), "an ending instance is charged until it is gone");
}

#[test]
fn a_region_that_does_not_answer_keeps_what_was_seen_there_on_its_quota() {
    let fleet = fleet();
    let pool = spot(&fleet);
    let view = pool_view(&pool, None, &[row(&pool, "a"), row(&fleet.pools[1], "other")]);
    assert_eq!((view.charged(), view.requested), (1, 0));
}

#[test]
fn the_memory_of_failures_follows_what_happened_in_its_order() {
    let fleet = fleet();
    let pool = spot(&fleet);
    let at = OffsetDateTime::UNIX_EPOCH;
    let failure = |seconds: i64, kind: FailureKind| LaunchFailureRow {
        pool: pool.id.to_string(),
        try_id: seconds.to_string(),
        kind: kind.as_str().to_owned(),
        message: String::new(),
        at: at + Duration::seconds(seconds),
    };
    let ended = |seconds: i64| EndedRow { pool: pool.id.to_string(), ended_at: at + Duration::seconds(seconds) };
    let now = Moment::from(at + Duration::seconds(30));
    let blocked = |failures: &[LaunchFailureRow], ended: &[EndedRow]| {
        memory(&fleet, failures, ended).block(&pool, now).map(|b| b.kind)
    };
    let quota = [failure(10, FailureKind::SpotQuota)];
    assert_eq!(blocked(&quota, &[]), Some(FailureKind::SpotQuota));
    assert_eq!(blocked(&quota, &[ended(20)]), None, "an instance ended since: its vCPUs are free");
    assert_eq!(blocked(&quota, &[ended(5)]), Some(FailureKind::SpotQuota), "that was before");
    let unknown = [LaunchFailureRow { kind: "weather".to_owned(), ..failure(10, FailureKind::SpotQuota) }];
    assert_eq!(blocked(&unknown, &[]), None, "a word of a later version blocks nothing");
}

#[test]
fn work_is_counted_in_encode_seconds_where_its_chunks_go() {
    let fleet = fleet();
    let created_at = OffsetDateTime::UNIX_EPOCH;
    let job = OpenJob {
        id: Uuid::nil(),
        home_region: "nowhere".to_owned(),
        region: None,
        encoded: None,
        total_s: 0.0,
        left_s: 0.0,
        chunks: 1,
        waiting: 1,
        created_at,
        not_before: None,
        ready_by: None,
    };
    let unplanned = job_work(&fleet, &job);
    assert!(unplanned.left_s > 0.0, "what nobody looked into still needs an instance");
    assert_eq!(unplanned.region, fleet.regions[0].name, "a region without pools is none");

    let sizes = vec![(1920, 1080), (1280, 720), (854, 480), (640, 360)];
    let rate = FrameRate::try_from((30, 1)).unwrap();
    let planned = OpenJob {
        region: Some(fleet.regions[1].name.to_string()),
        encoded: Some(Encoded { rate, sizes }),
        total_s: 5400.0,
        left_s: 600.0,
        chunks: 20,
        ..job.clone()
    };
    let work = job_work(&fleet, &planned);
    assert_eq!((work.total_s, work.left_s), (5400.0, 600.0));
    assert_eq!(work.region, fleet.regions[1].name);

    let rate = FrameRate::try_from((25, 1)).unwrap();
    let copied = OpenJob { encoded: Some(Encoded { rate, sizes: Vec::new() }), left_s: 600.0, chunks: 3, ..job };
    assert!(job_work(&fleet, &copied).left_s > 0.0, "copying encodes nothing, and needs a worker all the same");
}

#[test]
fn a_chunk_to_the_end_of_its_source_has_as_many_segments_as_fit_what_is_left() {
    let sizes = vec![(1920, 1080), (1280, 720), (854, 480), (640, 360)];
    let chunk = AtWork {
        job: Uuid::nil(),
        chunk: 1,
        attempt: 1,
        instance: "i-1".to_owned(),
        claimed_at: OffsetDateTime::UNIX_EPOCH,
        encoded: Encoded { rate: FrameRate::try_from((30, 1)).unwrap(), sizes },
        total_s: 50.0,
        done_s: 9.0,
        segments: None,
        segment_s: 4.0,
        splits: 0,
        taken_back: false,
    };
    let running = running_chunk(&chunk);
    assert_eq!((running.segments, running.segment_s), (11, 4.0));
    let known = running_chunk(&AtWork { segments: Some(3), ..chunk.clone() });
    assert_eq!((known.segments, known.total_s, known.done_s), (3, 50.0, 9.0));
    let empty = running_chunk(&AtWork { total_s: 0.0, segment_s: 0.0, ..chunk });
    assert_eq!((empty.segments, empty.segment_s), (1, 0.0), "nothing is known of a source without a length");
}
