//! Sound stays with the picture: flashes and beeps are less than 20 ms apart at start and end.

use std::path::Path;

use stories::{cheap_ladder, ffmpeg, shared_media, tool, transcode};
use tempfile::tempdir;

/// Seconds at which the picture turns bright.
pub(crate) fn flashes(playlist: &Path) -> Vec<f64> {
    let text = ffmpeg(&[
        "-copyts",
        "-i",
        playlist.to_str().unwrap(),
        "-an",
        "-vf",
        "signalstats,metadata=print:file=-",
        "-f",
        "null",
        "-",
    ]);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (mut time, mut bright, mut flashes) = (0.0, false, Vec::new());
    for line in text.lines() {
        if let Some(t) = line.split("pts_time:").nth(1) {
            time = t.split_whitespace().next().and_then(|t| t.parse().ok()).unwrap_or(0.0);
        } else if let Some(y) = line.strip_prefix("lavfi.signalstats.YAVG=") {
            let now = y.parse::<f64>().is_ok_and(|y| y > 100.0);
            if now && !bright {
                flashes.push(time);
            }
            bright = now;
        }
    }
    flashes
}

/// Seconds at which silence ends.
pub(crate) fn beeps(playlist: &Path) -> Vec<f64> {
    let output = tool(
        "ffmpeg",
        &[
            "-v",
            "info",
            "-copyts",
            "-i",
            playlist.to_str().unwrap(),
            "-vn",
            "-af",
            "silencedetect=n=-20dB:d=0.3",
            "-f",
            "null",
            "-",
        ],
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.split("silence_end: ").skip(1).filter_map(|t| t.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn flashes_and_beeps_are_less_than_twenty_milliseconds_apart_at_start_and_end() {
    let Some(media) = shared_media("flashes and beeps") else { return };
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[90]);
    for name in ["s_sync.mp4", "s_sync.mkv", "s_sync.ts"] {
        let source = media.join("coded").join(name);
        let out = dir.path().join(name);
        let run = transcode(&source, &out, &["--ladder", ladder.to_str().unwrap(), "--slots", "2", "--chunk", "12"]);
        assert_eq!(run.code, Some(0), "{name}: {run:?}");
        let rendition = run.last()["renditions"][0]["name"].as_str().unwrap().to_owned();
        let (flashes, beeps) =
            (flashes(&out.join(rendition).join("index.m3u8")), beeps(&out.join("audio-und/index.m3u8")));
        assert!(flashes.len() > 3 && beeps.len() > 3, "{name}: {} flashes, {} beeps", flashes.len(), beeps.len());
        let offset = |beep: f64| flashes.iter().map(|f| beep - f).min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        let (first, last) = (offset(beeps[0]), offset(beeps[beeps.len() - 2]));
        println!("{name}: {:.1} ms at the start, {:.1} ms at the end", first * 1e3, last * 1e3);
        assert!(first.abs() < 0.02 && last.abs() < 0.02, "{name}: {first} {last}");
    }
}
