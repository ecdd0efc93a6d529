//! The worker against the FFmpeg command line: same ladder, same preset, same rate control, same run, medians.

mod film;
mod measure;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub use self::film::film;
use self::measure::{folder_bytes, peak_kib, start, vmaf};
use crate::measure::{Cost, Measured, cost, median};
use crate::peers::{self, RUNGS, Scaling};
use crate::{ffmpeg, worker};

/// A command to measure: its name, and its command line for an output folder.
type Variant<'a> = (&'a str, &'a dyn Fn(&Path) -> Vec<String>);

/// The measurements of one film.
#[derive(Debug)]
pub struct Bench {
    /// Where outputs go.
    pub dir: PathBuf,
    /// The film.
    pub clip: PathBuf,
    /// Each is measured so often; medians count.
    pub runs: u32,
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
        for run in 1..=self.runs {
            for (i, (name, command)) in variants.iter().enumerate() {
                let out = self.fresh(name);
                let mut line = command(&out);
                if pin {
                    line.splice(0..0, ["taskset", "-c", "0"].map(str::to_owned));
                }
                let cost = cost(&line);
                eprintln!("{title}, run {run} of {}: {name} {:.2} s of CPU", self.runs, cost.cpu);
                costs[i].push(cost);
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

    /// CPU seconds on one core.
    pub fn pinned(&self, goals: &mut Vec<Measured>) {
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
        goals.push(Measured {
            name: "pinned-cpu-vs-usual".to_owned(),
            ratio: costs[2].cpu / costs[0].cpu,
            limit: 0.80,
        });
        goals.push(Measured {
            name: "pinned-cpu-vs-tuned".to_owned(),
            ratio: costs[2].cpu / costs[1].cpu,
            limit: 1.00,
        });
    }

    /// Wall time. A clip has to be long: of a short one's few segments the last keep only some slots busy.
    pub fn cores(&self, goals: &mut Vec<Measured>) {
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
        goals.push(Measured {
            name: "cores-wall-vs-usual".to_owned(),
            ratio: costs[2].wall / costs[0].wall,
            limit: 0.90,
        });
        goals.push(Measured {
            name: "cores-wall-vs-tuned".to_owned(),
            ratio: costs[2].wall / costs[1].wall,
            limit: 0.65,
        });
    }

    /// CPU seconds with the source rendition copied.
    pub fn copy(&self, goals: &mut Vec<Measured>) {
        let costs = self.compare(
            "source rendition copied, one core",
            true,
            &[("usual", &|out| self.usual_on_one_core(out)), ("copy", &|out| self.touchline(out, "copy", Some(1)))],
        );
        goals.push(Measured { name: "copy-cpu-vs-usual".to_owned(), ratio: costs[1].cpu / costs[0].cpu, limit: 0.50 });
    }

    /// Share of CPU outside decoding and encoding.
    pub fn overhead(&self, goals: &mut Vec<Measured>) {
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
        goals.push(Measured { name: "overhead".to_owned(), ratio: median(shares), limit: 0.05 });
    }

    /// Size of each rendition, and how like the film it is.
    pub fn bytes(&self, goals: &mut Vec<Measured>) {
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
        goals.push(Measured { name: "bytes-vs-tuned".to_owned(), ratio: worst, limit: 1.02 });
    }

    /// What locks cost: a job, and an engine's start.
    pub fn sandbox(&self, goals: &mut Vec<Measured>) {
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
        goals.push(Measured { name: "sandbox-cpu".to_owned(), ratio: costs[1].cpu / costs[0].cpu, limit: 1.02 });
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
        goals.push(Measured { name: "sandbox-start-ms-more".to_owned(), ratio: locked.0 - open.0, limit: 5.0 });
    }

    /// A match at five pictures a second, so that an hour takes minutes: its pictures, rungs and segments are a real
    /// match's, and two sound tracks make its index larger than that of a match with one at 25 pictures a second.
    pub fn memory(&self, goals: &mut Vec<Measured>) {
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
        goals.push(Measured { name: "memory-60-vs-5-min".to_owned(), ratio: long as f64 / short as f64, limit: 1.10 });
    }
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
