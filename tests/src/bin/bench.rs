//! The worker against the FFmpeg command line: same ladder, same preset, same rate control, same run, medians.
//!
//! Prints what it measures and, for each goal, a last line `name ratio goal verdict`; exits with 1 when one is missed.

use std::process::ExitCode;

use stories::measure::Measured;
use stories::worker_bench::{Bench, film};
use stories::{api_bench, decide_bench, fleet_bench, made_clip, simulate_bench, zero_bench};

const HELP: &str = "bench [--runs N] [--seconds S] [NAME…]

  pinned    CPU seconds on one core, against the usual command and a hand-tuned one
  cores     wall time on all cores for at least 60 s of film, against both; GStreamer and Shaka Streamer where installed
  copy      CPU seconds with the source rendition copied, against the usual command encoding it
  overhead  share of CPU outside decoding and x264
  bytes     size of each rendition against the hand-tuned command (and VMAF with TOUCHLINE_VMAF_FFMPEG)
  sandbox   CPU of a job and of an engine's start, locked in against not
  memory    peak memory for a 60-minute against a 5-minute source
  control   claims, heartbeats and commits a second, with 1 000 to 100 000 chunks queued
  soon      first watchable moment of 1, 5 and 20 minutes, against encoding the first segment alone
  zero      from handing in to the first claim in local mode, with no worker and with an idle one
  spread    a 90-minute match on 1 to 64 workers that pretend to encode, against the ideal
  api       1 000 listeners and 200 requests/s for --seconds, beside a job that is being encoded
  decide    one decision about 10 000 chunks and 50 pools, against 10 ms
  simulate  CPU seconds of a million matches in the simulator, against a minute

The film is $TOUCHLINE_BENCH_CLIP (1080p), else bench/bbb_1080p24_30s.mp4 of the media set, else one that is drawn.";

const NAMES: [&str; 14] = [
    "pinned", "cores", "copy", "overhead", "bytes", "sandbox", "memory", "control", "soon", "spread", "api", "decide",
    "simulate", "zero",
];

fn main() -> ExitCode {
    let mut runs = 5;
    let mut seconds = 30;
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 0);
        match argument.as_str() {
            "--runs" => runs = number().unwrap_or(runs),
            "--seconds" => seconds = number().unwrap_or(seconds),
            name if NAMES.contains(&name) => names.push(name.to_owned()),
            _ => {
                println!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    if names.is_empty() {
        names = NAMES.map(str::to_owned).to_vec();
    }
    let mut goals = Vec::new();
    fleet_benchmarks(&mut names, runs, seconds, &mut goals);
    let dir = tempfile::tempdir().expect("a temporary folder");
    if names.is_empty() {
        return verdict(goals);
    }
    let Some(clip) = film(dir.path(), seconds) else {
        println!("no film: set TOUCHLINE_BENCH_CLIP to one of 1080p\n\n{HELP}");
        return ExitCode::from(2);
    };
    let bench = Bench { dir: dir.path().to_owned(), clip, runs };
    for name in &names {
        match name.as_str() {
            "pinned" => bench.pinned(&mut goals),
            "cores" => {
                let dir = dir.path().join("long");
                std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
                let clip = film(&dir, seconds.max(60)).expect("a film, as before");
                Bench { dir, clip, runs }.cores(&mut goals);
            }
            "copy" => bench.copy(&mut goals),
            "overhead" => bench.overhead(&mut goals),
            "bytes" => bench.bytes(&mut goals),
            "sandbox" => bench.sandbox(&mut goals),
            _ => bench.memory(&mut goals),
        }
    }
    verdict(goals)
}

/// Takes the fleet's benchmarks out of the list and runs them.
fn fleet_benchmarks(names: &mut Vec<String>, runs: u32, seconds: u32, goals: &mut Vec<Measured>) {
    // The kernel ends a started process with the thread that started it: this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary folder");
    names.retain(|name| {
        let measured = match name.as_str() {
            "control" => runtime.block_on(fleet_bench::control(runs)),
            "spread" => runtime.block_on(fleet_bench::spread()),
            "api" => runtime.block_on(api_bench::api(seconds)),
            "decide" => decide_bench::decisions(runs),
            "simulate" => simulate_bench::matches(dir.path()),
            "soon" => match film(dir.path(), 30) {
                Some(clip) => runtime.block_on(fleet_bench::soon(&clip, runs)),
                None => return true,
            },
            // No goal is set for it.
            "zero" => {
                runtime.block_on(zero_bench::claims(dir.path(), &made_clip(dir.path(), 4), runs));
                Vec::new()
            }
            _ => return true,
        };
        goals.extend(measured);
        false
    });
}

fn verdict(goals: Vec<Measured>) -> ExitCode {
    println!("\nname ratio goal verdict");
    let mut missed = false;
    for goal in goals {
        let met = goal.ratio <= goal.limit;
        missed |= !met;
        println!("{} {:.3} {:.2} {}", goal.name, goal.ratio, goal.limit, if met { "met" } else { "MISSED" });
    }
    ExitCode::from(u8::from(missed))
}
