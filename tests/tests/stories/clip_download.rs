//! Clips as files: exactly the frames that were asked for, with their sound.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::objects::{ObjectStore, meta_for};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stories::client::Client;
use stories::fleet_processes::small_ladder;
use stories::interface::{Interface, TENANT_SCOPES, key};
use stories::local_fleet::{Local, log_of};
use stories::services::LocalStack;
use stories::{aws, ffmpeg, shared_media, tool};
use tempfile::tempdir;

use crate::fleet_stories::cloud;
use crate::{coded, sync};

/// Asks until the answer is as it should be.
async fn until(client: &Client, dir: &Path, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let (status, answer) = client.get(path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{answer}\n{}", log_of(dir));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The match of this file, made.
async fn made(client: &Client, dir: &Path, source: &Path) -> String {
    let body = json!({ "source": source, "title": "Köln – Łódź", "ladder": "quick", "encoder": "x264" });
    let (status, job) = client.post("/jobs", body).await;
    assert_eq!(status, StatusCode::CREATED, "{job}");
    let id = job["id"].as_str().unwrap().to_owned();
    until(client, dir, &format!("/jobs/{id}"), |job| job["state"] == "succeeded").await;
    id
}

/// Whether somebody has asked for the clip's file: a fleet that waits for work may be at it, or through with it, before
/// the answer is written.
fn is_asked_for(clip: &Value) -> bool {
    ["queued", "running", "ready"].iter().any(|state| clip["download"]["state"] == *state)
}

/// A clip of it as a file.
async fn downloaded(client: &Client, dir: &Path, job: &str, span: (f64, f64)) -> (PathBuf, Value) {
    let body = json!({ "start_s": span.0, "end_s": span.1, "title": "Tor 2:1" });
    let (status, clip) = client.post(&format!("/jobs/{job}/clips"), body).await;
    assert_eq!((status, &clip["download"]["state"]), (StatusCode::CREATED, &json!("none")), "{clip}");
    let clip = clip["id"].as_str().unwrap();
    let (status, asked) = client.post(&format!("/clips/{clip}/download"), json!({})).await;
    assert!(status == StatusCode::ACCEPTED && is_asked_for(&asked), "{status}: {asked}");
    let is_over = |clip: &Value| clip["download"]["state"] == "ready" || clip["download"]["state"] == "failed";
    let clip = until(client, dir, &format!("/clips/{clip}"), is_over).await;
    let url = clip["download"]["url"].as_str().unwrap_or_else(|| panic!("{clip}\n{}", log_of(dir)));
    let answer = reqwest::get(format!("{}{url}", client.server)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "video/mp4");
    let name = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(name.contains("filename*=UTF-8''K%C3%B6ln%20%E2%80%93%20%C5%81%C3%B3d%C5%BA%20-%20Tor%202%201"), "{name}");
    let file = dir.join(format!("clip {}.mp4", span.0));
    std::fs::write(&file, answer.bytes().await.unwrap()).unwrap();
    (file, clip)
}

/// Whether the index comes before the media.
fn begins_with_its_index(file: &Path) -> bool {
    let bytes = std::fs::read(file).unwrap();
    let place = |kind: &[u8]| bytes.windows(4).position(|w| w == kind).unwrap();
    place(b"moov") < place(b"mdat")
}

fn probed(file: &Path, entries: &str) -> Vec<String> {
    let output = tool("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", file.to_str().unwrap()]);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_holds_the_frames_that_were_asked_for_and_no_others() {
    let Some(media) = shared_media("frames that carry their number") else { return };
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let client = local.owner(dir.path());
    let job = made(&client, dir.path(), &media.join("coded/a_closed.mp4")).await;
    // From a border of segments and off it, within one and over several, to the very end.
    for (start, end) in [(10.04, 17.2), (12.0, 18.0), (0.0, 0.12), (33.36, 40.0)] {
        let (file, clip) = downloaded(&client, dir.path(), &job, (start, end)).await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let frame = |seconds: f64| (seconds * 25.0).round() as u32;
        assert_eq!(coded::numbers(&file), (frame(start)..frame(end)).collect::<Vec<_>>(), "{clip}");
        assert!(begins_with_its_index(&file));
        let complaints = tool("ffmpeg", &["-i", file.to_str().unwrap(), "-f", "null", "-"]).stderr;
        assert_eq!(String::from_utf8_lossy(&complaints), "");
        let lengths = probed(&file, "stream=start_time,duration");
        let wanted = format!("0.000000,{:.6}", end - start);
        assert_eq!(lengths, [wanted.clone(), wanted], "pictures and sound begin and end together");
    }
    // Asked again, nothing is made again.
    let (_, clips) = client.get(&format!("/jobs/{job}/clips")).await;
    let clip = &clips["items"][0];
    let path = format!("/clips/{}/download", clip["id"].as_str().unwrap());
    let (_, again) = client.post(&path, json!({})).await;
    assert_eq!(again["download"]["state"], "ready");
    // People see one match, and neither a file's making nor its job.
    let (_, jobs) = client.get("/jobs").await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "{jobs}");
    let (_, usage) = client.get("/usage").await;
    assert_eq!(usage["jobs"], 1, "{usage}");

    // Deleted, the clip takes its file along.
    let url = format!("{}{}", client.server, again["download"]["url"].as_str().unwrap());
    let gone = client.send(Method::DELETE, &format!("/clips/{}", clip["id"].as_str().unwrap()), None, &[]).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(reqwest::get(url).await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sound_of_a_file_stays_with_its_pictures() {
    let Some(media) = shared_media("flashes and beeps") else { return };
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let client = local.owner(dir.path());
    let job = made(&client, dir.path(), &media.join("coded/s_sync.mp4")).await;
    let (_, row) = client.get(&format!("/jobs/{job}")).await;
    let end = row["duration_ms"].as_f64().unwrap() / 1000.0 - 0.5;
    let (file, _) = downloaded(&client, dir.path(), &job, (3.3, end)).await;
    let (flashes, beeps) = (sync::flashes(&file), sync::beeps(&file));
    assert!(flashes.len() > 3 && beeps.len() > 3, "{} flashes, {} beeps", flashes.len(), beeps.len());
    for beep in &beeps[..beeps.len() - 1] {
        let nearest = flashes.iter().map(|f| beep - f).min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        assert!(nearest.abs() < 0.02, "{beep} s: {nearest}");
    }
    assert!(!ffmpeg(&["-i", file.to_str().unwrap(), "-f", "s16le", "-"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_another_kind_opens_no_file() {
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let client = local.owner(dir.path());
    let source = stories::made_clip(dir.path(), 6);
    let job = made(&client, dir.path(), &source).await;
    let (_, playback) = client.get(&format!("/jobs/{job}/playback")).await;
    let token = playback["url"].as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    let (status, _) = client.fetch(&format!("/download/{token}")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a link to play is none to fetch");
    let (status, problem) = client.post(&format!("/clips/{job}/download"), json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_bucket_is_fetched_from_there_by_its_name_until_its_link_ends() {
    let Some(media) = shared_media("frames that carry their number") else { return };
    let (mut fleet, bucket) = cloud(&["eu-central-1"]).await;
    let endpoint = LocalStack::shared().endpoint();
    let interface = Interface::of(&mut fleet, 1000);
    fleet.config.api.download_seconds = 10.0;
    fleet.write_config("fleet.toml", &fleet.config);
    let sources = aws::store(&endpoint, "eu-central-1", &bucket.name, "");
    sources.put_file("match.mp4", &media.join("coded/a_closed.mp4"), meta_for("match.mp4")).await.unwrap();
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("eu-central-1", &["--slots", "1"]);
    interface.ready(&fleet).await;
    let organisation = fleet.store.ensure_organisation("club", 1).await.unwrap();
    let client = interface.client(&key(&fleet.store, organisation, &TENANT_SCOPES).await);
    let job = fleet.submit_for(organisation, &format!("s3://{}/match.mp4", bucket.name), &small_ladder()).await;
    fleet.succeeded(job, Duration::from_secs(180)).await;

    let clip = async |from: f64, to: f64| {
        let body = json!({ "start_s": from, "end_s": to, "title": "Tor: Łódź – 日本" });
        let (status, clip) = client.post(&format!("/jobs/{job}/clips"), body).await;
        assert_eq!(status, StatusCode::CREATED, "{clip}");
        format!("/clips/{}", clip["id"].as_str().unwrap())
    };
    let path = clip(10.04, 17.2).await;
    // Where the link leads, when the file is ready.
    let ready = async |body: Value| {
        let (status, asked) = client.post(&format!("{path}/download"), body).await;
        assert!(status == StatusCode::ACCEPTED && is_asked_for(&asked), "{status}: {asked}");
        let clip = until(&client, fleet.dir.path(), &path, |clip| {
            clip["download"]["state"] != "queued" && clip["download"]["state"] != "running"
        })
        .await;
        let url = clip["download"]["url"].as_str().unwrap_or_else(|| panic!("{clip}\n{}", fleet.logs()));
        let stays = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let answer = stays.get(format!("{}{url}", client.server)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND);
        (answer.headers()["location"].to_str().unwrap().to_owned(), clip["download"]["height"].clone())
    };
    let (url, height) = ready(json!({})).await;
    assert_eq!(height, 180);
    assert!(url.starts_with(&format!("{endpoint}/{}/published/", bucket.name)), "{url}");
    assert!(url.contains("X-Amz-Expires=3600&") && !url.contains("X-Amz-Security-Token"), "{url}");
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["content-type"]), (StatusCode::OK, &"video/mp4".parse().unwrap()));
    let name = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(
        name,
        "attachment; filename=\"story - Tor __d_ _ __ 0.10.mp4\"; \
         filename*=UTF-8''story%20-%20Tor%20%C5%81%C3%B3d%C5%BA%20%E2%80%93%20%E6%97%A5%E6%9C%AC%200.10.mp4"
    );
    let file = fleet.dir.path().join("tall.mp4");
    std::fs::write(&file, answer.bytes().await.unwrap()).unwrap();
    assert_eq!(coded::numbers(&file), (251..430).collect::<Vec<_>>());
    assert!(begins_with_its_index(&file));
    let (head, rest) = url.split_once("attachment").unwrap();
    let forged = reqwest::get(format!("{head}inline{rest}")).await.unwrap();
    assert_eq!(forged.status(), StatusCode::FORBIDDEN, "what the file is called is signed");

    // A smaller one takes its place.
    let (status, problem) = client.post(&format!("{path}/download"), json!({ "height": 91 })).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("invalid")), "{problem}");
    let (small, height) = ready(json!({ "height": 90 })).await;
    assert_eq!(height, 90);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), StatusCode::NOT_FOUND, "the tall one is gone");
    let file = fleet.dir.path().join("small.mp4");
    std::fs::write(&file, reqwest::get(&small).await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(probed(&file, "stream=width,height,nb_frames")[0], "160,90,179");
    let (_, again) = client.post(&format!("{path}/download"), json!({ "height": 90 })).await;
    assert_eq!(again["download"]["state"], "ready", "{again}");

    let long = clip(0.0, 10.1).await;
    let (status, problem) = client.post(&format!("{long}/download"), json!({})).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("clip_too_long")),
        "{problem}"
    );
}
