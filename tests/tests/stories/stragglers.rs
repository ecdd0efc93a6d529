//! A chunk that is far slower than its siblings is split: by statements, and in a fleet with one slow machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capacity::pools::{Fleet as Machines, RegionName};
use dispatcher::scaling::Scaler;
use dispatcher::scaling::provider::Capacity;
use dispatcher::scaling::simulated::SimulatedCapacity;
use fleet::config::RegionConfig;
use fleet::queue::Message;
use fleet::state::JobState;
use fleet::store::Store;
use fleet::store::stragglers::Split;
use fleet::store::work::{AttemptId, Beat, Claimed, Commit, Completed, Completion, NewFile};
use fleet::store::workers::NewWorker;
use serde_json::json;
use sqlx::Row;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::services::Postgres;
use stories::{complaints, made_clip, promises};
use tempfile::tempdir;
use uuid::Uuid;

const REGION: &str = "eu-west-1";
const LEASE: Duration = Duration::from_secs(30);
/// How long the slow machine takes for a segment.
const PAUSE: Duration = Duration::from_secs(12);

/// Two machines, and no quota for more.
fn machines() -> Machines {
    let text = format!(
        r#"
        [[region]]
        name = "{REGION}"
        quota = [{{ family = "g_and_vt", option = "spot", vcpu = 8 }}]
        [[pool]]
        region = "{REGION}"
        instance_type = "g4dn.xlarge"
        option = "spot"
        "#
    );
    Machines::parse(&text).unwrap()
}

async fn claimed(store: &Store, (job, chunk, attempt): (Uuid, i32, i32), worker: Uuid) -> Claimed {
    store.claim(&Message::new(job, chunk, attempt), worker, REGION, &["x264".to_owned()], LEASE).await.unwrap()
}

async fn commit(store: &Store, id: AttemptId, index: u64) -> Commit {
    let uri = fleet::keys::segment(index, id.attempt);
    let (first, facts) = (index * 150, json!({}));
    let file = NewFile { rendition: "v180", index, uri: &uri, bytes: 9, first, count: 150, seconds: 6.0, facts };
    store.commit_file(id, &file).await.unwrap()
}

/// A job with one chunk of eight segments from segment 2 on, which a worker holds.
async fn held(fleet: &Fleet) -> AttemptId {
    let job = fleet.submit("/none", &small_ladder()).await;
    let plan = serde_json::to_value(stories::simulation::plan_of(1500, &[180])).unwrap();
    let sql =
        "with job as (update touchline.jobs set state = 'running', plan = $2, expected_frames = 1500 where id = $1),
         rendition as (insert into touchline.renditions (job_id, name, kind) values ($1, 'v180', 'video')),
         plan as (update touchline.chunks set state = 'done' where job_id = $1)
         insert into touchline.chunks (job_id, chunk, kind, state, position, first_segment, seconds, queued_at)
         values ($1, 1, 'video', 'queued', 4, 2, 48, now())";
    sqlx::query(sql).bind(job).bind(plan).execute(fleet.store.pool()).await.unwrap();
    match claimed(&fleet.store, (job, 1, 1), Uuid::now_v7()).await {
        Claimed::Ours(claim) => claim.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_split_leaves_the_holder_its_segment_in_work_and_the_rest_to_others() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let store = &fleet.store;
    let id = held(&fleet).await;
    let slow = id.worker;
    assert_eq!(commit(store, id, 2).await, Commit::New);
    assert_eq!(store.split_chunk(id.job, 1, 2).await.unwrap(), Split::NotAtWork, "another attempt was judged");
    assert_eq!(store.split_chunk(id.job, 1, 1).await.unwrap(), Split::Rest { chunk: 2, first: 4 });
    assert_eq!(store.split_chunk(id.job, 1, 1).await.unwrap(), Split::NoRest);

    // The holder goes on to its new end, of which it hears; what it commits past it is not taken.
    let kept = store.heartbeat(slow, &[Beat { id, progress: 300 }], LEASE).await.unwrap();
    assert_eq!((kept[0].id, kept[0].end), (id, Some(4)));
    assert_eq!(commit(store, id, 3).await, Commit::New);
    assert_eq!(commit(store, id, 4).await, Commit::PastEnd(4));
    let upto = |end| Completion { segments: Some((vec!["v180".to_owned()], 2, end)), ..Completion::default() };
    assert_eq!(store.complete(id, &upto(10)).await.unwrap(), Completed::SegmentsMissing, "the old end is not its own");
    assert_eq!(store.complete(id, &upto(4)).await.unwrap(), Completed::Done);

    // Above the number of the attempt that was split, and not for who was slow while others may come.
    let row: (String, i32, i64, i64, Option<i64>, f64, Option<i32>) = sqlx::query_as(
        "select state, attempt, position, first_segment, end_segment, seconds, split_from from touchline.chunks
         where job_id = $1 and chunk = 2",
    )
    .bind(id.job)
    .fetch_one(store.pool())
    .await
    .unwrap();
    assert_eq!(row, ("waiting".to_owned(), 2, 8, 4, None, 36.0, Some(1)));
    sqlx::query("update touchline.chunks set state = 'queued', queued_at = now() where chunk = 2")
        .execute(store.pool())
        .await
        .unwrap();
    assert!(matches!(claimed(store, (id.job, 2, 1), Uuid::now_v7()).await, Claimed::Stale));
    assert!(matches!(claimed(store, (id.job, 2, 2), slow).await, Claimed::Elsewhere));
    let late = "update touchline.chunks set queued_at = now() - interval '1 minute' where chunk = 2";
    sqlx::query(late).execute(store.pool()).await.unwrap();
    assert!(matches!(claimed(store, (id.job, 2, 2), slow).await, Claimed::Ours(_)), "nobody else came");
}

#[tokio::test]
async fn a_chunk_at_work_has_segments_as_long_as_those_of_its_plan() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let store = &fleet.store;
    let id = held(&fleet).await;
    let worker = NewWorker {
        id: id.worker,
        region: REGION.to_owned(),
        pool: "eu-west-1/g4dn.xlarge/spot".to_owned(),
        instance: "i-1".to_owned(),
        host: "story".to_owned(),
        device: "story".to_owned(),
        version: "1".to_owned(),
        backends: vec!["x264".to_owned()],
        slots: 1,
    };
    store.register_worker(&worker).await.unwrap();
    // 25 frames a second: an even grid, one on the key frames of the source (the mean counts), and one with a single border.
    let grids = [
        (json!({ "every": { "frames": 150 } }), 6.0),
        (json!({ "every": { "frames": 50 } }), 2.0),
        (json!({ "at": { "starts": [0, 90, 240] } }), 4.8),
        (json!({ "at": { "starts": [0] } }), 48.0),
    ];
    for (borders, seconds) in grids {
        let sql = "update touchline.jobs set plan = jsonb_set(plan, '{video,grid,borders}', $2) where id = $1";
        sqlx::query(sql).bind(id.job).bind(&borders).execute(store.pool()).await.unwrap();
        let at_work = store.chunks_at_work().await.unwrap();
        assert_eq!((at_work.len(), at_work[0].segment_s), (1, seconds), "{borders}");
    }
}

#[tokio::test]
async fn a_chunk_is_taken_back_from_a_slow_worker_once_and_it_is_nobody_s_fault() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let store = &fleet.store;
    let id = held(&fleet).await;
    assert!(!store.take_back_slow(id.job, 1, 2).await.unwrap(), "another attempt was judged");
    assert!(store.take_back_slow(id.job, 1, 1).await.unwrap());
    assert_eq!(commit(store, id, 2).await, Commit::LeaseLost);
    assert!(store.heartbeat(id.worker, &[Beat { id, progress: 0 }], LEASE).await.unwrap().is_empty());
    let row = sqlx::query(
        "select c.state, c.attempt, c.deaths, c.tries, a.outcome from touchline.chunks c
         join touchline.attempts a on a.job_id = c.job_id and a.chunk = c.chunk where c.job_id = $1 and c.chunk = 1",
    )
    .bind(id.job)
    .fetch_one(store.pool())
    .await
    .unwrap();
    let (state, attempt): (String, i32) = (row.get("state"), row.get("attempt"));
    let (deaths, tries, outcome): (i32, i32, String) = (row.get("deaths"), row.get("tries"), row.get("outcome"));
    assert_eq!((state.as_str(), attempt, deaths, tries, outcome.as_str()), ("waiting", 2, 0, 0, "handed_back"));
    sqlx::query("update touchline.chunks set state = 'queued', queued_at = now() where chunk = 1")
        .execute(store.pool())
        .await
        .unwrap();
    assert!(matches!(claimed(store, (id.job, 1, 2), Uuid::now_v7()).await, Claimed::Ours(_)));
    assert!(!store.take_back_slow(id.job, 1, 2).await.unwrap(), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_is_done_sooner_than_its_slowest_machine_could_alone_and_the_split_is_told_of() {
    let region = RegionConfig { name: REGION.to_owned(), queue: "postgres".to_owned(), dead_letters: None };
    let dir = tempdir().unwrap();
    let output = dir.path().join("media").display().to_string();
    let fleet = Fleet::with(dir, &Postgres::shared().create_database(), output.clone(), vec![region]).await;
    let (machines, capacity) = (machines(), Arc::new(SimulatedCapacity::default()));
    let pool = machines.pools[0].clone();
    capacity.ask_for(&pool, 2).await.unwrap();
    let shown = capacity.look(&RegionName::from(REGION), std::slice::from_ref(&pool)).await.unwrap();
    let names: Vec<String> = shown[0].instances.iter().map(|i| i.id.to_string()).collect();
    let worker = |instance: &str, more: &[&str]| {
        let usual = ["--slots", "1", "--encoder", "x264", "--pool", pool.id.as_str(), "--instance", instance];
        fleet.worker(REGION, &[&usual, more].concat())
    };
    let _dispatcher = fleet.dispatcher();

    // Ten segments; the longest chunk, of the last four, is put first and goes to the slow machine.
    let job = fleet.submit(&made_clip(fleet.dir.path(), 60).display().to_string(), &small_ladder()).await;
    let last_first = "update touchline.jobs set focus_segment = 6 where id = $1";
    sqlx::query(last_first).bind(job).execute(fleet.store.pool()).await.unwrap();
    let _slow = worker(&names[0], &["--pause", &PAUSE.as_secs().to_string()]);
    let until = Instant::now() + Duration::from_secs(60);
    let long = loop {
        let chunks = fleet.store.chunks(job).await.unwrap();
        if let Some(long) = chunks.into_iter().find(|c| c.first_segment == 6 && c.state == "running") {
            break long;
        }
        assert!(Instant::now() < until, "{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let _fast = worker(&names[1], &[]);

    let scaler = Scaler::new(fleet.store.clone(), machines, capacity);
    let until = Instant::now() + Duration::from_secs(150);
    let (mut said, mut why) = (Vec::new(), String::new());
    while fleet.store.job(job).await.unwrap().job_state() != JobState::Succeeded {
        let decision = scaler.scale_once().await.unwrap().expect("nobody else has the turn");
        said.extend(decision.reasons.iter().map(ToString::to_string).filter(|s| s.contains("slower")));
        if why.is_empty() && fleet.store.chunks(job).await.unwrap().iter().any(|c| c.split_from.is_some()) {
            why = fleet.command(&["why", &job.to_string()]);
        }
        assert!(Instant::now() < until, "{said:?}\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let done = fleet.store.job(job).await.unwrap();
    let took = (done.finished_at.unwrap() - long.claimed_at.unwrap()).as_seconds_f64();
    let alone = PAUSE.as_secs_f64() * 4.0;
    println!("the slow machine alone: {alone} s, split: {took:.1} s");
    assert!(took < alone, "{took} s");
    assert!(said.iter().any(|s| s.contains(&format!("chunk {} of {job}", long.chunk))), "{said:?}");
    assert!(why.contains("far slower than its siblings and was split"), "{why}");
    let told = fleet.store.decisions(100).await.unwrap();
    assert!(told.iter().any(|d| d.actions.to_string().contains("\"split\"")), "{told:?}");

    // Nothing was made twice, and each kept what it had made.
    let chunks = fleet.store.chunks(job).await.unwrap();
    let rest = chunks.iter().find(|c| c.split_from == Some(long.chunk)).unwrap();
    let made = sqlx::query(
        "select s.index, a.worker_id from touchline.segments s join touchline.attempts a
            on a.job_id = s.job_id and a.chunk = s.chunk and a.attempt = s.attempt
         where s.job_id = $1 and s.rendition = 'v180' and s.index >= 6 order by s.index",
    )
    .bind(job)
    .fetch_all(fleet.store.pool())
    .await
    .unwrap();
    let by: Vec<(i64, Uuid)> = made.iter().map(|row| (row.get("index"), row.get("worker_id"))).collect();
    assert_eq!(by.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [6, 7, 8, 9]);
    assert_eq!(Some(by[0].1), long.worker_id, "the slow machine kept its first segment");
    assert_ne!(Some(by[3].1), long.worker_id, "the fast one made the end");
    assert_eq!(by.iter().map(|(_, worker)| worker).collect::<BTreeSet<_>>().len(), 2);
    assert!(rest.first_segment > 6 && rest.end_segment.is_none(), "{rest:?}");
    let objects = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    let verdict = promises::check(&fleet.store, objects.as_ref()).await;
    verdict.assert_kept();
    assert_eq!(done.duration_ms, Some(60_000));
    let playlist = format!("{output}/{}/{job}/master.m3u8", done.organisation_id);
    assert_eq!(complaints(std::path::Path::new(&playlist)), "");
}
