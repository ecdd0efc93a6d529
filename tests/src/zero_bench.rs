//! How long the first match waits where nothing runs.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::local_fleet::{Local, log_of};
use crate::measure::median;

/// How often one looks whether a job is claimed.
const LOOKS: Duration = Duration::from_millis(2);

/// Seconds from handing in to the first claim in local mode: with no worker, and with one that has nothing to do.
///
/// # Panics
/// The fleet does not start, or a job does not end.
pub async fn claims(dir: &Path, clip: &Path, runs: u32) {
    println!("\nzero: seconds from handing in to the first claim in local mode, median of {runs}");
    let (mut from_zero, mut warm) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let dir = dir.join(format!("zero-{run}"));
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        let local = Local::start(&dir, &[]);
        let client = local.owner(&dir);
        from_zero.push(claim(&client, clip, &dir).await);
        warm.push(claim(&client, clip, &dir).await);
    }
    println!("  no worker: {:.3} s", median(from_zero));
    println!("  a worker that has nothing to do: {:.3} s", median(warm));
}

/// Hands a job in, waits until its plan is claimed, and then until it has ended.
async fn claim(client: &Client, clip: &Path, dir: &Path) -> f64 {
    let body = json!({ "source": clip, "title": "From zero", "ladder": "quick", "encoder": "x264" });
    let started = Instant::now();
    let (status, job) = client.post("/jobs", body).await;
    assert!(status.is_success(), "{job}");
    let address = format!("/jobs/{}", job["id"].as_str().expect("an id"));
    let is = async |state: &str| {
        let (_, job) = client.get(&address).await;
        assert!(started.elapsed() < Duration::from_secs(120), "{job}\n{}", log_of(dir));
        job["state"] == state
    };
    while is("queued").await {
        tokio::time::sleep(LOOKS).await;
    }
    let took = started.elapsed().as_secs_f64();
    while !is("succeeded").await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    took
}
