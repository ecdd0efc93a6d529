//! Frames that carry their number: none lost, none twice, at any chunk size.

use std::path::Path;

use stories::{cheap_ladder, ffmpeg, shape, shared_media, tool, transcode};
use tempfile::tempdir;

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// Numbers of all frames of a rendition: 16 bars in the top third, bit b at x = 20·b.
pub(crate) fn numbers(playlist: &Path) -> Vec<u32> {
    let pixels = ffmpeg(&["-i", playlist.to_str().unwrap(), "-f", "rawvideo", "-pix_fmt", "gray", "-"]);
    assert_eq!(pixels.len() % (WIDTH * HEIGHT), 0);
    pixels
        .chunks_exact(WIDTH * HEIGHT)
        .map(|frame| (0..16).filter(|b| frame[30 * WIDTH + 20 * b + 10] > 126).map(|b| 1 << b).sum())
        .collect()
}

/// Times of the source's frames in seconds.
fn source_times(file: &Path) -> Vec<f64> {
    let output = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "frame=best_effort_timestamp_time",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|l| l.trim_end_matches(',').parse().ok()).collect()
}

#[test]
fn every_source_frame_is_shown_once_and_chunks_change_nothing() {
    let Some(media) = shared_media("frames that carry their number") else { return };
    let files = [
        ("a_closed.mp4", 0..1000),
        ("a_closed.ts", 0..1000),
        ("b_open.mkv", 0..1000),
        ("b_open.ts", 0..1000),
        ("e_elst.mp4", 175..1000),
        ("f_offset5.mkv", 0..1000),
        ("g_hevc10_open.mp4", 0..1000),
    ];
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[180]);
    for (name, wanted) in files {
        let source = media.join("coded").join(name);
        let mut reference = None;
        for (slots, chunk) in [("1", "3600"), ("2", "6"), ("2", "18")] {
            let out = dir.path().join(format!("{name}-{chunk}"));
            let run =
                transcode(&source, &out, &["--ladder", ladder.to_str().unwrap(), "--slots", slots, "--chunk", chunk]);
            assert_eq!(run.code, Some(0), "{name}: {run:?}");
            let seen = numbers(&out.join("v180/index.m3u8"));
            assert_eq!(seen, wanted.clone().collect::<Vec<_>>(), "{name} in chunks of {chunk} s");
            let shape = shape(&out, &["v180", "audio-und"]);
            match &reference {
                None => reference = Some(shape),
                Some(first) => assert_eq!(&shape, first, "{name} in chunks of {chunk} s"),
            }
        }
        println!("pass {name}");
    }
}

#[test]
fn a_variable_rate_shows_the_frame_that_is_on_screen() {
    let Some(media) = shared_media("variable frame rate") else { return };
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[180]);
    for name in ["c_vfr.mp4", "c_vfr.mkv"] {
        let source = media.join("coded").join(name);
        let out = dir.path().join(name);
        let run = transcode(&source, &out, &["--ladder", ladder.to_str().unwrap(), "--slots", "2", "--chunk", "6"]);
        assert_eq!(run.code, Some(0), "{name}: {run:?}");
        let seen = numbers(&out.join("v180/index.m3u8"));
        let times = source_times(&source);
        let grid: Vec<f64> = times.iter().map(|t| ((t - times[0]) * 25.0).round()).collect();
        let first = seen[0];
        for (k, number) in seen.iter().enumerate() {
            let on_screen = grid.iter().copied().filter(|g| *g <= k as f64).fold(0.0, f64::max);
            assert!((f64::from(number - first) - on_screen).abs() < 0.5, "{name}: output frame {k} shows {number}");
        }
    }
}

#[test]
fn interlaced_sources_give_a_picture_for_each_field() {
    let Some(media) = shared_media("interlaced") else { return };
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[90]);
    for name in ["i_tff.mp4", "i_tff.ts"] {
        let source = media.join("coded").join(name);
        let frames = source_times(&source).len() as u64;
        let mut reference = None;
        for chunk in ["3600", "6"] {
            let out = dir.path().join(format!("{name}-{chunk}"));
            let run = transcode(&source, &out, &["--ladder", ladder.to_str().unwrap(), "--chunk", chunk]);
            assert_eq!(run.code, Some(0), "{name}: {run:?}");
            assert_eq!(run.last()["frames"], frames * 2, "{name}");
            let shape = shape(&out, &["v90"]);
            assert_eq!(reference.get_or_insert_with(|| shape.clone()), &shape, "{name}");
        }
    }
}
