//! A fleet as it is operated: machines that are taken away, workers that are drained, letters that nobody could deliver,
//! plans that prove wrong, what is kept and what is swept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::failure::FailureCode;
use fleet::objects::{PutCondition, meta_for};
use fleet::queue::Message;
use fleet::state::JobState;
use fleet::store::work::{Claimed, Ending};
use serde_json::Value;
use stories::client::Client;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::services::{LocalStack, Postgres, free_port};
use stories::{aws, complaints, ffmpeg, made_clip, promises};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::fleet_stories::cloud;

const LIMIT: Duration = Duration::from_secs(180);

/// The metadata service of a spot machine (IMDSv2): it wants a token, and has a notice once `notice` is set.
pub(crate) async fn metadata_service(notice: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let (status, body) = if request.starts_with("put /latest/api/token") {
                assert!(request.contains("x-aws-ec2-metadata-token-ttl-seconds: "), "{request}");
                ("200 OK", "the-token")
            } else if !request.contains("x-aws-ec2-metadata-token: the-token") {
                ("401 Unauthorized", "")
            } else if notice.load(Ordering::Relaxed) {
                ("200 OK", r#"{"action": "terminate", "time": "2026-11-21T10:00:00Z"}"#)
            } else {
                ("404 Not Found", "")
            };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    address
}

async fn lost(fleet: &Fleet) -> i64 {
    let count = sqlx::query_scalar("select count(*) from touchline.attempts where outcome = 'lost'");
    count.fetch_one(fleet.store.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_machine_hands_its_work_over_before_it_is_taken_away() {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let notice = Arc::new(AtomicBool::new(false));
    let address = metadata_service(notice.clone()).await;
    fleet.environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), address));
    let _dispatcher = fleet.dispatcher();
    let mut spot = fleet.worker("local", &["--slots", "1", "--spot"]);
    let clip = made_clip(fleet.dir.path(), 360);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    notice.store(true, Ordering::Relaxed);
    assert_eq!(spot.wait(), Some(0), "{}", spot.log());
    assert!(spot.log().contains("about to be taken away"), "{}", spot.log());
    assert_eq!(lost(&fleet).await, 0, "nothing had to wait for a lease to expire");
    let _other = fleet.worker("local", &["--slots", "2"]);
    fleet.succeeded(job, LIMIT).await;
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    promises::check(&fleet.store, &*output).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_how_it_is_and_ends_when_it_is_told_to() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let port = free_port();
    let mut worker = fleet.worker("local", &["--slots", "1", "--listen", &format!("127.0.0.1:{port}")]);
    let clip = made_clip(fleet.dir.path(), 360);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;

    let client = Client::new(&format!("http://127.0.0.1:{port}"), "");
    assert!(client.fetch("/healthz").await.0.is_success());
    assert!(client.fetch("/readyz").await.0.is_success());
    let (_, metrics) = client.fetch("/metrics").await;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|l| l.starts_with(&format!("{name} ")));
        line.and_then(|l| l.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert!(value("touchline_worker_segments_committed_total") > 0.0);
    assert!(value("touchline_worker_attempts_total") >= 2.0, "the plan and a chunk");
    assert!((value("touchline_worker_slots") - 1.0).abs() < f64::EPSILON);

    let workers: Value = serde_json::from_str(&fleet.command(&["workers", "--json"])).unwrap();
    fleet.command(&["drain", workers[0]["id"].as_str().unwrap()]);
    assert_eq!(worker.wait(), Some(0), "{}", worker.log());
    assert_eq!(lost(&fleet).await, 0, "an orderly end loses no lease");
    let _other = fleet.worker("local", &["--slots", "2"]);
    fleet.succeeded(job, LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sound_of_a_match_does_not_keep_its_pictures_waiting() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("local", &["--slots", "1"]);
    let minute = made_clip(fleet.dir.path(), 60).display().to_string();
    let half = fleet.dir.path().join("half.mp4").display().to_string();
    drop(ffmpeg(&["-stream_loop", "44", "-i", &minute, "-c", "copy", &half]));
    let job = fleet.submit(&half, &small_ladder()).await;
    // The sound of 45 minutes takes many seconds: pictures are made before it is done, in the only slot.
    let until = Instant::now() + LIMIT;
    loop {
        let (sound_is_done, pictures): (bool, i64) = sqlx::query_as(
            "select coalesce(bool_or(state = 'done') filter (where kind = 'audio'), false),
                    count(*) filter (where kind = 'video' and state = 'done')
             from touchline.chunks where job_id = $1",
        )
        .bind(job)
        .fetch_one(fleet.store.pool())
        .await
        .unwrap();
        assert!(!sound_is_done, "{pictures} chunks of pictures were done when the sound was");
        if pictures >= 2 {
            break;
        }
        assert!(Instant::now() < until, "{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_taken_away_and_failed_jobs_tried_again() {
    let (fleet, _) = cloud(&["eu-central-1"]).await;
    let region = &fleet.config.regions[0];
    let dead = region.dead_letters.clone().unwrap();
    let dead = aws::open_queue(&LocalStack::shared().endpoint(), &region.name, &(dead.clone(), dead));
    let letters = [Message::new(Uuid::now_v7(), 1, 1), Message::new(Uuid::now_v7(), 2, 3)];
    fleet::queue::Queue::send(&dead, &letters).await.unwrap();

    let late = fleet.dir.path().join("late.mp4");
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("eu-central-1", &["--slots", "1"]);
    let job = fleet.submit(&late.display().to_string(), &small_ladder()).await;
    loop {
        let row = fleet.store.job(job).await.unwrap();
        if row.job_state().is_final() {
            assert_eq!(row.failure_code.as_deref(), Some("source_not_found"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::rename(made_clip(fleet.dir.path(), 12), &late).unwrap();
    let said = fleet.command(&["redrive", "--code", "source_not_found"]);
    assert!(said.contains("1 job(s) tried again"), "{said}");
    fleet.succeeded(job, LIMIT).await;
    assert_eq!(fleet::queue::Queue::depth(&dead).await.unwrap().visible, 0, "no letter is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_proves_wrong_is_made_again_without_copying() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let mut planner = fleet.worker("local", &["--slots", "1"]);
    let clip = made_clip(fleet.dir.path(), 60);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.wait(job, "playable", LIMIT, |row| row.first_playable_at.is_some()).await;
    planner.signal("TERM");
    planner.wait();

    // Another worker finds that the packets are not what the index promised.
    let finder = Uuid::now_v7();
    let claim = loop {
        let queued =
            fleet.store.chunks(job).await.unwrap().into_iter().find(|c| c.kind == "video" && c.state == "queued");
        if let Some(chunk) = queued {
            let message = Message::new(job, chunk.chunk, chunk.attempt);
            let lease = Duration::from_secs(60);
            let backends = ["x264".to_owned()];
            if let Claimed::Ours(claim) = fleet.store.claim(&message, finder, "local", &backends, lease).await.unwrap()
            {
                break claim;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let ending = Ending::GaveUp { code: FailureCode::CopyImpossible, message: "key frames lie elsewhere".to_owned() };
    fleet.store.end_attempt(claim.id, 0, &ending).await.unwrap();

    let _other = fleet.worker("local", &["--slots", "2"]);
    let done = fleet.succeeded(job, LIMIT).await;
    assert_eq!(done.generation, 2);
    let playlist = done.summary.as_ref().unwrap()["playlist"].as_str().unwrap().to_owned();
    assert!(playlist.contains("/g2/"), "{playlist}");
    assert_eq!(complaints(&fleet.dir.path().join("media").join(playlist)), "");
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    promises::check(&fleet.store, &*output).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lost_attempts_left_is_swept_and_what_is_published_stays() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("local", &["--slots", "1"]);
    let clip = made_clip(fleet.dir.path(), 24);
    let job = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    let row = fleet.succeeded(job, LIMIT).await;
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    let prefix = format!("{}/{job}", row.organisation_id);
    let orphan = format!("{prefix}/v180/seg_00000_a9.m4s");
    output.put(&orphan, Bytes::from_static(b"lost"), meta_for(&orphan), PutCondition::Always).await.unwrap();
    // As if the job had ended after that.
    let ended = "update touchline.jobs set finished_at = now() where id = $1";
    sqlx::query(ended).bind(job).execute(fleet.store.pool()).await.unwrap();

    let said = fleet.command(&["sweep", "--days", "30", "--orphan-hours", "0"]);
    assert!(said.contains("0 jobs, 1 objects"), "{said}");
    assert!(output.head(&orphan).await.unwrap().is_none());
    promises::check(&fleet.store, &*output).await.assert_kept();

    // What ended without success goes after its time, with all that it left; a match stays, however old it is.
    let other = fleet.submit(&clip.display().to_string(), &small_ladder()).await;
    fleet.store.cancel(other).await.unwrap();
    let left = format!("{}/{other}/v180/seg_00000_a1.m4s", row.organisation_id);
    output.put(&left, Bytes::from_static(b"left"), meta_for(&left), PutCondition::Always).await.unwrap();
    fleet.command(&["sweep", "--days", "0", "--orphan-hours", "24"]);
    assert!(fleet.store.job(other).await.is_err() && output.head(&left).await.unwrap().is_none());
    assert_eq!(fleet.store.job(job).await.unwrap().job_state(), JobState::Succeeded);
    let tries: i64 =
        sqlx::query_scalar("select count(*) from touchline.attempts").fetch_one(fleet.store.pool()).await.unwrap();
    assert_eq!(tries, 0, "how it was made is told for as long as a receipt may change");
    assert_eq!(complaints(&fleet.dir.path().join("media").join(format!("{prefix}/master.m3u8"))), "", "it still plays");
}
