//! What a GPU decodes and scales is what the processors make of it. Without an NVIDIA GPU this says so and is skipped.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use stories::{Run, cheap_ladder, complaints, ffmpeg, finished, tool, worker};
use tempfile::tempdir;

/// Films that take different ways through decoder and filters, and the frames that come out of 4 s of each.
const FILMS: [(&str, &[&str], u64); 4] = [
    ("progressive", &["-vf", "format=yuv420p", "-refs", "4", "-bf", "2"], 200),
    ("interlaced", &["-vf", "tinterlace=interleave_top,format=yuv420p", "-flags", "+ilme+ildct"], 200),
    ("full_range", &["-vf", "scale=out_range=full,format=yuvj420p", "-color_range", "pc"], 200),
    ("422", &["-vf", "format=yuv422p"], 200),
];

/// Without the GPU when `hidden`.
fn transcode(clip: &Path, out: &Path, ladder: &Path, hidden: bool) -> Run {
    let started = Instant::now();
    let mut command = Command::new(worker());
    if hidden {
        command.env("CUDA_VISIBLE_DEVICES", "-1");
    }
    command.args(["transcode", "--json", "--ladder"]).args([ladder, clip, out]).stdin(Stdio::null());
    finished(&command.output().expect("the worker starts"), started.elapsed())
}

/// Likeness of two playlists' pictures in dB.
fn likeness(a: &Path, b: &Path) -> f64 {
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let output = tool("ffmpeg", &["-v", "info", "-i", a, "-i", b, "-lavfi", "[0:v][1:v]psnr", "-f", "null", "-"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let average = text.split("average:").nth(1).and_then(|t| t.split_whitespace().next());
    average.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_gpu_makes_the_pictures_that_processors_make() {
    if !Path::new("/dev/nvidiactl").exists() {
        println!("skipped: no NVIDIA GPU here");
        return;
    }
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[720, 360]);
    for (name, arguments, frames) in FILMS {
        let clip = dir.path().join(format!("{name}.mp4"));
        let source = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=50:d=4"];
        let made = [&source[..], arguments, &["-c:v", "libx264", "-preset", "fast", "-crf", "16"]].concat();
        assert!(ffmpeg(&[&made[..], &[clip.to_str().unwrap()]].concat()).is_empty());
        let [on_gpu, on_cpu] = ["gpu", "cpu"].map(|kind| {
            let out = dir.path().join(format!("{name}-{kind}"));
            let run = transcode(&clip, &out, &ladder, kind == "cpu");
            assert_eq!((run.code, &run.last()["frames"]), (Some(0), &frames.into()), "{name} on {kind}: {run:?}");
            assert_eq!(run.last()["warnings"].as_array().map(Vec::len), Some(0), "{name} on {kind}: {run:?}");
            assert_eq!(complaints(&out.join("master.m3u8")), "", "{name} on {kind}");
            (out, run)
        });
        let planned = on_gpu.1.events.iter().find(|e| e["event"] == "planned").unwrap();
        assert!(!planned["notes"].to_string().contains("GPU is not used"), "{name}: {planned}");
        for height in ["v720", "v360"] {
            let [a, b] = [&on_gpu.0, &on_cpu.0].map(|out| out.join(height).join("index.m3u8"));
            let db = likeness(&a, &b);
            assert!(db > 28.0, "{name} {height}: {db} dB");
        }
    }
}
