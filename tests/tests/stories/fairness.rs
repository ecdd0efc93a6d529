//! Fairness over whole matches: what one club has queued does not delay the others.

use std::path::Path;
use std::time::{Duration, Instant};

use stories::ffmpeg;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::services::Postgres;
use uuid::Uuid;

/// Multiple of real time at which workers pretend to encode.
const SPEED: &str = "150";
/// Clubs with one match each.
const OTHERS: usize = 9;
const LIMIT: Duration = Duration::from_secs(240);

/// Seconds after which each of nine clubs with one match has it encoded, beside one club with `queued` matches.
async fn nine_beside(queued: usize, clip: &Path) -> Vec<f64> {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _dispatcher = fleet.dispatcher();
    let _workers = [0, 1].map(|_| fleet.worker("local", &["--slots", "4", "--pretend", SPEED]));
    let until = Instant::now() + LIMIT;
    while fleet.store.workers(false).await.unwrap().len() < 2 {
        assert!(Instant::now() < until, "workers do not start\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let source = clip.display().to_string();
    let busy = fleet.store.ensure_organisation("busy", 1).await.unwrap();
    for _ in 0..queued {
        fleet.submit_for(busy, &source, &small_ladder()).await;
    }
    let mut matches = Vec::new();
    for n in 0..OTHERS {
        let club = fleet.store.ensure_organisation(&format!("club {n}"), 1).await.unwrap();
        matches.push(fleet.submit_for(club, &source, &small_ladder()).await);
    }
    loop {
        let done = encoded(&fleet, &matches).await;
        if done.len() == OTHERS {
            return done;
        }
        assert!(Instant::now() < until, "{} of {OTHERS} matches are encoded\n{}", done.len(), fleet.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Seconds from coming to the end of the last chunk of pictures, for the jobs that have come so far.
async fn encoded(fleet: &Fleet, jobs: &[Uuid]) -> Vec<f64> {
    sqlx::query_scalar(
        "select extract(epoch from max(c.finished_at) - j.created_at)::float8
         from touchline.jobs j join touchline.chunks c on c.job_id = j.id and c.kind = 'video'
         where j.id = any($1) group by j.id having bool_and(c.state = 'done')",
    )
    .bind(jobs)
    .fetch_all(fleet.store.pool())
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_queued_matches_of_one_club_delay_nine_others_no_more_than_one_would() {
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("match.mp4");
    let name = clip.display().to_string();
    let pitch = "color=c=green:s=160x90:r=25:d=2400";
    drop(ffmpeg(&["-f", "lavfi", "-i", pitch, "-c:v", "libx264", "-preset", "ultrafast", "-g", "250", &name]));
    let beside_one = nine_beside(1, &clip).await;
    let beside_many = nine_beside(100, &clip).await;
    let last = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    println!("beside 1: mean {:.1} s, last {:.1} s", mean(&beside_one), last(&beside_one));
    println!("beside 100: mean {:.1} s, last {:.1} s", mean(&beside_many), last(&beside_many));
    for (what, one, many) in
        [("mean", mean(&beside_one), mean(&beside_many)), ("last", last(&beside_one), last(&beside_many))]
    {
        let ratio = many / one;
        assert!(ratio <= 1.2, "{what}: {many:.1} s beside 100 matches, {one:.1} s beside one: {ratio:.2}");
    }
}
