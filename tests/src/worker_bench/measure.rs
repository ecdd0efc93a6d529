//! What engines and transcodes cost beside the time of a command: their start, memory, bytes, likeness.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::Cost;
use crate::worker;

/// What it takes from starting an engine with these locks until it says that it is ready.
pub(super) fn start(layers: &str) -> Cost {
    let (source, theirs) = UnixStream::pair().expect("a socket pair");
    let (mut control, their_control) = UnixStream::pair().expect("a socket pair");
    let started = Instant::now();
    let mut engine = Command::new(worker())
        .args(["engine", "--layers", layers])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(their_control)))
        .stderr(Stdio::null())
        .spawn()
        .expect("the worker starts");
    control.read_exact(&mut [0; 8]).expect("an engine that says that it is ready");
    let wall = started.elapsed().as_secs_f64();
    // Nanoseconds on a processor; unlike the time that passed, a busy machine leaves them nearly alone.
    let times = std::fs::read_to_string(format!("/proc/{}/schedstat", engine.id())).expect("a kernel with schedstat");
    let on_cpu = times.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).expect("a number");
    drop((source, control));
    engine.wait().expect("a child can be waited for");
    Cost { cpu: on_cpu / 1e9, wall }
}

pub(super) fn folder_bytes(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let sizes = entries.filter_map(Result::ok).filter(|e| e.path().extension().is_some_and(|x| x == "m4s"));
    sizes.filter_map(|e| e.metadata().ok()).map(|m| m.len() as f64).sum()
}

/// Mean VMAF of a playlist against the clip, both at 1080p.
pub(super) fn vmaf(playlist: &Path, clip: &Path) -> Option<f64> {
    let program = std::env::var_os("TOUCHLINE_VMAF_FFMPEG")?;
    // Labels only: FFmpeg 7 and later would convert between a film that does not name its colours and one that does.
    let labels = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709,settb=1/24,setpts=N";
    let filter = format!(
        "[0:v]{labels},scale=1920:1080:flags=bicubic[d];[1:v]{labels}[r];[d][r]libvmaf=n_threads=2:n_subsample=6"
    );
    let output = Command::new(program)
        .args(["-nostdin", "-i"])
        .arg(playlist)
        .arg("-i")
        .arg(clip)
        .args(["-lavfi", &filter, "-f", "null", "-"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.rsplit("VMAF score: ").next()?.split_whitespace().next()?.parse().ok()
}

/// Largest sum of peak resident memory (`VmHWM`) of the worker and its largest engine.
pub(super) fn peak_kib(line: &[String]) -> u64 {
    let mut child = Command::new(&line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the worker starts");
    let (mut parent, mut engine) = (0, 0);
    while child.try_wait().expect("a child can be waited for").is_none() {
        engine = crate::children(child.id()).into_iter().filter_map(crate::peak_kib).fold(engine, u64::max);
        parent = crate::peak_kib(child.id()).map_or(parent, |p| p.max(parent));
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("    parent {} MiB, engine {} MiB", parent / 1024, engine / 1024);
    parent + engine
}
