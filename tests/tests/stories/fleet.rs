//! A fleet as in the cloud: source and output in S3, jobs over SQS, several workers, several regions.

use std::path::Path;
use std::time::Duration;

use fleet::config::RegionConfig;
use fleet::objects::{BucketSettings, ObjectStore, meta_for};
use stories::fleet_processes::{Fleet, small_ladder};
use stories::services::{LocalStack, Postgres};
use stories::{aws, complaints, made_clip, promises};
use tempfile::tempdir;

const LIMIT: Duration = Duration::from_secs(180);

/// A region with a queue of its own.
pub(crate) async fn region(endpoint: &str, name: &str) -> RegionConfig {
    let urls = aws::queue(endpoint, name, &aws::unique("story")).await;
    RegionConfig { name: name.to_owned(), queue: urls.0, dead_letters: Some(urls.1) }
}

/// A bucket and how the fleet reaches it.
pub(crate) async fn bucket(endpoint: &str, region: &str) -> BucketSettings {
    let name = aws::unique("story");
    aws::bucket(endpoint, region, &name).await;
    BucketSettings {
        name,
        region: Some(region.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        access_key_id_env: Some("AWS_ACCESS_KEY_ID".to_owned()),
        secret_access_key_env: Some("AWS_SECRET_ACCESS_KEY".to_owned()),
        ..BucketSettings::default()
    }
}

/// A fleet in regions of its own, with a bucket for sources and output in the first.
pub(crate) async fn cloud(names: &[&str]) -> (Fleet, BucketSettings) {
    let endpoint = LocalStack::shared().endpoint();
    let mut regions = Vec::new();
    for name in names {
        regions.push(region(&endpoint, name).await);
    }
    let bucket = bucket(&endpoint, names[0]).await;
    let database = Postgres::shared().create_database();
    let output = format!("s3://{}/published", bucket.name);
    let mut fleet = Fleet::with(tempdir().unwrap(), &database, output, regions).await;
    fleet.config.buckets.push(bucket.clone());
    fleet.write_config("fleet.toml", &fleet.config);
    (fleet, bucket)
}

/// Copies a presentation out of a store, for players that read files.
pub(crate) async fn download(objects: &dyn ObjectStore, prefix: &str, to: &Path) {
    let mut after: Option<String> = None;
    loop {
        let page = objects.list(prefix, after.as_deref()).await.unwrap();
        let Some(last) = page.last() else { return };
        after = Some(last.key.clone());
        for object in &page {
            let path = to.join(object.key.strip_prefix(prefix).unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, objects.get(&object.key, 1 << 30).await.unwrap().0).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_in_s3_is_shared_by_two_workers_over_sqs_and_plays_from_s3() {
    let (fleet, bucket) = cloud(&["eu-central-1"]).await;
    let endpoint = LocalStack::shared().endpoint();
    let clip = made_clip(fleet.dir.path(), 60);
    let sources = aws::store(&endpoint, "eu-central-1", &bucket.name, "");
    let key = "uploads/Endspiel Größe +1.mp4";
    sources.put_file(key, &clip, meta_for(key)).await.unwrap();

    let _dispatcher = fleet.dispatcher();
    let _workers = [fleet.worker("eu-central-1", &["--slots", "1"]), fleet.worker("eu-central-1", &["--slots", "1"])];
    let job = fleet.submit(&format!("s3://{}/{key}", bucket.name), &small_ladder()).await;
    let playable = fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    let done = fleet.succeeded(job, LIMIT).await;
    assert!(playable.first_playable_at.unwrap() < done.finished_at.unwrap(), "it could be watched before it was done");
    assert_eq!(done.duration_ms, Some(60_000));

    let output = aws::store(&endpoint, "eu-central-1", &bucket.name, "published");
    promises::check(&fleet.store, &output).await.assert_kept();
    let chunks = fleet.store.chunks(job).await.unwrap();
    let workers: std::collections::HashSet<_> = chunks.iter().filter_map(|c| c.worker_id).collect();
    assert_eq!(workers.len(), 2, "both workers had a share: {chunks:#?}");

    let out = fleet.dir.path().join("out");
    download(&output, &format!("{}/{job}/", done.organisation_id), &out).await;
    assert_eq!(complaints(&out.join("master.m3u8")), "");
    assert_eq!(complaints(&out.join("watch.m3u8")), "", "who watched from the start can watch to the end");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["summary"]["must_failed"], 0);
    let storyboard = std::fs::read_to_string(out.join("thumbnails.vtt")).unwrap();
    assert_eq!(storyboard.matches("-->").count(), 30, "a thumbnail each 2 s");
    for line in storyboard.lines().filter(|l| l.contains("#xywh")) {
        assert!(out.join(line.split('#').next().unwrap()).is_file(), "{line}");
    }
    assert!(out.join("poster.jpg").is_file());

    // The commands say the same.
    let shown: serde_json::Value =
        serde_json::from_str(&fleet.command(&["show", &job.to_string()[..13], "--json"])).unwrap();
    assert_eq!(shown["job"]["state"], "succeeded");
    assert!(fleet.command(&["why", &job.to_string()]).contains("finished"));
    assert!(fleet.command(&["queues"]).contains("eu-central-1"));
    assert!(fleet.command(&["workers"]).contains("x264"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_three_regions_works_on_the_matches_that_lie_there() {
    let names = ["eu-central-1", "us-east-1", "ap-southeast-2"];
    let (mut fleet, first) = cloud(&names).await;
    let endpoint = LocalStack::shared().endpoint();
    let mut buckets = vec![first];
    for name in &names[1..] {
        buckets.push(bucket(&endpoint, name).await);
    }
    fleet.config.buckets = buckets.clone();
    // No region is lost here, however long a busy machine keeps one waiting.
    fleet.config.timing.region = 60.0;
    fleet.write_config("fleet.toml", &fleet.config);
    let clip = made_clip(fleet.dir.path(), 12);
    let _dispatchers = [fleet.dispatcher(), fleet.dispatcher()];
    let _workers = names.map(|name| fleet.worker(name, &["--slots", "1"]));
    let mut jobs = Vec::new();
    for (name, bucket) in names.iter().zip(&buckets) {
        let sources = aws::store(&endpoint, name, &bucket.name, "");
        sources.put_file("match.mp4", &clip, meta_for("match.mp4")).await.unwrap();
        jobs.push(fleet.submit(&format!("s3://{}/match.mp4", bucket.name), &small_ladder()).await);
    }
    for (job, name) in jobs.into_iter().zip(names) {
        fleet.succeeded(job, LIMIT).await;
        let chunks = fleet.store.chunks(job).await.unwrap();
        assert!(chunks.iter().all(|c| c.region.as_deref() == Some(name)), "{name}: {chunks:#?}");
    }
    let output = aws::store(&endpoint, names[0], &buckets[0].name, "published");
    promises::check(&fleet.store, &output).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_fails_with_its_code_and_other_jobs_go_on() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("local", &["--slots", "2"]);
    let text = fleet.dir.path().join("notes.mp4");
    std::fs::write(&text, "these are no pictures ".repeat(1000)).unwrap();
    let bad = fleet.submit(&text.display().to_string(), &small_ladder()).await;
    let missing = fleet.submit("/no/such/file.mp4", &small_ladder()).await;
    let clip = made_clip(fleet.dir.path(), 12);
    let good = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.succeeded(good, LIMIT).await;
    for (job, code) in [(bad, "not_media"), (missing, "source_not_found")] {
        let row = loop {
            let row = fleet.store.job(job).await.unwrap();
            if row.job_state().is_final() {
                break row;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(row.failure_code.as_deref(), Some(code), "{row:?}");
        assert!(fleet.command(&["why", &job.to_string()]).contains(code));
    }
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    promises::check(&fleet.store, &*output).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_work_and_a_retry_goes_on_where_it_was() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("local", &["--slots", "1"]);
    let clip = made_clip(fleet.dir.path(), 240);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    fleet.command(&["cancel", &job.to_string()]);
    assert_eq!(fleet.store.job(job).await.unwrap().state, "cancelled");
    // The worker notices with its next heartbeat, and its engines end.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while fleet.store.workers(false).await.unwrap().iter().any(|w| w.busy > 0) {
        assert!(std::time::Instant::now() < until, "a cancelled job keeps its worker busy\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let count = async || -> i64 {
        sqlx::query_scalar("select count(*) from touchline.segments").fetch_one(fleet.store.pool()).await.unwrap()
    };
    let before = count().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(count().await, before, "nothing is committed to a cancelled job");
    fleet.command(&["retry", &job.to_string()]);
    fleet.succeeded(job, LIMIT).await;
    let again: i64 = sqlx::query_scalar(
        "select count(*) from touchline.segments s where exists (select from touchline.attempts a
            where a.job_id = s.job_id and a.chunk = s.chunk and a.attempt < s.attempt and a.outcome = 'done')",
    )
    .fetch_one(fleet.store.pool())
    .await
    .unwrap();
    assert_eq!(again, 0, "what was done is not done again");
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    promises::check(&fleet.store, &*output).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn this_minute_first_and_a_drained_worker_hands_its_chunk_over() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let mut first = fleet.worker("local", &["--slots", "1"]);
    let clip = made_clip(fleet.dir.path(), 360);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "a plan", LIMIT, |row| row.planned_at.is_some()).await;
    fleet.command(&["focus", &job.to_string(), "5:00"]);
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    first.signal("TERM");
    assert_eq!(first.wait(), Some(0), "{}", first.log());
    let lost: i64 = sqlx::query_scalar("select count(*) from touchline.attempts where outcome = 'lost'")
        .fetch_one(fleet.store.pool())
        .await
        .unwrap();
    assert_eq!(lost, 0, "an orderly end loses no lease");
    let _second = fleet.worker("local", &["--slots", "2"]);
    fleet.succeeded(job, LIMIT).await;
    // Minute 5 was claimed before minute 3.
    let claimed = |segment: i64| {
        let pool = fleet.store.pool().clone();
        async move {
            let at: f64 = sqlx::query_scalar(
                "select extract(epoch from min(a.claimed_at))::float8 from touchline.chunks c
                 join touchline.attempts a using (job_id, chunk)
                 where c.kind = 'video' and c.first_segment <= $1 and coalesce(c.end_segment, 999999) > $1",
            )
            .bind(segment)
            .fetch_one(&pool)
            .await
            .unwrap();
            at
        }
    };
    assert!(claimed(52).await < claimed(30).await);
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    promises::check(&fleet.store, &*output).await.assert_kept();
}
