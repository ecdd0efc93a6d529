//! Regions, databases and stores that go away for a while.

use std::time::Duration;

use fleet::config::{DatabaseConfig, RegionConfig};
use stories::cut::Cut;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::services::{LocalStack, Postgres};
use stories::{aws, made_clip, promises};
use tempfile::tempdir;

use crate::fleet_stories::{bucket, cloud};

const LIMIT: Duration = Duration::from_secs(180);

/// Media minutes of the clips here, long enough that something is left to do when the trouble begins.
const SECONDS: u32 = 400;

async fn kept(fleet: &Fleet) {
    let buckets = fleet.config.buckets();
    let output = match fleet.config.buckets.first() {
        Some(bucket) => {
            let endpoint = LocalStack::shared().endpoint();
            let region = bucket.region.clone().unwrap();
            let store = aws::store(&endpoint, &region, &bucket.name, "published");
            std::sync::Arc::new(store) as std::sync::Arc<dyn fleet::objects::ObjectStore>
        }
        None => fleet.config.objects(&buckets).await.unwrap(),
    };
    promises::check(&fleet.store, &*output).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_cut_off_mid_job_loses_its_chunks_to_another() {
    let (mut fleet, _) = cloud(&["eu-central-1", "us-east-1"]).await;
    // Everything that the first region's workers and queue are reached by goes through relays.
    let stack = Cut::to(LocalStack::shared().port()).await;
    let queue = &mut fleet.config.regions[0].queue;
    *queue = queue.replace(&LocalStack::shared().port().to_string(), &stack.port().to_string());
    fleet.config.regions[0].dead_letters = None;
    fleet.write_config("fleet.toml", &fleet.config);
    let database_url = fleet.config.database.url.clone().unwrap();
    let port = database_url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let database = Cut::to(port.parse().unwrap()).await;
    let mut inside = fleet.config.clone();
    inside.database = DatabaseConfig {
        url: Some(database_url.replace(&port, &database.port().to_string())),
        ..DatabaseConfig::default()
    };
    for bucket in &mut inside.buckets {
        bucket.endpoint = Some(format!("http://127.0.0.1:{}", stack.port()));
    }
    let inside = fleet.write_config("inside.toml", &inside);

    let _dispatcher = fleet.dispatcher();
    let cut_off = fleet.worker_with(&inside, "eu-central-1", &["--slots", "1"]);
    let clip = made_clip(fleet.dir.path(), SECONDS);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    stack.cut();
    database.cut();
    let _elsewhere = fleet.worker("us-east-1", &["--slots", "2"]);
    fleet.succeeded(job, LIMIT).await;
    let chunks = fleet.store.chunks(job).await.unwrap();
    let moved = chunks.iter().filter(|c| c.region.as_deref() == Some("us-east-1")).count();
    assert!(moved > 0 && moved < chunks.len(), "some were done before, the rest moved: {chunks:#?}");
    assert!(chunks.iter().filter(|c| c.attempt > 1).count() > 0, "what moved has a new attempt");
    kept(&fleet).await;
    // Back again, the region takes part again.
    stack.mend();
    database.mend();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !fleet.store.unhealthy_regions().await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < until, "the region stays given up\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(cut_off);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_restarts_mid_job_and_nothing_is_lost() {
    let mut postgres = Postgres::start();
    let fleet = Fleet::local(&postgres.create_database()).await;
    let (_dispatcher, _worker) = (fleet.dispatcher(), fleet.worker("local", &["--slots", "2"]));
    let clip = made_clip(fleet.dir.path(), SECONDS);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    for pause in [0, 2, 5] {
        postgres.stop();
        tokio::time::sleep(Duration::from_secs(pause)).await;
        postgres.resume();
        let before = fleet.store.job(job).await.map(|row| row.watchable_ms);
        println!("watchable at the restart: {before:?}");
        if fleet.store.job(job).await.is_ok_and(|row| row.job_state().is_final()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    fleet.succeeded(job, LIMIT).await;
    kept(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_store_that_errs_is_silent_or_gone_for_a_while_costs_only_time() {
    let endpoint = LocalStack::shared().endpoint();
    let relay = Cut::to(LocalStack::shared().port()).await;
    let bucket = bucket(&endpoint, "eu-central-1").await;
    let region = RegionConfig { name: "local".to_owned(), queue: "postgres".to_owned(), dead_letters: None };
    let output = format!("s3://{}/published", bucket.name);
    let mut fleet = Fleet::with(tempdir().unwrap(), &Postgres::shared().create_database(), output, vec![region]).await;
    let mut through = bucket.clone();
    through.endpoint = Some(format!("http://127.0.0.1:{}", relay.port()));
    fleet.config.buckets.push(through);
    fleet.write_config("fleet.toml", &fleet.config);
    let (_dispatcher, _worker) = (fleet.dispatcher(), fleet.worker("local", &["--slots", "2"]));
    let clip = made_clip(fleet.dir.path(), SECONDS);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    for trouble in [500, 503, 0, 1] {
        match trouble {
            0 => relay.cut(),
            1 => relay.fall_silent(),
            status => relay.answer(status),
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        relay.mend();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    fleet.succeeded(job, LIMIT).await;
    kept(&fleet).await;
    let row = fleet.store.job(job).await.unwrap();
    assert_eq!(row.failure_code, None);
}
