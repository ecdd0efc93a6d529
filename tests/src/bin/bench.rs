//! The worker against the FFmpeg command line: same ladder, same preset, same rate control, same run, medians.
//!
//! Prints what it measures and, for each goal, a last line `name ratio goal verdict`; exits with 1 when one is missed.

use std::borrow::Cow;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use stories::measure::{Cost, cost, median};
use stories::peers::{self, RUNGS, Scaling};
use stories::{api_bench, decide_bench, ffmpeg, fleet_bench, simulate_bench, worker};

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
  spread    a 90-minute match on 1 to 64 workers that pretend to encode, against the ideal
  api       1 000 listeners and 200 requests/s for --seconds, beside a job that is being encoded
  decide    one decision about 10 000 chunks and 50 pools, against 10 ms
  simulate  CPU seconds of a million matches in the simulator, against a minute

The film is $TOUCHLINE_BENCH_CLIP (1080p), else bench/bbb_1080p24_30s.mp4 of the media set, else one that is drawn.";

const NAMES: [&str; 13] = [
    "pinned", "cores", "copy", "overhead", "bytes", "sandbox", "memory", "control", "soon", "spread", "api", "decide",
    "simulate",
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
    let Some(clip) = clip(dir.path(), seconds) else {
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
                let clip = self::clip(&dir, seconds.max(60)).expect("a film, as before");
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
fn fleet_benchmarks(names: &mut Vec<String>, runs: u32, seconds: u32, goals: &mut Vec<Goal>) {
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
            "soon" => match clip(dir.path(), 30) {
                Some(clip) => runtime.block_on(fleet_bench::soon(&clip, runs)),
                None => return true,
            },
            _ => return true,
        };
        goals.extend(measured.into_iter().map(|m| Goal { name: m.name.into(), ratio: m.ratio, limit: m.limit }));
        false
    });
}

fn verdict(goals: Vec<Goal>) -> ExitCode {
    println!("\nname ratio goal verdict");
    let mut missed = false;
    for goal in goals {
        let met = goal.ratio <= goal.limit;
        missed |= !met;
        println!("{} {:.3} {:.2} {}", goal.name, goal.ratio, goal.limit, if met { "met" } else { "MISSED" });
    }
    ExitCode::from(u8::from(missed))
}

/// A command to measure: its name, and its command line for an output folder.
type Variant<'a> = (&'a str, &'a dyn Fn(&Path) -> Vec<String>);

struct Goal {
    name: Cow<'static, str>,
    ratio: f64,
    limit: f64,
}

struct Bench {
    dir: PathBuf,
    clip: PathBuf,
    runs: u32,
}

fn clip(dir: &Path, seconds: u32) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/bench/bbb_1080p24_30s.mp4");
    let source = std::env::var_os("TOUCHLINE_BENCH_CLIP").map(PathBuf::from);
    let source = source.or_else(|| shared.is_file().then_some(shared)).or_else(|| drawn_clip(dir))?;
    let clip = dir.join("clip.mp4");
    let length = seconds.to_string();
    // Whole turns only: packets that begin another turn would make it a source whose packets cannot be copied.
    let loops = (f64::from(seconds) / stories::seconds(&source)? - 0.01).ceil().max(1.0) - 1.0;
    let loops = format!("{loops:.0}");
    let made = ffmpeg(&[
        "-stream_loop",
        &loops,
        "-i",
        source.to_str()?,
        "-t",
        &length,
        "-map",
        "0:v:0",
        "-map",
        "0:a:0?",
        "-c",
        "copy",
        clip.to_str()?,
    ]);
    made.is_empty().then_some(clip)
}

/// Ten seconds of drawn 1080p with grain and sound, for whom has no film at hand.
fn drawn_clip(dir: &Path) -> Option<PathBuf> {
    println!(
        "no film given: this draws one, which is easier to encode than a match; set TOUCHLINE_BENCH_CLIP to a 1080p film"
    );
    let clip = dir.join("drawn.mp4");
    let picture = "testsrc2=s=1920x1080:r=25:d=10,noise=alls=8:allf=t";
    let sound = "sine=f=440:r=48000:d=10";
    let made = ffmpeg(
        &[
            &["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound][..],
            &[
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                "-crf",
                "20",
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
                clip.to_str()?,
            ],
        ]
        .concat(),
    );
    made.is_empty().then_some(clip)
}

impl Bench {
    /// The command that most people would use, or (`tuned`) the best that one command can do on one core.
    fn tuned(&self, out: &Path) -> Vec<String> {
        peers::ffmpeg(&self.clip, out, Scaling::Cascade, Some(1))
    }

    /// The usual command with the threads that it takes on this machine. Left alone, libx264 would count the one core
    /// that it is pinned to and take one thread, which is the half of what *tuned* tunes.
    fn usual_on_one_core(&self, out: &Path) -> Vec<String> {
        peers::ffmpeg(&self.clip, out, Scaling::Split, Some((cores() * 3 / 2).max(1)))
    }

    fn touchline(&self, out: &Path, ladder: &str, slots: Option<u32>) -> Vec<String> {
        touchline(&self.clip, out, ladder, slots)
    }

    fn fresh(&self, name: &str) -> PathBuf {
        let out = self.dir.join(name);
        match std::fs::remove_dir_all(&out) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{}: {e}", out.display()),
            _ => out,
        }
    }

    /// Medians of CPU and wall seconds of several commands, run in turns so that a busy machine hurts all alike.
    fn compare(&self, title: &str, pin: bool, variants: &[Variant<'_>]) -> Vec<Cost> {
        let mut costs = vec![Vec::new(); variants.len()];
        for _ in 0..self.runs {
            for (i, (name, command)) in variants.iter().enumerate() {
                let out = self.fresh(name);
                let mut line = command(&out);
                if pin {
                    line.splice(0..0, ["taskset", "-c", "0"].map(str::to_owned));
                }
                costs[i].push(cost(&line));
            }
        }
        println!("\n{title} (median of {})", self.runs);
        let medians: Vec<Cost> = costs
            .iter()
            .map(|c| Cost {
                cpu: median(c.iter().map(|c| c.cpu).collect()),
                wall: median(c.iter().map(|c| c.wall).collect()),
            })
            .collect();
        for ((name, _), cost) in variants.iter().zip(&medians) {
            println!("  {name:<10} cpu {:>7.2} s   wall {:>7.2} s", cost.cpu, cost.wall);
        }
        medians
    }

    fn pinned(&self, goals: &mut Vec<Goal>) {
        let costs = self.compare(
            "one core",
            true,
            &[
                ("usual", &|out| self.usual_on_one_core(out)),
                ("tuned", &|out| self.tuned(out)),
                ("parity", &|out| self.touchline(out, "parity", Some(1))),
                ("lanczos", &|out| self.touchline(out, "lanczos", Some(1))),
            ],
        );
        goals.push(Goal { name: "pinned-cpu-vs-usual".into(), ratio: costs[2].cpu / costs[0].cpu, limit: 0.80 });
        goals.push(Goal { name: "pinned-cpu-vs-tuned".into(), ratio: costs[2].cpu / costs[1].cpu, limit: 1.00 });
    }

    /// Wall time. A clip has to be long: of a short one's few segments the last keep only some slots busy.
    fn cores(&self, goals: &mut Vec<Goal>) {
        let usual = |out: &Path| peers::ffmpeg(&self.clip, out, Scaling::Split, None);
        let tuned = |out: &Path| self.tuned(out);
        let parity = |out: &Path| self.touchline(out, "parity", None);
        let gstreamer = |out: &Path| peers::gstreamer(&self.clip, out).expect("it was there before");
        let shaka = |out: &Path| peers::shaka(&self.clip, out).expect("it was there before");
        let mut variants: Vec<Variant<'_>> = vec![("usual", &usual), ("tuned", &tuned), ("parity", &parity)];
        if peers::gstreamer(&self.clip, &self.fresh("gstreamer")).is_some() {
            variants.push(("gstreamer", &gstreamer));
        }
        if peers::shaka(&self.clip, &self.fresh("shaka")).is_some() {
            variants.push(("shaka", &shaka));
        }
        let costs = self.compare("all cores", false, &variants);
        println!("  utilisation {:.2} of {} cores", costs[2].cpu / costs[2].wall, cores());
        goals.push(Goal { name: "cores-wall-vs-usual".into(), ratio: costs[2].wall / costs[0].wall, limit: 0.90 });
        goals.push(Goal { name: "cores-wall-vs-tuned".into(), ratio: costs[2].wall / costs[1].wall, limit: 0.65 });
    }

    fn copy(&self, goals: &mut Vec<Goal>) {
        let costs = self.compare(
            "source rendition copied, one core",
            true,
            &[("usual", &|out| self.usual_on_one_core(out)), ("copy", &|out| self.touchline(out, "copy", Some(1)))],
        );
        goals.push(Goal { name: "copy-cpu-vs-usual".into(), ratio: costs[1].cpu / costs[0].cpu, limit: 0.50 });
    }

    fn overhead(&self, goals: &mut Vec<Goal>) {
        let mut shares = Vec::new();
        println!("\nwork outside decoding and encoding (median of {})", self.runs);
        for _ in 0..self.runs {
            let out = self.fresh("overhead");
            let mut line = self.touchline(&out, "parity", Some(1));
            line.splice(0..0, ["taskset", "-c", "0"].map(str::to_owned));
            let output = Command::new(&line[0]).args(&line[1..]).stdin(Stdio::null()).output().expect("taskset");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let done: Value = text.lines().last().and_then(|l| serde_json::from_str(l).ok()).unwrap_or_default();
            let stage = |name: &str| done["cpu_s"][name].as_f64().unwrap_or(f64::NAN);
            // Sound is decoding and encoding too; it is shown apart.
            let outside = stage("demux") + stage("filter") + stage("package");
            let inside = stage("decode") + stage("encode") + stage("audio");
            println!("  stages {}", done["cpu_s"]);
            shares.push(outside / (outside + inside));
        }
        goals.push(Goal { name: "overhead".into(), ratio: median(shares), limit: 0.05 });
    }

    fn bytes(&self, goals: &mut Vec<Goal>) {
        let [tuned, ours, lanczos] = ["tuned", "parity", "lanczos"].map(|name| self.fresh(&format!("bytes-{name}")));
        println!("\nbytes");
        cost(&self.tuned(&tuned));
        cost(&self.touchline(&ours, "parity", Some(1)));
        cost(&self.touchline(&lanczos, "lanczos", Some(1)));
        let mut worst: f64 = 0.0;
        for (height, _) in RUNGS {
            let [a, b, c] = [&tuned, &ours, &lanczos].map(|out| folder_bytes(&out.join(format!("v{height}"))));
            println!(
                "  {height}p: tuned {a:.0}, parity {b:.0}, ratio {:.3}; lanczos {c:.0}, ratio {:.3}",
                b / a,
                c / a
            );
            worst = worst.max(b / a);
            for (name, out) in [("tuned", &tuned), ("parity", &ours), ("lanczos", &lanczos)] {
                match vmaf(&out.join(format!("v{height}/index.m3u8")), &self.clip) {
                    Some(score) => println!("    VMAF {name} {score:.2}"),
                    None => {
                        println!("    VMAF {name} not measured: set TOUCHLINE_VMAF_FFMPEG to an ffmpeg with libvmaf")
                    }
                }
            }
        }
        goals.push(Goal { name: "bytes-vs-tuned".into(), ratio: worst, limit: 1.02 });
    }

    fn sandbox(&self, goals: &mut Vec<Goal>) {
        let insecure = |out: &Path| {
            let mut line = self.touchline(out, "parity", Some(1));
            line.insert(2, "--insecure-engine".to_owned());
            line
        };
        let costs = self.compare(
            "locked in, one core",
            true,
            &[("open", &insecure), ("locked", &|out| self.touchline(out, "parity", Some(1)))],
        );
        goals.push(Goal { name: "sandbox-cpu".into(), ratio: costs[1].cpu / costs[0].cpu, limit: 1.02 });
        let (mut open, mut locked) = (Vec::new(), Vec::new());
        for _ in 0..self.runs * 10 {
            open.push(start("none"));
            locked.push(start("both"));
        }
        let of = |starts: &[Cost]| {
            let cpu = median(starts.iter().map(|c| c.cpu * 1000.0).collect());
            (cpu, median(starts.iter().map(|c| c.wall * 1000.0).collect()))
        };
        println!("\nan engine until it is ready (median of {})", self.runs * 10);
        let (open, locked) = (of(&open), of(&locked));
        for (name, (cpu, wall)) in [("open", open), ("locked", locked)] {
            println!("  {name:<10} cpu {cpu:>7.2} ms   wall {wall:>7.2} ms");
        }
        goals.push(Goal { name: "sandbox-start-ms-more".into(), ratio: locked.0 - open.0, limit: 5.0 });
    }

    /// A match at five pictures a second, so that an hour takes minutes: its pictures, rungs and segments are a real
    /// match's, and two sound tracks make its index larger than that of a match with one at 25 pictures a second.
    fn memory(&self, goals: &mut Vec<Goal>) {
        println!("\npeak memory of parent and one engine, 1080p, parity ladder");
        let base = self.dir.join("memory-base.mp4");
        let made = ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=1920x1080:r=5:d=60",
            "-f",
            "lavfi",
            "-i",
            "sine=d=60",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-map",
            "1:a",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p",
            "-b:v",
            "4M",
            "-c:a",
            "aac",
            base.to_str().unwrap_or_default(),
        ]);
        assert!(made.is_empty());
        let peak = |minutes: u32| {
            let clip = self.dir.join(format!("memory-{minutes}.mp4"));
            let loops = (minutes - 1).to_string();
            let made = ffmpeg(&[
                "-stream_loop",
                &loops,
                "-i",
                base.to_str().unwrap_or_default(),
                "-map",
                "0",
                "-c",
                "copy",
                clip.to_str().unwrap_or_default(),
            ]);
            assert!(made.is_empty());
            let peak = peak_kib(&touchline(&clip, &self.fresh("memory"), "parity", Some(1)));
            println!("  {minutes:>3} min: {} MiB", peak / 1024);
            peak
        };
        let (short, long) = (peak(5), peak(60));
        goals.push(Goal { name: "memory-60-vs-5-min".into(), ratio: long as f64 / short as f64, limit: 1.10 });
    }
}

/// What it takes from starting an engine with these locks until it says that it is ready.
fn start(layers: &str) -> Cost {
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

/// The worker's command line for a clip with a ladder of `tests/bench`.
fn touchline(clip: &Path, out: &Path, ladder: &str, slots: Option<u32>) -> Vec<String> {
    let ladder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(format!("{ladder}.yaml"));
    let mut command = vec![worker().display().to_string()];
    command.extend(["transcode", "--encoder", "x264", "--json", "--ladder"].map(str::to_owned));
    command.push(ladder.display().to_string());
    if let Some(slots) = slots {
        command.extend(["--slots".to_owned(), slots.to_string()]);
    }
    command.extend([clip.display().to_string(), out.display().to_string()]);
    command
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn folder_bytes(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let sizes = entries.filter_map(Result::ok).filter(|e| e.path().extension().is_some_and(|x| x == "m4s"));
    sizes.filter_map(|e| e.metadata().ok()).map(|m| m.len() as f64).sum()
}

/// Mean VMAF of a playlist against the clip, both at 1080p.
fn vmaf(playlist: &Path, clip: &Path) -> Option<f64> {
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
fn peak_kib(line: &[String]) -> u64 {
    let mut child = Command::new(&line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the worker starts");
    let (mut parent, mut engine) = (0, 0);
    while child.try_wait().expect("a child can be waited for").is_none() {
        engine = stories::children(child.id()).into_iter().filter_map(stories::peak_kib).fold(engine, u64::max);
        parent = stories::peak_kib(child.id()).map_or(parent, |p| p.max(parent));
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("    parent {} MiB, engine {} MiB", parent / 1024, engine / 1024);
    parent + engine
}
