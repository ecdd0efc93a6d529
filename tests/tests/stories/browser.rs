//! The pages in a real browser: Debian's Chromium, without a window, driven by `dispatcher/web/e2e` against a whole
//! local fleet. Pictures of what was seen stay in `target/browser`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use stories::gate::Gate;
use stories::local_fleet::{Local, log_of};
use stories::{ffmpeg, made_clip, shared_media, with_copied_sound};
use tempfile::tempdir;
use tokio::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A minute of video in several parts of an upload: camera footage when there is some.
fn footage(dir: &Path) -> PathBuf {
    let Some(media) = shared_media("browser, with camera footage") else { return made_clip(dir, 900) };
    let path = dir.join("cup final.mp4");
    let source = media.join("ordinary/gopro_karma_480p2997_gpmf.mp4").to_string_lossy().into_owned();
    let name = path.to_string_lossy().into_owned();
    let loops = ["-stream_loop", "6", "-i", &source, "-map", "0:v", "-map", "0:a", "-c", "copy", &name];
    assert!(ffmpeg(&loops).is_empty());
    path
}

/// Runs a story of `dispatcher/web/e2e` with a video against a fleet of its own, and gives what it measured.
async fn told(story: &str, video: impl FnOnce(&Path) -> PathBuf) -> Value {
    let web = Path::new(ROOT).join("dispatcher/web");
    assert!(web.join("node_modules").is_dir(), "the driver is missing: run `./run test`, which installs it first");
    let dir = tempdir().unwrap();
    let video = video(dir.path());
    // The film is made no further than the page has come.
    let gate = Gate::shut(dir.path());
    let local = Local::start_with_faults(dir.path(), &["--slots", "1"], &gate.rule());
    let output = Command::new("node")
        .arg(web.join(format!("e2e/{story}.mjs")))
        .env("TOUCHLINE_URL", format!("http://127.0.0.1:{}", local.port))
        .env("TOUCHLINE_KEY", std::fs::read_to_string(dir.path().join("fleet/key")).unwrap().trim())
        .env("TOUCHLINE_VIDEO", video)
        .env("TOUCHLINE_GATE", gate.file())
        .env("TOUCHLINE_SHOTS", Path::new(ROOT).join("target/browser"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("node starts");
    let (facts, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\nthe fleet: {}", log_of(dir.path()));
    println!("{facts}");
    serde_json::from_str(&facts).unwrap()
}

#[tokio::test]
async fn a_coach_uploads_through_a_cut_watches_early_scrubs_clips_and_shares() {
    let facts = told("coach", footage).await;
    assert!(facts["cut_at_percent"].as_i64().unwrap() < 100, "{facts}");
    assert!(facts["played_to_s"].as_f64().unwrap() >= 1.0, "{facts}");
    assert_eq!(facts["thumbnails"], 3, "{facts}");
    assert!(facts["axe_rules_passed"].as_i64().unwrap() > 100, "{facts}");
}

#[tokio::test]
async fn a_coach_watches_a_later_minute_first_and_goes_back_and_stays_when_told_to() {
    let facts = told("focus", |dir| with_copied_sound(&made_clip(dir, 900))).await;
    assert!(facts["watchable_then_s"].as_i64() < facts["later_s"].as_i64(), "{facts}");
    assert!(facts["axe_rules_passed"].as_i64().unwrap() > 50, "{facts}");
}

#[tokio::test]
async fn a_coach_does_the_same_on_a_phone() {
    let facts = told("phone", footage).await;
    assert!(facts["clip_played_to_s"].as_f64().unwrap() > 0.0, "{facts}");
    assert!(facts["axe_rules_passed"].as_i64().unwrap() > 100, "{facts}");
}
