//! Support for the stories: the real worker, the real FFmpeg tools, real media.

pub mod api_bench;
pub mod aws;
pub mod client;
pub mod cut;
pub mod decide_bench;
pub mod fleet_bench;
pub mod fleet_processes;
pub mod gate;
pub mod interface;
pub mod local_fleet;
pub mod measure;
pub mod moto;
pub mod peers;
pub mod promises;
pub mod receiver;
pub mod services;
pub mod simulate_bench;
pub mod simulation;
pub mod worker_bench;
pub mod zero_bench;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The worker binary of this build.
///
/// # Panics
/// It was not built: `./run test` does that first.
#[must_use]
pub fn worker() -> PathBuf {
    program("worker")
}

/// A program of this build.
///
/// # Panics
/// It was not built: `./run test` does that first.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    // Tests live in target/<profile>/deps, the benchmark beside the worker.
    let folders = own.ancestors().skip(1).take(2);
    let path = folders.map(|f| f.join(name)).find(|w| w.is_file()).unwrap_or_else(|| own.with_file_name(name));
    assert!(path.is_file(), "{} is missing: run `./run test`, which builds it first", path.display());
    path
}

/// A finished run of the worker.
#[derive(Debug)]
pub struct Run {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All events.
    pub events: Vec<Value>,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Run {
    /// The last event.
    #[must_use]
    pub fn last(&self) -> &Value {
        self.events.last().unwrap_or(&Value::Null)
    }

    /// Number of `segment` events.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.events.iter().filter(|e| e["event"] == "segment").count()
    }
}

/// Runs `worker transcode --json` with more arguments.
///
/// # Panics
/// The worker cannot be started.
#[must_use]
pub fn transcode(input: &Path, out: &Path, arguments: &[&str]) -> Run {
    let started = Instant::now();
    let output = Command::new(worker())
        .args(["transcode", "--json"])
        .args(arguments)
        .arg("--")
        .args([input, out])
        .stdin(Stdio::null())
        .output()
        .expect("the worker starts");
    finished(&output, started.elapsed())
}

/// Reads what a run printed.
#[must_use]
pub fn finished(output: &Output, took: Duration) -> Run {
    let text = String::from_utf8_lossy(&output.stdout);
    Run {
        code: output.status.code(),
        events: text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took,
    }
}

/// Processes whose parent is `pid`.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|child| {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.rsplit(')').next().and_then(|s| s.split_whitespace().nth(1)?.parse::<u32>().ok()) == Some(pid)
        })
        .collect()
}

/// Peak resident memory of a process so far, in KiB.
#[must_use]
pub fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find(|l| l.starts_with("VmHWM:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// Runs `ffmpeg` and gives what it wrote to standard output.
///
/// # Panics
/// It is missing (`./run test` installs it) or fails.
#[must_use]
pub fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = tool("ffmpeg", arguments);
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs one of FFmpeg's tools.
///
/// # Panics
/// It is missing.
#[must_use]
pub fn tool(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(name);
    if name == "ffmpeg" {
        command.args(["-nostdin", "-v", "warning", "-y"]);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{name}: {e}; `./run test` installs it"))
}

/// What FFmpeg's HLS demuxer says about a playlist while reading all of it; empty when it likes it.
#[must_use]
pub fn complaints(playlist: &Path) -> String {
    let playlist = playlist.to_string_lossy();
    let decode = tool("ffmpeg", &["-i", &playlist, "-map", "0", "-f", "null", "-"]);
    let probe = tool("ffprobe", &["-v", "warning", "-show_streams", "-of", "json", &playlist]);
    let text = |o: &Output| String::from_utf8_lossy(&o.stderr).into_owned();
    format!("{}{}", text(&decode), text(&probe)).trim().to_owned()
}

/// The same film with sound that needs no encoding. Sound is made in one go, so that a later minute waits for all of it before
/// that minute; copied, it is there at once.
///
/// # Panics
/// FFmpeg refuses.
#[must_use]
pub fn with_copied_sound(film: &Path) -> PathBuf {
    let path = film.with_file_name("league match.mp4");
    let (source, name) = (film.to_string_lossy().into_owned(), path.to_string_lossy().into_owned());
    let sound = ["-c:v", "copy", "-c:a", "aac", "-ac", "2", "-b:a", "128k"];
    let made = ffmpeg(&[&["-i", &source], sound.as_slice(), &[&name]].concat());
    assert!(made.is_empty(), "nothing is written to standard output");
    path
}

/// A made clip with moving content and sound: `seconds` of 320×180 at 25 pictures a second.
#[must_use]
pub fn made_clip(dir: &Path, seconds: u32) -> PathBuf {
    let path = dir.join("made clip é.mp4");
    let (video, audio) = (format!("testsrc2=s=320x180:r=25:d={seconds}"), format!("sine=f=440:r=48000:d={seconds}"));
    let name = path.to_string_lossy().into_owned();
    let made = ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &video,
        "-f",
        "lavfi",
        "-i",
        &audio,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "250",
        "-c:a",
        "aac",
        &name,
    ]);
    assert!(made.is_empty());
    path
}

/// A ladder file of one or more heights, cheap to encode.
///
/// # Panics
/// The folder cannot be written.
#[must_use]
pub fn cheap_ladder(dir: &Path, heights: &[u32]) -> PathBuf {
    let rungs: String =
        heights.iter().map(|h| format!("  - {{ height: {h}, quality: 26, max_kbps: 2500 }}\n")).collect();
    let path = dir.join("cheap.yaml");
    let text = format!("name: cheap\ndescription: for tests\ntop: encode\neffort: fast\nrenditions:\n{rungs}");
    std::fs::write(&path, text).expect("the temporary folder can be written");
    path
}

/// The media set beside the checkout, or at `$TOUCHLINE_MEDIA`; says so when a story is skipped for want of it.
#[must_use]
pub fn shared_media(story: &str) -> Option<PathBuf> {
    let path = std::env::var_os("TOUCHLINE_MEDIA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media"), PathBuf::from);
    if path.join("manifest.json").is_file() {
        return Some(path);
    }
    println!("skipped: {story}: no media set at {} (set TOUCHLINE_MEDIA)", path.display());
    None
}

/// What must be the same however a presentation came about: playlists, init segments, and every packet's times.
///
/// # Panics
/// The output cannot be read.
#[must_use]
pub fn shape(out: &Path, renditions: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut shape = Vec::new();
    for rendition in renditions {
        for file in ["index.m3u8", "init.mp4"] {
            let path = out.join(rendition).join(file);
            shape.push((
                format!("{rendition}/{file}"),
                std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            ));
        }
        let playlist = out.join(rendition).join("index.m3u8");
        let times = tool(
            "ffprobe",
            &["-v", "error", "-show_entries", "packet=pts,dts,duration", "-of", "csv=p=0", &playlist.to_string_lossy()],
        );
        shape.push((format!("{rendition} packet times"), times.stdout));
    }
    shape
}

/// Length of a media file in seconds, as its container says; `None` when it says nothing.
#[must_use]
pub fn seconds(path: &Path) -> Option<f64> {
    let answer = tool(
        "ffprobe",
        &["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", &path.to_string_lossy()],
    );
    String::from_utf8_lossy(&answer.stdout).trim().parse().ok()
}
