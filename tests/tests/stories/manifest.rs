//! Every file of the media set gives what its manifest says.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use stories::{Run, cheap_ladder, complaints, shared_media, transcode};
use tempfile::tempdir;

/// Files that take long; `TOUCHLINE_FULL=1` has them too.
const LONG: [&str; 2] = ["long_av1_1080p60_363s.mp4", "test_pattern_240p_120fps_60s.mp4"];

#[test]
fn every_file_of_the_media_set_gives_what_its_manifest_says() {
    let Some(media) = shared_media("the media set") else { return };
    let manifest: Value = serde_json::from_slice(&fs::read(media.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    let full = std::env::var_os("TOUCHLINE_FULL").is_some();
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[360, 180]);
    let (next, lines) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = file["file"].as_str().unwrap();
                    let is_long = LONG.iter().any(|l| name.ends_with(l));
                    let line = if is_long && !full {
                        format!("skip {name}: takes long, TOUCHLINE_FULL=1 has it")
                    } else {
                        let out = dir.path().join(name.replace('/', "_"));
                        let run = transcode(&media.join(name), &out, &["--ladder", ladder.to_str().unwrap()]);
                        let hangs_s = if is_long { 300 } else { 60 };
                        let verdict = match run.took.as_secs() {
                            seconds if seconds > hangs_s => Err(format!("took {seconds} s")),
                            _ => judge(&file["expected"], &run, &out),
                        };
                        fs::remove_dir_all(&out).ok();
                        verdict.map_or_else(|why| format!("FAIL {name}: {why}"), |()| format!("pass {name}"))
                    };
                    lines.lock().unwrap().push(line);
                }
            });
        }
    });
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    println!("{}", lines.join("\n"));
    let failed: Vec<&String> = lines.iter().filter(|l| l.starts_with("FAIL")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(lines.len(), files.len());
}

fn judge(expected: &Value, run: &Run, out: &Path) -> Result<(), String> {
    let outcome = expected["outcome"].as_str().unwrap_or_default();
    match (outcome, run.code) {
        ("transcode", Some(0)) => transcoded(expected, run, out),
        ("transcode_or_refuse", Some(0)) => {
            let text = expected["text"].as_str().unwrap_or_default();
            let says_so = run.last()["warnings"].as_array().is_some_and(|w| !w.is_empty());
            if text.starts_with("damaged or cut") && !says_so {
                return Err("damage passed over in silence".to_owned());
            }
            Ok(())
        }
        ("refuse" | "transcode_or_refuse", Some(2)) => {
            let has_code = run.last()["code"].as_str().is_some();
            let at_once = run.took.as_secs() < 5;
            let published = out.join("master.m3u8").exists();
            (has_code && at_once && !published).then_some(()).ok_or_else(|| format!("{run:?}"))
        }
        _ => Err(format!("{outcome}, but exit {:?}: {} {}", run.code, run.last(), run.stderr)),
    }
}

fn transcoded(expected: &Value, run: &Run, out: &Path) -> Result<(), String> {
    let done = run.last();
    let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
    let near =
        |wanted: &Value| (number(&done["duration_s"]) - number(wanted)).abs() <= number(&expected["tolerance_s"]);
    // Joined recordings whose clock jumps have the span of the jump; their duration is that of the content.
    if !near(&expected["video_span_s"]) && !near(&expected["duration_s"]) {
        return Err(format!("{} s instead of {}", done["duration_s"], expected["video_span_s"]));
    }
    let renditions = done["renditions"].as_array().cloned().unwrap_or_default();
    let has_sound = renditions.iter().any(|r| r["name"].as_str().is_some_and(|n| n.starts_with("audio")));
    if Some(has_sound) != expected["audio"].as_bool() {
        return Err(format!("sound: {has_sound}"));
    }
    let (width, height) = expected["display"].as_str().and_then(|d| d.split_once('x')).unwrap_or_default();
    let (width, height): (f64, f64) = (width.parse().unwrap_or(0.0), height.parse().unwrap_or(0.0));
    let top = &renditions[0];
    let (w, h) = (number(&top["width"]), number(&top["height"]));
    // An even side is at most two pixels off the exact one.
    let shape_is_kept = (w / h * height - width).abs() <= 2.0 * width / w.min(h) + 2.0;
    if w > width + 1.0 || h > height + 1.0 || w % 2.0 != 0.0 || h % 2.0 != 0.0 || !shape_is_kept {
        return Err(format!("{w}×{h} from {width}×{height}"));
    }
    if done["report"]["must_failed"] != 0 {
        return Err(format!("report: {}", done["report"]));
    }
    let said = complaints(&out.join("master.m3u8"));
    if said.is_empty() { Ok(()) } else { Err(format!("FFmpeg complains: {said}")) }
}
