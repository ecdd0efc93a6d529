//! The film that is encoded.

use std::path::{Path, PathBuf};

use crate::ffmpeg;

/// A film of so many seconds, made in `dir`: `$TOUCHLINE_BENCH_CLIP`, else one of the media set, else one that is drawn.
#[must_use]
pub fn film(dir: &Path, seconds: u32) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/bench/bbb_1080p24_30s.mp4");
    let source = std::env::var_os("TOUCHLINE_BENCH_CLIP").map(PathBuf::from);
    let source = source.or_else(|| shared.is_file().then_some(shared)).or_else(|| drawn_clip(dir))?;
    let clip = dir.join("clip.mp4");
    let length = seconds.to_string();
    // Whole turns only: packets that begin another turn would make it a source whose packets cannot be copied.
    let loops = (f64::from(seconds) / crate::seconds(&source)? - 0.01).ceil().max(1.0) - 1.0;
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
