//! One file becomes HLS that players read without a complaint.

use stories::{cheap_ladder, complaints, made_clip, shape, transcode, worker};
use tempfile::tempdir;

#[test]
fn a_clip_becomes_hls_that_passes_every_rule_and_plays() {
    let dir = tempdir().unwrap();
    let (clip, ladder) = (made_clip(dir.path(), 15), cheap_ladder(dir.path(), &[180, 90]));
    let out = dir.path().join("out");
    let run = transcode(&clip, &out, &["--ladder", ladder.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let done = run.last();
    assert_eq!(done["event"], "done");
    assert_eq!(done["frames"], 375);
    assert_eq!(done["warnings"].as_array().unwrap().len(), 0, "{done}");
    assert_eq!(done["report"]["must_failed"], 0);
    assert_eq!(complaints(&out.join("master.m3u8")), "");
    for file in [
        "report.json",
        "poster.jpg",
        "thumbnails.vtt",
        "storyboard_000.jpg",
        "v180/iframe.m3u8",
        "audio-und/index.m3u8",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let check = std::process::Command::new(worker()).arg("check").arg(&out).arg("--json").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn the_same_command_again_changes_nothing_and_encodes_nothing() {
    let dir = tempdir().unwrap();
    let (clip, ladder) = (made_clip(dir.path(), 8), cheap_ladder(dir.path(), &[180]));
    let out = dir.path().join("out");
    let arguments = ["--ladder", ladder.to_str().unwrap()];
    assert_eq!(transcode(&clip, &out, &arguments).code, Some(0));
    let before = shape(&out, &["v180", "audio-und"]);
    let again = transcode(&clip, &out, &arguments);
    assert_eq!((again.code, again.segments()), (Some(0), 0), "{again:?}");
    assert_eq!(shape(&out, &["v180", "audio-und"]), before);
}

#[test]
fn another_video_does_not_overwrite_an_output_unless_told() {
    let dir = tempdir().unwrap();
    let other = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[90]);
    let out = dir.path().join("out");
    let arguments = ["--ladder", ladder.to_str().unwrap()];
    assert_eq!(transcode(&made_clip(dir.path(), 3), &out, &arguments).code, Some(0));
    let clip = made_clip(other.path(), 5);
    let refused = transcode(&clip, &out, &arguments);
    assert_eq!((refused.code, &refused.last()["code"]), (Some(2), &"output_in_use".into()));
    let told = transcode(&clip, &out, &[&arguments[..], &["--overwrite"]].concat());
    assert_eq!((told.code, &told.last()["frames"]), (Some(0), &125.into()));
}

#[test]
fn a_legal_top_rendition_is_copied_with_its_key_frames_as_the_grid() {
    let dir = tempdir().unwrap();
    let clip = dir.path().join("gop2.mp4");
    let made = stories::ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=640x360:r=25:d=13",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-profile:v",
        "main",
        "-pix_fmt",
        "yuv420p",
        "-bf",
        "2",
        "-g",
        "50",
        "-b:v",
        "600k",
        "-movflags",
        "+faststart",
        clip.to_str().unwrap(),
    ]);
    assert!(made.is_empty());
    let ladder = cheap_ladder(dir.path(), &[360, 180]);
    let text = std::fs::read_to_string(&ladder).unwrap().replace("top: encode", "top: auto");
    std::fs::write(&ladder, text).unwrap();
    let out = dir.path().join("out");
    let run = transcode(&clip, &out, &["--ladder", ladder.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let renditions = run.last()["renditions"].as_array().unwrap();
    assert_eq!((&renditions[0]["copied"], &renditions[1]["copied"]), (&true.into(), &false.into()), "{run:?}");
    assert_eq!(run.last()["frames"], 325);
    assert_eq!(complaints(&out.join("master.m3u8")), "");
}
